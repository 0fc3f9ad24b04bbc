"""Gradient noise: six families of covariances, each Gaussian, Student t or Laplace.

A noise is made without a problem; its methods take the problem, and so the Hessian Q, as an argument. The noise of one
draw has the matrix ``C = level^2 U``, where U depends on the family; a minibatch of B draws has C / B. C is the
covariance of Gaussian and Laplace noise, and the scale matrix of Student's t, whose covariance is df / (df - 2) C.

| function | U | source |
|---|---|---|
| `data` | Q Q | data around the optimum: Balles & Hennig (2018), Section 2 |
| `hessian` | Q | the noisy quadratic model: Zhang et al. (2019) |
| `white` | I | |
| `diagonal` | diag(variance) | |
| `dense` | any covariance matrix | |
| `low_rank` | F F^T + diag(D) | |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError, nearest
from qpsim.problem.laws import GAUSSIAN, make_law
from qpsim.problem.matrices import (
    LARGEST,
    LARGEST_FACTOR,
    LARGEST_VARIANCE,
    check_noise,
    frozen,
    precision,
    real_array,
)
from qpsim.problem.noise_families import (
    FAMILIES,
    DataNoise,
    DenseNoise,
    DiagonalNoise,
    GivenNoise,
    HessianNoise,
    LowRankNoise,
    Noise,
    WhiteNoise,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = [
    "Noise",
    "data",
    "dense",
    "diagonal",
    "from_dict",
    "hessian",
    "low_rank",
    "register",
    "white",
]

# Tolerated rounding errors of a given covariance, relative to its largest entry.
_ROUNDING = 1e-10
_ROUNDING_ERRORS = 256


def data(std: float = 0.1, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise of data around the optimum: C = std^2 Q Q (Balles & Hennig, 2018, Section 2). The default of a problem.

    Parameters
    ----------
    std : float, default 0.1
        Standard deviation of the data, in units of theta.
    df : float, optional
        Student t with so many degrees of freedom; C is then its scale matrix, and df / (df - 2) C its covariance.
    law : {"gaussian", "laplace"}, optional

    Raises
    ------
    ProblemError
        A level that is not a finite number >= 0; df not above 0; an unknown law, or law and df together.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> p = qpsim.QuadraticProblem([1.0, 3.0], noise=noise.data(0.5, df=3))
    >>> p.noise, p.gradient_std().round(4)
    (noise.data(0.5, df=3), array([0.866 , 2.5981]))
    """
    return DataNoise(_level(std), make_law(df, law))


