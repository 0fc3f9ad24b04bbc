"""The diagonal mass of a Hessian, and bounds of Eq. 12's denominator (Section 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qpsim.errors import TheoryError
from qpsim.theory import arguments as check

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from qpsim.problem.quadratic import QuadraticProblem


@check.quiet
def diagonal_mass(hessian: ArrayLike | QuadraticProblem) -> Any:
    """c of Eq. 13: sum_i |q_ii| / sum_ij |q_ij|, the fraction of a Hessian's absolute values on its diagonal.

    Parameters
    ----------
    hessian : QuadraticProblem or array_like, shape (..., d, d)
        Any square matrices, not only positive definite ones. For those, c >= 1/d.

    Raises
    ------
    TheoryError
        Not square, NaN or infinite, or all zero.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.diagonal_mass([[2.0, 1.0], [1.0, 4.0]])
    0.75
    """
    if hasattr(hessian, "diagonal_mass"):
        return hessian.diagonal_mass
    matrix = np.abs(check.finite(hessian, "The Hessian"))
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise TheoryError(f"A Hessian has shape (..., d, d), not {matrix.shape}.")
    total = matrix.sum(axis=(-2, -1))
    if not (total > 0).all():
        raise TheoryError(
            "The diagonal mass of a Hessian of zeros (or without entries) is not defined."
        )
    return check.scalar_or_array(np.trace(matrix, axis1=-2, axis2=-1) / total)


class MassInequality(NamedTuple):
    """The chain of Section 2.1, each number at most the next; all equal if d = 1.

    Attributes
    ----------
    trace : float
        sum_i lambda_i = sum_i |q_ii|.
    entries : float
        sum_ij |q_ij|, the denominator of Eq. 12.
    eigenvectors : float
        sum_i lambda_i ||v_i||_1^2.
    worst : float
        d sum_i lambda_i, from ||v_i||_1 <= sqrt(d).
    """

    trace: float
    entries: float
    eigenvectors: float
    worst: float


@check.quiet
def mass_inequality(problem: QuadraticProblem) -> MassInequality:
    """sum lambda_i <= sum |q_ij| <= sum lambda_i ||v_i||_1^2 <= d sum lambda_i (Section 2.1).

    Examples
    --------
    >>> import qpsim
    >>> qpsim.theory.mass_inequality(qpsim.QuadraticProblem([1.0, 3.0]))
    MassInequality(trace=4.0, entries=4.0, eigenvectors=4.0, worst=8.0)
    """
    p = check.problem(problem)
    trace = float(p.eigenvalues.sum())
    norms = 1.0 if p.eigenvectors is None else np.abs(p.eigenvectors).sum(axis=0)
    return MassInequality(
        trace=trace,
        entries=float(np.abs(p.hessian).sum()),
        eigenvectors=float(np.sum(p.eigenvalues * norms**2)),
        worst=p.dim * trace,
    )
