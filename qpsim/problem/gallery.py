"""Published problems: those of Figure 2, the noisy quadratic model, the quadratic of DeepOBS."""

from __future__ import annotations

from typing import Any

import numpy as np

from qpsim import checks, seeds
from qpsim.errors import ProblemError
from qpsim.execution.blas import one_blas_thread
from qpsim.problem import noise
from qpsim.problem.data import DataProblem
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem

__all__ = ["deepobs_quadratic", "figure2", "noisy_quadratic_model"]

NOISE_LEVELS = (0.0, 0.1, 4.0)


def figure2(
    *, dim: int = 100, scale: float = 10.0, rng: Any = 0
) -> dict[tuple[str, str, float], QuadraticProblem]:
    """The twelve problems of Figure 2 (Balles & Hennig, 2018): spectrum x basis x noise level.

    Parameters
    ----------
    dim : int, default 100
    scale : float, default 10
        The optimum's coordinates are U[-scale, scale]; the paper does not say how far away it starts.
    rng : int or any other seed, default 0
        All twelve problems have the same optimum; for one spectrum both bases have the same eigenvalues.

    Returns
    -------
    dict
        Problems by (spectrum, basis, noise_std), with the spectra "mild" and "structured", the bases "axis" and
        "haar", and the levels 0, 0.1 and 4.

    Examples
    --------
    >>> from qpsim import gallery
    >>> gallery.figure2(dim=10)["structured", "haar", 4.0]
    <QuadraticProblem dense, dim=10, eigenvalues in [0.0571, 50.4], noise_std=4>
    """
    seed = seeds.seed_sequence(rng)
    problems = {}
    for spectrum in ("mild", "structured"):
        for basis in ("axis", "haar"):
            again = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
            made = random_problem(spectrum, dim, basis, 0.0, scale=scale, rng=again)
            for level in NOISE_LEVELS:
                problems[spectrum, basis, level] = made.with_noise(level)
    return problems


def noisy_quadratic_model(
    dim: int = 10_000, *, bins: int | None = None, rng: Any = 0
) -> QuadraticProblem:
    """The noisy quadratic model of Zhang et al. (2019): h_i = 1 / i, gradient noise of covariance H / B.

    Parameters
    ----------
    dim : int, default 10000
    bins : int, optional
        Number of different curvatures: each i is rounded up to the next of so many geometrically spaced numbers from 1
        to dim. The published results have 100. By default every i has its own curvature.
    rng : int or any other seed, default 0
        The optimum is drawn N(0, I), theta starting at 0. For the expectation over it, as published, give
        ``initial_square=1.0`` to :func:`qpsim.steps_to_loss`.

    Examples
    --------
    >>> from qpsim import gallery
    >>> gallery.noisy_quadratic_model(dim=1000)
    <QuadraticProblem diagonal, dim=1000, eigenvalues in [0.001, 1], noise.hessian(1)>
    """
    d = checks.count("dim", dim, ProblemError)
    number = np.arange(1.0, d + 1.0)
    if bins is not None and d > 1:
        n = checks.count("bins", bins, ProblemError, low=2) - 1
        # 1e-9 is subtracted so that rounding does not move an exact grid point to the next one.
        place = np.ceil(np.log(number) / np.log(d) * n - 1e-9)
        number = d ** (place / n)
    generator = seeds.generator(rng)
    return QuadraticProblem(1.0 / number, generator.standard_normal(d), noise=noise.hessian(1.0))


# Constants of DeepOBS: 1000 draws of standard deviation 0.6 in 100 dimensions, minibatches of 128, seeds.
_DEEPOBS_DIM, _DEEPOBS_ROWS, DEEPOBS_BATCH_SIZE, _DEEPOBS_STD = 100, 1000, 128, 0.6
_DEEPOBS_PROBLEM_SEED, _DEEPOBS_TRAIN_SEED, _DEEPOBS_TEST_SEED = 42, 42, 43


@one_blas_thread(load_scipy=False)
def deepobs_quadratic(seed: int = 0, *, order: str = "fixed") -> DataProblem:
    """DeepOBS's ``quadratic_deep`` (Schneider, Balles & Hennig, 2019): a finite sample of 1000 draws in 100 dimensions.

    The Hessian has 90 eigenvalues U(0, 1) and 10 U(30, 60) in a random basis. Runs start at theta = 1 and take 700
    steps on minibatches of 128, the last short one of an epoch dropped; the test loss is that of 896 other draws.
    Hessian and draws come from generators of fixed seeds, as DeepOBS has them.

    Parameters
    ----------
    seed : int, default 0
        Decides in which order the rows stand, and so which of them form a minibatch.
    order : {"fixed", "reshuffled", "replacement"}, default "fixed"
        Whether every epoch repeats that order, or has one of its own.

    Examples
    --------
    >>> from qpsim import gallery
    >>> p = gallery.deepobs_quadratic(0)
    >>> p, round(p.held_out_loss(p.optimum), 3)
    (<DataProblem draws around an optimum, 1000 rows, dim=100, order='fixed'>, 87.046)
    """
    number = checks.count("seed", seed, ProblemError, low=0, high=None)
    draws = np.random.RandomState(_DEEPOBS_PROBLEM_SEED)
    eigenvalues = np.concatenate([draws.uniform(0.0, 1.0, 90), draws.uniform(30.0, 60.0, 10)])
    rotation = _subgroup_rotation(_DEEPOBS_DIM, draws)
    hessian = rotation.T @ (eigenvalues[:, None] * rotation)
    tables = [
        np.random.RandomState(one).normal(0.0, _DEEPOBS_STD, (_DEEPOBS_ROWS, _DEEPOBS_DIM))
        for one in (_DEEPOBS_TRAIN_SEED, _DEEPOBS_TEST_SEED)
    ]
    train = np.random.default_rng(number).permutation(tables[0], axis=0)
    tested = _DEEPOBS_ROWS // DEEPOBS_BATCH_SIZE * DEEPOBS_BATCH_SIZE
    return DataProblem(
        train, order=order, hessian=0.5 * (hessian + hessian.T), held_out=tables[1][:tested]
    )


def _subgroup_rotation(dim: int, draws: np.random.RandomState) -> np.ndarray:
    """A Haar rotation by the subgroup algorithm (Diaconis & Shahshahani, 1987), from these draws in this order.

    A rotation of one dimension more is one of the smaller space followed by the reflection that takes the first axis
    to a uniform point of the sphere.
    """
    angle = 2.0 * np.pi * draws.uniform()
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for size in range(3, dim + 1):
        axis = -draws.normal(size=size)
        axis /= np.linalg.norm(axis)
        axis[0] += 1.0
        axis /= np.linalg.norm(axis)
        larger = np.eye(size)
        larger[1:, 1:] = rotation
        rotation = larger - 2.0 * np.outer(axis, axis @ larger)
    return -rotation
