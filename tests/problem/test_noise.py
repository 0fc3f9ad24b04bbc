"""Gradient noise: six families and three laws, against draws and symmetries, and the error of every bad input."""

import itertools
import tracemalloc
import warnings

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import InfiniteVarianceWarning, ProblemError, TheoryError
from qpsim.kernels.gradient_noise import FactorNoise, LowRankNoise
from qpsim.kernels.observed import fill_batch
from qpsim.problem.growth import growth
from qpsim.problem.laws import Law
from qpsim.problem.quadratic_kernel import kernel_law
from qpsim.simulation.stepsize import resolve

HESSIAN = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
CURVATURES = np.array([0.5, 1.0, 3.0])
OPTIMUM = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[1.0, 0.4, -0.2], [0.4, 2.0, 0.3], [-0.2, 0.3, 0.5]])
FACTOR = np.array([[1.0, 0.2], [-0.5, 1.0], [0.3, 0.7]])
OWN = np.array([0.1, 0.0, 0.4])
LAWS = {"gaussian": {}, "student": {"df": 3.0}, "laplace": {"law": "laplace"}}
FAMILIES = {
    "data": lambda **law: noise.data(0.7, **law),
    "hessian": lambda **law: noise.hessian(0.7, **law),
    "white": lambda **law: noise.white(0.7, **law),
    "diagonal": lambda **law: noise.diagonal([1.0, 0.3, 2.0], **law),
    "dense": lambda **law: noise.dense(COVARIANCE, **law),
    "low_rank": lambda **law: noise.low_rank(FACTOR, OWN, **law),
}


def problem(family, law="gaussian", dense=True):
    return qpsim.QuadraticProblem(
        HESSIAN if dense else CURVATURES, OPTIMUM, noise=FAMILIES[family](**LAWS[law])
    )


def full(matrix):
    return np.diag(matrix) if np.ndim(matrix) == 1 else np.asarray(matrix)


@pytest.mark.parametrize("dense", [True, False])
def test_every_family_has_the_covariance_it_is_named_for(dense):
    q = HESSIAN if dense else np.diag(CURVATURES)
    expected = {
        "data": 0.49 * q @ q,
        "hessian": 0.49 * q,
        "white": 0.49 * np.eye(3),
        "diagonal": np.diag([1.0, 0.3, 2.0]),
        "dense": COVARIANCE,
        "low_rank": FACTOR @ FACTOR.T + np.diag(OWN),
    }
    for family, matrix in expected.items():
        p = problem(family, dense=dense)
        np.testing.assert_allclose(full(p.gradient_covariance()), matrix, rtol=1e-13, atol=1e-15)
        std = np.sqrt(np.diag(matrix))
        np.testing.assert_allclose(p.gradient_std(), std, rtol=1e-13)
        np.testing.assert_allclose(p.noise.dense_matrix(p), matrix, rtol=1e-13, atol=1e-15)
        factor = p.noise.factor(p)
        np.testing.assert_allclose(factor @ factor.T, matrix, rtol=1e-12, atol=1e-14)
        assert p.noise.trace(p) == pytest.approx(np.trace(matrix), rel=1e-13)
        r = p.noise.correlation(p)
        np.testing.assert_allclose(r, matrix / np.outer(std, std), rtol=1e-12, atol=1e-14)
        along = p.noise.eigen_std(p)
        v = np.eye(3) if p.eigenvectors is None else p.eigenvectors
        rotated = v.T @ matrix @ v
        if along is not None:
            np.testing.assert_allclose(rotated, np.diag(along**2), atol=1e-13)
        else:
            assert np.abs(rotated - np.diag(np.diag(rotated))).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("law", ["student", "laplace"])
def test_a_minibatch_divides_the_matrix_and_keeps_the_kind_of_law(family, law):
    p = problem(family, law)
    mean = p.at_batch(4)
    np.testing.assert_allclose(
        full(mean.gradient_covariance()), full(p.gradient_covariance()) / 4.0, rtol=1e-13
    )
    variance = {"student": 3.0, "laplace": 1.0}[law]
    expected = np.sqrt(variance * np.diag(full(p.gradient_covariance())) / 4.0)
    np.testing.assert_allclose(mean.gradient_std(), expected, rtol=1e-13)
    assert (mean.noise.law.name, mean.noise.law.batch_size) == (law, 4)
    assert mean.at_batch(2).noise.law == p.at_batch(8).noise.law


