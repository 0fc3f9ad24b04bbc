"""Sections 3.3, 3.4, C.1 to C.3: moving averages, momentum, and variances estimated from gradients."""

from __future__ import annotations

from itertools import product

import numpy as np

import qpsim
from qpsim import theory
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

MEAN, STD = 0.7, 1.3
AGES = ((0.5, 1), (0.5, 2), (0.5, 6), (0.9, 2), (0.9, 5), (0.9, 20))
_LIMIT = ((0.5, 60), (0.8, 150))
# Gradients that change from step to step, as the momentum sum sees them; newest last.
_PATH = np.array([2.0, 1.5, 1.2, 0.6, -0.3])
_SPREAD = np.array([1.0, 0.5, 1.5, 0.8, 1.2])
_MU, _BATCH = 0.8, 4


def _averages(draw: Draw, mu: float, t: int) -> tuple[Array, Array]:
    """Bias-corrected m_t and v_t of independent gradients, by the recursions of Eq. 3 and 4."""
    m = v = np.zeros(draw.n)
    for _ in range(t):
        g = MEAN + STD * draw.rng.standard_normal(draw.n)
        m = mu * m + (1.0 - mu) * g
        v = mu * v + (1.0 - mu) * g**2
    return m / (1.0 - mu**t), v / (1.0 - mu**t)


def _moments(draw: Draw) -> Array:
    return columns(*(x for mu, t in AGES for x in _averages(draw, mu, t)))


def _spreads(draw: Draw, ages: tuple[tuple[float, int], ...]) -> Array:
    """var[m_t] / sigma^2: the squared deviation of a drawn average from its known mean."""
    return columns(*(((_averages(draw, mu, t)[0] - MEAN) / STD) ** 2 for mu, t in ages))


def _estimates(draw: Draw, ages: tuple[tuple[float, int], ...], corrected: bool) -> Array:
    found = []
    for mu, t in ages:
        m, v = _averages(draw, mu, t)
        found.append((v - m**2) / (theory.variance_estimate_factor(mu, t) if corrected else 1.0))
    return columns(*found)


def _momentum_sums(draw: Draw) -> Array:
    """r_t of the m-sgd rule fed with gradients of changing mean and variance."""
    moving = qpsim.method("m-sgd", momentum=_MU)
    state = moving.initial_state(draw.n)
    r = np.zeros(draw.n)
    for mean, std in zip(_PATH, _SPREAD, strict=True):
        r, state = moving.update(mean + std * draw.rng.standard_normal(draw.n), state)
    return columns(r, (r - _sum_moments()[0]) ** 2)


def _sum_moments() -> Array:
    weights = _MU ** np.arange(_PATH.size)[::-1]
    return np.array([weights @ _PATH, weights**2 @ _SPREAD**2])


def _stationary_sums(draw: Draw) -> Array:
    """(r_t - E[r_t])^2 / E[r_t]^2 for gradients of one mean and variance."""
    found = []
    for mu, t in AGES:
        r = np.zeros(draw.n)
        for _ in range(t):
            r = mu * r + MEAN + STD * draw.rng.standard_normal(draw.n)
        mean = MEAN * sum(mu**s for s in range(t))
        found.append((r / mean - 1.0) ** 2)
    return columns(*found)


def _batch(draw: Draw, mean: float, std: float) -> Array:
    """Gradients of one minibatch's examples, shape (n, B, 1)."""
    return mean + std * draw.rng.standard_normal((draw.n, _BATCH, 1))


def _batch_estimates(draw: Draw) -> Array:
    return columns(
        *(
            theory.minibatch_variance(_batch(draw, mean, std))[:, 0]
            for mean, std in zip(_PATH, _SPREAD, strict=True)
        )
    )


def _batch_means(draw: Draw) -> Array:
    g = _batch(draw, MEAN, STD).mean(axis=(1, 2))
    return (g[:, None] - MEAN) ** 2


def _aggregated(draw: Draw) -> Array:
    """sbar_t of Eq. 48, and the squared deviation of the momentum sum that it estimates."""
    r = sbar = np.zeros(draw.n)
    for mean, std in zip(_PATH, _SPREAD, strict=True):
        g = _batch(draw, mean, std)
        sbar = _MU**2 * sbar + theory.minibatch_variance(g)[:, 0]
        r = _MU * r + g.mean(axis=(1, 2))
    return columns(sbar, (r - _sum_moments()[0]) ** 2)


def _weights(mu: float, t: int) -> Array:
    """What each of t gradients contributes to m_t: the answers of Eq. 3 to single gradients of 1."""
    answers = []
    for k in range(t):
        m = 0.0
        for s in range(t):
            m = mu * m + (1.0 - mu) * float(s == k)
        answers.append(m / (1.0 - mu**t))
    return np.array(answers)


def _kappa_claimed() -> Array:
    kappas = [theory.momentum_correction(mu, t) for mu, t in AGES]
    limits = [theory.momentum_correction(mu, np.inf) for mu, _ in _LIMIT]
    biases = [theory.variance_estimate_factor(mu, t) for mu, t in AGES]
    return np.array(kappas + limits + biases)


def _kappa_summed() -> Array:
    """Variances by the weights of independent gradients; E[v - m^2] of gradients of variance 1 likewise."""
    variances = [np.sum(_weights(mu, t) ** 2) for mu, t in AGES]
    # So long a past that mu^t is below the rounding of 1.
    limits = [np.sum(_weights(mu, 200) ** 2) for mu, _ in _LIMIT]
    biases = [
        np.sum(_weights(mu, t) * (1.0 + MEAN**2)) - np.sum(_weights(mu, t) ** 2) - MEAN**2
        for mu, t in AGES
    ]
    return np.array(variances + limits + biases)


