"""Moments of an update direction: E[z] and E[z^T Q z] of every method, given its state.

Given the state before the step, a rule of form "linear" moves along ``scale * (g + offset)`` and one of form "sign"
along ``scale * sign(g + offset)``, where g is the Gaussian gradient. Scale and offset are computed by the rule itself,
so that no formula of a method is repeated here. Every other rule, also of form "two-valued", is a scalar function of
one Gaussian, which :mod:`qpsim.theory.series` integrates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import MethodError, ProblemError, TheoryError
from qpsim.methods import Method, State
from qpsim.methods import method as method_of
from qpsim.problem.growth import lacks_second_moment, noise_in_loss
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check
from qpsim.theory.series import coupled_moments, separate_moments
from qpsim.theory.signs import correlated_pairs, expected_sign, pair_moments

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Factor = float | Array


@check.quiet
def direction_moments(
    problem: QuadraticProblem,
    method: str | Method,
    theta: ArrayLike,
    state: State | None = None,
    *,
    variance_estimate: ArrayLike | None = None,
) -> tuple[Array, Any]:
    """E[z] and E[z^T Q z] of a method's update direction at theta, given its state.

    Everything else about one step follows from these two (Eq. 10): theta - alpha z changes the
    expected loss by -alpha grad^T E[z] + 0.5 alpha^2 E[z^T Q z].

    Parameters
    ----------
    problem : QuadraticProblem, or another problem at one theta (d,)
        Its noise is that of the gradient that the method gets; for a minibatch of B draws give ``problem.at_batch(B)``.
        Heavy tails are averaged over their scale, with a relative error of 1e-8. Other problems have a method
        ``gradient_mixture``, as LeastSquares and DataProblem (a minibatch of one row) do.
    method : str or Method
        Any method. Closed forms are used where a rule declares one (``closed_form="linear"`` or ``"sign"``), else
        quadrature and a Hermite series with a relative error of 1e-8 (:mod:`qpsim.theory.series`). Oracle
        methods are given the exact relative variance sigma_i^2 / grad_i^2.
    theta : array_like, shape (..., d)
    state : State, optional
        The method's state *before* the step, its arrays broadcasting with theta; the initial
        state by default. The coming step is number ``state.t + 1``.
    variance_estimate : array_like, broadcasting with theta
        Only for methods that observe one (m-svag-mb, adam*-mb): this step's estimate of sigma^2 (Eq. 44, unbiased). The
        moments are conditional on it; it is independent of the gradient.

    Returns
    -------
    mean : ndarray, shape (..., d)
        E[z].
    quadratic : float or ndarray, shape (...)
        E[z^T Q z].

    Raises
    ------
    ProblemError
        theta is not (..., d).
    MethodError
        Unknown method, a state that is not the method's, a variance estimate that is missing or
        not asked for, or a rule that fails or is not finite somewhere.
    TheoryError
        The moments overflow.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> qpsim.theory.direction_moments(p, "sgd", [3.0, 1.0])
    (array([3., 2.]), 26.0)
    >>> m = qpsim.method("m-sgd", momentum=0.5)
    >>> before = qpsim.State(1, {"buffer": [2.0, 0.0]})
    >>> qpsim.theory.direction_moments(p, m, [3.0, 1.0], before)
    (array([4., 2.]), 33.0)
    >>> before = qpsim.State(5, {"m": [2.0, 0.0], "s": [1.0, 1.0]})
    >>> mean, quadratic = qpsim.theory.direction_moments(p, "adam*", [3.0, 1.0], before)
    >>> mean.round(6), round(quadratic, 6)
    (array([0.981307, 0.449142]), 1.70151)
    """
    chosen = method_of(method)
    if hasattr(problem, "gradient_mixture"):
        return _mixture_moments(problem, chosen, theta, state)
    p = check.problem(problem)
    point = check.point(p, theta)
    gradient = p.gradient(point)
    before = chosen.initial_state(p.dim) if state is None else state
    arrays = _checked_state(chosen, before, gradient.shape)
    seen = [*_observed(chosen, gradient, p.gradient_std(), variance_estimate), *arrays]
    direction, quadratic = _averaged_moments(p, chosen, gradient, seen, float(before.t + 1))
    without_variance = math.isinf(p.noise.law.variance) and chosen.closed_form == "linear"
    if not ((np.isfinite(quadratic).all() or without_variance) and np.isfinite(direction).all()):
        raise TheoryError(
            f"The moments of {chosen.name} overflow double precision: the gradient at theta is as "
            f"large as {np.abs(gradient).max():.3g}; take a unit in which it is smaller."
        )
    return direction, check.scalar_or_array(quadratic)


def _mixture_moments(
    problem: Any, method: Method, theta: ArrayLike, state: State | None
) -> tuple[Array, float]:
    """Moments at one theta (d,), where a gradient's law is a mixture: the mean of the moments under its parts."""
    point = check.finite(theta, "theta")
    if point.shape != (problem.dim,):
        raise ProblemError(
            f"On a {type(problem).__name__} theta is one point of shape ({problem.dim},), not {point.shape}."
        )
    if method.observes == "variance_estimate":
        raise MethodError(
            f"{method.name} has no moments on a {type(problem).__name__} given its variance estimate: the two depend "
            "on each other."
        )
    before = method.initial_state(problem.dim) if state is None else state
    arrays = _checked_state(method, before, point.shape)
    seen = [
        *_observed(method, problem.gradient(point), problem.gradient_std(point), None),
        *arrays,
    ]
    mean: Any = 0.0
    quadratic: Any = 0.0
    for weight, model, gradient in problem.gradient_mixture(point):
        std, t = model.gradient_scale(), float(before.t + 1)
        part = _moments(model, method, gradient, std, seen, t)
        mean, quadratic = mean + weight * part[0], quadratic + weight * part[1]
    return mean, float(quadratic)


