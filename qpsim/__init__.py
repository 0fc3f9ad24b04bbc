"""qpsim: stochastic quadratic problems, and the Adam optimizer taken apart on them.

The flow is one way: ``problem + method + step-size policy -> simulate -> result``.
Names are imported when first used, so that ``import qpsim`` stays cheap.
"""

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import Any as _Any

__version__ = "0.1.0"

_PUBLIC = {
    "QuadraticProblem": "qpsim.problem",
    "random_problem": "qpsim.draw",
    "method": "qpsim.methods",
    "rule": "qpsim.methods",
    "State": "qpsim.methods",
    "simulate": "qpsim.simulate",
    "best_constant_step": "qpsim.search",
    "adaptation_factors": "qpsim.factors",
    "Result": "qpsim.result",
    "load": "qpsim.result",
    "QpsimError": "qpsim.errors",
}

_SUBPACKAGES = ("theory", "nn", "sweep", "figures", "verdicts")

__all__ = [*_PUBLIC, *_SUBPACKAGES, "__version__"]


class _Package(_ModuleType):
    """The package; importing its module ``simulate`` must not hide the function of that name."""

    def __setattr__(self, name: str, value: _Any) -> None:
        if not (name in _PUBLIC and isinstance(value, _ModuleType)):
            super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> _Any:
    if name in _PUBLIC:
        value = getattr(_import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _SUBPACKAGES:
        return _import_module(f"qpsim.{name}")
    raise AttributeError(f"module 'qpsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
