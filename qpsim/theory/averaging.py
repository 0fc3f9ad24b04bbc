"""Averages of the iterates of a run.

An average after step t is ``kept(t)`` times the average before it plus the rest times theta_t. It is linear in the
iterates, so that linear recursions of the risk include it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from qpsim import checks
from qpsim.errors import QpsimError

KINDS = ("ema", "tail")


class Average(NamedTuple):
    """Which average; made by `average_of`.

    Attributes
    ----------
    kind : {"ema", "tail"}
        An exponential moving average, or the mean of all iterates from one step on.
    value : float
        The decay of "ema", or the first step of "tail".
    """

    kind: str
    value: float

    def kept(self, t: int) -> float:
        """The factor of the previous average in the average after step t = 1, 2, ...

        Examples
        --------
        >>> from qpsim.theory.averaging import Average
        >>> Average("ema", 0.9).kept(5), [Average("tail", 2).kept(t) for t in (1, 2, 3, 4)]
        (0.9, [0.0, 0.0, 0.5, 0.6666666666666666])
        """
        if self.kind == "ema":
            return self.value
        since = t - self.value
        return since / (since + 1.0) if since > 0 else 0.0


def average_of(given: Any, error: type[QpsimError], n_steps: int | None = None) -> Average | None:
    """Check a description of an average: ``{"ema": decay}``, ``{"tail": first_step}`` or None.

    The moving average begins at theta_0, without bias correction. The tail average is theta_t before the first step,
    and the mean of theta_first, ..., theta_t from then on.

    Raises
    ------
    QpsimError, as the class ``error``
        Another mapping; a decay outside (0, 1); a first step below 0 or above n_steps.

    Examples
    --------
    >>> from qpsim.errors import TheoryError
    >>> average_of({"ema": 0.99}, TheoryError)
    Average(kind='ema', value=0.99)
    """
    if given is None or isinstance(given, Average):
        return given
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in KINDS:
        raise error(
            f'The average is {{"ema": decay}} or {{"tail": first_step}}, not {checks.shown(given)}.'
        )
    ((kind, value),) = given.items()
    if kind == "ema":
        return Average(kind, checks.number("The average's decay", value, error, "(0, 1)"))
    first = checks.count("The average's first step", value, error, low=0)
    if n_steps is not None and first > n_steps:
        raise error(f"The average's first step must be one of the run's {n_steps}, not {first}.")
    return Average(kind, float(first))
