"""Closed forms, series and recursions: what is known of a stochastic problem without simulating it.

- One step: ``signs``, ``moments`` (E[z] and E[z^T Q z] of every method), ``improvement``, ``adaptation``, ``mass``,
  ``batch_size``, ``stability``. ``series``, ``panels`` and ``pair_quadrature`` are the integrals behind ``moments``.
- A run: ``risk`` (the entry to all risk curves), ``eigen_moments`` and ``recursion`` (linear methods), ``lattice``,
  ``lattice_schedule``, ``momentum_lattice``, ``law_grid`` (sign and Adam-like methods on a diagonal Hessian),
  ``sign_closure``, ``gradient_closure``, ``approximate_risk``, ``high_dimensional`` (approximations),
  ``least_squares``, ``averaging``, ``convergence`` (Theorem 1), ``steps`` (fewest steps to a loss).
- Runs with optimal steps: ``whole_run``, ``sign_walks``, ``log_loss``.
- Schedules: ``schedules``, ``passes``, ``sweeps``, ``step_newton``, ``pieces``, ``families``, ``schedule_table``.
- ``arguments``: checks of arguments. ``errata``: errors of the paper, as data.

A new formula is a function in the file of its subject (or a new file) and its name in ``_PUBLIC`` below. Formulas carry
the equation numbers of Balles & Hennig (2018), corrected where the paper is wrong:
"""

from typing import Any as _Any

from qpsim.lazy import public_name as _public_name
from qpsim.theory.errata import errata_text as _errata_text

_PUBLIC = {
    "success_probability": "qpsim.theory.signs",
    "expected_sign": "qpsim.theory.signs",
    "sign_product": "qpsim.theory.signs",
    "sign_agreement": "qpsim.theory.signs",
    "sign_second_moment": "qpsim.theory.signs",
    "direction_moments": "qpsim.theory.moments",
    "optimal_step_size": "qpsim.theory.improvement",
    "expected_improvement": "qpsim.theory.improvement",
    "improvement_bound": "qpsim.theory.improvement",
    "bound_tightness": "qpsim.theory.improvement",
    "diagonal_mass": "qpsim.theory.mass",
    "mass_inequality": "qpsim.theory.mass",
    "MassInequality": "qpsim.theory.mass",
    "compare_directions": "qpsim.theory.improvement",
    "DirectionTable": "qpsim.theory.improvement",
    "DirectionRow": "qpsim.theory.improvement",
    "variance_adaptation_factor": "qpsim.theory.adaptation",
    "adaptation_gap": "qpsim.theory.adaptation",
    "expected_squared_distance": "qpsim.theory.adaptation",
    "momentum_correction": "qpsim.theory.adaptation",
    "variance_estimate_factor": "qpsim.theory.adaptation",
    "minibatch_variance": "qpsim.theory.adaptation",
    "expected_excess_loss": "qpsim.theory.risk",
    "high_dimensional_risk": "qpsim.theory.high_dimensional",
    "steady_state_excess_loss": "qpsim.theory.risk",
    "batch_size_law": "qpsim.theory.batch_size",
    "BatchSizeLaw": "qpsim.theory.batch_size",
    "optimal_run": "qpsim.theory.whole_run",
    "OptimalRun": "qpsim.theory.whole_run",
    "steps_until": "qpsim.theory.steps",
    "largest_stable_step_size": "qpsim.theory.stability",
    "largest_stable_curvature": "qpsim.theory.stability",
    "theorem1": "qpsim.theory.convergence",
    "Theorem1": "qpsim.theory.convergence",
    "conditional_second_moment": "qpsim.theory.convergence",
    "largest_second_moment": "qpsim.theory.convergence",
    "run_second_moment": "qpsim.theory.convergence",
    "convergence_rate": "qpsim.theory.convergence",
    "convergence_bound": "qpsim.theory.convergence",
    "ERRATA": "qpsim.theory.errata",
    "Erratum": "qpsim.theory.errata",
    "errata_text": "qpsim.theory.errata",
    "errata_markdown": "qpsim.theory.errata",
    "compare_schedules": "qpsim.theory.schedule_table",
    "ScheduleTable": "qpsim.theory.schedule_table",
    "ScheduleRow": "qpsim.theory.schedule_table",
}

__all__ = list(_PUBLIC)
__doc__ = f"{__doc__}\n{_errata_text()}\n"


def __getattr__(name: str) -> _Any:
    return _public_name(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return sorted(__all__)
