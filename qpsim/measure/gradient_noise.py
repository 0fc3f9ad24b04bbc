"""The noise of stochastic gradients at one point: its size, shape, correlation and tails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import MeasureError
from qpsim.measure.inputs import check_count, chunks_of, generator
from qpsim.measure.record import Estimate, Measurement, axes_for, student_estimate, table

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Largest size in bytes of the sums for the jackknife's groups, and largest number of groups.
_GROUP_BYTES, _GROUPS = 200e6, 20
# Coordinates of the tail's likelihood, and the largest fraction of equal values that they may have.
_TAIL_COORDINATES, _REPEATS = 32, 0.05


@dataclass(frozen=True, eq=False, repr=False)
class NoiseMeasurement(Measurement):
    """The noise of one stochastic gradient. Made by :func:`qpsim.measure.noise`.

    Attributes
    ----------
    n_gradients, dim : int
    gradient : ndarray (d,)
        Mean of the gradients.
    variance : ndarray (d,)
        Unbiased variance of one gradient, sigma_i^2.
    quantiles : tuple of float
        At which the relative variance is given.
    relative_variance : tuple of float
        Quantiles over the coordinates of eta_i^2 = sigma_i^2 / grad_i^2 (Eq. 14); the noise's contribution is
        subtracted from grad_i^2, and eta_i^2 is infinite if the rest is not positive.
    noise_scale : Estimate
        tr C / |grad|^2, the "simple" noise scale (McCandlish et al., 2018), in units of the given batch.
    sign_scale : Estimate
        (|sigma|_1 / |grad|_1)^2, the same for signs.
    gradient_correlation, sign_correlation : Estimate
        Root mean square correlation of pairs of coordinates, of gradients and of their signs, corrected for the
        sampling error of finitely many gradients. Signs that hardly ever change need more gradients than others: a
        coordinate that has one sign in all of them is left out.
    tail_index : Estimate
        Degrees of freedom of Student's t by likelihood; infinite for Gaussian tails. Only coordinates that rarely
        repeat a value are used; NaN if there are none.
    sign_probability_error : Estimate
        Root mean square difference between P[g_i > 0] and Eq. 8's Gaussian formula, corrected for sampling error.
    dead : int
        Coordinates whose gradient never varies.
    """

    n_gradients: int
    dim: int
    gradient: np.ndarray
    variance: np.ndarray
    quantiles: tuple[float, ...]
    relative_variance: tuple[float, ...]
    noise_scale: Estimate
    sign_scale: Estimate
    gradient_correlation: Estimate
    sign_correlation: Estimate
    tail_index: Estimate
    sign_probability_error: Estimate
    dead: int

    def __str__(self) -> str:
        eta = ", ".join(f"{value:.3g}" for value in self.relative_variance)
        rows = [
            ["noise scale tr C / |grad|^2", str(self.noise_scale)],
            ["sign scale (|sigma|_1 / |grad|_1)^2", str(self.sign_scale)],
            ["eta^2 at 5, 25, 50, 75, 95 %", eta],
            ["correlation of coordinates (rms)", str(self.gradient_correlation)],
            ["correlation of signs (rms)", str(self.sign_correlation)],
            ["tail index (Student df)", str(self.tail_index)],
            ["error of Eq. 8 (rms)", str(self.sign_probability_error)],
        ]
        title = f"Noise of {self.n_gradients} gradients, {self.dim} coordinates ({self.dead} never vary)"
        return table(title, ["", "value [95 % interval]"], rows)

    def __repr__(self) -> str:
        return f"<NoiseMeasurement of {self.n_gradients} gradients, dim={self.dim}>"

    def plot(self, ax: Any = None) -> Any:
        """The distribution of eta^2 over the coordinates; returns the axes."""
        ax = axes_for(ax)
        with np.errstate(divide="ignore", invalid="ignore"):
            eta = np.log10(self.variance / self.gradient**2)
        ax.hist(eta[np.isfinite(eta)], bins=40, color="0.4")
        ax.set_xlabel(r"$\log_{10}\,\eta_i^2$")
        ax.set_ylabel("coordinates")
        return ax


class _Sums:
    """Sums over the gradients and their squares by groups, and whole columns of some coordinates."""

    def __init__(self, dim: int, n_coordinates: int, rng: np.random.Generator) -> None:
        groups = int(min(_GROUPS, max(5, _GROUP_BYTES / (16 * dim))))
        self.sums, self.squares = np.zeros((2, groups, dim))
        self.counts = np.zeros(groups, dtype=int)
        self.chosen = np.sort(rng.choice(dim, min(dim, n_coordinates), replace=False))
        self.columns: list[np.ndarray] = []
        self.n = 0
        self.origin: np.ndarray | None = None

    def add(self, chunk: np.ndarray) -> None:
        # Sums of differences from the first gradient, which avoids cancellation if the noise is small.
        if self.origin is None:
            self.origin = chunk[0].astype(np.float64)
        for row in chunk:
            group = self.n % len(self.counts)
            moved = row - self.origin
            self.sums[group] += moved
            self.squares[group] += moved * moved
            self.counts[group] += 1
            self.n += 1
        self.columns.append(chunk[:, self.chosen].astype(np.float64))

    def moments(self, without: int | None = None) -> tuple[int, np.ndarray, np.ndarray]:
        """Number, mean and variance, of all gradients or of all groups but one."""
        total, square, n = self.sums.sum(axis=0), self.squares.sum(axis=0), self.n
        if without is not None:
            total, square = total - self.sums[without], square - self.squares[without]
            n -= int(self.counts[without])
        mean = total / n
        variance = np.maximum(square - n * mean**2, 0.0) / (n - 1)
        # A constant coordinate has only rounding errors, which are set to 0.
        variance[variance < 1e-24 * square] = 0.0
        return n, mean + self.origin, variance


@np.errstate(under="ignore")
def noise(gradients: Any, *, n_coordinates: int = 256, rng: Any = 0) -> NoiseMeasurement:
    """Measure the noise of stochastic gradients at one point.

    Parameters
    ----------
    gradients : array (n, d), or an iterable of chunks (m, d)
        Independent gradients at one point: of minibatches, or of single examples. Chunks are read once.
    n_coordinates : int, default 256
        Coordinates, drawn at random, for correlations and tails.
    rng : seed or Generator, default 0

    Returns
    -------
    NoiseMeasurement
        Intervals are of 95 %, from a jackknife over groups of gradients.

    Raises
    ------
    MeasureError
        Fewer than 8 gradients, wrong shapes, NaN or infinite entries, or gradients without any noise.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim import measure
    >>> g = np.ones(5) + 2.0 * np.random.default_rng(0).standard_normal((400, 5))
    >>> found = measure.noise(g)
    >>> found.noise_scale.low < 4.0 < found.noise_scale.high
    True
    """
    random = generator(rng)
    wanted = checks.count("n_coordinates", n_coordinates, MeasureError, low=2)
    sums: _Sums | None = None
    for chunk in chunks_of(gradients):
        sums = sums or _Sums(chunk.shape[1], wanted, random)
        sums.add(chunk)
    if sums is None:
        raise MeasureError("There are no gradients.")
    check_count(sums.n)
    n, mean, variance = sums.moments()
    if not variance.any() and sums.sums.any():
        raise MeasureError(
            f"Gradients differ by {np.abs(sums.sums).max():.3g} at most, whose square is lost in double precision: "
            "multiply the loss by a constant."
        )
    if not variance.any():
        raise MeasureError("All gradients are equal: there is no noise to measure.")
    # Constant columns are left out; their standard deviation is a rounding error, not exactly 0.
    columns = np.concatenate(sums.columns)[:, variance[sums.chosen] > 0.0]
    if columns.shape[1] == 0:
        alive = "none of the chosen coordinates varies; raise n_coordinates"
        raise MeasureError(f"Of {len(sums.chosen)} coordinates drawn, {alive}.")
    parts = np.arange(n) % len(sums.counts)
    squared = mean**2 - variance / n
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.where(squared > 0.0, variance / squared, np.inf)[variance > 0.0]
    scales = [_scales(*sums.moments())]
    scales += [_scales(*sums.moments(k)) for k in range(len(sums.counts)) if sums.counts[k]]
    return NoiseMeasurement(
        n_gradients=n,
        dim=len(mean),
        gradient=mean,
        variance=variance,
        quantiles=_QUANTILES,
        # Without interpolation, since values may be infinite.
        relative_variance=tuple(
            float(q) for q in np.quantile(eta, _QUANTILES, method="inverted_cdf")
        ),
        noise_scale=_inverse(_jackknife([one[0] for one in scales])),
        sign_scale=_positive(_jackknife([one[1] for one in scales])),
        gradient_correlation=_root(_by_groups(columns, parts, _squared_correlation, True)),
        sign_correlation=_root(_by_groups(np.sign(columns), parts, _squared_correlation)),
        tail_index=_tail_index(columns),
        sign_probability_error=_root(_by_groups(columns, parts, _squared_sign_error)),
        dead=int(np.count_nonzero(variance == 0.0)),
    )


def _scales(n: int, mean: np.ndarray, variance: np.ndarray) -> tuple[float, float]:
    """|grad|^2 / tr C, which is finite also if the gradient is 0, and the same for signs."""
    inverse = (np.sum(mean**2) - variance.sum() / n) / variance.sum()
    length = np.abs(mean).sum()
    return float(inverse), float((np.sqrt(variance).sum() / length) ** 2) if length else np.inf


def _jackknife(values: list[float]) -> Estimate:
    """The interval of a statistic from its value without each group in turn."""
    whole, parts = values[0], np.array(values[1:])
    if not np.isfinite([whole, *parts]).all():
        return Estimate(whole, 0.0, np.inf)
    g = len(parts)
    return student_estimate(
        whole, np.sqrt((g - 1) / g * np.sum((parts - parts.mean()) ** 2)), g - 1
    )


def _by_groups(
    columns: np.ndarray, parts: np.ndarray, statistic: Callable[..., float], biased: bool = False
) -> Estimate:
    """A statistic with a jackknife's interval, and without the bias of order 1 / n if it has one."""
    values = [statistic(columns)]
    values += [statistic(columns[parts != k]) for k in range(parts.max() + 1)]
    found = _jackknife(values)
    if not biased:
        return found
    shift = parts.max() * (values[0] - float(np.mean(values[1:])))
    return Estimate(*(end + shift for end in found))


