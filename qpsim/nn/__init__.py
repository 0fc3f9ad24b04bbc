"""The companion network backend: the same scalar rules, on networks, in NumPy and Numba."""
