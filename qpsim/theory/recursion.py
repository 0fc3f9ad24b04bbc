"""The exact second moments of a linear method along a run, as a function of all its step sizes.

In every eigen-direction of the Hessian, with eigenvalue h and gradient variance c, let e be the error and r the
method's state. The direction is z = d0 g + d1 r and the new state s0 g + s1 r of a gradient g = h e + noise, so that

    e' = (1 - a d0 h) e - a d1 r - a d0 noise,      r' = s0 h e + s1 r + s0 noise,

with step size a. E[e^2], E[e r] and E[r^2] obey a linear recursion, and the loss is 0.5 sum of h E[e^2].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.kernels.second_moments import greedy_steps, losses_and_gradient
from qpsim.theory.risk import eigen_variance, linear_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.methods import Method
    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]


class Recursion:
    """Expected excess loss of one start as a function of all step sizes.

    Parameters
    ----------
    p : QuadraticProblem
    method : Method
        Linear in the gradient, with at most one state.
    theta0 : ndarray, shape (d,) or (n, d)
        Of several starts the mean loss is followed.
    n_steps : int
    averaged : bool
        Whether the value is the mean loss over the steps, instead of the last one.
    """

    def __init__(
        self, p: QuadraticProblem, method: Method, theta0: Array, n_steps: int, averaged: bool
    ) -> None:
        error = theta0 - p.optimum
        along = error if p.eigenvectors is None else error @ p.eigenvectors
        self._square = np.atleast_2d(along**2).mean(axis=0)
        self.curvature = p.eigenvalues
        self.variance = eigen_variance(p)
        self.n_steps = n_steps
        self._weight = (
            np.full(n_steps, 1.0 / n_steps) if averaged else np.append(np.zeros(n_steps - 1), 1.0)
        )
        self._maps = np.array([_padded(linear_map(method, float(t + 1))) for t in range(n_steps)])
        self.initial_loss = 0.5 * float(self.curvature @ self._square)

    def risk(self, steps: Array) -> Array:
        """Expected excess loss, shape (n_steps + 1,); infinite from where it overflows."""
        found = np.append(self.initial_loss, self._losses(steps, np.empty(0)))
        gone = np.flatnonzero(~np.isfinite(found))
        if gone.size:
            found[gone[0] :] = np.inf
        return found

    def value_of(self, risk: Array) -> float:
        """What is minimised, of a risk (n_steps + 1,)."""
        return float(risk[1:] @ self._weight) if np.isfinite(risk[-1]) else np.inf

    def value(self, steps: Array) -> float:
        """What is minimised, at steps (n_steps,)."""
        return self.value_of(self.risk(steps))

    def greedy(self) -> Array:
        """Steps (n_steps,) each of which minimises the expected loss right after it (Eq. 10, in expectation)."""
        steps = np.empty(self.n_steps)
        greedy_steps(self.curvature, self.variance, self._square, self._maps, steps)
        return steps

    def value_and_gradient(self, steps: Array) -> tuple[float, Array]:
        """The value at steps (n_steps,), and its derivative by each of them."""
        gradient = np.empty(self.n_steps)
        losses = self._losses(steps, gradient)
        return float(losses @ self._weight), gradient

    def _losses(self, steps: Array, gradient: Array) -> Array:
        losses = np.empty(self.n_steps)
        losses_and_gradient(
            self.curvature,
            self.variance,
            self._square,
            self._maps,
            np.ascontiguousarray(steps),
            self._weight,
            losses,
            gradient,
        )
        return losses


def _padded(rows: tuple[tuple[float, ...], ...]) -> tuple[float, float, float, float]:
    """(d0, d1, s0, s1); a method without a state has one that never moves."""
    if len(rows) == 1:
        return rows[0][0], 0.0, 0.0, 0.0
    (d0, d1), (s0, s1) = rows
    return d0, d1, s0, s1
