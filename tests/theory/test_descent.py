"""The search in logarithms: a minimum that is known, and a region without finite values."""

import numpy as np
import pytest

from qpsim.theory.descent import descend

BEST = np.array([0.3, 20.0])


def bowl(x):
    apart = np.log(x / BEST)
    return 1.0 + float(apart @ apart), 2.0 * apart / x


def test_the_minimum_is_found():
    np.testing.assert_allclose(descend(bowl, np.ones(2)), BEST, rtol=1e-5)


def test_bounds_are_kept():
    end = descend(bowl, np.ones(2), bounds=(0.0, 1.0))
    np.testing.assert_allclose(end, [1.0, np.e], rtol=1e-9)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_where_nothing_is_finite_the_search_stays(value):
    end = descend(lambda x: (value, np.full(2, np.nan)), np.array([2.0, 3.0]))
    np.testing.assert_allclose(end, [2.0, 3.0], rtol=1e-12)
