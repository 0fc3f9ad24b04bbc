"""Stochastic Lanczos quadrature: the spectral density of a matrix from its products with vectors.

Ubaru, Chen & Saad (2017), *Fast estimation of tr(f(A)) via stochastic Lanczos quadrature*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from qpsim import checks
from qpsim.errors import MeasureError
from qpsim.measure.inputs import Products, generator

# Bytes that the basis of one Lanczos run may take.
_BASIS_BYTES = 256e6


class Density(NamedTuple):
    """A spectral density as weights at nodes, one row a probe.

    Attributes
    ----------
    nodes : ndarray (n_probes, n_steps)
        Ritz values; rows that ended early are filled with weight 0.
    weights : ndarray (n_probes, n_steps)
        Shares of the eigenvalues; each row sums to 1.
    """

    nodes: np.ndarray
    weights: np.ndarray

    def mean(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The mean of a function over the eigenvalues, tr f(H) / d, one number a probe."""
        return np.sum(self.weights * function(self.nodes), axis=1)


def spectral_density(
    hvp: Callable[[Any], Any], dim: int, *, n_probes: int = 8, n_steps: int = 60, rng: Any = 0
) -> Density:
    """Stochastic Lanczos quadrature with full reorthogonalisation.

    Parameters
    ----------
    hvp : callable
        (d,) or (d, k) to the same shape: the product with a symmetric matrix.
    dim : int
    n_probes : int, default 8
        Random starting vectors; the error falls with their square root.
    n_steps : int, default 60
        Lanczos steps of each; fewer where their basis would take more than 256 MB.
    rng : seed or Generator, default 0

    Returns
    -------
    Density

    Raises
    ------
    MeasureError
        Products of another shape, not finite, not symmetric or not deterministic.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim import measure
    >>> values = np.array([1.0, 2.0, 10.0])
    >>> found = measure.spectral_density(lambda v: values * v, 3, n_probes=400)
    >>> bool(abs(found.mean(lambda x: x).mean() - values.mean()) < 0.3)
    True
    """
    random = generator(rng)
    return density(Products(hvp, dim, random), n_probes, n_steps, random)


def density(products: Products, n_probes: int, n_steps: int, rng: np.random.Generator) -> Density:
    """As :func:`spectral_density`, of checked products."""
    from scipy.linalg import eigh_tridiagonal

    n_probes = checks.count("n_probes", n_probes, MeasureError)
    steps = checks.count("n_steps", n_steps, MeasureError)
    steps = min(steps, products.dim, max(2, int(_BASIS_BYTES / (8 * products.dim))))
    nodes, weights = np.zeros((2, n_probes, steps))
    for k in range(n_probes):
        diagonal, off = _tridiagonal(products, steps, rng)
        values, vectors = eigh_tridiagonal(diagonal, off)
        nodes[k, : len(values)] = values
        weights[k, : len(values)] = vectors[0] ** 2
    return Density(nodes, weights)


def _tridiagonal(
    products: Products, steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal and off-diagonal of the Lanczos matrix from one random start."""
    basis = np.empty((steps, products.dim))
    vector = rng.standard_normal(products.dim)
    basis[0] = vector / np.linalg.norm(vector)
    diagonal, off = [], []
    for k in range(steps):
        w = products.of(basis[k].copy())
        size = np.linalg.norm(w)
        diagonal.append(float(basis[k] @ w))
        # Twice is enough: what rounding leaves after the first pass is removed by the second.
        for _ in range(2):
            w = w - (basis[: k + 1] @ w) @ basis[: k + 1]
        norm = float(np.linalg.norm(w))
        if k + 1 == steps or norm <= 1e-10 * size or norm == 0.0:
            break
        off.append(norm)
        basis[k + 1] = w / norm
    return np.array(diagonal), np.array(off)
