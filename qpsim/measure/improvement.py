"""The improvement by each direction at one point, measured from real gradients, beside the theory's prediction.

Eq. 11 of Balles & Hennig (2018): along z the expected loss falls by at most I(z) = 0.5 (grad^T E[z])^2 / E[z^T H z].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import MeasureError
from qpsim.measure.inputs import Products, blocks_of, check_count, generator
from qpsim.measure.parabolas import (
    UNKNOWN,
    Directions,
    half_square,
    moments,
    noise_ratio,
    normal,
    parabola,
    percentiles,
    products_and_curvatures,
    relative_variance,
)
from qpsim.measure.realised import check_loss, realised
from qpsim.measure.record import Estimate, Measurement, axes_for, table
from qpsim.methods import Method, Rule, State
from qpsim.methods import method as method_of

_DEFAULT = ("sgd", "ssd", "svag", "va-ssd", "adam")


@dataclass(frozen=True)
class MeasuredDirection:
    """The results of one method in a :class:`DirectionsMeasurement`.

    Attributes
    ----------
    method : str
    slope, curvature : Estimate
        grad^T E[z] and E[z^T H z].
    improvement : Estimate
        I(z), the largest expected decrease of the quadratic model; infinite where E[z^T H z] <= 0.
    step_size : Estimate
        The best one.
    ratio_to_sgd : Estimate
        I(z) / I(g).
    predicted : float
        I(z) by the Gaussian theory from the measured mean, covariance and Hessian; NaN where no Hessian was formed. The
        measured mean has the noise of n gradients, so that the prediction is too large unless the noise scale is much
        smaller than n.
    realised : Estimate
        The largest mean decrease of the loss itself over some directions, with one step size for all; NaN without a
        loss. If the loss is the mean over the batches that have given the gradients, each direction is fitted to its
        own batch, and the decrease is too large by an amount that falls with the number of batches.
    """

    method: str
    slope: Estimate
    curvature: Estimate
    improvement: Estimate
    step_size: Estimate
    ratio_to_sgd: Estimate
    predicted: float
    realised: Estimate


@dataclass(frozen=True, eq=False, repr=False)
class DirectionsMeasurement(Measurement):
    """The improvement by each direction at one point. Made by :func:`qpsim.measure.directions`.

    Attributes
    ----------
    n_gradients, dim, n_products : int
    rows : tuple of MeasuredDirection
    improvement_bound : float
        Eq. 12's lower bound on sign descent's I(z), with Gaussian success probabilities; NaN without a Hessian.
    noise_curvature_ratio : Estimate
        tr HC / grad^T H grad: curvature along a stochastic gradient due to noise, relative to that of the gradient.
    gradient : ndarray (d,)
    matrix : ndarray (d, d) or None
        The Hessian, where it was formed.
    noise_factor : ndarray (d, n) or None
        F with the sample covariance C = F F^T, where the Hessian was formed.
    """

    n_gradients: int
    dim: int
    n_products: int
    rows: tuple[MeasuredDirection, ...]
    improvement_bound: float
    noise_curvature_ratio: Estimate
    gradient: np.ndarray
    matrix: np.ndarray | None
    noise_factor: np.ndarray | None

    def __getitem__(self, method: str) -> MeasuredDirection:
        for row in self.rows:
            if row.method == method:
                return row
        raise MeasureError(
            f"{checks.shown(method)} was not measured, but {[row.method for row in self.rows]}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As of every measurement, without the matrices."""
        found = super().to_dict()
        del found["matrix"], found["noise_factor"]
        return found

    def __str__(self) -> str:
        rows = [
            [
                row.method,
                str(row.improvement),
                f"{row.predicted:.4g}",
                str(row.realised),
                f"{row.step_size.value:.4g}",
                str(row.ratio_to_sgd),
            ]
            for row in self.rows
        ]
        columns = ["method", "improvement", "Gaussian", "realised", "step size", "x sgd"]
        note = f"Eq. 12 guarantees ssd {self.improvement_bound:.4g}; tr HC / g^T H g is {self.noise_curvature_ratio}"
        title = f"Directions at one point, {self.n_gradients} gradients, {self.dim} coordinates"
        return table(title, columns, rows, note)

    def __repr__(self) -> str:
        methods = ", ".join(row.method for row in self.rows)
        return f"<DirectionsMeasurement of {methods}; print it for the numbers>"

    def problem(self, positive_part: bool = False) -> Any:
        """The measured point as a problem: its Hessian, gradient and noise covariance.

        Parameters
        ----------
        positive_part : bool, default False
            Leave the Hessian's negative eigenvalues out, so that the problem has an optimum and can be simulated.

        Returns
        -------
        QuadraticProblem or LocalModel
            A problem for :func:`qpsim.simulate` where the Hessian is positive semi-definite and the gradient lies in
            its range; the point is theta = 0. Otherwise a LocalModel, for one step's theory.

        Raises
        ------
        MeasureError
            The Hessian was not formed: raise ``exact_below`` of the measurement.

        Examples
        --------
        >>> import numpy as np, qpsim
        >>> from qpsim import measure
        >>> g = 1.0 + np.random.default_rng(0).standard_normal((50, 2))
        >>> found = measure.directions(g, lambda v: 2.0 * v, methods=["sgd"])
        >>> qpsim.simulate(found.problem(), "ssd", n_steps=3, n_replicates=4).excess_loss.shape
        (4, 4)
        """
        from qpsim.problem import noise
        from qpsim.problem.local import LocalModel
        from qpsim.problem.quadratic import QuadraticProblem

        if self.matrix is None or self.noise_factor is None:
            raise MeasureError(
                f"The Hessian of {self.dim} coordinates was not formed; measure with exact_below={self.dim}."
            )
        covariance = noise.low_rank(self.noise_factor)
        values, vectors = np.linalg.eigh(self.matrix)
        floor = self.dim * np.finfo(float).eps * np.abs(values).max()
        kept = values > floor
        along = vectors.T @ self.gradient
        outside = np.linalg.norm(along[~kept]) > 1e-6 * np.linalg.norm(along)
        if positive_part or (values.min() >= -floor and not outside):
            optimum = -vectors[:, kept] @ (along[kept] / values[kept])
            matrix = (vectors[:, kept] * values[kept]) @ vectors[:, kept].T
            return QuadraticProblem(0.5 * (matrix + matrix.T), optimum, noise=covariance)
        return LocalModel(self.gradient, self.matrix, covariance)

    def plot(self, ax: Any = None) -> Any:
        """Improvement of each method relative to SGD's, with intervals; returns the axes."""
        ax = axes_for(ax)
        for k, row in enumerate(self.rows):
            ratio = row.ratio_to_sgd
            if np.isfinite(ratio.value):
                error = [[ratio.value - ratio.low], [ratio.high - ratio.value]]
                ax.errorbar([k], [ratio.value], yerr=error, fmt="o", color="0.2", capsize=3)
        ax.set_xticks(range(len(self.rows)), [row.method for row in self.rows])
        ax.set_yscale("log")
        ax.set_ylabel("I(z) / I(g)")
        return ax


