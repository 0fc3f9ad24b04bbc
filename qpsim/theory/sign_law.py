"""Sign descent on a diagonal Hessian under any step sizes: its law on a grid, and its risk's derivative by each step.

With given steps the coordinates are independent. Let q be a coordinate's curvature and s the scale of its gradient's
noise. In units of s / q all coordinates follow one rule: the offset x goes to x - a with probability F(x) and to x + a
with F(-x), a being the step times q / s and F the distribution of the noise. Coordinates of equal s / q (all of them
where the noise is that of the data) therefore share one distribution, whose total mass is the sum of their s^2 / 2 q
instead of 1; its second moment is the expected excess loss.

The distribution is stored on a grid whose spacing is a fixed fraction of the unit (:mod:`qpsim.kernels.sign_density`).
The expected later loss is a smooth function of x, as F is; it is interpolated at six nodes, so that the error is of
sixth order in the spacing. The error is estimated from a coarser grid. The derivatives by all steps are the exact ones
of the computed value, from one backward pass (reverse-mode differentiation).
"""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qpsim.errors import ProblemError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

# Cells per unit: of the returned values, of the coarser grid for the error estimate, and of the grid for searches.
FINE, CHECK, SEARCH = 24.0, 18.0, 6.0
# The error of the finer grid is the difference / ((24/18)^6 - 1 = 4.6) at order 6; the order is lower where F has a
# kink.
_SAFETY = 2.0
# Nodes at the ends of a distribution are dropped if their share of the sum of mass (1 + x^2) is below this.
_NEGLIGIBLE = 1e-15
# Most nodes of all distributions of a run together, and of the table of F.
_MOST_NODES, _MOST_TABLE = 30_000_000, 1_000_000
# Units s / q with a relative difference below this are treated as equal.
_SAME = 1e-12


class LawSizeError(ProblemError):
    """The distributions of a run need more nodes than the limit."""


class _Kind(NamedTuple):
    """Coordinates of equal unit s / q: their starts and masses."""

    unit: float
    places: Array
    masses: Array


class _Run(NamedTuple):
    """Arguments and results of :func:`qpsim.kernels.sign_density.forth`."""

    lows: NDArray[np.int64]
    begins: NDArray[np.int64]
    held: Array
    losses: Array
    lost: float


