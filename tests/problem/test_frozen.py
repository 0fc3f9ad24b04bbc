"""Problems and their copies cannot be changed."""

import copy
import pickle

import numpy as np
import pytest

import qpsim

ROWS = np.random.default_rng(0).standard_normal((8, 3))
PROBLEMS = {
    "quadratic": qpsim.QuadraticProblem(np.diag([1.0, 2.0, 3.0]) + 0.1),
    "least squares": qpsim.LeastSquares(np.diag([1.0, 2.0, 3.0]) + 0.1),
    "least squares of a batch": qpsim.LeastSquares(np.ones(3)).at_batch(4),
    "data": qpsim.DataProblem(ROWS, ROWS[:, 0]),
    "local": qpsim.LocalModel([1.0, 0.0, 2.0], np.diag([1.0, -1.0, 0.5]), qpsim.noise.white(1.0)),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_neither_attributes_nor_arrays_can_be_changed(kind):
    problem = PROBLEMS[kind]
    for same in (
        problem,
        copy.copy(problem),
        copy.deepcopy(problem),
        pickle.loads(pickle.dumps(problem)),
    ):
        for name in ("dim", "_hessian", "_covariance", "new"):
            if name == "new" or name in vars(same):
                with pytest.raises(
                    AttributeError, match=rf"A {type(same).__name__} is frozen; {name} cannot"
                ):
                    setattr(same, name, 1.0)
        arrays = {k: v for k, v in vars(same).items() if isinstance(v, np.ndarray)}
        assert arrays
        for array in arrays.values():
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0.0
        theta = np.arange(3.0)
        assert same.excess_loss(theta) == problem.excess_loss(theta)
