"""``Verdict``: a statement, its source, the measured numbers, and the rule by which it is judged.

A statement covers one or more cases (a noise level, a theorem's inequality); each is one
:class:`Measurement`. The statement holds if every deciding measurement does. The rule is part of
the record, so that a reader can apply another one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpsim.files.plain import plain


@dataclass(frozen=True)
class Measurement:
    """One number measured for a statement.

    Attributes
    ----------
    what : str
        The quantity and the case, such as "mild/axis, nu = 0.1".
    value : float
    interval : (low, high) or None
        95 % interval, where the value is an estimate.
    z : float or None
        Deviation from the claimed number in standard errors, if a number is claimed.
    holds : bool or None
        Whether the rule is met; None for numbers that are for information only.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not finite becomes None."""
        return dict(plain(self))


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

    def __repr__(self) -> str:
        holds = "holds" if self.holds else "does not hold"
        return f"<Verdict {self.name}: {holds}, {len(self.measurements)} measurements>"

    @property
    def deciding(self) -> tuple[Measurement, ...]:
        """The measurements that decide the verdict."""
        return tuple(m for m in self.measurements if m.holds is not None)

    @property
    def holds(self) -> bool:
        """Whether every deciding measurement holds."""
        return all(bool(m.holds) for m in self.deciding)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "statement": self.statement,
            "source": self.source,
            "quantity": self.quantity,
            "rule": self.rule,
            "holds": self.holds,
            "measurements": [m.to_dict() for m in self.measurements],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Report:
    """The verdicts on one topic with where their numbers come from."""

    topic: str
    verdicts: tuple[Verdict, ...]
    options: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        held = sum(verdict.holds for verdict in self.verdicts)
        return f"<Report {self.topic}: {held} of {len(self.verdicts)} statements hold>"

    @property
    def holds(self) -> bool:
        """Whether all statements hold."""
        return all(verdict.holds for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "topic": self.topic,
            "holds": self.holds,
            "verdicts": [verdict.to_dict() for verdict in self.verdicts],
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

        return write_json(Path(folder) / f"{self.topic}-verdicts.json", self.to_dict())
