"""``Statement``: a claim of the theory, an independent measurement, and how the two must agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qpsim.verdicts.record import Measurement, Verdict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Tolerated relative difference of two computations of the same number in double precision.
_ROUNDING = 1e-9

RELATIONS = {
    "equal": "|z| < {z:.2f}: the claimed value is the mean of the draws",
    "at least": "z > -{z:.2f}: the mean of the draws is no smaller than claimed",
    "at most": "z < {z:.2f}: the mean of the draws is no larger than claimed",
    "above": "z > {z:.2f}: the mean of the draws is larger than claimed, and not by chance",
    "exact": "equal to 1e-9, relative to numbers above 1",
}


class Draw(NamedTuple):
    """The arguments of an experiment: a generator, the number of draws, and the workers of simulations."""

    rng: np.random.Generator
    n: int
    workers: int | Executor | None = None


@dataclass(frozen=True)
class Statement:
    """One statement that can fail.

    Attributes
    ----------
    name, text, source : str
    cases : tuple of str
        What the k claimed numbers are.
    claimed : callable
        The k claimed numbers, from :mod:`qpsim.theory`.
    measured : callable
        Draws of shape (n, k), whose mean over n has the claimed value as its expectation; for
        relation "exact" the k numbers computed in another way. It uses definitions only.
    relation : str
        One of :data:`RELATIONS`.
    """

    name: str
    text: str
    source: str
    cases: tuple[str, ...]
    claimed: Callable[[], ArrayLike]
    measured: Callable[[Draw], ArrayLike]
    relation: str = "equal"

    @property
    def random(self) -> bool:
        """Whether its comparisons can fail by chance."""
        return self.relation != "exact"

    def verdict(self, draw: Draw, threshold: float) -> Verdict:
        """Measure and judge all cases, |z| against a threshold."""
        claimed = np.asarray(self.claimed(), dtype=float)
        drawn = np.asarray(self.measured(draw), dtype=float)
        if claimed.shape != (len(self.cases),) or drawn.shape[-1:] != claimed.shape:
            raise ValueError(
                f"{self.name}: {len(self.cases)} cases, but {claimed.shape} claimed and "
                f"{drawn.shape} measured."
            )
        if self.random:
            mean = drawn.mean(axis=0)
            error = drawn.std(axis=0, ddof=1) / math.sqrt(drawn.shape[0])
        else:
            mean, error = drawn, np.zeros_like(drawn)
        measured = tuple(
            self._measurement(*numbers, threshold)
            for numbers in zip(
                self.cases, claimed.tolist(), mean.tolist(), error.tolist(), strict=True
            )
        )
        how = f"mean of {drawn.shape[0]} draws" if self.random else "computed from the definition"
        return Verdict(
            self.name,
            self.text,
            self.source,
            how,
            RELATIONS[self.relation].format(z=threshold),
            measured,
            {"relation": self.relation},
        )

    def _measurement(
        self, case: str, claimed: float, mean: float, error: float, threshold: float
    ) -> Measurement:
        rounding = _ROUNDING * max(1.0, abs(claimed))
        if not self.random:
            return Measurement(
                case, mean, claimed=claimed, holds=bool(abs(mean - claimed) <= rounding)
            )
        z = deviation(mean - claimed, error, rounding)
        holds = {
            "equal": abs(z) < threshold,
            "at least": z > -threshold,
            "at most": z < threshold,
            "above": z > threshold,
        }[self.relation]
        return Measurement(case, mean, z=z, holds=bool(holds), claimed=claimed, error=error)


def deviation(difference: float, error: float, rounding: float) -> float:
    """A difference in standard errors; draws that are all alike leave rounding only.

    >>> deviation(0.2, 0.1, 1e-9), deviation(1e-12, 0.0, 1e-9), deviation(0.2, 0.0, 1e-9)
    (2.0, 0.0, inf)
    """
    if not math.isfinite(difference):
        return math.inf
    if error > 1e-3 * rounding:
        return difference / error
    return 0.0 if abs(difference) <= rounding else math.copysign(math.inf, difference)


def columns(*samples: Any) -> NDArray[np.float64]:
    """Draws side by side: (n,) and (n, k) arrays become one (n, sum of k)."""
    return np.column_stack(samples)
