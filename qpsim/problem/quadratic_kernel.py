"""Prepares a quadratic problem for the step loops: in its eigenbasis where possible, else with its matrix."""

from __future__ import annotations

import math
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import ProblemError
from qpsim.problem.growth import lacks_second_moment, noise_in_loss
from qpsim.problem.interface import Prepared, Quadratic

if TYPE_CHECKING:
    from qpsim.problem.noise import Noise

# Tables for exact steps of sign rules, kept for the next run on the same problem up to this dimension. There a table
# takes 26 megabytes, about as much as the problem, and a tenth of a second to make.
_sign_tables: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
_KEPT_UP_TO_DIM = 1024


def check_simulation(problem: Quadratic, method: Any, policy: Any, batch_size: int) -> str | None:
    """Raise an error if a policy needs moments that do not exist.

    Returns
    -------
    str or None
        The text of an InfiniteVarianceWarning, if the exact step or the direction is 0 because of it.

    Raises
    ------
    ProblemError
        The exact step, or the bound, was asked for a rule that observes a minibatch's variance estimate under noise
        that is not Gaussian (estimate and gradient then depend on each other), or for a rule without a closed form
        whose direction has no second moment under Student's t.
    """
    law = problem.noise.law
    if law.is_gaussian:
        return None
    infinite = math.isinf(law.variance) and not problem.noise.is_zero
    if infinite and method.observes == "relative_variance":
        noisy = int(np.count_nonzero(problem.noise.scale(problem)))
        where = "" if noisy == problem.dim else f" in the {noisy} coordinates with noise"
        return (
            f"{method.name} does not move{where}: Student's t noise with df <= 2 has an infinite variance, and the "
            "rule makes its direction smaller the larger the relative variance is."
        )
    if not (policy.is_exact or policy.is_bound):
        return None
    if method.observes == "variance_estimate":
        raise ProblemError(
            f"{method.name} has no {policy.name} step under {law.title} noise, where its variance estimate and its "
            "gradient depend on each other; take step_size='line-search' or given steps."
        )
    if infinite and method.closed_form == "linear" and noise_in_loss(problem) != 0.0:
        return (
            f"{method.name}'s optimal step is 0: Student's t noise with df <= 2 has an infinite variance, and a "
            "direction that is linear in the gradient makes the expected loss infinite at any step."
        )
    if not problem.noise.is_zero and lacks_second_moment(method, problem):
        raise ProblemError(
            f"{method.name} has no {policy.name} step under Student's t noise with df={law.df:g}: its direction grows "
            "with the gradient, so that the expected loss after a step is infinite; take a larger df, or "
            "step_size='line-search' or given steps."
        )
    if method.closed_form is None:
        law.mean_of(batch_size).quadrature()
    return None


def prepared(
    problem: Quadratic, method: Any, policy: Any, batch_size: int, tolerance: float
) -> Prepared:
    """The arguments of the step loop."""
    noise = problem.noise.at_batch(batch_size)
    if problem.runs_by_coordinate(method):
        return _by_coordinate(problem, noise, method, policy, batch_size)
    return _coupled(problem, noise, method, policy, batch_size, tolerance)


def kernel_law(noise: Noise, method: Any, policy: Any) -> Any:
    """The law as a tuple of :mod:`qpsim.kernels.laws`.

    Given steps, the line search and linear rules need no averages over the law, and so get arrays without its numbers:
    the quadrature and the table take longer than a short run, and those of a large minibatch may not be known.
    """
    from qpsim.kernels.laws import Gaussian, Mixture, Student
    from qpsim.kernels.student_table import mean_sign_polynomial

    law = noise.law
    if law.is_gaussian:
        return Gaussian()
    averaged = (policy.is_exact or policy.is_bound) and method.closed_form != "linear"
    scales, weights = (np.array(some) for some in law.quadrature()) if averaged else np.ones((2, 1))
    degrees = law.df if law.name == "student" else 0.0
    polynomial = mean_sign_polynomial(float(degrees)) if law.batch_size == 1 else None
    if polynomial is not None:
        unit = 1.0 / math.sqrt(degrees)
        return Student(law.variance, degrees, 1, scales, weights, unit, *polynomial)
    cells = np.array(law.cells()) if averaged else np.zeros((1, 4))
    return Mixture(law.variance, degrees, law.batch_size, scales, weights, cells)