@pytest.mark.parametrize("method", ["sgd", "ssd", "svag", "va-ssd"])
@pytest.mark.parametrize("law", LAWS)
def test_the_matrix_itself_is_as_good_as_its_level(method, law):
    theta, level = [3.0, 0.4, -1.0], 0.7
    usual = qpsim.QuadraticProblem(HESSIAN, OPTIMUM, noise=noise.data(level, **LAWS[law]))
    given = usual.with_noise(noise.dense(level**2 * HESSIAN @ HESSIAN, **LAWS[law]))
    mean, quadratic = theory.direction_moments(usual, method, theta)
    other_mean, other_quadratic = theory.direction_moments(given, method, theta)
    np.testing.assert_allclose(other_mean, mean, rtol=1e-9)
    assert other_quadratic == pytest.approx(quadratic, rel=1e-9)


@pytest.mark.parametrize("method", ["sgd", "ssd"])
def test_a_simulation_takes_the_same_exact_steps_under_the_matrix_itself(method):
    usual = qpsim.QuadraticProblem(HESSIAN, OPTIMUM, 0.7)
    given = usual.with_noise(noise.dense(0.49 * HESSIAN @ HESSIAN))
    # The first step depends on no draw; only it can be compared.
    steps = [
        qpsim.simulate(p, method, n_steps=1, n_replicates=2, rng=0, workers=1).step_size
        for p in (usual, given)
    ]
    np.testing.assert_allclose(steps[1], steps[0], rtol=1e-9)


# Every family, law and kind of Hessian compiles a kernel of its own: the others are long tests.
QUICK = [("ssd", "student", True), ("ssd", "gaussian", False), ("sgd", "laplace", True)]


@pytest.mark.parametrize(
    ("method", "law", "dense"),
    [
        case if case in QUICK else pytest.param(*case, marks=pytest.mark.long)
        for case in itertools.product(["sgd", "ssd"], LAWS, [True, False])
    ],
)
# The mean of a minibatch under Student's t has a law of its own, and so another kernel.
@pytest.mark.parametrize("batch_size", [1, pytest.param(4, marks=pytest.mark.long)])
def test_the_recorded_optimal_step_is_the_theorys(method, law, dense, batch_size):
    theta0 = np.array([2.0, 0.3, -1.0])
    for family in FAMILIES:
        p = problem(family, law, dense)
        run = qpsim.simulate(
            p,
            method,
            n_steps=1,
            n_replicates=2,
            theta0=theta0,
            rng=0,
            workers=1,
            batch_size=batch_size,
        )
        exact = theory.optimal_step_size(p.at_batch(batch_size), method, theta0)
        np.testing.assert_allclose(run.step_size, exact, rtol=1e-8, err_msg=family)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("family", ["white", "dense", "low_rank"])
def test_moments_of_signs_are_those_of_draws(family, law):
    p, theta = problem(family, law), np.array([1.5, -1.0, 0.4])
    rng = np.random.default_rng(1)
    n = 200_000
    normals = rng.standard_normal((n, 3)) @ np.linalg.cholesky(full(p.gradient_covariance())).T
    scales = {
        "gaussian": lambda: np.ones(n),
        "student": lambda: 1.0 / np.sqrt(rng.chisquare(3.0, n) / 3.0),
        "laplace": lambda: np.sqrt(rng.exponential(size=n)),
    }[law]()
    signs = np.sign(p.gradient(theta) + scales[:, None] * normals)
    mean, quadratic = theory.direction_moments(p, "ssd", theta)
    forms = np.einsum("ki,ij,kj->k", signs, HESSIAN, signs)
    assert abs(forms.mean() - quadratic) < 4.0 * forms.std() / n**0.5
    assert (np.abs(signs.mean(axis=0) - mean) < 4.0 * signs.std(axis=0) / n**0.5 + 1e-12).all()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("method", ["sgd", "ssd", "va-ssd"])
