"""Averages of the iterates: their losses in a run, and their exact risk."""

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import MethodError, SimulationError, TheoryError

ROWS = np.random.default_rng(4).standard_normal((9, 3))
START = np.array([2.0, -1.0, 0.5])
PROBLEMS = {
    "axis": qpsim.QuadraticProblem([3.0, 1.0, 0.2], [0.1, 0.2, 0.3], noise_std=0.5),
    "dense": qpsim.QuadraticProblem(np.diag([2.0, 1.0, 0.3]) + 0.2, noise=qpsim.noise.white(0.3)),
    "least squares": qpsim.LeastSquares(np.diag([2.0, 1.0, 0.3]) + 0.2),
    "data": qpsim.DataProblem(ROWS, ROWS @ [1.0, 2.0, 3.0] + ROWS[:, 0] ** 2),
}
AVERAGES = [{"ema": 0.8}, {"tail": 3}]


def by_hand(theta, average):
    """Averages (replicate, step, coordinate) of iterates of that shape."""
    means = [theta[:, 0]]
    for t in range(1, theta.shape[1]):
        if "ema" in average:
            means.append(average["ema"] * means[-1] + (1.0 - average["ema"]) * theta[:, t])
        else:
            first = min(t, average["tail"])
            means.append(theta[:, first : t + 1].mean(axis=1))
    return np.stack(means, axis=1)


def run(problem, method, average, n_steps=8, n_replicates=5, **keywords):
    return qpsim.simulate(
        problem,
        method,
        0.05,
        n_steps,
        n_replicates,
        START,
        rng=7,
        record={"theta": True, "average": average},
        **keywords,
    )


@pytest.mark.parametrize("average", AVERAGES, ids=str)
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        *(("m-sgd", "axis"), ("m-sgd", "dense"), ("ssd", "axis"), ("ssd", "dense")),
        *(("sgd", "least squares"), ("sgd", "data")),
    ],
)
def test_the_averages_loss_is_that_of_the_averaged_iterates(kind, method, average):
    result = run(PROBLEMS[kind], method, average, workers=1)
    expected = PROBLEMS[kind].excess_loss(by_hand(result.theta, average))
    np.testing.assert_allclose(result.averaged_excess_loss, expected, rtol=1e-9, atol=1e-12)
    plain = qpsim.simulate(PROBLEMS[kind], method, 0.05, 8, 5, START, rng=7, workers=1)
    np.testing.assert_array_equal(result.excess_loss, plain.excess_loss)
    assert plain.averaged_excess_loss is None and "averaged_excess_loss" not in plain.axes


def test_averages_are_saved_continued_and_run_again(tmp_path):
    whole = run(PROBLEMS["dense"], "ssd", {"ema": 0.8}, n_replicates=70, workers=2)
    whole.save(tmp_path / "run.npz")
    again = [
        qpsim.load(tmp_path / "run.npz"),
        qpsim.rerun(qpsim.load(tmp_path / "run.npz"), workers=1),
        run(
            PROBLEMS["dense"],
            "ssd",
            {"ema": 0.8},
            n_replicates=70,
            checkpoint=tmp_path / "half",
            checkpoint_every=0,
        ),
        run(PROBLEMS["dense"], "ssd", {"ema": 0.8}, n_replicates=70, checkpoint=tmp_path / "half"),
    ]
    for same in again:
        np.testing.assert_array_equal(same.averaged_excess_loss, whole.averaged_excess_loss)
        assert same.spec["record"]["average"] == {"ema": 0.8}
    table = whole.to_xarray()
    assert table["averaged_excess_loss"].dims == ("replicate", "step")


@pytest.mark.parametrize("average", AVERAGES, ids=str)
@pytest.mark.parametrize("method", ["sgd", "m-sgd", "nesterov"])
@pytest.mark.parametrize("kind", ["axis", "dense"])
def test_the_exact_risk_of_an_average_is_the_mean_of_runs(kind, method, average):
    p = PROBLEMS[kind]
    exact = theory.expected_excess_loss(p, method, START, 0.05, 30, average=average)
    still = theory.expected_excess_loss(p.with_noise(0.0), method, START, 0.05, 30, average=average)
    silent = run(p.with_noise(0.0), method, average, n_steps=30, n_replicates=1)
    np.testing.assert_allclose(still, silent.averaged_excess_loss[0], rtol=1e-10)
    losses = run(p, method, average, n_steps=30, n_replicates=4000).averaged_excess_loss
    error = losses.std(axis=0, ddof=1) / 4000**0.5
    # Within 4 standard errors at every step.
    assert np.all(np.abs(losses.mean(axis=0) - exact)[1:] < 4.0 * error[1:])
    assert exact[0] == pytest.approx(losses[0, 0], rel=1e-12)


def test_averaging_takes_the_noise_out_of_a_long_run():
    p = qpsim.QuadraticProblem([1.0, 0.5], noise_std=1.0)
    plain = theory.expected_excess_loss(p, "sgd", [1.0, 1.0], 0.2, 2000)[-1]
    averaged = theory.expected_excess_loss(p, "sgd", [1.0, 1.0], 0.2, 2000, average={"tail": 200})
    # The mean of T iterates has the risk tr C / (2 T h) in each direction (Polyak and Juditsky, 1992).
    limit = 0.5 * np.sum(p.gradient_std() ** 2 / p.eigenvalues) / 1801
    assert averaged[-1] == pytest.approx(limit, rel=0.02) and averaged[-1] < 0.02 * plain


@pytest.mark.parametrize(
    ("average", "sentence"),
    [
        (0.9, "The average is"),
        ({"ema": 0.9, "tail": 3}, "The average is"),
        ({"mean": 3}, "The average is"),
        ({"ema": 1.0}, "decay must be"),
        ({"tail": -1}, "first step must be"),
        ({"tail": 2.5}, "first step must be"),
        ({"tail": 9}, "one of the run's 8"),
    ],
)
def test_what_is_no_average_gets_one_sentence(average, sentence):
    with pytest.raises(SimulationError, match=sentence):
        run(PROBLEMS["axis"], "sgd", average)
    with pytest.raises(TheoryError, match=sentence):
        theory.expected_excess_loss(PROBLEMS["axis"], "sgd", START, 0.1, 8, average=average)


def test_methods_whose_average_has_no_recursion_are_refused():
    for problem, method in ((PROBLEMS["axis"], "ssd"), (PROBLEMS["least squares"], "sgd")):
        with pytest.raises(MethodError, match="risk of an average"):
            theory.expected_excess_loss(problem, method, START, 0.1, 8, average={"ema": 0.5})
