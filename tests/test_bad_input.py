"""Wrong arguments of the public functions: each is an error of ours in one line, whatever its type and shape."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse

import qpsim
from qpsim import conformance, gallery, measure, noise, theory
from qpsim.errors import QpsimError
from qpsim.seeds import generator


class Broken:
    """Fails whatever is asked of it, with errors of its own."""

    def _fail(self, *arguments, **more):
        raise RuntimeError("no\nsuch thing")

    __array__ = __float__ = __index__ = __iter__ = __len__ = __repr__ = __bool__ = __eq__ = _fail
    __hash__ = object.__hash__


def objects(*values):
    made = np.empty(len(values), object)
    made[:] = values
    return made


VALUES = {
    "None": None,
    "text": "abc",
    "a number as text": "1.5",
    "lines": "ab\ncd\n",
    "bytes": b"abc",
    "True": True,
    "NumPy's True": np.bool_(True),
    "NaN": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "-1": -1,
    "-0.5": -0.5,
    "0": 0,
    "complex": 1 + 2j,
    "NumPy's complex": np.complex128(1 + 2j),
    "a huge integer": 10**400,
    "a huge number": 1e308,
    "2^63": 2**63,
    "Decimal": Decimal("0.5"),
    "Fraction": Fraction(1, 3),
    "an array of no axis": np.array(0.5),
    "an array of one": np.array([0.5]),
    "an empty list": [],
    "empty": np.array([]),
    "no rows": np.zeros((0, 2)),
    "no columns": np.zeros((2, 0)),
    "a dict": {},
    "a set": {1.0, 2.0},
    "a range": range(2),
    "a function": lambda *arguments: None,
    "an object": object(),
    "a broken object": Broken(),
    "a class": int,
    "ragged": [[1.0], [1.0, 2.0]],
    "texts": ["a", "b"],
    "a NaN in a list": [np.nan, 1.0],
    "an infinity in a list": [np.inf, 1.0],
    "booleans": [True, False],
    "an array of booleans": np.array([True, False]),
    "objects": objects(None, "a"),
    "complex numbers": [1j, 2.0],
    "three": [1.0, 2.0, 3.0],
    "negative": [-1.0, 1.0],
    "zeros": [0.0, 0.0],
    "not symmetric": [[1.0, 0.5], [0.1, 2.0]],
    "indefinite": [[1.0, 2.0], [2.0, 1.0]],
    "NaN in a matrix": [[np.nan, 0.0], [0.0, 1.0]],
    "rectangular": np.ones((2, 3)),
    "three axes": np.ones((2, 2, 2)),
    "huge numbers": [1e308, 1e308],
    "masked": np.ma.array([1.0, 2.0], mask=[False, True]),
    "numpy.matrix": np.matrix([[1.0, 0.0], [0.0, 2.0]]),
    "structured": np.zeros(2, dtype=[("a", "f8")]),
    "dates": np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
    "sparse": scipy.sparse.csr_matrix(np.eye(2)),
    "sparse booleans": scipy.sparse.csr_matrix(np.eye(2, dtype=bool)),
    "a method": qpsim.method("adam"),
    "a slice": slice(0, 1),
    "...": ...,
}

P = qpsim.QuadraticProblem([1.0, 2.0], noise_std=0.3)
DENSE = qpsim.QuadraticProblem([[1.0, 0.2], [0.2, 2.0]], noise_std=0.3)
SQUARES = qpsim.LeastSquares([1.0, 2.0])
LOCAL = qpsim.LocalModel([1.0, 2.0], [[1.0, 0.0], [0.0, -2.0]], noise.white(0.1))
X = np.random.default_rng(0).standard_normal((20, 2))
ONE = [1.0, 1.0]


def twice(v):
    return 2.0 * v


CALLS = {
    "noise.data, std": noise.data,
    "noise.white, std": noise.white,
    "noise.hessian, df": lambda v: noise.hessian(0.1, df=v),
    "noise.white, law": lambda v: noise.white(0.1, law=v),
    "noise.diagonal, variance": noise.diagonal,
    "noise.dense, covariance": noise.dense,
    "noise.low_rank, factor": noise.low_rank,
    "noise.low_rank, diagonal": lambda v: noise.low_rank([[1.0], [2.0]], v),
    "noise.from_dict, description": noise.from_dict,
    "noise.from_dict, arrays": lambda v: noise.from_dict({"family": "dense", "level": 1.0}, v),
    "noise.from_dict, family": lambda v: noise.from_dict({"family": v, "level": 1.0}),
    "noise.from_dict, level": lambda v: noise.from_dict({"family": "data", "level": v}),
    "noise.from_dict, law": lambda v: noise.from_dict({"family": "data", "level": 1.0, "law": v}),
    "QuadraticProblem, hessian": qpsim.QuadraticProblem,
    "QuadraticProblem, optimum": lambda v: qpsim.QuadraticProblem(ONE, v),
    "QuadraticProblem, noise": lambda v: qpsim.QuadraticProblem(ONE, noise=v),
    "LeastSquares, covariance": qpsim.LeastSquares,
    "LeastSquares, optimum": lambda v: qpsim.LeastSquares(ONE, v),
    "LeastSquares, label_noise_std": lambda v: qpsim.LeastSquares(ONE, label_noise_std=v),
    "DataProblem, X": lambda v: qpsim.DataProblem(v, ONE),
    "DataProblem, y": lambda v: qpsim.DataProblem(X, v),
    "DataProblem, order": lambda v: qpsim.DataProblem(X, X[:, 0], order=v),
    "DataProblem, drop_last": lambda v: qpsim.DataProblem(X, X[:, 0], drop_last=v),
    "LocalModel, gradient": lambda v: qpsim.LocalModel(v, np.eye(2), noise.white()),
    "LocalModel, hessian": lambda v: qpsim.LocalModel(ONE, v, noise.white()),
    "LocalModel, noise": lambda v: qpsim.LocalModel(ONE, np.eye(2), v),
    "preconditioned": P.preconditioned,
    "preconditioned, dense": DENSE.preconditioned,
    "at_batch": P.at_batch,
    "random_problem, spectrum": lambda v: qpsim.random_problem(v, 2, rng=0),
    "random_problem, basis": lambda v: qpsim.random_problem("mild", 2, v, rng=0),
    "gallery, dim": gallery.noisy_quadratic_model,
    "a generator": generator,
    "best_schedule, n_steps": lambda v: qpsim.best_schedule(P, "sgd", v),
    "best_schedule, family": lambda v: qpsim.best_schedule(P, "sgd", 2, ONE, family=v),
    "best_schedule, objective": lambda v: qpsim.best_schedule(P, "sgd", 2, ONE, objective=v),
    "best_schedule, objective by simulation": lambda v: qpsim.best_schedule(
        SQUARES, "adam", 2, family="constant", objective=v
    ),
    "best_schedule, batch_size": lambda v: qpsim.best_schedule(P, "sgd", 2, ONE, batch_size=v),
    "steps_to_loss, target": lambda v: qpsim.steps_to_loss(P, "sgd", v, step_size=0.1),
    "steps_to_loss, step_size": lambda v: qpsim.steps_to_loss(P, "sgd", 0.5, step_size=v),
    "steps_to_loss, theta0": lambda v: qpsim.steps_to_loss(P, "sgd", 0.5, step_size=0.1, theta0=v),
    "steps_to_loss, initial_square": lambda v: qpsim.steps_to_loss(
        P, "sgd", 0.5, step_size=0.1, initial_square=v
    ),
    "steps_to_loss, n_steps": lambda v: qpsim.steps_to_loss(
        P, "sgd", 0.5, step_size=0.1, n_steps=v
    ),
    "steps_to_loss, n_replicates": lambda v: qpsim.steps_to_loss(
        P, "sgd", 0.5, step_size=0.1, n_replicates=v
    ),
    "steps_to_loss, law": lambda v: (
        v is None or qpsim.steps_to_loss(P, "ssd", 0.5, step_size=0.1, law=v, n_steps=3)
    ),
    "risk, theta0": lambda v: theory.expected_excess_loss(P, "sgd", v, 0.1, 2),
    "risk, step_size": lambda v: theory.expected_excess_loss(P, "sgd", ONE, v, 2),
    "risk, n_steps": lambda v: theory.expected_excess_loss(P, "sgd", ONE, 0.1, v),
    "risk, law": lambda v: theory.expected_excess_loss(P, "ssd", ONE, 0.1, 2, law=v),
    "risk, return_error_bound": lambda v: theory.expected_excess_loss(
        P, "sgd", ONE, 0.1, 2, return_error_bound=v
    ),
    "risk, average": lambda v: theory.expected_excess_loss(P, "sgd", ONE, 0.1, 2, average=v),
    "risk, decay": lambda v: theory.expected_excess_loss(P, "sgd", ONE, 0.1, 2, average={"ema": v}),
    "high-dimensional risk, step_size": lambda v: theory.expected_excess_loss(
        DENSE, "ssd", ONE, v, 2, law="high-dimensional"
    ),
    "success_probability": lambda v: theory.success_probability(v, 1.0),
    "optimal_step_size": lambda v: theory.optimal_step_size(P, "ssd", v),
    "optimal_step_size, method": lambda v: theory.optimal_step_size(P, v, ONE),
    "direction_moments, state": lambda v: theory.direction_moments(P, "adam", ONE, v),
    "compare_directions, methods": lambda v: theory.compare_directions(P, ONE, methods=v),
    "variance_adaptation_factor, kind": lambda v: theory.variance_adaptation_factor(1.0, v),
    "local model": lambda v: theory.optimal_step_size(LOCAL, "ssd", v),
    "measure.noise, gradients": measure.noise,
    "measure.noise, n_coordinates": lambda v: measure.noise(X, n_coordinates=v),
    "measure.noise, rng": lambda v: measure.noise(X, rng=v),
    "measure.curvature, hvp": lambda v: measure.curvature(v, 2),
    "measure.curvature, its value": lambda v: measure.curvature(lambda u: v, 2),
    "measure.curvature, dim": lambda v: measure.curvature(twice, v),
    "measure.directions, methods": lambda v: measure.directions(X, twice, methods=v),
    "conformance.streams": lambda v: v is None or conformance.streams(v),
    "rerun": qpsim.rerun,
    "method": qpsim.method,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_a_wrong_argument_is_an_error_of_ours_in_one_line(call):
    refused = 0
    for name, value in VALUES.items():
        try:
            CALLS[call](value)
        except QpsimError as error:
            refused += 1
            message = str(error)
            assert message.rstrip().endswith((".", "?")) and "\n" not in message, (name, message)
            assert len(message) < 700, name
        except Exception as error:
            raise AssertionError(f"{call} of {name}: {type(error).__name__}: {error}") from error
    assert refused > len(VALUES) // 3