def _inverse(of: Estimate) -> Estimate:
    low, high = max(of.low, 0.0), max(of.high, 0.0)
    return Estimate(*(1.0 / part if part > 0.0 else np.inf for part in (of.value, high, low)))


def _positive(of: Estimate) -> Estimate:
    return Estimate(*(max(part, 0.0) for part in of))


def _root(of: Estimate) -> Estimate:
    return Estimate(*(float(np.sqrt(max(part, 0.0))) for part in of))


def _squared_correlation(columns: np.ndarray) -> float:
    """Mean r_ij^2 over pairs, minus 1 / (n - 1), its expectation for independent coordinates."""
    columns = columns[:, np.ptp(columns, axis=0) > 0.0]
    std = columns.std(axis=0)
    n, k = columns.shape
    if k < 2:
        return 0.0
    z = (columns - columns.mean(axis=0)) / std
    r = z.T @ z / n
    mean = (np.sum(r**2) - np.sum(np.diagonal(r) ** 2)) / (k * (k - 1))
    # E[r^2] is rho^2 + (1 - rho^2)^2 / (n - 1) to the first order.
    return float((mean - 1.0 / (n - 1)) / (1.0 - 1.0 / (n - 1)))


def _squared_sign_error(columns: np.ndarray) -> float:
    """Mean (P[g > 0] - Phi(mean / std))^2, minus its expectation for finitely many Gaussian gradients."""
    from scipy.special import ndtr

    n = len(columns)
    # Without one group a column may be constant; then Eq. 8 is exact, and 40 stands for infinity.
    std = np.where(np.ptp(columns, axis=0) > 0.0, columns.std(axis=0, ddof=1), 0.0)
    mean = columns.mean(axis=0)
    a = np.clip(np.divide(mean, std, out=40.0 * np.sign(mean), where=std > 0.0), -40.0, 40.0)
    formula = ndtr(a)
    seen = np.mean(columns > 0.0, axis=0) + 0.5 * np.mean(columns == 0.0, axis=0)
    density = np.exp(-0.5 * a * a) / np.sqrt(2.0 * np.pi)
    sampling = (formula * (1.0 - formula) - density**2 * (1.0 + 0.5 * a * a)) / n
    return float(np.mean((seen - formula) ** 2 - sampling))