@np.errstate(under="ignore")
def directions(
    gradients: Any,
    hvp: Callable[[Any], Any],
    *,
    methods: Iterable[str | Method | Rule] = _DEFAULT,
    states: Mapping[str, State] | None = None,
    loss: Callable[[np.ndarray], float] | None = None,
    exact_below: int = 600,
    n_products: int = 32,
    n_bootstrap: int = 400,
    rng: Any = 0,
) -> DirectionsMeasurement:
    """Measure how much one step of each method improves the loss at one point.

    E[z] and E[z^T H z] are means over the directions for the given gradients, without an assumption on their
    distribution. For the slope grad^T E[z] each direction is multiplied only with the *other* gradients: the noise that
    it shares with its own gradient would make the slope too large. For methods that know eta^2, it is estimated from
    the half of the gradients on which they are not measured.

    Parameters
    ----------
    gradients : array (n, d), or an iterable of chunks (m, d)
        Independent gradients at the point, for the batch size of interest. They are stored once, in their own
        precision; everything else takes about 50 vectors (d,) in double precision.
    hvp : callable
        Product with the Hessian of the loss there, (d,) or (d, k) to the same shape.
    methods : iterable of str, Method or Rule
    states : mapping of method name to State, optional
        State before the step; the initial one where not given (then Adam's direction is the sign).
    loss : callable, optional
        ``loss(delta)``, the loss at the point plus ``delta`` (d,), without noise.
    exact_below : int, default 600
        Largest dimension for which the whole Hessian is computed, for the theory's prediction.
    n_products : int, default 32
        Directions of each method that are multiplied by the Hessian, if it is not formed.
    n_bootstrap : int, default 400
    rng : seed or Generator, default 0

    Raises
    ------
    MeasureError
        Fewer than 8 gradients, NaN or infinite entries, products that are not those of a symmetric matrix, or a loss
        that is not a finite number or not deterministic.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim import measure
    >>> g = np.array([2.0, 1.0]) + np.random.default_rng(0).standard_normal((500, 2))
    >>> found = measure.directions(g, lambda v: 3.0 * v, methods=["sgd", "ssd"])
    >>> abs(found["sgd"].improvement.value / (0.5 * 25 / 21) - 1) < 0.1
    True
    """
    random = generator(rng)
    if not isinstance(states, Mapping | None):
        raise MeasureError(
            f"states must map names of methods to states, not be a {type(states).__name__}."
        )
    methods = _listed(methods)
    chosen = _methods(methods, states or {})
    chunks = list(blocks_of(gradients))
    if not chunks:
        raise MeasureError("There are no gradients.")
    n, dim = sum(map(len, chunks)), chunks[0].shape[1]
    check_count(n)
    checks.count("n_products", n_products, MeasureError, low=2)
    checks.count("n_bootstrap", n_bootstrap, MeasureError, low=100)
    small = dim <= checks.count("exact_below", exact_below, MeasureError, low=0)
    if loss is not None:
        check_loss(loss, dim)
    products = Products(hvp, dim, random)
    matrix = None
    if small:
        from qpsim.measure.hessian import full_matrix

        matrix = full_matrix(products)
    halves = np.arange(n) % 2
    mean, _ = moments(chunks, np.ones(n, dtype=bool))
    eta = [relative_variance(chunks, halves == 1 - k) for k in range(2)] if any(
        one.observes for one in chosen
    ) else []  # fmt: skip
    weights = random.multinomial(n, np.full(n, 1.0 / n), size=n_bootstrap).astype(float)
    weights = np.concatenate([np.ones((1, n)), weights])
    measured = []
    for one in chosen:
        state = (states or {}).get(one.name) or one.initial_state(dim)
        view = Directions(chunks, one, state, halves, eta)
        pairs, curvatures = products_and_curvatures(chunks, view, matrix, products, n_products)
        measured.append((one, state, view, *parabola(weights, pairs, curvatures, halves, one)))
    reference = next(roots for one, _, _, _, _, roots in measured if one.name == "sgd")
    factor = model = None
    if matrix is not None:
        factor = np.concatenate([(c - mean) for c in chunks]).T / np.sqrt(n - 1)
        # Without any curvature there is no theory: all improvements are infinite.
        model = _model(mean, matrix, factor) if matrix.any() else None
    asked = {method_of(m).name for m in _listed(methods)}
    rows = tuple(
        _row(n, one, state, view, slopes, curves, roots, reference, model, loss)
        for one, state, view, slopes, curves, roots in measured
        if one.name in asked
    )
    sgd = next(curves for one, _, _, _, curves, _ in measured if one.name == "sgd")
    return DirectionsMeasurement(
        n_gradients=n,
        dim=dim,
        n_products=products.count,
        rows=rows,
        improvement_bound=_bound(model),
        noise_curvature_ratio=noise_ratio(chunks, products, mean, weights, sgd),
        gradient=mean,
        matrix=matrix,
        noise_factor=factor,
    )


