"""Compiled inner loops, the only code under ``@njit``: arrays in, results written into given arrays, no checks.

Arrays have the axes (coordinate, lane). A lane is one replicate of a run; the lanes of one block lie next to each other
in memory, so that a loop over lanes compiles to vector instructions. Kernels are compiled when they are first called.

- Step loops: ``diagonal`` (coordinates that share nothing but the step size), ``coupled`` (all other problems).
  ``arguments`` has the tuples that they take, ``record`` what they store.
- A problem's arrays and functions: ``problems`` (the interface), ``dense``, ``least_squares``,
  ``diagonal_least_squares``, ``data``.
- Random numbers: ``noise`` (NumPy's SFC64 for many lanes), ``gradient_noise``, ``laws``, ``least_squares_draws``,
  ``observed`` (variance estimates).
- Exact steps: ``moments`` (one coordinate), ``quadratic`` and ``student_moments`` (dense Hessians), ``one_draw``.
  Signs of pairs: ``signs`` with ``sign_table`` and ``sign_rules``, ``student_signs`` with ``student_table``,
  ``plackett``. Rules without a closed form: ``hermite`` with ``panels``, ``series``, ``pair_quadrature`` with
  ``window``.
- Functions and sums: ``elementary``, ``columns``, ``forms`` with ``form_vectors`` or ``form_loops``.
- Any method: ``dispatch`` finds a rule by the type of its hyper-parameters; ``elementwise`` maps it over an array.
- Schedules and grids for :mod:`qpsim.theory`: ``second_moments``, ``step_sweeps``, ``step_moves``,
  ``step_curvature``, ``law_grid``, ``sign_density``.
- Compilation: ``jit`` (all flags), ``machine_code`` (the cache on disk), ``compiler_interrupts`` (Ctrl-C meanwhile),
  ``numba_interface`` (private parts of numba).

A new class of problems registers its kernels in :mod:`qpsim.kernels.problems`.
"""

from qpsim.lazy import import_completely

# Numba stays half imported after a Ctrl-C, and then no kernel runs in this process any more.
import_completely("numba")
