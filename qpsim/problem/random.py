"""Random problems: a spectrum, an eigenbasis and an optimum, each drawn from its own random stream.

The spectra and the rotation of Section 2.2, the rotations between the identity and it, and spectra
of a given condition number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError, nearest
from qpsim.execution.blas import one_blas_thread
from qpsim.problem.quadratic import LARGEST, QuadraticProblem, real_array
from qpsim.seeds import seed_sequence

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SPECTRA = ("mild", "structured", "log-uniform", "power-law")
CONDITIONED = ("log-uniform", "power-law")
DEFAULT_CONDITION = 100.0
BASES = ("axis", "haar")


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
    scale = checks.number("The scale of the optimum", scale, ProblemError, f"[0, {LARGEST:g}]")
    tau = _fraction(basis)
    # The partial rotation calls SciPy's BLAS.
    with one_blas_thread(load_scipy=tau not in (0.0, 1.0)):
        rotation = _partial_rotation(d, tau, generators[1])
    optimum = generators[2].uniform(-scale, scale, d)
    if rotation is None:
        return QuadraticProblem(eigenvalues, optimum, noise_std)
    return QuadraticProblem.from_eigenbasis(eigenvalues, rotation, optimum, noise_std)


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
    dim = checks.count("dim", dim, ProblemError)
    if spectrum in CONDITIONED:
        return _conditioned(spectrum, dim, condition, generator)
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
    kappa = DEFAULT_CONDITION if condition is None else condition
    kappa = checks.number("A condition number", kappa, ProblemError, "[1, 1e15]")
    if dim == 1:
        return np.ones(1)
    if spectrum == "power-law":
        # k^-a with d^-a = 1 / kappa.
        exponents = np.log(np.arange(1, dim + 1)) / math.log(dim)
    else:
        exponents = generator.random(dim)
        exponents = (exponents - exponents.min()) / (exponents.max() - exponents.min())
    return kappa**-exponents


def _fraction(basis: str | float) -> float:
    if isinstance(basis, str):
        if basis not in BASES:
            raise ProblemError(
                f"Unknown basis {basis!r}, and no number in [0, 1]; {nearest(basis, BASES)}"
            )
        return float(BASES.index(basis))
    return checks.number("A basis other than 'axis' and 'haar'", basis, ProblemError, "[0, 1]")


def _haar_rotation(dim: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """A rotation uniform on SO(d): Q of a Gaussian matrix' QR decomposition with diag R > 0.

    Mezzadri, "How to Generate Random Matrices from the Classical Compact Groups" (2007). Written
    out because ``scipy.stats`` takes longer to import than to draw Figure 2's problems.
    """
    q, r = np.linalg.qr(generator.normal(size=(dim, dim)))
    q = q * np.sign(np.diagonal(r))
    q[0] *= np.linalg.slogdet(q).sign
    return q


def _partial_rotation(
    dim: int, tau: float, generator: np.random.Generator
) -> NDArray[np.float64] | None:
    """R^tau for a Haar rotation R: its real Schur blocks' angles times tau."""
    if tau == 0.0 or dim == 1:
        return None
    rotation = _haar_rotation(dim, generator)
    if tau == 1.0:
        return rotation
    from scipy.linalg import schur

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
