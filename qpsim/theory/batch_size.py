"""How improvement, best step size and steps to a loss depend on the batch size, and noise scales.

A minibatch of B draws has the gradient covariance C / B. The noise scales are batch sizes at which noise and gradient g
are about equally important: tr C / |g|^2 and tr(H C) / g^T H g (McCandlish et al., 2018) for gradient descent, and
(|sigma|_1 / |g|_1)^2 for its sign. Rules of thumb for the best step size say that it grows like B, like sqrt(B), or
that it falls again beyond some B (the "surge" of Li et al., 2024); here the step and its exponent are computed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import TheoryError
from qpsim.files.plain import plain
from qpsim.methods import Method, State
from qpsim.methods import method as method_of
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check
from qpsim.theory.improvement import best_step
from qpsim.theory.moments import linear_noise
from qpsim.theory.steps import STEP_SIZES, steps_until

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

BATCH_SIZES = tuple(2**k for k in range(21))

# Distance in log B of the points whose differences give a step's exponent.
_WIDTH = 1e-2
_RULES = {"linear": 1.0, "square-root": 0.5, "surge": -math.inf}
# What an exponent that is 0 may be below it: the moments of some methods are good to 1e-8.
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class BatchSizeLaw:
    """What the batch size changes, for some methods at one point.

    Attributes
    ----------
    methods : tuple of str
        m names.
    batch_sizes : ndarray (n,)
    improvement : ndarray (m, n)
        I(B): expected decrease of the loss in one step of the best size (Eq. 11).
    step_size : ndarray (m, n)
        That best size.
    step_exponent : ndarray (m, n)
        d log(step size) / d log(B) at each B; NaN where it is not known, as under heavy tails.
    limit_improvement, limit_step_size : ndarray (m,)
        The same without noise, B infinite.
    half_batch_size : ndarray (m,)
        B at which the improvement is half its limit; NaN under heavy tails, and where the limit is 0 or infinite.
    gradient_noise_scale, curvature_noise_scale, sign_noise_scale : float
        tr C / |g|^2, tr(H C) / g^T H g and (|sigma|_1 / |g|_1)^2, in draws.
    n_steps, constant_step_size : ndarray (m, n), or None
        Fewest steps from theta to the target loss with a constant step size, and that size; NaN for methods whose
        steps have no exact count, infinity where no step size reaches the target. None without a target.
    """

    methods: tuple[str, ...]
    batch_sizes: Array
    improvement: Array
    step_size: Array
    step_exponent: Array
    limit_improvement: Array
    limit_step_size: Array
    half_batch_size: Array
    gradient_noise_scale: float
    curvature_noise_scale: float
    sign_noise_scale: float
    n_steps: Array | None = None
    constant_step_size: Array | None = None

    def follows(self, rule: str, within: float = 0.1) -> NDArray[np.bool_]:
        """Where a rule of thumb holds, shape (m, n).

        Parameters
        ----------
        rule : {"linear", "square-root", "surge"}
            The best step size grows like B, like sqrt(B), or falls as B grows.
        within : float, default 0.1
            How far the exponent may be from 1 or 1/2.

        Raises
        ------
        TheoryError
            Another rule, or a number that is negative.
        """
        exponent = _RULES[checks.choice("rule", rule, _RULES, TheoryError)]
        room = check.amount(within, "within")
        if rule == "surge":
            return self.step_exponent < -_ROUNDING
        return np.abs(self.step_exponent - exponent) <= room

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; infinities and NaN are None."""
        return dict(plain(self))

    def __repr__(self) -> str:
        low, high = self.batch_sizes.min(), self.batch_sizes.max()
        return f"<BatchSizeLaw of {', '.join(self.methods)} for B in [{low:g}, {high:g}]; print it for the numbers>"

    def __str__(self) -> str:
        wide = max(len("method"), *map(len, self.methods))
        lines = [
            f"{'method':<{wide}} {'B':>9} {'improvement':>12} {'step size':>12} {'exponent':>9}"
        ]
        if self.n_steps is not None:
            lines[0] += f" {'steps':>9}"
        for k, method in enumerate(self.methods):
            for j, batch in enumerate(self.batch_sizes):
                line = (
                    f"{method:<{wide}} {batch:>9g} {self.improvement[k, j]:>12.5g} "
                    f"{self.step_size[k, j]:>12.5g} {self.step_exponent[k, j]:>9.3f}"
                )
                steps = "" if self.n_steps is None else f" {self.n_steps[k, j]:>9.9g}"
                lines.append(line + steps)
        lines.append(
            f"noise scales: gradient {self.gradient_noise_scale:.4g}, curvature {self.curvature_noise_scale:.4g}, "
            f"sign {self.sign_noise_scale:.4g}; half the improvement at B = "
            + ", ".join(
                f"{b:.4g} ({m})" for m, b in zip(self.methods, self.half_batch_size, strict=True)
            )
        )
        return "\n".join(lines)


