"""The distribution ("law") of a gradient's noise: Gaussian, or Gaussian with one random scale b for all coordinates.

Given b the noise is N(0, b^2 C). Student's t with k degrees of freedom has b^2 = k / chi^2_k, the multivariate Laplace
law b^2 ~ Exp(1) (Kozubowski, Podgorski & Rychlik, 2013). The mean of B independent draws is Gaussian given all their
scales, with matrix C / B and b^2 the mean of the B squared scales (:mod:`qpsim.problem.scale_of_means`). Averages over
b are sums over the nodes of :meth:`Law.quadrature`: the trapezoidal rule in log b^2, whose error falls exponentially
with its spacing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError
from qpsim.problem.matrices import frozen
from qpsim.problem.power_tail import with_power_tail
from qpsim.problem.scale_of_means import FEW_MOMENTS, NARROW, nodes_by_moments, nodes_of_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

NAMES = ("gaussian", "student", "laplace")
# A function of the scale as smooth as an error function is analytic within pi / 2 of the real axis of log b^2; the
# trapezoidal rule errs by exp(-pi^2 / spacing), 2e-11 here.
_SPACING = 0.4
# Probability that may be left out at either end, and by how much the weights may miss a total of 1.
_LEFT_OUT = 1e-11
_TOTAL_ERROR = 1e-8
_MOST_NODES = 512
# With fewer degrees of freedom the largest scales leave the floating-point range.
_LEAST_DEGREES = 0.06
# From so many draws on b^2 is within 1e-3 of its mean, and its first moments are enough.
_MANY = 100_000
# Up to so many degrees of freedom what is left out of the probability is more than 1e-9 of E[b^2].
_POWER_IS_SEEN = 11.0
# Cells for each doubling of 1 + |a| (as qpsim.kernels.laws.CELL_BITS says), and doublings at most.
CELLS = 128
_OCTAVES = 60


@dataclass(frozen=True)
class Law:
    """The law of a minibatch's noise, in units of its scale.

    Attributes
    ----------
    name : {"gaussian", "student", "laplace"}
    df : float
        Degrees of freedom of Student's t; infinite for the other laws.
    batch_size : int
        Draws whose mean the gradient is.

    Examples
    --------
    >>> law = Law("student", df=4.0)
    >>> law.variance, round(float(law.mean_sign(2.0)), 6)
    (2.0, 0.883883)
    """

    name: str = "gaussian"
    df: float = math.inf
    batch_size: int = 1

    @property
    def title(self) -> str:
        """The name as sentences have it."""
        return {"student": "Student's t", "laplace": "Laplace"}.get(self.name, "Gaussian")

    @property
    def is_gaussian(self) -> bool:
        """Whether the scale is always 1."""
        return self.name == "gaussian"

    @property
    def variance(self) -> float:
        """E[b^2]: the covariance of the noise is this times C; infinite for Student's t up to 2 degrees."""
        if self.name != "student":
            return 1.0
        return self.df / (self.df - 2.0) if self.df > 2.0 else math.inf

    def mean_of(self, batch_size: int) -> Law:
        """The law of the mean of so many draws of this one."""
        if self.is_gaussian:
            return self
        return Law(self.name, self.df, self.batch_size * batch_size)

    def mean_sign(self, a: Any) -> Array:
        """E[sign(a + noise)] = 2 F(a) - 1 of one coordinate, F its cdf in units of its scale; shape of a."""
        from scipy.special import betainc, erf

        a = np.asarray(a, dtype=float)
        if self.is_gaussian:
            return erf(a / math.sqrt(2.0))
        size = np.abs(a)
        if self.batch_size > 1:
            scales, weights = self.quadrature()
            with np.errstate(over="ignore"):
                values = erf(size[..., None] / (math.sqrt(2.0) * scales)) @ weights
        elif self.name == "laplace":
            values = -np.expm1(-math.sqrt(2.0) * size)
        else:
            # The regularised incomplete beta function is accurate for small values, where 2 F - 1 cancels.
            with np.errstate(over="ignore", divide="ignore"):
                odds = self.df / size / size
                values = betainc(0.5, 0.5 * self.df, 1.0 / (1.0 + odds))
                # For large a the value is close to 1; its distance from 1 is computed directly, to avoid rounding
                # errors.
                tail = betainc(0.5 * self.df, 0.5, 1.0 / (1.0 + 1.0 / odds))
            values = np.where(odds < 1e-3, 1.0 - tail, values)
        return np.copysign(values, a)

    def cdf(self, a: Any) -> Array:
        """P[noise <= a] of one coordinate in units of its scale; small probabilities keep their digits."""
        from scipy.special import ndtr, stdtr

        a = np.asarray(a, dtype=float)
        if self.is_gaussian:
            return ndtr(a)
        if self.batch_size > 1:
            scales, weights = self.quadrature()
            return ndtr(a[..., None] / scales) @ weights
        if self.name == "student":
            return stdtr(self.df, a)
        tail = 0.5 * np.exp(-math.sqrt(2.0) * np.abs(a))
        return np.where(a > 0.0, 1.0 - tail, tail)

    def quadrature(self) -> tuple[Array, Array]:
        """Scales b (nodes,) and weights (nodes,), of sum 1, for averages over the scale.

        Exact to about 4e-9 of the largest value for functions of b as smooth as an error function of 1 / b, and of
        E[b^2], where it is finite, for functions that are b^2 times such a function.

        Raises
        ------
        ProblemError
            The law of the mean of so many draws is not known to 1e-8, or df is too small.
        """
        return _quadrature(self)

    def cells(self) -> Array:
        """Cubic polynomials of `mean_sign` (cells, 4), as :func:`qpsim.kernels.laws.mean_sign` reads them."""
        return _cells(self)

    def to_dict(self) -> dict[str, Any]:
        """Name, degrees of freedom and batch size as plain JSON values; default values are left out."""
        return {
            "law": self.name,
            **({"df": self.df} if self.name == "student" else {}),
            **({"batch_size": self.batch_size} if self.batch_size > 1 else {}),
        }


