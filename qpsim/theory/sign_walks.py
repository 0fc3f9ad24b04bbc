"""Sign descent with optimal steps on a diagonal Hessian: each coordinate's distribution on a lattice.

Given the steps, coordinates are independent, and coordinate i decreases with probability F(h_i e_i / scale_i). Each
step minimises the expected loss after it, a = sum h_i E[e_i s_i] / sum h_i E[s_i^2], rounded to a whole number of
sites. A simulated run has the step for its own e instead; in high dimension the two are close. As steps become shorter
during a run, the spacing of the sites is halved, so that the old sites are among the new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.theory.log_loss import mean_log10

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

# Fewest sites of a step, and the mass that is dropped at each end of a distribution.
_FEWEST_SITES, _DROPPED = 16, 1e-11


class _Walker:
    """The distribution of one coordinate: masses on the sites start + spacing (low + 0, 1, ...)."""

    def __init__(self, p: QuadraticProblem, scale: Array, start: Array, i: int) -> None:
        self.law, self.curvature, self.scale = p.noise.law, float(p.hessian[i]), float(scale[i])
        self.start, self.low = float(start[i]), 0
        self.mass: Array = np.ones(1)
        self.up: Array = np.zeros(1)
        self.down: Array = np.zeros(1)

    def look(self, spacing: float) -> tuple[float, float]:
        """E[e s] and E[s^2]; the probabilities are stored for :meth:`move`."""
        e = self.offsets(spacing)
        if self.scale > 0.0:
            ratio = self.curvature * e / self.scale
            up, down = np.asarray(self.law.cdf(-ratio)), np.asarray(self.law.cdf(ratio))
        else:
            up, down = (e < 0.0).astype(float), (e > 0.0).astype(float)
        self.up, self.down = self.mass * up, self.mass * down
        return float(e @ (self.down - self.up)), float(np.sum(self.up + self.down))

    def refine(self) -> None:
        """Halve the spacing of the sites."""
        self.low *= 2
        for name in ("mass", "up", "down"):
            old = getattr(self, name)
            new: Array = np.zeros(2 * old.size - 1)
            new[::2] = old
            setattr(self, name, new)

    def move(self, sites: int) -> None:
        """One step of ``sites`` sites, after :meth:`look`."""
        size = self.mass.size
        moved = np.zeros(size + 2 * sites)
        moved[:size] += self.down
        moved[2 * sites :] += self.up
        moved[sites : sites + size] += np.maximum(self.mass - self.up - self.down, 0.0)
        total = np.cumsum(moved)
        first = int(np.searchsorted(total, _DROPPED, side="right"))
        last = int(np.searchsorted(total, total[-1] - _DROPPED, side="left"))
        self.mass = moved[first : last + 1]
        self.low += first - sites

    def offsets(self, spacing: float) -> Array:
        return np.asarray(self.start + spacing * (self.low + np.arange(self.mass.size)))

    def loss(self, spacing: float) -> Array:
        """The excess loss on each site."""
        return np.asarray(0.5 * self.curvature * self.offsets(spacing) ** 2)


def optimal_sign_walk(
    p: QuadraticProblem, offset: Array, n_steps: int
) -> tuple[Array, Array, float]:
    """Expected excess loss (n_steps + 1,), steps (n_steps,) and the mean of log10 of the last loss."""
    scale = p.gradient_scale()
    walkers = [_Walker(p, scale, offset, int(i)) for i in np.flatnonzero(p.hessian > 0.0)]
    risk, taken = np.empty(n_steps + 1), np.zeros(n_steps)
    risk[0] = 0.5 * float(p.hessian @ offset**2)
    spacing = 0.0
    for t in range(n_steps):
        looks = [walker.look(spacing) for walker in walkers]
        gain = sum(w.curvature * along for w, (along, _) in zip(walkers, looks, strict=True))
        cost = sum(w.curvature * moving for w, (_, moving) in zip(walkers, looks, strict=True))
        risk[t + 1] = risk[t]
        if gain <= 0.0:
            continue
        taken[t] = gain / cost
        spacing = spacing or taken[t] / _FEWEST_SITES
        while taken[t] < (_FEWEST_SITES - 0.5) * spacing:
            spacing *= 0.5
            for walker in walkers:
                walker.refine()
        for walker in walkers:
            walker.move(round(taken[t] / spacing))
        risk[t + 1] = sum(float(w.mass @ w.loss(spacing)) for w in walkers)

    def transform(s: Array) -> Array:
        found = np.ones(s.size)
        for walker in walkers:
            loss = walker.loss(spacing) / risk[-1]
            found *= np.array([float(walker.mass @ np.exp(-x * loss)) for x in s])
        return found

    return risk, taken, mean_log10(float(risk[-1]), transform)
