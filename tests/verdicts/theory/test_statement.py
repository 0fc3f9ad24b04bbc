"""What a statement accepts: draws on the right side of a claim, and exact numbers up to rounding."""

import math

import numpy as np
import pytest

from qpsim.verdicts.theory.statement import RELATIONS, Draw, Statement, deviation


@pytest.mark.parametrize(
    ("relation", "shift", "holds"),
    [
        ("equal", 0.0, True),
        ("equal", 0.2, False),
        ("equal", -0.2, False),
        ("at least", 0.2, True),
        ("at least", 0.0, True),
        ("at least", -0.2, False),
        ("at most", -0.2, True),
        ("at most", 0.0, True),
        ("at most", 0.2, False),
        ("above", 0.2, True),
        ("above", 0.0, False),
        ("above", -0.2, False),
    ],
)
def test_what_each_relation_accepts(relation, shift, holds):
    statement = Statement(
        "made-up",
        "Text.",
        "Nowhere",
        ("case",),
        lambda: [1.0],
        lambda draw: 1.0 + shift + draw.rng.standard_normal((draw.n, 1)),
        relation,
    )
    verdict = statement.verdict(Draw(np.random.default_rng(1), 10_000), 4.5)
    assert verdict.holds is holds
    assert verdict.measurements[0].error == pytest.approx(0.01, rel=0.05)
    assert RELATIONS[relation].format(z=4.5) == verdict.rule


@pytest.mark.parametrize(
    ("value", "holds"), [(1.0 + 1e-12, True), (1.0 + 1e-6, False), (math.nan, False)]
)
def test_an_exact_comparison_allows_rounding_only(value, holds):
    statement = Statement(
        "made-up",
        "Text.",
        "Nowhere",
        ("case",),
        lambda: [1.0],
        lambda draw: np.array([value]),
        "exact",
    )
    assert statement.verdict(Draw(np.random.default_rng(0), 10), 4.5).holds is holds


def test_draws_without_spread_agree_up_to_rounding_or_not_at_all():
    assert deviation(1e-12, 0.0, 1e-9) == 0.0
    assert deviation(-0.1, 0.0, 1e-9) == -math.inf
    assert deviation(math.nan, 1.0, 1e-9) == math.inf


def test_draws_of_another_shape_are_a_mistake():
    statement = Statement(
        "made-up", "Text.", "Nowhere", ("a", "b"), lambda: [1.0, 2.0], lambda draw: np.zeros((5, 1))
    )
    with pytest.raises(ValueError, match="made-up: 2 cases"):
        statement.verdict(Draw(np.random.default_rng(0), 5), 4.5)
