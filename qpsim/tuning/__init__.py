"""The search for a good constant step size, on problems and for networks."""
