"""Sign descent on any Hessian by a Gaussian closure: the mean and covariance of the offset, step by step.

The approximation is that the offset e = theta - optimum is Gaussian before every step, N(m, S). The gradient g = H e +
noise is then Gaussian too, N(mu, V) with mu = H m and V = H S H + C, and for its sign s, with a_i = mu_i / sqrt(V_ii),

    E[s_i] = erf(a_i / sqrt 2),     Cov(e, s_i) = (S H)_i 2 phi(a_i) / sqrt(V_ii)     (Stein's identity; Price, 1958)

and E[s s^T] is given by Plackett's formula (:mod:`qpsim.theory.signs`). From them follow the exact mean and covariance
of e - step s, which is again taken as Gaussian. The error falls with the dimension, since e is a sum over many steps
and the loss, in a dense basis, a sum over many coordinates. Under heavy-tailed noise everything is averaged over the
scale.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qpsim.theory.signs import pair_moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]


class SignPath(NamedTuple):
    """The prediction of the closure for sign descent.

    Attributes
    ----------
    risk : ndarray, shape (n_steps + 1,)
        Expected excess loss.
    step_size : ndarray, shape (n_steps,)
        The given steps, or the greedy ones.
    mean, covariance : ndarray, shape (d,) and (d, d)
        Of the offset after the last step.
    """

    risk: Array
    step_size: Array
    mean: Array
    covariance: Array


def gaussian_sign_path(
    p: QuadraticProblem,
    offset: Array,
    steps: Array | None,
    n_steps: int,
    covariance: Array | None = None,
) -> SignPath:
    """Follow sign descent from an offset of this mean (d,) and covariance (d, d), none by default.

    Without steps (n_steps,) each step minimises the expected loss after it: E[e^T H s] / E[s^T H s], averaged over e. A
    simulated run with optimal steps has the step for its own e instead; in high dimension the two are close. Cost
    O(n_steps d^2) pairs of signs and O(n_steps d^3) products.
    """
    d = p.dim
    hessian = p.dense_hessian()
    noise = p.gradient_covariance()
    noise = np.diag(noise) if noise.ndim == 1 else noise
    nodes = [(float(b), float(w)) for b, w in zip(*p.noise.law.quadrature(), strict=True)]
    pairs = np.triu_indices(d, 1)
    m = np.array(offset)
    s = np.zeros((d, d)) if covariance is None else np.array(covariance)
    taken = np.zeros(n_steps)
    risk = np.empty(n_steps + 1)
    risk[0] = _loss(hessian, m, s)
    for t in range(n_steps):
        cross, signal = s @ hessian, hessian @ s @ hessian
        sign, slope, second = np.zeros(d), np.zeros(d), np.zeros((d, d))
        for b, weight in nodes:
            mean_b, slope_b, second_b = _sign_moments(hessian @ m, signal + (b * b) * noise, pairs)
            sign += weight * mean_b
            slope += weight * slope_b
            second += weight * second_b
        cross *= slope
        if steps is None:
            gain = float(m @ hessian @ sign + np.sum(hessian * cross))
            cost = float(np.sum(hessian * second))
            taken[t] = max(gain, 0.0) / cost if cost > 0.0 else 0.0
        else:
            taken[t] = steps[t]
        alpha = taken[t]
        s = s - alpha * (cross + cross.T) + alpha**2 * (second - np.outer(sign, sign))
        m = m - alpha * sign
        risk[t + 1] = _loss(hessian, m, s)
    return SignPath(risk, taken, m, s)


def _sign_moments(
    mean: Array, matrix: Array, pairs: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> tuple[Array, Array, Array]:
    """E[s], dE[s_i] / dmean_i and E[s s^T] of the signs of N(mean, matrix)."""
    from scipy.special import erf

    std = np.sqrt(np.maximum(np.diagonal(matrix), 0.0))
    noisy = std > 0.0
    unit = np.where(noisy, std, 1.0)
    a = mean / unit
    sign = np.where(noisy, erf(a * math.sqrt(0.5)), np.sign(mean))
    slope = np.where(noisy, math.sqrt(2.0 / math.pi) * np.exp(-0.5 * a * a) / unit, 0.0)
    i, j = pairs
    r = np.clip(matrix[i, j] / (unit[i] * unit[j]), -1.0, 1.0)
    second = np.empty(matrix.shape)
    second[i, j] = pair_moments(mean, std, i, j, np.where(noisy[i] & noisy[j], r, 0.0))
    second[j, i] = second[i, j]
    np.fill_diagonal(second, np.where(noisy, 1.0, np.square(np.sign(mean))))
    return sign, slope, second


def _loss(hessian: Array, m: Array, s: Array) -> float:
    return 0.5 * float(m @ hessian @ m + np.sum(hessian * s))
