"""Searches for step sizes. Names are imported when first used.

- ``constant_step``: :func:`qpsim.best_constant_step`, by simulation.
- ``schedules``: :func:`qpsim.best_schedule`, exact where :mod:`qpsim.theory.schedules` is, else by simulation.
- ``steps_to_loss``: :func:`qpsim.steps_to_loss`, the fewest steps to a target loss.
- ``networks``: ``tune``, the paper's protocol for networks.
- ``grid``: the search over a grid of step sizes that ``constant_step`` and ``networks`` use; ``searches`` runs several
  of them side by side on the same workers.
"""

from typing import Any as _Any

from qpsim.lazy import public_name as _public_name

_PUBLIC = {
    "best_constant_step": "qpsim.tuning.constant_step",
    "best_schedule": "qpsim.tuning.schedules",
    "StepSearch": "qpsim.tuning.constant_step",
    "tune": "qpsim.tuning.networks",
    "Protocol": "qpsim.tuning.networks",
    "Tuned": "qpsim.tuning.networks",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> _Any:
    return _public_name(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return sorted(__all__)
