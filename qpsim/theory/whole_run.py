"""Predictions, without sampling, of whole runs of SGD and sign descent with optimal steps (Eq. 11).

Eq. 11 compares directions by one step at one point. During a run theta changes, and so may the better method. Here the
distribution of theta is followed from step to step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError, ProblemError, StepSizeError
from qpsim.methods import Method, plain
from qpsim.methods import method as method_of
from qpsim.theory import arguments as check
from qpsim.theory import log_loss
from qpsim.theory.eigen_moments import eigen_variance
from qpsim.theory.gradient_closure import gaussian_gradient_path
from qpsim.theory.sign_closure import gaussian_sign_path
from qpsim.theory.sign_walks import optimal_sign_walk

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OptimalRun:
    """The prediction for runs with optimal steps. Made by :func:`optimal_run`.

    Attributes
    ----------
    method : str
    expected_excess_loss : ndarray, shape (n_steps + 1,)
    step_size : ndarray, shape (n_steps,)
        For sgd the mean step size. For ssd the common step of all runs, which may be up to 1.5 times the mean of their
        individual steps.
    final_log10_loss : float
        Mean of log10 of the last excess loss; -inf at the optimum.
    """

    method: str
    expected_excess_loss: Array
    step_size: Array
    final_log10_loss: float

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        last = self.final_log10_loss
        return {
            "method": self.method,
            "expected_excess_loss": self.expected_excess_loss.tolist(),
            "step_size": self.step_size.tolist(),
            "final_log10_loss": last if np.isfinite(last) else None,
        }

    def __repr__(self) -> str:
        first, last = self.expected_excess_loss[[0, -1]]
        return (
            f"<OptimalRun of {self.method}, {self.step_size.size} steps: expected excess loss "
            f"{first:.4g} -> {last:.4g}>"
        )


@check.quiet
def optimal_run(
    problem: QuadraticProblem, method: str | Method, n_steps: int, theta0: ArrayLike | None = None
) -> OptimalRun:
    """Expected losses of runs in which every step is optimal for the loss right after it, given the run's theta.

    These are the runs of ``simulate(..., step_size="optimal")``, the default. An approximation; see Notes.

    Parameters
    ----------
    problem : QuadraticProblem
        With Gaussian noise; for sgd its covariance must commute with the Hessian, as that of data does.
    method : {"sgd", "ssd"} or such a Method
    n_steps : int
    theta0 : array_like, shape (d,), optional
        Starting point; zeros by default.

    Returns
    -------
    OptimalRun

    Raises
    ------
    MethodError
        Another method.
    ProblemError
        Another class of problem or another noise, or a theta0 that is not (d,).
    StepSizeError
        The run starts at the optimum.
    TheoryError
        n_steps below 1.

    Notes
    -----
    sgd: the offset is assumed to be Gaussian before every step, and each run has the step for its own offset
    (:mod:`qpsim.theory.gradient_closure`); exact for two steps. ssd: the step is assumed to be the same in all runs,
    the best for the expected loss; then the distributions of all coordinates are exact on a diagonal Hessian
    (:mod:`qpsim.theory.sign_walks`, steps rounded by up to 3 %), and the offset is assumed to be Gaussian on a dense
    one (:mod:`qpsim.theory.sign_closure`). The error falls with the dimension; simulate problems of few dimensions.
    Measured at d = 50 over 100 steps and a hundred problems, log10 of the final loss is off by a few hundredths
    (``qpsim figure phase`` has the numbers). Cost: some hundred microseconds a step for sgd; O(n_steps d^3) for ssd.

    Examples
    --------
    >>> import numpy as np, qpsim
    >>> p = qpsim.random_problem("structured", dim=30, noise_std=1.0, rng=0)
    >>> known = qpsim.theory.optimal_run(p, "sgd", n_steps=50)
    >>> known
    <OptimalRun of sgd, 50 steps: expected excess loss 1891 -> 230.1>
    >>> runs = qpsim.simulate(p, "sgd", n_steps=50, n_replicates=64, rng=0)
    >>> f"{known.final_log10_loss:.2f} {np.log10(runs.excess_loss[:, -1]).mean():.2f}"
    '2.36 2.36'
    """
    chosen = method_of(method)
    if chosen.rule not in (plain.sgd, plain.ssd):
        raise MethodError(
            f"Runs with optimal steps are predicted for sgd and ssd, not for {chosen.name}; simulate them."
        )
    p = check.problem(problem)
    n = check.count(n_steps, "n_steps")
    start = check.point(p, np.zeros(p.dim) if theta0 is None else theta0)
    if start.ndim != 1:
        raise ProblemError(f"theta0 must have shape ({p.dim},), not {start.shape}.")
    if not p.noise.law.is_gaussian:
        raise ProblemError(
            f"Runs with optimal steps are predicted under Gaussian noise, not under {p.noise.law.title}; simulate them."
        )
    offset = start - p.optimum
    if p.excess_loss(start) == 0.0:
        raise StepSizeError("The run starts at the optimum, where the best step is 0. Give theta0.")
    if chosen.rule is plain.sgd:
        return _gradient_run(p, chosen, offset, n)
    if p.is_diagonal:
        return OptimalRun(chosen.name, *optimal_sign_walk(p, offset, n))
    path = gaussian_sign_path(p, offset, None, n)
    last = log_loss.of_dense_gaussian(p.hessian, path.mean, path.covariance)
    return OptimalRun(chosen.name, path.risk, path.step_size, last)


def _gradient_run(p: QuadraticProblem, method: Method, offset: Array, n_steps: int) -> OptimalRun:
    if p.noise.eigen_std(p) is None and not p.is_deterministic():
        raise ProblemError(
            "Runs of sgd with optimal steps are predicted where the noise's covariance commutes with the Hessian, as "
            "that of data does; simulate them."
        )
    along = offset if p.eigenvectors is None else offset @ p.eigenvectors
    path = gaussian_gradient_path(p.eigenvalues, eigen_variance(p), along, n_steps)
    last = log_loss.of_gaussian(p.eigenvalues, path.mean, path.variance)
    return OptimalRun(method.name, path.risk, path.step_size, last)
