"""Quadratic problems: formulas, random problems, and the error of every bad input."""

import copy
import math
import pickle
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import qpsim
from qpsim.errors import ProblemError
from qpsim.seeds import seed_sequence
from tests import naive

finite = st.floats(-1e3, 1e3)


@st.composite
def problems(draw):
    d = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32))
    basis = draw(st.sampled_from(["axis", "haar", 0.3]))
    noise = draw(st.just(0.0) | st.floats(1e-3, 5.0))
    return qpsim.random_problem(
        np.random.Generator(np.random.PCG64(seed)).uniform(0.1, 5.0, d), d, basis, noise, rng=seed
    )


@given(problems(), st.data())
@settings(deadline=None)
def test_loss_and_gradient_are_the_loop_twins(p, data):
    theta = data.draw(hnp.arrays(float, (3, p.dim), elements=finite))
    for k in range(3):
        loss = naive.excess_loss(p, theta[k])
        assert p.excess_loss(theta)[k] == pytest.approx(loss, rel=1e-9, abs=1e-9)
        expected = naive.gradient(p, theta[k])
        np.testing.assert_allclose(p.gradient(theta)[k], expected, rtol=1e-9, atol=1e-9)
    assert isinstance(p.excess_loss(theta[0]), float)


@given(problems())
@settings(deadline=None)
def test_the_noise_has_the_covariance_of_the_text(p):
    q = naive.dense(p)
    square = p.noise_std**2 * q @ q
    np.testing.assert_allclose(p.gradient_std(), np.sqrt(np.diag(square)), rtol=1e-12)
    covariance = p.gradient_covariance()
    full = np.diag(covariance) if p.is_diagonal else covariance
    np.testing.assert_allclose(full, square, rtol=1e-12, atol=1e-12)
    assert p.diagonal_mass == pytest.approx(np.trace(q) / np.abs(q).sum(), rel=1e-12)
    assert p.noise_floor == pytest.approx(0.5 * p.noise_std**2 * np.trace(q), rel=1e-12)
    if not p.is_diagonal:
        r = p.gradient_correlation()
        s = np.sqrt(np.diag(q @ q))
        np.testing.assert_allclose(r, q @ q / np.outer(s, s), rtol=1e-10, atol=1e-12)
        assert (np.diag(r) == 1.0).all() and np.abs(r).max() <= 1.0


@given(problems())
@settings(deadline=None)
def test_the_decomposition_is_one_of_the_hessian(p):
    if p.is_diagonal:
        assert p.eigenvectors is None
        np.testing.assert_array_equal(p.eigenvalues, p.hessian)
        return
    v = p.eigenvectors
    np.testing.assert_allclose(v.T @ v, np.eye(p.dim), atol=1e-12)
    np.testing.assert_allclose((v * p.eigenvalues) @ v.T, p.hessian, atol=1e-12)
    again = qpsim.QuadraticProblem(p.hessian, p.optimum, p.noise_std)
    np.testing.assert_allclose(np.sort(again.eigenvalues), np.sort(p.eigenvalues), rtol=1e-10)


def test_a_matrix_without_off_diagonal_entries_is_held_as_its_diagonal():
    p = qpsim.QuadraticProblem(np.diag([1.0, 2.0]))
    assert p.is_diagonal and p.hessian.shape == (2,)
    assert qpsim.QuadraticProblem([[3]]).is_diagonal
    with pytest.raises(ProblemError, match="r is the identity"):
        p.gradient_correlation()


def test_what_a_problem_was_made_of_may_change_afterwards():
    q, optimum = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
    p = qpsim.QuadraticProblem(q, optimum)
    q[0, 0] = optimum[0] = 99.0
    assert p.hessian[0, 0] == 2.0 and p.optimum[0] == 1.0


def copies(p):
    return [p, pickle.loads(pickle.dumps(p)), copy.copy(p), copy.deepcopy(p)]


