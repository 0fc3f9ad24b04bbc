"""float32 simulations: the streams of float64, errors below the standard error, and refused cases."""

import numpy as np
import pytest

import qpsim
from qpsim.errors import SimulationError
from qpsim.simulation import spec

FLOAT32_ROUNDING = 6e-8


@pytest.fixture(scope="module")
def problem():
    return qpsim.random_problem("structured", dim=40, basis="axis", noise_std=0.5, rng=3)


def both(problem, method, step_size, **options):
    options = {"n_steps": 60, "n_replicates": 200, "rng": 5, "workers": 1, **options}
    return [
        qpsim.simulate(problem, method, step_size, dtype=dtype, **options)
        for dtype in ("float64", "float32")
    ]


@pytest.mark.parametrize(
    ("method", "step_size"),
    [
        ("sgd", "optimal"),
        ("m-sgd", 0.01),
        ("ssd", "optimal"),
        pytest.param("svag", "bound", marks=pytest.mark.long),
        pytest.param("adam", 0.1, marks=pytest.mark.long),
        pytest.param("adam", "optimal", marks=pytest.mark.long),
        pytest.param("m-svag", 0.02, marks=pytest.mark.long),
        pytest.param("rmsprop", "line-search", marks=pytest.mark.long),
    ],
)
def test_the_error_is_far_below_the_ensembles_own(problem, method, step_size):
    exact, rounded = both(problem, method, step_size)
    final, other = exact.excess_loss[:, -1], rounded.excess_loss[:, -1]
    # A sign forgets how its gradient was rounded.
    assert method == "ssd" or not np.array_equal(final, other)
    # What rounding does to a mean over replicates, against that mean's standard error: a thousandth,
    # but for the oracle, whose exact steps let differences grow in a few replicates.
    standard_error = final.std(ddof=1) / np.sqrt(final.size)
    share = 0.1 if method == "svag" else 1e-3
    assert abs(final.mean() - other.mean()) < share * standard_error
    # The same noise: a replicate stays itself, its steps' roundings added up.
    apart = np.abs(rounded.excess_loss / exact.excess_loss - 1.0)
    assert np.median(apart) < 60 * FLOAT32_ROUNDING


@pytest.mark.long
def test_a_minibatch_estimator_runs_in_float32(problem):
    exact, rounded = both(problem, "m-svag-mb", 0.002, batch_size=4)
    np.testing.assert_allclose(rounded.excess_loss, exact.excess_loss, rtol=1e-4)


def test_sgd_runs_on_a_rotated_problem():
    p = qpsim.random_problem("mild", dim=12, basis="haar", noise_std=0.5, rng=0)
    exact, rounded = both(p, "sgd", "optimal", n_replicates=30, record={"theta": [0, 60]})
    np.testing.assert_allclose(rounded.excess_loss, exact.excess_loss, rtol=1e-4)
    np.testing.assert_allclose(rounded.theta, exact.theta, atol=1e-4)
    assert rounded.theta.dtype == rounded.excess_loss.dtype == np.float64


def test_the_bits_depend_on_neither_workers_nor_the_number_of_replicates(problem):
    runs = [
        qpsim.simulate(
            problem, "m-sgd", 0.01, 20, n, rng=1, workers=workers, dtype="float32"
        ).excess_loss[:70]
        for n, workers in ((70, 1), (70, 3), (300, 2))
    ]
    np.testing.assert_array_equal(runs[1], runs[0])
    np.testing.assert_array_equal(runs[2], runs[0])


def test_a_result_and_a_checkpoint_know_their_precision(problem, tmp_path):
    options = {"n_steps": 9, "n_replicates": 5, "rng": 1, "workers": 1, "dtype": "float32"}
    place = tmp_path / "run.checkpoint"
    first = qpsim.simulate(problem, "m-sgd", 0.01, **options, checkpoint=place)
    again = qpsim.simulate(problem, "m-sgd", 0.01, **options, checkpoint=place)
    np.testing.assert_array_equal(again.excess_loss, first.excess_loss)
    first.save(tmp_path / "run.npz")
    assert qpsim.load(tmp_path / "run.npz").spec["dtype"] == "float32"
    with pytest.raises(qpsim.errors.FileError, match="another simulation"):
        qpsim.simulate(problem, "m-sgd", 0.01, **{**options, "dtype": "float64"}, checkpoint=place)


def test_an_experiment_file_names_a_precision():
    table = {
        "methods": ["sgd"],
        "n_steps": 3,
        "n_replicates": 2,
        "dtype": "float32",
        "problem": {"spectrum": "mild", "dim": 5, "basis": "axis"},
    }
    result = spec.parse(table).run(workers=1)["sgd"]
    assert result.spec["dtype"] == "float32"
    with pytest.raises(SimulationError, match="'float64' or 'float32', not 'half'"):
        spec.parse({**table, "dtype": "half"})


@pytest.mark.parametrize("dtype", ["float16", "f8", None, 32, np.float16])
def test_other_precisions_are_refused(problem, dtype):
    with pytest.raises(SimulationError, match="dtype must be 'float64' or 'float32'"):
        qpsim.simulate(problem, "sgd", n_steps=1, n_replicates=1, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.dtype("float32")])
def test_numpys_own_names_are_understood(problem, dtype):
    r = qpsim.simulate(problem, "sgd", n_steps=1, n_replicates=1, rng=0, workers=1, dtype=dtype)
    assert r.spec["dtype"] == "float32"


def test_where_float32_cannot_work_it_is_refused(problem):
    dense = qpsim.random_problem("mild", dim=5, basis="haar", rng=0)
    with pytest.raises(SimulationError, match="dense Hessian is simulated in float64 only"):
        qpsim.simulate(dense, "ssd", n_steps=1, n_replicates=1, dtype="float32")
    with pytest.raises(SimulationError, match="which float32 cannot hold"):
        qpsim.simulate(
            problem, "sgd", n_steps=1, n_replicates=1, theta0=np.full(40, 1e39), dtype="float32"
        )


def test_steps_too_small_for_single_precision_are_taken_all_the_same():
    # 1e-8 of an offset of 10 is below the last digit of single precision, at every one of the steps.
    problem = qpsim.QuadraticProblem([1.0, 2.0], [10.0, -7.0], 0.0)
    exact, rounded = (
        qpsim.simulate(problem, "sgd", 1e-8, 2000, 1, rng=0, workers=1, dtype=dtype)
        for dtype in ("float64", "float32")
    )
    assert exact.excess_loss[0, -1] < exact.excess_loss[0, 0]
    np.testing.assert_allclose(rounded.excess_loss, exact.excess_loss, rtol=1e-12)
