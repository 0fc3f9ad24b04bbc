"""A user's own noise and own problem, each a few lines: the seams that the package is extended at."""

from typing import NamedTuple

import numpy as np

import qpsim
from qpsim import theory
from qpsim.problem.laws import GAUSSIAN
from qpsim.problem.noise import Noise


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
