"""Variance adaptation factors and the momentum correction (Section 3, Lemma 1, C.1, C.3).

The optimal factor gamma on an unbiased estimate (or on its sign) minimises the expected squared distance to the exact
gradient (or to its sign). Moving averages estimate the relative variance that the factor needs, with the bias and the
correction given here (Section 3.4, C.1, C.3).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import TheoryError
from qpsim.theory import arguments as check

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

KINDS = ("gradient", "sign", "adam")


@check.quiet
def variance_adaptation_factor(relative_variance: ArrayLike, kind: str) -> Any:
    """Variance adaptation factor gamma as a function of eta^2 = sigma^2 / grad^2.

    Parameters
    ----------
    relative_variance : array_like
        eta^2 in [0, inf], any shape. 0 gives the factor 1, infinity (a gradient of 0) gives 0.
    kind : {"gradient", "sign", "adam"}
        "gradient": 1 / (1 + eta^2), optimal for the gradient (Lemma 1, Eq. 14 and 16). "sign":
        2 rho - 1 = erf(1 / (sqrt(2) eta)), optimal for its sign (Lemma 1, Eq. 15, Gaussian).
        "adam": 1 / sqrt(1 + eta^2), what Adam does (Eq. 6).

    Raises
    ------
    TheoryError
        NaN or negative relative variance, or an unknown kind.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.variance_adaptation_factor([0.0, 0.25, float("inf")], "gradient")
    array([1. , 0.8, 0. ])
    >>> theory.variance_adaptation_factor(1.0, "sign")
    0.6826894921370859
    """
    eta2 = check.nonnegative(relative_variance, "The relative variance")
    checks.choice("kind of factor", kind, KINDS, TheoryError)
    if kind == "gradient":
        factor = 1.0 / (1.0 + eta2)
    elif kind == "adam":
        factor = 1.0 / np.sqrt(1.0 + eta2)
    else:
        from scipy.special import erf

        # Two roots, since 2 eta^2 may overflow.
        factor = erf(math.sqrt(0.5) / np.sqrt(eta2))
    return check.scalar_or_array(factor)


@check.quiet
def adaptation_gap(relative_variance: ArrayLike) -> Any:
    """Adam's factor minus the optimal one for signs (Fig. 5): 1/sqrt(1 + eta^2) - erf(...).

    Largest at eta = 1.913, where it is 0.0644; negative below eta = 0.842, down to -0.0618 at eta = 0.454. For eta to
    infinity both factors go to 0 like 1/eta, with the ratio sqrt(pi/2) = 1.2533: the difference is small, but a quarter
    of the factor.

    Parameters and errors as :func:`variance_adaptation_factor`.

    Examples
    --------
    >>> from qpsim import theory
    >>> f"{theory.adaptation_gap(1.913**2):.4f}"
    '0.0644'
    """
    from scipy.special import erf, erfc

    eta2 = check.nonnegative(relative_variance, "The relative variance")
    root, ratio = np.sqrt(1.0 + eta2), math.sqrt(0.5) / np.sqrt(eta2)
    # For small eta both factors are close to 1; their distances to 1 are subtracted, to avoid cancellation.
    near = erfc(ratio) - eta2 / (root * (1.0 + root))
    gap = np.where(eta2 < 1.0, near, 1.0 / root - erf(ratio))
    return check.scalar_or_array(gap)


@check.quiet
def expected_squared_distance(
    factor: ArrayLike, mean: ArrayLike, std: ArrayLike, kind: str = "gradient"
) -> Any:
    """The quantity that Lemma 1 minimises: the expected squared distance of an adapted estimate to its target.

    Parameters
    ----------
    factor : array_like
        gamma, per coordinate.
    mean, std : array_like
        p and sigma of the estimate, per coordinate; Gaussian for kind "sign".
    kind : {"gradient", "sign"}
        "gradient": E[||gamma p^ - p||^2] = sum gamma^2 (p^2 + sigma^2) - 2 gamma p^2 + p^2 (Eq. 27). "sign": E[||gamma
        sign(p^) - sign(p)||^2] = sum gamma^2 - 2 gamma (2 rho - 1) + 1 (Eq. 29, which prints one coordinate of the
        sum). At p = 0 the target sign may be +1 or -1, as in footnote 3.

    Returns
    -------
    float or ndarray
        Sum over the last axis of the broadcast arguments; no axis for scalars.

    Raises
    ------
    TheoryError
        NaN or infinite arguments, a negative deviation, shapes that do not broadcast, or another
        kind.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.expected_squared_distance([0.75, 0.5], [2.0, 1.0], [1.0, 1.0])
    1.3125
    """
    checks.choice("kind of distance", kind, ("gradient", "sign"), TheoryError)
    gamma, p, sigma = check.together(
        factor=check.finite(factor, "The factor"),
        mean=check.finite(mean, "The mean"),
        std=check.deviations(std),
    )
    # Both sums are written without cancellation; squares may overflow to infinity.
    if kind == "gradient":
        terms = (gamma * sigma) ** 2 + ((gamma - 1.0) * p) ** 2
    else:
        terms = (gamma - 1.0) ** 2 + 4.0 * gamma * _wrong_sign(p, sigma)
    return check.scalar_or_array(terms.sum(axis=-1) if terms.ndim else terms)


@check.quiet
def momentum_correction(mu: ArrayLike, t: ArrayLike) -> Any:
    """kappa(mu, t) of Eq. 19: the variance of an average of gradients, in units of one gradient's.

    kappa = (1 - mu) (1 + mu^t) / ((1 + mu) (1 - mu^t)) = sum_s c_s^2 with the weights
    c_s = (1 - mu) mu^s / (1 - mu^t), s = 0, ..., t - 1, of a bias-corrected moving average.

    Parameters
    ----------
    mu : array_like
        Momentum constant in [0, 1).
    t : array_like
        Steps taken, whole numbers >= 1; infinity gives the limit (1 - mu) / (1 + mu). kappa is 1
        at t = 1 and falls in t.

    Raises
    ------
    TheoryError
        mu outside [0, 1), t below 1 or not whole, NaN, or shapes that do not broadcast.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.momentum_correction(0.5, [1, 2, float("inf")])
    array([1.        , 0.55555556, 0.33333333])
    """
    m, steps = check.together(mu=check.momentum(mu), t=check.steps_taken(t))
    complement = _one_minus_power(m, steps)
    return check.scalar_or_array((1.0 - m) * (2.0 - complement) / ((1.0 + m) * complement))


@check.quiet
def variance_estimate_factor(mu: ArrayLike, t: ArrayLike) -> Any:
    """1 - kappa(mu, t): the factor by which v - m^2 misses the gradient's variance (C.1).

    E[v_t - m_t^2] = (1 - kappa) sigma^2 exactly for independent gradients of equal mean and variance: 0 at t = 1, since
    one gradient contains no information on the variance, and 2 mu / (1 + mu) in the limit. The paper notes the bias and
    ignores it.

    Parameters and errors as :func:`momentum_correction`.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.variance_estimate_factor(0.9, [1, 2, float("inf")])
    array([0.        , 0.49861496, 0.94736842])
    """
    m, steps = check.together(mu=check.momentum(mu), t=check.steps_taken(t))
    # This is 1 - kappa, written without cancellation.
    lost = 2.0 * m * _one_minus_power(m, steps - 1.0)
    return check.scalar_or_array(lost / ((1.0 + m) * _one_minus_power(m, steps)))


@check.quiet
def minibatch_variance(gradients: ArrayLike) -> Any:
    """Variance of a minibatch's mean gradient, estimated within it (Eq. 44, as it should read).

    s^ = ((1/B) sum_k g_k^2 - g^2) / (B - 1) with the mean g of B gradients: the sample variance
    over B, unbiased. (The paper prints (1/B) (1/(B-1) sum_k g_k^2 - g^2), which is not.)

    Parameters
    ----------
    gradients : array_like, shape (..., B, d)
        Gradients of the B examples of a minibatch, B >= 2.

    Returns
    -------
    ndarray, shape (..., d)

    Raises
    ------
    TheoryError
        NaN or infinite entries, fewer than two axes, or fewer than two examples.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.minibatch_variance([[1.0, 0.0], [3.0, 0.0]])
    array([1., 0.])
    """
    g = check.finite(gradients, "The gradients")
    if g.ndim < 2 or g.shape[-2] < 2:
        raise TheoryError(
            "Gradients have shape (..., B, d) with at least B = 2 examples, one of which alone "
            f"tells nothing of its variance; not {g.shape}."
        )
    size = g.shape[-2]
    # The mean square about the mean, which has no cancellation.
    return np.mean((g - g.mean(axis=-2, keepdims=True)) ** 2, axis=-2) / (size - 1)


def _wrong_sign(mean: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - rho, the probability that the sign of N(mean, std^2) is not the mean's; 1/2 at mean 0."""
    from scipy.special import ndtr

    ratio = np.where(mean == 0.0, 0.0, np.abs(mean) / std)
    return ndtr(-ratio)


def _one_minus_power(m: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - m^n for n >= 0, without cancellation for m near 1; 0^0 = 1."""
    exponent = np.where(n == 0, 0.0, n * np.log(m))
    # 0.0 - x and not -x, so that the result may be 0.0 but not -0.0.
    return 0.0 - np.expm1(exponent)
