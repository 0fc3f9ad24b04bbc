"""Sign descent on a diagonal Hessian: the exact law of a walk on a lattice.

With a diagonal Q, coordinate i of the offset moves by -step sign(g_i), and g_i > 0 with probability
F(q_i e_i / scale_i), F the distribution of the noise in units of its scale; for data noise that is
Phi(e_i / nu), whatever the curvature. So the offset never leaves the sites e_i + step Z, and its
distribution after t steps is a vector over the t + 1 sites of the same parity as t; each step is a
sum of two products. Tails of negligible mass are dropped, with a bound on their contribution: from
a site e the expected square grows by at most step^2 in each step, since the walk drifts towards 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.errors import StepSizeError
from qpsim.problem.laws import Law
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


# Steps between two prunings of the tails, and rows advanced together; both affect speed only.
_STRIDE = 32
_ROWS = 32
# Coordinates whose starts differ by more than so many sites are not in the same group.
_SPREAD = 512


def sign_descent_risk(
    p: QuadraticProblem, error: Array, step_size: float, n_steps: int, pruning: float
) -> tuple[Array, Array]:
    """E[excess loss] after 0, ..., n_steps steps of ssd, and a bound on the error by pruning.

    Parameters
    ----------
    p : QuadraticProblem
        Diagonal.
    error : ndarray, shape (d,)
        theta_0 - optimum.
    step_size, n_steps, pruning
        As :func:`qpsim.theory.expected_excess_loss`.

    Returns
    -------
    risk, bound : ndarray, shape (n_steps + 1,)
        The exact value lies in [risk, risk + bound], rounding aside.
    """
    allowance = check.amount(pruning, "The pruning")
    farthest = np.sum(p.hessian * (np.abs(error) + n_steps * np.float64(step_size)) ** 2)
    if not np.isfinite(farthest):
        raise StepSizeError(
            f"With step size {step_size:g}, losses reach beyond the floating-point range; "
            "take a smaller one."
        )
    # The distribution is symmetric about the optimum, so that every coordinate may start on the
    # positive side.
    start = np.abs(error)
    risk, bound = np.zeros(n_steps + 1), np.zeros(n_steps + 1)
    if p.is_deterministic() or step_size == 0:
        for t in range(n_steps + 1):
            risk[t] = 0.5 * p.hessian @ start**2
            start = start - step_size * np.sign(start)
        return risk, bound
    # For a coordinate without noise the sign is certain; without curvature the loss is 0.
    ratio = np.where(p.hessian > 0.0, p.hessian / p.gradient_scale(), 0.0)
    scale = 0.5 * float(p.hessian @ start**2) + 0.5 * step_size**2 * float(p.hessian.sum())
    budget = allowance * scale / p.dim
    for rows in _groups(start / step_size):
        part = _Walk(
            start[rows], 0.5 * p.hessian[rows], p.noise.law, ratio[rows], step_size, n_steps
        )
        part.run(budget * rows.size)
        risk += part.risk
        bound += part.bound
    return risk, bound


def _groups(sites: Array) -> list[NDArray[np.intp]]:
    """Groups of coordinates that start close to each other, so that they occupy nearly the same sites."""
    order = np.argsort(sites)
    groups: list[NDArray[np.intp]] = []
    first = 0
    for k in range(1, order.size + 1):
        full = k == order.size or k - first == _ROWS
        if full or sites[order[k]] - sites[order[first]] > _SPREAD:
            groups.append(order[first:k])
            first = k
    return groups


class _Walk:
    """The distributions of some coordinates, as rows of masses over displacements low, low + 2, ...

    Displacements count steps of size ``step_size`` from each row's own start.
    """

    def __init__(
        self,
        start: Array,
        half_curvature: Array,
        law: Law,
        ratio: Array,
        step_size: float,
        n_steps: int,
    ) -> None:
        self.start, self.half = start[:, None], half_curvature[:, None]
        self.law, self.ratio = law, ratio[:, None]
        self.step_size, self.n_steps = step_size, n_steps
        self.low = 0
        self.mass = np.ones((start.size, 1))
        self.risk, self.bound = np.zeros(n_steps + 1), np.zeros(n_steps + 1)

    def run(self, budget: float) -> None:
        """Advance through all steps, dropping tails that change each entry by at most ``budget``."""
        self.risk[0] = float(np.sum(self.half * self.start**2))
        n_looks = -(-self.n_steps // _STRIDE)
        for t in range(0, self.n_steps, _STRIDE):
            self._prune(t, budget / n_looks)
            self._advance(t, min(_STRIDE, self.n_steps - t))

    def _advance(self, t: int, n: int) -> None:
        """Steps t + 1, ..., t + n, on tables over every site that they can reach."""
        first = self.low - n
        sites = first + np.arange(2 * n + 2 * self.mass.shape[1] - 1)
        error = self.start + self.step_size * sites
        # Both probabilities by ndtr: one minus the other would have rounding errors, which spread.
        scaled = error * self.ratio
        tables = [self.law.cdf(scaled), self.law.cdf(-scaled), self.half * error**2]
        # Even and odd displacements alternate, so that each parity is stored contiguously.
        down, up, loss = ([np.ascontiguousarray(x[:, k::2]) for k in (0, 1)] for x in tables)
        for s in range(1, n + 1):
            width = self.mass.shape[1]
            offset = self.low - first
            at = slice(offset // 2, offset // 2 + width)
            moved = np.zeros((self.mass.shape[0], width + 1))
            np.multiply(self.mass, down[offset % 2][:, at], out=moved[:, :-1])
            moved[:, 1:] += self.mass * up[offset % 2][:, at]
            self.mass, self.low = moved, self.low - 1
            offset -= 1
            at = slice(offset // 2, offset // 2 + width + 1)
            self.risk[t + s] = np.einsum("ij,ij->", moved, loss[offset % 2][:, at])

    def _prune(self, t: int, budget: float) -> None:
        """Drop columns at both ends whose largest possible contribution is within the budget."""
        width = self.mass.shape[1]
        error = self.start + self.step_size * (self.low + 2 * np.arange(width))
        now = np.einsum("ij,ij->j", self.mass, self.half * error**2)
        growth = self.step_size**2 * np.einsum(
            "ij,ij->j", self.mass, np.broadcast_to(self.half, self.mass.shape)
        )
        worst = now + growth * (self.n_steps - t)
        left = int(np.searchsorted(np.cumsum(worst), 0.5 * budget, side="right"))
        right = int(np.searchsorted(np.cumsum(worst[::-1]), 0.5 * budget, side="right"))
        if budget == 0 or left + right == 0 or left + right >= width:
            return
        gone = np.r_[0:left, width - right : width]
        later = np.arange(self.n_steps + 1 - t)
        self.bound[t:] += now[gone].sum() + growth[gone].sum() * later
        self.mass = np.ascontiguousarray(self.mass[:, left : width - right])
        self.low += 2 * left
