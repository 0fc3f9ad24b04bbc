"""The search for the best constant step size, on problems and for networks.

Names are imported when first used.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

_PUBLIC = {
    "best_constant_step": "qpsim.tuning.constant_step",
    "StepSearch": "qpsim.tuning.constant_step",
    "tune": "qpsim.tuning.networks",
    "Protocol": "qpsim.tuning.networks",
    "Tuned": "qpsim.tuning.networks",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> _Any:
    if name in _PUBLIC:
        value = getattr(_import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qpsim.tuning' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