GAUSSIAN = Law()


def make_law(df: float | None = None, law: str | None = None) -> Law:
    """The law that the arguments ``df`` and ``law`` of a noise stand for.

    Raises
    ------
    ProblemError
        df is not a number above 0, the law is unknown, or both are given.
    """
    if df is not None and law is not None:
        raise ProblemError(
            "Give a noise either df, for Student's t, or law='laplace', and not both."
        )
    if law is not None:
        if not isinstance(law, str) or law not in ("gaussian", "laplace"):
            raise ProblemError(
                "A noise's law is 'gaussian' or 'laplace', or df=... for Student's t, not "
                f"{checks.shown(law)}."
            )
        return Law(law)
    if df is None:
        return GAUSSIAN
    number = checks.as_float(df)
    if not number > 0.0:
        raise ProblemError(
            f"df, the degrees of freedom of Student's t, is a number above 0, not {checks.shown(df)}."
        )
    # With so many degrees of freedom, Student's t and the Gaussian agree to better than 1e-9.
    return GAUSSIAN if number >= 1e12 else Law("student", number)


def _density(law: Law, log_square: Array) -> Array:
    """Density of log b^2."""
    from scipy.special import gammaln

    w = np.exp(log_square)
    n = law.batch_size
    if law.name == "laplace":
        return np.exp(n * math.log(n) + n * log_square - n * w - gammaln(n))
    half = 0.5 * law.df
    return np.exp(half * math.log(half) - half * log_square - half / w - gammaln(half))


@cache
def _quadrature(law: Law) -> tuple[Array, Array]:
    found = _found(law)
    if found is not None:
        return found
    draws = "" if law.batch_size == 1 else f"a minibatch of {law.batch_size} draws of "
    df = f" with df={law.df:g}" if law.name == "student" else " noise"
    instead = f"df of at least {_LEAST_DEGREES:g}"
    if law.batch_size > 1:
        tried = (10**k for k in range(len(str(law.batch_size - 1)) - 1, -1, -1))
        most = next((n for n in tried if _found(replace(law, batch_size=n)) is not None), 0)
        instead = f"a batch_size of at most {most}" if most else instead
    raise ProblemError(
        f"Averages over {draws}{law.title}{df} are not known to 1e-8; take {instead}, a Gaussian law, or step sizes "
        "that need no such average: 'line-search' or given ones."
    )


