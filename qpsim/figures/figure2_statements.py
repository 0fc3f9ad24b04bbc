"""The paper's five statements about Figure 2 as ratios of its curves, and where each ratio must lie.

The words of Section 2.2 are translated into numbers by our own convention: "vastly" and "drastically" mean a factor of
10 or more, "clearly" a factor of 2 or more, "almost even", "roughly equal" and "little effect" less than a factor of 2.
Ratios are log10 of excess losses after the last step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from qpsim.figures.figure2 import METHODS
from qpsim.figures.figure2_problems import NOISE, ROWS

TWO, TEN = math.log10(2.0), 1.0


class Bounds(NamedTuple):
    """Bounds between which an interval must lie, also in words (``rule``)."""

    rule: str
    low: float
    high: float

    def contain(self, interval: tuple[float, float]) -> bool:
        """Whether the whole interval lies between the bounds."""
        return self.low <= interval[0] and interval[1] <= self.high


class Curve(NamedTuple):
    """One curve of the figure: row, noise level, method, as indices."""

    row: int
    noise: int
    method: int


class Case(NamedTuple):
    """A ratio of two curves, and where it must lie."""

    ratio: str
    where: str
    above: Curve
    below: Curve
    bounds: Bounds

    def ratios(self, losses: np.ndarray) -> np.ndarray:
        """Paired log10 ratios of a figure's log10 losses (row, noise, method, ...): of shape (...)."""
        return losses[self.above] - losses[self.below]


class Statement(NamedTuple):
    """A statement of Section 2.2, the cases that decide it, and further comparisons."""

    name: str
    text: str
    cases: tuple[Case, ...]
    noise_free: tuple[Case, ...] = ()


FACTOR_10 = Bounds("at least 1 (a factor of 10)", TEN, math.inf)
FACTOR_2 = Bounds(f"at least {TWO:.3f} (a factor of 2)", TWO, math.inf)
EQUAL = Bounds(f"within +-{TWO:.3f} (a factor of 2)", -TWO, TWO)

SGD, SSD = METHODS.index("sgd"), METHODS.index("ssd")
MILD_HAAR, MILD_AXIS, STRUCTURED_HAAR, STRUCTURED_AXIS = range(4)


def _methods(row: int, noise: int, above: int, bounds: Bounds) -> Case:
    other = SSD if above == SGD else SGD
    ratio = "/".join(METHODS[k].upper() for k in (above, other))
    where = f"{'/'.join(ROWS[row])}, nu = {NOISE[noise]:g}"
    return Case(ratio, where, Curve(row, noise, above), Curve(row, noise, other), bounds)


def _bases(haar: int, axis: int, noise: int, bounds: Bounds) -> Case:
    where = f"{ROWS[haar][0]}, nu = {NOISE[noise]:g}"
    return Case("SSD haar/axis", where, Curve(haar, noise, SSD), Curve(axis, noise, SSD), bounds)


_LEVELS = range(len(NOISE))

STATEMENTS = (
    Statement(
        "noise-free",
        "On the well-conditioned, noise-free problem gradient descent is vastly better than its "
        "sign.",
        tuple(_methods(row, 0, SSD, FACTOR_10) for row in (MILD_HAAR, MILD_AXIS)),
    ),
    Statement(
        "a-little-noise",
        "On the well-conditioned problem a little noise almost evens the two out.",
        tuple(_methods(row, 1, SSD, EQUAL) for row in (MILD_HAAR, MILD_AXIS)),
        tuple(_methods(row, 0, SSD, EQUAL) for row in (MILD_HAAR, MILD_AXIS)),
    ),
    Statement(
        "orientation",
        "On the well-conditioned problem the eigenbasis' orientation has little effect on SSD.",
        tuple(_bases(MILD_HAAR, MILD_AXIS, noise, EQUAL) for noise in _LEVELS),
    ),
    Statement(
        "structured-haar",
        "On the ill-conditioned problem in a random basis the two work roughly equally well.",
        tuple(_methods(STRUCTURED_HAAR, noise, SSD, EQUAL) for noise in _LEVELS),
    ),
    Statement(
        "structured-axis",
        "On the ill-conditioned problem SSD benefits drastically from an axis-aligned basis, where "
        "it is clearly better than SGD.",
        (
            *(_bases(STRUCTURED_HAAR, STRUCTURED_AXIS, noise, FACTOR_10) for noise in _LEVELS),
            *(_methods(STRUCTURED_AXIS, noise, SGD, FACTOR_2) for noise in _LEVELS),
        ),
    ),
)