# A law of three values, so that all minibatches can be listed.
_VALUES, _SHARES = np.array([-1.0, 0.5, 4.0]), np.array([0.5, 0.3, 0.2])


def _batches_claimed() -> Array:
    """E[s^] over all minibatches, with the formula of Eq. 44."""
    batches = np.array(list(product(range(3), repeat=_BATCH)))
    estimates = theory.minibatch_variance(_VALUES[batches][..., None])[:, 0]
    return np.array([_SHARES[batches].prod(axis=1) @ estimates])


def _batches_measured() -> Array:
    """The variance of a minibatch's mean, over all minibatches."""
    batches = np.array(list(product(range(3), repeat=_BATCH)))
    weights, means = _SHARES[batches].prod(axis=1), _VALUES[batches].mean(axis=1)
    return np.array([weights @ (means - weights @ means) ** 2])


def _named(ages: tuple[tuple[float, int], ...]) -> tuple[str, ...]:
    return tuple(f"mu = {mu:g}, t = {t}" for mu, t in ages)


_OLD = tuple(age for age in AGES if age[1] > 1)

STATEMENTS = (
    Statement(
        "moving-averages",
        "For independent gradients E[m_t] is their mean and E[v_t] their second moment.",
        "Eq. 41 to 43",
        tuple(f"{name}, {x}" for name in _named(AGES) for x in ("m", "v")),
        lambda: np.tile([MEAN, MEAN**2 + STD**2], len(AGES)),
        _moments,
    ),
    Statement(
        "momentum-sum",
        "r_t = mu r_(t-1) + g_t has mean sum mu^s grad_(t-s) and variance sum mu^(2s) "
        "sigma^2_(t-s), s from 0 to t - 1.",
        "Eq. 18 and 45, with the range corrected",
        ("mean", "variance"),
        _sum_moments,
        _momentum_sums,
    ),
    Statement(
        "kappa",
        "kappa(mu, t) is the variance of an average of gradients in units of one gradient's.",
        "Eq. 19",
        _named(AGES),
        lambda: [theory.momentum_correction(mu, t) for mu, t in AGES],
        lambda draw: _spreads(draw, AGES),
    ),
    Statement(
        "kappa-limit",
        "kappa tends to (1 - mu) / (1 + mu).",
        "Eq. 19",
        _named(_LIMIT),
        lambda: [theory.momentum_correction(mu, np.inf) for mu, _ in _LIMIT],
        lambda draw: _spreads(draw._replace(n=draw.n // 4), _LIMIT),
    ),
    Statement(
        "relative-variance",
        "The relative variance of the momentum sum is kappa(mu, t) eta^2.",
        "Eq. 19, 46 and 47",
        _named(AGES),
        lambda: [theory.momentum_correction(mu, t) * (STD / MEAN) ** 2 for mu, t in AGES],
        _stationary_sums,
    ),
    Statement(
        "variance-estimate",
        "v - m^2 estimates a variance, with the bias E[v_t - m_t^2] = (1 - kappa) sigma^2.",
        "Section 3.3, C.1",
        _named(AGES),
        lambda: [theory.variance_estimate_factor(mu, t) * STD**2 for mu, t in AGES],
        lambda draw: _estimates(draw, AGES, corrected=False),
    ),
    Statement(
        "variance-estimate-corrected",
        "(v - m^2) / (1 - kappa) is unbiased.",
        "C.1, the correction that it leaves out",
        _named(_OLD),
        lambda: np.full(len(_OLD), STD**2),
        lambda draw: _estimates(draw, _OLD, corrected=True),
    ),
    Statement(
        "minibatch-mean",
        "A minibatch's mean gradient has the variance of one example's, divided by B.",
        "Section 1, footnote 1",
        (f"B = {_BATCH}",),
        lambda: [STD**2 / _BATCH],
        _batch_means,
    ),
    Statement(
        "minibatch-variance",
        "The sample variance within a minibatch, over B, estimates that without bias.",
        "Eq. 44, corrected",
        tuple(f"mean {m:g}, std {s:g}" for m, s in zip(_PATH, _SPREAD, strict=True)),
        lambda: _SPREAD**2 / _BATCH,
        _batch_estimates,
    ),
    Statement(
        "minibatch-momentum",
        "sbar_t = mu^2 sbar_(t-1) + s^_t estimates var[r_t] without bias.",
        "Eq. 48",
        ("estimate", "variance"),
        lambda: np.full(2, _sum_moments()[1] / _BATCH),
        _aggregated,
    ),
    Statement(
        "kappa-exact",
        "kappa is the sum of the squared weights of an average, and E[v - m^2] = (1 - kappa) sigma^2.",
        "Eq. 19, C.1",
        (
            *(
                f"kappa, {name}"
                for name in (*_named(AGES), *(f"mu = {mu:g}, limit" for mu, _ in _LIMIT))
            ),
            *(f"bias, {name}" for name in _named(AGES)),
        ),
        _kappa_claimed,
        lambda draw: _kappa_summed(),
        "exact",
    ),
    Statement(
        "minibatch-variance-exact",
        "The estimate within a minibatch is unbiased, as a sum over all minibatches of three values.",
        "Eq. 44, corrected",
        (f"B = {_BATCH}",),
        _batches_claimed,
        lambda draw: _batches_measured(),
        "exact",
    ),
)
