"""The exact number of steps to a target loss, by powers of the risk's linear recursion.

At a constant step the second moments of (offset, state) along each eigenvector follow ``m <- T m + n`` with fixed T and
n (:mod:`qpsim.theory.eigen_moments`). T^(2^k) is known after k squarings, so that the first step at which the expected
loss is at most the target is found by jumps of 2^k steps, largest first, also if it takes millions of steps.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError, ProblemError, TheoryError
from qpsim.methods import Method
from qpsim.methods import method as find_method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check
from qpsim.theory.averaging import average_of
from qpsim.theory.eigen_moments import (
    affine_map,
    averaged,
    eigen_variance,
    linear_map,
    one_step,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

# The grid of Zhang et al. (2019): a hundred steps from 1e-5 to 10^0.5, at a largest curvature of 1.
STEP_SIZES = tuple(np.logspace(-5.0, 0.5, 100).tolist())

_MOST_DOUBLINGS = 40


@check.quiet
def steps_until(
    problem: QuadraticProblem,
    method: str | Method,
    target: float,
    step_size: ArrayLike,
    theta0: ArrayLike | None = None,
    *,
    initial_square: ArrayLike | None = None,
    average: Mapping[str, float] | None = None,
) -> Any:
    """The number of steps after which E[excess loss] is at most the target, at a constant step size.

    Parameters
    ----------
    problem : QuadraticProblem
        A minibatch of B draws is ``problem.at_batch(B)``.
    method : str or Method
        A rule declared ``equivariant`` whose hyper-parameters do not change with the step: sgd, m-sgd, nesterov.
    target : float
        Excess loss, above 0.
    step_size : float or array_like, any shape
        Above 0; each is a constant step size of its own.
    theta0 : array_like, shape (d,), default zeros
        Starting point.
    initial_square : array_like, shape (d,) or one number, optional
        Instead of theta0: E[(theta_0 - optimum)^2] along each eigenvector, for a random start.
    average : {"ema": decay}, optional
        The loss is that of the average of the iterates, a <- decay a + (1 - decay) theta, which begins at theta_0 and
        does not change the steps (:func:`qpsim.theory.averaging.average_of`).

    Returns
    -------
    float, or ndarray of step_size's shape
        A whole number of steps, or infinity if the expected loss stays above the target. Only losses at jumps of powers
        of two are computed: if the loss falls below the target and rises again within a jump, this is missed.

    Raises
    ------
    MethodError
        Another method.
    TheoryError
        A target or a step size that is not above 0, another average than a moving one, or theta0 and initial_square
        together.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 0.001], noise=qpsim.noise.white(0.01))
    >>> qpsim.theory.steps_until(p, "sgd", 1e-3, 0.5, initial_square=4.0)
    717.0
    >>> qpsim.theory.steps_until(p, "sgd", 1e-3, [0.5, 1.0], initial_square=4.0, average={"ema": 0.9})
    array([711., 364.])
    """
    p = check.problem(problem)
    chosen = find_method(method)
    if not chosen.equivariant or chosen.observes is not None:
        raise MethodError(
            f"{chosen.name} has no exact count of steps; it is known for sgd, m-sgd, nesterov and other rules declared "
            "equivariant. qpsim.steps_to_loss counts on an ensemble."
        )
    goal = check.amount(target, "The target")
    alphas = check.deviations(step_size, "The step size")
    if goal == 0.0 or not (alphas > 0.0).all():
        raise TheoryError("The target and the step size must be above 0.")
    mean = average_of(average, TheoryError)
    if mean is not None and mean.kind != "ema":
        raise TheoryError(
            'Steps are counted for an average {"ema": decay} only, whose recursion never changes.'
        )
    gamma = 0.0 if mean is None else mean.value
    squares = _initial_squares(p, theta0, initial_square)
    maps = [linear_map(chosen, t) for t in (1.0, 2.0, 1e6)]
    if maps[0] != maps[1] or maps[1] != maps[2]:
        raise MethodError(f"{chosen.name}'s update changes with the step; simulate it instead.")
    # Equal directions are computed once.
    kinds = np.stack([p.eigenvalues, eigen_variance(p), squares])
    alike, count = np.unique(kinds, axis=1, return_counts=True)
    found = [
        _first_step_below(alike, count.astype(float), goal, a, maps[0], gamma)
        for a in alphas.ravel()
    ]
    return check.scalar_or_array(np.reshape(found, alphas.shape))


def _initial_squares(
    p: QuadraticProblem, theta0: ArrayLike | None, initial_square: ArrayLike | None
) -> Array:
    if initial_square is None:
        start = check.point(p, np.zeros(p.dim) if theta0 is None else theta0)
        if start.ndim != 1:
            raise ProblemError(f"theta0 must have shape ({p.dim},), not {start.shape}.")
        offset = start - p.optimum
        return np.square(offset if p.eigenvectors is None else offset @ p.eigenvectors)
    if theta0 is not None:
        raise TheoryError("Give either theta0 or initial_square, and not both.")
    squares = check.deviations(initial_square, "initial_square")
    if squares.shape not in ((), (p.dim,)):
        raise TheoryError(
            f"initial_square must be one number or of shape ({p.dim},), not {squares.shape}."
        )
    return np.broadcast_to(squares, (p.dim,)).copy()


def _first_step_below(
    alike: Array,
    count: Array,
    target: float,
    alpha: float,
    rows: tuple[tuple[float, ...], ...],
    gamma: float,
) -> float:
    curvature, variance, square = alike
    weight = 0.5 * curvature * count
    a, push = one_step(curvature, variance, alpha, rows)
    starts = [0]
    if gamma > 0.0:
        a, push = averaged(a, push, gamma)
        starts = [0, a.shape[0] - 1]
    pairs = list(combinations_with_replacement(range(a.shape[0]), 2))
    # The axes in the order for stacked matrix products.
    transition, kick = (
        np.ascontiguousarray(np.moveaxis(part, -1, 0)) for part in affine_map(a, push, pairs)
    )
    # Theta and its average both begin at the start, so that all their moments are equal.
    moments = np.zeros(kick.shape)
    for k, (i, j) in enumerate(pairs):
        if i in starts and j in starts:
            moments[:, k] = square
    at = pairs.index((starts[-1], starts[-1]))
    if float(weight @ moments[:, at]) <= target:
        return 0.0
    powers = [(transition, kick)]
    while True:
        t, n = powers[-1]
        after = np.einsum("cij,cj->ci", t, moments) + n
        loss = float(weight @ after[:, at])
        if loss <= target:
            break
        if len(powers) > _MOST_DOUBLINGS or not math.isfinite(loss):
            return math.inf
        powers.append((t @ t, np.einsum("cij,cj->ci", t, n) + n))
    taken = 0
    for k in range(len(powers) - 1, -1, -1):
        t, n = powers[k]
        after = np.einsum("cij,cj->ci", t, moments) + n
        if float(weight @ after[:, at]) > target:
            moments, taken = after, taken + 2**k
    return float(taken + 1)
