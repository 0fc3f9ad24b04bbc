"""The squared scale of the mean of several draws of Student's t: its density, and nodes for averages over it.

Given all their scales, the mean of B draws is Gaussian with b^2 the mean of B numbers k / chi^2_k. The Laplace
transform M(s) of one of them is a Bessel function, that of the mean is M(s / B)^B, and the density its inverse.

Near its peak the density is the integral along a vertical line, as close to the peak's width as no term is larger than
the result by more than e^2. Far out, where the density falls like a power, that would leave rounding errors alone.
There the path is bent around the negative half of the axis, where M has a cut. The density is then the integral of
exp(-r b^2) |M|^B sin(B arg M) / pi over the cut, whose terms are as small as the result.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qpsim.problem.power_tail import gauss_rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# The logarithm of the size that is left out of both integrals.
_NEGLIGIBLE = -38.0
# Along the cut: spacing in log r, how far the terms' phases may be apart, and the size from where that is no matter.
_CUT_SPACING, _LARGEST_TURN, _UNSEEN = 0.05, 0.7, -32.0
# Vertical lines: the least distance from the peak, in its widths, and the number of terms that are too many.
_NEAR, _MOST_TERMS = 3.0, 20_000
# The logarithm of b^2 above which its powers leave the floating-point range.
_LARGEST_LOG = 640.0
# Spacing of nodes, in the variable that is uniform around the density's peak and doubly exponential far out.
_SPACING, _MOST_NODES = 0.4, 300
# By how much the nodes may miss the known averages, when no more nodes are tried.
_CLOSE = 2e-9
# With a deviation of b^2 that is below its mean divided by the root of this, and so many degrees of freedom, moments
# are enough: those that a Gauss rule of five nodes needs exist, and what it leaves out is of the order of 1e-14.
NARROW, FEW_MOMENTS = 1000.0, 100.0
_NODES_BY_MOMENTS = 5
# The b^2, in units of the peak's, from where 1 / b is as good as 0 next to b.
_POWER_LAW = 1e18


class Peak(NamedTuple):
    """Where b^2 is: near its largest density, within about a width, and hardly ever below ``least``."""

    place: float
    width: float
    least: float


def log_transform(s: Any, half: float) -> Any:
    """Logarithm of E[exp(-s k / chi^2_k)], half = k / 2: a Bessel function, kept within range by its exponential."""
    from scipy.special import gammaln, kve

    root = 2.0 * np.sqrt(half * s)
    return (
        math.log(2.0) + half * np.log(root / 2.0) - gammaln(half) + np.log(kve(half, root)) - root
    )


def peak_of_mean(half: float, n: int, left_out: float) -> Peak:
    """The peak of the density of b^2; its place is infinite where it is not found.

    Under the law with the density times exp(-z b^2), mean and deviation of b^2 exist, also if those of b^2 do not. At
    the z that is 1 / deviation they are about those of the peak, the mean being lower by a width.
    """
    from scipy.special import kve

    if math.log(n / half) > _LARGEST_LOG * half:
        return Peak(math.inf, 1.0, 1.0)
    # Sums of numbers without a mean grow faster than their count n: here b^2 is of the size n^(1 / half - 1), and the
    # wanted z is (1 / half)^(1 / half) times what this suggests.
    z = np.geomspace(1e-12, 1e12 * max(1.0 / half, 1.0) ** (1.0 / half), 4000)
    z /= n ** max(1.0 / half - 1.0, 0.0)
    with np.errstate(all="ignore"):
        root = 2.0 * np.sqrt(half * z / n)
        mean = np.sqrt(half * n / z) * kve(half - 1.0, root) / kve(half, root)
        log = n * log_transform(z / n, half)
        known = np.isfinite(mean) & np.isfinite(log)
        z, mean, log = z[known], mean[known], log[known]
        if z.size < 2:
            return Peak(math.inf, 1.0, 1.0)
        variance = -np.gradient(mean, np.log(z)) / z
        here = int(np.argmin(np.abs(np.log(np.maximum(z * z * variance, 1e-300)))))
        width = math.sqrt(variance[here])
        # Chernoff: P[b^2 < s] <= exp(s z) E[exp(-z b^2)] for every z.
        least = float(np.max((math.log(left_out) - log) / z))
    return Peak(float(mean[here]) + width, width, least)


def along_the_cut(w: Array, half: float, n: int) -> Array:
    """The density at w by the integral around the transform's cut; NaN where that has large or unresolved terms."""
    from scipy.special import gammaln, jv, yv

    out = np.full(w.shape, np.nan)
    first = math.log(1e-17) / (half + 1.0) + math.log((half + 1.0) / w.max())
    last = math.log(2e5 / w.min())
    r = np.exp(np.arange(first, last, _CUT_SPACING))
    with np.errstate(all="ignore"):
        root = 2.0 * np.sqrt(half * r / n)
        real, imaginary = -yv(half, root), jv(half, root)
        front = math.log(math.pi) - gammaln(half)
        log_size = n * (front + half * np.log(root / 2.0) + np.log(np.hypot(real, imaginary)))
        phase = n * np.unwrap(np.arctan2(imaginary, real))
        fast = np.abs(np.gradient(phase)) > _LARGEST_TURN
        waves = r * np.sin(phase)
        for k, place in enumerate(w.tolist()):
            log = log_size - place * r
            small = np.flatnonzero(log < _NEGLIGIBLE)
            end = int(small[0]) if small.size else 0
            log = log[:end]
            # Before it is small the size must only fall: what comes after a rise is part of the peak.
            falls = end > 0 and bool((log - np.minimum.accumulate(log) < 1.0).all())
            if falls and log.max() < 1.0 and not (log[fast[:end]] > _UNSEEN).any():
                out[k] = _CUT_SPACING / math.pi * float(np.exp(log) @ waves[:end])
    return out