def test_permuting_the_coordinates_changes_nothing(method, law):
    order, theta = [2, 0, 1], np.array([1.5, -1.0, 0.4])
    p = problem("dense", law)
    moved = qpsim.QuadraticProblem(
        HESSIAN[np.ix_(order, order)],
        OPTIMUM[order],
        noise=noise.dense(COVARIANCE[np.ix_(order, order)], **LAWS[law]),
    )
    gain = theory.expected_improvement(p, method, theta)
    assert theory.expected_improvement(moved, method, theta[order]) == pytest.approx(
        gain, rel=1e-10
    )


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("method", ["sgd", "ssd", "svag"])
def test_another_unit_of_the_loss_or_of_theta_scales_the_step(method, law):
    theta, c = np.array([1.5, -1.0, 0.4]), 7.0
    p = problem("dense", law)
    gain = theory.expected_improvement(p, method, theta)
    # The loss times c: gradients times c, their covariance times c^2.
    louder = qpsim.QuadraticProblem(
        c * HESSIAN, OPTIMUM, noise=noise.dense(c * c * COVARIANCE, **LAWS[law])
    )
    assert theory.expected_improvement(louder, method, theta) == pytest.approx(c * gain, rel=1e-10)
    # theta in another unit: theta' = c theta, gradients over c, Hessian over c^2.
    longer = qpsim.QuadraticProblem(
        HESSIAN / c**2, c * OPTIMUM, noise=noise.dense(COVARIANCE / c**2, **LAWS[law])
    )
    assert theory.expected_improvement(longer, method, c * theta) == pytest.approx(gain, rel=1e-10)


@pytest.mark.parametrize("law", LAWS)
def test_rotating_everything_leaves_sgd_as_it_was(law):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    theta, p = np.array([1.5, -1.0, 0.4]), problem("dense", law)
    q, c = turn @ HESSIAN @ turn.T, turn @ COVARIANCE @ turn.T
    turned = qpsim.QuadraticProblem(
        0.5 * (q + q.T), turn @ OPTIMUM, noise=noise.dense(0.5 * (c + c.T), **LAWS[law])
    )
    for what in (theory.expected_improvement, theory.optimal_step_size):
        assert what(turned, "sgd", turn @ theta) == pytest.approx(what(p, "sgd", theta), rel=1e-10)
    risks = [
        theory.expected_excess_loss(one, "m-sgd", start, 0.01, 20)
        for one, start in ((p, theta), (turned, turn @ theta))
    ]
    np.testing.assert_allclose(risks[1], risks[0], rtol=1e-10)
    # A sign is not the same in another basis.
    gains = [
        theory.expected_improvement(*pair)
        for pair in ((p, "ssd", theta), (turned, "ssd", turn @ theta))
    ]
    assert abs(gains[0] / gains[1] - 1.0) > 1e-3


@pytest.mark.parametrize("method", ["sgd", "ssd", "va-ssd"])
def test_many_degrees_of_freedom_tend_to_the_gaussian(method):
    theta = np.array([1.5, -1.0, 0.4])
    exact = theory.expected_improvement(problem("dense"), method, theta)

    def error(df):
        p = qpsim.QuadraticProblem(HESSIAN, OPTIMUM, noise=noise.dense(COVARIANCE, df=df))
        return abs(theory.expected_improvement(p, method, theta) - exact)

    # The difference falls as 1 / df.
    near, far = error(1e3), error(1e5)
    assert 0.0 < near < 0.01 * exact
    assert far == pytest.approx(0.01 * near, rel=0.05)
    assert error(1e13) == 0.0


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("df", [0.5, 1.0, 2.0])
def test_sgd_does_not_move_where_the_variance_is_infinite_and_says_so(dense, df):
    p = qpsim.QuadraticProblem(
        HESSIAN if dense else CURVATURES,
        OPTIMUM,
        noise=noise.dense(COVARIANCE, df=df) if dense else noise.white(1.0, df=df),
    )
    assert np.isinf(p.gradient_std()).all() and np.isfinite(p.gradient_scale()).all()
    with pytest.warns(InfiniteVarianceWarning, match="optimal step is 0"):
        run = qpsim.simulate(p, "sgd", n_steps=3, n_replicates=2, rng=0, workers=1)
    assert (run.step_size == 0.0).all()
    np.testing.assert_allclose(run.excess_loss, p.excess_loss(np.zeros(3)), rtol=1e-14)
    assert theory.optimal_step_size(p, "sgd", np.zeros(3)) == 0.0
    assert theory.expected_improvement(p, "sgd", np.zeros(3)) == 0.0
    assert theory.expected_improvement(p, "ssd", np.zeros(3)) > 0.0
    run = qpsim.simulate(p, "ssd", n_steps=3, n_replicates=2, rng=0, workers=1)
    assert (run.step_size[:, 0] > 0.0).all()