class SignLaw:
    """Expected excess loss of ssd from one or more starts as a function of all step sizes.

    It has the interface of :class:`qpsim.theory.recursion.Recursion`, which is for methods that are linear in the
    gradient.

    Parameters
    ----------
    p : QuadraticProblem
        Diagonal, with any noise.
    theta0 : ndarray, shape (d,) or (n, d)
        Start, or n starts whose mean loss is computed.
    n_steps : int
    averaged : bool
        Whether the value is the mean loss over the steps, instead of the last one.
    cells : float
        Cells of the grid per unit s / q.

    Attributes
    ----------
    weight : ndarray, shape (n_steps,)
        The value is the sum of weight times the loss after each step.
    initial_loss : float
    longest : float
        A step size as large as the distance to the optimum, or as the noise's unit s / q.
    distance : float
        The largest distance from the optimum of a coordinate with noise, in its unit s / q.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> law = SignLaw(p, np.array([3.0, 1.0]), n_steps=2, averaged=False)
    >>> law.risk(np.full(2, 0.5)).round(4)
    array([5.5   , 3.6964, 2.4689])
    """

    def __init__(
        self,
        p: QuadraticProblem,
        theta0: Array,
        n_steps: int,
        averaged: bool,
        cells: float = FINE,
    ) -> None:
        offset = np.abs(np.atleast_2d(theta0 - p.optimum))
        self.n_steps = n_steps
        self.weight = (
            np.full(n_steps, 1.0 / n_steps) if averaged else np.append(np.zeros(n_steps - 1), 1.0)
        )
        self.initial_loss = 0.5 * float((p.hessian * offset**2).sum(axis=1).mean())
        self._law, self._cells = p.noise.law, cells
        scale, moving = p.gradient_scale(), p.hessian > 0.0
        noisy, certain = moving & (scale > 0.0), moving & (scale == 0.0)
        # Coordinates without noise: one path, no distribution.
        self._sure = offset[:, certain], 0.5 * p.hessian[certain] / offset.shape[0]
        self._noisy = p.hessian[noisy], scale[noisy], offset[:, noisy]
        self._kinds = _kinds(*self._noisy)
        units = [kind.unit for kind in self._kinds]
        self.longest = float(max([offset[:, moving].max(initial=0.0), *units]))
        self.distance = max((float(kind.places.max()) for kind in self._kinds), default=0.0)
        self.curvature = p.hessian[moving]
        self._table = np.empty(0)

    @property
    def is_certain(self) -> bool:
        """Whether no coordinate has noise."""
        return not self._kinds

    def coarse(self) -> SignLaw:
        """The same law on a coarser grid, for searches."""
        return self._on(SEARCH)

    def noisier(self, factor: float) -> SignLaw:
        """The law with the noise multiplied by ``factor``."""
        found = self._on(self._cells)
        curvature, scale, offset = self._noisy
        found._kinds = _kinds(curvature, factor * scale, offset)
        return found

    def _on(self, cells: float) -> SignLaw:
        found = copy(self)
        found._cells, found._table = cells, np.empty(0)
        return found

    def risk(self, steps: Array) -> Array:
        """Expected excess loss, shape (n_steps + 1,)."""
        if not steps.any():
            return np.full(steps.size + 1, self.initial_loss)
        # Masses can be slightly negative due to rounding.
        return np.maximum(self._losses(steps, None), 0.0)

    def risk_and_error(self, steps: Array) -> tuple[Array, Array]:
        """Expected excess loss and an estimate of the grid's error, both (n_steps + 1,)."""
        risk = self.risk(steps)
        difference = np.abs(risk - self._on(CHECK).risk(steps))
        # The running maximum, since difference and error may change their signs at different times.
        share = np.maximum.accumulate(difference / np.maximum(risk, np.finfo(float).tiny))
        return risk, _SAFETY * share * risk

    def value_of(self, risk: Array) -> float:
        """The value to minimise, from a risk (n_steps + 1,)."""
        return float(risk[1:] @ self.weight)

    def value(self, steps: Array) -> float:
        """The value to minimise at steps (n_steps,); infinite if the distributions need too many nodes."""
        try:
            return self.value_of(self.risk(steps))
        except LawSizeError:
            return math.inf

    def value_and_gradient(self, steps: Array) -> tuple[float, Array]:
        """The value at steps (n_steps,), and its derivative by each of them."""
        gradient = np.zeros(self.n_steps)
        try:
            return self.value_of(self._losses(steps, gradient)), gradient
        except LawSizeError:
            return math.inf, gradient

    def greedy(self) -> Array:
        """Steps (n_steps,) each of which minimises the expected loss right after it (Eq. 10, in expectation).

        A step a adds -a E[sum of q e s] + a^2 / 2 sum of q to it, with curvatures q, offsets e and signs s.
        """
        steps = np.zeros(self.n_steps)
        size, spacing = float(self.curvature.sum()), 1.0 / self._cells
        offset, half = self._sure
        laws = [_placed(kind, spacing) for kind in self._kinds]
        reach = self.longest
        for t in range(self.n_steps):
            reach += steps[t - 1] if t else 0.0
            table = self._distribution(reach)
            pull = 2.0 * float(np.sum(half * np.abs(offset)))
            for kind, (low, mass) in zip(self._kinds, laws, strict=True):
                node = low + np.arange(mass.size)
                share = table[np.minimum(np.abs(node), table.size - 1)]
                # Twice the masses are q e^2 in units of x^2, and a is in units of x too.
                pull += (
                    2.0 * spacing * float(mass @ (np.abs(node) * (2.0 * share - 1.0))) / kind.unit
                )
            steps[t] = pull / size if pull > 0.0 else 0.0
            offset = offset - steps[t] * np.sign(offset)
            laws = [
                self._after(kind, *law, float(steps[t]), table)
                for kind, law in zip(self._kinds, laws, strict=True)
            ]
        return steps

    def _after(
        self, kind: _Kind, low: int, mass: Array, step: float, table: Array
    ) -> tuple[int, Array]:
        """The distribution after one step: number of its first node, and masses."""
        run = self._run(kind, np.array([step / kind.unit]), low, mass, table)
        return int(run.lows[1]), run.held[run.begins[1] : run.begins[2]]

    def _run(self, kind: _Kind, lengths: Array, first: int, mass: Array, table: Array) -> _Run:
        """The distributions before each step and after the last."""
        from qpsim.kernels.sign_density import forth

        n = lengths.size
        lows, begins = np.empty(n + 1, dtype=np.int64), np.empty(n + 2, dtype=np.int64)
        losses, spacing = np.empty(n + 1), 1.0 / self._cells
        least = _NEGLIGIBLE * float(kind.masses.sum())
        room = _room(lengths, mass.size, self._cells)
        while room <= _MOST_NODES:
            held = np.empty(room)
            enough, lost = forth(
                table, spacing, first, mass, lengths, least, lows, begins, held, losses
            )
            if enough:
                return _Run(lows, begins, held, losses, lost)
            room *= 4
        raise LawSizeError(
            f"The law of ssd would take more than {_MOST_NODES:.2g} numbers: the steps or the distance from the "
            "optimum are too large for the noise; use qpsim.simulate."
        )

    def _losses(self, steps: Array, gradient: Array | None) -> Array:
        from qpsim.kernels.sign_density import back

        risk = self._certain(steps, gradient)
        table, spacing = self._distribution(float(steps.sum())), 1.0 / self._cells
        for kind in self._kinds:
            lengths = steps / kind.unit
            run = self._run(kind, lengths, *_placed(kind, spacing), table)
            risk += run.losses
            if gradient is not None:
                own = np.zeros(steps.size)
                back(table, spacing, lengths, self.weight, run.lows, run.begins, run.held, own)
                gradient += own / kind.unit
        return risk

    def _certain(self, steps: Array, gradient: Array | None) -> Array:
        """Losses of the coordinates without noise; their derivative is added to `gradient`."""
        offset, half = self._sure
        risk = np.zeros(steps.size + 1)
        if half.size == 0:
            return risk
        risk[0] = float(np.sum(half * offset**2))
        signs, paths = [], []
        for t, step in enumerate(steps.tolist(), start=1):
            signs.append(np.sign(offset))
            offset = offset - step * signs[-1]
            paths.append(offset)
            risk[t] = float(np.sum(half * offset**2))
        if gradient is not None:
            later = np.zeros_like(offset)
            for t in range(steps.size - 1, -1, -1):
                later = later + self.weight[t] * 2.0 * half * paths[t]
                gradient[t] -= float(np.sum(later * signs[t]))
        return risk

    def _distribution(self, reach: float) -> Array:
        """F at 0, 1, ... cells, up to the largest x that the run can reach (at most _MOST_TABLE values)."""
        from qpsim.kernels.sign_density import ORDER

        far = max((kind.places.max() + reach / kind.unit for kind in self._kinds), default=1.0)
        size = int(min((far + 1.0) * self._cells + 2.0 * ORDER, _MOST_TABLE))
        if self._table.size < size:
            x = np.arange(min(2 * size, _MOST_TABLE)) / self._cells
            self._table = 0.5 + 0.5 * np.asarray(self._law.mean_sign(x))
        return self._table


