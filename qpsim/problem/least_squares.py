"""Least squares with Gaussian data: x ~ N(0, K), y = x^T optimum + N(0, label_noise_std^2), loss 0.5 (x^T theta - y)^2.

Its Hessian is K, and its gradient noise depends on theta: with e = theta - optimum the residual has the variance v =
e^T K e + s^2, and the gradient of one draw has the covariance v K + h h^T with h = K e. The mean of a minibatch of any
size is sampled exactly from one Gaussian vector and one chi-square variable (:mod:`qpsim.kernels.least_squares`). Signs
of such gradients have the distribution of signs under Student's t noise with B degrees of freedom, where B is the batch
size.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError
from qpsim.execution.blas import one_blas_thread
from qpsim.problem import noise
from qpsim.problem.interface import Prepared
from qpsim.problem.laws import Law
from qpsim.problem.local import LocalModel
from qpsim.problem.matrices import (
    check_coordinates,
    frozen,
    precision,
    real_array,
    semidefinite,
    square_or_diagonal,
    without_negative,
)
from qpsim.problem.quadratic_loss import QuadraticLoss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

# Largest |r| and Gauss-Legendre nodes: each integral is within 1e-9 for all means and all degrees of freedom.
_NODES = (
    (0.1, 4),
    (0.3, 6),
    (0.5, 8),
    (0.7, 12),
    (0.85, 16),
    (0.95, 24),
    (0.99, 40),
    (0.999, 64),
    (1.0, 128),
)
# Spacing of the nodes in log w at B = 1 (see `_share_quadrature`), and the probability of a w below the first node.
_SPACING = 0.35
_LEFT_OUT = 1e-14
# Largest label noise, so that its square is in the floating-point range.
_LARGEST_STD = 1e50
# Largest dimension for which a diagonal covariance may be converted to a matrix (3 gigabytes).
_LARGEST_MATRIX = 20_000


class LeastSquares(QuadraticLoss):
    """Least squares on Gaussian data, at any batch size.

    Parameters
    ----------
    covariance : array_like, shape (d, d) or (d,)
        K, symmetric positive semi-definite; a vector gives a diagonal K.
    optimum : array_like, shape (d,), optional
        The true parameters; zeros by default.
    label_noise_std : float, default 0.1
        Standard deviation s of the labels around x^T optimum.

    Notes
    -----
    ``excess_loss`` is 0.5 e^T K e with e = theta - optimum; the expected loss itself is 0.5 s^2 higher.

    Raises
    ------
    ProblemError
        A covariance that is not symmetric, positive semi-definite and finite; an optimum of another shape; a label
        noise that is negative or not finite.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.LeastSquares([[2.0, 1.0], [1.0, 3.0]], optimum=[1.0, -2.0], label_noise_std=0.5)
    >>> p.excess_loss([0.0, 0.0]), p.gradient([0.0, 0.0])
    (5.0, array([0., 5.]))
    >>> r = qpsim.simulate(p, "sgd", n_steps=5, n_replicates=4, rng=0, batch_size=8)
    >>> r.excess_loss.shape
    (4, 6)
    """

    kind = "least-squares"

    @one_blas_thread(load_scipy=False)
    def __init__(
        self,
        covariance: ArrayLike,
        optimum: ArrayLike | None = None,
        label_noise_std: float = 0.1,
    ) -> None:
        given = square_or_diagonal(covariance, "The covariance")
        self._is_diagonal = given.ndim == 1
        # A diagonal K is stored as a vector, so that a million coordinates are possible.
        values, vectors = (given, None) if self._is_diagonal else np.linalg.eigh(given)
        try:
            if vectors is None:
                checked = semidefinite(values, True)
            else:
                given, checked = without_negative(given, values, vectors, precision(covariance))
            self._eigenvalues = frozen(checked)
        except ProblemError:
            raise ProblemError(
                "The covariance must be positive semi-definite, but its smallest eigenvalue is "
                f"{values.min():.3g}."
            ) from None
        self._eigenvectors = None if vectors is None else frozen(vectors)
        self._given = frozen(np.ascontiguousarray(given))
        dim = given.shape[0]
        point = np.zeros(dim) if optimum is None else real_array(optimum, "The optimum")
        if point.shape != (dim,):
            raise ProblemError(
                f"The optimum must have shape ({dim},) like the covariance, not {point.shape}."
            )
        check_coordinates(point, "The optimum")
        self._optimum = frozen(point)
        self._batch_size = 1
        self._label_noise_std = checks.number(
            "label_noise_std", label_noise_std, ProblemError, f"[0, {_LARGEST_STD:g}]"
        )

    @property
    def is_diagonal(self) -> bool:
        """Whether K is diagonal, and so held as a vector."""
        return self._is_diagonal

    @property
    def covariance(self) -> Array:
        """K, shape (d, d). For a diagonal K the matrix is made at each access; its diagonal is `eigenvalues`."""
        return self._matrix(self._given) if self._is_diagonal else self._given

    @property
    def hessian(self) -> Array:
        """The loss' Hessian, which is K, shape (d, d)."""
        return self.covariance

    @property
    def eigenvalues(self) -> Array:
        """Eigenvalues of K, shape (d,): ascending for a dense K, the unsorted diagonal for a diagonal K."""
        return self._eigenvalues

    @property
    def eigenvectors(self) -> Array:
        """Orthonormal eigenvectors of K as columns, shape (d, d); the unit matrix if K is diagonal."""
        if self._eigenvectors is None:
            return self._matrix(np.ones(self.dim))
        return self._eigenvectors

    def _matrix(self, diagonal: Array) -> Array:
        if diagonal.size > _LARGEST_MATRIX:
            raise ProblemError(
                f"A diagonal covariance of {diagonal.size} coordinates is not made a matrix, which would take "
                f"{8e-9 * diagonal.size**2:.3g} gigabytes; its diagonal is the problem's eigenvalues."
            )
        return frozen(np.diag(diagonal))

    def _times(self, vectors: Array) -> Array:
        return vectors * self._given if self._is_diagonal else vectors @ self._given

    @property
    def label_noise_std(self) -> float:
        """Standard deviation s of the labels."""
        return self._label_noise_std

    @property
    def batch_size(self) -> int:
        """Draws of which a gradient is the mean; 1 unless :meth:`at_batch` made the problem."""
        return self._batch_size

    def at_batch(self, batch_size: int) -> LeastSquares:
        """The problem whose gradients are means of so many draws."""
        count = checks.count("batch_size", batch_size, ProblemError)
        problem = LeastSquares(self._given, self._optimum, self._label_noise_std)
        # The constructor has set it to 1.
        problem.__dict__["_batch_size"] = self._batch_size * count
        return problem

    @property
    def diagonal_mass(self) -> float:
        """c of Eq. 13 for the Hessian K."""
        if self._is_diagonal:
            return 1.0
        return float(np.trace(self._given) / np.abs(self._given).sum())

    def residual_variance(self, theta: ArrayLike) -> Any:
        """v = e^T K e + s^2, the variance of x^T theta - y, shape (...)."""
        return 2.0 * self.excess_loss(theta) + self._label_noise_std**2

    def gradient_covariance(self, theta: ArrayLike) -> Array:
        """Covariance (v K + h h^T) / B of a gradient at one theta (d,), shape (d, d); B is the problem's batch size."""
        h = self.gradient(theta)
        variance = self.residual_variance(theta)
        return (variance * self.covariance + np.outer(h, h)) / self._batch_size

    def gradient_std(self, theta: ArrayLike) -> Array:
        """Standard deviation of a gradient at theta (..., d), shape (..., d), for the problem's batch size."""
        h = self.gradient(theta)
        v = np.asarray(self.residual_variance(theta))
        own = self._given if self._is_diagonal else np.diagonal(self._given)
        return np.sqrt((v[..., None] * own + h * h) / self._batch_size)

    def gradient_mixture(self, theta: ArrayLike) -> Iterator[tuple[float, LocalModel, Array]]:
        """The law of a gradient at one theta (d,) as a mixture of Gaussian laws: (weight, model, mean (d,)) of each.

        Given w ~ chi^2_B / B the mean gradient of B draws is Gaussian with mean w h and covariance
        (w v / B) (K - h h^T / v), where h = K e and v is the residual's variance.
        """
        h, v = self.gradient(theta), float(self.residual_variance(theta))
        if v == 0.0:
            yield 1.0, LocalModel(h, self.hessian, noise.white(0.0)), h
            return
        free = self.covariance - np.outer(h, h) / v
        for w, weight in zip(*_share_quadrature(self._batch_size), strict=True):
            spread = noise.dense(0.5 * w * v / self._batch_size * (free + free.T))
            yield weight, LocalModel(w * h, self.hessian, spread), w * h

    # -- the interface for simulations (qpsim.problem.interface.Problem) ---------------------------

    def lanes_are_independent(self, method: Any) -> bool:
        """Whether K is diagonal: with a dense K a step has matrix products over all replicates of a block."""
        return self._is_diagonal

    def records_moment_error(self, method: Any) -> bool:
        """Whether the exact step's denominator is a truncated series."""
        return method.closed_form is None

    def check_simulation(self, method: Any, policy: Any, batch_size: int) -> None:
        """Refuse the exact step of a rule that sees a minibatch's variance estimate."""
        if method.observes == "variance_estimate" and (policy.is_exact or policy.is_bound):
            raise ProblemError(
                f"{method.name} has no {policy.name} step on least squares, where its variance estimate "
                "and its gradient depend on each other; take step_size='line-search' or given steps."
            )

    def prepared(self, method: Any, policy: Any, batch_size: int, tolerance: float) -> Prepared:
        """The arguments of the step loop."""
        batch_size *= self._batch_size
        # The mean of n exponential variables of mean 1, for any n = B / 2, is chi^2_B / B.
        scales, weights = Law("laplace", batch_size=0.5 * batch_size).quadrature()  # type: ignore[arg-type]
        shares = scales**2, np.array(weights)
        arguments: Any
        if self._is_diagonal:
            arguments = _diagonal_arguments(self, method, batch_size, shares)
        else:
            arguments = _dense_arguments(self, method, batch_size, shares, tolerance)
        return Prepared(arguments, None, self.dim + 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that, with :meth:`arrays`, describe the problem."""
        return {
            "dim": self.dim,
            "diagonal": self._is_diagonal,
            "label_noise_std": self._label_noise_std,
            "batch_size": self._batch_size,
            "smallest_eigenvalue": float(self._eigenvalues.min()),
            "largest_eigenvalue": float(self._eigenvalues.max()),
            "diagonal_mass": self.diagonal_mass,
        }

    def arrays(self) -> dict[str, Array]:
        """Covariance and optimum."""
        return {"covariance": self._given, "optimum": self._optimum}

    def __repr__(self) -> str:
        low, high = self._eigenvalues.min(), self._eigenvalues.max()
        return (
            f"<LeastSquares dim={self.dim}, eigenvalues in [{low:.3g}, {high:.3g}], "
            f"label_noise_std={self._label_noise_std:g}>"
        )


def _diagonal_arguments(
    problem: LeastSquares, method: Any, batch_size: int, shares: tuple[Array, Array]
) -> Any:
    from qpsim.kernels.diagonal_least_squares import DiagonalLeastSquares
    from qpsim.kernels.hermite import quadrature_table
    from qpsim.kernels.student_table import MOST_DEGREES

    k = np.array(problem.eigenvalues)
    return DiagonalLeastSquares(
        k,
        np.sqrt(k),
        problem.label_noise_std,
        batch_size,
        batch_size if batch_size <= MOST_DEGREES else 0,
        *shares,
        quadrature_table(1) if method.closed_form is None else (),
    )


def _dense_arguments(
    problem: LeastSquares,
    method: Any,
    batch_size: int,
    shares: tuple[Array, Array],
    tolerance: float,
) -> Any:
    from qpsim.kernels.least_squares import LeastSquaresProblem

    k = problem.covariance
    return LeastSquaresProblem(
        np.array(k),
        np.ascontiguousarray(problem.eigenvectors * np.sqrt(problem.eigenvalues)),
        k**2,
        _arcsines(k) if batch_size == 1 else np.zeros((0, 0)),
        _sign_table(k, batch_size),
        problem.label_noise_std,
        batch_size,
        *shares,
        *_legendre_rules(),
        _series_table(k, tolerance) if method.closed_form is None else (),
    )


def _share_quadrature(batch_size: int) -> tuple[Array, Array]:
    """Nodes and weights for averages over w = chi^2_B / B, by the trapezoidal rule in log w.

    Expectations of signs are as smooth as erf(c sqrt(w)) for any c: analytic within pi / 2 of the real axis of log w,
    so that the error of the rule is exp(-pi^2 / spacing). For larger B the density is narrower, and so is the spacing.
    """
    from scipy.special import gammainccinv, gammaincinv, gammaln

    half = 0.5 * batch_size
    low, high = gammaincinv(half, _LEFT_OUT) / half, gammainccinv(half, 1e-3 * _LEFT_OUT) / half
    spacing = _SPACING / np.sqrt(0.5 + half)
    x = np.arange(np.log(low), np.log(high) + spacing, spacing)
    weights = np.exp(half * np.log(half) - gammaln(half) + half * x - half * np.exp(x))
    return np.exp(x), weights / weights.sum()


@cache
def _legendre_rules() -> tuple[Array, Array, Any, Array]:
    """Nodes and weights on [0, 1] (classes, most), their counts and the largest |r| of each class."""
    most = max(n for _, n in _NODES)
    nodes, weights = np.zeros((len(_NODES), most)), np.zeros((len(_NODES), most))
    for row, (_, n) in enumerate(_NODES):
        x, w = np.polynomial.legendre.leggauss(n)
        nodes[row, :n], weights[row, :n] = 0.5 * x + 0.5, 0.5 * w
    counts = np.array([n for _, n in _NODES])
    return nodes, weights, counts, np.array([limit for limit, _ in _NODES])


def _series_table(covariance: Array, tolerance: float) -> Any:
    from qpsim.kernels import series

    table = series.series_table(np.ones((1, 1)), np.ones((1, 1)), tolerance)
    off_diagonal = covariance - np.diag(np.diagonal(covariance))
    return table._replace(off_diagonal=np.ascontiguousarray(off_diagonal))


def _sign_table(covariance: Array, batch_size: int) -> Any:
    """The table for exact steps of sign rules at this batch size; empty for large ones."""
    from qpsim.kernels.student_table import student_table

    correlation = _correlation(covariance) if batch_size > 1 else np.ones((1, 1))
    return student_table(batch_size, correlation, own=True)


def _arcsines(covariance: Array) -> Array:
    """K_ij (2 / pi) asin(K_ij / sqrt(K_ii K_jj)), shape (d, d); 0 in rows and columns with K_ii = 0."""
    return covariance * np.arcsin(_correlation(covariance)) * (2.0 / np.pi)


def _correlation(covariance: Array) -> Array:
    """K_ij / sqrt(K_ii K_jj), shape (d, d); 0 in rows and columns with K_ii = 0."""
    std = np.sqrt(np.diagonal(covariance))
    size = np.outer(std, std)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(size > 0.0, np.clip(covariance / size, -1.0, 1.0), 0.0)
    # Exactly 1 on the diagonal: near 1 the arcsine would magnify rounding errors.
    np.fill_diagonal(correlation, np.sign(std))
    return correlation