@pytest.mark.parametrize(
    "method",
    ["va-ssd", *(pytest.param(name, marks=pytest.mark.long) for name in ("svag", "va-ssd-erf"))],
)
def test_an_infinite_relative_variance_stops_the_rules_that_divide_by_it_and_they_say_so(method):
    p = qpsim.QuadraticProblem(CURVATURES, OPTIMUM, noise=noise.white(0.5, df=1.5))
    with pytest.warns(InfiniteVarianceWarning, match=f"{method} does not move"):
        run = qpsim.simulate(p, method, 0.1, 2, 2, rng=0, workers=1)
    assert (run.excess_loss == run.excess_loss[0, 0]).all()


@pytest.mark.parametrize("df", [0.5, 1.5, 2.0])
@pytest.mark.parametrize("policy", ["optimal", "bound"])
def test_a_rule_that_grows_with_its_gradient_has_no_exact_step_where_the_variance_is_infinite(
    policy, df
):
    p = qpsim.QuadraticProblem(CURVATURES, OPTIMUM, noise=noise.white(0.5, df=df))
    with pytest.raises(
        ProblemError, match=r"m-svag has no .* step under Student's t noise"
    ) as error:
        qpsim.simulate(p, "m-svag", policy, 2, 2, rng=0, workers=1)
    assert "\n" not in str(error.value)
    with pytest.raises(TheoryError, match="m-svag has no second moment"):
        theory.expected_improvement(p, "m-svag", np.zeros(3))


@pytest.mark.parametrize(
    "df", [0.5, *(pytest.param(df, marks=pytest.mark.long) for df in (1.5, 2.0))]
)
def test_a_bounded_direction_has_an_exact_step_where_the_variance_is_infinite(df):
    p = qpsim.QuadraticProblem(CURVATURES, OPTIMUM, noise=noise.white(0.5, df=df))
    # Signs, and what divides by its own size, have moments of all orders.
    for method in ("ssd", "adam"):
        assert theory.expected_improvement(p, method, np.zeros(3)) > 0.0


def test_the_growth_of_a_direction_decides_which_moments_it_has():
    def cubed(gradient, t):
        return gradient**3

    cube = qpsim.rule(cubed)()
    assert growth(cube) == pytest.approx(3.0)
    known = {"adam": 0.0, "rmsprop": 0.0, "adagrad": 0.0, "m-svag": 1.0, "svag-ema": 1.0}
    for name, power in known.items():
        assert growth(qpsim.method(name)) == pytest.approx(power, abs=1e-3), name
    p = qpsim.QuadraticProblem(CURVATURES, OPTIMUM, noise=noise.white(0.5, df=5.0))
    with pytest.raises(ProblemError, match="its direction grows"):
        qpsim.simulate(p, cube, n_steps=1, n_replicates=2, rng=0, workers=1)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("given", [{"df": 0.5}, {"df": 0.1}, {"law": "laplace"}], ids=str)
def test_one_node_for_all_far_scales_leaves_signs_their_exact_step(given, size):
    # The theory averages over all nodes.
    p = qpsim.QuadraticProblem(HESSIAN, OPTIMUM, noise=noise.dense(COVARIANCE, **given))
    theta = OPTIMUM + size * np.array([0.5, 1.0, -0.2])
    run = qpsim.simulate(p, "ssd", n_steps=1, n_replicates=2, theta0=theta, rng=0, workers=1)
    exact = theory.optimal_step_size(p, "ssd", theta)
    np.testing.assert_allclose(run.step_size[:, 0], exact, rtol=1e-8)


def test_no_noise_has_no_infinite_variance_whatever_its_law():
    p = qpsim.QuadraticProblem(CURVATURES, OPTIMUM, noise=noise.white(0.0, df=1.0))
    run = qpsim.simulate(p, "sgd", n_steps=1, n_replicates=2, rng=0, workers=1)
    exact = theory.optimal_step_size(p.with_noise(noise.white(0.0)), "sgd", np.zeros(3))
    np.testing.assert_allclose(run.step_size, exact, rtol=1e-12)


def test_a_noise_of_low_rank_never_becomes_a_matrix():
    d, rank = 100_000, 20
    rng = np.random.default_rng(0)
    factor, own = rng.normal(size=(d, rank)), rng.uniform(0.1, 1.0, d)
    p = qpsim.QuadraticProblem(
        rng.uniform(0.1, 1.0, d), rng.normal(size=d), noise=noise.low_rank(factor, own)
    )
    qpsim.simulate(p, "ssd", n_steps=1, n_replicates=1, rng=0, workers=1)  # compiles
    tracemalloc.start()
    run = qpsim.simulate(p, "ssd", n_steps=2, n_replicates=2, rng=0, workers=1)
    step = theory.optimal_step_size(p, "ssd", np.zeros(d))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A (d, d) matrix takes 80 GB; the factor takes 16 MB.
    assert peak < 300e6
    np.testing.assert_allclose(run.step_size[:, 0], step, rtol=1e-9)


