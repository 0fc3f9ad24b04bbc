"""Schedules for one run side by side: planned, greedy, and the best of each family, with their expected losses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpsim.errors import TheoryError
from qpsim.theory import arguments as check
from qpsim.theory.schedules import KINDS, Schedule, best_schedule

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from qpsim.methods import Method
    from qpsim.problem.quadratic import QuadraticProblem


@dataclass(frozen=True, eq=False)
class ScheduleRow:
    """One kind of schedule.

    Attributes
    ----------
    schedule : Schedule
        The best of its kind for the whole run.
    over_planned : float
        Its final loss over that of the free schedule.
    steps_to_target : float or None
        The fewest steps after which a schedule of this kind, made for so many steps, has an expected loss of at most
        the target; infinite if that takes more than the run has, None without a target.
    """

    schedule: Schedule
    over_planned: float
    steps_to_target: float | None

    @property
    def name(self) -> str:
        """The kind: "planned" for the free schedule, else the family."""
        return "planned" if self.schedule.family == "free" else self.schedule.family

    @property
    def final_loss(self) -> float:
        """Expected excess loss after the last step."""
        return float(self.schedule.expected_excess_loss[-1])


@dataclass(frozen=True, eq=False)
class ScheduleTable:
    """Schedules of one method beside each other. Made by :func:`compare_schedules`.

    Attributes
    ----------
    method : str
    n_steps : int
    target : float or None
    rows : tuple of ScheduleRow
        In the order of :data:`qpsim.theory.schedules.KINDS`, planned first.
    """

    method: str
    n_steps: int
    target: float | None
    rows: tuple[ScheduleRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values; what is infinite is None."""
        return {
            "method": self.method,
            "n_steps": self.n_steps,
            "target": self.target,
            "schedules": {
                row.name: {
                    **row.schedule.to_dict(),
                    "final_loss": _plain(row.final_loss),
                    "over_planned": _plain(row.over_planned),
                    "steps_to_target": _plain(row.steps_to_target),
                }
                for row in self.rows
            },
        }

    def __repr__(self) -> str:
        best = self.rows[0].final_loss
        return f"<ScheduleTable of {len(self.rows)} schedules for {self.method}: planned ends at {best:.4g}>"


def compare_schedules(
    problem: QuadraticProblem,
    method: str | Method,
    n_steps: int,
    theta0: ArrayLike | None = None,
    *,
    n_pieces: int = 10,
    target: float | None = None,
) -> ScheduleTable:
    """Every kind of schedule for one run, each at its best.

    Parameters
    ----------
    problem, method, n_steps, theta0, n_pieces
        As in :func:`qpsim.best_schedule`.
    target : float, optional
        Expected excess loss above 0, for which the fewest steps are counted. A kind is taken to end no higher if it
        has more steps: its count is found by bisection, up to n_steps.

    Returns
    -------
    ScheduleTable

    Raises
    ------
    QpsimError
        As :func:`qpsim.best_schedule`; a target that is not a number above 0.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    >>> table = qpsim.theory.compare_schedules(p, "sgd", 30, [3.0, 1.0], target=0.05)
    >>> for row in table.rows[:3]:
    ...     print(f"{row.name}: {row.final_loss:.3g}, {row.steps_to_target:g} steps")
    planned: 0.0225, 14 steps
    greedy: 0.433, inf steps
    constant: 0.298, inf steps
    """
    goal = None if target is None else check.amount(target, "The target")
    if goal == 0.0:
        raise TheoryError("The target must be above 0.")

    def planned(kind: str, steps: int) -> Schedule:
        return best_schedule(problem, method, steps, theta0, family=kind, n_pieces=n_pieces)

    found = [planned(kind, n_steps) for kind in KINDS]
    lowest = float(found[0].expected_excess_loss[-1])
    rows = []
    for kind, one in zip(KINDS, found, strict=True):
        last = float(one.expected_excess_loss[-1])
        ratio = last / lowest if lowest > 0.0 else (1.0 if last == 0.0 else math.inf)
        count = None
        if goal is not None:
            count = _fewest(one, goal, lambda steps, kind=kind: planned(kind, steps))
        rows.append(ScheduleRow(one, ratio, count))
    return ScheduleTable(found[0].method, int(n_steps), goal, tuple(rows))


def _fewest(whole: Schedule, goal: float, planned: Any) -> float:
    """The fewest steps of a kind whose whole run is known."""
    losses = whole.expected_excess_loss
    below = [t for t, loss in enumerate(losses.tolist()) if loss <= goal]
    if not below:
        return math.inf
    # What the whole run reaches on its way, a shorter one reaches too; greedy steps are the same in either.
    low, high = -1, below[0]
    if whole.family == "greedy" or high == 0:
        return float(high)
    while high - low > 1:
        middle = max((low + high) // 2, 0)
        last = losses[0] if middle == 0 else planned(middle).expected_excess_loss[-1]
        low, high = (low, middle) if last <= goal else (middle, high)
    return float(high)


def _plain(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
