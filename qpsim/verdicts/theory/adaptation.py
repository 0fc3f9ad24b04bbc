"""Sections 3.1, 3.2 and B.3: by how much to shorten a noisy coordinate (Lemma 1)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from qpsim import theory
from qpsim.verdicts.theory import exact
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

MEAN = np.array([2.0, -1.0, 0.5, 1.0])
STD = np.array([1.0, 1.5, 2.0, 0.4])
FACTOR = np.array([0.9, 0.4, 0.2, 0.6])
_OFF = 0.1
# Where the gap between the factors of Adam and of Lemma 1 is extreme, and where it is 0.
_ETAS = (0.454, 1.913)
_EXTREMES = (-0.0618, 0.0644)


def _distances(draw: Draw, factors: list[Array], kind: str) -> list[Array]:
    """Squared distances ||gamma p^ - p||^2 a coordinate, for several factors on the same draws."""
    drawn = MEAN + STD * draw.rng.standard_normal((draw.n, MEAN.size))
    if kind == "sign":
        return [(factor * np.sign(drawn) - np.sign(MEAN)) ** 2 for factor in factors]
    return [(factor * drawn - MEAN) ** 2 for factor in factors]


def _claimed(kind: str) -> Array:
    # A last axis of one coordinate: the sum over coordinates is taken of one alone.
    alone = (x[:, None] for x in (FACTOR, MEAN, STD))
    return np.append(
        theory.expected_squared_distance(*alone, kind),
        theory.expected_squared_distance(FACTOR, MEAN, STD, kind),
    )


def _measured(draw: Draw, kind: str) -> Array:
    (terms,) = _distances(draw, [FACTOR], kind)
    return columns(terms, terms.sum(axis=1))


def _optimal(kind: str) -> Array:
    return np.asarray(theory.variance_adaptation_factor((STD / MEAN) ** 2, kind))


def _penalties(draw: Draw, kind: str) -> Array:
    """What the distance gains when Lemma 1's factor is changed by 0.1, either way."""
    best = _optimal(kind)
    at, above, below = _distances(draw, [best, best + _OFF, best - _OFF], kind)
    return columns(above - at, below - at)


def _gap_costs() -> Array:
    return np.asarray(theory.adaptation_gap((STD / MEAN) ** 2)) ** 2


def _gap_draws(draw: Draw) -> Array:
    eta2 = (STD / MEAN) ** 2
    adam = theory.variance_adaptation_factor(eta2, "adam")
    at, beside = _distances(draw, [_optimal("sign"), np.asarray(adam)], "sign")
    return beside - at


def _extreme_gaps(draw: Draw) -> Array:
    """The gap between 1 / sqrt(1 + eta^2) and a simulated 2 rho - 1."""
    gaps = []
    for eta in _ETAS:
        sign = np.sign(1.0 + eta * draw.rng.standard_normal(draw.n))
        gaps.append(1.0 / np.sqrt(1.0 + eta**2) - sign)
    return columns(*gaps)


def _integrated_distance(k: int, factor: float, kind: str) -> float:
    """E[(gamma p^ - p)^2] of coordinate k, as an integral over the estimate's density."""
    p, weights = exact.line(MEAN[k], STD[k])
    target = MEAN[k]
    if kind == "sign":
        p, target = np.sign(p), np.sign(target)
    return float(weights @ (factor * p - target) ** 2)


def _integrated_distance_at(kind: str, k: int, factor: float) -> float:
    return _integrated_distance(k, factor, kind)


def _distances_drawn(kind: str, draw: Any) -> Array:
    return _distances_integrated(kind)


def _distances_integrated(kind: str) -> Array:
    each = [_integrated_distance(k, factor, kind) for k, factor in enumerate(FACTOR)]
    return np.array([*each, sum(each)])


def _best_factors(kind: str) -> Array:
    """Where the distance is smallest: the vertex of a parabola through its values at three factors."""
    vertices = [
        exact.vertex(partial(_integrated_distance_at, kind, k), 0.5) for k in range(MEAN.size)
    ]
    return np.array([place for place, _ in vertices])


def _factors_claimed() -> Array:
    eta2 = (STD / MEAN) ** 2
    kinds = [theory.variance_adaptation_factor(eta2, kind) for kind in ("gradient", "sign", "adam")]
    return np.concatenate([*kinds, theory.adaptation_gap(eta2)])