def test_noise_on_a_diagonal_hessian_has_the_correlation_it_was_given():
    p = qpsim.QuadraticProblem(CURVATURES, noise=noise.low_rank(FACTOR, OWN))
    n = 20_000
    theta0 = np.array([0.4, -0.2, 0.1])
    run = qpsim.simulate(p, "ssd", 1.0, 1, n, theta0=theta0, rng=0, workers=1, record=("theta",))
    signs = theta0 - run.theta[:, -1]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        std = p.gradient_std()
        a = p.gradient(theta0) / std
        r = p.gradient_correlation()[i, j]
        expected = theory.sign_product(a[i], a[j], r)
        product = signs[:, i] * signs[:, j]
        assert abs(product.mean() - expected) < 4.0 * product.std() / n**0.5


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", ["factor", "low_rank"])
def test_minibatch_estimates_have_the_variance_as_their_mean(kind, law):
    d, batch_size, n = 3, 4, 20_000
    # With 9 degrees of freedom the estimates have a variance, and so a standard error.
    given = {"df": 9.0} if law == "student" else LAWS[law]
    p = qpsim.QuadraticProblem(CURVATURES, noise=noise.low_rank(FACTOR, OWN, **given))
    one = p.at_batch(batch_size).noise
    drawn = (
        FactorNoise(np.ascontiguousarray(one.factor(p)))
        if kind == "factor"
        else LowRankNoise(*map(np.array, one.parts()))
    )
    stream = np.random.default_rng(0).integers(2**64, size=(4, n), dtype=np.uint64)
    mean, estimates, scales = np.empty((d, n)), np.empty((d, n)), np.empty(n)
    fill_batch(
        drawn,
        kernel_law(one, qpsim.method("m-svag-mb"), resolve(0.1, 1)),
        batch_size,
        stream,
        mean,
        scales,
        estimates,
    )
    variance = p.at_batch(batch_size).gradient_std() ** 2
    for values in (estimates, mean**2):
        error = values.std(axis=1) / n**0.5
        assert (np.abs(values.mean(axis=1) - variance) < 4.0 * error).all()
    assert (scales == 1.0).all()
    product = mean[0] * mean[1]
    expected = p.noise.law.variance * (FACTOR @ FACTOR.T)[0, 1] / batch_size
    assert abs(product.mean() - expected) < 4.0 * product.std() / n**0.5


