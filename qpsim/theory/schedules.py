"""The schedule of step sizes that makes the exact expected excess loss of a whole run smallest.

Eq. 11's step is the best for the loss after one step, and not for the end of a run: the short-horizon bias of Wu et
al. (2018). Here all steps are chosen at once, for methods that are linear in the gradient. Their second moments obey an
exact recursion (:mod:`qpsim.theory.recursion`), and its adjoint gives the derivative by every step at the price of one
more pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError, ProblemError, StepSizeError
from qpsim.methods import Method
from qpsim.methods import method as method_of
from qpsim.theory import arguments as check
from qpsim.theory import families
from qpsim.theory.recursion import Recursion

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

# The methods of the registry that can be planned, as told to a user.
PLANNED = "sgd, m-sgd, nesterov, damped-m-sgd"
# Restarts from perturbed schedules, and their factors' spread.
_RESTARTS, _SPREAD = 2, 0.03
# Starts of the free search, the best of those that are known.
_STARTS = 3
# Steps of the search on each number of pieces before the last.
_COARSE = 60
# Up to so many pieces, so many more starts at random.
_FEW_PIECES, _TRIES = 8, 4
# Constant steps that are looked at first, as multiples of 1 / the largest eigenvalue.
_CONSTANTS = np.logspace(-6.0, 0.5, 40)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Step sizes of a run and the loss that they are expected to give. Made by :func:`best_schedule`.

    Attributes
    ----------
    method : str
    family : str
    step_size : ndarray, shape (n_steps,)
    expected_excess_loss : ndarray, shape (n_steps + 1,)
        Exact, from the start on.
    objective : str
    value : float
        What was minimised, at these steps.
    restarts : ndarray, shape (k,)
        The value that each start of the search ended with, in ascending order. The problem is not convex: where they
        differ, a lower one may exist.
    """

    method: str
    family: str
    step_size: Array
    expected_excess_loss: Array
    objective: str
    value: float
    restarts: Array

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "method": self.method,
            "family": self.family,
            "objective": self.objective,
            "value": self.value,
            "step_size": self.step_size.tolist(),
            "expected_excess_loss": self.expected_excess_loss.tolist(),
            "restarts": self.restarts.tolist(),
        }

    def __repr__(self) -> str:
        return (
            f"<Schedule of {self.step_size.size} {self.family} steps for {self.method}: expected excess loss "
            f"{self.expected_excess_loss[0]:.4g} -> {self.expected_excess_loss[-1]:.4g}>"
        )


