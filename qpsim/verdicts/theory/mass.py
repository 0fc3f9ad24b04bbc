"""Section 2.1: the lower bound on sign descent's improvement, and the Hessian's mass off its diagonal."""

from __future__ import annotations

from itertools import product

import numpy as np

from qpsim import theory
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_RANDOM = 20
_BOUNDED = ("rotated", "diagonal")


def _decreases(draw: Draw, p: QuadraticProblem) -> Array:
    """Decrease of the loss by sign descent's best step."""
    theta = setting.point(p)
    g = setting.gradients(p, theta, draw.rng, draw.n)
    return setting.decrease(p, theta, theory.optimal_step_size(p, "ssd", theta), np.sign(g))


def _bounds() -> Array:
    problems = (setting.dense(), setting.diagonal())
    return np.array([theory.improvement_bound(p, setting.point(p)) for p in problems])


def _integrated(p: QuadraticProblem) -> tuple[float, float]:
    """Sign descent's improvement and its bound, from integrals over the density of two gradients."""
    theta, q = setting.point(p), setting.matrix(p)
    g, weights = exact.gradients(p, theta)
    s = np.sign(g)
    _, gain = exact.vertex(lambda step: float(weights @ setting.decrease(p, theta, step, s)), 0.1)
    slope = weights @ (s @ setting.gradient(p, theta))
    return gain, float(0.5 * slope**2 / sum(abs(x) for x in q.ravel()))


def _bound_claimed() -> Array:
    found = []
    for p in (setting.pair(), setting.diagonal_pair()):
        theta = setting.point(p)
        table = theory.compare_directions(p, theta, ["ssd"])
        found += [
            theory.improvement_bound(p, theta, "entries"),
            theory.improvement_bound(p, theta, "trace"),
            theory.bound_tightness(p, theta),
            table.improvement_bound,
            table.bound_tightness,
        ]
    return np.array(found)


def _bound_measured() -> Array:
    found = []
    for p in (setting.pair(), setting.diagonal_pair()):
        gain, bound = _integrated(p)
        found += [bound, bound, gain / bound, bound, gain / bound]
    return np.array(found)


def _mass_claimed() -> Array:
    p = setting.dense()
    table = theory.compare_directions(p, setting.point(p), ["sgd"])
    shares = [theory.diagonal_mass(p), theory.diagonal_mass(p.hessian), table.diagonal_mass]
    return np.array([*theory.mass_inequality(p), *shares])


def _mass_summed() -> Array:
    q = setting.matrix(setting.dense())
    d = len(q)
    values, vectors = np.linalg.eigh(q)
    trace = sum(q[i, i] for i in range(d))
    entries = sum(abs(q[i, j]) for i in range(d) for j in range(d))
    along = sum(values[k] * sum(abs(x) for x in vectors[:, k]) ** 2 for k in range(d))
    return np.array([trace, entries, along, d * trace, *[trace / entries] * 3])


def _largest_violation() -> Array:
    """The largest violation of 0 <= s^T Q s <= sum |q_ij| over all sign vectors and problems."""
    signs = np.array(list(product((1.0, -1.0), repeat=8)))
    worst = 0.0
    for k in range(_RANDOM):
        p = random_problem("mild", 8, "haar", rng=k)
        forms = 2.0 * setting.half_square(p, signs)
        limit = theory.mass_inequality(p).entries
        worst = max(worst, float(forms.max() - limit), -float(forms.min()))
    return np.array([worst])


def _chain_violations() -> Array:
    """By how much the chain is violated at worst, over random problems."""
    worst = np.zeros(3)
    for k in range(_RANDOM):
        chain = np.array(theory.mass_inequality(random_problem("structured", 10, 0.5, rng=k)))
        worst = np.maximum(worst, chain[:-1] - chain[1:])
    return worst


STATEMENTS = (
    Statement(
        "improvement-ssd",
        "I(s) is at least 0.5 (sum (2 rho - 1) |grad|)^2 / sum |q_ij|.",
        "Eq. 12 right; Eq. 22 lacks the 1/2",
        _BOUNDED,
        _bounds,
        lambda draw: columns(
            _decreases(draw, setting.dense()), _decreases(draw, setting.diagonal())
        ),
        "at least",
    ),
    Statement(
        "improvement-ssd-diagonal",
        "For a diagonal Q this bound is I(s) itself.",
        "Eq. 12 right",
        _BOUNDED[1:],
        lambda: _bounds()[1:],
        lambda draw: _decreases(draw, setting.diagonal())[:, None],
    ),
    Statement(
        "bound-exact",
        "The bound, with sum |q_ij| or with tr(Q) / c, and how many times larger I(s) is.",
        "Eq. 12 right, Eq. 13",
        tuple(
            f"{name}, {x}"
            for name in _BOUNDED
            for x in ("entries", "trace", "tightness", "in the table", "tightness in the table")
        ),
        _bound_claimed,
        lambda draw: _bound_measured(),
        "exact",
    ),
    Statement(
        "sign-form",
        "0 <= s^T Q s <= sum |q_ij| for every sign vector.",
        "Eq. 21",
        ("largest violation, d = 8",),
        lambda: np.zeros(1),
        lambda draw: _largest_violation(),
        "exact",
    ),
    Statement(
        "mass-exact",
        "tr Q, sum |q_ij|, sum lambda_i ||v_i||_1^2 and d tr Q; the share of the mass on the diagonal.",
        "Section 2.1, Eq. 13",
        (
            *("trace", "entries", "eigenvectors", "worst"),
            *(f"diagonal mass of the {x}" for x in ("problem", "Hessian", "table")),
        ),
        _mass_claimed,
        lambda draw: _mass_summed(),
        "exact",
    ),
    Statement(
        "mass-chain",
        "tr Q <= sum |q_ij| <= sum lambda_i ||v_i||_1^2 <= d tr Q.",
        "Section 2.1",
        ("largest violation, first", "second", "third"),
        lambda: np.zeros(3),
        lambda draw: _chain_violations(),
        "exact",
    ),
)
