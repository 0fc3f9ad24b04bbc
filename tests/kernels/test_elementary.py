"""Elementary functions: numbers regenerated, errors against 40 digits, loops vectorised."""

import math
import re

import mpmath as mp
import numpy as np
import pytest

from qpsim.kernels import elementary
from qpsim.kernels.jit import jit


@jit
def map_exp(x, out):
    for k in range(x.size):
        out[k] = elementary.exp(x[k])


@jit
def map_exp2_negative(x, out):
    for k in range(x.size):
        out[k] = elementary.exp2_negative(x[k])


@jit
def map_exp2_minus_square(x, out):
    for k in range(x.size):
        out[k] = elementary.exp2_minus_square(x[k])


@jit
def map_log(x, out):
    for k in range(x.size):
        out[k] = elementary.log(x[k])


@jit
def map_erf(x, out):
    for k in range(x.size):
        out[k] = elementary.erf(x[k])


@jit
def map_quick_erf(x, out):
    for k in range(x.size):
        out[k] = elementary.quick_erf(x[k])


@jit
def map_minus_twice_log(x, out):
    for k in range(x.size):
        out[k] = elementary.minus_twice_log(TWO_TO_53 * x[k])


@jit
def map_sin(x, out):
    for k in range(x.size):
        out[k] = elementary.sincos_of_word(np.uint64(x[k] * TWO_TO_53) << SHIFT)[0]


@jit
def map_cos(x, out):
    for k in range(x.size):
        out[k] = elementary.sincos_of_word(np.uint64(x[k] * TWO_TO_53) << SHIFT)[1]


TWO_TO_53, SHIFT = 2.0**53, np.uint64(11)
MAPS = (
    map_exp,
    map_exp2_negative,
    map_exp2_minus_square,
    map_log,
    map_minus_twice_log,
    map_erf,
    map_quick_erf,
    map_sin,
    map_cos,
)


def evaluate(function, x):
    x = np.asarray(x, dtype=float)
    out = np.empty_like(x)
    function(x, out)
    return out


def horner(ascending, x):
    """The polynomial with these coefficients, of rising order."""
    value = mp.mpf(0)
    for coefficient in reversed(list(ascending)):
        value = value * x + coefficient
    return value


def by_squares(form, x):
    """The polynomial that `elementary.by_squares` makes of these numbers."""
    (c, b, a), *steps = form
    value = c + b * x + a * x * x
    for shift, rest in steps:
        value = value * (x * x + shift) + rest
    return value


def minimax(target, degree, low, high, weight, grid=600, rounds=12):
    """The polynomial (constant first) of least weighted error, by Remez exchange."""
    n = degree + 2
    net = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / grid) for k in range(grid + 1)]
    points = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / (n - 1)) for k in range(n)]
    values = [(x, target(x), weight(x)) for x in net]
    for _ in range(rounds):
        system, right = mp.matrix(n, n), mp.matrix(n, 1)
        for row, x in enumerate(points):
            for column in range(degree + 1):
                system[row, column] = x**column
            system[row, n - 1] = (-1) ** row / weight(x)
            right[row] = target(x)
        solution = list(mp.lu_solve(system, right))
        errors = [w * (horner(solution[:-1], x) - t) for x, t, w in values]
        extrema = []  # the largest error of each run of one sign
        for k, error in enumerate(errors):
            if extrema and (errors[extrema[-1]] > 0) == (error > 0):
                if abs(error) > abs(errors[extrema[-1]]):
                    extrema[-1] = k
            else:
                extrema.append(k)
        while len(extrema) > n:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        if len(extrema) < n or max(map(abs, errors)) < abs(solution[-1]) * 1.01:
            break
        points = [net[k] for k in extrema]
    return [float(c) for c in solution[:-1]]


def exp_curvature(r):
    return (mp.expm1(r) - r) / r**2 if abs(r) > mp.mpf(10) ** -9 else mp.mpf(1) / 2 + r / 6


def artanh_series(z):
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z if z > 1e-14 else mp.mpf(2) / 3 + 2 * z / 5


def sine_over_turns(z):
    return mp.sin(2 * mp.pi * mp.sqrt(z)) / mp.sqrt(z) if z > 0 else 2 * mp.pi


def cosine_of_turns(z):
    return mp.cos(2 * mp.pi * mp.sqrt(z))


def powers_of_2(degree):
    ends = mp.mpf("-.5001"), mp.mpf(".5001")
    return minimax(lambda r: mp.mpf(2) ** r, degree, *ends, lambda r: mp.mpf(2) ** -r)


