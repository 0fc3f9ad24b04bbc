"""How many steps to a target loss, exactly: the risk's linear recursion, raised to powers instead of walked through.

At a constant step the second moments of (offset, state) along each eigenvector follow ``m <- T m + n`` with fixed T and
n (:mod:`qpsim.theory.risk`). T^(2^k) is known after k squarings, so that the first step at which the expected loss is
below a target is found by jumps of 2^k steps, largest first, even where it takes millions of steps.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from qpsim.errors import MethodError, TheoryError
from qpsim.methods import Method
from qpsim.methods import method as find_method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check
from qpsim.theory import risk

if TYPE_CHECKING:
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
    step_size: float,
    theta0: ArrayLike | None = None,
    *,
    initial_square: ArrayLike | None = None,
) -> float:
    """The number of steps after which E[excess loss] is at most the target, at a constant step size.

    Parameters
    ----------
    problem : QuadraticProblem
        A minibatch of B draws is ``problem.at_batch(B)``.
    method : str or Method
        A rule declared ``equivariant`` whose hyper-parameters do not change with the step: sgd, m-sgd, nesterov.
    target : float
        Excess loss, above 0.
    step_size : float
        Above 0.
    theta0 : array_like, shape (d,), default zeros
        Starting point.
    initial_square : array_like, shape (d,) or one number, optional
        Instead of theta0: E[(theta_0 - optimum)^2] along each eigenvector, for a random start.

    Returns
    -------
    float
        A whole number of steps, or infinity if the expected loss stays above the target. The loss is followed in
        strides of powers of two: were it to fall below the target and rise again within a stride, that would be missed.

    Raises
    ------
    MethodError
        Another method.
    TheoryError
        A target or a step size that is not above 0, or theta0 and initial_square together.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 0.001], noise=qpsim.noise.white(0.01))
    >>> qpsim.theory.steps_until(p, "sgd", 1e-3, 0.5, initial_square=4.0)
    717.0
    """
    p = check.problem(problem)
    chosen = find_method(method)
    if not chosen.equivariant or chosen.observes is not None:
        raise MethodError(
            f"{chosen.name} has no exact count of steps; it is known for sgd, m-sgd, nesterov and other rules declared "
            "equivariant. qpsim.steps_to_loss counts on an ensemble."
        )
    goal, alpha = check.amount(target, "The target"), check.amount(step_size, "The step size")
    if goal == 0.0 or alpha == 0.0:
        raise TheoryError("The target and the step size must be above 0.")
    squares = _initial_squares(p, theta0, initial_square)
    return _first_step_below(p, chosen, goal, alpha, squares)


def _initial_squares(
    p: QuadraticProblem, theta0: ArrayLike | None, initial_square: ArrayLike | None
) -> Array:
    if initial_square is None:
        offset = check.point(p, np.zeros(p.dim) if theta0 is None else theta0) - p.optimum
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
    p: QuadraticProblem, method: Method, target: float, alpha: float, squares: Array
) -> float:
    maps = [risk.linear_map(method, t) for t in (1.0, 2.0, 1e6)]
    if maps[0] != maps[1] or maps[1] != maps[2]:
        raise MethodError(f"{method.name}'s update changes with the step; simulate it instead.")
    # Directions that are alike are counted once.
    kinds = np.stack([p.eigenvalues, risk.eigen_variance(p), squares])
    (curvature, variance, square), count = np.unique(kinds, axis=1, return_counts=True)
    weight = 0.5 * curvature * count
    transition, kick = _affine_map(curvature, variance, alpha, maps[0])
    moments = np.zeros((curvature.size, kick.shape[1]))
    moments[:, 0] = square
    if float(weight @ moments[:, 0]) <= target:
        return 0.0
    powers = [(transition, kick)]
    while True:
        t, n = powers[-1]
        after = np.einsum("cij,cj->ci", t, moments) + n
        loss = float(weight @ after[:, 0])
        if loss <= target:
            break
        if len(powers) > _MOST_DOUBLINGS or not math.isfinite(loss):
            return math.inf
        powers.append((t @ t, np.einsum("cij,cj->ci", t, n) + n))
    taken = 0
    for k in range(len(powers) - 1, -1, -1):
        t, n = powers[k]
        after = np.einsum("cij,cj->ci", t, moments) + n
        if float(weight @ after[:, 0]) > target:
            moments, taken = after, taken + 2**k
    return float(taken + 1)


def _affine_map(
    curvature: Array, variance: Array, alpha: float, rows: tuple[tuple[float, ...], ...]
) -> tuple[Array, Array]:
    """T (c, k, k) and n (c, k) of the second moments E[x_i x_j], i <= j, of x = (offset, state...)."""
    width = len(rows)
    pairs = list(combinations_with_replacement(range(width), 2))
    lengths = np.array([-alpha, *([1.0] * (width - 1))])
    a = lengths[None, :, None] * np.broadcast_to(np.array(rows), (curvature.size, width, width))
    kick = a[:, :, 0] * np.sqrt(variance)[:, None]
    a = np.concatenate([a[:, :, :1] * curvature[:, None, None], a[:, :, 1:]], axis=2)
    a[:, 0, 0] += 1.0
    t = np.zeros((curvature.size, len(pairs), len(pairs)))
    for row, (i, j) in enumerate(pairs):
        for m in range(width):
            for n in range(width):
                t[:, row, pairs.index((min(m, n), max(m, n)))] += a[:, i, m] * a[:, j, n]
    return t, np.stack([kick[:, i] * kick[:, j] for i, j in pairs], axis=1)
