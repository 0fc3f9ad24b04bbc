"""The constant step is found on the paper's grid, and on nothing else."""

import numpy as np
import pytest

import qpsim


def test_gradient_descent_is_stable_up_to_two_over_the_curvature():
    p = qpsim.QuadraticProblem([1.0, 10.0], [3.0, -2.0], noise_std=0.0)
    found = qpsim.best_constant_step(p, "sgd", n_steps=50, n_replicates=2, rng=0, workers=1)
    assert found.largest_stable == 0.1  # 0.2 is the edge, the grid's next step is 0.3
    expected = [0.3, 0.1, 0.06, 0.03, 0.01, 0.006, 0.003, 0.001]
    assert found.step_sizes.tolist() == expected
    assert found.stable.tolist() == [False] + [True] * 7
    assert found.best == 0.1
    rows = found.table()
    assert [row["step_size"] for row in rows] == expected
    assert rows[1]["final_loss"]["median"] == found.best_loss


def test_the_same_seed_finds_the_same_on_any_workers():
    p = qpsim.random_problem("mild", 10, "axis", noise_std=1.0, rng=0)
    one, three = (
        qpsim.best_constant_step(p, "m-svag", n_steps=20, n_replicates=70, rng=5, workers=w)
        for w in (1, 3)
    )
    assert np.array_equal(one.final_loss, three.final_loss)
    assert one.best == three.best


def test_a_method_that_never_moves_up_is_refused():
    p = qpsim.QuadraticProblem(
        [1.0, 2.0], noise_std=0.0
    )  # starts at its optimum: any step is stable
    with pytest.raises(qpsim.QpsimError, match="stable at every constant step"):
        qpsim.best_constant_step(p, "sgd", n_steps=1, n_replicates=1, rng=0, workers=1)