def hessian(std: float = 0.1, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise with C = std^2 Q, as in the noisy quadratic model (Zhang et al., 2019). Arguments and errors as `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> qpsim.QuadraticProblem([1.0, 4.0], noise=noise.hessian(1.0)).gradient_std()
    array([1., 2.])
    """
    return HessianNoise(_level(std), make_law(df, law))


def white(std: float = 0.1, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise with C = std^2 I, the same in all directions. Arguments and errors as `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> qpsim.QuadraticProblem([1.0, 4.0], noise=noise.white(0.5)).gradient_std()
    array([0.5, 0.5])
    """
    return WhiteNoise(_level(std), make_law(df, law))


def diagonal(variance: ArrayLike, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise whose coordinates have these variances and no correlation: C = diag(variance), variance of shape (d,).

    Raises
    ------
    ProblemError
        A variance that is negative or not finite; df and law as in `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> qpsim.QuadraticProblem([1.0, 4.0], noise=noise.diagonal([4.0, 0.0])).gradient_std()
    array([2., 0.])
    """
    values = real_array(variance, "The variance")
    if values.ndim != 1 or values.size == 0:
        raise ProblemError(f"The variance must be a vector (d,), not of shape {values.shape}.")
    if values.min() < 0.0:
        raise ProblemError(
            f"A variance must be at least 0, but the smallest is {values.min():.3g}."
        )
    check_noise(values, "The variance", LARGEST_VARIANCE)
    return DiagonalNoise(1.0, make_law(df, law), (frozen(values),))


def dense(covariance: ArrayLike, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise with any covariance (d, d), symmetric and positive semi-definite.

    Parameters
    ----------
    covariance : array_like, shape (d, d)
        C. With ``df`` it is the scale matrix of Student's t: the covariance is df / (df - 2) C.

    Raises
    ------
    ProblemError
        Not square, not finite, not symmetric, or with a negative eigenvalue, which is named; df and law as in `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> p = qpsim.QuadraticProblem([1.0, 4.0], noise=noise.dense([[1.0, 0.5], [0.5, 1.0]]))
    >>> p.gradient_correlation()
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    given = checks.array("The covariance", covariance, ProblemError)
    matrix = real_array(given, "The covariance")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ProblemError(
            f"The covariance must be a square matrix (d, d), not of shape {matrix.shape}."
        )
    check_noise(matrix, "The covariance", LARGEST_VARIANCE)
    size = float(np.abs(matrix).max())
    asymmetry = float(np.abs(matrix - matrix.T).max())
    # Single precision leaves about as many of its rounding errors as there are rows.
    rounding = max(_ROUNDING, max(_ROUNDING_ERRORS, matrix.shape[0]) * precision(given))
    if asymmetry > rounding * size:
        raise ProblemError(
            f"The covariance must be symmetric, but entries differ from their mirror images by up to {asymmetry:.3g}."
        )
    matrix = 0.5 * (matrix + matrix.T)
    smallest = float(np.linalg.eigvalsh(matrix).min())
    if smallest < -rounding * size:
        raise ProblemError(
            f"The covariance must be positive semi-definite, but its smallest eigenvalue is {smallest:.3g}."
        )
    if np.count_nonzero(matrix) == np.count_nonzero(np.diagonal(matrix)):
        return diagonal(np.maximum(np.diagonal(matrix), 0.0), df=df, law=law)
    return DenseNoise(1.0, make_law(df, law), (frozen(matrix),))


def low_rank(
    factor: ArrayLike,
    diagonal: ArrayLike | None = None,
    *,
    df: float | None = None,
    law: str | None = None,
) -> Noise:
    """Noise with C = F F^T + diag(D), which on a diagonal Hessian never becomes a (d, d) matrix.

    Parameters
    ----------
    factor : array_like, shape (d, k)
        F.
    diagonal : array_like, shape (d,), optional
        D >= 0, variances of the coordinates' own noise; zeros by default.

    Raises
    ------
    ProblemError
        Wrong shapes, numbers that are not finite, a negative D; df and law as in `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> p = qpsim.QuadraticProblem([1.0, 4.0], noise=noise.low_rank([[3.0], [4.0]], [0.0, 9.0]))
    >>> p.gradient_std()
    array([3., 5.])
    """
    matrix = real_array(factor, "The factor")
    if matrix.ndim != 2 or matrix.size == 0:
        raise ProblemError(f"The factor must be a matrix (d, k), not of shape {matrix.shape}.")
    own = np.zeros(matrix.shape[0]) if diagonal is None else real_array(diagonal, "The diagonal")
    if own.shape != (matrix.shape[0],):
        raise ProblemError(
            f"The diagonal must have shape ({matrix.shape[0]},) like the factor's rows, not {own.shape}."
        )
    if own.min() < 0.0:
        raise ProblemError(
            f"The diagonal must be at least 0, but its smallest entry is {own.min():.3g}."
        )
    check_noise(matrix, "The factor", LARGEST_FACTOR)
    check_noise(own, "The diagonal", LARGEST_VARIANCE)
    return LowRankNoise(1.0, make_law(df, law), (frozen(np.ascontiguousarray(matrix)), frozen(own)))


def registered(
    family: str, *arguments: ArrayLike, df: float | None = None, law: str | None = None
) -> Noise:
    """Noise of a class that was given to :func:`register`, by its name, as an experiment file names it.

    Parameters
    ----------
    family : str
        The class's ``family``.
    *arguments : array_like
        The level of C = level^2 U; for a class of ``GivenNoise`` the arrays that its ``names`` ask for, in this order.
    df, law : optional
        As in `data`.

    Raises
    ------
    ProblemError
        No such class, another number of arrays, or one that is empty or not finite; level, df and law as in `data`.
    """
    if family not in FAMILIES:
        raise ProblemError(f"Unknown noise {family!r}; {nearest(family, FAMILIES)}")
    chosen, made_law = FAMILIES[family], make_law(df, law)
    wanted = chosen.names if issubclass(chosen, GivenNoise) else ("std",)
    if len(arguments) != len(wanted):
        raise ProblemError(
            f"Noise of the family {family!r} needs {', '.join(wanted)}, not {len(arguments)} arguments."
        )
    if not issubclass(chosen, GivenNoise):
        return chosen(_level(arguments[0]), made_law)
    arrays = [
        frozen(real_array(given, f"The {name}"))
        for name, given in zip(wanted, arguments, strict=True)
    ]
    return chosen(1.0, made_law, tuple(arrays))


def from_dict(description: dict[str, Any], arrays: dict[str, Array] | None = None) -> Noise:
    """The noise that :meth:`Noise.to_dict` and :meth:`Noise.arrays` describe.

    Raises
    ------
    ProblemError
        The description is not that of a noise.
    """
    if not isinstance(description, Mapping):
        raise ProblemError(f"A description of a noise is a dict, not {checks.shown(description)}.")
    if not isinstance(arrays, Mapping | None):
        raise ProblemError(f"Its arrays are a dict, or None, not {checks.shown(arrays)}.")
    try:
        name = description["family"]
        if not isinstance(name, str) or name not in FAMILIES:
            raise ProblemError(
                f"The noise is of family {checks.shown(name)}, which is none of qpsim's; "
                "give its class to qpsim.noise.register first."
            )
        family = FAMILIES[name]
        law = description.get("law", "gaussian")
        is_student = isinstance(law, str) and law == "student"
        keywords = {"df": description.get("df")} if is_student else {"law": law}
        if issubclass(family, GivenNoise):
            given = [(arrays or {})[name] for name in family.names]
            checked = {"diagonal": diagonal, "dense": dense, "low_rank": low_rank}.get(name)
            made: Noise = (
                family(1.0, make_law(**keywords), tuple(given))
                if checked is None
                else checked(*given, **keywords)
            )
        else:
            made = family(0.0, make_law(**keywords))
        # The mean of a minibatch of heavy-tailed draws has another law than one draw.
        batch = checks.count("batch_size", description.get("batch_size", 1), ProblemError)
        return replace(made, level=_level(description["level"]), law=made.law.mean_of(batch))
    except (KeyError, TypeError) as error:
        raise ProblemError(f"This is no description of a noise ({error}).") from None


def register(family: type[Noise]) -> type[Noise]:
    """Register a class of noise of your own by its name, so that files can name it: saved results and experiments.

    The class derives from `Noise` and defines ``family``, its name, and the four functions unit_variances,
    unit_covariance, unit_eigen_std and unit_factor of a problem. One that holds arrays derives from ``GivenNoise`` of
    ``qpsim.problem.noise_families``, whose ``names`` and ``values`` are saved too.

    Returns
    -------
    type
        The class, so that this function can be used as a decorator.

    Raises
    ------
    ProblemError
        Not a class of noise, without a name, or of a name that another class has.

    Examples
    --------
    >>> import numpy as np
    >>> import qpsim
    >>> from qpsim import noise
    >>> from qpsim.problem.laws import GAUSSIAN
    >>> @noise.register
    ... class SteepDirections(noise.Noise):
    ...     family = "steep"
    ...     def unit_variances(self, q):
    ...         return np.diagonal(self.unit_covariance(q)).copy()
    ...     def unit_covariance(self, q):
    ...         return q.hessian @ q.hessian @ q.hessian
    ...     def unit_eigen_std(self, q):
    ...         return q.eigenvalues**1.5
    ...     def unit_factor(self, q):
    ...         return q.eigenvectors * q.eigenvalues**1.5
    >>> qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 2.0]], noise=SteepDirections(0.5, GAUSSIAN)).noise
    noise.steep(0.5)
    """
    if not (isinstance(family, type) and issubclass(family, Noise)):
        raise ProblemError(
            f"A class of noise derives from qpsim.noise.Noise, unlike {checks.shown(family)}."
        )
    if not family.family:
        raise ProblemError(f"{family.__name__} has no name; set its attribute family.")
    known = FAMILIES.setdefault(family.family, family)
    # The same class defined again, as in a notebook, replaces the former one.
    if (known.__module__, known.__qualname__) != (family.__module__, family.__qualname__):
        raise ProblemError(
            f"There is a noise of family {family.family!r} already; give yours another name."
        )
    FAMILIES[family.family] = family
    return family


def default(noise_std: float) -> Noise:
    """The noise of ``QuadraticProblem(hessian, noise_std=...)``: Gaussian, C = noise_std^2 Q Q."""
    return DataNoise(_level(noise_std), GAUSSIAN)


def _level(std: Any) -> float:
    return checks.number("The noise level", std, ProblemError, f"[0, {LARGEST:g}]")
