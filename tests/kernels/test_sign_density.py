"""The law of sign descent on a grid: one step by hand, and the adjoint against differences."""

import numpy as np
import pytest
from scipy.special import ndtr

from qpsim.kernels.sign_density import ORDER, back, forth

SPACING = 0.25
TABLE = ndtr(SPACING * np.arange(200))


def run(mass, first, lengths, negligible=0.0):
    n = lengths.size
    lows, begins = np.empty(n + 1, dtype=np.int64), np.empty(n + 2, dtype=np.int64)
    held, losses = np.empty(20_000), np.empty(n + 1)
    enough, lost = forth(
        TABLE, SPACING, first, mass, lengths, negligible, lows, begins, held, losses
    )
    return enough, lost, lows, begins, held, losses


@pytest.mark.parametrize("length", [0.0, 0.25, 0.1, 0.7, 3.14])
def test_a_step_keeps_the_means_of_all_polynomials_of_degree_5(length):
    mass = np.array([0.2, 0.5, 0.3])
    enough, _, lows, begins, held, losses = run(mass, 1, np.array([length]))
    assert enough
    x = SPACING * np.arange(1, 4)
    after = held[begins[1] : begins[2]]
    places = SPACING * (lows[1] + np.arange(after.size))
    for degree in range(ORDER):
        expected = mass @ (ndtr(x) * (x - length) ** degree + ndtr(-x) * (x + length) ** degree)
        assert after @ places**degree == pytest.approx(expected, rel=1e-8), degree
    assert losses[1] == pytest.approx(after @ places**2, rel=1e-13)


def test_the_law_is_symmetric():
    lengths = np.array([0.3, 0.8, 0.11])
    mass = np.array([0.2, 0.5, 0.3])
    *_, right = run(mass, 1, lengths)
    *_, left = run(mass[::-1].copy(), -3, lengths)
    np.testing.assert_allclose(left, right, rtol=1e-13)


@pytest.mark.parametrize("negligible", [0.0, 1e-12])
def test_the_adjoint_agrees_with_differences(negligible):
    lengths = np.array([0.33, 0.8, 0.11, 0.0, 0.5])
    weight = np.array([0.1, 0.0, 0.3, 0.2, 1.0])
    mass, gradient = np.array([0.2, 0.5, 0.3]), np.zeros(5)
    _, _, lows, begins, held, _ = run(mass, 9, lengths, negligible)
    back(TABLE, SPACING, lengths, weight, lows, begins, held, gradient)
    for t in range(5):
        h = 1e-5
        if lengths[t] == 0.0:
            # There is no shorter step: one-sided, of second order.
            ends = [run(mass, 9, lengths + k * h * (np.arange(5) == t))[-1][1:] for k in range(3)]
            slope = weight @ (4.0 * ends[1] - ends[2] - 3.0 * ends[0]) / (2.0 * h)
        else:
            up, down = (run(mass, 9, lengths + k * h * (np.arange(5) == t))[-1] for k in (1, -1))
            slope = weight @ (up - down)[1:] / (2.0 * h)
        # A step of 0 is taken to be 1e-11 cells long; what is dropped is missing in both, not to the same digits.
        rel = 1e-5 if negligible else 1e-6 if lengths[t] == 0.0 else 1e-7
        assert gradient[t] == pytest.approx(slope, rel=rel), t


def test_what_is_dropped_is_told_and_too_little_room_too():
    lengths = np.full(20, 0.8)
    mass = np.array([1.0])
    _, none, *_, exact = run(mass, 4, lengths)
    _, lost, _, begins, _, losses = run(mass, 4, lengths, 1e-6)
    assert none == 0.0 < lost < 1e-3
    assert np.abs(losses - exact).max() < 20.0 * lost
    assert begins[-1] < 20_000 // 4
    assert not run(mass, 4, np.full(20, 500.0))[0]
