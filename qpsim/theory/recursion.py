"""The exact second moments of a linear method along a run, as a function of all its step sizes.

In every eigen-direction of the Hessian, with eigenvalue h and gradient variance c, let e be the error and r the
method's state. The direction is z = d0 g + d1 r and the new state s0 g + s1 r of a gradient g = h e + noise, so that

    e' = (1 - a d0 h) e - a d1 r - a d0 noise,      r' = s0 h e + s1 r + s0 noise,

with step size a. E[e^2], E[e r] and E[r^2] obey a linear recursion, and the loss is 0.5 sum of h E[e^2].
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from qpsim.kernels.second_moments import greedy_steps, losses_and_gradient
from qpsim.theory.eigen_moments import eigen_variance, linear_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.methods import Method
    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

# Nodes of an interval in which eigenvalues are interpolated, and the length of all intervals in log h.
_NODES, _LONGEST = 4, 25.0


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

    Attributes
    ----------
    curvature, variance, square : ndarray, shape (d,)
        Eigenvalues h, variances c of the gradient and E[e^2] at the start.
    maps : ndarray, shape (n_steps, 4)
        d0, d1, s0, s1 of every step.
    weight : ndarray, shape (n_steps,)
        What the loss after each step counts in the value.
    is_interpolated : bool
        Whether eigenvalues were replaced by nodes between them; schedules fitted to many nodes may fail between them.
    """

    def __init__(
        self, p: QuadraticProblem, method: Method, theta0: Array, n_steps: int, averaged: bool
    ) -> None:
        error = theta0 - p.optimum
        along = error if p.eigenvectors is None else error @ p.eigenvectors
        self.square = np.atleast_2d(along**2).mean(axis=0)
        # Writable and contiguous like all arrays here: numba compiles its kernels anew for any others.
        self.curvature = np.array(p.eigenvalues)
        self.variance = eigen_variance(p)
        self.n_steps = n_steps
        self.weight = (
            np.full(n_steps, 1.0 / n_steps) if averaged else np.append(np.zeros(n_steps - 1), 1.0)
        )
        self.maps = np.array([_padded(linear_map(method, float(t + 1))) for t in range(n_steps)])
        self.is_interpolated = False
        self.initial_loss = 0.5 * float(self.curvature @ self.square)

    @property
    def longest(self) -> float:
        """1 / the largest eigenvalue, to which steps are compared."""
        return 1.0 / float(self.curvature.max())

    def risk(self, steps: Array) -> Array:
        """Expected excess loss, shape (n_steps + 1,); infinite from where it overflows."""
        found = np.append(self.initial_loss, self._losses(steps, np.empty(0)))
        gone = np.flatnonzero(~np.isfinite(found))
        if gone.size:
            found[gone[0] :] = np.inf
        return found

    def value_of(self, risk: Array) -> float:
        """What is minimised, of a risk (n_steps + 1,)."""
        return float(risk[1:] @ self.weight) if np.isfinite(risk[-1]) else np.inf

    def value(self, steps: Array) -> float:
        """What is minimised, at steps (n_steps,)."""
        return self.value_of(self.risk(steps))

    def greedy(self) -> Array:
        """Steps (n_steps,) each of which minimises the expected loss right after it (Eq. 10, in expectation)."""
        steps = np.empty(self.n_steps)
        greedy_steps(self.curvature, self.variance, self.square, self.maps, steps)
        return steps

    def coarse(self, most: int) -> Recursion:
        """The same risk, nearly, on at most so many coordinates; exactly if the eigenvalues are so few.

        At one eigenvalue the loss is linear in (E[e^2], c), so that coordinates of the same eigenvalue are added up. As
        a function of the eigenvalue it is smooth: more of them are replaced, interval by interval of log h, by the four
        nodes of a cubic interpolation.
        """
        h, where = np.unique(self.curvature, return_inverse=True)
        inside = h > 0.0
        masses = np.zeros((2, h.size))
        np.add.at(masses[0], where, self.square)
        np.add.at(masses[1], where, self.variance)
        h, masses = h[inside], np.ascontiguousarray(masses[:, inside])
        interpolated = h.size > most
        if interpolated:
            h, masses = _interpolated(h, masses, most // _NODES)
        found = copy(self)
        found.curvature, found.square, found.variance = h, *masses
        found.is_interpolated = interpolated
        return found

    def shorter(self, n_steps: int) -> Recursion:
        """The same risk for fewer steps; the value is the final one, or a multiple of the averaged one, as before."""
        found = copy(self)
        found.n_steps, found.maps, found.weight = (
            n_steps,
            self.maps[:n_steps],
            self.weight[-n_steps:],
        )
        return found

    def value_and_gradient(self, steps: Array) -> tuple[float, Array]:
        """The value at steps (n_steps,), and its derivative by each of them."""
        gradient = np.empty(self.n_steps)
        losses = self._losses(steps, gradient)
        return float(losses @ self.weight), gradient

    def _losses(self, steps: Array, gradient: Array) -> Array:
        losses = np.empty(self.n_steps)
        losses_and_gradient(
            self.curvature,
            self.variance,
            self.square,
            self.maps,
            np.ascontiguousarray(steps),
            self.weight,
            losses,
            gradient,
        )
        return losses


def _interpolated(h: Array, masses: Array, n_intervals: int) -> tuple[Array, Array]:
    """Eigenvalues (n,) in ascending order and their masses (2, n), on four nodes an interval."""
    x = np.log(h)
    # What is far below the largest eigenvalue does not move: one interval takes it.
    edges = np.linspace(max(x[0], x[-1] - _LONGEST), x[-1], n_intervals + 1)[1:-1]
    nodes, found = [], []
    for at in np.split(np.arange(h.size), np.searchsorted(x, edges)):
        if at.size <= _NODES:
            nodes.append(h[at])
            found.append(masses[:, at])
            continue
        low, high = x[at[0]], x[at[-1]]
        angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
        knots = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angles)
        # Lagrange's polynomials at the eigenvalues, which share h times their mass out to the nodes.
        shares = np.ones((_NODES, at.size))
        for j in range(_NODES):
            for k in range(_NODES):
                if k != j:
                    shares[j] *= (x[at] - knots[k]) / (knots[j] - knots[k])
        nodes.append(np.exp(knots))
        found.append((masses[:, at] * h[at]) @ shares.T / nodes[-1])
    return np.concatenate(nodes), np.ascontiguousarray(np.concatenate(found, axis=1))


def _padded(rows: tuple[tuple[float, ...], ...]) -> tuple[float, float, float, float]:
    """(d0, d1, s0, s1); a method without a state has one that never moves."""
    if len(rows) == 1:
        return rows[0][0], 0.0, 0.0, 0.0
    (d0, d1), (s0, s1) = rows
    return d0, d1, s0, s1
