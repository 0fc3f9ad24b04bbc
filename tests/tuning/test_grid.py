"""The search over a grid of step sizes: it finds a minimum of any size, and tries few."""

import math

import numpy as np
import pytest

from qpsim.tuning.grid import (
    Found,
    answered,
    best,
    central,
    chosen_shares,
    edge,
    grid_step,
    largest_stable,
    search,
    translated,
)


def searched(function, first=0, lowest=-900, highest=900, **more):
    """What was tried, and the lists of numbers in the order in which they were asked for."""
    asked = []

    def answer(numbers):
        asked.append(numbers)
        return [function(k) for k in numbers]

    return answered(search(first, lowest, highest, **more), answer), asked


def valley(minimum, stable_up_to=3, moves_from=-15):
    """One minimum; relative to it, the ends of what is stable and of what moves."""
    return lambda k: Found(
        abs(k - minimum - 0.1), k <= minimum + stable_up_to, k >= minimum + moves_from
    )


def test_the_grid_has_the_papers_numbers():
    assert [grid_step(k) for k in range(-6, 4)] == [
        0.01, 0.03, 0.06, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 10.0,
    ]  # fmt: skip


@pytest.mark.parametrize("minimum", [-860, -301, -100, -7, -1, 0, 1, 8, 100, 300, 861])
@pytest.mark.parametrize("first", [-300, 0, 2])
@pytest.mark.parametrize("stable_up_to", [0, 1, 5, 30])
def test_a_minimum_of_any_size_is_found(minimum, first, stable_up_to):
    tried, asked = searched(valley(minimum, stable_up_to), first)
    assert best(tried) == minimum
    assert largest_stable(tried) == minimum + stable_up_to
    assert tried[minimum + stable_up_to + 1].stable is False
    numbers = [k for some in asked for k in some]
    assert len(numbers) == len(set(numbers)) == len(tried) < 50


def test_whole_orders_come_first_and_the_grid_around_the_best_after_them():
    tried, asked = searched(valley(-7, stable_up_to=10))
    assert asked[:7] == [[0], [3], [6], [9], [4], [-3], [-6, -9]]
    first_of_grid = asked.index([-5, -7])
    assert all(k % 3 == 0 for some in asked[7:first_of_grid] for k in some)
    assert asked[first_of_grid:] == [[-5, -7], [-8]]
    assert min(tried) == -27


def test_a_plateau_with_dips_above_the_minimum_does_not_hold_the_search():
    """Adam: stable and nearly flat over four orders of magnitude, the minimum far below them."""

    def adam(k):
        step = grid_step(k)
        if step > 10.0:
            return Found(1.85 + 0.01 * math.sin(7 * k), step < 1e5, True)
        return Found(abs(math.log10(step / 0.1)) - 0.3, True, step > 1e-6)

    tried, _ = searched(adam)
    assert grid_step(best(tried)) == 0.1
    assert grid_step(largest_stable(tried)) == 6e4


def test_a_bump_below_the_first_dip_is_crossed():
    def curve(k):
        height = {6: 5.0, 3: 4.0, 0: 6.0, -3: 9.0, -6: 9.5, -9: 3.0, -10: 1.0, -11: 2.0}
        return Found(height.get(k, 10.0), k <= 6, k >= -20)

    tried, _ = searched(curve, first=3)
    assert best(tried) == -10


def test_both_of_two_lowest_points_are_refined():
    # By whole orders the upper dip is the lower one; the lower one has its depth between two of them.
    heights = {0: 1.0, -1: 0.9, -9: 1.1, -10: 0.2}
    tried, _ = searched(lambda k: Found(heights.get(k, 5.0), k <= 6, k >= -20))
    assert best(tried) == -10


def test_of_equal_scores_the_largest_step_is_the_best():
    tried, _ = searched(lambda k: Found(1.0, k <= 0, k >= -9))
    assert best(tried) == 0


def test_the_search_is_confined_to_some_orders_below_the_largest_stable_step():
    tried, _ = searched(valley(-9, stable_up_to=10), orders=2)
    assert largest_stable(tried) == 1
    assert (best(tried), edge(tried), min(tried)) == (-5, "smallest tried", -5)
    tried, _ = searched(valley(-9, stable_up_to=10), orders=0)
    assert (best(tried), edge(tried)) == (1, "largest stable")
    assert [k for k in tried if tried[k].stable] == [1]


def test_a_best_step_at_an_edge_is_named():
    assert edge(searched(valley(5))[0]) is None
    assert edge(searched(valley(5, stable_up_to=0))[0]) == "largest stable"
    assert edge(searched(lambda k: Found(float(k), True, True), 0, -20, 20)[0]) == "smallest tried"
    assert edge(searched(lambda k: Found(-float(k), True, True), 0, -20, 20)[0]) == "largest stable"


def test_no_best_step():
    all_unstable, asked = searched(lambda k: Found(1.0, False, True))
    assert best(all_unstable) is None and edge(all_unstable) is None
    assert largest_stable(all_unstable) is None
    assert min(all_unstable) == -900 and len(asked) < 20
    motionless, asked = searched(lambda k: Found(1.0, True, False))
    assert not any(found.moves for found in motionless.values())
    assert max(motionless) == 900 and len(asked) < 20
    # Where steps begin to move they are too large at once.
    tried, _ = searched(lambda k: Found(1.0, k <= -40, k > -40))
    assert best(tried) is not None and largest_stable(tried) == -40


def test_what_may_be_the_best_gets_its_neighbours():
    tried, _ = searched(valley(0, 9), chosen=lambda tried: [-6, 3])
    assert {-7, -6, -5, 2, 3, 4} <= set(tried)


def test_a_translated_search_takes_the_same_way():
    def ask(numbers):
        return [str(k) for k in numbers]

    def understand(numbers, answers):
        assert answers == [f"{k}!" for k in numbers]
        return [valley(4)(k) for k in numbers]

    words = translated(search(0, -99, 99), ask, understand)
    assert answered(words, lambda texts: [f"{text}!" for text in texts]) == searched(valley(4))[0]


def test_resampled_runs_choose_the_steps_that_are_not_told_apart():
    generator = np.random.Generator(np.random.PCG64(1))
    scores = generator.normal(size=(64, 4)) + [9.0, 0.0, 0.1, 9.0]
    shares = chosen_shares(scores, np.mean)
    assert shares[0] == shares[3] == 0.0 and min(shares[1:3]) > 0.05
    assert shares.sum() == pytest.approx(1.0)
    assert np.array_equal(shares, chosen_shares(scores, np.mean))
    assert central(shares).tolist() == [1, 2]
    assert chosen_shares(np.array([[np.inf, 2.0, 1.0]]), np.median).tolist() == [0.0, 0.0, 1.0]


def test_the_central_part_leaves_out_what_is_rarely_chosen():
    assert central(np.array([0.02, 0.0, 0.96, 0.02])).tolist() == [2, 2]
    assert central(np.array([0.03, 0.0, 0.94, 0.03])).tolist() == [0, 3]
    assert central(np.array([1.0])).tolist() == [0, 0]
