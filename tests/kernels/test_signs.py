"""Sign second moments: against conditioning, many nodes, closed limits and sampled signs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf
from scipy.stats import special_ortho_group

from qpsim.kernels.sign_table import NODE_CLASSES, pair_table
from qpsim.kernels.signs import sign_integrals
from tests import naive


def random_case(spectrum, dim, rng):
    """Hessian, noise correlation and unit-noise deviations of a Haar-rotated spectrum."""
    eigenvalues = rng.uniform(0.1, 1.1, dim)
    if spectrum == "structured":
        large = max(1, dim // 10)
        eigenvalues = np.append(rng.uniform(0, 1, dim - large), rng.uniform(30, 60, large))
    elif spectrum == "rank one":
        eigenvalues = np.append(rng.uniform(0.001, 0.002, dim - 1), 1.0)
    return from_eigenvalues(eigenvalues, special_ortho_group.rvs(dim, random_state=rng))


def from_eigenvalues(eigenvalues, basis):
    covariance = (basis * eigenvalues**2) @ basis.T
    std = np.sqrt(np.diag(covariance))
    return (basis * eigenvalues) @ basis.T, covariance / np.outer(std, std), std


def integrals(hessian, correlation, a, scale=None):
    scale = np.ones_like(a) if scale is None else scale
    out = np.empty(a.shape[1])
    sign_integrals(pair_table(hessian, correlation), a, scale, out)
    return out


def whole_form(hessian, correlation, a, scale=None):
    """E[s^T Q s] (lanes,) as a step loop puts it together."""
    signs = erf(a / math.sqrt(2)) * (1 if scale is None else scale)
    diagonal = np.diag(hessian)
    squares = np.ones_like(a) if scale is None else scale**2
    form = np.einsum("il,ij,jl->l", signs, hessian - np.diag(diagonal), signs)
    return diagonal @ squares + form + integrals(hessian, correlation, a, scale)


def pair_moments(r, a, b):
    """E[sign sign] of one pair for many a, b (n,)."""
    hessian = np.array([[0.0, 0.5], [0.5, 0.0]])
    correlation = np.array([[1.0, r], [r, 1.0]])
    return whole_form(hessian, correlation, np.stack([a, b]))


def hard_pairs(rng):
    a = np.concatenate([rng.uniform(-6, 6, 12), [0.0, 1e-6, 0.5, 3.0, 30.0, 1e4]])
    offsets = np.concatenate([[0.0], np.geomspace(1e-8, 5, 10)])
    a, offset = (grid.ravel() for grid in np.meshgrid(a, offsets))
    return a, a + offset


SIZES = [upper for upper, _ in NODE_CLASSES] + [1e-6, 0.15, 0.5, 0.93, 0.98, 0.995, 1 - 1e-12]


@pytest.mark.parametrize("r", [sign * size for size in SIZES for sign in (1, -1)])
def test_one_pair_is_within_1e_9_of_conditioning(r):
    """At the upper end of every class, where its nodes have the hardest integrals."""
    a, b = hard_pairs(np.random.default_rng(3))
    b = math.copysign(1, r) * b
    exact = [naive.sign_product(x, y, r) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    # the twin loses 1e-16 / sqrt(1 - r^2) or so where it knows b + r x only to rounding
    np.testing.assert_allclose(pair_moments(r, a, b), exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("dim", "spectrum"),
    [
        (dim, spectrum)
        if (dim, spectrum) in ((3, "mild"), (100, "structured"))
        else pytest.param(dim, spectrum, marks=pytest.mark.long)
        for dim in (2, 3, 10, 100)
        for spectrum in ("mild", "structured")
    ],
)
def test_the_form_is_within_1e_9_of_many_nodes(dim, spectrum):
    rng = np.random.default_rng(dim)
    lanes = [(nu, distance) for nu in (0.01, 0.1, 4.0) for distance in (1e-5, 0.1, 1.0, 10.0, 1e3)]
    for _ in range(1 if dim == 100 else 6):
        hessian, correlation, std = random_case(spectrum, dim, rng)
        a = np.empty((dim, len(lanes)))
        for lane, (nu, distance) in enumerate(lanes):
            a[:, lane] = hessian @ rng.uniform(-distance, distance, dim) / (nu * std)
        scale = rng.uniform(0, 2, a.shape)
        some = range(len(lanes)) if dim < 100 else range(2, len(lanes), 4)
        for values, factor in (
            (whole_form(hessian, correlation, a), np.ones_like(a)),
            (whole_form(hessian, correlation, a, scale), scale),
        ):
            for lane in some:
                exact = naive.sign_form(hessian, correlation, a[:, lane], factor[:, lane])
                assert values[lane] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_a_nearly_rank_one_hessian(dim):
    rng = np.random.default_rng(40 + dim)
    hessian, correlation, std = random_case("rank one", dim, rng)
    assert np.min(np.abs(correlation)) > 0.99
    for distance in (1e-3, 0.3, 3.0):
        a = hessian @ rng.uniform(-distance, distance, (dim, 3)) / (0.1 * std)[:, None]
        exact = np.full(3, np.trace(hessian))
        for lane in range(3):
            for i in range(dim):
                for j in range(i):
                    moment = naive.sign_product(a[i, lane], a[j, lane], correlation[i, j])
                    exact[lane] += 2 * hessian[i, j] * moment
        np.testing.assert_allclose(whole_form(hessian, correlation, a), exact, rtol=3e-9)


def test_against_sampled_signs():
    rng = np.random.default_rng(6)
    hessian, correlation, std = random_case("structured", 10, rng)
    a = hessian @ rng.uniform(-10, 10, 10) / (4.0 * std)
    scale = rng.uniform(0.2, 1, 10)
    factor = np.linalg.cholesky(correlation + 1e-13 * np.eye(10))
    signs = np.sign(a + rng.standard_normal((400_000, 10)) @ factor.T) * scale
    sampled = np.einsum("ki,ij,kj->k", signs, hessian, signs)
    exact = whole_form(hessian, correlation, a[:, None], scale[:, None])[0]
    standard_error = np.std(sampled) / math.sqrt(sampled.size)
    assert abs(np.mean(sampled) - exact) < 4 * standard_error
    independent = whole_form(hessian, np.eye(10), a[:, None], scale[:, None])[0]
    assert abs(np.mean(sampled) - independent) > 20 * standard_error


@pytest.mark.parametrize("far", [np.inf, 1e300, 50.0])
def test_without_noise_the_integrals_vanish(far):
    hessian, correlation, _ = random_case("structured", 5, np.random.default_rng(0))
    a = far * np.array([[1, 1.0], [-1, 1], [1, 1], [1, 1], [-1, 1]])
    assert np.all(np.abs(integrals(hessian, correlation, a)) < 1e-290)
    correlation[:] = 1.0
    assert np.all(np.abs(integrals(hessian, correlation, a)) < 1e-290)


def test_a_diagonal_hessian_has_no_pairs():
    table = pair_table(np.diag([1.0, 2.0, 3.0]), np.eye(3))
    assert table.pairs_2.size == table.pairs_3.size == table.rest_pairs.size == 0
    assert np.all(table.double == 0.0)
    out = np.full(4, np.nan)
    sign_integrals(table, np.ones((3, 4)), np.ones((3, 4)), out)
    assert out.tolist() == [0.0] * 4


def test_only_coupled_pairs_are_tabulated():
    hessian = np.eye(4)
    hessian[0, 3] = hessian[3, 0] = 0.1
    table = pair_table(hessian, np.full((4, 4), 0.05))
    assert table.pairs_2.tolist() == [[0, 3]] and table.pairs_3.size == 0


@pytest.mark.parametrize("nearly", [7.9, 8.1, 20.0])
def test_coordinates_that_are_all_but_sure_meet_others_that_are_not(nearly):
    """Where coordinates leave the head of the series, and no number may be subnormal."""
    rng = np.random.default_rng(8)
    hessian, correlation, _ = random_case("structured", 40, rng)
    a = rng.standard_normal((40, 1))
    a[rng.permutation(40)[:20]] = nearly
    exact = naive.sign_form(hessian, correlation, a[:, 0], np.ones(40))
    assert whole_form(hessian, correlation, a)[0] == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("decades", [6, 25])
def test_the_units_of_coordinates_do_not_matter(decades):
    rng = np.random.default_rng(9)
    hessian, correlation, _ = random_case("structured", 40, rng)
    a = rng.standard_normal((40, 3))
    scale = rng.uniform(0.5, 2, a.shape)
    exact = whole_form(hessian, correlation, a, scale)
    units = 10.0 ** rng.uniform(-decades, decades, 40)
    twin = hessian * units * units[:, None]
    twins = whole_form(twin, correlation, a, scale / units[:, None])
    np.testing.assert_allclose(twins, exact, rtol=1e-12)


@pytest.mark.parametrize("r", [0.05, 0.3, 0.6])
def test_equal_correlations_round_alike_and_still_keep_to_1e_9(r):
    dim = 100
    hessian = np.where(np.eye(dim, dtype=bool), 1.0, r / 2)
    correlation = np.where(np.eye(dim, dtype=bool), 1.0, r)
    rng = np.random.default_rng(10)
    some = rng.standard_normal((5, 4))
    a = np.repeat(some, dim // 5, axis=0)  # few different coordinates: few different pairs
    values = whole_form(hessian, correlation, a)
    for lane in range(4):
        exact = float(dim)
        for x in some[:, lane]:
            for y in some[:, lane]:
                count = (dim // 5) ** 2 - (dim // 5 if x == y else 0)
                exact += count * r / 2 * naive.sign_product(x, y, r)
        assert values[lane] == pytest.approx(exact, rel=1e-9)


def test_lanes_do_not_see_each_other():
    rng = np.random.default_rng(2)
    hessian, correlation, _ = random_case("mild", 12, rng)
    a = rng.standard_normal((12, 64))
    whole = integrals(hessian, correlation, a)
    for start, stop in ((0, 1), (1, 4), (4, 30), (30, 64)):
        part = integrals(hessian, correlation, np.ascontiguousarray(a[:, start:stop]))
        np.testing.assert_array_equal(part, whole[start:stop])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(2, 8))
def test_flipping_or_reordering_coordinates_changes_nothing(seed, dim):
    rng = np.random.default_rng(seed)
    hessian, correlation, _ = random_case("structured", dim, rng)
    a = 3 * rng.standard_normal((dim, 5))
    order, flips = rng.permutation(dim), rng.choice([-1.0, 1.0], dim)
    twin = np.outer(flips, flips) * hessian[np.ix_(order, order)]
    twin_correlation = np.outer(flips, flips) * correlation[np.ix_(order, order)]
    twin_a = flips[:, None] * a[order]
    np.testing.assert_allclose(
        integrals(hessian, correlation, a),
        integrals(twin, twin_correlation, twin_a),
        rtol=1e-11,
        atol=1e-12 * np.sum(np.abs(hessian)),
    )