# Far out densities underflow to 0, which is right, whatever NumPy is set to.
@cache
@np.errstate(all="ignore")
def _found(law: Law) -> tuple[Array, Array] | None:
    """Scales and weights; None if they are not exact enough."""
    if law.is_gaussian:
        return frozen(np.ones(1)), frozen(np.ones(1))
    if law.name == "student" and 0.5 * law.df * law.batch_size >= NARROW and law.df >= FEW_MOMENTS:
        return _kept(*nodes_by_moments(law.df, law.batch_size))
    if law.name == "student" and law.batch_size > 1:
        nodes, weights, missed = nodes_of_mean(law.df, law.batch_size, _LEFT_OUT)
    else:
        nodes, weights, missed = _nodes_of_density(law)
    if missed < _TOTAL_ERROR:
        return _kept(nodes, weights)
    # A rule of n nodes errs by about the moment of order 2 n of b^2 - E[b^2], which has to exist.
    n_nodes = next((n for n in (3, 2) if law.df > 4 * n), 0)
    if law.batch_size < _MANY or n_nodes == 0:
        return None
    return _kept(*nodes_by_moments(law.df, law.batch_size, n_nodes))


def _kept(nodes: Array, weights: Array) -> tuple[Array, Array]:
    """Scales and weights of the nodes that matter for averages of functions that grow like b^2."""
    kept = weights * np.maximum(np.exp(nodes), 1.0) > 1e-18
    return frozen(np.exp(0.5 * nodes[kept])), frozen(weights[kept] / float(weights.sum()))


def _nodes_of_density(law: Law) -> tuple[Array, Array, float]:
    """Nodes of log b^2, weights, and by how much these miss a total of 1, for a law with a known density."""
    low, high = _range(law)
    spacing = _SPACING
    while True:
        nodes = np.arange(low, high + spacing, spacing)
        weights = spacing * _density(law, nodes)
        missed = abs(float(weights.sum()) - 1.0)
        if missed < _TOTAL_ERROR or nodes.size > _MOST_NODES:
            break
        spacing /= 2.0
    if law.name == "student" and 2.0 < law.df < _POWER_IS_SEEN:
        nodes, weights = with_power_tail(nodes, weights, law.df)
    return nodes, weights, missed


def _range(law: Law) -> tuple[float, float]:
    """The range of log b^2 outside of which the probability is negligible."""
    from scipy.special import gammainccinv, gammaincinv

    n = law.batch_size
    if law.name == "laplace":
        return math.log(gammaincinv(n, _LEFT_OUT) / n), math.log(gammainccinv(n, _LEFT_OUT) / n)
    half = 0.5 * law.df
    smallest = half / float(gammainccinv(half, _LEFT_OUT))
    largest = half / max(float(gammaincinv(half, _LEFT_OUT)), 1e-280)
    return math.log(smallest), math.log(largest)


@cache
def _cells(law: Law) -> Array:
    fraction = np.arange(CELLS) / CELLS
    edges = [2.0**k * (1.0 + fraction) for k in range(_OCTAVES)]
    a = np.concatenate([*edges, [2.0**_OCTAVES]]) - 1.0
    value = law.mean_sign(a)
    # The table ends where the value has reached 1, or at 2^60.
    last = int(np.argmax(value >= 1.0)) if bool((value >= 1.0).any()) else value.size - 1
    a, value = a[: last + 1], value[: last + 1]
    slope = 2.0 * _coordinate_density(law, a)
    width = np.diff(a)
    left, right = slope[:-1] * width, slope[1:] * width
    rise = np.diff(value)
    table = np.stack([value[:-1], left, 3.0 * rise - 2.0 * left - right, left + right - 2.0 * rise])
    return frozen(np.ascontiguousarray(table.T))


def _coordinate_density(law: Law, a: Array) -> Array:
    from scipy.special import gammaln

    if law.name == "laplace" and law.batch_size == 1:
        return math.sqrt(0.5) * np.exp(-math.sqrt(2.0) * a)
    if law.name == "student" and law.batch_size == 1:
        k = law.df
        front = gammaln(0.5 * (k + 1.0)) - gammaln(0.5 * k) - 0.5 * math.log(k * math.pi)
        return np.exp(front - 0.5 * (k + 1.0) * np.log1p(a / k * a))
    scales, weights = law.quadrature()
    with np.errstate(over="ignore", under="ignore"):
        values = np.exp(-0.5 * (a[:, None] / scales) ** 2) / scales
    return values @ weights / math.sqrt(2.0 * math.pi)