@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_a_problem_and_its_copies_cannot_be_changed(basis):
    p = qpsim.random_problem("mild", 4, basis, rng=0)
    _ = p.diagonal_mass, p.hessian_square_diagonal
    for same in [*copies(p), p.with_noise(1.0), p.with_optimum(np.ones(4))]:
        for name in ("hessian", "eigenvalues", "optimum", "hessian_square_diagonal"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(same, name)[0] = 1.0
            with pytest.raises(AttributeError):
                setattr(same, name, 1.0)
        with pytest.raises(AttributeError, match="frozen"):
            same.new = 1
        with pytest.raises(AttributeError, match="frozen"):
            same._noise = 1.0
    for same in copies(p):
        np.testing.assert_array_equal(same.hessian, p.hessian)
        np.testing.assert_array_equal(same.optimum, p.optimum)
        assert same.noise_std == p.noise_std and repr(same) == repr(p)


def test_the_same_problem_with_other_noise_or_optimum():
    p = qpsim.random_problem("mild", 4, rng=0)
    other = p.with_noise(4.0).with_optimum([1.0, 2.0, 3.0, 4.0])
    assert other.noise_std == 4.0 and p.noise_std == 0.1
    np.testing.assert_array_equal(other.hessian, p.hessian)
    np.testing.assert_array_equal(other.optimum, [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(other.gradient_std(), 40.0 * p.gradient_std(), rtol=1e-14)


def test_a_problem_is_put_together_from_its_parts_bit_for_bit():
    p = qpsim.random_problem("structured", 8, rng=0)
    parts = p.hessian, p.eigenvalues, p.eigenvectors, p.optimum, p.noise
    again = qpsim.QuadraticProblem.from_parts(*parts)
    for name in ("hessian", "eigenvalues", "eigenvectors", "optimum"):
        np.testing.assert_array_equal(getattr(again, name), getattr(p, name))
    with pytest.raises(ProblemError, match="does not have the eigenvalues"):
        qpsim.QuadraticProblem.from_parts(2.0 * p.hessian, *parts[1:])
    with pytest.raises(ProblemError, match="orthonormal"):
        qpsim.QuadraticProblem.from_eigenbasis(p.eigenvalues, 1.1 * p.eigenvectors)
    with pytest.raises(ProblemError, match="shape"):
        qpsim.QuadraticProblem.from_eigenbasis(p.eigenvalues[1:], p.eigenvectors)
    with pytest.raises(ProblemError, match="positive"):
        qpsim.QuadraticProblem.from_eigenbasis(-p.eigenvalues, p.eigenvectors)


BAD_HESSIANS = {
    "empty": ([], "empty"),
    "empty matrix": (np.zeros((0, 0)), "empty"),
    "number": (3.0, "1 or 2 axes, not 0"),
    "not square": (np.ones((2, 3)), r"square, not of shape \(2, 3\)"),
    "three axes": (np.ones((2, 2, 2)), "1 or 2 axes, not 3"),
    "nan": ([1.0, math.nan], "NaN or infinite"),
    "inf": ([[1.0, math.inf], [math.inf, 1.0]], "NaN or infinite"),
    "text": ([["1", "0"], ["0", "1"]], "real numbers, not of type text"),
    "complex": (np.eye(2) * 1j, "real numbers, not of type complex128"),
    "boolean": ([True, True], "real numbers, not of type bool"),
    "object": ([None, 1.0], "missing entries"),
    "ragged": ([[1.0], [1.0, 2.0]], "rectangular"),
    "none": (None, "real numbers"),
    "zero": ([0.0, 0.0], "zero everywhere"),
    "negative": ([1.0, -2.5], "smallest eigenvalue is -2.5"),
    "indefinite": ([[1.0, 2.0], [2.0, 1.0]], "smallest eigenvalue is -1"),
    "asymmetric": ([[1.0, 0.25], [0.0, 1.0]], r"max \|Q - Q\^T\| is 0.25"),
}


@pytest.mark.parametrize("kind", BAD_HESSIANS)
def test_a_bad_hessian_gets_its_own_sentence(kind):
    hessian, sentence = BAD_HESSIANS[kind]
    with pytest.raises(ProblemError, match=sentence) as error:
        qpsim.QuadraticProblem(hessian)
    assert "\n" not in str(error.value) and isinstance(error.value, ValueError)


@given(st.integers(2, 5), st.floats(1e-6, 1e3), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_asymmetry_is_stated(d, asymmetry, seed):
    stream = np.random.Generator(np.random.PCG64(seed))
    half = stream.normal(size=(d, d))
    q = half @ half.T + np.eye(d)
    i, j = stream.choice(d, 2, replace=False)
    q[i, j] = q[j, i] + asymmetry
    with pytest.raises(ProblemError, match="symmetric") as error:
        qpsim.QuadraticProblem(q)
    assert f"{abs(q[i, j] - q[j, i]):.3g}" in str(error.value)


@given(st.integers(1, 5), st.floats(-100.0, -1e-3), st.integers(0, 2**32))
@settings(deadline=None)
def test_the_smallest_eigenvalue_is_stated(d, lowest, seed):
    values = np.r_[lowest, np.linspace(1.0, 2.0, d)]
    v = stats.special_ortho_group.rvs(
        d + 1, random_state=np.random.Generator(np.random.PCG64(seed))
    )
    q = (v * values) @ v.T
    for hessian in (values, 0.5 * (q + q.T)):
        with pytest.raises(ProblemError, match="positive semi-definite") as error:
            qpsim.QuadraticProblem(hessian)
        said = float(str(error.value).split("eigenvalue is ")[1].split(";")[0])
        assert said == pytest.approx(lowest, rel=6e-3)


@pytest.mark.parametrize("noise", [-1.0, math.nan, math.inf, "0.1", True, 1j, [0.1]])
def test_a_noise_that_is_none_is_refused(noise):
    with pytest.raises(ProblemError, match="noise_std must be a finite number >= 0"):
        qpsim.QuadraticProblem([1.0], noise_std=noise)


@pytest.mark.parametrize("optimum", [[1.0], [[1.0, 2.0]], 1.0, [1.0, math.nan], ["a", "b"]])
def test_an_optimum_of_another_shape_or_kind_is_refused(optimum):
    with pytest.raises(ProblemError, match="optimum"):
        qpsim.QuadraticProblem([1.0, 2.0], optimum)


@given(hnp.arrays(float, hnp.array_shapes(min_dims=0, max_dims=3, max_side=4), elements=finite))
@settings(deadline=None)
def test_a_theta_of_another_width_is_refused(theta):
    p = qpsim.QuadraticProblem([1.0, 2.0, 3.0])
    if theta.ndim and theta.shape[-1] == 3:
        assert np.shape(p.excess_loss(theta)) == theta.shape[:-1]
    else:
        with pytest.raises(ProblemError, match="theta must have 3 entries"):
            p.gradient(theta)


BAD_RANDOM = {
    "spectrum": ({"spectrum": "milde"}, "did you mean 'mild'"),
    "spectrum values": ({"spectrum": [1.0, -1.0]}, "positive eigenvalues"),
    "spectrum shape": ({"spectrum": np.eye(2)}, "non-empty vector"),
    "empty": ({"spectrum": []}, "non-empty vector"),
    "basis": ({"basis": "har"}, "did you mean 'haar'"),
    "number as text": ({"basis": "0.5"}, "no number"),
    "basis below": ({"basis": -0.1}, r"number in \[0, 1\]"),
    "basis above": ({"basis": 1.1}, r"number in \[0, 1\]"),
    "basis nan": ({"basis": math.nan}, r"number in \[0, 1\]"),
    "basis bool": ({"basis": True}, r"number in \[0, 1\]"),
    "dim": ({"dim": 0}, "whole number of at least 1"),
    "dim float": ({"dim": 2.0}, "whole number of at least 1"),
    "dim bool": ({"dim": True}, "whole number of at least 1"),
    "scale": ({"scale": -1.0}, "scale of the optimum"),
    "scale nan": ({"scale": math.nan}, "scale of the optimum"),
    "scale text": ({"scale": "1"}, "scale of the optimum"),
    "noise": ({"noise_std": -1.0}, "noise_std"),
    "rng": ({"rng": "0"}, "rng must be"),
    "rng float": ({"rng": 0.5}, "rng must be"),
    "rng bool": ({"rng": True}, "rng must be"),
    "rng negative": ({"rng": -1}, "must not be negative"),
}


@pytest.mark.parametrize("kind", BAD_RANDOM)
def test_a_bad_random_problem_gets_its_own_sentence(kind):
    arguments, sentence = BAD_RANDOM[kind]
    with pytest.raises(ProblemError, match=sentence) as error:
        qpsim.random_problem(**{"dim": 5, "rng": 0, **arguments})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dim", [10, 30, 100, 1000])
def test_the_structured_spectrum_has_exactly_a_tenth_of_large_eigenvalues(dim):
    for rng in range(5):
        values = qpsim.random_problem("structured", dim, "axis", rng=rng).eigenvalues
        large = values[values > 1.0]
        assert large.size == dim // 10
        assert (large >= 30.0).all() and (large <= 60.0).all() and (values > 0.0).all()


def test_spectra_and_optimum_have_the_stated_laws():
    p = qpsim.random_problem("mild", 20_000, "axis", scale=3.0, rng=0)
    assert stats.kstest(p.eigenvalues, "uniform", (0.1, 1.0)).pvalue > 1e-3
    assert stats.kstest(p.optimum, "uniform", (-3.0, 6.0)).pvalue > 1e-3
    values = qpsim.random_problem("structured", 20_000, "axis", rng=0).eigenvalues
    assert stats.kstest(values[values <= 1.0], "uniform").pvalue > 1e-3
    assert stats.kstest(values[values > 1.0], "uniform", (30.0, 30.0)).pvalue > 1e-3


def rotation(dim, tau, rng=0):
    return qpsim.random_problem("mild", dim, tau, rng=rng).eigenvectors


def test_haar_rotations_have_haars_law():
    d, n = 3, 2000
    entries = np.array([rotation(d, "haar", rng) for rng in range(n)])
    assert np.linalg.det(entries) == pytest.approx(np.ones(n), abs=1e-12)
    # E[R_ij^2] = 1/d with variance 2 (d - 1) / (d^2 (d + 2)); every coordinate on S^2 is U[-1, 1].
    error = math.sqrt(2 * (d - 1) / (d**2 * (d + 2)) / n)
    assert np.abs((entries**2).mean(axis=0) - 1 / d).max() < 4 * error
    for i in range(3):
        assert stats.kstest(entries[:, i, 0], "uniform", (-1.0, 2.0)).pvalue > 1e-3


@pytest.mark.skipif(
    tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 16),
    reason="an older SciPy draws its rotations in another way",
)
@pytest.mark.parametrize("dim", [2, 3, 40])
def test_haar_rotations_are_those_of_scipy(dim):
    from qpsim.problem.random import _haar_rotation

    ours = _haar_rotation(dim, np.random.Generator(np.random.PCG64(dim)))
    generator = np.random.Generator(np.random.PCG64(dim))
    theirs = stats.special_ortho_group.rvs(dim, random_state=generator)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 8, 25])
def test_a_partial_rotation_lies_on_the_geodesic(dim):
    for rng in range(3):
        haar = rotation(dim, "haar", rng)
        assert qpsim.random_problem("mild", dim, 0.0, rng=rng).is_diagonal
        np.testing.assert_array_equal(rotation(dim, 1.0, rng), haar)
        half = rotation(dim, 0.5, rng)
        np.testing.assert_allclose(half @ half, haar, atol=1e-10)
        third = rotation(dim, 1 / 3, rng)
        np.testing.assert_allclose(third @ third @ third, haar, atol=1e-10)
        np.testing.assert_allclose(rotation(dim, 1e-9, rng), np.eye(dim), atol=1e-8)
        np.testing.assert_allclose(rotation(dim, 1 - 1e-9, rng), haar, atol=1e-8)
        steps = [rotation(dim, tau, rng) for tau in np.linspace(0.05, 1.0, 20)]
        jumps = [np.linalg.norm(a - b) for a, b in pairwise(steps)]
        assert max(jumps) < 1.01 * min(jumps)
        for r in steps:
            np.testing.assert_allclose(r.T @ r, np.eye(dim), atol=1e-12)
            assert np.linalg.det(r) == pytest.approx(1.0)


def test_half_turns_have_a_geodesic_too(monkeypatch):
    from qpsim.problem.random import _partial_rotation

    # Haar rotations have no real eigenvalue -1 but with probability 0: hand one in.
    half_turns = np.diag([-1.0, 1.0, -1.0, -1.0, -1.0])
    monkeypatch.setattr("qpsim.problem.random._haar_rotation", lambda dim, generator: half_turns)
    root = _partial_rotation(5, 0.5, np.random.Generator(np.random.PCG64(0)))
    np.testing.assert_allclose(root @ root, half_turns, atol=1e-14)


def test_one_seed_is_one_problem_and_its_parts_have_their_own_streams():
    for basis in ("axis", "haar", 0.5):
        a, b = (qpsim.random_problem("structured", 9, basis, rng=4) for _ in range(2))
        np.testing.assert_array_equal(a.hessian, b.hessian)
        np.testing.assert_array_equal(a.optimum, b.optimum)
    axis = qpsim.random_problem("structured", 9, "axis", rng=4)
    np.testing.assert_array_equal(axis.eigenvalues, a.eigenvalues)
    np.testing.assert_array_equal(axis.optimum, a.optimum)
    other = qpsim.random_problem("structured", 9, "axis", rng=5)
    assert (other.eigenvalues != axis.eigenvalues).any()
    generator = np.random.default_rng(0)
    first, second = (qpsim.random_problem("mild", 3, "axis", rng=generator) for _ in range(2))
    assert (first.optimum != second.optimum).all()


@given(st.integers(0, 2**200))
def test_a_seed_is_numpys(seed):
    ours, theirs = seed_sequence(seed), np.random.SeedSequence(seed)
    np.testing.assert_array_equal(ours.generate_state(4), theirs.generate_state(4))
    again = seed_sequence(theirs)
    np.testing.assert_array_equal(again.generate_state(4), theirs.generate_state(4))


@pytest.mark.parametrize("entropy", [[1, 2, 3], (2**40, 0), np.array([0, 7], np.uint32)])
def test_any_entropy_is_kept_as_plain_numbers(entropy):
    theirs = np.random.SeedSequence(entropy, spawn_key=(5,), pool_size=8)
    ours = seed_sequence(theirs)
    np.testing.assert_array_equal(ours.generate_state(4), theirs.generate_state(4))
    child, other = ours.spawn(1)[0], theirs.spawn(1)[0]
    np.testing.assert_array_equal(child.generate_state(4), other.generate_state(4))
    assert all(type(part) is int for part in ours.entropy)


def test_a_million_coordinates_need_little_memory():
    d = 10**6
    qpsim.simulate(
        qpsim.QuadraticProblem([1.0], [2.0]), "ssd", n_steps=1, n_replicates=1, workers=1
    )
    tracemalloc.start()
    try:
        p = qpsim.random_problem("structured", d, "axis", rng=0)
        r = qpsim.simulate(p, "ssd", n_steps=2, n_replicates=1, rng=0, workers=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Vectors only: one dense matrix of this problem would be 8 TB.
    assert peak < 40 * 8 * d
    assert r.excess_loss[0, 2] < r.excess_loss[0, 1] < r.excess_loss[0, 0]
    assert p.gradient(np.zeros(d)).shape == (d,)


@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_a_minibatch_of_b_draws_is_noise_over_root_b(basis):
    p = qpsim.random_problem("mild", 5, basis, 0.6, rng=1)
    options = {"n_steps": 4, "n_replicates": 8, "rng": 0, "workers": 1}
    for method in ("sgd", "ssd", "svag"):
        batch = qpsim.simulate(p, method, batch_size=9, **options)
        less = qpsim.simulate(p.with_noise(0.2), method, **options)
        np.testing.assert_allclose(batch.excess_loss, less.excess_loss, rtol=1e-9)
    # B draws averaged by hand: mean and variance within four standard errors.
    n, b, theta = 20_000, 9, np.full(5, 0.3)
    stream = np.random.Generator(np.random.PCG64(2))
    x = p.optimum + 0.6 * stream.normal(size=(n, b, 5))
    g = p.matvec(theta - x).mean(axis=1)
    variance = p.gradient_std() ** 2 / b
    assert (np.abs(g.mean(axis=0) - p.gradient(theta)) < 4 * np.sqrt(variance / n)).all()
    assert (np.abs(g.var(axis=0) / variance - 1) < 4 * math.sqrt(2 / n)).all()


def test_all_constructors_refuse_eigenvalues_that_a_dense_matrix_does_not_hold():
    values = [1e12, 1.0, 1e-12]
    with pytest.raises(ProblemError, match="does not hold eigenvalues as far apart"):
        qpsim.random_problem(values, basis="haar", rng=0)
    with pytest.raises(ProblemError, match="does not hold eigenvalues as far apart"):
        qpsim.QuadraticProblem.from_eigenbasis(values, np.eye(3))
    assert qpsim.QuadraticProblem(values).eigenvalues.min() == 1e-12


def test_what_rounding_cannot_tell_from_zero_is_zero():
    flat = qpsim.QuadraticProblem(np.ones((3, 3)), [1.0, 2.0, 3.0], 0.1)
    assert sorted(flat.eigenvalues.round(12)) == [0.0, 0.0, 3.0]
    assert (flat.eigenvalues == 0.0).sum() == 2
    # The optimum is any minimiser: along a flat direction nothing is lost.
    assert flat.excess_loss([3.0, 2.0, 1.0]) == pytest.approx(0.0, abs=1e-12)
    run = qpsim.simulate(flat, "ssd", n_steps=5, n_replicates=3, rng=0, workers=1)
    assert np.isfinite(run.excess_loss).all() and (run.excess_loss >= 0.0).all()


def test_a_singular_matrix_in_single_precision():
    """As a framework computes them: neither quite symmetric nor quite without negative eigenvalues."""
    draws = np.random.default_rng(3)
    factor = draws.standard_normal((60, 3)).astype(np.float32)
    low_rank = factor @ factor.T
    assert np.linalg.eigvalsh(low_rank.astype(float)).min() < -1e-7
    p = qpsim.QuadraticProblem(low_rank, noise=qpsim.noise.dense(low_rank))
    assert p.eigenvalues.min() == 0.0
    np.testing.assert_allclose(p.hessian, low_rank, atol=1e-5)
    # No direction lowers the loss below 0 by more than rounding in double precision.
    along = np.linalg.eigh(low_rank.astype(float))[1][:, 0]
    assert p.excess_loss(along) > -1e-12
    assert qpsim.LeastSquares(low_rank).eigenvalues.min() == 0.0
    square = draws.standard_normal((60, 60)).astype(np.float32)
    uneven = square @ np.diag(np.linspace(0.1, 3.0, 60, dtype=np.float32)) @ square.T
    assert np.abs(uneven - uneven.T).max() > 0.0
    assert qpsim.noise.dense(uneven).family == "dense"
    # In double precision the same eigenvalue is no rounding.
    for make in (qpsim.QuadraticProblem, qpsim.LeastSquares, qpsim.noise.dense):
        with pytest.raises(ProblemError, match=r"smallest eigenvalue is -\d"):
            make(low_rank.astype(float) - 1e-6 * np.eye(60))
