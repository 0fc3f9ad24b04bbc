"""The largest stable constant step of linear rules, and of Adam-like rules with a frozen preconditioner.

Along an eigenvector with curvature h a linear rule with one state moves (offset, state) by a 2 x 2 matrix. It is stable
if and only if both eigenvalues lie within the unit circle, which bounds step_size times h: by 2 for sgd, 2 (1 + mu) for
m-sgd. Adam divides its average of gradients, m <- b1 m + (1 - b1) g, by numbers (called lengths here) that change
slowly; with these frozen it is linear with the Hessian diag(1 / lengths) H, and the bound is (2 + 2 b1) / (1 - b1)
(Cohen et al., 2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError, StepSizeError
from qpsim.methods import Method
from qpsim.methods import method as method_of
from qpsim.theory import arguments as check
from qpsim.theory.eigen_moments import linear_map

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from qpsim.problem.quadratic import QuadraticProblem

# Methods that divide an average with decay b1 by lengths, and methods that divide the gradient by lengths.
_AVERAGED = ("adam", "adamw", "adamax", "amsgrad", "radam", "adabelief", "yogi")
_DIVIDED = ("rmsprop", "adagrad")
# A step at which averages no longer depend on their start.
_LATE = 1e9


@check.quiet
def largest_stable_step_size(
    problem: QuadraticProblem, method: str | Method, preconditioner: Any = None
) -> float:
    """Supremum of the constant steps at which a method is mean-square stable.

    2 (1 + mu) / lambda_max for m-sgd, with mu = 0 for sgd; :func:`largest_stable_curvature` has the others. The noise
    of this model problem is additive: it does not grow with the error, so that the second moments converge if and only
    if the means do, which is when every direction's 2 x 2 transition matrix has spectral radius below 1. At the bound
    itself one eigenvalue is -1, and with noise the risk grows linearly without bound.

    Parameters
    ----------
    problem : QuadraticProblem
    method : str or Method
    preconditioner : float, array_like of shape (d,) or (d, d), optional
        Frozen P > 0 by which directions are multiplied, as :meth:`qpsim.QuadraticProblem.preconditioned` takes it: of
        Adam 1 / (sqrt(v) + eps), of shape (d,). lambda_max is then that of P^(1/2) H P^(1/2). Methods without lengths
        may have one too.

    Raises
    ------
    MethodError
        A method that is not linear even with frozen lengths; one with lengths, without a preconditioner.
    ProblemError
        A preconditioner that is not positive definite.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 4.0])
    >>> qpsim.theory.largest_stable_step_size(p, "sgd")
    0.5
    >>> qpsim.theory.largest_stable_step_size(p, qpsim.method("m-sgd", momentum=0.5))
    0.75
    >>> round(qpsim.theory.largest_stable_step_size(p, "adam", [1.0, 0.5]), 6)
    19.0
    """
    p = check.problem(problem)
    chosen = method_of(method)
    product = _stable_product(chosen)
    if preconditioner is None:
        if not chosen.equivariant:
            raise MethodError(
                f"The stability of {chosen.name} is known with frozen lengths only, not for {chosen.name} alone; "
                "give them as preconditioner."
            )
    else:
        p = p.preconditioned(preconditioner)
    return product / float(p.eigenvalues.max())


@check.quiet
def largest_stable_curvature(method: str | Method, step_size: ArrayLike) -> Any:
    """Largest eigenvalue of the (preconditioned) Hessian at which a method is still stable.

    2 / step_size for sgd, (2 + 2 mu) / step_size for m-sgd, (2 + 2 mu) / ((1 + 2 mu) step_size) for nesterov and (2 + 2
    b1) / ((1 - b1) step_size) for Adam and its relatives with frozen lengths, whose Hessian is diag(1 / lengths) H. In
    full-batch training the largest eigenvalue settles near this value (Cohen et al., 2021, 2022).

    Parameters
    ----------
    method : str or Method
        sgd, m-sgd, nesterov and other rules declared equivariant with at most one state; adam, adamw, adamax,
        amsgrad, radam, adabelief, yogi, nadam, rmsprop and adagrad.
    step_size : float or array_like, any shape
        Above 0 and finite.

    Returns
    -------
    float, or ndarray of step_size's shape

    Raises
    ------
    MethodError
        Another method.
    StepSizeError
        A step size that is not above 0 and finite.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.largest_stable_curvature("sgd", [0.1, 0.5])
    array([20.,  4.])
    >>> round(theory.largest_stable_curvature("adam", 0.001), 6)
    38000.0
    """
    alpha = check.real(step_size, "The step size")
    if not (np.isfinite(alpha) & (alpha > 0.0)).all():
        raise StepSizeError("The largest stable curvature needs finite step sizes above 0.")
    return check.scalar_or_array(_stable_product(method_of(method)) / alpha)


def _stable_product(method: Method) -> float:
    """Supremum of step_size times curvature at which a rule is stable."""
    rows = _late_map(method)
    if len(rows) == 1:
        return 2.0 / rows[0][0]
    (d0, d1), (s0, s1) = rows
    # With x = step_size * h the matrix [[1 - x d0, -x d1], [s0, s1]] of (offset, state / h) has the trace
    # 1 + s1 - x d0 and the determinant s1 - x (d0 s1 - d1 s0). Both eigenvalues lie within the unit circle where
    # 1 + trace + determinant > 0 and determinant < 1.
    through_minus_one = d0 + d0 * s1 - d1 * s0
    bounds = [2.0 * (1.0 + s1) / through_minus_one]
    if d1 * s0 > d0 * s1:
        bounds.append((1.0 - s1) / (d1 * s0 - d0 * s1))
    return min(bounds)


def _late_map(method: Method) -> tuple[tuple[float, ...], ...]:
    """(gradient, state) -> (direction, new state) after many steps, lengths being 1."""
    if method.equivariant and method.observes is None and len(method.state_names) <= 1:
        return linear_map(method, _LATE)
    if method.rule.is_builtin and method.name in (*_AVERAGED, "nadam"):
        b1 = float(method.hyper_parameters["b1"])
        average = (1.0 - b1, b1)
        if method.name != "nadam":
            return average, average
        # b1 times the new average, and (1 - b1) times the gradient.
        return ((1.0 + b1) * (1.0 - b1), b1 * b1), average
    if method.rule.is_builtin and method.name in _DIVIDED:
        return ((1.0,),)
    raise MethodError(
        f"The stability of a constant step is known for linear rules and for Adam-like ones with frozen lengths, not "
        f"for {method.name}; follow expected_excess_loss or simulate."
    )