def _averaged_moments(
    p: QuadraticProblem, method: Method, gradient: Array, seen: list[Array], t: float
) -> tuple[Array, Any]:
    """Moments given the noise's scale, averaged over it: Gaussian noise has one scale."""
    law, std = p.noise.law, p.gradient_scale()
    if law.is_gaussian or method.closed_form == "linear" or p.is_deterministic():
        return _moments(p, method, gradient, std, seen, t)
    if method.observes == "variance_estimate":
        raise MethodError(
            f"{method.name} has no moments under {law.title} noise given its variance estimate: the two depend on "
            "each other."
        )
    if lacks_second_moment(method, p):
        raise TheoryError(
            f"{method.name} has no second moment under Student's t noise with df={law.df:g}, where its direction grows "
            "with the gradient; take a larger df."
        )
    total: Any = 0.0
    quadratic: Any = 0.0
    for scale, weight in zip(*law.quadrature(), strict=True):
        part = _moments(p, method, gradient, std * scale, seen, t)
        total, quadratic = total + weight * part[0], quadratic + weight * part[1]
    return total, quadratic


def _moments(
    p: QuadraticProblem, method: Method, gradient: Array, std: Array, seen: list[Array], t: float
) -> tuple[Array, Any]:
    form = method.closed_form
    if form is None and t == 1.0:
        form = method.rule.closed_form_at_first_step
    if form not in ("linear", "sign"):
        return _by_quadrature(p, method, gradient, std, seen, t)
    scale, offset = _scale_and_offset(method, form, seen, t)
    mean = gradient + offset
    if form == "linear":
        direction = np.broadcast_to(scale * mean, mean.shape)
        return np.array(direction), _quadratic_form(p, direction) + linear_noise(p, scale)
    direction = np.asarray(scale * expected_sign(mean, std))
    return direction, _sign_quadratic(p, scale, mean, std)


@check.quiet
def relative_variance(gradient: Array, std: Array) -> Array:
    """eta^2 = sigma^2 / grad^2 (Eq. 7): infinite where only the gradient is 0, 0 without noise."""
    ratio = (std / gradient) ** 2
    return np.where(std > 0, ratio, 0.0)


def _observed(
    method: Method, gradient: Array, std: Array, variance_estimate: ArrayLike | None
) -> list[Array]:
    """What the rule observes besides the gradient: a list with one array, or an empty one."""
    wanted = method.observes == "variance_estimate"
    if wanted != (variance_estimate is not None):
        raise MethodError(
            f"{method.name} sees the variance estimated within its minibatch: give this step's as "
            "variance_estimate, of theta's shape."
            if wanted
            else f"{method.name} sees no variance_estimate; leave it out."
        )
    if variance_estimate is not None:
        given = check.deviations(variance_estimate, "The variance_estimate")
        return [_fitting(given, "The variance_estimate", gradient.shape)]
    return [relative_variance(gradient, std)] if method.observes else []


def _by_quadrature(
    p: QuadraticProblem, method: Method, gradient: Array, std: Array, seen: list[Array], t: float
) -> tuple[Array, Any]:
    shape = gradient.shape
    given = [np.broadcast_to(array, shape).ravel() for array in seen]
    rest = (t, *method.hyper)
    rule = method.rule

    def one(*arguments: float) -> float:
        moved = rule.function(*arguments, *rest)
        return moved[0] if method.state_names else moved

    def direction(g: Array, row: NDArray[np.intp]) -> Array:
        return _asked(method, one, [g, *(array[row] for array in given)])

    def cut_at(*arguments: float) -> float:
        if method.closed_form == "two-valued":
            return 0.0 if rule.offset is None else -rule.offset(*arguments, *rest)
        return math.nan if rule.breakpoint is None else rule.breakpoint(*arguments, *rest)

    mean, deviation = gradient.ravel(), np.broadcast_to(std, shape).ravel()
    if p.is_deterministic():
        certain = direction(mean, np.arange(mean.size)).reshape(shape)
        return certain, _quadratic_form(p, certain)
    cut = np.full(mean.size, cut_at()) if not given else _mapped(cut_at, given)
    if p.is_diagonal:
        first, second = separate_moments(direction, mean, deviation, cut)
        return first.reshape(shape), np.sum(p.hessian * second.reshape(shape), axis=-1)
    points = [array.reshape(-1, p.dim) for array in (mean, deviation, cut)]
    first, quadratic = coupled_moments(direction, p.hessian, p.gradient_correlation(), *points)
    return first.reshape(shape), quadratic.reshape(shape[:-1])


