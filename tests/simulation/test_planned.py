"""Planned step sizes in a simulation are those of the schedule."""

import numpy as np
import pytest

import qpsim
from qpsim.errors import ArtefactWarning, ProblemError, StepSizeError
from qpsim.simulation import spec
from qpsim.simulation.stepsize import resolve
from qpsim.sweep import Sweep
from qpsim.sweep.cell import read_cell

START = np.array([1.0, -2.0, 0.5, 3.0])


def problem(basis="haar", **options):
    return qpsim.random_problem("mild", 4, basis, 0.5, scale=0.0, rng=1, **options)


def run(p=None, method="sgd", theta0=START, n_steps=8, n_replicates=6, **options):
    p = problem() if p is None else p
    return qpsim.simulate(
        p, method, "planned", n_steps, n_replicates, theta0, rng=0, workers=1, **options
    )


@pytest.mark.parametrize(
    ("method", "batch_size"),
    [
        ("sgd", 1),
        ("sgd", 4),
        # Each of these has a kernel to compile.
        *(
            pytest.param(m, 4, marks=pytest.mark.long)
            for m in ("m-sgd", "nesterov", "damped-m-sgd")
        ),
    ],
)
def test_the_steps_are_the_best_schedules(method, batch_size):
    p = problem()
    best = qpsim.best_schedule(p.at_batch(batch_size), method, 8, START)
    r = run(p, method, batch_size=batch_size)
    np.testing.assert_allclose(r.step_size, np.tile(best.step_size, (6, 1)), rtol=1e-12)
    given = qpsim.simulate(
        p, method, r.step_size[0], 8, 6, START, rng=0, workers=1, batch_size=batch_size
    )
    np.testing.assert_array_equal(given.excess_loss, r.excess_loss)
    assert r.plan.policy.name == r.spec["step_size"] == r.summary()["step_size"] == "planned"
    assert "planned step size" in repr(r)


def test_it_ends_lower_than_greedy_steps():
    p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    ends = [
        qpsim.simulate(p, "sgd", policy, 30, 400, [3.0, 1.0], rng=0, workers=1)
        .excess_loss[:, -1]
        .mean()
        for policy in ("planned", "optimal")
    ]
    assert ends[0] < 0.5 * ends[1]


def test_every_replicate_may_have_its_start():
    starts = np.random.Generator(np.random.PCG64(0)).normal(size=(6, 4))
    best = qpsim.best_schedule(problem(), "sgd", 8, starts)
    r = run(theta0=starts)
    np.testing.assert_allclose(r.step_size, np.tile(best.step_size, (6, 1)), rtol=1e-12)


def test_they_survive_saving_loading_and_running_again(tmp_path):
    r = run()
    again = qpsim.load(r.save(tmp_path / "r.npz"))
    assert again.spec == r.spec and repr(again) == repr(r)
    np.testing.assert_array_equal(again.plan.policy.given, r.step_size[0])
    np.testing.assert_array_equal(qpsim.rerun(again, workers=1).excess_loss, r.excess_loss)


def test_a_checkpoint_is_gone_on_from(tmp_path):
    r, place = run(), tmp_path / "c"
    for _ in range(2):
        kept = run(checkpoint=place)
        np.testing.assert_array_equal(kept.excess_loss, r.excess_loss)
        np.testing.assert_array_equal(kept.step_size, r.step_size)


def test_an_experiment_file_may_ask_for_it():
    table = {
        "problem": {"spectrum": "mild", "dim": 4},
        "methods": ["sgd", {"name": "ssd", "step_size": 0.1}],
        "step_size": "planned",
        "n_steps": 5,
        "n_replicates": 2,
    }
    results = spec.parse(table).run(workers=1)
    assert [r.plan.policy.name for r in results.values()] == ["planned", "constant"]
    assert (results["sgd"].step_size > 0.0).any()


def test_a_sweep_may_ask_for_it():
    fixed = {"spectrum": "mild", "dim": 4, "n_steps": 6, "n_replicates": 5, "record": "full"}
    (cell,) = Sweep(fixed, {"step_size": ["planned"]})
    best = qpsim.best_schedule(cell.problem(), "sgd", 6)
    steps = read_cell(cell.run(), "here").step_size
    np.testing.assert_allclose(steps, np.tile(best.step_size, (5, 1)), rtol=1e-12)
    with pytest.raises(StepSizeError, match="not adam on a QuadraticProblem"):
        Sweep({**fixed, "method": "adam"}, {"step_size": ["planned"]})


@pytest.mark.parametrize("noise_std", [0.0, 0.5])
def test_at_the_optimum_nothing_moves(noise_std):
    with pytest.warns(ArtefactWarning, match="starts at the optimum"):
        r = run(problem().with_noise(noise_std), theta0=np.zeros(4))
    assert not r.step_size.any() and not r.excess_loss.any()


def test_it_is_refused_in_one_sentence_where_no_exact_recursion_is_known():
    offered = r"takes sgd, .* and, where the Hessian is diagonal, ssd on a QuadraticProblem, not "
    with pytest.raises(StepSizeError, match=offered + "adam on a QuadraticProblem") as error:
        run(method="adam")
    assert "\n" not in str(error.value)
    with pytest.raises(StepSizeError, match=offered + "ssd on a QuadraticProblem"):
        run(qpsim.random_problem([1.0, 2.0, 3.0, 4.0], basis="haar", rng=0), "ssd")
    with pytest.raises(StepSizeError, match=offered + "sgd on a LeastSquares"):
        run(qpsim.LeastSquares(np.eye(4)))
    data = qpsim.DataProblem(np.eye(4)[[0, 1, 2, 3, 0]], np.ones(5))
    with pytest.raises(StepSizeError, match=offered + "m-sgd on a DataProblem"):
        run(data, "m-sgd")
    heavy = qpsim.QuadraticProblem(np.arange(1.0, 5.0), noise=qpsim.noise.white(1.0, df=2.0))
    with pytest.raises(ProblemError, match="df above 2"):
        run(heavy)


def test_the_name_alone_says_no_steps():
    policy = resolve("planned", 3)
    assert policy.name == "planned" and policy.is_given and not policy.given.any()
