"""Every erratum: the printed form fails, the right one holds. One test a key."""

import numpy as np
import pytest

import qpsim
from qpsim import theory

Q = np.array([[2.0, 0.8, -0.5], [0.8, 1.5, 0.3], [-0.5, 0.3, 3.0]])
THETA = np.array([1.0, -0.4, 0.2])
NU = 0.8
P = qpsim.QuadraticProblem(Q, optimum=[0.5, -1.0, 2.0], noise_std=NU)


def average(gradients, mu):
    """Uncorrected moving average from zero, Eq. 3."""
    m = 0.0
    for g in gradients:
        m = mu * m + (1 - mu) * g
    return m


@pytest.mark.parametrize("erratum", theory.ERRATA, ids=lambda e: e.key)
def test_every_erratum_is_complete_and_has_its_test(erratum):
    assert f"test_{erratum.key}" in globals()
    assert all((erratum.where, erratum.printed, erratum.correct, erratum.why))
    assert erratum.where in " ".join(theory.__doc__.split())
    assert erratum.printed != erratum.correct


def test_the_list_reads_as_text_and_as_a_table():
    assert len({e.key for e in theory.ERRATA}) == len(theory.ERRATA)
    assert theory.errata_text() in theory.__doc__
    lines = theory.errata_markdown().splitlines()
    assert len(lines) == 2 + len(theory.ERRATA)
    # Bars inside a formula are escaped, so that every row has four cells.
    assert {line.replace(r"\|", "").count("|") for line in lines} == {5}


def test_what_may_be_the_transcriptions_is_marked():
    marked = [e for e in theory.ERRATA if e.maybe_transcription]
    assert "momentum_range" in {e.key for e in marked} and len(marked) < len(theory.ERRATA) / 2
    for text in (theory.errata_text(10_000), theory.errata_markdown()):
        assert text.count("Perhaps an error of the transcription.") == len(marked)


def test_hessian_shape():
    vector = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ValueError):
        THETA @ vector @ THETA
    assert 0.5 * THETA @ Q @ THETA > 0


def test_gradient_law():
    rng, n = np.random.default_rng(0), 50_000
    g = (THETA - (P.optimum + NU * rng.standard_normal((n, 3)))) @ Q
    error = g.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(g.mean(axis=0) - Q @ (THETA - P.optimum)) < 4 * error)
    assert np.any(np.abs(g.mean(axis=0) - P.optimum) > 40 * error)
    assert np.allclose(np.cov(g.T), NU**2 * Q @ Q, atol=0.1)
    assert not np.allclose(np.cov(g.T), NU**2 * np.eye(3), atol=0.5)


def test_diagonal_fraction():
    c = theory.diagonal_mass(P)
    slope = np.sum(
        np.abs(P.gradient(THETA) * theory.expected_sign(P.gradient(THETA), P.gradient_std()))
    )
    assert 0.5 * slope**2 / (np.trace(Q) / c) == pytest.approx(theory.improvement_bound(P, THETA))
    # In percent, Eq. 13 would promise a hundred times the bound, more than there is.
    assert 0.5 * slope**2 / (np.trace(Q) / (100 * c)) > theory.expected_improvement(P, "ssd", THETA)
    # As a lower bound c may be smaller than the diagonal's share: less is promised, at 0 nothing.
    for smaller in (0.5 * c, 1e-9):
        promised = 0.5 * slope**2 / (np.trace(Q) / smaller)
        assert promised < theory.improvement_bound(P, THETA)
    # The smallest share there is: positive definite, and nearly all entries equal.
    flat = np.ones((5, 5)) + 1e-9 * np.eye(5)
    assert (
        theory.diagonal_mass(flat) == pytest.approx(1 / 5) and theory.diagonal_mass(flat) >= 1 / 5
    )


def drawn_improvement(name):
    """Decrease of the loss at the optimal step, over draws, with its standard error."""
    rng, n = np.random.default_rng(1), 100_000
    g = (THETA - (P.optimum + NU * rng.standard_normal((n, 3)))) @ Q
    z = g if name == "sgd" else np.sign(g)
    step = theory.optimal_step_size(P, name, THETA)
    decrease = P.excess_loss(THETA) - P.excess_loss(THETA - step * z)
    return decrease.mean(), decrease.std() / np.sqrt(n)


