"""Every formula of the theory, made wrong by 1 %, is found by a statement that does not depend on chance.

Exact statements compare with sums and integrals that do not use the formula, so that what catches an
error of 1 % catches it for every seed. ``CAUGHT`` lists them.
"""

import dataclasses

import numpy as np
import pytest

from qpsim import theory
from qpsim.verdicts import theory as verified
from qpsim.verdicts.theory.statement import Draw

OF_MOMENTS = {
    "noise-moments-exact",
    "least-squares-exact",
    "data-moments-exact",
    "local-model-exact",
    "preconditioned-exact",
}
# Public name -> part of what it returns ("" for a number or an array) -> exact statements that notice.
CAUGHT = {
    "success_probability": {"": {"signs-exact"}},
    "expected_sign": {"": {"signs-exact"}},
    "sign_product": {"": {"sign-product-exact"}},
    "sign_agreement": {"": {"signs-exact"}},
    "sign_second_moment": {"": {"signs-exact"}},
    "direction_moments": {
        "0": {"moments-exact", *OF_MOMENTS},
        "1": {"moments-exact", *OF_MOMENTS},
    },
    "optimal_step_size": {"": {"best-step-exact", "noise-step-exact", "local-model-exact"}},
    "expected_improvement": {"": {"best-step-exact", "noise-step-exact", "preconditioned-exact"}},
    "improvement_bound": {"": {"bound-exact", "noise-bound-exact"}},
    "bound_tightness": {"": {"bound-exact"}},
    "diagonal_mass": {"": {"mass-exact"}},
    "mass_inequality": {
        part: {"mass-exact"} for part in ("trace", "entries", "eigenvectors", "worst")
    },
    "compare_directions": {
        "expected_improvement": {"comparison-exact"},
        "optimal_step_size": {"comparison-exact"},
        "ratio_to_sgd": {"comparison-exact"},
        "excess_loss": {"comparison-exact"},
        "diagonal_mass": {"mass-exact"},
        "improvement_bound": {"bound-exact"},
        "bound_tightness": {"bound-exact"},
    },
    "variance_adaptation_factor": {
        "gradient": {"factors-exact", "svag-step-exact"},
        "sign": {"factors-exact"},
        "adam": {"factors-exact"},
    },
    "adaptation_gap": {"": {"factors-exact"}},
    "expected_squared_distance": {"": {"distance-gradient-exact", "distance-sign-exact"}},
    "momentum_correction": {"": {"kappa-exact"}},
    "variance_estimate_factor": {"": {"kappa-exact"}},
    "minibatch_variance": {"": {"minibatch-variance-exact"}},
    "expected_excess_loss": {
        "": {
            "risk-exact",
            "sign-risk-exact",
            "sign-schedules-exact",
            "momentum-sign-risk-exact",
            "noise-risk-exact",
            "least-squares-risk-exact",
            "sign-closure-exact",
            "grid-risk-exact",
        }
    },
    "high_dimensional_risk": {"": {"high-dimension-exact", "high-dimension-quadratic-exact"}},
    "steady_state_excess_loss": {"": {"steady-state-exact"}},
    "batch_size_law": {
        part: {"batch-size-exact"}
        for part in (
            "improvement",
            "step_size",
            "step_exponent",
            "limit_improvement",
            "limit_step_size",
            "half_batch_size",
            "gradient_noise_scale",
            "curvature_noise_scale",
            "sign_noise_scale",
            "n_steps",
            "constant_step_size",
        )
    },
    "compare_schedules": {
        "expected_excess_loss": {"schedules-exact", "sign-schedules-exact"},
        "over_planned": {"schedules-exact", "sign-schedules-exact"},
        "steps_to_target": {"schedules-exact", "sign-schedules-exact"},
    },
    "optimal_run": {
        part: {"optimal-run-exact"}
        for part in ("expected_excess_loss", "step_size", "final_log10_loss")
    },
    "steps_until": {"": {"steps-until-exact"}},
    "largest_stable_step_size": {"": {"stability-exact"}},
    "largest_stable_curvature": {"": {"stability-frozen-exact"}},
    "theorem1": {
        "strong_convexity": {"theorem1-exact"},
        "smoothness": {"theorem1-exact"},
        "step_size": {"theorem1-exact"},
        "second_moment": {"theorem1-exact", "second-moments-exact"},
        "rate": {"theorem1-exact"},
        "bound": {"theorem1-exact"},
    },
    "conditional_second_moment": {"": {"second-moments-exact", "svag-step-exact"}},
    "largest_second_moment": {"": {"second-moments-exact"}},
    "run_second_moment": {"": {"second-moments-exact"}},
    "convergence_rate": {"": {"theorem1-exact", "svag-step-exact"}},
    "convergence_bound": {"": {"theorem1-exact"}},
}
_NO_NUMBERS = {"ERRATA", "errata_text", "errata_markdown"}
EXACT = [s for s in verified.STATEMENTS if s.name.endswith("-exact")]
CASES = [(name, part) for name, parts in CAUGHT.items() for part in parts]


