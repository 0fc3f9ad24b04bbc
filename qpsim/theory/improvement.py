"""The expected improvement of the loss by one step of the best size (Section 2.1, B.1).

Along a direction z the expected loss is a parabola in the step size (Eq. 10); its minimum is the
expected improvement I(z) = 0.5 (grad^T E[z])^2 / E[z^T Q z] (Eq. 11), by which directions are
compared. (Eq. 20 and 22 print I without the 1/2.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import TheoryError
from qpsim.methods import Method, State
from qpsim.methods import method as method_of
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check
from qpsim.theory.moments import direction_moments

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


STATELESS = ("sgd", "ssd", "svag", "va-ssd", "va-ssd-erf")


@check.quiet
def optimal_step_size(
    problem: QuadraticProblem,
    method: str | Method,
    theta: ArrayLike,
    state: State | None = None,
    *,
    variance_estimate: ArrayLike | None = None,
) -> Any:
    """Step size that minimises the expected loss along z: grad^T E[z] / E[z^T Q z].

    The text before Eq. 11, for steps theta - alpha z. Negative if momentum points uphill; 0 if z is always 0. Infinite
    on a :class:`qpsim.LocalModel` where E[z^T Q z] is 0 or negative: the model's loss is unbounded along z. 0 for SGD
    and other linear rules if the noise has an infinite variance, as Student's t with at most 2 degrees of freedom.

    Parameters and errors as :func:`direction_moments`. Returns a float, or an array of shape (...).

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> qpsim.theory.optimal_step_size(p, "sgd", [3.0, 1.0])
    0.5
    """
    slope, curvature = _parabola(problem, method, theta, state, variance_estimate)
    return check.scalar_or_array(_step(problem, slope, curvature))


@check.quiet
def expected_improvement(
    problem: QuadraticProblem,
    method: str | Method,
    theta: ArrayLike,
    state: State | None = None,
    *,
    variance_estimate: ArrayLike | None = None,
) -> Any:
    """I(z) = 0.5 (grad^T E[z])^2 / E[z^T Q z]: the expected decrease at the best step (Eq. 11).

    Exact for sign directions too, where Eq. 12 has a lower bound only. Parameters and errors as
    :func:`direction_moments`. Returns a float, or an array of shape (...), in units of the loss.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> qpsim.theory.expected_improvement(p, "sgd", [3.0, 1.0])
    3.25
    """
    slope, curvature = _parabola(problem, method, theta, state, variance_estimate)
    return check.scalar_or_array(_gain(slope, _step(problem, slope, curvature)))


@check.quiet
def improvement_bound(problem: QuadraticProblem, theta: ArrayLike, form: str = "entries") -> Any:
    """The paper's lower bound on sign descent's improvement (Eq. 12 right, Eq. 13).

    0.5 (sum_i (2 rho_i - 1) |grad_i|)^2 / sum_ij |q_ij|. It uses |E[s_i s_j]| <= 1. It is exact for a diagonal Q, and
    2.9 to 4.4 times too small under a random rotation at d = 100.

    Parameters
    ----------
    problem : QuadraticProblem
    theta : array_like, shape (..., d)
    form : {"entries", "trace"}
        "entries" divides by sum_ij |q_ij| (Eq. 12); "trace" by tr(Q) / c with the diagonal mass c
        (Eq. 13), which is the same number.

    Raises
    ------
    ProblemError
        theta is not (..., d).
    TheoryError
        Another form.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], noise_std=1.0)
    >>> f"{qpsim.theory.improvement_bound(p, [1.0, 0.0]):.6f}"
    '0.161999'
    """
    p = check.problem(problem)
    entries = float(np.abs(p.hessian).sum())
    # The trace of an indefinite Hessian is not sum |q_ii| and may be 0; with |q_ii| both forms are equal.
    indefinite = bool(p.eigenvalues.min() < 0.0)
    denominators = {
        "entries": entries,
        "trace": entries if indefinite else float(p.eigenvalues.sum()) / p.diagonal_mass,
    }
    denominator = denominators[checks.choice("form of the bound", form, denominators, TheoryError)]
    gradient = p.gradient(check.point(p, theta))
    # Eq. 8 for any law of the noise.
    a = np.where(gradient == 0.0, 0.0, gradient / p.gradient_scale())
    slope = np.sum(gradient * p.noise.law.mean_sign(a), axis=-1)
    return check.scalar_or_array(0.5 * slope**2 / denominator)


@check.quiet
def bound_tightness(problem: QuadraticProblem, theta: ArrayLike) -> Any:
    """I(s) / bound: the ratio of sign descent's improvement to the bound of Eq. 12.

    At least 1, and 1 for a diagonal Hessian; 1 at the optimum, where both are 0.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], noise_std=1.0)
    >>> f"{qpsim.theory.bound_tightness(p, [1.0, 0.0]):.6f}"
    '1.173137'
    """
    exact = np.asarray(expected_improvement(problem, "ssd", theta))
    bound = np.asarray(improvement_bound(problem, theta))
    return check.scalar_or_array(_ratio(exact, bound, empty=1.0))


@dataclass(frozen=True)
class DirectionRow:
    """One method's line of a :class:`DirectionTable`."""

    method: str
    expected_improvement: float
    optimal_step_size: float
    ratio_to_sgd: float