def _asked(method: Method, function: Callable[..., float], arguments: list[Array]) -> Array:
    """The rule's directions, elementwise. Raises an error that names the rule if it fails."""
    try:
        value = _mapped(function, arguments)
    except (ArithmeticError, ValueError) as error:
        raise MethodError(
            f"{method.name} fails for a gradient within 10 deviations of its mean: "
            f"{type(error).__name__}: {error}."
        ) from error
    bad = ~np.isfinite(value)
    if bad.any():
        raise MethodError(
            f"{method.name} returns {value[bad][0]} for gradient = {arguments[0][bad][0]:g}, which "
            "is within 10 deviations of its mean; the direction must be finite there."
        )
    return value


def _scale_and_offset(
    method: Method, form: str, seen: list[Array], t: float
) -> tuple[Factor, Factor]:
    rule = method.rule
    rest = (t, *method.hyper)

    def offset_at(*seen: float) -> float:
        return 0.0 if rule.offset is None else rule.offset(*seen, *rest)

    def scale_at(*seen: float) -> float:
        offset = offset_at(*seen)
        # Evaluated where gradient + offset is known and positive: twice the offset, 1, or above 0.
        if form == "linear":
            probe = offset if offset != 0 else 1.0
            length = probe + offset
        else:
            probe, length = abs(offset) + 1.0, 1.0
        moved = rule.function(probe, *seen, *rest)
        return (moved[0] if method.state_names else moved) / length

    if not seen:
        return scale_at(), offset_at()
    return _mapped(scale_at, seen), _mapped(offset_at, seen)


def _mapped(function: Any, arrays: list[Array]) -> Array:
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=float)


def _checked_state(method: Method, state: State, shape: tuple[int, ...]) -> list[Array]:
    if not isinstance(state, State):
        raise MethodError(
            f"The state of {method.name} must be a qpsim.State, not {checks.shown(state)}."
        )
    if set(state.arrays) != set(method.state_names):
        raise MethodError(
            f"The state of {method.name} holds {list(method.state_names)}, "
            f"not {list(state.arrays)}."
        )
    if state.t < 0:
        raise MethodError(f"A state's t counts the steps taken, so it cannot be {state.t}.")
    arrays = []
    for name in method.state_names:
        what = f"The state's {name}"
        arrays.append(_fitting(check.finite(state[name], what), what, shape))
    return arrays


def _fitting(array: Array, what: str, shape: tuple[int, ...]) -> Array:
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise MethodError(f"{what} has shape {array.shape}, which does not fit theta's {shape}.")
    return array


def _quadratic_form(p: QuadraticProblem, v: Array) -> Array:
    return np.sum(v * p.matvec(v), axis=-1)


def linear_noise(p: QuadraticProblem, scale: Factor) -> Any:
    """tr(Q cov[z]) = sum_ij scale_i scale_j q_ij cov[g]_ij of a linear rule.

    With an infinite variance it is infinite, with the sign that it has given the noise's scale: minus infinity is
    possible on a local model. It is 0 if there is noise only where the Hessian is 0.
    """
    if p.is_deterministic():
        return 0.0
    variance = p.noise.law.variance
    if math.isinf(variance):
        trace = noise_in_loss(p, scale)
        return np.where(trace != 0.0, np.copysign(math.inf, trace), 0.0)[()]
    if p.is_diagonal:
        weights = p.hessian * p.gradient_std() ** 2
        return np.sum(np.square(scale) * weights, axis=-1)
    along = p.noise.eigen_std(p)
    if np.ndim(scale) == 0 and along is not None:
        # A product overflows to infinity, which is checked later; a power of a float would raise OverflowError.
        return float(scale) * float(scale) * variance * float(np.sum(p.eigenvalues * along**2))
    weights = p.hessian * p.noise.dense_matrix(p) * variance
    return (
        np.sum(scale * (np.asarray(scale) @ weights), axis=-1)
        if np.ndim(scale)
        else float(scale) ** 2 * float(weights.sum())
    )


def _sign_quadratic(p: QuadraticProblem, scale: Factor, mean: Array, std: Array) -> Array:
    """sum_ij scale_i scale_j q_ij E[s_i s_j] of a sign rule."""
    factor = np.broadcast_to(scale, mean.shape)
    if p.is_deterministic():
        return _quadratic_form(p, factor * np.sign(mean))
    if p.is_diagonal:
        return np.sum(p.hessian * factor**2, axis=-1)
    i, j, r = correlated_pairs(p)
    off_diagonal = p.hessian[i, j] * factor[..., i] * factor[..., j]
    pairs = np.sum(off_diagonal * pair_moments(mean, std, i, j, r), axis=-1)
    return np.sum(np.diagonal(p.hessian) * factor**2, axis=-1) + 2.0 * pairs
