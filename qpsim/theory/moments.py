"""Moments of an update direction: E[z] and E[z^T Q z] from a rule's declared closed form.

Given the state before the step, a rule of form "linear" moves along ``scale * (g + offset)`` and
one of form "sign" along ``scale * sign(g + offset)``, where g is the Gaussian gradient. Scale and
offset are asked from the rule itself, so that no method's formula is written a second time here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError
from qpsim.methods import Method, State
from qpsim.methods import method as method_of
from qpsim.problem import QuadraticProblem
from qpsim.theory import arguments as check
from qpsim.theory.signs import correlated_pairs, expected_sign, pair_moments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Factor = float | NDArray[np.float64]


def direction_moments(
    problem: QuadraticProblem,
    method: str | Method,
    theta: ArrayLike,
    state: State | None = None,
) -> tuple[NDArray[np.float64], Any]:
    """E[z] and E[z^T Q z] of a method's update direction at theta, exact.

    Everything else about one step follows from these two (Eq. 10): theta - alpha z changes the
    expected loss by -alpha grad^T E[z] + 0.5 alpha^2 E[z^T Q z].

    Parameters
    ----------
    problem : QuadraticProblem
    method : str or Method
        A name or method with a closed form: sgd, ssd, svag, va-ssd, va-ssd-erf, m-sgd, m-ssd, or
        a rule of yours that declares ``form="linear"`` or ``form="sign"``. Oracle methods are
        given the exact relative variance sigma_i^2 / grad_i^2.
    theta : array_like, shape (..., d)
    state : State, optional
        The method's state *before* the step, its arrays broadcasting with theta; the initial
        state by default. The coming step is number ``state.t + 1``.

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
        Unknown method, one without a closed form, or a state that is not the method's.

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
    """
    p = check.problem(problem)
    chosen = method_of(method)
    point = check.point(p, theta)
    gradient, std = p.gradient(point), p.gradient_std()
    scale, offset = _scale_and_offset(_with_closed_form(chosen), gradient, std, state)
    mean = gradient + offset
    if chosen.form == "linear":
        direction = np.broadcast_to(scale * mean, mean.shape)
        quadratic = _quadratic_form(p, direction) + _linear_noise(p, scale)
        return np.array(direction), check.scalar_or_array(quadratic)
    direction = np.asarray(scale * expected_sign(mean, std))
    return direction, check.scalar_or_array(_sign_quadratic(p, scale, mean, std))


def relative_variance(
    gradient: NDArray[np.float64], std: NDArray[np.float64]
) -> NDArray[np.float64]:
    """eta^2 = sigma^2 / grad^2 (Eq. 7): infinite where only the gradient is 0, 0 without noise."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = (std / gradient) ** 2
    return np.where(std > 0, ratio, 0.0)


def _with_closed_form(method: Method) -> Method:
    """The one gate through which a rule without a declared form would come to quadrature."""
    if method.form is None:
        raise MethodError(
            f"{method.name} has no closed form in qpsim.theory: its direction is neither linear "
            "in the gradient nor a scaled sign; simulate it instead."
        )
    if method.observes == "variance_estimate":
        raise MethodError(
            f"{method.name} sees a variance estimated from the same gradients it moves along, so "
            "its direction is no linear or sign function of one Gaussian; simulate it instead."
        )
    return method


def _scale_and_offset(
    method: Method,
    gradient: NDArray[np.float64],
    std: NDArray[np.float64],
    state: State | None,
) -> tuple[Factor, Factor]:
    rule = method.rule
    before = method.initial_state(gradient.shape[-1]) if state is None else state
    arrays = _checked_state(method, before, gradient.shape)
    observed = [relative_variance(gradient, std)] if method.observes else []
    rest = (float(before.t + 1), *method.hyper)

    def offset_at(*seen: float) -> float:
        return 0.0 if rule.offset is None else rule.offset(*seen, *rest)

    def scale_at(*seen: float) -> float:
        offset = offset_at(*seen)
        # Where gradient + offset is exactly known and positive: twice the offset, 1, or above 0.
        if method.form == "linear":
            probe = offset if offset != 0 else 1.0
            length = probe + offset
        else:
            probe, length = abs(offset) + 1.0, 1.0
        moved = rule.function(probe, *seen, *rest)
        return (moved[0] if method.state_names else moved) / length

    seen = [*observed, *arrays]
    if not seen:
        return scale_at(), offset_at()
    return _mapped(scale_at, seen), _mapped(offset_at, seen)


def _mapped(function: Any, arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype=float)


def _checked_state(
    method: Method, state: State, shape: tuple[int, ...]
) -> list[NDArray[np.float64]]:
    if not isinstance(state, State):
        raise MethodError(f"The state of {method.name} must be a qpsim.State, not {state!r}.")
    if set(state.arrays) != set(method.state_names):
        raise MethodError(
            f"The state of {method.name} holds {list(method.state_names)}, "
            f"not {list(state.arrays)}."
        )
    if state.t < 0:
        raise MethodError(f"A state's t counts the steps taken, so it cannot be {state.t}.")
    arrays = []
    for name in method.state_names:
        array = check.finite(state[name], f"The state's {name}")
        try:
            fits = np.broadcast_shapes(array.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise MethodError(
                f"The state's {name} has shape {array.shape}, which does not fit theta's {shape}."
            )
        arrays.append(array)
    return arrays


def _quadratic_form(p: QuadraticProblem, v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sum(v * p.matvec(v), axis=-1)


def _linear_noise(p: QuadraticProblem, scale: Factor) -> Any:
    """tr(Q cov[z]) = nu^2 sum_ij scale_i scale_j q_ij (QQ)_ij of a linear rule."""
    if p.noise_std == 0:
        return 0.0
    if np.ndim(scale) == 0:
        return p.noise_std**2 * float(scale) ** 2 * float(np.sum(p.eigenvalues**3))
    if p.is_diagonal:
        return p.noise_std**2 * np.sum(scale**2 * p.hessian**3, axis=-1)
    weights = p.hessian * p.gradient_covariance()
    return np.sum(scale * (scale @ weights), axis=-1)


def _sign_quadratic(
    p: QuadraticProblem, scale: Factor, mean: NDArray[np.float64], std: NDArray[np.float64]
) -> NDArray[np.float64]:
    """sum_ij scale_i scale_j q_ij E[s_i s_j] of a sign rule."""
    factor = np.broadcast_to(scale, mean.shape)
    if p.noise_std == 0:
        return _quadratic_form(p, factor * np.sign(mean))
    if p.is_diagonal:
        return np.sum(p.hessian * factor**2, axis=-1)
    i, j, r = correlated_pairs(p)
    off_diagonal = p.hessian[i, j] * factor[..., i] * factor[..., j]
    pairs = np.sum(off_diagonal * pair_moments(mean, std, i, j, r), axis=-1)
    return np.sum(np.diagonal(p.hessian) * factor**2, axis=-1) + 2.0 * pairs
