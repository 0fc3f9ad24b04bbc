"""Simple, slow versions of the package's algorithms in plain loops, for comparison."""

import math
from itertools import pairwise

import numpy as np
from numpy.polynomial.legendre import leggauss
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


def sign_product_20_digits(a, b, r):
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
                below = problem_sign_form(problem, nu, shifted, factors)
            alpha = inner(mean, expected) / below
        else:
            expected = [f * m for f, m in zip(factors, shifted, strict=True)]
            alpha = inner(mean, expected) / linear_form(problem, nu, shifted, factors)
        theta = [a - alpha * b for a, b in zip(theta, z, strict=True)]
        losses.append(excess_loss(problem, theta))
        steps.append(alpha)
        thetas.append(theta)
    return np.array(losses), np.array(steps), np.array(thetas), closest


def problem_sign_form(problem, noise_std, mean, scale):
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


# --- theory: any direction on two coordinates -----------------------------------------------------


def moments_in_the_plane(problem, method, theta, state, estimate=None, turns=None):
    """E[z] and E[z^T Q z] of a rule on two coordinates: a grid of points over the whole plane.

    Panels shrink by halves towards the rule's breakpoint, and towards the gradients that ``turns``
    gives for the rule's arguments: where its directions turn sharply.
    """
    q = dense(problem)
    square = q @ q
    r = square[0, 1] / math.sqrt(square[0, 0] * square[1, 1])
    width = math.sqrt(1.0 - r * r)
    mean, sides = gradient(problem, theta), []
    for i in range(2):
        std = problem.noise_std * math.sqrt(square[i, i])
        seen = ([] if estimate is None else [estimate[i]]) + [
            state[name][i] for name in method.state_names
        ]
        arguments = (*seen, state.t + 1.0, *method.hyper)
        places = [method.rule.breakpoint(*arguments), *(turns(*arguments) if turns else ())]
        cuts = [(place - mean[i]) / std for place in places]
        steps = min(0.5, width) * np.concatenate([[0.0], 2.0 ** -np.arange(45.0)])
        edges = np.concatenate([np.arange(-9.0, 9.0, steps[1]), [9.0]])
        edges = np.concatenate(
            [edges, *(cut + steps for cut in cuts), *(cut - steps for cut in cuts)]
        )
        edges = np.unique(edges[(edges >= -9.0) & (edges <= 9.0)])
        nodes, weights = leggauss(12)
        half = np.diff(edges)[:, None] / 2.0
        x = (edges[:-1, None] + half * (nodes + 1.0)).ravel()
        z = np.array([method.rule.function(mean[i] + std * u, *arguments)[0] for u in x])
        sides.append((x, (half * weights).ravel() * z, z))
    (x, f, zx), (y, g, zy) = sides
    normal = [np.exp(-u * u / 2.0) / math.sqrt(2.0 * math.pi) for u in (x, y)]
    density = np.exp(-(x[:, None] ** 2 - 2.0 * r * x[:, None] * y + y**2) / (2.0 * width**2))
    mixed = f @ density @ g / (2.0 * math.pi * width)
    form = q[0, 0] * f @ (normal[0] * zx) + q[1, 1] * g @ (normal[1] * zy) + 2.0 * q[0, 1] * mixed
    return np.array([f @ normal[0], g @ normal[1]]), form


def kappa(mu, t):
    """Eq. 19 as printed."""
    return (1 - mu ** (2 * t)) * (1 - mu) ** 2 / ((1 - mu**2) * (1 - mu**t) ** 2)


def published(name, gradients, variances=None, *, bug=None, corrected=False, **hyper):
    """Directions (t, d) of a method on a stream of gradients, transcribed from its source, epsilons 0.

    ``bug`` puts in what implementations have got wrong before.
    """
    mu = hyper.get("momentum", 0.9)
    b1, b2 = hyper.get("b1", 0.9), hyper.get("b2", 0.999)
    if name == "adam":
        mu1, mu2 = b1, b1 if bug == "averaged with b1" else b2
    else:
        mu1 = mu2 = hyper.get("decay", mu)
    m = v = r = u = 0.0
    previous, size = 0.0, 1.0
    out = []
    for k, g in enumerate(gradients):
        t = k + 1
        m = mu1 * m + (1 - mu1) * g
        v = mu2 * v + (1 - mu2) * g * g
        b2_debias = b2 if name == "adam" else mu2
        if bug == "beta^t":
            mh, vh = m / mu1**t, v / b2_debias**t
        else:
            mh, vh = m / (1 - mu1**t), v / (1 - b2_debias**t)
        s = np.maximum(vh - mh * mh, 0.0)
        factor = kappa(mu, t)
        if bug == "1 - beta":
            factor *= (1 - mu**2) / (1 - mu)
        if corrected and t > 1:
            factor = factor / (1 - factor)
        if name in ("m-sgd", "m-ssd", "nesterov", "m-svag-mb", "adam*-mb"):
            r = g if bug == "re-zeroed" else mu * r + g
        if variances is not None:
            u = mu**2 * u + variances[k]
        if name == "adam":
            z = mh / np.sqrt(vh)
        elif name == "m-svag":
            gamma = mh**2 / (mh**2 + factor * s)
            z = (0.0 if bug == "gamma = 0" and t == 1 else gamma) * mh
        elif name == "adam*":
            z = np.sign(mh) / np.sqrt(1 + factor * s / mh**2)
        elif name == "svag-ema":
            z = g * mh**2 / (mh**2 + s)
        elif name == "m-svag-mb":
            z = r / (1 + u / r**2)
        elif name == "adam*-mb":
            z = np.sign(r) / np.sqrt(1 + u / r**2)
        elif name in ("m-sgd", "m-ssd"):
            z = np.sign(r) if name == "m-ssd" else r
        elif name == "nesterov":
            z = g + mu * r
        elif name == "rmsprop":
            z = g / np.sqrt(v)
        elif name == "adagrad":
            u = u + g * g
            z = g / np.sqrt(u)
        elif name == "adadelta":
            z = g * np.sqrt((u + 1e-6) / (v + 1e-6))
            u = mu2 * u + (1 - mu2) * z * z
        elif name == "rprop":
            same = np.sign(g) * previous
            grown = size * np.where(same > 0, 1.2, np.where(same < 0, 0.5, 1.0))
            size = size if t == 1 else np.clip(grown, 1e-6, 50.0)
            previous = np.where(same < 0, 0.0, np.sign(g))
            z = size * previous
        out.append(z)
    return np.array(out)
