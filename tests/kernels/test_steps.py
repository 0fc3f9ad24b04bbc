"""The small kernels of the step loops, at the values where they could go wrong."""

import math

import numpy as np
import pytest

import qpsim
from qpsim.kernels import columns, coupled, diagonal, dispatch, observed
from qpsim.kernels.arguments import Lanes, Record, Steps
from qpsim.kernels.jit import jit
from qpsim.kernels.moments import ratio_or_zero as ratios
from qpsim.kernels.noise import seed_lanes
from qpsim.kernels.record import LARGEST_LOSS, record_loss
from qpsim.simulation.stepsize import resolve

INF, NAN = math.inf, math.nan
GIVEN = resolve(0.1, 1)


@jit
def ratio_or_zero(numerator, denominator, out):
    ratios(numerator, denominator, out)


@jit
def inner(a, b, out):
    columns.inner(a, b, out)


@jit
def add_inner(a, b, out):
    columns.add_inner(a, b, out)


def test_a_ratio_is_taken_or_is_zero():
    above = np.array([1.0, -3.0, 0.0, 1.0, 1.0, NAN, 1.0, INF, 1e200, 1.0, INF])
    below = np.array([2.0, 1.5, 0.0, 0.0, -1.0, 1.0, NAN, 1.0, 1e-200, INF, INF])
    out = np.full(above.size, NAN)
    ratio_or_zero(above, below, out)
    np.testing.assert_array_equal(out, [0.5, -2.0, 0, 0, 0, 0, 0, 0, 0, 0, 0])


def test_a_lane_that_has_diverged_stays_infinite():
    diverged = np.zeros(6, np.uint8)
    out = np.empty(6)
    record_loss(np.array([1.0, -1e-18, NAN, INF, INF, LARGEST_LOSS]), diverged, out)
    np.testing.assert_array_equal(out, [1.0, 0.0, INF, INF, INF, LARGEST_LOSS])
    record_loss(np.array([1.0, 1.0, 1.0, 1.0, 1.0, INF]), diverged, out)
    np.testing.assert_array_equal(out, [1.0, 1.0, INF, INF, INF, INF])
    np.testing.assert_array_equal(diverged, [0, 0, 1, 1, 1, 1])


@jit
def one_relative_variance(gradient, variance):
    return observed.relative_variance(gradient, variance)


@pytest.mark.parametrize("variance", [0.0, 0.5])
def test_the_relative_variance_of_nothing_is_nothing_and_of_noise_alone_infinite(variance):
    gradient = np.array([2.0, -1.0, 0.0, 1e-200, 1e200])
    out = np.array([one_relative_variance(g, variance) for g in gradient])
    alone = INF if variance else 0.0
    expected = [variance / 4, variance, alone, alone, 0.0]
    np.testing.assert_allclose(out, expected, rtol=1e-15)


@pytest.mark.parametrize("lanes", [1, 7, 64])
def test_quadratic_forms_of_columns(lanes):
    draws = np.random.Generator(np.random.PCG64(0))
    half, a, b = (draws.normal(size=(5, n)) for n in (5, lanes, lanes))
    q = half @ half.T
    out = np.full(lanes, NAN)
    inner(a, b, out)
    np.testing.assert_allclose(out, (a * b).sum(axis=0), rtol=1e-13, atol=1e-13)
    add_inner(a, a, out)
    np.testing.assert_allclose(out, (a * (a + b)).sum(axis=0), rtol=1e-12, atol=1e-13)
    gradient = np.full((5, lanes), NAN)
    method = qpsim.method("ssd")
    problem = qpsim.QuadraticProblem(q).prepared(method, GIVEN, 1, 1e-9)
    stream = seed_lanes(np.random.SeedSequence(0), 0, lanes)
    where = Lanes(a, np.empty((0, 5, lanes)), stream, np.zeros(lanes, np.uint8))
    none = Steps(0, GIVEN.code, np.empty(0), None, np.zeros(1, np.uint8))
    record = Record(np.empty((0, lanes)), np.empty((0, lanes)), np.empty((0, lanes)))
    out = coupled.advance(
        method.hyper, problem.arguments, problem.n_normals, where, gradient, none, record
    )
    np.testing.assert_allclose(gradient, q @ a, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(out, 0.5 * np.einsum("il,ij,jl->l", a, q, a), rtol=1e-12)
    diagonal.excess_loss(np.arange(1.0, 6.0), a, out)
    np.testing.assert_allclose(out, 0.5 * np.arange(1.0, 6.0) @ a**2, rtol=1e-13)


@jit
def one_move(hyper, gradient, extra, states, t):
    return dispatch.move(hyper, gradient, extra, states, 0, 0, t)


@jit
def form_of(hyper, extra, states, t):
    scale = dispatch.scale(hyper, extra, states, 0, 0, t)
    return scale, dispatch.offset(hyper, extra, states, 0, 0, t)


@pytest.mark.parametrize("name", ["sgd", "ssd", "svag", "va-ssd", "va-ssd-erf", "m-sgd", "m-ssd"])
def test_scale_and_offset_describe_a_move_and_leave_the_state(name):
    method = qpsim.method(name)
    shape = (len(method.state_names), 1, 1)
    for buffer in (0.0, 0.3, -70.0):
        states = np.full(shape, buffer)
        scale, offset = form_of(method.hyper, 0.8, states, 2.0)
        np.testing.assert_array_equal(states, np.full(shape, buffer))
        for gradient in (-1.5, 0.2, 90.0):
            moved = one_move(method.hyper, gradient, 0.8, states.copy(), 2.0)
            inside = gradient + offset
            expected = scale * (inside if method.closed_form == "linear" else np.sign(inside))
            assert moved == pytest.approx(expected, rel=1e-12)


def test_a_move_replaces_the_state_of_its_own_cell_alone():
    method = qpsim.method("m-sgd")
    states = np.full((1, 2, 3), 5.0)
    assert one_move(method.hyper, 1.0, 0.0, states, 1.0) == 5.5
    expected = np.full((1, 2, 3), 5.0)
    expected[0, 0, 0] = 5.5
    np.testing.assert_array_equal(states, expected)


def test_infinite_relative_variance_stops_the_oracles():
    for name in ("svag", "va-ssd", "va-ssd-erf"):
        hyper = qpsim.method(name).hyper
        states = np.zeros((0, 1, 1))
        assert one_move(hyper, 0.7, INF, states, 1.0) == 0.0
        assert form_of(hyper, INF, states, 1.0)[0] == 0.0
        assert one_move(hyper, 0.7, 0.0, states, 1.0) == (0.7 if name == "svag" else 1.0)