def _kinds(curvature: Array, scale: Array, offset: Array) -> list[_Kind]:
    """Coordinates (d,) with starts (n, d), grouped by their unit s / q."""
    units = scale / curvature
    masses = 0.5 * scale * units / offset.shape[0]
    order = np.argsort(units)
    groups: list[list[int]] = []
    for k in order.tolist():
        if groups and units[k] <= (1.0 + _SAME) * units[groups[-1][0]]:
            groups[-1].append(k)
        else:
            groups.append([k])
    return [
        _Kind(
            float(units[some[0]]),
            (offset[:, some] / units[some]).ravel(),
            np.broadcast_to(masses[some], (offset.shape[0], len(some))).ravel(),
        )
        for some in groups
    ]


def _placed(kind: _Kind, spacing: float) -> tuple[int, Array]:
    """The starts on the grid: number of the first node, and masses that preserve all moments up to degree 5."""
    at = kind.places / spacing
    whole = np.floor(at)
    first, last = int(whole.min()) - 2, int(whole.max()) + 3
    mass = np.zeros(min(last - first + 1, _MOST_NODES))
    if mass.size == _MOST_NODES:
        # More than any run may have; _run refuses it.
        return first, mass
    for k in range(-2, 4):
        share = np.ones_like(at)
        for other in range(-2, 4):
            if other != k:
                share *= (at - whole - other) / (k - other)
        np.add.at(mass, whole.astype(np.int64) + k - first, kind.masses * share)
    return first, mass


def _room(lengths: Array, size: int, cells: float) -> int:
    """Estimated number of nodes of all distributions of a run."""
    longest = float(np.max(lengths, initial=0.0))
    wide = size + 40.0 * cells + 4.0 * cells * math.sqrt(longest + 1.0)
    # Any number far above the limit has the same effect.
    return int(min((lengths.size + 2) * wide + 2.0 * cells * longest, 1e15))
