"""Which moments of a direction exist under heavy tails: how fast it grows with its gradient, and where its noise lies.

Student's t with k degrees of freedom has the moments of orders below k. A direction that grows like |g|^p has a second
moment only if 2 p < k. p is 1 for directions proportional to the gradient, and 0 for signs and for gradients divided by
their own size.

The loss does not see noise in directions in which the Hessian is 0: E[z^T Q z] may be finite where E[z^2] is not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from qpsim.problem.interface import Quadratic

# Much larger than any state after gradients of 1, but with squares in the floating-point range.
_LARGE, _LARGER = 1e20, 1e24
_STEPS = 2
_FLAT = 0.05
# A trace is 0 if it is this small a part of the sum of its terms' sizes: d^2 rounding errors, mostly cancelled.
_ROUNDING = 1e-13


def growth(method: Any) -> float:
    """The exponent p of z ~ |g|^p, the largest over a run's first steps; 0 for a bounded direction.

    Parameters
    ----------
    method : Method
        It must observe nothing besides its gradient.

    Examples
    --------
    >>> import qpsim
    >>> round(growth(qpsim.method("m-svag")), 6), round(growth(qpsim.method("adam")), 6)
    (1.0, 0.0)
    """
    state, largest = method.initial_state(1), 0.0
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            near, far = (
                abs(float(method.update(np.array([g]), state)[0][0])) for g in (_LARGE, _LARGER)
            )
            if near > 0.0 and math.isfinite(far):
                largest = max(largest, math.log(far / near) / math.log(_LARGER / _LARGE))
            state = method.update(np.ones(1), state)[1]
    return largest


def lacks_second_moment(method: Any, problem: Quadratic) -> bool:
    """Whether E[z^T Q z] is infinite under the problem's noise, for a rule without a closed form.

    Such a rule mixes directions, so that only noise in coordinates whose row of the Hessian is 0 stays unseen.
    """
    law = problem.noise.law
    if law.name != "student" or method.closed_form is not None or method.observes is not None:
        return False
    curvature = problem.hessian if problem.is_diagonal else np.abs(problem.hessian).sum(axis=1)
    if not np.any(problem.noise.scale(problem)[curvature != 0.0]):
        return False
    power = growth(method)
    return power > _FLAT and 2.0 * power >= law.df


def noise_in_loss(problem: Quadratic, scale: Any = 1.0) -> Any:
    """tr(Q S C S), S = diag(scale): what the noise of the direction S g adds to E[z^T Q z], at a variance of C.

    Parameters
    ----------
    problem : QuadraticProblem or LocalModel
    scale : float or array, shape (..., d)

    Returns
    -------
    float or ndarray, shape (...)
        Exactly 0 where it is 0 up to rounding errors, as for noise in directions in which the Hessian is 0.

    Examples
    --------
    >>> import qpsim
    >>> flat = qpsim.QuadraticProblem([2.0, 0.0], noise=qpsim.noise.diagonal([0.0, 1.0], df=1))
    >>> float(noise_in_loss(flat))
    0.0
    """
    factor = np.broadcast_to(scale, (*np.shape(scale)[:-1], problem.dim))
    if problem.is_diagonal:
        weights = problem.hessian * problem.noise.scale(problem) ** 2
        return np.sum(np.square(factor) * weights, axis=-1)
    weights = problem.hessian * problem.noise.dense_matrix(problem)
    trace = np.sum(factor * (factor @ weights), axis=-1)
    size = np.sum(np.abs(factor) * (np.abs(factor) @ np.abs(weights)), axis=-1)
    return np.where(np.abs(trace) > _ROUNDING * size, trace, 0.0)[()]
