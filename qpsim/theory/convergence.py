"""Theorem 1: idealised variance adaptation converges like 1/t at a constant step size.

On a mu-strongly convex, L-smooth function, svag with the exact relative variance and step 1/L obeys
e_t <= 1 / (1/e_0 + c t) with c = 2 mu^2 / (L G^2), where e_t is the expected excess loss (Section
3.2, B.4). SGD with this step does not converge, but reaches a steady state.

The constant G: the theorem assumes E||g_t||^2 <= G^2, while its proof (Eq. 34) bounds every *conditional* moment
E_t||g_t||^2 by G^2, a stronger condition. The statement holds under the weaker one: with X = ||grad f_t||^2 and Y =
E_t||g_t||^2, Cauchy-Schwarz gives E[X^2 / Y] >= E[X]^2 / E[Y], and the proof needs only total expectations. On a
quadratic problem no G holds for all theta, but the expected loss falls, so that G^2 = 2 L e_0 + sum sigma^2 holds for
the whole run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qpsim.errors import TheoryError
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Theorem1(NamedTuple):
    """The quantities of Theorem 1 on one problem.

    Attributes
    ----------
    strong_convexity, smoothness : float
        mu and L: the smallest and the largest eigenvalue.
    step_size : float
        alpha = 1 / L.
    second_moment : float
        G^2.
    rate : float
        c = 2 mu^2 / (L G^2); t e_t is below 1 / c.
    bound : ndarray, shape (n_steps + 1,)
        1 / (1/e_0 + c t).
    """

    strong_convexity: float
    smoothness: float
    step_size: float
    second_moment: float
    rate: float
    bound: NDArray[np.float64]


@check.quiet
def theorem1(
    problem: QuadraticProblem,
    theta0: ArrayLike,
    n_steps: int,
    second_moment: float | None = None,
) -> Theorem1:
    """Theorem 1's bound for idealised svag from theta0 at step 1/L, with its constants.

    Parameters
    ----------
    problem : QuadraticProblem
    theta0 : array_like, shape (d,)
    n_steps : int
    second_moment : float, optional
        G^2, for instance :func:`largest_second_moment` of a simulated path, which gives a tighter
        curve; by default :func:`run_second_moment`, which needs no simulation.

    Raises
    ------
    ProblemError, TheoryError
        A theta0 of another shape, n_steps below 1, or a G^2 that is not positive.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> theorem = qpsim.theory.theorem1(p, [3.0, 1.0], n_steps=2)
    >>> theorem.second_moment, theorem.rate, theorem.bound.round(4)
    (27.0, 0.037037037037037035, array([5.5   , 4.5692, 3.9079]))
    """
    p = check.problem(problem)
    start = check.point(p, theta0)
    if start.ndim != 1:
        raise TheoryError(f"theta0 must have shape ({p.dim},), not {start.shape}.")
    excess = p.excess_loss(start)
    if second_moment is None:
        second_moment = run_second_moment(p, start)
        if second_moment == 0:
            raise TheoryError("Without noise and at the optimum nothing moves: no rate, no bound.")
    rate = convergence_rate(p, second_moment)
    smoothness = float(p.eigenvalues.max())
    return Theorem1(
        strong_convexity=float(p.eigenvalues.min()),
        smoothness=smoothness,
        step_size=1.0 / smoothness,
        second_moment=float(second_moment),
        rate=rate,
        bound=convergence_bound(excess, rate, n_steps),
    )


@check.quiet
def conditional_second_moment(gradient: ArrayLike, std: ArrayLike) -> Any:
    """E_t||g_t||^2 = ||grad||^2 + sum_i sigma_i^2, summed over the last axis.

    Parameters
    ----------
    gradient, std : array_like, shapes broadcasting to (..., d)
        True gradients along a path, and the deviations there.

    Raises
    ------
    TheoryError
        NaN or infinite entries, negative deviations, or shapes that do not broadcast.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.conditional_second_moment([[3.0, 4.0], [0.0, 0.0]], [1.0, 1.0])
    array([27.,  2.])
    """
    g, sigma = check.together(
        gradient=check.finite(gradient, "The gradient"), std=check.deviations(std)
    )
    squares = g**2 + sigma**2
    return check.scalar_or_array(squares if g.ndim == 0 else np.sum(squares, axis=-1))


@check.quiet
def largest_second_moment(problem: QuadraticProblem, path: ArrayLike) -> float:
    """The G^2 of the proof, measured: the largest E_t||g_t||^2 over a path, or over many.

    Parameters
    ----------
    problem : QuadraticProblem
    path : array_like, shape (..., d)
        Points visited: (step, coordinate), or (replicate, step, coordinate).

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> qpsim.theory.largest_second_moment(p, [[3.0, 1.0], [1.0, 0.5]])
    18.0
    """
    p = check.problem(problem)
    points = check.point(p, path)
    if points.size == 0:
        raise TheoryError("The path holds no point.")
    return float(np.max(conditional_second_moment(p.gradient(points), p.gradient_std())))


@check.quiet
def run_second_moment(problem: QuadraticProblem, theta0: ArrayLike) -> float:
    """G^2 = 2 L e_0 + sum sigma_i^2 >= E||g_t||^2 for every t, known before the run.

    For idealised svag at step 1/L: E_t[f_{t+1}] <= f_t (Eq. 33), so e_t <= e_0, and
    ||grad f||^2 <= 2 L (f - f_*).

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> qpsim.theory.run_second_moment(p, [3.0, 1.0])
    27.0
    """
    p = check.problem(problem)
    start = check.point(p, theta0)
    excess = np.max(p.excess_loss(start))
    return float(2.0 * p.eigenvalues.max() * excess + np.sum(p.gradient_std() ** 2))


@check.quiet
def convergence_rate(problem: QuadraticProblem, second_moment: float) -> float:
    """c = 2 mu^2 / (L G^2) of Eq. 38.

    Raises
    ------
    TheoryError
        A second moment G^2 that is not positive and finite.

    Examples
    --------
    >>> import qpsim
    >>> qpsim.theory.convergence_rate(qpsim.QuadraticProblem([1.0, 2.0]), 10.0)
    0.1
    """
    p = check.problem(problem)
    moment = check.amount(second_moment, "The second moment G^2")
    if moment == 0:
        raise TheoryError(f"The second moment G^2 must be a positive number, not {second_moment}.")
    low, high = float(p.eigenvalues.min()), float(p.eigenvalues.max())
    # In this order no intermediate result overflows or underflows before the final one does.
    return 2.0 * low * (low / high) / moment


@check.quiet
def convergence_bound(initial_excess_loss: float, rate: float, n_steps: int) -> NDArray[np.float64]:
    """1 / (1/e_0 + c t) for t = 0, ..., n_steps (Eq. 40).

    Raises
    ------
    TheoryError
        A negative or infinite excess loss or rate, or n_steps below 1.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.convergence_bound(2.0, 0.5, 3)
    array([2.        , 1.        , 0.66666667, 0.5       ])
    """
    excess = check.amount(initial_excess_loss, "The initial excess loss")
    c = check.amount(rate, "The rate")
    bound = np.full(check.count(n_steps, "n_steps") + 1, excess)
    steps = np.arange(1.0, bound.size)
    # The same quotient without 1/e_0, which is infinite at the optimum. If the product overflows, 1/e_0 is negligible.
    product = c * excess * steps
    bound[1:] = np.where(np.isinf(product), np.divide(1.0, c) / steps, excess / (1.0 + product))
    return bound
