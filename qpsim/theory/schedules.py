"""The schedule of step sizes that minimises the exact expected excess loss of a whole run.

Eq. 11's step is the best for the loss after one step, and not for the end of a run: the short-horizon bias of Wu et
al. (2018). Here all steps are chosen at once. Second moments of methods that are linear in the gradient obey an exact
recursion (:mod:`qpsim.theory.recursion`); the law of sign descent on a diagonal Hessian is followed on a grid
(:mod:`qpsim.theory.sign_law`). The adjoint of either gives the derivative by every step at the price of one more pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import MethodError, ProblemError, StepSizeError
from qpsim.execution.blas import one_blas_thread
from qpsim.methods import Method, plain
from qpsim.methods import method as method_of
from qpsim.problem.interface import has_additive_noise
from qpsim.theory import arguments as check
from qpsim.theory import families
from qpsim.theory.eigen_moments import eigen_variance
from qpsim.theory.recursion import Recursion
from qpsim.theory.schedule_search import search
from qpsim.theory.sign_law import SignLaw

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

# What can be planned, as told to a user.
PLANNED = "sgd, m-sgd, nesterov, damped-m-sgd and, where the Hessian is diagonal, ssd"
# What a schedule may be: free, made without a search, or of a family.
OBJECTIVES = ("final", "averaged")
KINDS = ("free", "greedy", *families.NAMES)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Step sizes of a run and the loss that they are expected to give. Made by :func:`best_schedule`.

    Attributes
    ----------
    method : str
    family : str
    step_size : ndarray, shape (n_steps,)
    expected_excess_loss : ndarray, shape (n_steps + 1,)
        From the start on.
    objective : str
    value : float
        What was minimised, at these steps.
    restarts : ndarray, shape (k,)
        The value that each start of the search ended with, in ascending order.
    standard_error : ndarray, shape (n_steps + 1,), or None
        Of the expected loss, where it was simulated; None where it was not.
    grid_error : ndarray, shape (n_steps + 1,), or None
        Estimate of what the grid changed in the expected loss, for ssd; None where there is no grid.
    """

    method: str
    family: str
    step_size: Array
    expected_excess_loss: Array
    objective: str
    value: float
    restarts: Array
    standard_error: Array | None = None
    grid_error: Array | None = None

    @property
    def highest_loss(self) -> float:
        """The highest expected excess loss on the way, the start counted."""
        return float(self.expected_excess_loss.max())

    @property
    def disagreement(self) -> float:
        """How far the restarts end apart: the highest of their values over the lowest, minus 1.

        The problem is not convex. Where this is small, searches from unlike schedules found the same value, which is
        then hardly far above the least one; where it is not, a lower value may exist by as much or more. Infinite if
        one of them ended at no finite value, or only one at 0.
        """
        low, high = float(self.restarts[0]), float(self.restarts[-1])
        if high == low:
            return 0.0
        return high / low - 1.0 if low > 0.0 else math.inf

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        errors = {"standard_error": self.standard_error, "grid_error": self.grid_error}
        return {
            "method": self.method,
            "family": self.family,
            "objective": self.objective,
            "value": self.value,
            "step_size": self.step_size.tolist(),
            "expected_excess_loss": self.expected_excess_loss.tolist(),
            "restarts": self.restarts.tolist(),
            "disagreement": self.disagreement,
            "highest_loss": self.highest_loss if math.isfinite(self.highest_loss) else None,
            **{name: error.tolist() for name, error in errors.items() if error is not None},
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
        With any noise of finite variance; for ssd with a diagonal Hessian and any noise.
    method : str or Method
        One that is linear in the gradient, with at most one state: sgd, m-sgd, nesterov, damped-m-sgd, or a rule
        declared ``equivariant``; or ssd.
    n_steps : int
    theta0 : array_like, shape (d,) or (n, d), optional
        Starting point; zeros by default. Of several the mean expected loss is minimised.
    family : str, default "free"
        "free": every step of its own. "greedy": each step the best for the expected loss right after it. "constant",
        "piecewise" (n_pieces constant pieces of equal length), "linear" and "cosine" (from a first to a last step),
        "inverse-time" (a / (1 + t / b)), "warm-up-stable-decay" (linear up, constant, linear down to 0).
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
        Another class of problem, a noise of infinite variance, a theta0 that is not (d,) or (n, d), a dense Hessian for
        ssd, or so little noise that its law takes too many numbers.
    StepSizeError
        An unknown family or objective, or a start at the optimum without noise, where no step matters.
    TheoryError
        n_steps or n_pieces below 1.

    Notes
    -----
    A free schedule is searched from three starts, independently: the greedy steps, each the best for the expected loss
    right after it (Eq. 10); the best of the families; and a small constant step. Each step in turn is set to its exact
    best given the others, to and fro through the run, first under large random errors of the steps, then under smaller
    and smaller ones. Where all steps do alike and the run has up to some thousand steps, each is then taken out and put
    in again where it serves best, until no move gains; while the searches differ by more than 1 % they go on from
    random changes, for about a second (:mod:`qpsim.theory.sweeps`). A longer run without a state begins with one of
    half the length. With a state, in runs of up to some hundred steps, all steps change at once by Newton's method, and
    the searches go on from random changes for some ten seconds (:mod:`qpsim.theory.step_newton`); there they may still
    differ by tens of percent at the end. The steps may be rounded to five digits: sharper minima may lie lower, with
    steps that no computer takes. A family's few parameters are searched by L-BFGS-B with the exact gradient. The best
    of all that was found is returned, the greedy steps among them, so that it is never worse. More different
    eigenvalues than 256 and than 4e6 / n_steps (fewer in more than 80 000 steps, for the search's memory) are
    interpolated in the search, never in what is returned.

    For ssd free schedules are searched by L-BFGS-B with the exact gradient, from the same three starts by continuations
    that begin with much more noise (:mod:`qpsim.theory.sign_search`). The error of the grid on which its law is
    followed is told in ``grid_error``.

    With the objective "final" the loss on the way does not count. On a spectrum with gaps the best schedule takes steps
    far above 2 / the largest eigenvalue, after which the loss rises by many orders before later steps bring it down:
    see ``highest_loss``. In a run whose coordinates are not the eigenvectors' such a rise costs digits. The objective
    "averaged" keeps the loss low all along.

    Source: Wu, Ren, Liao & Grosse (2018), "Understanding short-horizon bias in stochastic meta-optimization".

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    >>> best = qpsim.best_schedule(p, "sgd", n_steps=30, theta0=[3.0, 1.0])
    >>> best
    <Schedule of 30 free steps for sgd: expected excess loss 9.5 -> 0.02247>
    >>> one = qpsim.best_schedule(p, "sgd", n_steps=30, theta0=[3.0, 1.0], family="constant")
    >>> f"{one.expected_excess_loss[-1]:.4g} at {one.step_size[0]:.3g}"
    '0.2979 at 0.0654'
    >>> by_sign = qpsim.best_schedule(p, "ssd", n_steps=30, theta0=[3.0, 1.3])
    >>> f"{by_sign.expected_excess_loss[-1]:.2g}"
    '0.027'
    """
    chosen = method_of(method)
    p = check.problem(problem)
    n = check.count(n_steps, "n_steps")
    pieces = min(check.count(n_pieces, "n_pieces"), n)
    start = check.point(p, np.zeros(p.dim) if theta0 is None else theta0)
    if start.ndim > 2 or start.size == 0:
        raise ProblemError(f"theta0 must have shape ({p.dim},) or (n, {p.dim}), not {start.shape}.")
    checks.choice("objective", objective, OBJECTIVES, StepSizeError)
    checks.choice("family", family, KINDS, StepSizeError)
    if not (is_linear(chosen) or chosen.rule is plain.ssd):
        raise MethodError(
            "A best schedule is known for methods linear in the gradient with at most one state and for ssd "
            f"({PLANNED}), not for {chosen.name}; of any method a family such as 'cosine' is searched."
        )
    if chosen.rule is plain.ssd and not p.is_diagonal:
        raise ProblemError(
            "A best schedule of ssd is known on a diagonal Hessian, where coordinates walk independently; with this "
            "dense one a family such as 'cosine' is searched."
        )
    if is_linear(chosen) and not np.isfinite(eigen_variance(p)).all():
        raise ProblemError(
            "A noise of infinite variance has no finite expected loss after a step; take df above 2."
        )
    # Threads of BLAS gain nothing on a few parameters, and the last bits would depend on their number.
    with one_blas_thread():
        return _planned(p, chosen, start, n, family, pieces, objective)


def is_linear(method: Method) -> bool:
    """Whether a method is linear in the gradient with at most one state, so that second moments have a recursion."""
    return method.equivariant and method.observes is None and len(method.state_names) <= 1


def is_planned(problem: Any, method: Method) -> bool:
    """Whether :func:`best_schedule` takes this method on this problem."""
    return has_additive_noise(problem) and (
        is_linear(method) or (method.rule is plain.ssd and problem.is_diagonal)
    )


def _planned(
    p: QuadraticProblem,
    method: Method,
    start: Array,
    n_steps: int,
    family: str,
    n_pieces: int,
    objective: str,
) -> Schedule:
    averaged = objective == "averaged"
    law: Recursion | SignLaw
    if is_linear(method):
        law = Recursion(p, method, start, n_steps, averaged)
        noisy = bool(law.variance.any())
    else:
        law = SignLaw(p, start, n_steps, averaged)
        noisy = not law.is_certain
    if law.initial_loss == 0.0 and not noisy:
        raise StepSizeError(
            "The run starts at the optimum and has no noise: every step gives the same loss, 0. Give theta0."
        )
    if isinstance(law, Recursion):
        steps, restarts = search(law, family, n_pieces)
        risk, error = law.risk(steps), None
    else:
        if law.initial_loss == 0.0:
            # A logarithm of a step cannot get there.
            steps, restarts = np.zeros(n_steps), np.zeros(1)
        else:
            steps, restarts = search(law, family, n_pieces)
        risk, error = law.risk_and_error(steps)
    value = law.value_of(risk)
    return Schedule(
        method.name, family, steps, risk, objective, value, np.sort(restarts), None, error
    )