@check.quiet
def best_schedule(
    problem: QuadraticProblem,
    method: str | Method,
    n_steps: int,
    theta0: ArrayLike | None = None,
    *,
    family: str = "free",
    n_pieces: int = 10,
    objective: str = "final",
) -> Schedule:
    """The step sizes that minimise the exact expected excess loss of a run.

    Parameters
    ----------
    problem : QuadraticProblem
        With any noise of finite variance.
    method : str or Method
        One that is linear in the gradient, with at most one state: sgd, m-sgd, nesterov, damped-m-sgd, or a rule
        declared ``equivariant``.
    n_steps : int
    theta0 : array_like, shape (d,) or (n, d), optional
        Starting point; zeros by default. Of several the mean expected loss is minimised.
    family : str, default "free"
        "free": every step of its own. "constant", "piecewise" (n_pieces constant pieces of equal length), "linear" and
        "cosine" (from a first to a last step), "inverse-time" (a / (1 + t / b)), "warm-up-stable-decay" (linear up,
        constant, linear down to 0).
    n_pieces : int, default 10
        Of the family "piecewise", and of that start of the free search.
    objective : {"final", "averaged"}
        The loss after the last step, or its mean over all steps.

    Returns
    -------
    Schedule

    Raises
    ------
    MethodError
        A method with another kind of direction: its risk has no such recursion.
    ProblemError
        Another class of problem, a noise of infinite variance, or a theta0 that is not (d,) or (n, d).
    StepSizeError
        An unknown family or objective, or a start at the optimum without noise, where no step matters.
    TheoryError
        n_steps or n_pieces below 1.

    Notes
    -----
    The logarithm of the objective is minimised over steps >= 0 with its exact gradient (L-BFGS-B): from the greedy
    steps, each the best for the expected loss right after it (Eq. 10); from a constant step whose run is cut into 2, 4,
    8, ... pieces; from the best of every family; and from small perturbations of the best. The free schedule is never
    worse than the greedy steps or a family's, with as many pieces. Cost: d n_steps times some thousand.

    Source: Wu, Ren, Liao & Grosse (2018), "Understanding short-horizon bias in stochastic meta-optimization".

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    >>> best = qpsim.best_schedule(p, "sgd", n_steps=30, theta0=[3.0, 1.0])
    >>> best
    <Schedule of 30 free steps for sgd: expected excess loss 9.5 -> 0.0226>
    >>> one = qpsim.best_schedule(p, "sgd", n_steps=30, theta0=[3.0, 1.0], family="constant")
    >>> f"{one.expected_excess_loss[-1]:.4g} at {one.step_size[0]:.3g}"
    '0.2979 at 0.0654'
    """
    chosen = method_of(method)
    p = check.problem(problem)
    n = check.count(n_steps, "n_steps")
    pieces = min(check.count(n_pieces, "n_pieces"), n)
    start = check.point(p, np.zeros(p.dim) if theta0 is None else theta0)
    if start.ndim > 2 or start.size == 0:
        raise ProblemError(f"theta0 must have shape ({p.dim},) or (n, {p.dim}), not {start.shape}.")
    if objective not in ("final", "averaged"):
        raise StepSizeError(f"The objective is 'final' or 'averaged', not {objective!r}.")
    if family != "free" and family not in families.NAMES:
        raise StepSizeError(
            f"The family is 'free' or one of {', '.join(families.NAMES)}, not {family!r}."
        )
    if not is_planned(chosen):
        raise MethodError(
            "A best schedule is known for methods linear in the gradient with at most one state "
            f"({PLANNED}), not for {chosen.name}; best_constant_step takes any method."
        )
    if not np.isfinite(p.noise.law.variance):
        raise ProblemError(
            "A noise of infinite variance has no finite expected loss after a step; take df above 2."
        )
    recursion = Recursion(p, chosen, start, n, averaged=objective == "averaged")
    if recursion.initial_loss == 0.0 and not recursion.variance.any():
        raise StepSizeError(
            "The run starts at the optimum and has no noise: every step gives the same loss, 0. Give theta0."
        )
    steps, restarts = _search(recursion, family, pieces)
    risk = recursion.risk(steps)
    return Schedule(
        chosen.name, family, steps, risk, objective, recursion.value_of(risk), np.sort(restarts)
    )


def is_planned(method: Method) -> bool:
    """Whether the expected loss of a method has the recursion that :func:`best_schedule` takes."""
    return method.equivariant and method.observes is None and len(method.state_names) <= 1


def _search(recursion: Recursion, family: str, n_pieces: int) -> tuple[Array, Array]:
    """The best steps found, and the value at the end of every start."""
    scale = 1.0 / recursion.curvature.max()
    n = recursion.n_steps
    losses = [recursion.value(np.full(n, c * scale)) for c in _CONSTANTS]
    constant = float(_CONSTANTS[int(np.nanargmin(losses))]) * scale
    if family != "free":
        return _of_family(recursion, family, n_pieces, constant)
    rng = np.random.Generator(np.random.PCG64(0))
    starts = [recursion.greedy(), _refined(recursion, constant, rng)]
    starts += [_of_family(recursion, name, n_pieces, constant)[0] for name in families.NAMES]
    # What is begun from the best of a family cannot end worse than it.
    starts = sorted(starts, key=recursion.value)[:_STARTS]
    return _with_restarts(starts, lambda begin: _free(recursion, begin, scale), rng)


