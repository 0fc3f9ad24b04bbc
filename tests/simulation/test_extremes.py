"""Numbers whose squares and cubes overflow or underflow are refused."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import qpsim
from qpsim.errors import (
    ArtefactWarning,
    DivergenceWarning,
    ExecutionError,
    FileError,
    MethodError,
    ProblemError,
    QpsimError,
)

DENSE = np.array([[2.0, 1.0], [1.0, 3.0]])


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("not on this device")


@pytest.mark.parametrize(
    "make",
    [
        lambda: qpsim.QuadraticProblem(1e-300 * DENSE),
        lambda: qpsim.QuadraticProblem(1e200 * DENSE),
        lambda: qpsim.QuadraticProblem([[1e308, 1e308], [1e308, 1.7e308]]),
        lambda: qpsim.QuadraticProblem([1e300, 1.0]),
        lambda: qpsim.QuadraticProblem(DENSE, noise_std=1e200),
        lambda: qpsim.QuadraticProblem(DENSE, noise_std=10**400),
        lambda: qpsim.QuadraticProblem(DENSE, optimum=[1e300, 0.0]),
        lambda: qpsim.QuadraticProblem(Broken()),
        lambda: qpsim.QuadraticProblem(np.ma.masked_array([1.0, 2.0], [True, False])),
        lambda: qpsim.random_problem(dim=10**30),
        lambda: qpsim.random_problem(dim=3, scale=1e308),
        lambda: qpsim.random_problem([1e308, 1.7e308]),
        lambda: qpsim.QuadraticProblem(DENSE).matvec([1.0]),
        lambda: qpsim.QuadraticProblem(DENSE).excess_loss("a"),
        lambda: qpsim.QuadraticProblem(DENSE).gradient([1j, 1.0]),
        lambda: qpsim.theory.optimal_step_size(qpsim.QuadraticProblem(DENSE), "sgd", [1e200, 1.0]),
    ],
)
def test_a_problem_out_of_range_is_refused_in_one_sentence(make):
    with pytest.raises(ProblemError) as caught:
        make()
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 10**30},
        {"n_steps": 10**30},
        {"n_replicates": 10**30},
        {"step_size": 10**400},
        {"workers": 10**30},
    ],
)
def test_a_simulation_out_of_range_is_refused(options):
    with pytest.raises(QpsimError):
        qpsim.simulate(qpsim.QuadraticProblem(DENSE), "sgd", **options)


def test_a_start_out_of_range_is_not_blamed_on_the_step_size():
    p = qpsim.QuadraticProblem(DENSE)
    with pytest.warns(DivergenceWarning, match="step 0; theta0 is too far"):
        qpsim.simulate(p, "sgd", n_steps=1, n_replicates=1, theta0=[1e200, 0.0], rng=0, workers=1)


def test_a_huge_hyper_parameter_is_refused():
    with pytest.raises(MethodError):
        qpsim.method("adam", b1=10**400)


def test_an_executor_that_was_shut_down_is_refused():
    with ThreadPoolExecutor(1) as pool:
        pass
    with pytest.raises(ExecutionError, match="shut down"):
        qpsim.simulate(qpsim.QuadraticProblem(DENSE), "sgd", n_replicates=1, rng=0, workers=pool)


def test_tiny_noise_at_the_optimum_leaves_no_nan():
    p = qpsim.QuadraticProblem(DENSE, noise_std=1e-200)
    with pytest.warns(ArtefactWarning, match="starts at the optimum"):
        r = qpsim.simulate(p, "adam", n_steps=3, n_replicates=2, rng=0, workers=1)
    assert (r.moment_error == 0).all() and (r.excess_loss == 0).all()


def test_a_pipe_is_not_replaced_by_a_result(tmp_path):
    r = qpsim.simulate(
        qpsim.QuadraticProblem([1.0], [2.0]), "sgd", n_steps=1, n_replicates=1, rng=0, workers=1
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, "", "a\0b", 5):
        with pytest.raises(FileError):
            r.save(place)
    assert pipe.is_fifo()
