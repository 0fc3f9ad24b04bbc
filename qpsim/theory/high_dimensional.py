"""Risk curves of SGD and sign descent in high dimension, as deterministic recursions.

In high dimension the risk of a single run is close to a deterministic curve: see Xiao et al. (2024), "Exact Risk Curves
of signSGD in High-Dimensions", for the sign, and Collins-Woodfin et al. (2023), "Hitting the High-Dimensional Notes",
for SGD, both on least squares. The curve obeys a recursion of d numbers, derived here from the one-step moments at
batch size 1, and in the same way for sign descent on a quadratic problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError, ProblemError
from qpsim.methods import Method, plain
from qpsim.methods import method as method_of
from qpsim.problem.interface import has_additive_noise
from qpsim.theory import arguments as check

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qpsim.problem.quadratic import QuadraticProblem
    from qpsim.theory.arguments import Schedule

    Array = NDArray[np.float64]


@check.quiet
def high_dimensional_risk(
    problem: Any,
    method: str | Method,
    theta0: ArrayLike,
    step_size: Schedule,
    n_steps: int,
) -> Array:
    """Excess loss after 0, 1, ..., n_steps steps, with an error that goes to 0 as d grows.

    Parameters
    ----------
    problem : LeastSquares or QuadraticProblem
        Least squares with batch size 1; K is its covariance and s the standard deviation of its labels. Or, for ssd, a
        quadratic problem with noise in every coordinate.
    method : {"sgd", "ssd"} or such a Method
    theta0 : array_like, shape (d,)
        Starting point.
    step_size : float, array of n_steps, or callable t -> float (t = 1, 2, ...)
        Finite and >= 0. In the setting of the theorems it is a constant over d, and n_steps a multiple of d.
    n_steps : int

    Returns
    -------
    risk : ndarray, shape (n_steps + 1,)
        Infinite from where a divergent run leaves the floating-point range.

    Raises
    ------
    ProblemError
        Another kind of problem, a batch size above 1, a covariance with a zero on its diagonal for ssd, a coordinate
        without noise, or a theta0 that is not (d,).
    MethodError
        Another method; sgd on a quadratic problem, whose exact risk is :func:`expected_excess_loss`.
    StepSizeError
        A step size that is negative, not finite or not one a step.
    TheoryError
        n_steps below 1.

    Notes
    -----
    Let e = theta - optimum, h = K e, v = e^T K e + s^2, D = diag(K)^(1/2) and S = E[e e^T].

    Sign descent: E[s_i] = (2/pi) asin(h_i / sqrt(K_ii v)) is close to (2/pi) h_i / sqrt(K_ii v), because the argument
    is of the size d^(-1/2), and v is close to its mean. The second moment E[s s^T] = C, with
    C_ij = (2/pi) asin(K_ij / sqrt(K_ii K_jj)), is exact. With M = D^(1/2) S D^(1/2) and A = D^(-1/2) K D^(-1/2),

        M <- M - (2/pi) (step / sqrt(v)) (A M + M A) + step^2 D^(1/2) C D^(1/2),   v = tr(A M) + s^2,

    whose diagonal in the eigenbasis of A is closed. M stays positive semi-definite, as C is at least (2/pi) times the
    correlation matrix, so that the risk tr(A M) / 2 is never negative.

    SGD: the exact recursion of :func:`expected_excess_loss` without its term K S K, which is 1/d of the others.

    Quadratic problems, ssd: with D = diag(C)^(1/2) of the noise's matrix C and c = sqrt(2/pi), E[s] is close to
    c g / (D sqrt(1 + q)), where q = tr(D^(-1) H S H D^(-1)) / d is the mean square of g_i / D_i. As for a Gaussian that
    a nonlinearity distorts (Bussgang, 1952), the sign is that part and a rest uncorrelated with it. With
    A = D^(-1/2) H D^(-1/2), R the correlation of C and a_k, u_k, m_k eigenvalues, vectors and u_k^T M u_k,

        m_k <- (1 - step c a_k / sqrt(1 + q))^2 m_k + step^2 c^2 u_k^T D^(1/2) (asin(R) - R + R / (1 + q)) D^(1/2) u_k.

    It needs gradients smaller than their noise in most coordinates (q below 1). Larger gradients keep their signs for
    many steps, so that the nonlinear rest is correlated between steps, and the closure of ``expected_excess_loss(...,
    law="closure")`` is much more accurate. With heavy tails all terms are averaged over the noise's scale.

    Cost O(d^3 + d n_steps).

    Examples
    --------
    >>> import numpy as np, qpsim
    >>> p = qpsim.LeastSquares(np.ones(100), label_noise_std=0.5)
    >>> risk = qpsim.theory.high_dimensional_risk(p, "ssd", np.full(100, 0.1), step_size=0.005, n_steps=400)
    >>> risk[[0, 100, 400]].round(4)
    array([0.5   , 0.3657, 0.1858])
    >>> p = qpsim.QuadraticProblem(np.linspace(0.1, 1.1, 100), noise=qpsim.noise.white(1.0))
    >>> risk = qpsim.theory.high_dimensional_risk(p, "ssd", np.full(100, 0.2), step_size=0.005, n_steps=400)
    >>> risk[[0, 100, 400]].round(4)
    array([1.2  , 0.737, 0.284])
    """
    chosen = method_of(method)
    if has_additive_noise(problem):
        if chosen.rule is not plain.ssd:
            raise MethodError(
                f"The high-dimensional risk on a quadratic problem is that of ssd, not of {chosen.name}; "
                "see theory.expected_excess_loss."
            )
        n = check.count(n_steps, "n_steps")
        start = check.point(problem, theta0)
        if start.ndim != 1:
            raise ProblemError(f"theta0 must have shape ({problem.dim},), not {start.shape}.")
        steps = check.schedule(step_size, n)
        return _sign_descent_on_quadratic(problem, start - problem.optimum, steps)
    if getattr(problem, "kind", None) != "least-squares":
        raise ProblemError(
            "High-dimensional risk curves are those of a LeastSquares problem or a QuadraticProblem, not of "
            f"{type(problem).__name__}."
        )
    if problem.batch_size != 1:
        raise ProblemError(
            f"High-dimensional risk curves are known for batch size 1, not for {problem.batch_size}."
        )
    if chosen.rule not in (plain.sgd, plain.ssd):
        raise MethodError(
            f"High-dimensional risk curves are known for sgd and ssd, not for {chosen.name}; simulate it."
        )
    n = check.count(n_steps, "n_steps")
    start = check.finite(theta0, "theta0")
    if start.shape != (problem.dim,):
        raise ProblemError(f"theta0 must have shape ({problem.dim},), not {start.shape}.")
    steps = check.schedule(step_size, n)
    error = start - problem.optimum
    if chosen.rule is plain.sgd:
        return _sgd(problem, error, steps)
    return _sign_descent(problem, error, steps)


def _sgd(problem: Any, error: Array, steps: Array) -> Array:
    """``S <- (I - a K) S (I - a K) + a^2 v K`` on the diagonal in K's eigenbasis."""
    k = problem.eigenvalues

    def step(square: Array, a: float, v: float) -> Array:
        return (1.0 - a * k) ** 2 * square + a * a * v * k

    return _curve((error @ problem.eigenvectors) ** 2, k, problem.label_noise_std, steps, step)


