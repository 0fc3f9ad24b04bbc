"""The peers' gradients and exact sign steps beyond Gaussian noise: Student's t, and least squares.

All are functions of standard normals alone, which every array library draws: a chi-square variable of k degrees is the
sum of k squares. Under Student's t the moments of signs are those of a Gaussian averaged over its random scale, and
Plackett's integrand exp(-x / 2) becomes (1 + x / df)^(-df / 2). Least squares in a minibatch of B draws has the
identity of :mod:`qpsim.problem.least_squares`, with signs as under Student's t of B degrees of freedom; at B = 1 they
collapse to arcsines.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.problem.laws import Law

if TYPE_CHECKING:
    from qpsim.bench.peer_parts import Constants, Library
    from qpsim.bench.workloads import Workload

# Gauss-Legendre nodes of Plackett's integral for a correlation that changes with the state.
_NODES = 16


def extra_normals(workload: Workload) -> int:
    """Standard normals that a step of one replicate needs besides one a coordinate."""
    if workload.least_squares:
        return 1 + workload.batch_size
    return 0 if workload.df is None else round(workload.df)


def scales(workload: Workload) -> list[tuple[float, float]]:
    """Scales b and weights of the average that stands for one under Student's t; a single 1 if Gaussian."""
    df = workload.batch_size if workload.least_squares else workload.df
    if df is None:
        return [(1.0, 1.0)]
    nodes, weights = Law("student", df=float(df)).quadrature()
    return list(zip(nodes.tolist(), weights.tolist(), strict=True))


def tailed(workload: Workload, library: Library, noise: Any, normals: Any) -> Any:
    """Gaussian noise (replicate, coordinate) as Student's t; ``normals`` are the extra ones."""
    square = (normals * normals).sum(1)
    return noise * library.module.sqrt(workload.df / square)[:, None]


def mean_sign(library: Library, constants: Constants, standard: Any) -> Any:
    """E[sign] of coordinates with these means, in units of their scales."""
    return sum(
        weight * library.erf(standard * (0.5**0.5 / scale)) for scale, weight in constants.scales
    )


def mean_form(library: Library, constants: Constants, standard: Any) -> Any:
    """Sum over i != j of q_ij times the part of E[s_i s_j] that no correlation makes."""
    diagonal = constants.hessian.diagonal()
    total = 0.0
    for scale, weight in constants.scales:
        mean = library.erf(standard * (0.5**0.5 / scale))
        form = (mean * (mean @ constants.hessian)).sum(1) - (mean * mean * diagonal).sum(1)
        total = total + weight * form
    return total


def damped(workload: Workload, library: Library, exponent: Any) -> Any:
    """phi(x) of Plackett's integrand at x = -2 log(2) ``exponent``: 2^exponent for a Gaussian."""
    if workload.df is None:
        return library.module.exp2(exponent)
    x = exponent * (-2.0 * math.log(2.0) / workload.df)
    return (1.0 + x) ** (-0.5 * workload.df)


def least_squares_step(
    workload: Workload, library: Library, constants: Constants, error: Any, normals: Any
) -> Any:
    """One exact sign step on least squares with Gaussian data."""
    xp, batch, dim = library.module, workload.batch_size, workload.dim
    h = error @ constants.hessian
    v = (error * h).sum(1) + workload.noise_std**2
    drawn = normals[:, :dim] @ constants.noise
    rho = (drawn * error).sum(1) - workload.noise_std * normals[:, dim]
    squares = v * (normals[:, dim + 1 :] ** 2).sum(1)
    share = h / v[:, None]
    gradient = share * (squares / batch)[:, None]
    gradient = gradient + (xp.sqrt(squares) / batch)[:, None] * (drawn - share * rho[:, None])
    if batch == 1:
        mean = (2.0 / math.pi) * xp.arcsin(h / (constants.std * xp.sqrt(v)[:, None]))
        denominator = constants.quadratic
    else:
        tau = xp.sqrt(constants.std**2 - h * share)
        standard = h / (xp.sqrt(v)[:, None] * tau)
        mean = mean_sign(library, constants, standard * batch**0.5)
        denominator = constants.quadratic + mean_form(library, constants, standard * batch**0.5)
        denominator = denominator + _pairs(library, constants, batch, h, v, tau, standard)
    numerator = (h * mean).sum(1)
    return error - (numerator / denominator)[:, None] * xp.sign(gradient)


def _pairs(
    library: Library, constants: Constants, batch: int, h: Any, v: Any, tau: Any, a: Any
) -> Any:
    """Plackett's integral of all pairs, whose correlations depend on the state."""
    xp = library.module
    ((first, second, entries),) = constants.groups
    r = (entries - h[:, first] * h[:, second] / v[:, None]) / (tau[:, first] * tau[:, second])
    angle = xp.arcsin(r)
    squares, product = a[:, first] ** 2 + a[:, second] ** 2, 2.0 * a[:, first] * a[:, second]
    total: Any = 0.0
    for node, weight in zip(*np.polynomial.legendre.leggauss(_NODES), strict=True):
        sine = xp.sin(angle * (0.5 + 0.5 * float(node)))
        x = (squares - product * sine) / (1.0 - sine * sine)
        total = total + 0.5 * float(weight) * (1.0 + x) ** (-0.5 * batch)
    return (4.0 / math.pi) * (entries * angle * total).sum(1)