def along_lines(w: Array, half: float, n: int, peak: Peak) -> Array:
    """The same by the trapezoidal rule along vertical lines; NaN where that takes too many terms."""
    out = np.full(w.shape, np.nan)
    with np.errstate(all="ignore"):
        y = np.geomspace(1e-9, 1e15, 4000) / peak.width
        fallen = np.flatnonzero(n * log_transform(1j * y / n, half).real < _NEGLIGIBLE)
        if fallen.size == 0:
            return out
        height = float(y[fallen[0]])
        distance = np.maximum(np.abs(w - peak.place) / peak.width, _NEAR)
        octave = np.ceil(np.log2(distance))
        for one in np.unique(octave):
            here = octave == one
            # All w up to ``far`` from the peak share the terms. The rule adds e^(-25 m) times the density at
            # w + 4 pi m far.
            far = peak.width * 2.0**one
            n_terms = int(2.0 * far * height) + 1
            if n_terms <= _MOST_TERMS:
                z = 2.0 / far + 1j * (np.arange(n_terms) + 0.5) * (0.5 / far)
                log = n * log_transform(z / n, half) + z * peak.place
                terms = np.exp((w[here] - peak.place)[:, None] * z + log)
                out[here] = terms.real.sum(axis=1) * (0.5 / far / math.pi)
    return out


def density_of_mean(w: Array, half: float, n: int, peak: Peak) -> Array:
    """The density of b^2 at w."""
    out = along_the_cut(w, half, n)
    rest = ~np.isfinite(out)
    if rest.any():
        out[rest] = along_lines(w[rest], half, n, peak)
    return np.maximum(np.nan_to_num(out), 0.0)


