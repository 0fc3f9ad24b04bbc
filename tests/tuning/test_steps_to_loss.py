"""The fewest steps to a loss: the published counts of the noisy quadratic model, and ensembles beside exact counts."""

import json
import math

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, QpsimError, SimulationError, TheoryError
from qpsim.tuning.steps_to_loss import DEFAULT_STEP_SIZES

# Zhang et al. (2019): fewest steps to a loss of 0.01, by the batch size; with the preconditioner H^(-1/2) below.
PUBLISHED = {4: 1507367, 256: 25880, 16384: 7447, 2**20: 7268}
PRECONDITIONED = {4: 345591, 256: 5421, 16384: 106, 2**20: 84}


def model(batch_size, power=None):
    p = qpsim.gallery.noisy_quadratic_model(bins=100).at_batch(batch_size)
    return p if power is None else p.preconditioned(power)


def fewest(p, around=None):
    """On the published grid; around a step that is its best, only its neighbours are looked at."""
    grid = np.array(DEFAULT_STEP_SIZES)
    if around is not None:
        k = int(np.argmin(np.abs(np.log(grid / around))))
        grid = grid[max(k - 2, 0) : k + 3]
    # In preconditioned coordinates theta' = P^(-1/2) theta: E[theta'^2] = h^(1/2) for P = H^(-1/2).
    return qpsim.steps_to_loss(p, "sgd", 0.01, step_size=grid, initial_square=start(p))


def start(p):
    """E[offset^2] along the eigenvectors for a start N(0, I) in the old coordinates."""
    # Of H^(-1/2) the new curvatures are h^(1/2), and theta' = h^(1/4) theta: its square is h^(1/2).
    return 1.0 if p.noise.family == "hessian" else p.hessian


@pytest.mark.parametrize(
    ("batch_size", "around"), [(4, 0.0147), (256, 0.774), (16384, 1.9), (2**20, 1.9)]
)
def test_the_published_counts_of_the_noisy_quadratic_model(batch_size, around):
    found = fewest(model(batch_size), around)
    # The published count starts at 0: the step whose loss is the first below the target is one more here.
    assert found.is_exact and not found.at_edge
    assert found.n_steps - 1 == pytest.approx(PUBLISHED[batch_size], rel=1e-3)


@pytest.mark.parametrize(
    ("batch_size", "around"), [(4, 0.00068), (256, 0.0464), (16384, None), (2**20, 1.9)]
)
def test_the_published_counts_with_a_preconditioner(batch_size, around):
    found = fewest(model(batch_size, -0.5), around)
    assert found.n_steps - 1 == pytest.approx(PRECONDITIONED[batch_size], rel=1e-3)


def test_an_ensemble_agrees_with_the_exact_count():
    p = qpsim.QuadraticProblem([1.0, 0.2, 3.0], [1.0, -2.0, 0.5], noise=noise.white(0.3))
    exact = qpsim.steps_to_loss(p, "sgd", 0.05, step_size=[0.05, 0.1])
    run = [
        qpsim.simulate(p, "sgd", alpha, 300, 2000, rng=0, workers=1).excess_loss.mean(axis=0)
        for alpha in (0.05, 0.1)
    ]
    for mean, steps in zip(run, exact.steps, strict=True):
        # The mean loss of 2000 runs has a standard error of a few per cent: the count may be off by a few steps.
        assert abs(int(np.argmax(mean <= 0.05)) - steps) <= 0.05 * steps
    assert exact.n_steps == exact.steps.min() and exact.interval == (exact.n_steps,) * 2
    assert exact.step_size == 0.1


def test_sign_descent_is_counted_on_an_ensemble_with_an_interval():
    p = qpsim.QuadraticProblem([1.0, 0.2, 3.0], [1.0, -2.0, 0.5], noise=noise.white(0.3))
    found = qpsim.steps_to_loss(
        p, "ssd", 0.05, step_size=[0.05, 0.1], n_steps=100, n_replicates=200, rng=0, workers=1
    )
    low, high = found.interval
    assert not found.is_exact and low <= found.n_steps <= high and found.at_edge
    risk = theory.expected_excess_loss(p, "ssd", np.zeros(3), found.step_size, 100)
    assert low <= int(np.argmax(risk <= 0.05)) <= high
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_target_below_the_floor_is_never_reached():
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 1.5], noise=noise.white(1.0))
    for method in ("sgd", "ssd"):
        found = qpsim.steps_to_loss(
            p, method, 1e-3, step_size=0.1, n_steps=20, n_replicates=20, rng=0, workers=1
        )
        assert found.n_steps == math.inf and math.isnan(found.step_size) and not found.at_edge
        assert found.to_dict()["n_steps"] is None
    assert qpsim.steps_to_loss(p, "sgd", 1e9).n_steps == 0.0


BAD = {
    "target": ({"target": 0.0}, SimulationError, r"target must be a finite number > 0"),
    "target nan": ({"target": math.nan}, SimulationError, r"target must be a finite number > 0"),
    "step": ({"step_size": [0.1, 0.0]}, SimulationError, "one number above 0"),
    "steps": ({"step_size": []}, SimulationError, "one number above 0"),
    "two starts": ({"theta0": [0.0], "initial_square": 1.0}, TheoryError, "not both"),
    "squares": ({"initial_square": [1.0, 2.0]}, TheoryError, r"of shape \(1,\)"),
    "negative squares": ({"initial_square": -1.0}, TheoryError, "must not be negative"),
    "no exact count": ({"method": "ssd", "initial_square": 1.0}, SimulationError, "give theta0"),
    "method": ({"method": "sgdd"}, MethodError, "sgd"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_question_gets_its_own_sentence(kind):
    given, error_class, sentence = BAD[kind]
    p = qpsim.QuadraticProblem([1.0], noise_std=0.1)
    given = {"method": "sgd", "target": 0.1, "step_size": 0.1} | given
    method, target = given.pop("method"), given.pop("target")
    with pytest.raises(error_class, match=sentence) as error:
        qpsim.steps_to_loss(p, method, target, **given)
    assert "\n" not in str(error.value) and isinstance(error.value, QpsimError)


def test_with_a_law_they_are_counted_on_its_risk():
    p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    given = {"step_size": [0.1, 0.2], "theta0": [3.0, 1.0], "n_steps": 12}
    for method in ("ssd", "rmsprop"):
        found = qpsim.steps_to_loss(p, method, 2.5, law="exact", **given)
        risk, bound = theory.expected_excess_loss(
            p, method, [3.0, 1.0], found.step_size, 12, return_error_bound=True
        )
        last = int(found.n_steps)
        assert found.is_exact and risk[last] <= 2.5 < risk[last - 1]
        assert found.interval[0] <= last <= found.interval[1]
        assert (risk - bound)[int(found.interval[0])] <= 2.5
    closed = qpsim.steps_to_loss(p, "ssd", 2.5, law="closure", **given)
    assert not closed.is_exact and repr(closed).endswith("closure law>")
    with pytest.raises(SimulationError, match="initial_square serves exact counts"):
        qpsim.steps_to_loss(p, "ssd", 0.05, law="exact", initial_square=1.0)
