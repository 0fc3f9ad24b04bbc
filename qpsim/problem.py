"""The stochastic quadratic problem: what is minimised, and how noisily its gradient is seen.

Balles & Hennig (2018), Section 2: ``l(theta, x) = 0.5 (theta - x)^T Q (theta - x)`` with
``x ~ N(optimum, noise_std^2 I)``. The stochastic gradient ``Q (theta - x)`` is Gaussian with mean
``Q (theta - optimum)`` and covariance ``noise_std^2 Q Q`` (the text after Eq. 9 prints another
law). A diagonal Hessian is held as its diagonal and never becomes a dense matrix.
"""

from __future__ import annotations

import math
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import ProblemError, nearest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SPECTRA = ("mild", "structured", "log-uniform", "power-law")
CONDITIONED = ("log-uniform", "power-law")
DEFAULT_CONDITION = 100.0
BASES = ("axis", "haar")

# Asymmetry that rounding in a user's own Q = V L V^T leaves; anything above is a mistake.
_SYMMETRY_TOLERANCE = 1e-10


class QuadraticProblem:
    """A quadratic loss with Gaussian gradient noise.

    Parameters
    ----------
    hessian : array_like, shape (d, d) or (d,)
        Symmetric positive definite matrix Q; a vector gives the eigenvalues of a diagonal Q. A
        matrix without off-diagonal entries is held as its diagonal.
    optimum : array_like, shape (d,), optional
        The minimiser; zeros by default.
    noise_std : float, default 0.1
        Standard deviation nu of the data around the optimum, in units of theta.

    Raises
    ------
    ProblemError
        The Hessian is empty, of the wrong shape or type, not finite, not symmetric or not
        positive definite; the optimum has another shape; the noise is negative or not finite.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], optimum=[1.0, -1.0], noise_std=0.5)
    >>> p.excess_loss([0.0, 0.0])
    1.5
    >>> p.gradient([0.0, 0.0]), p.gradient_std()
    (array([-1.,  2.]), array([1.11803399, 1.58113883]))
    """

    def __init__(
        self, hessian: ArrayLike, optimum: ArrayLike | None = None, noise_std: float = 0.1
    ) -> None:
        matrix = real_array(hessian, "The Hessian")
        if matrix.size == 0:
            raise ProblemError("The Hessian is empty; give a (d, d) matrix or d eigenvalues.")
        if matrix.ndim == 2 and matrix.shape[0] != matrix.shape[1]:
            raise ProblemError(
                f"The Hessian must be square, not of shape {matrix.shape}; "
                "give a (d, d) matrix or d eigenvalues."
            )
        if matrix.ndim not in (1, 2):
            raise ProblemError(
                f"The Hessian must have 1 or 2 axes, not {matrix.ndim}; "
                "give a (d, d) matrix or d eigenvalues."
            )
        if matrix.ndim == 2:
            matrix = _as_diagonal_if_so(_symmetric(matrix))
        decomposition = None
        if matrix.ndim == 2:
            values, vectors = np.linalg.eigh(matrix)
            decomposition = values, vectors
        self._set(matrix, decomposition, optimum, noise_std)
        smallest = float(self.eigenvalues.min())
        # What eigh finds below its own rounding error is no evidence of a positive eigenvalue.
        floor = 0.0 if self.is_diagonal else self.dim * 2.3e-16 * float(self.eigenvalues.max())
        if not smallest > floor:
            raise ProblemError(
                "The Hessian must be positive definite, but its smallest eigenvalue is "
                f"{smallest:.3g}; add a multiple of the identity or drop the flat directions."
            )

    def _set(
        self,
        hessian: NDArray[np.float64],
        decomposition: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
        optimum: ArrayLike | None,
        noise_std: float,
    ) -> None:
        self._hessian = _frozen(hessian)
        self._eigenvalues = self._hessian if decomposition is None else _frozen(decomposition[0])
        self._eigenvectors = None if decomposition is None else _frozen(decomposition[1])
        if optimum is None:
            optimum = np.zeros(hessian.shape[0])
        point = real_array(optimum, "The optimum")
        if point.shape != (hessian.shape[0],):
            raise ProblemError(
                f"The optimum must have shape ({hessian.shape[0]},) like the Hessian, "
                f"not {point.shape}."
            )
        self._optimum = _frozen(point)
        self._noise_std = _noise(noise_std)

    @classmethod
    def from_eigenbasis(
        cls,
        eigenvalues: ArrayLike,
        eigenvectors: ArrayLike,
        optimum: ArrayLike | None = None,
        noise_std: float = 0.1,
    ) -> QuadraticProblem:
        """Problem with Q = V diag(eigenvalues) V^T, V's columns orthonormal.

        Raises
        ------
        ProblemError
            As the class; also if V is not orthogonal to 1e-8.

        Examples
        --------
        >>> import numpy as np, qpsim
        >>> v = np.array([[0.6, -0.8], [0.8, 0.6]])
        >>> qpsim.QuadraticProblem.from_eigenbasis([1.0, 2.0], v).hessian
        array([[ 1.64, -0.48],
               [-0.48,  1.36]])
        """
        values = real_array(eigenvalues, "The eigenvalues")
        vectors = real_array(eigenvectors, "The eigenvectors")
        if values.ndim != 1 or vectors.shape != (values.size, values.size):
            raise ProblemError(
                f"Eigenvalues of shape (d,) need eigenvectors of shape (d, d), not {values.shape} "
                f"and {vectors.shape}."
            )
        if values.size == 0 or not values.min() > 0:
            raise ProblemError("The eigenvalues must all be positive.")
        error = float(np.abs(vectors.T @ vectors - np.eye(values.size)).max())
        if error > 1e-8:
            raise ProblemError(
                f"The eigenvectors must be orthonormal, but max |V^T V - I| is {error:.2g}."
            )
        problem = cls.__new__(cls)
        hessian = (vectors * values) @ vectors.T
        problem._set(0.5 * (hessian + hessian.T), (values, vectors), optimum, noise_std)
        return problem

    @classmethod
    def from_parts(
        cls,
        hessian: NDArray[np.float64],
        eigenvalues: NDArray[np.float64],
        eigenvectors: NDArray[np.float64],
        optimum: ArrayLike,
        noise_std: float,
    ) -> QuadraticProblem:
        """A dense problem put together again from what it was saved as, bit for bit.

        Raises
        ------
        ProblemError
            The parts do not fit: V diag(eigenvalues) V^T is not the Hessian.
        """
        again = cls.from_eigenbasis(eigenvalues, eigenvectors, optimum, noise_std)
        matrix = real_array(hessian, "The Hessian")
        if matrix.shape != again.hessian.shape or not np.allclose(
            matrix, again.hessian, rtol=1e-7, atol=1e-7 * float(np.abs(matrix).max(initial=0.0))
        ):
            raise ProblemError("The Hessian does not have the eigenvalues and eigenvectors given.")
        problem = cls.__new__(cls)
        problem._set(matrix, (again.eigenvalues, np.array(eigenvectors)), optimum, noise_std)
        return problem

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return int(self._hessian.shape[0])

    @property
    def is_diagonal(self) -> bool:
        """Whether the Hessian is diagonal, and so held as a vector."""
        return self._hessian.ndim == 1

    @property
    def hessian(self) -> NDArray[np.float64]:
        """Q, read-only: shape (d, d), or (d,) for a diagonal problem."""
        return self._hessian

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """Eigenvalues of Q, shape (d,), in the order of :attr:`eigenvectors`."""
        return self._eigenvalues

    @property
    def eigenvectors(self) -> NDArray[np.float64] | None:
        """Orthonormal eigenvectors as columns, shape (d, d); None if diagonal (the identity)."""
        return self._eigenvectors

    @property
    def optimum(self) -> NDArray[np.float64]:
        """The minimiser, shape (d,)."""
        return self._optimum

    @property
    def noise_std(self) -> float:
        """Standard deviation nu of the data around the optimum."""
        return self._noise_std

    @cached_property
    def hessian_square_diagonal(self) -> NDArray[np.float64]:
        """Diagonal of Q Q, shape (d,): the gradient's variances at nu = 1."""
        if self.is_diagonal:
            return _frozen(self._hessian**2)
        return _frozen(np.einsum("ij,ij->i", self._hessian, self._hessian))

    @cached_property
    def diagonal_mass(self) -> float:
        """c of Eq. 13: sum_i |q_ii| / sum_ij |q_ij|, in (0, 1]; 1 for a diagonal Hessian."""
        if self.is_diagonal:
            return 1.0
        return float(np.trace(self._hessian) / np.abs(self._hessian).sum())

    @property
    def noise_floor(self) -> float:
        """The constant 0.5 nu^2 tr Q by which the expected loss (Eq. 9) exceeds the excess loss."""
        return 0.5 * self._noise_std**2 * float(self._eigenvalues.sum())

    def matvec(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Q v for vectors of shape (..., d)."""
        v = np.asarray(vectors, dtype=float)
        return self._hessian * v if self.is_diagonal else v @ self._hessian

    def gradient(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Exact gradient Q (theta - optimum), shape (..., d)."""
        return self.matvec(self._error(theta))

    def excess_loss(self, theta: ArrayLike) -> Any:
        """0.5 (theta - optimum)^T Q (theta - optimum), shape (...); a float for one theta."""
        error = self._error(theta)
        loss = 0.5 * np.sum(error * self.matvec(error), axis=-1)
        return float(loss) if loss.ndim == 0 else loss

    def gradient_std(self) -> NDArray[np.float64]:
        """sigma_i = nu sqrt((QQ)_ii), shape (d,): one draw's deviation in each coordinate."""
        return self._noise_std * np.sqrt(self.hessian_square_diagonal)

    def gradient_covariance(self) -> NDArray[np.float64]:
        """Covariance nu^2 Q Q of one draw's gradient, shape (d, d), or (d,) if diagonal."""
        square = self._hessian**2 if self.is_diagonal else self._hessian @ self._hessian
        return self._noise_std**2 * square

    def gradient_correlation(self) -> NDArray[np.float64]:
        """Correlation r_ij = (QQ)_ij / sqrt((QQ)_ii (QQ)_jj) of a dense problem, shape (d, d).

        Raises
        ------
        ProblemError
            The Hessian is diagonal: the correlation is the identity, which is not materialised.
        """
        if self.is_diagonal:
            raise ProblemError("A diagonal problem has uncorrelated gradients; r is the identity.")
        square = self._hessian @ self._hessian
        scale = 1.0 / np.sqrt(self.hessian_square_diagonal)
        correlation = np.clip(square * scale[:, None] * scale[None, :], -1.0, 1.0)
        np.fill_diagonal(correlation, 1.0)
        return correlation

    def with_noise(self, noise_std: float) -> QuadraticProblem:
        """The same problem at another noise level.

        Examples
        --------
        >>> import qpsim
        >>> qpsim.QuadraticProblem([1.0, 2.0]).with_noise(4.0).noise_std
        4.0
        """
        return self._replaced(self._optimum, noise_std)

    def with_optimum(self, optimum: ArrayLike) -> QuadraticProblem:
        """The same problem with its minimiser elsewhere."""
        return self._replaced(optimum, self._noise_std)

    def _replaced(self, optimum: ArrayLike, noise_std: float) -> QuadraticProblem:
        problem = type(self).__new__(type(self))
        basis = self._eigenvectors
        decomposition = None if basis is None else (self._eigenvalues, basis)
        problem._set(self._hessian, decomposition, optimum, noise_std)
        return problem

    def _error(self, theta: ArrayLike) -> NDArray[np.float64]:
        point = np.asarray(theta, dtype=float)
        if point.ndim == 0 or point.shape[-1] != self.dim:
            raise ProblemError(
                f"theta must have {self.dim} entries in its last axis, not shape {point.shape}."
            )
        return point - self._optimum

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") and name not in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(
                f"A QuadraticProblem is frozen; {name} cannot be set, make a new one."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Neither pickle nor copy keeps an array's read-only flag.
        for value in state.values():
            if isinstance(value, np.ndarray):
                _frozen(value)
        self.__dict__.update(state)

    def __repr__(self) -> str:
        kind = "diagonal" if self.is_diagonal else "dense"
        low, high = self._eigenvalues.min(), self._eigenvalues.max()
        return (
            f"<QuadraticProblem {kind}, dim={self.dim}, eigenvalues in [{low:.3g}, {high:.3g}], "
            f"noise_std={self._noise_std:g}>"
        )


def random_problem(
    spectrum: str | ArrayLike = "structured",
    dim: int = 100,
    basis: str | float = "haar",
    noise_std: float = 0.1,
    *,
    scale: float = 10.0,
    condition: float | None = None,
    rng: Any = None,
) -> QuadraticProblem:
    """A random problem of Section 2.2: a spectrum, an eigenbasis, and an optimum.

    Parameters
    ----------
    spectrum : {"mild", "structured", "log-uniform", "power-law"} or array_like of eigenvalues
        "mild": U[0.1, 1.1]. "structured": exactly 90 % of the eigenvalues U[0, 1] and 10 %
        U[30, 60] (Chaudhari et al., 2016). "log-uniform": logarithms uniform between those of
        1 / condition and 1, both of which occur. "power-law": the k-th largest is k^-a, the
        exponent a such that the smallest is 1 / condition. An array gives the eigenvalues
        themselves.
    dim : int, default 100
        Number of coordinates; ignored when the spectrum is an array.
    basis : {"axis", "haar"} or float in [0, 1]
        Eigenbasis: the coordinate axes, Haar-uniform on SO(d) (Diaconis & Shahshahani, 1987), or
        the point at that fraction of the geodesic from the identity to the Haar rotation.
    noise_std : float, default 0.1
        Noise level nu.
    scale : float, default 10
        The optimum's coordinates are U[-scale, scale] (the paper does not say; theta starts at 0).
    condition : float, default 100
        Condition number, for the log-uniform and the power-law spectrum alone.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed. Spectrum, rotation and optimum are drawn from separate streams, so that one problem
        in two bases has the same eigenvalues, optimum and Haar rotation.

    Raises
    ------
    ProblemError
        Unknown spectrum or basis, an angle outside [0, 1], a dimension below 1, a condition number
        below 1 or for a spectrum that has its own, or values of the wrong type.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.random_problem("mild", dim=10, basis="axis", noise_std=0.1, rng=0)
    >>> p
    <QuadraticProblem diagonal, dim=10, eigenvalues in [0.157, 1.04], noise_std=0.1>
    """
    seeds = seed_sequence(rng).spawn(3)
    generators = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
    eigenvalues = _draw_spectrum(spectrum, dim, condition, generators[0])
    d = eigenvalues.size
    if not (_is_real(scale) and math.isfinite(scale) and scale >= 0):
        raise ProblemError(f"The scale of the optimum must be a finite number >= 0, not {scale!r}.")
    tau = _fraction(basis)
    rotation = _partial_rotation(d, tau, generators[1])
    optimum = generators[2].uniform(-scale, scale, d)
    if rotation is None:
        return QuadraticProblem(eigenvalues, optimum, noise_std)
    return QuadraticProblem.from_eigenbasis(eigenvalues, rotation, optimum, noise_std)


def seed_sequence(rng: Any) -> np.random.SeedSequence:
    """The SeedSequence behind an ``rng`` argument (SPEC 7), advanced if it is a generator.

    Examples
    --------
    >>> from qpsim.problem import seed_sequence
    >>> seed_sequence(7).entropy
    7
    """
    if isinstance(rng, np.random.SeedSequence):
        return _fresh(rng)
    if isinstance(rng, (np.random.Generator, np.random.BitGenerator)):
        bits = rng.bit_generator if isinstance(rng, np.random.Generator) else rng
        # Spawning advances the caller's generator: a second call must not repeat the first.
        return _fresh(bits.seed_seq.spawn(1)[0])  # type: ignore[attr-defined]
    if rng is not None and (isinstance(rng, bool) or not isinstance(rng, (int, np.integer))):
        raise ProblemError(
            f"rng must be None, a whole number, a SeedSequence or a Generator, not {rng!r}."
        )
    if rng is not None and rng < 0:
        raise ProblemError(f"A seed must not be negative; got {rng}.")
    return np.random.SeedSequence(rng if rng is None else int(rng))


def _fresh(seed: np.random.SeedSequence) -> np.random.SeedSequence:
    """The same seed with nothing spawned from it, its entropy in plain Python numbers."""
    entropy: Any = seed.entropy
    if not isinstance(entropy, str):
        entropy = np.asarray(entropy, dtype=object).tolist()
    return np.random.SeedSequence(
        entropy, spawn_key=tuple(int(key) for key in seed.spawn_key), pool_size=seed.pool_size
    )


def _draw_spectrum(
    spectrum: str | ArrayLike, dim: int, condition: Any, generator: np.random.Generator
) -> NDArray[np.float64]:
    if condition is not None and not (isinstance(spectrum, str) and spectrum in CONDITIONED):
        raise ProblemError(
            "A condition number can be chosen for the log-uniform and the power-law spectrum only."
        )
    if not isinstance(spectrum, str):
        values = real_array(spectrum, "The spectrum")
        if values.ndim != 1 or values.size == 0 or not values.min() > 0:
            raise ProblemError("A spectrum must be a non-empty vector of positive eigenvalues.")
        return values
    if spectrum not in SPECTRA:
        raise ProblemError(f"Unknown spectrum {spectrum!r}; {nearest(spectrum, SPECTRA)}")
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or dim < 1:
        raise ProblemError(f"dim must be a whole number of at least 1, not {dim!r}.")
    if spectrum in CONDITIONED:
        return _conditioned(spectrum, int(dim), condition, generator)
    if spectrum == "mild":
        return generator.uniform(0.1, 1.1, dim)
    n_large = round(dim / 10)
    # 1 - U lies in (0, 1]: an eigenvalue of exactly 0 would not be positive definite.
    small = 1.0 - generator.random(dim - n_large)
    return np.concatenate([small, generator.uniform(30.0, 60.0, n_large)])


def _conditioned(
    spectrum: str, dim: int, condition: Any, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Eigenvalues condition^-u with u from 0 to 1, so that the largest is 1."""
    kappa = _condition_number(DEFAULT_CONDITION if condition is None else condition)
    if dim == 1:
        return np.ones(1)
    if spectrum == "power-law":
        # k^-a with d^-a = 1 / kappa.
        exponents = np.log(np.arange(1, dim + 1)) / math.log(dim)
    else:
        exponents = generator.random(dim)
        exponents = (exponents - exponents.min()) / (exponents.max() - exponents.min())
    return kappa**-exponents


def _condition_number(value: Any) -> float:
    number = float(value) if isinstance(value, (int, float, np.number)) else math.nan
    if isinstance(value, bool) or not 1.0 <= number <= 1e15:
        raise ProblemError(f"A condition number lies between 1 and 1e15; got {value!r}.")
    return number


def _fraction(basis: str | float) -> float:
    if isinstance(basis, str):
        if basis not in BASES:
            raise ProblemError(
                f"Unknown basis {basis!r}, and no number in [0, 1]; {nearest(basis, BASES)}"
            )
        return float(BASES.index(basis))
    if not (_is_real(basis) and 0.0 <= basis <= 1.0):
        raise ProblemError(f"A basis is 'axis', 'haar' or a number in [0, 1], not {basis!r}.")
    return float(basis)


def _partial_rotation(
    dim: int, tau: float, generator: np.random.Generator
) -> NDArray[np.float64] | None:
    """R^tau for a Haar rotation R: its real Schur blocks' angles times tau."""
    if tau == 0.0 or dim == 1:
        return None
    from scipy.linalg import schur
    from scipy.stats import special_ortho_group

    rotation = special_ortho_group.rvs(dim, random_state=generator)
    if tau == 1.0:
        return rotation
    blocks, basis = schur(rotation, output="real")
    power = np.eye(dim)
    flipped: list[int] = []
    i = 0
    while i < dim:
        if i + 1 < dim and abs(blocks[i + 1, i]) > 1e-12:
            pair, angle = (i, i + 1), math.atan2(blocks[i + 1, i], blocks[i, i])
            i += 2
        elif blocks[i, i] < 0:
            # Real eigenvalues -1 come in pairs on SO(d): each pair is a half turn of its plane.
            flipped.append(i)
            i += 1
            if len(flipped) < 2:
                continue
            pair, angle = (flipped[0], flipped[1]), math.pi
            flipped = []
        else:
            i += 1
            continue
        a, b = pair
        cosine, sine = math.cos(tau * angle), math.sin(tau * angle)
        power[a, a], power[b, b], power[b, a], power[a, b] = cosine, cosine, sine, -sine
    return basis @ power @ basis.T


def real_array(values: Any, what: str) -> NDArray[np.float64]:
    """A float64 copy of an array of finite real numbers; anything else is a ProblemError."""
    try:
        given = np.asarray(values)
    except ValueError:
        raise ProblemError(f"{what} must be a rectangular array of real numbers.") from None
    if given.dtype.kind not in "fiu":
        raise ProblemError(f"{what} must be an array of real numbers, not of type {given.dtype}.")
    array = np.array(given, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ProblemError(f"{what} holds NaN or infinite entries; all must be finite.")
    return array


def _symmetric(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > _SYMMETRY_TOLERANCE * float(np.abs(matrix).max()):
        raise ProblemError(
            f"The Hessian must be symmetric, but max |Q - Q^T| is {asymmetry:.3g}; "
            "use (Q + Q.T) / 2 if that is what is meant."
        )
    return 0.5 * (matrix + matrix.T)


def _as_diagonal_if_so(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    diagonal = np.diagonal(matrix)
    is_diagonal = np.count_nonzero(matrix) == np.count_nonzero(diagonal)
    return diagonal.copy() if is_diagonal else matrix


def _noise(noise_std: Any) -> float:
    if not (_is_real(noise_std) and math.isfinite(noise_std) and noise_std >= 0.0):
        raise ProblemError(f"noise_std must be a finite number >= 0, not {noise_std!r}.")
    return float(noise_std)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.flags.writeable = False
    return array