def _by_coordinate(
    problem: Quadratic, noise: Noise, method: Any, policy: Any, batch_size: int
) -> Prepared:
    from qpsim.kernels.diagonal import DiagonalProblem
    from qpsim.kernels.gradient_noise import FactorNoise, IndependentNoise, LowRankNoise

    basis = problem.eigenvectors
    std = noise.eigen_std(problem)
    drawn: Any
    if std is not None:
        drawn = IndependentNoise(std)
    elif basis is None and noise.family == "low_rank":
        factor, own = noise.parts()  # type: ignore[attr-defined]
        drawn, std = LowRankNoise(np.array(factor), own), noise.scale(problem)
    else:
        factor = noise.factor(problem)
        factor = np.ascontiguousarray(factor if basis is None else basis.T @ factor)
        drawn, std = FactorNoise(factor), np.sqrt(np.einsum("ik,ik->i", factor, factor))
    table = _moment_table() if method.closed_form is None else ()
    law = kernel_law(noise, method, policy)
    unseen = math.isinf(noise.law.variance) and method.observes is None
    if unseen and method.closed_form == "linear" and noise_in_loss(problem) == 0.0:
        # An infinite variance in directions in which the Hessian is 0 has no part in the step.
        law = law._replace(variance=0.0)
    arguments = DiagonalProblem(np.array(problem.eigenvalues), std, drawn, law, table, batch_size)
    return Prepared(arguments, basis)


@cache
def _moment_table() -> Any:
    """The quadrature for E[z] and E[z^2] alone, which is the same for all problems."""
    from qpsim.kernels import hermite

    return hermite.quadrature_table(1)


def _coupled(
    problem: Quadratic,
    noise: Noise,
    method: Any,
    policy: Any,
    batch_size: int,
    tolerance: float,
) -> Prepared:
    from qpsim.kernels.dense import DenseProblem
    from qpsim.kernels.gradient_noise import FactorNoise

    q = problem.hessian
    form_matrix = np.zeros((0, 0))
    if policy.is_bound and method.closed_form != "linear":
        rule = method.rule
        # If the scale depends on no state it is the same for all coordinates, and sum_ij |q_ij| is enough.
        one_scale = rule.closed_form == "sign" and not rule.state_names and rule.observes is None
        form_matrix = np.abs(q).sum(keepdims=True) if one_scale else np.abs(q)
    elif (policy.is_bound or policy.is_exact) and method.closed_form == "linear":
        form_matrix = _linear_form(problem, noise)
    factor = np.ascontiguousarray(noise.factor(problem))
    estimated = method.observes == "variance_estimate"
    arguments = DenseProblem(
        np.array(q),
        FactorNoise(factor),
        kernel_law(noise, method, policy),
        noise.scale(problem),
        form_matrix,
        _table(problem, noise, method, policy, tolerance),
        batch_size,
        # Only variance estimates need it; at d = 2000 the copy takes as long as a product.
        factor.T.copy() if estimated else np.zeros((0, 0)),
    )
    return Prepared(arguments, None, factor.shape[1])


def _linear_form(problem: Quadratic, noise: Noise) -> np.ndarray:
    """Q o cov[g] of a minibatch: for a linear rule E[z^T Q z] = m^T Q m + s^T (Q o cov[g]) s.

    If the variance is infinite it is Q o C, which says where the form is infinite.
    """
    q, unit = problem.hessian, noise.unit_covariance(problem)
    unit = np.diag(unit) if unit.ndim == 1 else unit
    variance = 1.0 if math.isinf(noise.law.variance) else noise.law.variance
    return (noise.level**2 * variance if variance != 1.0 else noise.level**2) * q * unit


def _table(problem: Quadratic, noise: Noise, method: Any, policy: Any, tolerance: float) -> Any:
    """The table that the exact step of the method's closed form needs. Its type is the same for every policy."""
    from qpsim.kernels import series, sign_table, student_table

    if method.closed_form == "linear":
        return ()
    needed = policy.is_exact or (policy.is_bound and method.closed_form is None)
    signed = method.closed_form in ("sign", "two-valued")
    if signed and _is_tabulated(noise.law):
        correlation = noise.correlation(problem) if policy.is_exact else np.ones((1, 1))
        return student_table.student_table(noise.law.df, correlation)
    if needed and signed:
        return _sign_table(problem)
    # If no table is needed, one of a single coordinate takes its place.
    hessian = correlation = np.ones((1, 1))
    if needed:
        hessian, correlation = np.array(problem.hessian), problem.noise.correlation(problem)
    if signed:
        return sign_table.pair_table(hessian, correlation)
    return series.series_table(hessian, correlation, tolerance)


def _is_tabulated(law: Any) -> bool:
    """Whether it is Student's t of one draw, of degrees of freedom for which signs have a table."""
    from qpsim.kernels.student_table import error

    return law.name == "student" and law.batch_size == 1 and math.isfinite(error(law.df))


def _sign_table(problem: Quadratic) -> Any:
    from qpsim.kernels import sign_table

    table = _sign_tables.get(problem)
    if table is None:
        table = sign_table.pair_table(np.array(problem.hessian), problem.noise.correlation(problem))
        if problem.dim <= _KEPT_UP_TO_DIM:
            _sign_tables[problem] = table
    return table
