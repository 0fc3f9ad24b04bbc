"""The squared scale of the mean of several draws of Student's t: its density, and nodes for averages over it.

Given all their scales, the mean of B draws is Gaussian with b^2 the mean of B numbers k / chi^2_k. The Laplace
transform of one of them is a Bessel function, that of the mean a power of it, and the density its inverse. Up to some
b^2 the transform is integrated along the line Re z = 2 / b^2, where no term is larger than the result's scale by more
than e^2. Far out, where that takes too many terms, Talbot's contour (Weideman, 2006) serves; near the mean of b^2 it
would lose its digits to terms that grow exponentially with B.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Nodes of Talbot's contour: its error is about 10^(-0.6 N).
_CONTOUR = 32
# Terms along the line, at most, and the logarithm of the size that is left out.
_MOST_TERMS, _NEGLIGIBLE = 20_000, -38.0
# First spacing of nodes, in the variable that is uniform around the density's peak and logarithmic far out.
_SPACING, _MOST_NODES = 0.4, 300


def log_transform(s: Any, half: float) -> Any:
    """Logarithm of E[exp(-s k / chi^2_k)], half = k / 2: a Bessel function, kept within range by its exponential."""
    from scipy.special import gammaln, kve

    root = 2.0 * np.sqrt(half * s)
    return (
        math.log(2.0) + half * np.log(root / 2.0) - gammaln(half) + np.log(kve(half, root)) - root
    )


def by_contour(transform: Any, w: Array) -> Array:
    """The density at w of what has this logarithm of a Laplace transform: Talbot's contour, as Weideman (2006)."""
    k = np.arange(_CONTOUR)
    theta = (2 * k + 1) * math.pi / (2 * _CONTOUR)
    cot = 1.0 / np.tan(0.6407 * theta)
    contour = _CONTOUR * (0.5017 * theta * cot - 0.6122 + 0.2645j * theta)
    slope = _CONTOUR * (0.5017 * cot - 0.5017 * 0.6407 * theta * (1.0 + cot**2) + 0.2645j)
    s = contour / w[:, None]
    with np.errstate(all="ignore"):
        terms = np.exp(contour + transform(s)) * slope / w[:, None]
    # The upper half of the contour alone: the lower one has the conjugate terms.
    return np.maximum(np.nan_to_num(terms.imag).sum(axis=1) / _CONTOUR, 0.0)


def by_line(transform: Any, w: Array) -> Array:
    """The same by the trapezoidal rule along Re z = 2 / w; NaN where that takes too many terms."""
    out = np.full(w.shape, np.nan)
    height = 1e-6
    with np.errstate(all="ignore"):
        while height < 1e12 and not transform(complex(0.0, height)).real < _NEGLIGIBLE:
            height *= 1.3
        octave = np.floor(np.log2(w))
        for one in np.unique(octave):
            here = octave == one
            # All w up to ``top`` share the terms. The rule adds e^(-25 m) times the density at w + 4 pi m top.
            top = 2.0 ** (one + 1.0)
            n_terms = int(2.0 * top * height) + 1
            if n_terms <= _MOST_TERMS:
                z = 2.0 / top + 1j * (np.arange(n_terms) + 0.5) * (0.5 / top)
                terms = np.exp(w[here][:, None] * z + transform(z))
                out[here] = np.maximum(terms.real.sum(axis=1) * (0.5 / top / math.pi), 0.0)
    return out


def nodes_of_mean(df: float, n: int, left_out: float, largest: float) -> tuple[Array, Array, float]:
    """Nodes of log b^2, weights, and how much these miss a total of 1 and the transform itself.

    ``largest`` is a b^2 beyond which there is a probability of ``left_out`` at most.
    """

    def transform(z: Any) -> Any:
        return n * log_transform(z / n, 0.5 * df)

    def density(x: Array) -> Array:
        w = np.exp(x)
        line = by_line(transform, w)
        return w * np.where(np.isfinite(line), line, by_contour(transform, w))

    with np.errstate(all="ignore"):
        # Chernoff: P[b^2 < s] <= exp(s z) E[exp(-z b^2)] for every z.
        z = np.geomspace(1e-8, 1e8, 600)
        smallest = float(np.nanmax((math.log(left_out) - transform(z).real) / z))
    if not 0.0 < smallest < largest:
        return np.zeros(1), np.ones(1), math.inf
    low, high = math.log(smallest), math.log(largest)
    x = np.linspace(low, high, 400)
    for _ in range(2):
        peak = x[int(np.argmax(density(x)))]
        x = np.linspace(peak - 3.0 * (x[1] - x[0]), peak + 3.0 * (x[1] - x[0]), 400)
    if not np.isfinite(by_line(transform, np.exp(np.array([peak]))))[0]:
        return np.zeros(1), np.ones(1), math.inf
    # The width of the peak, from where the density is e^(-1/2) of its largest value below it.
    below = np.linspace(low, peak, 400)
    width = peak - float(below[int(np.argmax(density(below) > 0.6 * density(np.array([peak]))))])
    missed, spacing = math.inf, _SPACING
    first, last = math.asinh((low - peak) / width), math.asinh((high - peak) / width)
    while True:
        v = np.arange(first, last + spacing, spacing)
        at = peak + width * np.sinh(v)
        weights = spacing * width * np.cosh(v) * density(at)
        z = np.geomspace(0.01, 100.0, 9) * math.exp(-peak)
        with np.errstate(all="ignore"):
            known = np.exp(np.append(transform(z).real, 0.0))
            made = np.exp(-np.append(z, 0.0)[:, None] * np.exp(at)) @ weights
        missed = float(np.abs(made - known).max())
        if missed < 2e-9 or v.size > _MOST_NODES or not math.isfinite(missed):
            return at, weights, missed if math.isfinite(missed) else math.inf
        spacing /= 2.0