def _tail_index(columns: np.ndarray) -> Estimate:
    """Degrees of freedom common to the coordinates, each with its own location and scale.

    The likelihood is maximised over u = 1 / df, in which a Gaussian is the finite point 0. Coordinates of one gradient
    are dependent, so that the standard error is the sandwich's, with a gradient as the unit.
    """
    from scipy.optimize import minimize_scalar

    # A value that many gradients share, such as the 0 of an inactive unit, would have infinite likelihood.
    columns = columns[:, _repeats(columns) <= _REPEATS * len(columns)][:, :_TAIL_COORDINATES]
    if columns.shape[1] == 0:
        return Estimate(np.nan, np.nan, np.nan)
    x = (columns - np.median(columns, axis=0)) / columns.std(axis=0)

    def by_gradient(u: float) -> np.ndarray:
        return _log_likelihood(x, u).sum(axis=1)

    best = minimize_scalar(lambda u: -by_gradient(u).sum(), bounds=(1e-4, 1.5), method="bounded")
    u, step = float(best.x), 0.01
    at = max(u, 2.0 * step)
    low, middle, high = by_gradient(at - step), by_gradient(at), by_gradient(at + step)
    score = (high - low) / (2.0 * step)
    bend = -float(np.sum(high - 2.0 * middle + low)) / step**2
    error = np.sqrt(np.sum((score - score.mean()) ** 2)) / bend if bend > 0.0 else np.inf
    interval = Estimate(u, u - 1.96 * error, u + 1.96 * error)
    # A maximum at the end of the range is a Gaussian.
    value = np.inf if u < 1e-3 else 1.0 / u
    lower = 1.0 / interval.high if np.isfinite(interval.high) else 0.0
    return Estimate(value, lower, 1.0 / interval.low if interval.low > 1e-3 else np.inf)


def _repeats(columns: np.ndarray) -> np.ndarray:
    """Number of repeated values in each column."""
    return np.sum(np.diff(np.sort(columns, axis=0), axis=0) == 0.0, axis=0)


def _log_likelihood(x: np.ndarray, u: float) -> np.ndarray:
    """Student's log density at the best location and scale of each column, found by EM."""
    from scipy.special import gammaln

    df = 1.0 / u
    location, square = np.median(x, axis=0), np.var(x, axis=0) * (0.5 if df < 4.0 else 1.0)
    for _ in range(40):
        weight = (df + 1.0) / (df + (x - location) ** 2 / square)
        location = np.sum(weight * x, axis=0) / weight.sum(axis=0)
        square = np.maximum(np.mean(weight * (x - location) ** 2, axis=0), 1e-12)
    constant = gammaln((df + 1.0) / 2.0) - gammaln(df / 2.0) - 0.5 * np.log(np.pi * df)
    residual = np.log1p((x - location) ** 2 / (square * df))
    return constant - 0.5 * np.log(square) - 0.5 * (df + 1.0) * residual
