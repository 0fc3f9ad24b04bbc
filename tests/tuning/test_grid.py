"""The walk of Appendix A.2: what it asks for, where it ends, the same through another's mouth."""

import pytest

from qpsim.tuning.grid import answered, downwards, grid_step, largest_stable, translated


def test_the_grid_has_the_papers_numbers():
    assert [grid_step(k) for k in range(-6, 4)] == [
        0.01, 0.03, 0.06, 0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 10.0,
    ]  # fmt: skip


@pytest.mark.parametrize("first", [-5, 0, 3, 9])
@pytest.mark.parametrize("edge", [-7, -1, 2, 8])
def test_the_largest_stable_step_is_found_from_above_and_from_below(first, edge):
    asked = []

    def stable(k):
        asked.append(k)
        return k <= edge

    assert answered(largest_stable(first, -20, 20), stable) == edge
    between = range(first, edge + 2) if first <= edge else range(first, edge - 1, -1)
    assert asked == list(between)


def test_a_walk_ends_where_the_grid_does():
    assert answered(largest_stable(0, -5, 4), lambda k: True) == 4
    asked = []
    assert answered(largest_stable(0, -5, 4), asked.append) is None
    assert asked == [0, -1, -2, -3, -4, -5]
    assert answered(downwards(2, 1, -3), lambda ks: [float(k) for k in ks]) == [2, 1, 0, -1, -2, -3]
    assert answered(downwards(2, 2, 0), lambda ks: [float(k) for k in ks]) == [2, 1, 0]


def test_the_grid_goes_on_only_while_its_end_is_the_best():
    rounds = []

    def scores(asked):
        rounds.append(asked)
        return [abs(k + 7.0) for k in asked]

    assert answered(downwards(0, 2, -20), scores)[-1] == -8
    assert rounds == [[0, -1, -2, -3, -4, -5, -6], [-7], [-8]]
    # Equal ones are no improvement; with no orders there is nothing to compare.
    assert answered(downwards(0, 1, -20), lambda ks: [1.0] * len(ks)) == [0, -1, -2, -3]
    assert answered(downwards(0, 0, -20), lambda ks: [1.0] * len(ks)) == [0]


def test_a_translated_walk_takes_the_same_way():
    words = translated(largest_stable(0, -9, 9), str, lambda k, found: found == f"yes to {k}")
    assert answered(words, lambda k: f"yes to {k}" if int(k) < 5 else "no") == 4
