"""qpsim: simulation and theory of stochastic quadratic problems, to study which parts of Adam help and when.

The flow is one way: ``problem + method + step-size policy -> simulate -> result``.
Names are imported when first used, so that ``import qpsim`` stays cheap.
"""

from typing import Any as _Any

from qpsim.lazy import import_completely as _import_completely
from qpsim.lazy import public_name as _public_name

__version__ = "0.2.0"

_PUBLIC = {
    "QuadraticProblem": "qpsim.problem.quadratic",
    "DataProblem": "qpsim.problem.data",
    "LocalModel": "qpsim.problem.local",
    "LeastSquares": "qpsim.problem.least_squares",
    "random_problem": "qpsim.problem.random",
    "method": "qpsim.methods",
    "method_names": "qpsim.methods",
    "rule": "qpsim.methods",
    "Method": "qpsim.methods",
    "Rule": "qpsim.methods",
    "State": "qpsim.methods",
    "simulate": "qpsim.simulation.run",
    "rerun": "qpsim.simulation.run",
    "best_constant_step": "qpsim.tuning.constant_step",
    "best_schedule": "qpsim.tuning.schedules",
    "steps_to_loss": "qpsim.tuning.steps_to_loss",
    "adaptation_factors": "qpsim.figures.figure_factors",
    "Result": "qpsim.simulation.result",
    "load": "qpsim.simulation.result",
    "QpsimError": "qpsim.errors",
    "DivergenceWarning": "qpsim.errors",
    "ArtefactWarning": "qpsim.errors",
    "PrecisionWarning": "qpsim.errors",
    "InfiniteVarianceWarning": "qpsim.errors",
    "RenamedWarning": "qpsim.errors",
    "StoreWarning": "qpsim.errors",
}

_SUBPACKAGES = (
    "theory",
    "measure",
    "conformance",
    "nn",
    "tuning",
    "sweep",
    "figures",
    "verdicts",
)
# Modules that users name as qpsim.NAME.
_MODULES = {
    "noise": "qpsim.problem.noise",
    "gallery": "qpsim.problem.gallery",
    "errors": "qpsim.errors",
}

__all__ = [*_PUBLIC, *_SUBPACKAGES, *_MODULES, "__version__"]


def __getattr__(name: str) -> _Any:
    if name in _SUBPACKAGES:
        return _import_completely(f"qpsim.{name}")
    if name in _MODULES:
        return _import_completely(_MODULES[name])
    return _public_name(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return sorted(__all__)
