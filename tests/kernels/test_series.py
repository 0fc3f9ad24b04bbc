"""Signs of many coordinates, as a series and a rest, against Owen's T and many nodes for every pair."""

import math

import numpy as np
import pytest
from scipy.special import erf

import qpsim
from qpsim import theory
from qpsim.kernels import sign_table, signs
from tests import naive

POWER_LAW = np.geomspace(1e-3, 10.0, 64)


def haar(spectrum, dim, noise_std=0.1):
    return qpsim.random_problem(spectrum, dim=dim, basis="haar", noise_std=noise_std, rng=dim)


def table_of(problem):
    table = sign_table.pair_table(np.array(problem.hessian), problem.gradient_correlation())
    assert table.single.entries.size > 0
    return table


def integrals(table, a, scale=None):
    """The integrals (lanes,), by a kernel that is compiled for C-ordered arrays alone."""
    out = np.full(a.shape[1], np.nan)
    scale = np.ones(a.shape) if scale is None else scale
    signs.sign_integrals(table, np.ascontiguousarray(a), np.ascontiguousarray(scale), out)
    return out


def forms(problem, a, scale=None):
    """E[z^T Q z] of scaled signs (lanes,), as a step loop puts it together."""
    q, s = np.array(problem.hessian), np.ones_like(a) if scale is None else scale
    mean = s * erf(a / math.sqrt(2))
    out = integrals(table_of(problem), a, scale)
    return out + np.diag(q) @ (s * s - mean * mean) + np.sum(mean * (q @ mean), axis=0)


def means(problem, theta):
    """gradient / deviation (d, points)."""
    return (problem.gradient(theta) / problem.gradient_std()).T


def assert_exact(problem, theta, scale=None, tolerance=1e-9):
    """Against :mod:`qpsim.theory`, which takes Owen's T or Legendre nodes for every pair."""
    a = means(problem, theta)
    s = np.ones_like(a) if scale is None else scale
    moments = theory.sign_second_moment(problem, theta)
    exact = np.einsum("il,jl,ij,lij->l", s, s, problem.hessian, moments)
    np.testing.assert_allclose(forms(problem, a, scale), exact, rtol=tolerance)


@pytest.mark.parametrize("noise_std", [0.01, 0.1, 4.0])
@pytest.mark.parametrize(
    ("spectrum", "dim"),
    [("mild", 32), ("mild", 100), ("mild", 300), ("structured", 33), ("structured", 100),
     ("structured", 300), (POWER_LAW, 64)],
)  # fmt: skip
def test_the_form_along_a_run_and_far_from_it(spectrum, dim, noise_std):
    problem = haar(spectrum, dim, noise_std)
    run = qpsim.simulate(
        problem, "ssd", n_steps=40, n_replicates=1, rng=1, record={"theta": [0, 3, 15, 40]}
    )
    rng = np.random.default_rng(dim)
    around = problem.optimum + noise_std * rng.standard_normal((4, dim))
    assert_exact(problem, np.concatenate([run.theta[0], around, [problem.optimum]]))


@pytest.mark.parametrize("size", [0.3, 1.0, 1.5, 2.5])
@pytest.mark.parametrize("spectrum", ["mild", "structured"])
def test_the_form_where_it_is_small_against_its_parts(spectrum, size):
    """Means along the flattest directions: their signs' form is small, what is summed is not."""
    problem = haar(spectrum, 64)
    _, vectors = np.linalg.eigh(problem.hessian)
    flat, steep = vectors[:, :4], vectors[:, -4:]
    directions = np.concatenate([np.sign(flat), 8.0 * flat, np.sign(steep)], axis=1)
    gradients = size * directions * problem.gradient_std()[:, None]
    assert_exact(problem, problem.optimum + np.linalg.solve(problem.hessian, gradients).T)


def test_scales_that_leave_few_coordinates():
    problem = haar("structured", 48)
    rng = np.random.default_rng(3)
    theta = problem.optimum + 0.1 * rng.standard_normal((8, 48))
    scale = 10.0 ** rng.uniform(-6, 0, (48, 8))
    assert_exact(problem, theta, scale)
    assert_exact(problem, theta, np.where(scale > 0.3, scale, 0.0))


