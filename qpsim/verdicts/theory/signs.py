"""Sections 1.1, 1.4 and B.2: Adam's identity, success probabilities, signs that move together."""

from __future__ import annotations

from itertools import combinations

import numpy as np

import qpsim
from qpsim import theory
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

MEANS = (1.0, -1.0, 0.3, 2.0)
STDS = (0.5, 2.0, 1.0, 1.5)
PAIRS = tuple(combinations(range(4), 2))
_STREAMS, _STEPS, _CONSTANT = 500, 12, 0.9


def _gap_of_adam(b2: float, rewritten: bool) -> float:
    """Largest distance of Adam's direction to Eq. 5 or Eq. 6, over streams of gradients."""
    g = np.random.Generator(np.random.PCG64(1)).normal(0.5, 1.0, (_STEPS, _STREAMS))
    method = qpsim.method("adam", b1=_CONSTANT, b2=b2, eps=0.0)
    state, worst = method.initial_state(_STREAMS), 0.0
    for t in range(1, _STEPS + 1):
        moved, state = method.update(g[t - 1], state)
        age = np.arange(t)[::-1]
        m = (1 - _CONSTANT) / (1 - _CONSTANT**t) * _CONSTANT**age @ g[:t]
        v = (1 - b2) / (1 - b2**t) * b2**age @ g[:t] ** 2
        if rewritten:
            eta2 = np.maximum(v - m**2, 0.0) / m**2
            wanted = np.sign(m) * theory.variance_adaptation_factor(eta2, "adam")
        else:
            wanted = m / np.sqrt(v)
        worst = max(worst, float(np.abs(moved - wanted).max()))
    return worst


def _adam(draw: Draw) -> Array:
    # With one constant for both averages v - m^2 cannot be negative, and Eq. 6 has its meaning.
    return np.array([_gap_of_adam(0.999, False), _gap_of_adam(_CONSTANT, True)])


def _drawn(draw: Draw) -> Array:
    return np.array(MEANS) + np.array(STDS) * draw.rng.standard_normal((draw.n, len(MEANS)))


def _is_right(draw: Draw) -> Array:
    return (np.sign(_drawn(draw)) == np.sign(MEANS)).astype(float)


def _signs(draw: Draw) -> Array:
    p = setting.dense()
    return np.sign(setting.gradients(p, setting.point(p), draw.rng, draw.n))


def _products(draw: Draw) -> Array:
    s = _signs(draw)
    return columns(*(s[:, i] * s[:, j] for i, j in PAIRS))


def _second_moments() -> Array:
    p = setting.dense()
    moments = theory.sign_second_moment(p, setting.point(p))
    return np.array([moments[i, j] for i, j in PAIRS])


def _agreements() -> Array:
    p = setting.dense()
    a = p.gradient(setting.point(p)) / p.gradient_std()
    r = p.gradient_correlation()
    return np.array([theory.sign_agreement(a[i], a[j], r[i, j]) for i, j in PAIRS])


_TRIPLES = ((1.2, 0.7, 0.6), (0.5, -2.0, -0.85), (2.0, 2.5, 0.3), (0.0, 0.4, 0.9))


def _triples_claimed() -> Array:
    return np.array([theory.sign_product(*triple) for triple in _TRIPLES])


def _triples_drawn(draw: Draw) -> Array:
    found = []
    for a, b, r in _TRIPLES:
        x, y = draw.rng.standard_normal((2, draw.n))
        found.append(np.sign(a + x) * np.sign(b + r * x + np.sqrt(1.0 - r * r) * y))
    return columns(*found)


def _triples_integrated() -> Array:
    found = []
    for a, b, r in _TRIPLES:
        points, weights = exact.plane(np.array([a, b]), np.array([[1.0, r], [r, 1.0]]))
        found.append(weights @ np.sign(points).prod(axis=1))
    return np.array(found)