BAD = {
    "not square": (
        lambda: noise.dense(np.ones((2, 3))),
        r"square matrix \(d, d\), not of shape \(2, 3\)",
    ),
    "vector": (lambda: noise.dense([1.0, 2.0]), r"square matrix \(d, d\)"),
    "not symmetric": (lambda: noise.dense([[1.0, 0.5], [0.25, 1.0]]), "symmetric, .* up to 0.25"),
    "indefinite": (lambda: noise.dense([[1.0, 3.0], [3.0, 1.0]]), "smallest eigenvalue is -2"),
    "nan": (lambda: noise.dense([[1.0, np.nan], [np.nan, 1.0]]), "covariance holds NaN"),
    "factor": (lambda: noise.low_rank([[np.nan], [1.0]]), "factor holds NaN"),
    "factor's shape": (lambda: noise.low_rank([1.0, 2.0]), r"factor must be a matrix \(d, k\)"),
    "own": (lambda: noise.low_rank([[1.0], [1.0]], [1.0]), r"diagonal must have shape \(2,\)"),
    "negative own": (lambda: noise.low_rank([[1.0]], [-1.0]), "smallest entry is -1"),
    "variance": (lambda: noise.diagonal([1.0, -0.5]), "smallest is -0.5"),
    "variance's shape": (lambda: noise.diagonal([[1.0]]), r"vector \(d,\)"),
    "huge variance": (lambda: noise.diagonal([1e250]), "variance has an entry of size 1e.250"),
    "huge covariance": (
        lambda: noise.dense([[1e250, 1.0], [1.0, 1.0]]),
        "covariance has an entry of size 1e.250, beyond 1e.200",
    ),
    "huge factor": (lambda: noise.low_rank([[1e150]]), "factor has an entry of size 1e.150"),
    "huge own": (lambda: noise.low_rank([[1.0]], [1e250]), "diagonal has an entry of size"),
    "df 0": (lambda: noise.white(df=0.0), "number above 0, not 0.0"),
    "df negative": (lambda: noise.white(df=-1), "number above 0, not -1"),
    "df nan": (lambda: noise.white(df=np.nan), "number above 0, not nan"),
    "df text": (lambda: noise.white(df="3"), "number above 0, not '3'"),
    "df true": (lambda: noise.white(df=True), "number above 0, not True"),
    "law": (lambda: noise.white(law="cauchy"), "'gaussian' or 'laplace'"),
    "law of another type": (lambda: noise.white(law=[1]), "'gaussian' or 'laplace'"),
    "law and df": (lambda: noise.white(df=3, law="laplace"), "not both"),
    "level": (lambda: noise.hessian(-1.0), "noise level must be a finite number >= 0"),
    "level nan": (lambda: noise.data(np.nan), "noise level must be a finite number >= 0"),
    "both": (
        lambda: qpsim.QuadraticProblem([1.0], noise_std=0.1, noise=noise.white(1.0)),
        "either noise_std or noise, and not both",
    ),
    "no noise": (lambda: qpsim.QuadraticProblem([1.0], noise=0.1), "one of qpsim.noise"),
    "dimension": (
        lambda: qpsim.QuadraticProblem([1.0, 2.0], noise=noise.dense(COVARIANCE)),
        "3 coordinates, but the problem has 2",
    ),
    "policy": (
        lambda: qpsim.simulate(problem("white", "student"), "m-svag-mb", n_steps=1, batch_size=4),
        "no optimal step under Student's t noise.*line-search",
    ),
    "family": (lambda: noise.from_dict({"family": "pink"}), "none of qpsim.s; give its class to"),
    "description": (lambda: noise.from_dict({"law": "gaussian"}), "no description of a noise"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_noise_gets_its_own_sentence(kind):
    make, sentence = BAD[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ProblemError, match=sentence) as error:
            make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_noise_is_described_in_full(family, law):
    p = problem(family, law).at_batch(4)
    again = noise.from_dict(p.noise.to_dict(), p.noise.arrays())
    assert (again.family, again.level, again.law) == (p.noise.family, p.noise.level, p.noise.law)
    np.testing.assert_array_equal(again.matrix(p), p.noise.matrix(p))
    assert repr(again) == repr(p.noise)


def test_what_a_noise_was_made_of_may_change_afterwards():
    covariance, variance = COVARIANCE.copy(), np.ones(3)
    dense, own = noise.dense(covariance), noise.diagonal(variance)
    covariance[:], variance[:] = 0.0, 0.0
    assert dense.values[0][0, 0] == 1.0 and own.values[0][0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        own.values[0][0] = 2.0


@pytest.mark.parametrize("dense", [True, False])
def test_no_average_is_made_where_none_is_needed(monkeypatch, dense):
    def none(law):
        raise AssertionError("an average over the law")

    p = qpsim.QuadraticProblem(
        HESSIAN if dense else CURVATURES, OPTIMUM, noise=noise.white(0.1, df=0.7)
    )
    size = {"n_steps": 2, "n_replicates": 2, "rng": 0, "workers": 1}
    usual = qpsim.simulate(p, "ssd", 0.1, batch_size=8, **size)
    with monkeypatch.context() as patch:
        patch.setattr(Law, "quadrature", none)
        patch.setattr(Law, "cells", none)
        again = qpsim.simulate(p, "ssd", 0.1, batch_size=8, **size)
        np.testing.assert_array_equal(again.excess_loss, usual.excess_loss)
        qpsim.simulate(p, "ssd", "line-search", batch_size=8, **size)
        qpsim.simulate(p.with_noise(noise.white(0.1, df=3)), "sgd", batch_size=8, **size)
        with pytest.raises(AssertionError, match="an average over the law"):
            qpsim.simulate(p, "ssd", batch_size=8, **size)
    # So a minibatch whose law is not known runs all the same.
    p = p.with_noise(noise.white(0.1, df=0.02))
    with pytest.raises(ProblemError, match="'line-search' or given ones"):
        qpsim.simulate(p, "ssd", batch_size=500, **size)
    assert np.isfinite(qpsim.simulate(p, "ssd", 0.1, batch_size=500, **size).excess_loss).all()
