"""Obvious loop twins of what the package computes cleverly: slow, short, and compared with it."""

import math
from itertools import pairwise

import numpy as np
from scipy.integrate import quad


def box_muller(bit_generator, n):
    """n standard normals from raw words, in the order that a lane of n coordinates draws them."""
    normals = []
    while len(normals) < n:
        first, second = (int(word) for word in bit_generator.random_raw(2))
        radius = math.sqrt(-2 * math.log(((first >> 11) + 1) / 2**53))
        angle = 2 * math.pi * ((second >> 11) / 2**53)
        normals += [radius * math.cos(angle), radius * math.sin(angle)]
    return np.array(normals[:n])


def sign_product(a, b, r):
    """E[sign(a + X) sign(b + Y)], X and Y standard normal with correlation r: condition on X."""
    if abs(r) == 1.0:  # the signs differ where X lies between the two thresholds
        between = abs(math.erf(a / math.sqrt(2)) - r * math.erf(b / math.sqrt(2)))
        return r * (1.0 - between)
    width = math.sqrt((1 - r) * (1 + r))

    def integrand(x):
        conditional = math.erf((b + r * x) / (width * math.sqrt(2)))
        return math.copysign(1, a + x) * conditional * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    edges = {-9.0, 9.0, -a, *(-b / r + k * width for k in (-9, -3, -1, 0, 1, 3, 9))}
    edges = sorted(edge for edge in edges if -9 <= edge <= 9)
    pieces = pairwise(edges)
    return sum(quad(integrand, low, high, epsabs=1e-13, epsrel=1e-12)[0] for low, high in pieces)


def sign_form(hessian, correlation, a, scale):
    """E[s^T Q s] of scaled signs for one a (d,): Plackett's integral over t = asin r, pair by pair.

    64 nodes in each of eight pieces, which shrink towards t = pi/2 as the integrand does.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    total = 0.0
    for i in range(len(a)):
        total += hessian[i, i] * scale[i] ** 2
        for j in range(i):
            r = correlation[i, j]
            edges = math.pi / 2 - np.geomspace(math.pi / 2, math.acos(abs(r)), 9)
            half = np.diff(edges)[:, None] / 2
            t = edges[:-1, None] + half * (nodes + 1)
            square = a[i] ** 2 + a[j] ** 2 - 2 * a[i] * a[j] * math.copysign(1, r) * np.sin(t)
            integral = np.sum(half * weights * np.exp(-square / (2 * np.cos(t) ** 2)))
            moment = math.erf(a[i] / math.sqrt(2)) * math.erf(a[j] / math.sqrt(2))
            moment += math.copysign(2 / math.pi, r) * integral
            total += 2 * hessian[i, j] * scale[i] * scale[j] * moment
    return total


# --- theory: moments of a direction --------------------------------------------------------------


def drawn_directions(problem, method, theta, state, n, rng):
    """n directions of a rule at one theta, coordinate by coordinate: shape (n, d)."""
    q = np.diag(problem.hessian) if problem.is_diagonal else problem.hessian
    exact = q @ (theta - problem.optimum)
    sigma = [
        problem.noise_std * math.sqrt(sum(q[i, j] ** 2 for j in range(len(q))))
        for i in range(len(q))
    ]
    z = np.empty((n, len(q)))
    for k in range(n):
        x = problem.optimum + problem.noise_std * rng.standard_normal(len(q))
        g = q @ (theta - x)
        for i in range(len(q)):
            seen = [(sigma[i] / exact[i]) ** 2] if method.observes else []
            held = [state[name][i] for name in method.state_names]
            out = method.rule.function(g[i], *seen, *held, state.t + 1.0, *method.hyper)
            z[k, i] = out[0] if method.state_names else out
    return z


# --- theory: adaptation --------------------------------------------------------------------------


def momentum_correction(mu, t):
    """Sum of the squared weights of a bias-corrected moving average of t terms."""
    weights = [(1 - mu) * mu**s / (1 - mu**t) for s in range(t)]
    return sum(w * w for w in weights)


# --- theory: exact risk --------------------------------------------------------------------------


def linear_risk(problem, direction, carry, theta0, steps):
    """E[excess loss] by the full mean and covariance of (error, buffer), 2 d x 2 d.

    The buffer becomes ``carry[0] * g + carry[1] * buffer``, the error moves by -step times
    ``direction[0] * g + direction[1] * buffer`` (the buffer before the step).
    """
    q = np.diag(problem.hessian) if problem.is_diagonal else problem.hessian
    d = len(q)
    mean = np.concatenate([theta0 - problem.optimum, np.zeros(d)])
    covariance = np.zeros((2 * d, 2 * d))
    risk = []
    for step in [None, *steps]:
        if step is not None:
            a = np.block(
                [
                    [np.eye(d) - step * direction[0] * q, -step * direction[1] * np.eye(d)],
                    [carry[0] * q, carry[1] * np.eye(d)],
                ]
            )
            b = problem.noise_std * np.vstack([step * direction[0] * q, -carry[0] * q])
            mean, covariance = a @ mean, a @ covariance @ a.T + b @ b.T
        second = covariance[:d, :d] + np.outer(mean[:d], mean[:d])
        risk.append(0.5 * np.trace(q @ second))
    return np.array(risk)


def sign_descent_risk(problem, theta0, step, n_steps):
    """E[excess loss] of ssd on a diagonal problem: a dictionary of sites for every coordinate."""
    risk = np.zeros(n_steps + 1)
    for curvature, start in zip(problem.hessian, theta0 - problem.optimum, strict=True):
        law = {0: 1.0}
        for t in range(n_steps + 1):
            risk[t] += sum(0.5 * curvature * (start + step * k) ** 2 * m for k, m in law.items())
            moved = {}
            for k, m in law.items():
                a = (start + step * k) / problem.noise_std
                moved[k - 1] = moved.get(k - 1, 0.0) + m * 0.5 * math.erfc(-a / math.sqrt(2))
                moved[k + 1] = moved.get(k + 1, 0.0) + m * 0.5 * math.erfc(a / math.sqrt(2))
            law = moved
    return risk


def run(problem, direction, theta0, steps, n, rng):
    """Excess loss of n runs, shape (n, steps + 1); ``direction(g, exact, memory) -> z, memory``."""
    q = np.diag(problem.hessian) if problem.is_diagonal else problem.hessian
    theta, memory = np.tile(theta0, (n, 1)), 0.0
    loss, exact = [], []
    for step in [*steps, None]:
        gradient = (theta - problem.optimum) @ q
        loss.append(0.5 * np.sum((theta - problem.optimum) * gradient, axis=1))
        exact.append(gradient)
        if step is not None:
            noise = problem.noise_std * rng.standard_normal(theta.shape)
            z, memory = direction(gradient - noise @ q, gradient, memory)
            theta = theta - step * z
    return np.array(loss).T, np.array(exact)
