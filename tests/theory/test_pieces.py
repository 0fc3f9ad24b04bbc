"""Pieces of constant steps in closed form: against the recursion, differences and a search over constants."""

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.theory import families, pieces

H, C, SQUARE = np.array([0.01, 0.5, 2.0]), np.array([0.1, 0.3, 0.0]), np.array([4.0, 1.0, 2.0])


def test_the_loss_is_that_of_the_steps_one_by_one():
    p = qpsim.QuadraticProblem(H, noise=qpsim.noise.diagonal(C))
    sizes, lengths = np.array([0.9, 0.2, 0.01]), pieces.pieces_of(7, 3)
    steps = families.shape("piecewise", 7, 3).steps(sizes)
    expected = theory.expected_excess_loss(p, "sgd", np.sqrt(SQUARE), steps, 7)[-1]
    loss, _ = pieces.loss_and_gradient(sizes, lengths, H, C, SQUARE)
    assert loss == pytest.approx(expected, rel=1e-12)


def test_the_derivatives_agree_with_differences():
    sizes, lengths = np.array([0.9, 0.2, 1e-3]), np.array([40.0, 7.0, 300.0])
    _, gradient = pieces.loss_and_gradient(sizes, lengths, H, C, SQUARE)
    for k in range(3):
        values = []
        for side in (1.0, -1.0):
            moved = sizes.copy()
            moved[k] *= 1.0 + side * 1e-5
            values.append(pieces.loss_and_gradient(moved, lengths, H, C, SQUARE)[0])
        slope = (values[0] - values[1]) / (2e-5 * sizes[k])
        assert gradient[k] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("n_steps", "n_pieces"), [(3, 10), (23, 10), (100, 4)])
def test_pieces_are_those_of_the_family(n_steps, n_pieces):
    steps = families.shape("piecewise", n_steps, n_pieces).steps(np.arange(1.0, n_pieces + 1))
    counts = np.bincount(steps.astype(int))
    np.testing.assert_array_equal(pieces.pieces_of(n_steps, n_pieces), counts[counts > 0])


def test_one_piece_takes_the_fewest_steps_of_a_constant_step():
    p = qpsim.QuadraticProblem(H, noise=qpsim.noise.diagonal(C))
    grid = np.linspace(0.001, 1.0, 4000)
    constant = theory.steps_until(p, "sgd", 0.15, grid, initial_square=SQUARE).min()
    one = pieces.fewest_steps(H, C, SQUARE, 0.15, 1)
    assert constant - 1.0 <= one <= constant
    many = pieces.fewest_steps(H, C, SQUARE, 0.03, 10)
    assert many < pieces.fewest_steps(H, C, SQUARE, 0.03, 1)
    assert pieces.fewest_steps(H, C, SQUARE, 10.0, 10) == 0.0


def test_no_fewer_pieces_and_no_planned_schedule_disagree():
    p = qpsim.QuadraticProblem(H, noise=qpsim.noise.diagonal(C))
    best = qpsim.best_schedule(p, "sgd", 40, np.sqrt(SQUARE), family="piecewise", n_pieces=4)
    loss, sizes = pieces.best_pieces(pieces.pieces_of(40, 4), H, C, SQUARE)
    # The family may take steps above 2 / the largest curvature; here the best ones are below.
    assert sizes.max() < 1.0 and loss == pytest.approx(best.value, rel=1e-5)