@check.quiet
def batch_size_law(
    problem: QuadraticProblem,
    theta: ArrayLike,
    methods: Iterable[str | Method] = ("sgd", "ssd"),
    batch_sizes: ArrayLike = BATCH_SIZES,
    *,
    states: Mapping[str, State] | None = None,
    target: float | None = None,
    step_sizes: ArrayLike | None = None,
) -> BatchSizeLaw:
    """Improvement, best step size and, on demand, steps to a loss of methods at each batch size.

    Parameters
    ----------
    problem : QuadraticProblem or LocalModel
        Its noise is that of one draw.
    theta : array_like, shape (d,)
    methods : iterable of str or Method, default sgd and ssd
        Any whose moments :func:`direction_moments` knows from its state alone. SGD preconditioned by P is sgd on
        ``problem.preconditioned(P)``.
    batch_sizes : array_like, shape (n,), default 1, 2, 4, ..., 2^20
        Above 0. Fractions are allowed for Gaussian noise, which is then that of covariance C / B.
    states : mapping of method name to State, optional
        State before the step, the same at each B; the initial state where not given.
    target : float, optional
        Excess loss above 0. With it, steps to it from theta are counted for methods declared equivariant
        (:func:`steps_until`).
    step_sizes : array_like, optional
        Constant step sizes to choose the fewest steps from: 100 values from 1e-5 to 10^0.5, over the largest
        eigenvalue, by default.

    Returns
    -------
    BatchSizeLaw

    Raises
    ------
    ProblemError, MethodError
        As :func:`direction_moments`; steps to a loss on a LocalModel.
    TheoryError
        theta is not one point, no method or batch size is given, a batch size is not above 0 or, under heavy tails,
        not whole; a state's method is not asked for; a target or step size that is not above 0.

    Notes
    -----
    For gradient descent I(B) = I(inf) / (1 + B_c / B), B_c the curvature noise scale, and the best step size has the
    exponent 1 / (1 + B / B_c). Within 0.1 of its exponent it is linear up to B = B_c / 9, and grows like the root
    between 0.67 and 1.5 B_c.

    For its sign at equal signal-to-noise on a diagonal Hessian, B_s the sign noise scale,
    I(B) = I(inf) erf(sqrt(B / (2 B_s)))^2, which is half of I(inf) at B = 1.10627 B_s. The best step size grows like
    the root up to B = 0.655 B_s, then approaches its limit and never falls. With a coupled Hessian H, a gradient of
    signs s and uncorrelated noise it falls from where erf(sqrt(B / (2 B_s)))^2 is tr H / (s^T H s - tr H), if that is
    below 1: the surge. Correlated noise moves or removes it, and no formula of independent coordinates holds.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise=qpsim.noise.diagonal([16.0, 16.0]))
    >>> print(qpsim.theory.batch_size_law(p, [1.0, 0.5], batch_sizes=[1, 16, 256]))
    method         B  improvement    step size  exponent
    sgd            1     0.039216     0.039216     0.941
    sgd           16      0.33333      0.33333     0.500
    sgd          256      0.62745      0.62745     0.059
    ssd            1     0.025981      0.13161     0.490
    ssd           16      0.31071      0.45513     0.354
    ssd          256      0.66658      0.66662     0.001
    noise scales: gradient 16, curvature 16, sign 16; half the improvement at B = 16 (sgd), 17.7 (ssd)
    """
    p = check.problem(problem)
    point = check.point(p, theta)
    if point.ndim != 1:
        raise TheoryError(f"theta must have shape ({p.dim},), not {point.shape}.")
    chosen, before = _chosen(methods, states)
    gaussian = p.noise.law.is_gaussian
    batches = _batch_sizes(batch_sizes, gaussian)
    silent = at_batch(p, math.inf)
    shape = (len(chosen), batches.size)
    improvement, step_size, exponent = np.empty(shape), np.empty(shape), np.full(shape, np.nan)
    limits, half = np.empty((2, len(chosen))), np.full(len(chosen), np.nan)
    scales = _noise_scales(p, point)
    for k, (m, state) in enumerate(zip(chosen, before, strict=True)):
        limits[:, k] = best_step(silent, m, point, state)
        for j, batch in enumerate(batches):
            step_size[k, j], improvement[k, j] = best_step(at_batch(p, batch), m, point, state)
            if gaussian:
                exponent[k, j] = _exponent(p, m, point, state, batch)
        if gaussian:
            half[k] = _half(p, m, point, state, float(limits[1, k]), max(scales[1:]))
    counted: tuple[Array | None, Array | None] = (None, None)
    if target is not None:
        counted = _counted(p, chosen, point, batches, target, step_sizes)
    return BatchSizeLaw(
        tuple(m.name for m in chosen),
        batches,
        improvement,
        step_size,
        exponent,
        limits[1],
        limits[0],
        half,
        *scales,
        *counted,
    )


