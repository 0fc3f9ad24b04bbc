"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qpsim.files.plain import plain


@dataclass(frozen=True)
class StreamOutcome:
    """One stream: "passed", "differs", "fails" or "not applicable".

    ``step`` (from 1) is the first at which the parameters do not move as the rule says, and
    ``difference`` the largest there, relative to the largest expected move; NaN where one of the two
    is not finite. ``note`` says what failed, or why the stream cannot be given to an optimizer of this kind.
    """

    stream: str
    purpose: str
    outcome: str
    dtype: str | None = None
    step: int | None = None
    difference: float | None = None
    note: str = ""


@dataclass(frozen=True)
class LawOutcome:
    """Mean excess loss on a stochastic quadratic, of the optimizer and of the rule."""

    law: str
    observed: float
    expected: float
    standard_error: float
    z: float
    holds: bool


@dataclass(frozen=True)
class Report:
    """Whether an optimizer is a method, and if not, what it is. Made by :func:`check`.

    Attributes
    ----------
    conforms : bool
        All streams that can be given to it pass, and all laws hold.
    diagnosis : str
        One sentence: what it equals, or where and how far it differs.
    method : str
        The rule with its hyper-parameters.
    kind : str
        What was checked: a "PyTorch optimizer", "optax transformation", "Keras optimizer" or "pair of
        functions".
    step_size : str
        The step size, and whether it was declared, said by the optimizer or found.
    streams : tuple of StreamOutcome
    laws : tuple of LawOutcome
        Empty where a stream differs already.
    versions : dict
    """

    conforms: bool
    diagnosis: str
    method: str
    kind: str
    step_size: str
    streams: tuple[StreamOutcome, ...]
    laws: tuple[LawOutcome, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<conformance {'yes' if self.conforms else 'no'}: {self.diagnosis}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; what is not finite is None."""
        return dict(plain(self))