def nodes_of_mean(df: float, n: int, left_out: float) -> tuple[Array, Array, float]:
    """Nodes of log b^2, their weights, and how much these miss the known averages.

    Known are the transform, a total of 1 and, relative to it, E[b^2] where it is finite.
    """
    from scipy.special import gammaincinv

    half = 0.5 * df
    peak = peak_of_mean(half, n, left_out)
    # With more than ``left_out`` of the probability and, if that is finite, of E[b^2] one number of the n is so large.
    largest = half / max(float(gammaincinv(half, left_out / n)), 1e-250)
    mean = half / (half - 1.0) if half > 1.0 else math.inf
    if half > 1.0:
        further = half / max(float(gammaincinv(half - 1.0, left_out)), 1e-250)
        largest = min(max(largest, further), _POWER_LAW * peak.place)
    if not 0.0 < peak.least < peak.place < largest or not math.log(largest) < _LARGEST_LOG:
        return np.zeros(1), np.ones(1), math.inf
    unit = peak.width / peak.place
    center = math.log(peak.place)
    first = math.asinh((math.log(peak.least) - center) / unit)
    last = math.asinh((math.log(largest) - center) / unit)
    z = np.geomspace(0.01, 100.0, 9) / peak.place
    known = np.exp(np.append(n * log_transform(z / n, half), 0.0))
    spacing = _SPACING
    while True:
        v = np.arange(first, last + spacing, spacing)
        at = center + unit * np.sinh(v)
        at = np.minimum(at, _LARGEST_LOG)
        weights = spacing * unit * np.cosh(v) * np.exp(at)
        weights *= density_of_mean(np.exp(at), half, n, peak)
        if half > 1.0 and v.size > 1:
            # E[b^2] of all nodes that would follow, where the density is a power.
            more = v[-1] + spacing * np.arange(1.0, 200.0)
            beyond = unit * (np.sinh(more) - math.sinh(v[-1]))
            shares = np.cosh(more) / math.cosh(v[-1]) * np.exp(-(half - 1.0) * beyond)
            weights[-1] *= 1.0 + float(shares.sum())
        made = np.exp(-np.append(z, 0.0)[:, None] * np.exp(at)) @ weights
        missed = float(np.abs(made - known).max())
        if half > 1.0:
            missed = max(missed, abs(float(weights @ np.exp(at)) / mean - 1.0))
        if not missed >= _CLOSE or 2 * v.size > _MOST_NODES:
            return at, weights, missed if math.isfinite(missed) else math.inf
        spacing /= 2.0


def nodes_by_moments(df: float, n: int, n_nodes: int = _NODES_BY_MOMENTS) -> tuple[Array, Array]:
    """Nodes of log b^2 and weights where b^2 is hardly random: the Gauss rule of its first moments.

    Infinite df stands for the Laplace law, whose b^2 is the mean of n exponential variables.
    """
    from scipy.special import comb

    half, order = 0.5 * df, 2 * n_nodes
    mean, unit = 1.0, 1.0
    if math.isinf(df):
        cumulants = [0.0, 0.0, *(float(math.factorial(j - 1)) for j in range(2, order))]
    else:
        mean, unit = half / (half - 1.0), math.sqrt(half - 2.0)
        cumulants = _standard_cumulants(half, order)
    moments = [1.0, 0.0]
    for j in range(2, order):
        # Cumulants of a mean of n are those of one draw divided by n^(j - 1), and by n^(1 - j / 2) in its own
        # deviations.
        of_mean = [cumulants[i] * n ** (1.0 - 0.5 * i) for i in range(j + 1)]
        moments.append(
            sum(comb(j - 1, i - 1) * of_mean[i] * moments[j - i] for i in range(2, j + 1))
        )
    places, weights = gauss_rule(np.array(moments))
    return np.log(mean * (1.0 + places / (unit * math.sqrt(n)))), weights


def _standard_cumulants(half: float, order: int) -> list[float]:
    """Cumulants below ``order`` of k / chi^2_k, half = k / 2, in units of its deviation."""
    from scipy.special import comb

    # Central moments of k / chi^2_k, in units of its deviation: a recursion as for all of Pearson's family.
    unit = math.sqrt(half - 2.0)
    one = [1.0, 0.0]
    for k in range(1, order - 1):
        one.append(k * unit * (2.0 * one[k] + unit * one[k - 1]) / (half - 1.0 - k))
    cumulants = [0.0] * order
    for j in range(2, order):
        rest = sum(comb(j - 1, i - 1) * cumulants[i] * one[j - i] for i in range(2, j))
        cumulants[j] = one[j] - rest
    return cumulants