def _listed(methods: Any) -> list[Any]:
    if isinstance(methods, (str, Method, Rule)):
        return [methods]
    try:
        return list(methods)
    except Exception:  # whatever the object's class raises
        raise MeasureError(
            f"methods must be names or rules, or a list of them, not {checks.shown(methods)}."
        ) from None


def _methods(methods: Any, states: Mapping[str, State]) -> list[Method]:
    chosen = [method_of(one) for one in _listed(methods)]
    names = [one.name for one in chosen]
    if not chosen or len(set(names)) < len(names):
        raise MeasureError(f"methods must name each method once, and at least one, not {names}.")
    if "sgd" not in names:
        chosen.append(method_of("sgd"))
    for one in chosen:
        if one.observes == "variance_estimate":
            raise MeasureError(
                f"{one.name} needs each minibatch's own variance, which gradients alone do not have."
            )
    unmeasured = set(states) - set(names)
    if unmeasured:
        raise MeasureError(f"A state was given for {min(unmeasured)!r}, which is not measured.")
    return chosen


def _row(
    n: int,
    method: Method,
    state: State,
    view: Directions,
    slopes: np.ndarray,
    curves: np.ndarray,
    roots: np.ndarray,
    reference: np.ndarray,
    model: Any,
    loss: Any,
) -> MeasuredDirection:
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(curves > 0.0, slopes / curves, np.inf)
        ratios = np.square(roots / reference)
    return MeasuredDirection(
        method=method.name,
        slope=normal(slopes, n),
        curvature=normal(curves, n),
        improvement=half_square(normal(roots, n)),
        step_size=normal(steps, n),
        ratio_to_sgd=percentiles(ratios),
        predicted=_prediction(model, method, state),
        realised=UNKNOWN if loss is None else realised(loss, view, steps[0]),
    )


def _model(mean: np.ndarray, matrix: np.ndarray, factor: np.ndarray) -> Any:
    from qpsim.problem import noise
    from qpsim.problem.local import LocalModel

    return LocalModel(mean, matrix, noise.low_rank(factor))


def _prediction(model: Any, method: Method, state: State) -> float:
    from qpsim import theory

    if model is None:
        return float("nan")
    return float(theory.expected_improvement(model, method, np.zeros(model.dim), state))


def _bound(model: Any) -> float:
    from qpsim import theory

    if model is None or not model.hessian.any():
        return float("nan")
    return float(theory.improvement_bound(model, np.zeros(model.dim)))
