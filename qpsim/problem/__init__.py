"""Problems to minimise: a loss, and the noise of its stochastic gradients.

- ``interface``: what :func:`qpsim.simulate` needs of a problem. A new class of problems is a file that answers it, a
  file of kernels (:mod:`qpsim.kernels.problems`), and an entry in ``saved``, which reads saved problems.
- ``quadratic_loss``: the base class of all problems: loss and gradient.
- ``quadratic``: :class:`qpsim.QuadraticProblem`; ``quadratic_simulated`` and ``quadratic_kernel`` prepare it for the
  step loops, ``preconditioning`` changes its coordinates.
- ``least_squares``, ``data``, ``local``: the other classes.
- ``noise``: the functions of ``qpsim.noise``; ``noise_families`` has their covariances, one class each (a new family is
  a class there), ``laws`` Gaussian, Student-t and Laplace noise.
- ``growth``: whether a method's direction has a second moment under heavy tails.
- ``random``, ``gallery``: random and published problems. ``matrices``: checks of matrices. ``frozen``: read-only
  objects.
"""