@dataclass(frozen=True)
class DirectionTable:
    """Expected improvement and optimal step of several directions at one point.

    Printed, it is a small table; :meth:`to_dict` gives plain numbers for JSON.
    """

    rows: tuple[DirectionRow, ...]
    excess_loss: float
    noise: str
    diagonal_mass: float
    improvement_bound: float
    bound_tightness: float

    def __repr__(self) -> str:
        methods = ", ".join(row.method for row in self.rows)
        return f"<DirectionTable of {methods}; best {self.best}; print it for the numbers>"

    @property
    def best(self) -> str:
        """Method with the largest expected improvement; the first one if several are equal."""
        return max(self.rows, key=lambda row: row.expected_improvement).method

    def to_dict(self) -> dict[str, Any]:
        """The table as plain Python numbers, strings and lists."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows], "best": self.best}

    def __str__(self) -> str:
        width = max(len("method"), *(len(row.method) for row in self.rows))
        lines = [f"{'method':<{width}}  {'improvement':>12}  {'step size':>12}  {'x sgd':>8}"]
        lines += [
            f"{row.method:<{width}}  {_amount(row.expected_improvement)}  "
            f"{_amount(row.optimal_step_size)}  {row.ratio_to_sgd:>8.3g}"
            for row in self.rows
        ]
        lines.append(
            f"excess loss {self.excess_loss:.5g}, noise {self.noise}, diagonal mass "
            f"{self.diagonal_mass:.3g}; Eq. 12 guarantees ssd {self.improvement_bound:.5g} "
            f"(exact is {self.bound_tightness:.3g} times that)"
        )
        return "\n".join(lines)


@check.quiet
def compare_directions(
    problem: QuadraticProblem,
    theta: ArrayLike,
    methods: Iterable[str | Method] | None = None,
    states: Mapping[str, State] | None = None,
    *,
    variance_estimate: ArrayLike | None = None,
) -> DirectionTable:
    """Expected improvement and optimal step of several methods at one point (Eq. 11).

    Parameters
    ----------
    problem : QuadraticProblem
    theta : array_like, shape (d,)
    methods : iterable of str or Method, optional
        Default: sgd, ssd, svag, va-ssd, va-ssd-erf, and every method named in ``states``.
    states : mapping of method name to State, optional
        State before the step of methods that have one; the initial state where not given.
    variance_estimate : array_like of theta's shape, optional
        This step's minibatch estimate of sigma^2, if a compared method sees one.

    Raises
    ------
    ProblemError, MethodError
        As :func:`direction_moments`.
    TheoryError
        theta is not one point, no method is named, or a state's method is not compared.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 100.0], noise_std=4.0)
    >>> print(qpsim.theory.compare_directions(p, [10.0, 0.1], methods=["sgd", "ssd"]))
    method   improvement     step size     x sgd
    sgd        0.0012492    1.2492e-05         1
    ssd          0.50253      0.099755       402
    excess loss 50.5, noise 4, diagonal mass 1; Eq. 12 guarantees ssd 0.50253 (exact is 1 times that)
    """
    p = check.problem(problem)
    point = check.point(p, theta)
    if point.ndim != 1:
        raise TheoryError(f"The table is for one theta of shape ({p.dim},), not {point.shape}.")
    try:
        given = dict(states or {})
        names = [*STATELESS, *given] if methods is None else list(methods)
    except Exception:  # whatever the class of either raises
        raise TheoryError(
            "methods is a list of methods, and states a mapping from their names to states; not "
            f"{checks.shown(methods)} and {checks.shown(states)}."
        ) from None
    if isinstance(methods, str):
        raise TheoryError(f"methods is a list of methods; for one alone, give [{methods!r}].")
    chosen = [method_of(m) for m in names]
    if not chosen:
        raise TheoryError("There is no method to compare; name at least one.")
    strangers = set(given) - {m.name for m in chosen}
    if strangers:
        raise TheoryError(f"A state was given for {min(strangers)!r}, which is not compared.")
    reference = _row(p, method_of("sgd"), point, None, None, None)
    estimates = {
        m: variance_estimate if m.observes == "variance_estimate" else None for m in chosen
    }
    rows = [
        _row(p, m, point, given.get(m.name), estimates[m], reference.expected_improvement)
        for m in chosen
    ]
    return DirectionTable(
        rows=tuple(rows),
        excess_loss=p.excess_loss(point),
        noise=f"{p.noise_std:g}" if _is_usual(p) else repr(p.noise),
        diagonal_mass=p.diagonal_mass,
        improvement_bound=improvement_bound(p, point),
        bound_tightness=bound_tightness(p, point),
    )


def _row(
    p: QuadraticProblem,
    method: Method,
    theta: Array,
    state: State | None,
    variance_estimate: ArrayLike | None,
    reference: float | None,
) -> DirectionRow:
    step, gain = best_step(p, method, theta, state, variance_estimate)
    # The ratio to sgd is 1 if both improvements are 0 (at the optimum) or both infinite (unbounded local model).
    alike = reference is None or (np.isinf(gain) and np.isinf(reference))
    ratio = 1.0 if alike else float(_ratio(np.float64(gain), reference, empty=1.0))
    return DirectionRow(method.name, gain, step, ratio)


def best_step(
    p: QuadraticProblem,
    method: str | Method,
    theta: Array,
    state: State | None = None,
    variance_estimate: ArrayLike | None = None,
) -> tuple[float, float]:
    """The best step size at one theta and its improvement: :func:`optimal_step_size` and
    :func:`expected_improvement` from moments computed once.
    """
    slope, curvature = _parabola(p, method, theta, state, variance_estimate)
    step = float(_step(p, slope, curvature))
    return step, float(_gain(slope, step))


def _parabola(
    problem: QuadraticProblem,
    method: str | Method,
    theta: ArrayLike,
    state: State | None,
    variance_estimate: ArrayLike | None,
) -> tuple[Array, Array]:
    """grad^T E[z] and E[z^T Q z], the two coefficients of Eq. 10."""
    mean, quadratic = direction_moments(
        problem, method, theta, state, variance_estimate=variance_estimate
    )
    gradient = problem.gradient(check.point(problem, theta))
    slope = np.sum(gradient * mean, axis=-1)
    return _representable(slope, "The slope grad^T E[z]"), np.asarray(quadratic)


def _amount(value: float) -> str:
    return f"{'unbounded':>12}" if value == np.inf else f"{value:>12.5g}"


def _step(problem: Any, slope: Any, curvature: Any) -> Array:
    """The best step: infinite where the loss is unbounded along the direction."""
    step = _ratio(slope, curvature)
    if getattr(problem, "kind", "") != "local":
        return step
    # Without slope and with negative curvature the loss falls on both sides.
    unbounded = (curvature < 0.0) | ((curvature == 0.0) & (np.asarray(slope) != 0.0))
    return np.where(unbounded, np.inf, step)


def _gain(slope: Any, step: Any) -> Array:
    """I(z): the decrease of the expected loss at its best step along the slope."""
    gain = np.where(np.isinf(step), np.inf, 0.5 * slope * step)
    _representable(np.where(np.isinf(step), 0.0, gain), "The improvement I(z)")
    return gain


def _representable(values: Any, what: str) -> Array:
    array = np.asarray(values)
    if not np.isfinite(array).all():
        raise TheoryError(f"{what} overflows double precision: theta is too far from the optimum.")
    return array


def _ratio(numerator: Any, denominator: Any, empty: float = 0.0) -> Array:
    """numerator / denominator, and ``empty`` where the denominator is 0."""
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, empty, numerator / safe)


def _is_usual(p: QuadraticProblem) -> bool:
    return p.noise.family == "data" and p.noise.law.is_gaussian
