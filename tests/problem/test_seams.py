"""Extending the package: a user's class of noise and a user's class of problems, each in a few lines."""

from typing import NamedTuple

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import FileError, ProblemError
from qpsim.kernels.noise import fill_normals
from qpsim.kernels.problems import ProblemKernels, register
from qpsim.problem.interface import Prepared
from qpsim.problem.laws import GAUSSIAN, make_law
from qpsim.problem.noise import Noise
from qpsim.problem.noise_families import FAMILIES


class Cubic(Noise):
    """C = level^2 Q^3."""

    family = "cubic"

    def unit_covariance(self, q):
        return q.hessian**3 if q.is_diagonal else q.hessian @ q.hessian @ q.hessian

    def unit_variances(self, q):
        unit = self.unit_covariance(q)
        return unit if unit.ndim == 1 else np.diagonal(unit).copy()

    def unit_eigen_std(self, q):
        return q.eigenvalues**1.5

    def unit_factor(self, q):
        v = np.eye(q.dim) if q.eigenvectors is None else q.eigenvectors
        return v * q.eigenvalues**1.5


def test_a_third_noise_simulates_and_has_exact_steps():
    p = qpsim.random_problem([0.5, 1.0, 2.0], rng=0).with_noise(Cubic(0.7, GAUSSIAN))
    known = p.with_noise(qpsim.noise.dense(0.49 * p.hessian @ p.hessian @ p.hessian))
    for method in ("sgd", "ssd"):
        run = qpsim.simulate(p, method, n_steps=2, n_replicates=2, rng=0, workers=1)
        exact = theory.optimal_step_size(known, method, np.zeros(3))
        np.testing.assert_allclose(run.step_size[:, 0], exact, rtol=1e-9)


def test_a_noise_of_ones_own_is_saved_and_comes_back_once_its_class_is_registered(tmp_path):
    p = qpsim.QuadraticProblem([0.5, 1.0, 2.0], noise=Cubic(0.7, make_law(df=3)))
    # The policy and rule of the test above.
    run = qpsim.simulate(p, "sgd", 0.1, 2, 2, [1.0, 2.0, 3.0], rng=0, workers=1)
    path = run.save(tmp_path / "run.npz")
    with pytest.raises(FileError, match=r"family 'cubic', .*qpsim\.noise\.register first"):
        qpsim.load(path)
    try:
        assert qpsim.noise.register(Cubic) is Cubic
        again = qpsim.load(path)
        assert again.problem.noise.to_dict() == p.noise.to_dict()
        np.testing.assert_array_equal(qpsim.rerun(again).excess_loss, run.excess_loss)

        class Other(Cubic):
            pass

        with pytest.raises(ProblemError, match="already; give yours another name"):
            qpsim.noise.register(Other)
    finally:
        FAMILIES.pop("cubic", None)


def test_a_class_of_noise_that_lacks_something_says_what():
    class Half(Noise):
        family = "half"

        def unit_variances(self, q):
            return np.ones(q.dim)

    p = qpsim.QuadraticProblem([1.0, 2.0], noise=Half(1.0, GAUSSIAN))
    with pytest.raises(ProblemError, match=r"Half does not define unit_eigen_std\(q\)"):
        qpsim.simulate(p, "sgd", 0.1, 2, 2, [1.0, 2.0], rng=0, workers=1)
    with pytest.raises(ProblemError, match=r"derives from qpsim\.noise\.Noise"):
        qpsim.noise.register(float)
    with pytest.raises(ProblemError, match="Noise has no name"):
        qpsim.noise.register(Noise)


class BowlArguments(NamedTuple):
    curvature: float
    std: float


def evaluate(problem, offset, gradient, loss):
    loss[:] = 0.0
    for i in range(offset.shape[0]):
        for lane in range(loss.size):
            gradient[i, lane] = problem.curvature * offset[i, lane]
            loss[lane] += 0.5 * gradient[i, lane] * offset[i, lane]


def draw(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    fill_normals(stream, noise)
    noise *= problem.std


def multiply(problem, direction, image):
    image[:] = problem.curvature * direction


register(BowlArguments, ProblemKernels(evaluate, lambda problem, hyper: draw, multiply))


class Bowl:
    """0.5 c |theta|^2 with white noise."""

    kind, dim, optimum = "bowl", 3, np.zeros(3)

    def excess_loss(self, theta):
        return np.sum(np.square(theta), axis=-1)

    def gradient(self, theta):
        return 2.0 * np.asarray(theta)

    def check_simulation(self, method, policy, batch_size):
        pass

    def prepared(self, method, policy, batch_size, tolerance):
        return Prepared(BowlArguments(2.0, 0.5 / batch_size**0.5))

    def to_dict(self):
        return {"dim": 3}

    def arrays(self):
        return {}

    runs_by_coordinate = lanes_are_independent = records_moment_error = lambda self, method: False
    is_deterministic = lambda self: False  # noqa: E731


class Flickering:
    """0.5 |theta|^2, where a gradient is doubled or 0 with equal probabilities."""

    dim = 2

    def gradient(self, theta):
        return np.asarray(theta)

    def gradient_std(self, theta):
        return np.abs(theta)

    def gradient_mixture(self, theta):
        model = qpsim.LocalModel(theta, np.ones(2), qpsim.noise.white(0.0))
        yield 0.5, model, np.zeros(2)
        yield 0.5, model, 2.0 * theta


def test_a_noise_that_depends_on_theta_has_moments_once_its_law_is_given_as_a_mixture():
    mean, quadratic = theory.direction_moments(Flickering(), "sgd", [1.0, -2.0])
    assert mean.tolist() == [1.0, -2.0] and quadratic == 10.0
    mean, quadratic = theory.direction_moments(Flickering(), "ssd", [1.0, -2.0])
    assert mean.tolist() == [0.5, -0.5] and quadratic == 1.0


def test_a_second_problem_simulates_with_given_and_measured_steps():
    p, known = Bowl(), qpsim.QuadraticProblem([2.0] * 3, noise=qpsim.noise.white(0.5))
    theta0, n = [1.0, -2.0, 0.5], 20_000
    run = qpsim.simulate(p, "sgd", 0.1, 4, n, theta0, rng=0, workers=1, batch_size=4)
    risk = theory.expected_excess_loss(known.at_batch(4), "sgd", theta0, 0.1, 4)
    error = run.excess_loss.std(axis=0) / n**0.5
    assert (np.abs(run.excess_loss.mean(axis=0) - risk) < 4.0 * error + 1e-12).all()
    # The line search minimises the loss along the direction drawn.
    run = qpsim.simulate(p, "sgd", "line-search", 4, 10, theta0, rng=0, workers=1)
    assert (np.diff(run.excess_loss, axis=1) < 0.0).all()