def recipes():
    ln2 = mp.log(2)
    half = ln2 / 2 * mp.mpf("1.0001")
    tiny = mp.mpf(10) ** -10
    s = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)
    return {
        "EXP": lambda: minimax(exp_curvature, 9, -half, half, lambda r: r**2 / mp.exp(r) + 1e-6),
        "EXP2": lambda: powers_of_2(8),
        "EXP2_SHORT": lambda: powers_of_2(7),
        "LOG": lambda: minimax(
            artanh_series, 6, mp.mpf(0), s**2 * mp.mpf("1.001"), lambda z: z / 2 + tiny
        ),
        "SIN_TURNS": lambda: minimax(
            sine_over_turns, 6, mp.mpf(0), mp.mpf(1) / 64, lambda z: 1 / sine_over_turns(z)
        ),
        "COS_TURNS": lambda: minimax(
            cosine_of_turns, 7, mp.mpf(0), mp.mpf(1) / 64, lambda z: 1 / cosine_of_turns(z)
        ),
    }


@pytest.mark.parametrize("name", ["EXP", "EXP2", "EXP2_SHORT", "LOG", "SIN_TURNS", "COS_TURNS"])
def test_the_recipe_gives_the_coefficients(name):
    with mp.workdps(40):
        assert recipes()[name]() == pytest.approx(getattr(elementary, name), rel=1e-9)


def test_the_error_function_s_ratio_is_as_good_as_a_double():
    with mp.workdps(40):
        for k in range(1, 601):
            x = mp.mpf(k) / 100
            above = horner(elementary.ERF_ABOVE, x * x)
            below = horner(elementary.ERF_BELOW, x * x)
            assert abs(x * above / below / mp.erf(x) - 1) < 2e-16
    assert min(elementary.ERF_ABOVE + elementary.ERF_BELOW) > 0


def test_the_quick_error_function_s_ratio():
    with mp.workdps(40):
        for k in range(1, 501):
            x = mp.mpf(k) / 100
            above = by_squares(elementary.QUICK_ERF_ABOVE, x * x)
            below = by_squares(elementary.QUICK_ERF_BELOW, x * x)
            assert abs(x * above / below / mp.erf(x) - 1) < 5e-12


@pytest.mark.parametrize("name", ["QUICK_ERF_ABOVE", "QUICK_ERF_BELOW"])
def test_the_quick_error_function_s_polynomials_cancel_nothing(name):
    """Rounded at every step they are those of many digits, although not all of their numbers are positive."""
    for x in np.linspace(0.0, 5.0, 501):
        form = getattr(elementary, name)
        with mp.workdps(40):
            exact = by_squares(form, mp.mpf(float(x)) ** 2)
            assert abs(mp.mpf(by_squares(form, float(x) ** 2)) / exact - 1) < 1e-14


def test_the_constants_are_what_they_say():
    with mp.workdps(40):
        ln2 = mp.log(2)
        assert float(ln2) == elementary.LN2
        assert float(ln2 - elementary.LN2) == elementary.LN2_TAIL
        assert float(mp.floor(ln2 * 2**32) / 2**32) == elementary.LN2_SHORT
        assert float(ln2 - elementary.LN2_SHORT) == elementary.LN2_REST
        assert float(1 / ln2) == elementary.LOG2_E
    bits = {math.sqrt(0.5): elementary.SQRT_HALF_BITS}
    bits[elementary.ROUNDER] = elementary.ROUNDER_BITS
    for number, pattern in bits.items():
        assert np.float64(number).view(np.int64) == pattern
    assert elementary.ROUNDER == 1.5 * 2**52


def ulps(values, exact):
    """Largest error in units in the last place of the value."""
    return max(
        abs(float((mp.mpf(v) - e) / mp.mpf(math.ulp(v))))
        for v, e in zip(values, exact, strict=True)
    )


def test_exp_is_within_a_unit_in_the_last_place():
    x = np.concatenate([np.linspace(-708, 709.7, 3001), np.linspace(-1, 1, 1001), [1e-300, 0.0]])
    with mp.workdps(40):
        assert ulps(evaluate(map_exp, x).tolist(), [mp.exp(v) for v in x.tolist()]) < 1.0


def test_exp_at_its_ends():
    x = [-np.inf, -1e300, -708.5, 0.0, 709.782, 710.0, np.inf, np.nan]
    expected = [0.0, 0.0, 0.0, 1.0, np.exp(709.782), np.inf, np.inf, np.nan]
    np.testing.assert_allclose(evaluate(map_exp, x), expected, rtol=3e-16)


def test_exp2_negative_is_within_1e_12():
    y = -(np.linspace(0, 1000, 5003) ** 1.3) / 1000**0.3
    with mp.workdps(40):
        exact = [mp.power(2, v) for v in y.tolist()]
        values = evaluate(map_exp2_negative, y).tolist()
        assert max(abs(v / e - 1) for v, e in zip(values, exact, strict=True)) < 1e-12
    assert evaluate(map_exp2_negative, [-1e9, -np.inf]).tolist() == pytest.approx([2.0**-1000] * 2)


