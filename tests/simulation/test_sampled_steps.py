"""Optimal steps of runs with a hundred coordinates agree with estimates from many drawn gradients.

A run is followed to the state before a step, by the numbers that its first replicate drew. From there the gradient is
drawn, the rule itself makes a direction of it, and the ratio of the averages of grad^T z and z^T Q z is compared with
the step taken, within 4 of its standard errors. Nothing of the exact step is used: no form, no series, no table.
"""

import math
import warnings

import numpy as np
import pytest

import qpsim
from qpsim.errors import ArtefactWarning
from qpsim.kernels import noise, observed
from qpsim.methods import State, method_names

CHUNK = 10_000
# A minute each: every spectrum, basis, noise level and stage of a run, not every combination of them.
CASES = [
    pytest.param("structured", "haar", 4, 12, marks=pytest.mark.long),
    pytest.param("structured", "haar", 0.1, 2, marks=pytest.mark.long),
    pytest.param("mild", "haar", 4, 2, marks=pytest.mark.exhaustive),
    pytest.param("structured", "axis", 4, 12, marks=pytest.mark.long),
]


class Draws:
    """What the first replicate of a run draws: a step's normals, then its variance estimates."""

    def __init__(self, problem, batch_size, seed):
        self.problem, self.batch_size = problem, batch_size
        self.stream = noise.seed_lanes(np.random.SeedSequence(seed), 0, 1)
        self.factor = problem.noise_std / math.sqrt(batch_size) * problem.eigenvalues
        if not problem.is_diagonal:
            self.factor = problem.eigenvectors * self.factor

    def spread(self, normals):
        """The noise (..., d) of a gradient from normals (..., d)."""
        return normals * self.factor if self.problem.is_diagonal else normals @ self.factor.T

    def normals(self):
        out = np.empty((self.problem.dim, 1))
        noise.fill_normals(self.stream, out)
        return out[:, 0]

    def estimates(self):
        out = np.empty((self.problem.dim, 1))
        if self.problem.is_diagonal:
            observed.fill_chi_squares(self.stream, self.batch_size - 1, out)
            return out[:, 0] * self.factor**2 / (self.batch_size - 1)
        factor = np.ascontiguousarray(self.factor.T)
        observed.fill_correlated_estimates(self.stream, factor, self.batch_size, out)
        return out[:, 0]


def follow(problem, method, t, batch_size, seed):
    """A run's step number t; the exact gradient, the state and what is observed before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ArtefactWarning)
        run = qpsim.simulate(
            problem, method, n_steps=t, n_replicates=1, rng=seed, workers=1, batch_size=batch_size,
            record=("step_size", "theta"),
        )  # fmt: skip
    draws, state = Draws(problem, batch_size, seed), method.initial_state(problem.dim)
    std = problem.gradient_std() / math.sqrt(batch_size)
    for k in range(t):
        exact = problem.gradient(run.theta[0, k])
        g = exact - draws.spread(draws.normals())
        given = {}
        if method.observes == "relative_variance":
            given = {"relative_variance": (std / exact) ** 2}
        elif method.observes:
            given = {"variance_estimate": draws.estimates()}
        direction, following = method.update(g, state, **given)
        moved = run.theta[0, k] - run.step_size[0, k] * direction
        np.testing.assert_allclose(moved, run.theta[0, k + 1], rtol=1e-9, atol=1e-12)
        if k + 1 < t:
            state = following
    return run.step_size[0, t - 1], exact, state, given, draws


def deviations_off(problem, methods, t, batch_size, n_draws, seed=3):
    """By how many standard errors each method's step is off the sampled one."""
    cases = [follow(problem, method, t, batch_size, seed) for method in methods]
    sums = np.zeros((len(cases), 5))
    rng = np.random.Generator(np.random.PCG64(seed))
    hessian = np.array(problem.hessian)
    for _ in range(0, n_draws, CHUNK):
        spread = cases[0][4].spread(rng.standard_normal((CHUNK, problem.dim)))
        for k, (method, case) in enumerate(zip(methods, cases, strict=True)):
            _, exact, state, given, _ = case
            shape = (CHUNK, problem.dim)
            many = {name: np.broadcast_to(state[name], shape) for name in method.state_names}
            seen = {name: np.broadcast_to(value, shape) for name, value in given.items()}
            z, _ = method.update(exact + spread, State(t - 1, many), **seen)
            image = z * hessian if problem.is_diagonal else z @ hessian
            gain, square = z @ exact, np.einsum("ki,ki->k", image, z)
            sums[k] += [gain.sum(), square.sum(), gain @ gain, gain @ square, square @ square]
    gain, square, gain2, both, square2 = (sums / n_draws).T
    step = np.array([case[0] for case in cases])
    # Of grad^T z - alpha z^T Q z, whose expectation is 0 at the exact alpha.
    variance = gain2 - 2 * step * both + step**2 * square2
    return (gain - step * square) / np.sqrt(variance / n_draws)


def check(names, spectrum, basis, nu, t, n_draws):
    problem = qpsim.random_problem(spectrum, 100, basis, noise_std=nu, rng=1)
    methods = [qpsim.method(name) for name in names]
    batch_size = 5
    off = deviations_off(problem, methods, t, batch_size, n_draws)
    assert {name: x for name, x in zip(names, off, strict=True) if not abs(x) < 4} == {}


def test_steps_agree_with_sampling():
    check(["ssd", "adam"], "structured", "haar", 4, 3, 20_000)


@pytest.mark.parametrize(("spectrum", "basis", "nu", "t"), CASES)
def test_every_method_agrees_with_a_million_draws(spectrum, basis, nu, t):
    check(method_names(), spectrum, basis, nu, t, 1_000_000)
