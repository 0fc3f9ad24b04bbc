"""Every method under every law of the noise, on every class of problems: its exact steps are the best multiples.

Given the state before a step, the exact step a of a direction z has a grad^T E[z] = a^2 E[z^T Q z]. So over replicates
grad^T (a z) - (a z)^T Q (a z) has the mean 0, at every step of a run, where a z is how far theta moved. Nothing of the
theory is used, and no standard error is estimated but that of the mean.
"""

import numpy as np
import pytest

import qpsim
from qpsim import noise
from qpsim.errors import ProblemError
from qpsim.methods import method_names

HESSIAN = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
CURVATURES = np.array([0.5, 1.0, 3.0])
OPTIMUM, START = np.array([1.0, -2.0, 0.5]), np.array([1.6, -1.7, 0.1])
COVARIANCE = np.array([[1.0, 0.4, -0.2], [0.4, 2.0, 0.3], [-0.2, 0.3, 0.5]])
FACTOR, OWN = np.array([[1.0, 0.2], [-0.5, 1.0], [0.3, 0.7]]), np.array([0.1, 0.2, 0.4])
# With 9 degrees of freedom the loss after a linear step has a variance, and so its mean a standard error.
LAWS = {"gaussian": {}, "student": {"df": 9.0}, "laplace": {"law": "laplace"}}
# Families that share a kernel: on a dense Hessian all do.
DENSE = {
    "data": lambda law: noise.data(0.5, **law),
    "hessian": lambda law: noise.hessian(0.5, **law),
    "white": lambda law: noise.white(0.5, **law),
    "diagonal": lambda law: noise.diagonal([1.0, 0.3, 2.0], **law),
    "dense": lambda law: noise.dense(COVARIANCE, **law),
    "low_rank": lambda law: noise.low_rank(FACTOR, OWN, **law),
}
DIAGONAL = {name: DENSE[name] for name in ("data", "hessian", "white", "diagonal")}
# One rule of each kind of exact step: linear, two-valued, of known variance, estimated from the minibatch, by series.
FEW = ("m-sgd", "ssd", "va-ssd", "m-svag-mb", "rprop", "adam")
NAMES = [
    pytest.param(name, marks=pytest.mark.long if name in FEW else pytest.mark.exhaustive)
    for name in method_names()
]
CASES = {
    **{f"dense, {law}": (True, DENSE, law) for law in LAWS},
    **{f"diagonal, {law}": (False, DIAGONAL, law) for law in LAWS},
    "diagonal, correlated": (False, {"dense": DENSE["dense"]}, "student"),
    "diagonal, low rank": (False, {"low_rank": DENSE["low_rank"]}, "laplace"),
}
# What the default tests, or the same kernel under another law, show as well.
ALIKE = {
    *((case, "va-ssd") for case in CASES if case not in ("dense, student", "diagonal, student")),
    ("dense, laplace", "adam"),
}
COMBINED = [
    pytest.param(
        *CASES[case],
        name,
        marks=pytest.mark.long
        if name in FEW and (case, name) not in ALIKE
        else pytest.mark.exhaustive,
        id=f"{case}-{name}",
    )
    for case in CASES
    for name in method_names()
]


def check(problem, method, batch_size=2, n_steps=3):
    # A direction without a closed form takes a quadrature for every coordinate, node of the scale and replicate.
    n = 2000 if method.closed_form is not None else 128
    run = qpsim.simulate(
        problem,
        method,
        "optimal",
        n_steps,
        n,
        START,
        rng=1,
        batch_size=batch_size,
        record=("theta", "step_size", "excess_loss"),
    )
    hessian = np.asarray(problem.hessian)
    hessian = np.diag(hessian) if hessian.ndim == 1 else hessian
    for t in range(n_steps):
        moved = run.theta[:, t] - run.theta[:, t + 1]
        gain = np.sum(problem.gradient(run.theta[:, t]) * moved, axis=1)
        rest = gain - np.einsum("ki,ij,kj->k", moved, hessian, moved)
        assert np.isfinite(rest).all() and (run.step_size[:, t] != 0.0).any()
        error = rest.std() / n**0.5
        # The second term is rounding, of a rule whose first step is the same in all replicates.
        assert abs(rest.mean()) < 4.0 * error + 1e-12 * np.abs(gain).mean(), (t, problem)


@pytest.mark.parametrize(("dense", "families", "law", "name"), COMBINED)
def test_exact_steps_on_a_quadratic(name, dense, families, law):
    method = qpsim.method(name)
    for make in families.values():
        problem = qpsim.QuadraticProblem(
            HESSIAN if dense else CURVATURES, OPTIMUM, noise=make(LAWS[law])
        )
        if method.observes == "variance_estimate" and law != "gaussian":
            with pytest.raises(ProblemError, match="depend on each other"):
                check(problem, method)
        else:
            check(problem, method)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("covariance", [HESSIAN, CURVATURES], ids=["dense", "diagonal"])
def test_exact_steps_on_least_squares(name, covariance):
    method, problem = qpsim.method(name), qpsim.LeastSquares(covariance, OPTIMUM, 0.7)
    if method.observes == "variance_estimate":
        with pytest.raises(ProblemError, match="depend on each other"):
            check(problem, method)
    else:
        for batch_size in (1, 2, 8):
            check(problem, method, batch_size)


@pytest.mark.parametrize("name", NAMES)
def test_measured_steps_on_a_table(name):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 3))
    problem = qpsim.DataProblem(x, x @ OPTIMUM + 0.7 * rng.standard_normal(12))
    run = qpsim.simulate(problem, name, "line-search", 5, 200, START, rng=1, batch_size=4)
    # A line search never goes up, whatever the method and the minibatch.
    assert (np.diff(run.excess_loss, axis=1) <= 1e-12).all()
    assert run.excess_loss[:, -1].mean() < 0.7 * run.excess_loss[:, 0].mean()