def test_improvement_half_sgd():
    seen, error = drawn_improvement("sgd")
    grad = P.gradient(THETA)
    printed = (grad @ grad) ** 2 / (grad @ Q @ grad + NU**2 * np.sum(P.eigenvalues**3))
    assert abs(seen - 0.5 * printed) < 4 * error
    assert abs(seen - printed) > 40 * error


def test_improvement_half_ssd():
    printed = 2.0 * theory.improvement_bound(P, THETA)
    seen, error = drawn_improvement("ssd")
    assert theory.improvement_bound(P, THETA) < seen + 4 * error
    assert printed > seen + 40 * error
    diagonal = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    assert 2.0 * theory.improvement_bound(diagonal, [1.0, 1.0]) == pytest.approx(
        2.0 * theory.expected_improvement(diagonal, "ssd", [1.0, 1.0])
    )


def test_sign_quadratic_index():
    s = np.array([1.0, -1.0, 1.0])
    both = sum(Q[i, j] * s[i] * s[j] for i in range(3) for j in range(3))
    assert s @ Q @ s == pytest.approx(both)
    # With i alone as an index, j stays free: whatever it is, the sum is another number.
    for j in range(3):
        assert sum(Q[i, j] * s[i] * s[j] for i in range(3)) != pytest.approx(s @ Q @ s)


def test_noise_beyond_success():
    rng, n = np.random.default_rng(9), 100_000
    s = np.sign((THETA - (P.optimum + NU * rng.standard_normal((n, 3)))) @ Q)
    drawn = np.sum(s * (s @ Q), axis=1)
    error = drawn.std() / np.sqrt(n)
    assert abs(drawn.mean() - theory.direction_moments(P, "ssd", THETA)[1]) < 4 * error
    # What the success probabilities alone would give, whatever the noise's correlations.
    e = theory.expected_sign(P.gradient(THETA), P.gradient_std())
    alone = e @ Q @ e + np.sum(np.diag(Q) * (1 - e**2))
    assert abs(drawn.mean() - alone) > 20 * error
    # The second half of the sentence holds: the effect in the denominator is bounded.
    for noise in (0.01, 1.0, 100.0):
        form = theory.direction_moments(P.with_noise(noise), "ssd", THETA)[1]
        assert 0.0 <= form <= np.abs(Q).sum()
    # The same success probabilities (1/2 at the optimum) with other correlations.
    other = qpsim.QuadraticProblem(Q + 4 * np.eye(3), P.optimum, NU)
    one, two = (theory.sign_second_moment(p, P.optimum)[0, 1] for p in (P, other))
    assert abs(one - two) > 0.1


def test_lemma1_variance():
    p, sigma, gamma = 2.0, 1.5, 0.6
    estimate = p + sigma * np.random.default_rng(2).standard_normal(100_000)
    drawn = (gamma * estimate - p) ** 2
    error = drawn.std() / np.sqrt(drawn.size)
    assert abs(theory.expected_squared_distance(gamma, p, sigma) - drawn.mean()) < 4 * error
    # The variance of the fixed p is 0, and Eq. 14 with it would never adapt anything.
    assert abs(theory.expected_squared_distance(gamma, p, 0.0) - drawn.mean()) > 40 * error
    assert theory.variance_adaptation_factor(0.0, "gradient") == 1.0


def test_lemma1_proportional():
    rho = theory.success_probability(np.array([0.0, 0.5, 2.0]), 1.0)
    gamma = theory.variance_adaptation_factor([np.inf, 4.0, 0.25], "sign")
    assert gamma == pytest.approx(2 * rho - 1)
    assert np.ptp(gamma / rho) > 0.5


