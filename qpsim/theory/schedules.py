"""The schedule of step sizes that minimises the exact expected excess loss of a whole run.

Eq. 11's step is the best for the loss after one step, and not for the end of a run: the short-horizon bias of Wu et
al. (2018). Here all steps are chosen at once, for methods that are linear in the gradient. Their second moments obey an
exact recursion (:mod:`qpsim.theory.recursion`), and its adjoint gives the derivative by every step at the price of one
more pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError, ProblemError, StepSizeError
from qpsim.execution.blas import one_blas_thread
from qpsim.methods import Method
from qpsim.methods import method as method_of
from qpsim.theory import arguments as check
from qpsim.theory import families
from qpsim.theory.recursion import Recursion
from qpsim.theory.sweeps import BLURS, Sweeps

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

# The methods of the registry that can be planned, as told to a user.
PLANNED = "sgd, m-sgd, nesterov, damped-m-sgd"
# What a schedule may be: free, made without a search, or of a family.
KINDS = ("free", "greedy", *families.NAMES)
# Restarts from the best schedule so far, and the spread of the factors that perturb it within a family. A free search
# makes them where its first ends are further apart than this share.
_RESTARTS, _SPREAD, _ALIKE = 3, 0.03, 0.01
# Steps of the search in a family from which a free one begins.
_BRIEF = 60
# More different eigenvalues than these are interpolated while searching; fewer are left where sweeps over so many steps
# would keep more numbers than fit into a gigabyte.
_COARSE, _LEAST_COARSE, _MOST_NUMBERS = 256, 8, 1 << 27
# Sweeps of a stage: about so many coordinate-updates, but at least and at most so many sweeps.
_SWEPT, _SWEEPS = 5e7, (15, 60)
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
        The value that each start of the search ended with, in ascending order.
    standard_error : ndarray, shape (n_steps + 1,), or None
        Of the expected loss, where it was simulated; None where it is exact.
    """

    method: str
    family: str
    step_size: Array
    expected_excess_loss: Array
    objective: str
    value: float
    restarts: Array
    standard_error: Array | None = None

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
        error = self.standard_error
        simulated = {} if error is None else {"standard_error": error.tolist()}
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
            **simulated,
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
        Another class of problem, a noise of infinite variance, or a theta0 that is not (d,) or (n, d).
    StepSizeError
        An unknown family or objective, or a start at the optimum without noise, where no step matters.
    TheoryError
        n_steps or n_pieces below 1.

    Notes
    -----
    A free schedule is searched from three starts: the greedy steps, each the best for the expected loss right after it
    (Eq. 10); the best of the families; a small constant step; and where their ends differ by more than 1 %, three times
    more from the best so far. Each step in turn is set to its exact best given the others, to and fro through the run,
    first under large random errors of the steps, then under smaller and smaller ones. In runs of up to some hundred
    steps each is then taken out and put in again where it serves best, until no move gains
    (:mod:`qpsim.theory.sweeps`). The steps may be rounded to five digits: sharper minima may lie lower, with steps that
    no computer takes. A family's few parameters are searched by L-BFGS-B with the exact gradient. The best of all that
    was found is returned, the greedy steps among them, so that it is never worse. More than 256 different eigenvalues
    (fewer in more than 80 000 steps, for the search's memory) are interpolated in the search, never in what is
    returned.

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
    if family not in KINDS:
        raise StepSizeError(f"The family is one of {', '.join(KINDS)}, not {family!r}.")
    if not is_planned(chosen):
        raise MethodError(
            "A best schedule is known for methods linear in the gradient with at most one state "
            f"({PLANNED}), not for {chosen.name}; of any method a family such as 'cosine' is searched."
        )
    if not np.isfinite(p.noise.law.variance):
        raise ProblemError(
            "A noise of infinite variance has no finite expected loss after a step; take df above 2."
        )
    # Threads of BLAS gain nothing on a few parameters, and the last bits would depend on their number.
    with one_blas_thread():
        return _planned(p, chosen, start, n, family, pieces, objective)


def is_planned(method: Method) -> bool:
    """Whether the expected loss of a method has the recursion that :func:`best_schedule` takes."""
    return method.equivariant and method.observes is None and len(method.state_names) <= 1


def _planned(
    p: QuadraticProblem,
    method: Method,
    start: Array,
    n_steps: int,
    family: str,
    n_pieces: int,
    objective: str,
) -> Schedule:
    recursion = Recursion(p, method, start, n_steps, averaged=objective == "averaged")
    if recursion.initial_loss == 0.0 and not recursion.variance.any():
        raise StepSizeError(
            "The run starts at the optimum and has no noise: every step gives the same loss, 0. Give theta0."
        )
    steps, restarts = _search(recursion, family, n_pieces)
    risk = recursion.risk(steps)
    return Schedule(
        method.name, family, steps, risk, objective, recursion.value_of(risk), np.sort(restarts)
    )


def _search(recursion: Recursion, family: str, n_pieces: int) -> tuple[Array, Array]:
    """The best steps found, and the value at the end of every start."""
    n, greedy = recursion.n_steps, recursion.greedy()
    if family == "greedy":
        return greedy, np.array([recursion.value(greedy)])
    coarse = recursion.coarse(max(_LEAST_COARSE, min(_COARSE, _MOST_NUMBERS // (6 * n))))
    scale = 1.0 / coarse.curvature.max()
    losses = [coarse.value(np.full(n, c * scale)) for c in _CONSTANTS]
    constant = float(_CONSTANTS[int(np.nanargmin(losses))]) * scale
    if family != "free":
        shape = families.shape(family, n, n_pieces)
        found = [shape.steps(end) for end in _ends(coarse, shape, constant)]
        values = np.array([recursion.value(steps) for steps in found])
        return found[int(np.argmin(values))], values
    shapes = [families.shape(name, n, n_pieces) for name in families.NAMES]
    known = [s.steps(_within(coarse, s, s.start(constant), _BRIEF)) for s in shapes]
    known.sort(key=coarse.value)
    sweeps = Sweeps(coarse)
    most = int(np.clip(_SWEPT / (n * coarse.curvature.size), *_SWEEPS))
    begins = [greedy, known[0], np.full(n, 0.1 * constant)]
    found = [sweeps.search_orders(begin, most, seed) for seed, begin in enumerate(begins)]
    ends = [coarse.value(end) for end in found]
    if not max(ends) <= (1.0 + _ALIKE) * min(ends):
        for seed in range(len(begins), len(begins) + _RESTARTS):
            best = min(found, key=coarse.value)
            found.append(sweeps.search_orders(best, most, seed, BLURS[1:]))
    values = np.array([recursion.value(steps) for steps in found])
    # What a search ends with may be no better than what was known before, to the last digits.
    others = [greedy, known[0]]
    before = [recursion.value(steps) for steps in others]
    return [*found, *others][int(np.argmin([*values, *before]))], values


def _ends(recursion: Recursion, shape: families.Shape, constant: float) -> list[Array]:
    """Parameters at the end of a search in a family, and of more from perturbations of the best."""
    rng = np.random.Generator(np.random.PCG64(0))
    ends = [_within(recursion, shape, shape.start(constant))]
    for _ in range(_RESTARTS):
        best = min(ends, key=lambda end: recursion.value(shape.steps(end)))
        begin = best * np.exp(_SPREAD * rng.standard_normal(best.shape))
        ends.append(_within(recursion, shape, begin))
    return ends


def _within(recursion: Recursion, shape: families.Shape, begin: Array, most: int = 500) -> Array:
    """Parameters of the lowest value near a start in a family, all above 0; the start itself if none is lower."""
    from scipy.optimize import minimize

    def target(x: Array) -> tuple[float, Array]:
        parameters = np.exp(x)
        value, gradient = recursion.value_and_gradient(shape.steps(parameters))
        return _logarithm(value, (gradient @ shape.jacobian(parameters)) * parameters)

    found = minimize(
        target,
        np.log(begin),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-100.0, 100.0)] * begin.size,
        options={"ftol": 1e-13, "gtol": 1e-9, "maxiter": most},
    )
    end = np.exp(found.x)
    # A start of infinite loss may have been left nowhere better.
    return min([end, begin], key=lambda parameters: recursion.value(shape.steps(parameters)))


def _logarithm(value: float, gradient: Array) -> tuple[float, Array]:
    """log of a loss and its gradient; far outside of the floating-point range a high plateau."""
    if not np.isfinite(value) or not np.isfinite(gradient).all():
        return 1e3, np.zeros_like(gradient)
    floor = max(value, 1e-300)
    return float(np.log(floor)), gradient / floor
