"""The statements of the theory hold, and each kind of mistake in a formula is caught."""

import json
import math

import numpy as np
import pytest

from qpsim import theory
from qpsim.errors import FigureError, PrecisionWarning
from qpsim.kernels import law_grid
from qpsim.theory import sign_closure, signs
from qpsim.verdicts import theory as verified

FEW = verified.Options(n_replicates=20_000)
BY_NAME = {statement.name: statement for statement in verified.STATEMENTS}
# That the others hold, which draw nothing, is a test of test_breaks.py.
RANDOM = tuple(statement for statement in verified.STATEMENTS if statement.random)


def failing(*names):
    """Statements that fail beyond doubt: by twice the deviation that the full run asks for."""
    threshold = 2 * verified.critical_deviation(FEW.level)
    chosen = tuple(BY_NAME[name] for name in names)
    return {
        verdict.name
        for verdict in verified.measure(FEW, 1, chosen).verdicts
        for m in verdict.measurements
        if m.holds is False and (m.z is None or abs(m.z) > threshold)
    }


@pytest.fixture(scope="module")
def report():
    return verified.measure(FEW, 2, RANDOM)


def test_all_random_statements_hold(report):
    assert [v.name for v in report.verdicts if not v.holds] == []
    assert len(report.verdicts) == len(RANDOM)
    assert len(verified.STATEMENTS) == len(BY_NAME)


def test_deviations_are_standard_normal(report):
    z = np.array(
        [
            m.z
            for verdict in report.verdicts
            if verdict.notes["relation"] == "equal"
            for m in verdict.measurements
            if m.error
        ]
    )
    # Far too small deviations would be errors too large: nothing could ever fail.
    assert 0.8 < z.std() < 1.2
    assert abs(z.mean()) < 0.4


def test_the_report_is_reproducible_and_plain_json(report):
    again = verified.measure(FEW, 1, RANDOM)
    assert [v.to_dict() for v in again.verdicts] == [v.to_dict() for v in report.verdicts]
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    shown = found["verdicts"][1]["measurements"][0]
    assert shown["error"] > 0
    assert shown["z"] == pytest.approx((shown["value"] - shown["claimed"]) / shown["error"])


def test_a_statement_draws_the_same_whichever_others_are_measured(report):
    alone = verified.measure(FEW, statements=(BY_NAME["kappa"],)).verdicts[0]
    among = next(v for v in report.verdicts if v.name == "kappa")
    assert [m.value for m in alone.measurements] == [m.value for m in among.measurements]


def test_the_threshold_is_bonferronis():
    count = sum(len(s.cases) for s in verified.STATEMENTS if s.random)
    tail = math.erfc(verified.critical_deviation(0.01) / math.sqrt(2))
    assert tail * count == pytest.approx(0.01)


def test_a_level_is_a_probability():
    with pytest.raises(FigureError, match="level must be below 1"):
        verified.measure(verified.Options(level=1.5))


@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 5)),
        *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(5, 21)),
    ],
)
def test_a_fresh_seed_does_not_cry_wolf(seed):
    report = verified.measure(verified.Options(seed=seed), statements=RANDOM)
    assert [v.name for v in report.verdicts if not v.holds] == []


# --- it is able to fail --------------------------------------------------------------------------


def _scaled(name, factor):
    right = getattr(theory, name)
    return lambda *a, **k: factor * np.asarray(right(*a, **k))


def _of_kind(kind, other):
    right = theory.variance_adaptation_factor
    return lambda eta2, asked: right(eta2, other if asked == kind else asked)


def _biased_eq44(gradients):
    """As printed: (1/B) (1/(B-1) sum g_k^2 - g^2)."""
    g = np.asarray(gradients)
    size = g.shape[-2]
    return (np.sum(g**2, axis=-2) / (size - 1) - g.mean(axis=-2) ** 2) / size


def _with_quadratic(change):
    right = theory.direction_moments

    def wrong(problem, method, point, state=None):
        mean, quadratic = right(problem, method, point, state)
        return change(problem, method, mean, quadratic)

    return wrong


_SUCCESS = theory.success_probability
_KAPPA = theory.momentum_correction
_BIAS = theory.variance_estimate_factor
_RISK = theory.expected_excess_loss
_BOUND = theory.improvement_bound
_CHAIN = theory.mass_inequality