def _sign_descent(problem: Any, error: Array, steps: Array) -> Array:
    covariance = problem.covariance
    std = np.sqrt(np.diag(covariance))
    if not (std > 0.0).all():
        raise ProblemError(
            "The high-dimensional risk of ssd needs a covariance with a positive diagonal, but entry "
            f"{int(np.argmin(std))} is 0: there the sign's mean has no scale."
        )
    root = np.sqrt(std)
    correlation = np.clip(covariance / np.outer(std, std), -1.0, 1.0)
    # Exactly 1: asin has an infinite slope at 1 and would turn a rounding error into 1e-8.
    np.fill_diagonal(correlation, 1.0)
    # A = D^(-1/2) K D^(-1/2) = D^(1/2) (correlation) D^(1/2).
    scaled = np.outer(root, root)
    a, vectors = np.linalg.eigh(scaled * correlation)
    a = np.maximum(a, 0.0)
    second = scaled * (2.0 / np.pi * np.arcsin(correlation))
    kick = np.einsum("ik,ij,jk->k", vectors, second, vectors, optimize=True)

    def step(square: Array, length: float, v: float) -> Array:
        # At v = 0 the run is at the optimum of noise-free labels, where the gradient and its sign are 0.
        if v <= 0.0:
            return square
        return square - 4.0 / np.pi * length / np.sqrt(v) * a * square + length * length * kick

    return _curve(((root * error) @ vectors) ** 2, a, problem.label_noise_std, steps, step)


def _sign_descent_on_quadratic(p: QuadraticProblem, error: Array, steps: Array) -> Array:
    std = p.gradient_scale()
    if not (std > 0.0).all():
        raise ProblemError(
            "The high-dimensional risk of ssd needs noise in every coordinate's gradient, but entry "
            f"{int(np.argmin(std))} has none: there the sign's mean has no scale."
        )
    root = np.sqrt(std)
    hessian = p.dense_hessian()
    correlation = np.eye(p.dim) if p.coordinates_are_independent else p.gradient_correlation()
    scaled = np.outer(root, root)
    a, vectors = np.linalg.eigh(hessian / scaled)
    a = np.maximum(a, 0.0)

    def along(matrix: Array) -> Array:
        return np.einsum("ik,ij,jk->k", vectors, matrix, vectors, optimize=True)

    bounded = np.clip(correlation, -1.0, 1.0)
    np.fill_diagonal(bounded, 1.0)
    kick = 2.0 / np.pi * along(scaled * bounded)
    rest = 2.0 / np.pi * along(scaled * (np.arcsin(bounded) - bounded))
    # D^(-1) A M A in the eigenbasis; its trace divided by d is the mean square of the scaled gradient.
    weight = a * a * along(np.diag(1.0 / std)) / p.dim
    squares, shares = p.noise.law.quadrature()[0] ** 2, p.noise.law.quadrature()[1]

    def step(square: Array, length: float, _: float) -> Array:
        q = float(weight @ square)
        slope = np.sqrt(2.0 / np.pi) * float(shares @ (1.0 / np.sqrt(squares + q)))
        steep = 2.0 / np.pi * float(shares @ (1.0 / (squares + q)))
        noise = float(shares @ (squares / (squares + q)))
        kept = 1.0 - 2.0 * length * slope * a + length * length * steep * a * a
        return kept * square + length * length * (rest + noise * kick)

    return _curve(((root * error) @ vectors) ** 2, a, 0.0, steps, step)


def _curve(square: Array, weight: Array, label_std: float, steps: Array, step: Any) -> Array:
    """0.5 weight^T square along a recursion of the squares; infinite from where it overflows."""
    risk = np.full(steps.size + 1, np.inf)
    risk[0] = 0.5 * weight @ square
    for t, length in enumerate(steps.tolist(), start=1):
        square = step(square, length, float(weight @ square) + label_std**2)
        value = 0.5 * float(weight @ square)
        if not np.isfinite(value):
            break
        risk[t] = value
    return risk
