"""Stochastic Lanczos quadrature: the spectral density of a matrix from its products with vectors.

Ubaru, Chen & Saad (2017), *Fast estimation of tr(f(A)) via stochastic Lanczos quadrature*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from qpsim import checks
from qpsim.errors import MeasureError
from qpsim.execution.blas import one_blas_thread
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


@np.errstate(under="ignore")
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
    at_once = max(1, min(products.width, int(_BASIS_BYTES / (8 * products.dim * steps))))
    for start in range(0, n_probes, at_once):
        number = min(at_once, n_probes - start)
        for k, (diagonal, off) in enumerate(_tridiagonal(products, steps, number, rng), start):
            values, vectors = eigh_tridiagonal(diagonal, off)
            nodes[k, : len(values)] = values
            weights[k, : len(values)] = vectors[0] ** 2
    return Density(nodes, weights)


def _tridiagonal(
    products: Products, steps: int, number: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Diagonal and off-diagonal of the Lanczos matrices from some random starts, whose products are taken together."""
    basis = np.empty((number, steps, products.dim))
    for own in basis:
        vector = rng.standard_normal(products.dim)
        own[0] = vector / np.linalg.norm(vector)
    diagonals: list[list[float]] = [[] for _ in range(number)]
    offs: list[list[float]] = [[] for _ in range(number)]
    unfinished = list(range(number))
    for k in range(steps):
        found = products.of(basis[unfinished, k].T).T
        for w, n in zip(found, list(unfinished), strict=True):
            diagonals[n].append(float(basis[n, k] @ w))
            norm = _next(basis[n], k, w)
            if norm == 0.0:
                unfinished.remove(n)
            else:
                offs[n].append(norm)
        if not unfinished:
            break
    return [(np.array(d), np.array(o)) for d, o in zip(diagonals, offs, strict=True)]


def _next(basis: np.ndarray, k: int, w: np.ndarray) -> float:
    """Write the next vector into the basis; its norm, 0 where there is none."""
    size = float(np.linalg.norm(w))
    previous = basis[: k + 1]
    if k + 1 == len(basis):
        return 0.0
    with one_blas_thread(load_scipy=False):
        # Nearly all of w lies along the last two vectors. Without that, one pass over the others leaves only
        # rounding, unless it takes much away again.
        for _ in range(2):
            last = previous[-2:]
            w = w - (last @ w) @ last
        norm = float(np.linalg.norm(w))
        for _ in range(3):
            before, w = norm, w - (previous @ w) @ previous
            norm = float(np.linalg.norm(w))
            if norm >= 0.7 * before:
                break
    if norm <= 1e-10 * size:
        return 0.0
    basis[k + 1] = w / norm
    return norm