def test_lemma1_sum():
    gamma, p, sigma = np.array([0.6, 0.3]), np.array([1.0, -0.5]), np.array([0.7, 2.0])
    estimate = p + sigma * np.random.default_rng(3).standard_normal((100_000, 2))
    drawn = np.sum((gamma * np.sign(estimate) - np.sign(p)) ** 2, axis=1)
    error = drawn.std() / np.sqrt(len(drawn))
    terms = gamma**2 - 2 * gamma * (2 * theory.success_probability(p, sigma) - 1) + 1
    assert abs(terms.sum() - drawn.mean()) < 4 * error
    assert np.all(np.abs(terms - drawn.mean()) > 40 * error)


def test_negative_variance():
    gradients = np.array([0.1] * 20 + [2.0] * 20)

    def moments(b1, b2):
        t = len(gradients)
        return average(gradients, b1) / (1 - b1**t), average(gradients**2, b2) / (1 - b2**t)

    m, v = moments(0.9, 0.999)
    assert v - m**2 < 0 and m / np.sqrt(v) > 1
    m, v = moments(0.9, 0.9)
    assert v - m**2 >= 0 and m / np.sqrt(v) <= 1


def test_momentum_sum():
    mu, rng = 0.9, np.random.default_rng(4)
    g = np.concatenate([[5.0], rng.standard_normal(6)])  # g[0] is what no algorithm ever draws
    r = 0.0
    for t in range(1, 7):
        r = mu * r + g[t]
        assert r == pytest.approx(sum(mu**s * g[t - s] for s in range(t)))
        assert r != pytest.approx(sum(mu**s * g[t - s] for s in range(t + 1)))


def test_geometric_sum():
    mu = 0.9
    for t in (1, 2, 10):
        closed = (1 - mu**t) / (1 - mu), (1 - mu ** (2 * t)) / (1 - mu**2)
        right = sum(mu**s for s in range(t)), sum(mu ** (2 * s) for s in range(t))
        printed = sum(mu**s for s in range(t + 1)), sum(mu ** (2 * s) for s in range(t + 1))
        assert closed == pytest.approx(right)
        assert abs(printed[0] - closed[0]) > 0.1 and abs(printed[1] - closed[1]) > 0.1
        assert theory.momentum_correction(mu, t) == pytest.approx(right[1] / right[0] ** 2)
        assert abs(theory.momentum_correction(mu, t) - printed[1] / printed[0] ** 2) > 1e-3


def test_bias_correction_recursion():
    mu, g = 0.9, np.array([1.0, -2.0, 0.5, 3.0])
    corrected = [average(g[:t], mu) / (1 - mu**t) for t in range(1, 5)]
    weights = [(1 - mu) * mu**s / (1 - mu**4) for s in range(4)]
    assert corrected[3] == pytest.approx(sum(w * g[3 - s] for s, w in enumerate(weights)))
    right = (mu * average(g[:3], mu) + (1 - mu) * g[3]) / (1 - mu**4)
    printed = (mu * corrected[2] + (1 - mu) * g[3]) / (1 - mu**4)
    assert right == pytest.approx(corrected[3])
    assert abs(printed - corrected[3]) > 0.3


def test_weights_of_the_past():
    mu, t = 0.9, 60
    weights = np.array([(1 - mu) * mu**s / (1 - mu**t) for s in range(t)])
    s = np.arange(t)
    assert weights[s > 50].max() < 1e-3
    assert weights[t - s > 50].min() > 0.03 and weights.argmax() == np.argmax(t - s)


def test_moving_average_bias():
    rng, n, mu = np.random.default_rng(5), 100_000, 0.9
    g = 1.0 + rng.standard_normal((2, n))
    v, m = average(g**2, mu) / (1 - mu**2), average(g, mu) / (1 - mu**2)
    estimate = v - m**2
    error = estimate.std() / np.sqrt(n)
    assert abs(estimate.mean() - theory.variance_estimate_factor(mu, 2)) < 4 * error
    assert abs(estimate.mean() - 1.0) > 40 * error
    assert theory.variance_estimate_factor(mu, np.inf) < 0.95