@pytest.fixture(scope="module")
def measured():
    """What the exact statements measure, which no formula of the theory changes."""
    draw = Draw(np.random.default_rng(0), 1)
    return {statement.name: np.asarray(statement.measured(draw)) for statement in EXACT}


@pytest.fixture(scope="module")
def asked():
    """The public formulas that each exact statement's claim asks, through their public names."""
    found = {statement.name: set() for statement in EXACT}

    def noted(name, right):
        def formula(*arguments, **more):
            found[current].add(name)
            return right(*arguments, **more)

        return formula

    with pytest.MonkeyPatch.context() as patch:
        for name in CAUGHT:
            patch.setattr(theory, name, noted(name, getattr(theory, name)))
        for statement in EXACT:
            current = statement.name
            statement.claimed()
    return found


def noticing(measured, among=EXACT):
    """Names of the exact statements that do not hold."""
    found = set()
    for statement in among:
        alone = dataclasses.replace(statement, measured=lambda _, s=statement: measured[s.name])
        if not alone.verdict(Draw(np.random.default_rng(0), 1), 4.0).holds:
            found.add(statement.name)
    return found


def scaled(found, part, factor):
    """What a function returned, with one part of it times the factor."""
    if not part:
        return factor * np.asarray(found)
    if part.isdigit():
        return tuple(factor * x if k == int(part) else x for k, x in enumerate(found))
    if hasattr(found, "rows") and not hasattr(found, part):
        return dataclasses.replace(
            found, rows=tuple(scaled(row, part, factor) for row in found.rows)
        )
    if hasattr(found, "schedule") and not hasattr(found, part):
        return dataclasses.replace(found, schedule=scaled(found.schedule, part, factor))
    if dataclasses.is_dataclass(found):
        return dataclasses.replace(found, **{part: factor * getattr(found, part)})
    return found._replace(**{part: factor * getattr(found, part)})


def test_every_public_function_is_listed():
    public = {name for name in theory.__all__ if not isinstance(getattr(theory, name), type)}
    assert public - _NO_NUMBERS == set(CAUGHT)


def test_without_a_break_all_hold(measured):
    assert noticing(measured) == set()


@pytest.mark.parametrize("factor", [0.99, 1.01])
@pytest.mark.parametrize(("name", "part"), CASES, ids=[f"{n} {p}".strip() for n, p in CASES])
def test_an_error_of_one_percent_is_caught(monkeypatch, measured, asked, name, part, factor):
    right = getattr(theory, name)

    def wrong(*arguments, **more):
        found = right(*arguments, **more)
        if name == "variance_adaptation_factor":
            return factor * np.asarray(found) if arguments[1] == part else found
        return scaled(found, part, factor)

    monkeypatch.setattr(theory, name, wrong)
    # A statement that does not ask the formula cannot notice.
    among = [statement for statement in EXACT if name in asked[statement.name]]
    assert noticing(measured, among) == CAUGHT[name][part]


# Formulas that one public function has for other noises and problems, each wrong alone: name, part of what it
# returns, which problems, and what notices.
GENERAL = [
    ("direction_moments", "0", "Student t", {"noise-moments-exact"}),
    ("direction_moments", "1", "Student t", {"noise-moments-exact"}),
    ("direction_moments", "0", "Laplace", {"noise-moments-exact"}),
    ("direction_moments", "1", "Laplace", {"noise-moments-exact"}),
    ("direction_moments", "0", "least-squares", {"least-squares-exact"}),
    ("direction_moments", "1", "least-squares", {"least-squares-exact"}),
    ("direction_moments", "0", "data", {"data-moments-exact"}),
    ("direction_moments", "1", "data", {"data-moments-exact"}),
    ("direction_moments", "1", "local", {"local-model-exact"}),
    ("optimal_step_size", "", "Student t", {"noise-step-exact"}),
    ("optimal_step_size", "", "local", {"local-model-exact"}),
    ("expected_improvement", "", "Laplace", {"noise-step-exact"}),
    ("improvement_bound", "", "Student t", {"noise-bound-exact"}),
    ("expected_excess_loss", "", "Student t", {"noise-risk-exact"}),
    ("expected_excess_loss", "", "Laplace", {"noise-risk-exact"}),
    ("expected_excess_loss", "", "least-squares", {"least-squares-risk-exact"}),
]


def kind_of(problem):
    """Least squares, data and local models by their own name, quadratic problems by their noise's law."""
    if problem.kind in ("least-squares", "data", "local"):
        return problem.kind
    return {"student": "Student t", "laplace": "Laplace"}.get(problem.noise.law.name, "Gaussian")


@pytest.mark.parametrize("factor", [0.99, 1.01])
@pytest.mark.parametrize(("name", "part", "kind", "caught"), GENERAL)
def test_an_error_for_one_noise_or_problem_is_caught(
    monkeypatch, measured, asked, name, part, kind, caught, factor
):
    right = getattr(theory, name)

    def wrong(problem, *arguments, **more):
        found = right(problem, *arguments, **more)
        return scaled(found, part, factor) if kind_of(problem) == kind else found

    monkeypatch.setattr(theory, name, wrong)
    among = [statement for statement in EXACT if name in asked[statement.name]]
    assert noticing(measured, among) == caught