def _integrals_claimed() -> Array:
    p = setting.pair()
    theta = setting.point(p)
    mean, std = setting.gradient(p, theta), setting.std(p)
    q = setting.matrix(p) @ setting.matrix(p)
    r = q[0, 1] / np.sqrt(q[0, 0] * q[1, 1])
    return np.concatenate(
        [
            theory.success_probability(mean, std),
            theory.expected_sign(mean, std),
            theory.sign_second_moment(p, theta).ravel(),
            [theory.sign_agreement(*(mean / std), r)],
        ]
    )


def _integrals(draw: Draw) -> Array:
    p = setting.pair()
    theta = setting.point(p)
    g, weights = exact.gradients(p, theta)
    s = np.sign(g)
    right = s == np.sign(setting.gradient(p, theta))
    moments = np.einsum("n,ni,nj->ij", weights, s, s)
    return np.concatenate(
        [weights @ right, weights @ s, moments.ravel(), [weights @ (s[:, 0] == s[:, 1])]]
    )


_CASES = tuple(f"mean {m:g}, std {s:g}" for m, s in zip(MEANS, STDS, strict=True))
_OF_TRIPLES = tuple(f"a = {a:g}, b = {b:g}, r = {r:g}" for a, b, r in _TRIPLES)
_INTEGRALS = (
    *(f"success probability {i}" for i in (1, 2)),
    *(f"expected sign {i}" for i in (1, 2)),
    *(f"E[s_{i} s_{j}]" for i in (1, 2) for j in (1, 2)),
    "agreement",
)
_PAIRS = tuple(f"coordinates {i + 1} and {j + 1}" for i, j in PAIRS)

STATEMENTS = (
    Statement(
        "adam-identity",
        "Adam's direction is m / sqrt(v), which is sign(m) times (1 + eta^2)^(-1/2) with the "
        "estimate (v - m^2) / m^2 of eta^2.",
        "Eq. 3 to 6",
        ("largest distance to Eq. 5, b2 = 0.999", "largest distance to Eq. 6, b2 = b1"),
        lambda: np.zeros(2),
        _adam,
        "exact",
    ),
    Statement(
        "success-probability",
        "A Gaussian gradient's sign is right with probability (1 + erf(|mean| / (sqrt(2) std))) / 2.",
        "Eq. 8, Lemma 2",
        _CASES,
        lambda: theory.success_probability(MEANS, STDS),
        _is_right,
    ),
    Statement(
        "expected-sign",
        "E[s] = (2 rho - 1) sign(gradient).",
        "Section 1.4",
        _CASES,
        lambda: theory.expected_sign(MEANS, STDS),
        lambda draw: np.sign(_drawn(draw)),
    ),
    Statement(
        "sign-products",
        "E[s_i s_j] of correlated coordinates is Plackett's integral, not E[s_i] E[s_j].",
        "behind Eq. 12 and 21; Plackett (1954)",
        _PAIRS,
        _second_moments,
        _products,
    ),
    Statement(
        "sign-agreement",
        "Two coordinates have the same sign with probability (1 + E[s_i s_j]) / 2.",
        "behind Eq. 12 and 21; Plackett (1954)",
        _PAIRS,
        _agreements,
        lambda draw: (_products(draw) > 0).astype(float),
    ),
    Statement(
        "sign-product",
        "E[sign(X) sign(Y)] of two correlated Gaussians of deviation 1, by their means and correlation.",
        "behind Eq. 12 and 21; Plackett (1954), Owen (1956)",
        _OF_TRIPLES,
        _triples_claimed,
        _triples_drawn,
    ),
    Statement(
        "sign-product-exact",
        "The same as an integral over the plane.",
        "behind Eq. 12 and 21",
        _OF_TRIPLES,
        _triples_claimed,
        lambda draw: _triples_integrated(),
        "exact",
    ),
    Statement(
        "signs-exact",
        "Success probabilities, expected signs and products of signs are integrals of the gradient's "
        "Gaussian density, here over two correlated coordinates.",
        "Eq. 8, Lemma 2; behind Eq. 12 and 21",
        _INTEGRALS,
        _integrals_claimed,
        _integrals,
        "exact",
    ),
)