def _of_family(
    recursion: Recursion, family: str, n_pieces: int, constant: float
) -> tuple[Array, Array]:
    """The same within a family, from the best constant step."""
    shape = families.shape(family, recursion.n_steps, n_pieces)
    rng = np.random.Generator(np.random.PCG64(0))
    parameters, values = _with_restarts(
        [shape.start(constant)], lambda begin: _within(recursion, shape, begin), rng
    )
    return shape.steps(parameters), values


def _with_restarts(
    starts: list[Array],
    search: Callable[[Array], tuple[Array, float]],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """The best of all searches, also from perturbations of the best so far; and every search's value."""
    found = [search(begin) for begin in starts]
    for _ in range(_RESTARTS):
        best = _lowest(found)
        found.append(search(best * np.exp(_SPREAD * rng.standard_normal(best.shape))))
    return _lowest(found), np.array([value for _, value in found])


def _lowest(found: list[tuple[Array, float]]) -> Array:
    return min(found, key=lambda pair: pair[1])[0]


def _refined(recursion: Recursion, constant: float, rng: np.random.Generator) -> Array:
    """From one constant step to steps of their own: the number of constant pieces doubles from search to search.

    With few pieces every search is also begun from several schedules at random, and the best is kept.
    """
    n, pieces = recursion.n_steps, 1
    steps = np.full(n, constant)
    while pieces < n:
        pieces = min(2 * pieces, n)
        shape = families.shape("piecewise", n, pieces)
        middles = ((np.arange(pieces) + 0.5) * n / pieces).astype(int)
        # A step of 0 has no logarithm.
        begin = np.maximum(steps[middles], 1e-12 * constant)
        starts = [begin]
        if pieces <= _FEW_PIECES:
            starts += [begin * np.exp(rng.standard_normal(pieces)) for _ in range(_TRIES)]
        found = [_within(recursion, shape, start, _COARSE) for start in starts]
        steps = shape.steps(_lowest(found))
    return steps


def _free(recursion: Recursion, begin: Array, scale: float) -> tuple[Array, float]:
    """The lowest value near a start, over steps >= 0; the start itself if none is lower."""

    def target(x: Array) -> tuple[float, Array]:
        value, gradient = recursion.value_and_gradient(x * scale)
        return _logarithm(value, gradient * scale)

    steps = _descended(target, begin / scale, (0.0, None), maxiter=500, maxcor=30) * scale
    return _better(recursion.value, steps, begin)


def _within(
    recursion: Recursion, shape: families.Shape, begin: Array, most: int = 500
) -> tuple[Array, float]:
    """The same over the few parameters of a family, all above 0, by their logarithms."""

    def target(x: Array) -> tuple[float, Array]:
        parameters = np.exp(x)
        value, gradient = recursion.value_and_gradient(shape.steps(parameters))
        return _logarithm(value, (gradient @ shape.jacobian(parameters)) * parameters)

    parameters = np.exp(_descended(target, np.log(begin), (-100.0, 100.0), maxiter=most))
    return _better(lambda x: recursion.value(shape.steps(x)), parameters, begin)


def _descended(
    target: Callable[[Array], tuple[float, Array]],
    begin: Array,
    bounds: tuple[float, float | None],
    **options: int,
) -> Array:
    """Where L-BFGS-B ends, given the value and gradient."""
    from scipy.optimize import minimize

    result = minimize(
        target,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=[bounds] * begin.size,
        options={"ftol": 1e-13, "gtol": 1e-9, **options},
    )
    return np.asarray(result.x)


def _better(value: Callable[[Array], float], found: Array, begin: Array) -> tuple[Array, float]:
    """The one of the lower value; a start of infinite loss may have been left nowhere better."""
    first, last = value(begin), value(found)
    return (found, last) if last <= first else (begin, first)


def _logarithm(value: float, gradient: Array) -> tuple[float, Array]:
    """log of a loss and its gradient; far outside of the floating-point range a high plateau."""
    if not np.isfinite(value) or not np.isfinite(gradient).all():
        return 1e3, np.zeros_like(gradient)
    floor = max(value, 1e-300)
    return float(np.log(floor)), gradient / floor
