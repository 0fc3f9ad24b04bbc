"""The analytic room: what can be known of a stochastic quadratic problem without simulating it.

Success probabilities and second moments of signs, the exact expected improvement of every
direction, optimal variance adaptation, exact risk curves, Theorem 1. Formulas carry the equation
numbers of Balles & Hennig (2018), corrected where the paper is wrong:
"""

from importlib import import_module as _import_module
from typing import Any as _Any

from qpsim.theory.errata import errata_text as _errata_text

_PUBLIC = {
    "success_probability": "signs",
    "expected_sign": "signs",
    "sign_product": "signs",
    "sign_agreement": "signs",
    "sign_second_moment": "signs",
    "direction_moments": "moments",
    "optimal_step_size": "improvement",
    "expected_improvement": "improvement",
    "improvement_bound": "improvement",
    "bound_tightness": "improvement",
    "diagonal_mass": "improvement",
    "mass_inequality": "improvement",
    "MassInequality": "improvement",
    "compare_directions": "improvement",
    "DirectionTable": "improvement",
    "DirectionRow": "improvement",
    "variance_adaptation_factor": "adaptation",
    "adaptation_gap": "adaptation",
    "expected_squared_distance": "adaptation",
    "momentum_correction": "adaptation",
    "variance_estimate_factor": "adaptation",
    "minibatch_variance": "adaptation",
    "expected_excess_loss": "risk",
    "high_dimensional_risk": "high_dimensional",
    "steady_state_excess_loss": "risk",
    "steps_until": "steps",
    "compare_schedules": "schedule_table",
    "ScheduleTable": "schedule_table",
    "ScheduleRow": "schedule_table",
    "largest_stable_step_size": "risk",
    "theorem1": "convergence",
    "Theorem1": "convergence",
    "conditional_second_moment": "convergence",
    "largest_second_moment": "convergence",
    "run_second_moment": "convergence",
    "convergence_rate": "convergence",
    "convergence_bound": "convergence",
    "ERRATA": "errata",
    "Erratum": "errata",
    "errata_text": "errata",
    "errata_markdown": "errata",
}

__all__ = list(_PUBLIC)
__doc__ = f"{__doc__}\n{_errata_text()}\n"


def __getattr__(name: str) -> _Any:
    if name in _PUBLIC:
        value = getattr(_import_module(f"qpsim.theory.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qpsim.theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