def test_exp2_minus_square_is_within_5e_11():
    u = np.concatenate([np.linspace(-31, 31, 4001), np.geomspace(1e-9, 1, 500)])
    with mp.workdps(40):
        exact = [mp.power(2, -(mp.mpf(v) ** 2)) for v in u.tolist()]
        values = evaluate(map_exp2_minus_square, u).tolist()
        assert max(abs(v / e - 1) for v, e in zip(values, exact, strict=True)) < 5e-11
    assert np.all(np.abs(evaluate(map_exp2_minus_square, [32.0, -500.0, 1e6])) < 1e-200)


def test_log_is_within_a_unit_in_the_last_place():
    x = np.concatenate(
        [
            np.exp(np.linspace(-700, 700, 2001)),
            np.linspace(0.5, 2, 2001),
            1 - np.geomspace(2.0**-53, 0.5, 500),
            1 + np.geomspace(2.0**-52, 0.5, 500),
        ]
    )
    with mp.workdps(40):
        assert ulps(evaluate(map_log, x).tolist(), [mp.log(v) for v in x.tolist()]) < 1.0
    assert evaluate(map_log, [1.0]) == 0.0


def test_minus_twice_the_logarithm_has_the_bits_of_the_logarithm():
    draws = np.random.default_rng(4).integers(1, 2**53, 20_000)
    count = np.concatenate([draws, 2 ** np.arange(54), 2**53 - np.arange(1000), [1, 2, 3]])
    u = count / 2.0**53
    np.testing.assert_array_equal(evaluate(map_minus_twice_log, u), -2 * evaluate(map_log, u))


def test_sine_and_cosine_of_turns():
    u = np.concatenate([np.arange(4096) / 4096, np.random.default_rng(1).random(2000), [2.0**-53]])
    u = np.append(u, 1 - 2.0**-53)
    with mp.workdps(40):
        angles = [2 * mp.pi * mp.mpf(v) for v in u.tolist()]
        for function, exact in ((map_sin, mp.sin), (map_cos, mp.cos)):
            values = evaluate(function, u)
            truth = [exact(angle) for angle in angles]
            error = [abs(v - t) for v, t in zip(values.tolist(), truth, strict=True)]
            # the angle of 40 digits leaves 1e-40 where the sine or cosine is 0
            assert max(e / max(abs(t), 1e-20) for e, t in zip(error, truth, strict=True)) < 3e-16
    assert evaluate(map_sin, [0, 0.25, 0.5, 0.75]).tolist() == [0, 1, 0, -1]
    assert evaluate(map_cos, [0, 0.25, 0.5, 0.75]).tolist() == [1, 0, -1, 0]


def test_erf_absolute_and_relative_error():
    x = np.concatenate([np.linspace(0, 6.5, 4001), np.geomspace(1e-300, 1, 1000)])
    x = np.concatenate([x, -x])
    values = evaluate(map_erf, x)
    with mp.workdps(40):
        exact = [mp.erf(v) for v in x.tolist()]
        error = [abs(v - e) for v, e in zip(values.tolist(), exact, strict=True)]
        assert max(d / abs(e) for d, e in zip(error, exact, strict=True) if e) < 8e-16
    assert np.all(np.abs(values) <= 1)


def test_the_quick_error_function_is_within_7e_12():
    x = np.concatenate([np.linspace(0, 6.5, 4001), np.geomspace(1e-300, 1, 1000)])
    x = np.concatenate([x, -x])
    values = evaluate(map_quick_erf, x)
    with mp.workdps(40):
        exact = [mp.erf(v) for v in x.tolist()]
        error = [abs(v - e) for v, e in zip(values.tolist(), exact, strict=True)]
        assert max(d / abs(e) for d, e in zip(error, exact, strict=True) if e) < 7e-12
    ends = evaluate(map_quick_erf, [-np.inf, -1e300, -5.0, -0.0, 0.0, 5.0, np.inf, np.nan])
    np.testing.assert_allclose(ends, [-1, -1, -1, -0.0, 0, 1, 1, np.nan], rtol=7e-12)
    assert np.signbit(ends[3])
    assert not np.signbit(ends[4])


def test_erf_at_its_ends():
    values = evaluate(map_erf, [-np.inf, -1e300, -6.5, -0.0, 0.0, 6.5, np.inf, np.nan])
    np.testing.assert_array_equal(values, [-1, -1, -1, -0.0, 0, 1, 1, np.nan])
    assert np.signbit(values[3])
    assert not np.signbit(values[4])


@pytest.mark.parametrize("function", MAPS)
def test_any_number_of_lanes_gives_the_same_bits(function):
    x = np.random.default_rng(2).random(67)
    x = -x if function is map_exp2_negative else x
    whole = evaluate(function, x)
    for start, stop in ((0, 1), (1, 4), (4, 20), (20, 67)):
        np.testing.assert_array_equal(evaluate(function, x[start:stop]), whole[start:stop])


@pytest.mark.parametrize("function", MAPS)
def test_the_loop_over_lanes_is_vector_code(function):
    evaluate(function, np.full(8, 0.5))
    (text,) = function.inspect_llvm().values()
    assert re.search(r"call .*<\d+ x double> @llvm\.fma\.v\d+f64", text)
