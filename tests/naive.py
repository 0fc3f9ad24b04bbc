"""Slow twins: each says in the plainest way what an optimised function of qpsim computes."""

import math

import numpy as np

# --- theory: signs -------------------------------------------------------------------------------


def sign_product(a, b, r):
    """E[sign(X) sign(Y)] by integrating over X in 20 digits: Y given X is Gaussian."""
    import mpmath as mp

    with mp.workdps(20):
        a, b, r = mp.mpf(float(a)), mp.mpf(float(b)), mp.mpf(float(r))
        if abs(r) == 1:
            ea, eb = mp.erf(a / mp.sqrt(2)), r * mp.erf(b / mp.sqrt(2))
            return float(r * (1 - abs(ea - eb)))
        q = mp.sqrt((1 - r) * (1 + r))

        def integrand(x):
            return mp.npdf(x) * mp.erf((b + r * x) / (q * mp.sqrt(2)))

        # Breakpoints around x = -b / r, where the inner sign turns within a width of q / |r|.
        marks = {mp.mpf(k) for k in (-4, 0, 4)}
        if r != 0:
            marks |= {-b / r + k * q / abs(r) for k in (-9, -3, 0, 3, 9)}
        right = sorted({-a, mp.mpf(10)} | {x for x in marks if -a < x < 10})
        left = sorted({-a, mp.mpf(-10)} | {x for x in marks if -10 < x < -a})
        total = mp.quad(integrand, right, method="gauss-legendre")
        return float(total - mp.quad(integrand, left, method="gauss-legendre"))


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