def test_the_form_is_that_of_64_nodes_and_of_any_sign_of_the_coordinates():
    problem = haar("structured", 48)
    q, r = np.array(problem.hessian), problem.gradient_correlation()
    rng = np.random.default_rng(2)
    a, scale = rng.standard_normal((48, 4)), rng.uniform(0.2, 1, (48, 4))
    values = forms(problem, a, scale)
    for lane in range(2):
        exact = naive.sign_form(q, r, a[:, lane], scale[:, lane])
        assert values[lane] == pytest.approx(exact, rel=1e-9)
    flips = rng.choice([-1.0, 1.0], 48)
    twin = qpsim.QuadraticProblem(np.outer(flips, flips) * q)
    np.testing.assert_allclose(forms(twin, flips[:, None] * a, scale), values, rtol=1e-9)


@pytest.mark.parametrize("near", [0.95, 0.999, 1 - 1e-7, 1 - 1e-12])
def test_a_few_pairs_near_correlation_1_are_left_out_of_the_head(near):
    problem = haar("mild", 40)
    q, r = np.array(problem.hessian), problem.gradient_correlation().copy()
    r[3, 7] = r[7, 3] = near
    r[0, 39] = r[39, 0] = -near
    table = sign_table.pair_table(q, r)
    assert table.steps.size > 0 and table.pairs_2.size + table.pairs_3.size > 0
    a = np.random.default_rng(0).standard_normal((40, 3))
    a[7, 0], a[39, 1] = a[3, 0] + 1e-3, -a[0, 1]
    out = integrals(table, a)
    for lane in range(3):
        mean = erf(a[:, lane] / math.sqrt(2))
        exact = naive.sign_form(q, r, a[:, lane], np.ones(40))
        value = out[lane] + mean @ (q - np.diag(np.diag(q))) @ mean + np.trace(q)
        assert value == pytest.approx(exact, rel=1e-9)


def test_means_without_noise_end_the_series():
    a = np.where(np.random.default_rng(0).standard_normal((40, 16)) > 0, np.inf, -np.inf)
    out = integrals(table_of(haar("structured", 40)), a)
    assert np.all(np.abs(out) < 1e-250)


def test_a_lane_without_numbers_spoils_no_other():
    table = table_of(haar("mild", 40))
    a = np.random.default_rng(0).standard_normal((40, 64))
    out = integrals(table, a)
    a[5, 17] = np.nan
    spoilt = integrals(table, a)
    others = np.arange(64) != 17
    assert np.array_equal(out[others], spoilt[others])


def test_unit_scales_and_no_scales_give_the_same_bits_for_any_number_of_lanes():
    table = table_of(haar("structured", 40))
    a = np.random.default_rng(1).standard_normal((40, 100))
    whole = integrals(table, a)
    for start, stop in ((0, 1), (1, 18), (18, 64), (20, 100)):
        assert np.array_equal(integrals(table, a[:, start:stop]), whole[start:stop])


def test_a_small_problem_has_no_head_and_no_series_means_quadrature_alone():
    for problem, series in ((haar("mild", 8), True), (haar("mild", 64), False)):
        q, r = np.array(problem.hessian), problem.gradient_correlation()
        table = sign_table.pair_table(q, r, series=series)
        assert table.double.shape[0] == 1
        assert table.steps.size == table.single.entries.size == table.rest_pairs.size == 0
        seen = {
            pair for i, j, *_ in table.groups() for pair in zip(i.tolist(), j.tolist(), strict=True)
        }
        assert len(seen) == problem.dim * (problem.dim - 1) // 2


def test_pairs_without_coupling_are_in_no_sum():
    problem = haar("structured", 40)
    q, r = np.array(problem.hessian), problem.gradient_correlation()
    q[:20, 20:] = q[20:, :20] = 0.0
    table = sign_table.pair_table(q, r)
    i, j = table.rest_pairs.T
    assert i.size > 0 and np.array_equal(i < 20, j < 20)
    a = np.random.default_rng(1).standard_normal((40, 2))
    out, parts = integrals(table, a), np.empty((2, 2))
    for k, half in enumerate((slice(0, 20), slice(20, 40))):
        block = sign_table.pair_table(np.ascontiguousarray(q[half, half]), r[half, half])
        parts[k] = integrals(block, a[half])
    np.testing.assert_allclose(out, parts.sum(axis=0), atol=1e-9 * np.trace(q))


def test_replicates_do_not_depend_on_how_many_there_are():
    problem = qpsim.random_problem("mild", dim=48, basis="haar", noise_std=0.5, rng=0)
    many = qpsim.simulate(problem, "ssd", n_steps=4, n_replicates=70, rng=3, workers=2)
    for n in (1, 5, 9, 17, 33):
        few = qpsim.simulate(problem, "ssd", n_steps=4, n_replicates=n, rng=3, workers=1)
        assert np.array_equal(few.excess_loss, many.excess_loss[:n])
