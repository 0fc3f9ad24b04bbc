"""The search for the best constant step size, on problems and for networks.

Names are imported when first used.
"""

from typing import Any as _Any

from qpsim.lazy import imported as _imported

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
    return _imported(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return sorted(__all__)
