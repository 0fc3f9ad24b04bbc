"""The obvious loops that the fast code must agree with: slow, and easy to read beside the formulas."""

import math

import numpy as np
from numpy.polynomial.legendre import leggauss

NODES, WEIGHTS = leggauss(64)


def dense(problem):
    """Q as a matrix."""
    return np.diag(problem.hessian) if problem.is_diagonal else np.array(problem.hessian)


def matvec(matrix, vector):
    d = len(vector)
    return [sum(matrix[i][j] * vector[j] for j in range(d)) for i in range(d)]


def inner(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def quadratic_form(matrix, vector):
    return inner(vector, matvec(matrix, vector))


def gradient(problem, theta):
    return matvec(dense(problem), [t - x for t, x in zip(theta, problem.optimum, strict=True)])


def excess_loss(problem, theta):
    error = [t - x for t, x in zip(theta, problem.optimum, strict=True)]
    return 0.5 * quadratic_form(dense(problem), error)


def normals(seed, k, n_steps, d):
    """Normals (n_steps, d) of replicate k: Box-Muller on the raw words of NumPy's own SFC64."""
    fresh = np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    stream = np.random.SFC64(fresh.spawn(k + 1)[k])
    out = np.empty((n_steps, d))
    for step in range(n_steps):
        for i in range(0, d, 2):
            first, second = (int(word) >> 11 for word in stream.random_raw(2))
            radius = math.sqrt(-2.0 * math.log((first + 1) * 2.0**-53))
            angle = 2.0 * math.pi * second * 2.0**-53
            out[step, i] = radius * math.cos(angle)
            if i + 1 < d:
                out[step, i + 1] = radius * math.sin(angle)
    return out


def sign(x):
    return 1.0 if x > 0 else -1.0 if x < 0 else 0.0


def sign_correlation(a, b, r):
    """E[sign(a + X) sign(b + Y)], corr(X, Y) = r: Plackett's integral by 64 Gauss-Legendre nodes."""
    top = math.asin(r)
    t = top * (NODES + 1.0) / 2.0
    exponent = -(a * a + b * b - 2.0 * a * b * np.sin(t)) / (2.0 * np.cos(t) ** 2)
    integral = float(WEIGHTS @ np.exp(exponent)) * top / 2.0
    return math.erf(a / math.sqrt(2)) * math.erf(b / math.sqrt(2)) + 2.0 / math.pi * integral


def sign_form(problem, noise_std, mean, scale):
    """E[z^T Q z] for z_i = scale_i sign(mean_i + noise), every pair by quadrature."""
    q = dense(problem)
    square = q @ q
    d = len(mean)
    total = 0.0
    for i in range(d):
        total += q[i, i] * scale[i] ** 2
        for j in range(d):
            if i != j and q[i, j] != 0.0:
                deviations = math.sqrt(square[i, i]), math.sqrt(square[j, j])
                r = square[i, j] / (deviations[0] * deviations[1])
                a, b = mean[i] / (noise_std * deviations[0]), mean[j] / (noise_std * deviations[1])
                total += q[i, j] * scale[i] * scale[j] * sign_correlation(a, b, r)
    return total


def linear_form(problem, noise_std, mean, scale):
    """E[z^T Q z] for z_i = scale_i (mean_i + noise)."""
    q = dense(problem)
    covariance = noise_std**2 * q @ q
    d = len(mean)
    z = [scale[i] * mean[i] for i in range(d)]
    noise = sum(
        q[i, j] * scale[i] * scale[j] * covariance[i, j] for i in range(d) for j in range(d)
    )
    return quadratic_form(q, z) + noise


def adaptation(name, mean, variance):
    """The oracle's factor of one coordinate, straight from grad^2 and sigma^2."""
    if variance == 0.0:
        return 1.0
    if name == "svag":
        return mean**2 / (mean**2 + variance)
    if name == "va-ssd":
        return abs(mean) / math.sqrt(mean**2 + variance)
    if name == "va-ssd-erf":
        return math.erf(abs(mean) / math.sqrt(2.0 * variance))
    return 1.0


SIGN_METHODS = ("ssd", "va-ssd", "va-ssd-erf", "m-ssd")
MOMENTUM = 0.9
B1, B2, EPS = 0.9, 0.999, 1e-8


def direction(name, t, drawn, memory, factors):
    """z by the textbook formulas; ``memory`` is a pair of lists (momentum or m, v)."""
    m, v = memory
    z = []
    for i, g in enumerate(drawn):
        if name in ("m-sgd", "m-ssd"):
            m[i] = MOMENTUM * m[i] + g
            g = m[i]
        if name == "adam":
            m[i] = B1 * m[i] + (1 - B1) * g
            v[i] = B2 * v[i] + (1 - B2) * g * g
            corrected = m[i] / (1 - B1**t), v[i] / (1 - B2**t)
            z.append(corrected[0] / (math.sqrt(corrected[1]) + EPS))
        else:
            z.append(factors[i] * (sign(g) if name in SIGN_METHODS else g))
    return z


def simulate(problem, name, policy, seed, k, n_steps, theta0, given=None, batch_size=1):
    """One replicate: losses, step sizes, thetas, and the smallest number whose sign was taken."""
    q, nu = dense(problem), problem.noise_std / math.sqrt(batch_size)
    d = problem.dim
    basis = np.eye(d) if problem.is_diagonal else problem.eigenvectors
    noise = normals(seed, k, n_steps, d)
    variance = [nu**2 * x for x in np.diag(q @ q)]
    theta = [float(x) for x in theta0]
    memory = [0.0] * d, [0.0] * d
    losses, steps, thetas, closest = [excess_loss(problem, theta)], [], [theta], math.inf
    for t in range(1, n_steps + 1):
        mean = gradient(problem, theta)
        draw = problem.optimum + nu * basis @ noise[t - 1]
        drawn = matvec(q, [a - x for a, x in zip(theta, draw, strict=True)])
        factors = [adaptation(name, m, s) for m, s in zip(mean, variance, strict=True)]
        carried = [MOMENTUM * r for r in memory[0]] if name.startswith("m-") else [0.0] * d
        shifted = [m + c for m, c in zip(mean, carried, strict=True)]
        z = direction(name, t, drawn, memory, factors)
        if name in SIGN_METHODS:
            signed = memory[0] if name == "m-ssd" else drawn
            closest = min(closest, *map(abs, signed))
        if policy == "given":
            alpha = given[t - 1]
        elif policy == "line-search" or (policy == "optimal" and nu == 0.0):
            below = quadratic_form(q, z)
            alpha = inner(mean, z) / below if below > 0.0 else 0.0
        elif name in SIGN_METHODS:
            expected = [
                f * (math.erf(m / math.sqrt(2 * s)) if s else sign(m))
                for f, m, s in zip(factors, shifted, variance, strict=True)
            ]
            if policy == "bound":
                below = sum(
                    abs(q[i, j]) * factors[i] * factors[j] for i in range(d) for j in range(d)
                )
            else:
                below = sign_form(problem, nu, shifted, factors)
            alpha = inner(mean, expected) / below
        else:
            expected = [f * m for f, m in zip(factors, shifted, strict=True)]
            alpha = inner(mean, expected) / linear_form(problem, nu, shifted, factors)
        theta = [a - alpha * b for a, b in zip(theta, z, strict=True)]
        losses.append(excess_loss(problem, theta))
        steps.append(alpha)
        thetas.append(theta)
    return np.array(losses), np.array(steps), np.array(thetas), closest