def at_batch(p: QuadraticProblem, batch_size: float) -> QuadraticProblem:
    """The problem at a batch size that may be a fraction or infinite; its noise must be Gaussian for a fraction."""
    if math.isinf(batch_size) or not float(batch_size).is_integer():
        return p.with_noise(replace(p.noise, level=p.noise.level / math.sqrt(batch_size)))
    return p.at_batch(int(batch_size))


def _chosen(methods: Any, states: Any) -> tuple[list[Method], list[State | None]]:
    if isinstance(methods, str):
        raise TheoryError(f"methods is a list of methods; for one alone, give [{methods!r}].")
    try:
        chosen, given = [method_of(m) for m in methods], dict(states or {})
    except TypeError:
        raise TheoryError(
            f"methods is a list of methods, and states a mapping from their names to states; not "
            f"{checks.shown(methods)} and {checks.shown(states)}."
        ) from None
    if not chosen:
        raise TheoryError("There is no method; name at least one.")
    strangers = set(given) - {m.name for m in chosen}
    if strangers:
        raise TheoryError(f"A state was given for {min(strangers)!r}, which is not asked for.")
    return chosen, [given.get(m.name) for m in chosen]


def _batch_sizes(batch_sizes: Any, gaussian: bool) -> Array:
    batches = np.array(checks.finite_numbers("batch_sizes", batch_sizes, TheoryError), dtype=float)
    if batches.ndim != 1 or batches.size == 0 or not batches.min() > 0.0:
        raise TheoryError("batch_sizes must be a sequence of numbers above 0.")
    if not gaussian and (batches != np.floor(batches)).any():
        raise TheoryError("Under heavy tails batch_sizes must be whole numbers.")
    return batches


def _noise_scales(p: QuadraticProblem, theta: Array) -> tuple[float, float, float]:
    """tr C / |g|^2, tr(H C) / g^T H g and (|sigma|_1 / |g|_1)^2; infinite where g is 0 and the noise is not."""
    gradient, std = p.gradient(theta), p.gradient_std()
    pairs = (
        (np.sum(std**2), gradient @ gradient),
        (linear_noise(p, 1.0), gradient @ p.matvec(gradient)),
        (np.sum(std) ** 2, np.sum(np.abs(gradient)) ** 2),
    )
    gradient_scale, curvature, sign = (float(np.divide(c, g)) if c else 0.0 for c, g in pairs)
    return gradient_scale, curvature, sign


def _exponent(
    p: QuadraticProblem, method: Method, theta: Array, state: State | None, batch_size: float
) -> float:
    """d log(best step size) / d log(B), by central differences of fourth order."""

    def ratio(width: float) -> Any:
        above, below = (
            best_step(at_batch(p, batch_size * math.exp(k)), method, theta, state)[0]
            for k in (width, -width)
        )
        return np.divide(above, below)

    # If the best step changes its sign, as with momentum it may, there is no exponent.
    return float((8.0 * np.log(ratio(_WIDTH)) - np.log(ratio(2.0 * _WIDTH))) / (12.0 * _WIDTH))


def _half(
    p: QuadraticProblem,
    method: Method,
    theta: Array,
    state: State | None,
    limit: float,
    guess: float,
) -> float:
    """B at which the improvement is half its limit."""
    if not (math.isfinite(limit) and limit > 0.0):
        return math.nan
    if p.is_deterministic():
        return 0.0
    from scipy.optimize import brentq

    def excess(log_batch: float) -> float:
        return best_step(at_batch(p, math.exp(log_batch)), method, theta, state)[1] / limit - 0.5

    low = high = math.log(guess) if 0.0 < guess < math.inf else 0.0
    # 60 in log B is a factor of 1e26.
    for _ in range(60):
        if excess(low) < 0.0:
            break
        low -= 1.0
    for _ in range(60):
        if excess(high) > 0.0:
            break
        high += 1.0
    if not excess(low) < 0.0 < excess(high):
        return math.nan
    return math.exp(brentq(excess, low, high, xtol=1e-10))


def _counted(
    p: QuadraticProblem,
    methods: list[Method],
    theta: Array,
    batches: Array,
    target: float,
    step_sizes: Any,
) -> tuple[Array, Array]:
    """Fewest steps to the target and the constant step size that takes them, for methods with an exact count."""
    if step_sizes is None:
        grid = np.array(STEP_SIZES) / float(p.eigenvalues.max())
    else:
        grid = np.atleast_1d(checks.finite_numbers("step_sizes", step_sizes, TheoryError))
        if grid.size == 0 or not grid.min() > 0.0:
            raise TheoryError("step_sizes must be numbers above 0.")
    steps, best = np.full((2, len(methods), batches.size), np.nan)
    for k, m in enumerate(methods):
        if not m.equivariant or m.observes is not None:
            continue
        for j, batch in enumerate(batches):
            q = at_batch(p, batch)
            found = steps_until(q, m, target, grid, theta)
            fewest = int(np.argmin(found))
            steps[k, j] = found[fewest]
            best[k, j] = grid[fewest] if math.isfinite(found[fewest]) else np.nan
    return steps, best
