"""What a verdict is: a statement, where it was made, what was measured, by which rule it is judged.

A statement covers one or more cases (a noise level, a theorem's inequality); each is one
:class:`Measurement`. The statement holds if every deciding measurement does. The rule is
part of the record, so that a reader who would draw the line elsewhere can do so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Measurement:
    """One number that bears on a statement.

    Attributes
    ----------
    what : str
        The quantity and the case, such as "mild/axis, nu = 0.1".
    value : float
    interval : (low, high) or None
        95 % bootstrap interval, where the value is an estimate.
    z : float or None
        Deviation from what is claimed in standard errors, where a claim names a number.
    holds : bool or None
        Whether the rule is met; None for a number that informs and does not decide.
    claimed : float or None
        The number that is claimed, if one is.
    error : float or None
        Standard error of the value, where it is a mean of draws.
    """

    what: str
    value: float
    interval: tuple[float, float] | None = None
    z: float | None = None
    holds: bool | None = None
    claimed: float | None = None
    error: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not finite becomes None."""
        return {
            "what": self.what,
            "value": _finite(self.value),
            "interval": None if self.interval is None else [_finite(x) for x in self.interval],
            "z": None if self.z is None else _finite(self.z),
            "holds": self.holds,
            "claimed": None if self.claimed is None else _finite(self.claimed),
            "error": None if self.error is None else _finite(self.error),
        }


@dataclass(frozen=True)
class Verdict:
    """A statement and whether it holds.

    Attributes
    ----------
    name : str
        Short, for tables and scripts.
    statement, source : str
        What is claimed, in our words, and where.
    quantity : str
        What the values are.
    rule : str
        When a measurement holds.
    measurements : tuple of Measurement
    notes : dict
        More, as plain JSON values; "remarks" (list of str) are printed with the verdict, and so are
        measurements repeated at other scales ("scales": scale -> {"measurements": [...]}).

    Examples
    --------
    >>> from qpsim.verdicts import Measurement, Verdict
    >>> v = Verdict("even", "The two are equal.", "Section 1", "log10 ratio", "within 0.3",
    ...             (Measurement("d = 2", 0.1, (0.0, 0.2), holds=True),))
    >>> v.holds
    True
    """

    name: str
    statement: str
    source: str
    quantity: str
    rule: str
    measurements: tuple[Measurement, ...]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def deciding(self) -> tuple[Measurement, ...]:
        """The measurements that the verdict rests on."""
        return tuple(m for m in self.measurements if m.holds is not None)

    @property
    def holds(self) -> bool:
        """Whether every deciding measurement holds."""
        return all(bool(m.holds) for m in self.deciding)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "statement": self.statement,
            "source": self.source,
            "quantity": self.quantity,
            "rule": self.rule,
            "holds": self.holds,
            "measurements": [m.as_dict() for m in self.measurements],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Report:
    """The verdicts on one topic with where their numbers come from."""

    topic: str
    verdicts: tuple[Verdict, ...]
    options: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether all statements hold."""
        return all(verdict.holds for verdict in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "topic": self.topic,
            "holds": self.holds,
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "options": self.options,
            "provenance": self.provenance,
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``<topic>-verdicts.json``.

        Raises
        ------
        FileError
            The folder cannot be written.
        """
        from qpsim.files.writing import write_json

        return write_json(Path(folder) / f"{self.topic}-verdicts.json", self.as_dict())


def bootstrap_median(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[int] | np.ndarray,
    *,
    rng: Any = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float, tuple[float, float]]:
    """Median, and its bootstrap interval by resampling groups and then members within each.

    Replicates of one problem share its spectrum and rotation: were they resampled alone, the
    interval would know nothing of the variation from problem to problem.

    Parameters
    ----------
    values : array_like, shape (n,)
    groups : array_like of int, shape (n,)
        Members of a group carry the same number.
    rng : as in :func:`qpsim.simulation.run`
    draws : int, default 2000
    level : float, default 0.95

    Returns
    -------
    median, (low, high)

    Examples
    --------
    >>> bootstrap_median([1.0, 1.0, 1.0, 1.0], [0, 0, 1, 1])
    (1.0, (1.0, 1.0))
    """
    from qpsim.seeds import seed_sequence

    sample = np.asarray(values, dtype=float)
    generator = np.random.Generator(np.random.PCG64(seed_sequence(rng)))
    names, sizes = np.unique(np.asarray(groups), return_counts=True)
    # One row a group, its members repeated in turn up to the largest group's size.
    rows = [np.resize(sample[np.asarray(groups) == name], sizes.max()) for name in names]
    chosen = generator.integers(names.size, size=(draws, names.size, 1))
    within = generator.random((draws, names.size, int(sizes.max()))) * sizes[chosen]
    resampled = np.stack(rows)[chosen, within.astype(int)]
    medians = np.median(resampled.reshape(draws, -1), axis=1)
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(medians, [tail, 1.0 - tail])
    return float(np.median(sample)), (float(low), float(high))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