BREAKS = {
    "Eq. 20 and 22 without the 1/2": (
        {"expected_improvement": _scaled("expected_improvement", 2.0)},
        {"improvement", "best-step-exact"},
    ),
    "the bound without the 1/2": (
        {"improvement_bound": lambda *a, **k: 2.0 * np.asarray(_BOUND(*a, **k))},
        {"improvement-ssd", "improvement-ssd-diagonal", "bound-exact"},
    ),
    "Eq. 13 with 1/c for c": (
        {
            "improvement_bound": lambda p, x, form="entries": (
                _BOUND(p, x, form) * (p.diagonal_mass if form == "trace" else 1.0)
            )
        },
        {"bound-exact"},
    ),
    "a step 20 % off": (
        {"optimal_step_size": _scaled("optimal_step_size", 1.2)},
        {"optimal-step", "best-step-exact"},
    ),
    "kappa shifted by one": (
        {"momentum_correction": lambda mu, t: _KAPPA(mu, np.asarray(t) + 1)},
        {"kappa", "relative-variance"},
    ),
    "kappa with 1 - mu for 1 - mu^2": (
        {"momentum_correction": lambda mu, t: _KAPPA(mu, t) * (1 + mu)},
        {"kappa", "kappa-limit", "relative-variance"},
    ),
    "v - m^2 taken to be unbiased": (
        {"variance_estimate_factor": lambda mu, t: np.ones_like(_BIAS(mu, t))},
        {"variance-estimate", "variance-estimate-corrected"},
    ),
    "Eq. 44 as printed": (
        {"minibatch_variance": _biased_eq44},
        {"minibatch-variance", "minibatch-momentum"},
    ),
    "success probability without the sqrt(2)": (
        {"success_probability": lambda m, s: _SUCCESS(m, np.asarray(s) / math.sqrt(2))},
        {"success-probability"},
    ),
    "2 rho for 2 rho - 1": (
        {"expected_sign": lambda m, s: 2 * _SUCCESS(m, s) * np.sign(m)},
        {"expected-sign"},
    ),
    "Adam's factor as the optimal one for signs": (
        {"variance_adaptation_factor": _of_kind("sign", "adam")},
        {"lemma1-sign"},
    ),
    "no root in Adam's factor": (
        {"variance_adaptation_factor": _of_kind("adam", "gradient")},
        {"adam-identity", "adam-factor-cost"},
    ),
    "a root in the gradient's factor": (
        {"variance_adaptation_factor": _of_kind("gradient", "adam")},
        {"lemma1-gradient", "svag-step-exact"},
    ),
    "Eq. 29 for one coordinate": (
        {"expected_squared_distance": _scaled("expected_squared_distance", 0.25)},
        {"distance-gradient", "distance-sign"},
    ),
    "the gap with its sign turned": (
        {"adaptation_gap": _scaled("adaptation_gap", -1.0)},
        {"adam-factor-gap", "adam-factor-extremes"},
    ),
    "lambda^2 for lambda^3 in the noise": (
        {
            "direction_moments": _with_quadratic(
                lambda p, m, mean, q: (mean, q - np.sum(p.eigenvalues**3 - p.eigenvalues**2))
            )
        },
        {"parabola", "moments-exact"},
    ),
    "the chain turned around": (
        {"mass_inequality": lambda p: type(_CHAIN(p))(*(_CHAIN(p)[k] for k in (1, 0, 2, 3)))},
        {"mass-chain", "mass-exact", "sign-form"},
    ),
    "a risk that is one step late": (
        {
            "expected_excess_loss": lambda p, m, x, step, n: np.concatenate(
                [_RISK(p, m, x, step, n)[:1], _RISK(p, m, x, step, n)[:-1]]
            )
        },
        {"exact-risk"},
    ),
    "half the steady state": (
        {"steady_state_excess_loss": _scaled("steady_state_excess_loss", 0.5)},
        {"steady-state"},
    ),
    "a rate a thousand times too good": (
        {"convergence_rate": _scaled("convergence_rate", 1000.0)},
        {"svag-step"},
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_formula_is_caught(monkeypatch, name):
    wrong, expected = BREAKS[name]
    for function, replacement in wrong.items():
        monkeypatch.setattr(theory, function, replacement)
    assert failing(*expected) == expected


def test_signs_treated_as_independent_are_caught(monkeypatch):
    right = signs._sign_product
    monkeypatch.setattr(signs, "_sign_product", lambda a, b, r: right(a, b, np.zeros_like(r)))
    expected = {
        "sign-products",
        "sign-agreement",
        "parabola",
        "improvement",
        "optimal-step",
        "recorded-steps",
        "sign-product",
        "sign-product-exact",
        "signs-exact",
        "moments-exact",
    }
    assert failing(*expected) == expected


def test_a_closure_of_independent_signs_is_caught(monkeypatch):
    right = sign_closure.pair_moments
    monkeypatch.setattr(
        sign_closure, "pair_moments", lambda mean, std, i, j, r: right(mean, std, i, j, 0.0 * r)
    )
    assert failing("sign-closure-exact") == {"sign-closure-exact"}


def test_a_grid_that_gives_masses_to_the_node_below_is_caught(monkeypatch):
    right = law_grid.spread_masses

    def rounded(places, weights, origin, spacing, grid):
        at = origin + spacing * np.floor((places - origin) / spacing)
        return right(at, weights, origin, spacing, grid)

    monkeypatch.setattr(law_grid, "spread_masses", rounded)
    with pytest.warns(PrecisionWarning, match=r"The risk of (rmsprop|adam) is known"):
        assert failing("grid-risk") == {"grid-risk"}