def _factors_measured() -> Array:
    sign = _best_factors("sign")
    adam = np.abs(MEAN) / np.hypot(MEAN, STD)
    return np.concatenate([_best_factors("gradient"), sign, adam, adam - sign])


_COORDINATES = tuple(f"mean {m:g}, std {s:g}" for m, s in zip(MEAN, STD, strict=True))
_BOTH = (
    *(f"{c}, factor + 0.1" for c in _COORDINATES),
    *(f"{c}, factor - 0.1" for c in _COORDINATES),
)

_KINDS = ("gradient", "sign", "adam", "adam minus sign")

STATEMENTS = (
    Statement(
        "distance-gradient",
        "E||gamma p^ - p||^2 = sum gamma^2 (p^2 + sigma^2) - 2 gamma p^2 + p^2.",
        "Eq. 27",
        (*_COORDINATES, "all"),
        lambda: _claimed("gradient"),
        lambda draw: _measured(draw, "gradient"),
    ),
    Statement(
        "lemma1-gradient",
        "It is smallest at gamma = 1 / (1 + eta^2): another factor costs the square of the change "
        "times p^2 + sigma^2.",
        "Lemma 1, Eq. 14, 16 and 28",
        _BOTH,
        lambda: np.tile(_OFF**2 * (MEAN**2 + STD**2), 2),
        lambda draw: _penalties(draw, "gradient"),
    ),
    Statement(
        "distance-sign",
        "E||gamma sign(p^) - sign(p)||^2 = sum gamma^2 - 2 gamma (2 rho - 1) + 1.",
        "Eq. 29, with the sum that its last line lacks",
        (*_COORDINATES, "all"),
        lambda: _claimed("sign"),
        lambda draw: _measured(draw, "sign"),
    ),
    Statement(
        "lemma1-sign",
        "It is smallest at gamma = 2 rho - 1 = erf(1 / (sqrt(2) eta)): another factor costs the "
        "square of the change.",
        "Lemma 1, Eq. 15 and 30; Section 3.1",
        _BOTH,
        lambda: np.full(2 * MEAN.size, _OFF**2),
        lambda draw: _penalties(draw, "sign"),
    ),
    Statement(
        "adam-factor-cost",
        "Adam's factor (1 + eta^2)^(-1/2) costs the square of its gap to the optimal one.",
        "Section 3.1",
        _COORDINATES,
        _gap_costs,
        _gap_draws,
    ),
    Statement(
        "adam-factor-gap",
        "Adam's factor is close to the optimal one: at most 0.0618 below and 0.0644 above it.",
        "Section 3.1, Figure 5",
        tuple(f"gap at eta = {eta}" for eta in _ETAS),
        lambda: theory.adaptation_gap(np.square(_ETAS)),
        _extreme_gaps,
    ),
    *(
        Statement(
            f"distance-{kind}-exact",
            text,
            source,
            (*_COORDINATES, "all"),
            partial(_claimed, kind),
            partial(_distances_drawn, kind),
            "exact",
        )
        for kind, text, source in (
            ("gradient", "The same distance as an integral over the estimate's density.", "Eq. 27"),
            ("sign", "The same for signs.", "Eq. 29"),
        )
    ),
    Statement(
        "factors-exact",
        "The factors at which the distances are smallest, |p| / sqrt(p^2 + sigma^2) for Adam, and how "
        "far Adam's is from the best one.",
        "Lemma 1, Eq. 6, 14 and 15; Figure 5",
        tuple(f"{kind}, {c}" for kind in _KINDS for c in _COORDINATES),
        _factors_claimed,
        lambda draw: _factors_measured(),
        "exact",
    ),
    Statement(
        "adam-factor-extremes",
        "No gap lies outside [-0.0618, 0.0644].",
        "Section 3.1, Figure 5",
        ("smallest gap", "largest gap"),
        lambda: _EXTREMES,
        lambda draw: _range_of_gaps(),
        "exact",
    ),
)


def _range_of_gaps() -> Array:
    gaps = theory.adaptation_gap(np.geomspace(1e-3, 1e3, 20001) ** 2)
    return np.array([gaps.min(), gaps.max()]).round(4)
