"""The curvature at one point, from products of the Hessian with vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import MeasureError
from qpsim.measure.inputs import Products, generator
from qpsim.measure.lanczos import density
from qpsim.measure.record import (
    Estimate,
    Measurement,
    axes_for,
    exact_estimate,
    mean_estimate,
    student_estimate,
    table,
)

# Restarts of the search for extreme eigenvalues, each of a dozen products.
_RESTARTS = 10


@dataclass(frozen=True)
class Block:
    """The mass of one block of coordinates, such as a layer's weights.

    Attributes
    ----------
    name : str
    size : int
        Coordinates.
    trace : Estimate
        sum_i h_ii.
    diagonal_mass : Estimate
        c of Eq. 13 of the block alone, sum |h_ii| / sum |h_ij|.
    """

    name: str
    size: int
    trace: Estimate
    diagonal_mass: Estimate


@dataclass(frozen=True, eq=False, repr=False)
class CurvatureMeasurement(Measurement):
    """The curvature at one point. Made by :func:`qpsim.measure.curvature`.

    Attributes
    ----------
    dim, n_products : int
        Coordinates, and products that were taken.
    exact : bool
        Whether the whole matrix was computed; then all numbers are exact.
    trace : Estimate
        sum_i h_ii.
    diagonal : ndarray (d,)
        h_ii, exact or by Hutchinson's estimate.
    diagonal_mass : Estimate
        c of Eq. 13, sum |h_ii| / sum |h_ij|.
    entry_norm : Estimate
        The (1,1) norm sum |h_ij|, the denominator of Eq. 12. A few rows that are much larger than all others are seen
        only if they are drawn.
    eigenvalues : ndarray
        All of them, ascending (exact), or the extreme ones. If those lie close together there are fewer, with an error
        of about a percent.
    density_nodes, density_weights : ndarray (n_probes, n_steps)
        Spectral density; exact: one row, all weights 1/d.
    negative_mass : Estimate
        Fraction of sum |lambda| that is due to negative eigenvalues.
    condition : float
        Largest over smallest |lambda|; infinite for a singular matrix, NaN where not all eigenvalues are known.
    outlier_share : Estimate
        Share of the eigenvalues with |lambda| above a tenth of the largest: small where few are large.
    blocks : tuple of Block
    matrix : ndarray (d, d) or None
        The Hessian, where it was formed.
    """

    dim: int
    n_products: int
    exact: bool
    trace: Estimate
    diagonal: np.ndarray
    diagonal_mass: Estimate
    entry_norm: Estimate
    eigenvalues: np.ndarray
    density_nodes: np.ndarray
    density_weights: np.ndarray
    negative_mass: Estimate
    condition: float
    outlier_share: Estimate
    blocks: tuple[Block, ...]
    matrix: np.ndarray | None

    def to_dict(self) -> dict[str, Any]:
        """As of every measurement, without the matrix."""
        found = super().to_dict()
        del found["matrix"]
        return found

    def __str__(self) -> str:
        low, high = self.eigenvalues[0], self.eigenvalues[-1]
        rows = [
            ["trace", str(self.trace)],
            ["diagonal mass c (Eq. 13)", str(self.diagonal_mass)],
            ["(1,1) norm", str(self.entry_norm)],
            ["smallest, largest eigenvalue", f"{low:.4g}, {high:.4g}"],
            ["share of eigenvalues above a tenth of the largest", str(self.outlier_share)],
            ["share of negative mass", str(self.negative_mass)],
            ["condition", "not known" if np.isnan(self.condition) else f"{self.condition:.4g}"],
        ]
        rows += [[f"c of {one.name} ({one.size})", str(one.diagonal_mass)] for one in self.blocks]
        how = "exact" if self.exact else "estimated"
        title = f"Curvature of {self.dim} coordinates, {how} from {self.n_products} products"
        return table(title, ["", "value [95 % interval]"], rows)

    def __repr__(self) -> str:
        return f"<CurvatureMeasurement dim={self.dim}, {self.n_products} products>"

    def plot(self, ax: Any = None) -> Any:
        """The share of eigenvalues larger in size than a value; returns the axes."""
        ax = axes_for(ax)
        values, weights = self.density_nodes.ravel(), self.density_weights.ravel()
        for sign, style, name in ((1, "-", "positive"), (-1, "--", "negative")):
            chosen = (sign * values > 0.0) & (weights > 0.0)
            if chosen.any():
                order = np.argsort(np.abs(values[chosen]))[::-1]
                share = np.cumsum(weights[chosen][order]) / len(self.density_nodes)
                ax.step(np.abs(values[chosen][order]), share, style, color="0.2", label=name)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel(r"size of the eigenvalue $|\lambda|$")
        ax.set_ylabel("share that is larger")
        ax.legend(frameon=False)
        return ax


@np.errstate(under="ignore")
def curvature(
    hvp: Callable[[Any], Any],
    dim: int,
    *,
    blocks: Mapping[str, slice] | None = None,
    exact_below: int = 1000,
    n_probes: int = 12,
    n_rows: int = 64,
    n_lanczos: int = 40,
    n_eigenvalues: int = 6,
    rng: Any = 0,
) -> CurvatureMeasurement:
    """Measure a Hessian through its products with vectors.

    Up to ``exact_below`` coordinates the whole matrix is computed and everything is exact. Above, the trace and
    diagonal are Hutchinson's estimates, c and the (1,1) norm come from random rows, the spectrum from stochastic
    Lanczos quadrature, and the extreme eigenvalues from SciPy's ``eigsh``.

    Parameters
    ----------
    hvp : callable
        (d,) or (d, k) to the same shape.
    dim : int
    blocks : mapping of name to slice, optional
        Blocks of coordinates, such as layers, that are also measured separately.
    exact_below, n_probes, n_rows, n_lanczos, n_eigenvalues : int
        Largest dimension of a full matrix, random vectors, random rows (for each block as well), Lanczos steps, and
        extreme eigenvalues of each end.
    rng : seed or Generator, default 0

    Raises
    ------
    MeasureError
        Products of another shape, not finite, not symmetric or not deterministic; a block out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim import measure
    >>> h = np.array([[2.0, 1.0], [1.0, 4.0]])
    >>> measure.curvature(lambda v: h @ v, 2).diagonal_mass.value
    0.75
    """
    random = generator(rng)
    products = Products(hvp, dim, random)
    if not isinstance(blocks, Mapping | None):
        raise MeasureError(
            f"blocks must map names to slices of coordinates, not be a {type(blocks).__name__}."
        )
    parts = {name: _range(name, part, products.dim) for name, part in (blocks or {}).items()}
    counts = {"n_probes": n_probes, "n_rows": n_rows, "n_lanczos": n_lanczos}
    for name, value in counts.items():
        checks.count(name, value, MeasureError, low=3)
    checks.count("n_eigenvalues", n_eigenvalues, MeasureError)
    # Problems of one or two coordinates are always measured exactly.
    if products.dim <= max(2, checks.count("exact_below", exact_below, MeasureError, low=0)):
        return _exact(products, parts)
    return _estimated(products, parts, n_probes, n_rows, n_lanczos, n_eigenvalues, random)


def _range(name: str, part: slice, dim: int) -> slice:
    if not isinstance(part, slice) or part.step not in (None, 1):
        raise MeasureError(
            f"The block {checks.shown(name)} must be a slice without a step, not {checks.shown(part)}."
        )
    start, stop, _ = part.indices(dim)
    if stop <= start or (part.stop or dim) > dim:
        raise MeasureError(f"The block {checks.shown(name)} has no coordinates among {dim}.")
    return slice(start, stop)


def full_matrix(products: Products) -> np.ndarray:
    """The whole symmetric matrix from its products with the unit vectors."""
    matrix = np.empty((products.dim, products.dim))
    for start in range(0, products.dim, products.width):
        width = min(products.width, products.dim - start)
        units = np.zeros((products.dim, width))
        units[start + np.arange(width), np.arange(width)] = 1.0
        matrix[:, start : start + width] = products.of(units)
    return 0.5 * (matrix + matrix.T)


def _exact(products: Products, parts: Mapping[str, slice]) -> CurvatureMeasurement:
    matrix = full_matrix(products)
    values = np.linalg.eigvalsh(matrix)
    sizes = np.abs(values)
    largest = sizes.max()
    singular = sizes.min() <= len(values) * np.finfo(float).eps * largest
    return CurvatureMeasurement(
        dim=products.dim,
        n_products=products.count,
        exact=True,
        trace=exact_estimate(np.trace(matrix)),
        diagonal=np.diagonal(matrix).copy(),
        diagonal_mass=exact_estimate(_mass(matrix)),
        entry_norm=exact_estimate(np.abs(matrix).sum()),
        eigenvalues=values,
        density_nodes=values[None],
        density_weights=np.full((1, len(values)), 1.0 / len(values)),
        negative_mass=exact_estimate(sizes[values < 0.0].sum() / sizes.sum() if largest else 0.0),
        condition=float("inf") if singular else float(largest / sizes.min()),
        outlier_share=exact_estimate(np.mean(sizes > 0.1 * largest)),
        blocks=tuple(
            Block(
                name,
                part.stop - part.start,
                exact_estimate(np.trace(matrix[part, part])),
                exact_estimate(_mass(matrix[part, part])),
            )
            for name, part in parts.items()
        ),
        matrix=matrix,
    )


def _mass(matrix: np.ndarray) -> float:
    total = np.abs(matrix).sum()
    return float(np.abs(np.diagonal(matrix)).sum() / total) if total else float("nan")


def _estimated(
    products: Products,
    parts: Mapping[str, slice],
    n_probes: int,
    n_rows: int,
    n_lanczos: int,
    n_eigenvalues: int,
    rng: np.random.Generator,
) -> CurvatureMeasurement:
    dim = products.dim
    diagonal = np.zeros(dim)
    traces: list[float] = []
    block_traces: dict[str, list[float]] = {name: [] for name in parts}
    for start in range(0, n_probes, products.width):
        width = min(products.width, n_probes - start)
        v = rng.choice([-1.0, 1.0], (width, dim))
        for seen in v * products.of(v.T).T:
            diagonal += seen / n_probes
            traces.append(seen.sum())
            for name, part in parts.items():
                block_traces[name].append(seen[part].sum())
    mass, norm = _rows(products, slice(0, dim), n_rows, rng)
    blocks = []
    for name, part in parts.items():
        size = part.stop - part.start
        own = _rows(products, part, n_rows, rng)[0]
        blocks.append(Block(name, size, mean_estimate(np.array(block_traces[name])), own))
    spectrum = density(products, n_probes, n_lanczos, rng)
    extreme = _extreme(products, n_eigenvalues, spectrum.nodes, rng)
    largest = np.abs(extreme).max()
    negative = spectrum.mean(lambda x: np.maximum(-x, 0.0))
    return CurvatureMeasurement(
        dim=dim,
        n_products=products.count,
        exact=False,
        trace=mean_estimate(np.array(traces)),
        diagonal=diagonal,
        diagonal_mass=mass,
        entry_norm=norm,
        eigenvalues=extreme,
        density_nodes=spectrum.nodes,
        density_weights=spectrum.weights,
        negative_mass=_ratio(negative, spectrum.mean(np.abs)),
        condition=float("nan"),
        outlier_share=_share(spectrum.mean(lambda x: (np.abs(x) > 0.1 * largest).astype(float))),
        blocks=tuple(blocks),
        matrix=None,
    )


def _rows(
    products: Products, part: slice, n_rows: int, rng: np.random.Generator
) -> tuple[Estimate, Estimate]:
    """c and the (1,1) norm of a block from random rows; exact where all rows are taken."""
    size = part.stop - part.start
    taken = min(n_rows, size)
    diagonal, sums = np.empty((2, taken))
    chosen = part.start + rng.choice(size, taken, replace=False)
    for start in range(0, taken, products.width):
        some = chosen[start : start + products.width]
        units = np.zeros((products.dim, len(some)))
        units[some, np.arange(len(some))] = 1.0
        columns = products.of(units)
        diagonal[start : start + len(some)] = np.abs(columns[some, np.arange(len(some))])
        sums[start : start + len(some)] = np.abs(columns[part]).sum(axis=0)
    # Rows are drawn without replacement: the error vanishes when all are taken.
    rest = np.sqrt(1.0 - taken / size)
    mass, norm = _ratio(diagonal, sums, rest), mean_estimate(sums, rest)
    return mass, Estimate(*(size * one for one in norm))


def _share(values: np.ndarray) -> Estimate:
    """The mean of fractions, with an interval within [0, 1]."""
    found = mean_estimate(values)
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0))


def _ratio(top: np.ndarray, bottom: np.ndarray, factor: float = 1.0) -> Estimate:
    """The ratio of two means of numbers >= 0, with a jackknife's interval."""
    if not bottom.any():
        return exact_estimate(float("nan"))
    n, value = len(top), top.sum() / bottom.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        without = (top.sum() - top) / (bottom.sum() - bottom)
        logs = np.log(without)
    if not np.isfinite(logs).all():
        error = factor * np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2))
        found = student_estimate(value, error, n - 1)
        return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0))
    # The interval is computed for the logarithm, whose distribution is closer to normal.
    error = factor * np.sqrt((n - 1) / n * np.sum((logs - logs.mean()) ** 2))
    found = student_estimate(np.log(value), error, n - 1)
    return Estimate(float(value), float(np.exp(found.low)), float(min(np.exp(found.high), 1.0)))


def _extreme(products: Products, n: int, ritz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The n smallest and n largest eigenvalues, ascending; only some, with the extreme Ritz values, where they lie so
    close together that they do not converge."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    dim = products.dim
    operator = LinearOperator((dim, dim), matvec=lambda v: products.of(v.ravel()), dtype=float)
    n = min(n, (dim - 1) // 2)
    if not ritz.any():
        # The Hessian is zero on random vectors, and so everywhere.
        return np.zeros(2 * n)
    try:
        found = eigsh(
            operator, 2 * n, which="BE", v0=rng.standard_normal(dim), tol=1e-4, maxiter=_RESTARTS,
            return_eigenvectors=False,
        )  # fmt: skip
    except ArpackNoConvergence as error:
        found = np.concatenate([error.eigenvalues, [ritz.min(), ritz.max()]])
    return np.sort(found)
