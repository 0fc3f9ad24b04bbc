"""Simulated trajectories against loop twins, on the very same noise."""

import numpy as np
import pytest

import qpsim
from tests import naive

METHODS = ("sgd", "ssd", "svag", "va-ssd", "va-ssd-erf", "m-sgd", "m-ssd", "adam")
POLICIES = ("optimal", "bound", "line-search", "constant", "schedule")
N_STEPS = 8


def rotated(dim, noise_std, rng=3):
    values = np.linspace(0.3, 4.0, dim)
    return qpsim.random_problem(values, basis="haar", noise_std=noise_std, scale=3.0, rng=rng)


PROBLEMS = {
    "diagonal": qpsim.random_problem(np.linspace(0.3, 4.0, 5), basis="axis", noise_std=0.7, rng=1),
    "dense": rotated(5, 0.7),
    "even": rotated(4, 2.0),
    "noise-free": qpsim.random_problem([0.5, 1.0, 3.0], basis="axis", noise_std=0.0, rng=1),
    "dense-noise-free": rotated(3, 0.0),
    "one": qpsim.QuadraticProblem([2.0], [1.5], 0.5),
    "two": rotated(2, 0.1),
}


def step_size(policy):
    if policy == "constant":
        return 0.03, np.full(N_STEPS, 0.03)
    if policy == "schedule":
        return (lambda t: 0.2 / (t + 3)), 0.2 / (np.arange(1, N_STEPS + 1) + 3)
    return policy, None


def compare(problem, method, policy, *, replicates, n=67, rng=11, **more):
    given_step, given = step_size(policy)
    r = qpsim.simulate(
        problem,
        method,
        given_step,
        n_steps=N_STEPS,
        n_replicates=n,
        rng=rng,
        workers=1,
        record=("step_size", "theta"),
        **more,
    )
    # A tabulated quadrature gives the exact sign step to 1e-9, everything else is rounding.
    tabulated = method in naive.SIGN_METHODS and policy == "optimal" and not problem.is_diagonal
    tolerance = 1e-8 if tabulated else 1e-10
    theta0 = np.broadcast_to(more.get("theta0", np.zeros(problem.dim)), (n, problem.dim))
    for k in replicates:
        losses, steps, thetas, closest = naive.simulate(
            problem,
            method,
            policy if given is None else "given",
            np.random.SeedSequence(rng),
            k,
            N_STEPS,
            theta0[k],
            given,
            more.get("batch_size", 1),
        )
        # A gradient nearer to zero than rounding may have either sign; the seed avoids it.
        assert closest > 1e-9
        close(r.excess_loss[k], losses, tolerance)
        # At the optimum the step is a ratio of two rounding errors.
        away = losses[:-1] > 1e-8 * losses.max()
        close(r.step_size[k, away], steps[away], tolerance)
        close(r.theta[k], thetas, tolerance)


def close(actual, desired, tolerance):
    largest = np.abs(desired).max()
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance * largest)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_trajectory_is_that_of_the_loop_twin(kind, method, policy):
    if method == "adam" and policy in ("optimal", "bound"):
        with pytest.raises(qpsim.QpsimError, match="adam has no closed form"):
            qpsim.simulate(PROBLEMS[kind], method, policy)
        return
    # 0 and 63 are the first block's ends, 66 lies in the last, partial one.
    compare(PROBLEMS[kind], method, policy, replicates=(0, 63, 66))


@pytest.mark.parametrize("method", ["sgd", "ssd", "va-ssd", "m-ssd", "svag"])
@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_every_replicate_may_start_elsewhere_and_see_a_minibatch(kind, method):
    theta0 = np.random.Generator(np.random.PCG64(5)).normal(size=(67, 5))
    compare(PROBLEMS[kind], method, "optimal", replicates=(1, 64, 66), theta0=theta0, batch_size=7)