def test_minibatch_variance():
    rng, b, n, p, sigma = np.random.default_rng(6), 4, 100_000, 3.0, 2.0
    each = p + sigma * rng.standard_normal((n, b))
    g, squares = each.mean(axis=1), (each**2).sum(axis=1)
    right = (squares / b - g**2) / (b - 1)
    printed = (squares / (b - 1) - g**2) / b
    truth = sigma**2 / b
    error = right.std() / np.sqrt(n), printed.std() / np.sqrt(n)
    assert abs(right.mean() - truth) < 4 * error[0]
    assert abs(printed.mean() - truth) > 40 * error[1]
    bias = (p**2 + truth) / (b * (b - 1))
    assert abs(printed.mean() - truth - bias) < 4 * error[1]


def test_theorem1_moment():
    # ||grad f||^2 = X and E_t||g||^2 = Y at three points reached with equal probability.
    x, y = np.array([0.1, 1.0, 9.0]), np.array([1.1, 2.0, 10.0])
    total = y.mean()
    assert y.max() > total
    # Eq. 34 as printed, with the G^2 that the theorem grants: false at the last point.
    assert not np.all(x**2 / y >= x**2 / total)
    # Cauchy-Schwarz instead: true for these and for any other distribution.
    rng = np.random.default_rng(7)
    for _ in range(200):
        x, extra, weight = rng.lognormal(0, 2, (3, 10))
        y, weight = x + extra, weight / weight.sum()
        assert weight @ (x**2 / y) >= (weight @ x) ** 2 / (weight @ y) * (1 - 1e-12)


def test_momentum_range():
    with np.errstate(invalid="ignore"):
        printed = np.float64(1 - 1.0**3) / np.float64(1 - 1.0**3)
    assert np.isnan(printed)
    with pytest.raises(qpsim.QpsimError, match=r"lie in \[0, 1\)"):
        theory.momentum_correction(1.0, 3)
    # Algorithms 1, 3 and 5 stand at mu = 1: r is the sum of all gradients, sbar of all variances.
    r = sbar = 0.0
    for g, s in ((1.0, 0.5), (-3.0, 0.25), (0.5, 1.0)):
        r, sbar = 1.0 * r + g, 1.0**2 * sbar + s
    assert (r, sbar) == (-1.5, 1.75)
    assert np.isfinite(
        [np.sign(r), r / (1 + sbar / r**2), np.sign(r) / np.sqrt(1 + sbar / r**2)]
    ).all()
    # The package takes mu below 1 everywhere, and the list says so.
    with pytest.raises(qpsim.QpsimError, match=r"\[0, 1\)"):
        qpsim.method("m-ssd", momentum=1.0)


def test_mssd_second_moment():
    assert qpsim.method("m-ssd").state_names == ("buffer",)
    r, mu = 0.0, 0.9
    for _ in range(200):
        r = mu * r + 1.0
    # An average of ones would be 1.
    assert r == pytest.approx(1 / (1 - mu))


def test_adam_star_tilde():
    mu, literal = 0.9, 0.0
    for t in range(1, 6):
        literal = (mu * literal + (1 - mu) * 1.0) / (1 - mu**t)
        assert average([1.0] * t, mu) / (1 - mu**t) == pytest.approx(1.0)
    assert literal > 2.0


def test_minibatch_scale():
    mu, g, r = 0.9, np.random.default_rng(8).standard_normal(30), 0.0
    for t in range(1, 31):
        r = mu * r + g[t - 1]
        m = average(g[:t], mu) / (1 - mu**t)
        assert r == pytest.approx((1 - mu**t) / (1 - mu) * m)
    assert abs(r) > 9 * abs(m)


def test_algorithm_name():
    # Alg. 5 moves by gamma sign(m), Alg. 3 by gamma m: only one of them is a variant of M-SVAG,
    # whose step grows with the gradient.
    def algorithm_3(m, s):
        return m / (1 + s / m**2)

    def algorithm_5(m, s):
        return np.sign(m) / np.sqrt(1 + s / m**2)

    assert algorithm_3(20.0, 4.0) / algorithm_3(10.0, 1.0) == pytest.approx(2.0)
    assert algorithm_5(20.0, 4.0) == pytest.approx(algorithm_5(10.0, 1.0))
