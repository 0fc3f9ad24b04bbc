"""Statistics of replicates in groups, such as several runs on each of several random problems.

Replicates of one problem share its spectrum and rotation, so that they are not independent samples. Intervals here
include the variation between problems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from statistics import NormalDist

import numpy as np

# Up to so many groups all patterns of signs are enumerated; for more, the Gaussian limit is accurate enough.
_COUNTED = 12


def median_interval(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[int] | np.ndarray,
    *,
    level: float = 0.95,
) -> tuple[float, tuple[float, float]]:
    """Median of a grouped sample, and a confidence interval for the median of the population.

    The population includes other groups than those sampled (all random problems, not only those drawn). If m is its
    median, the fraction of a random group's values below m, minus 1/2, has mean 0. The interval contains every m for
    which a test does not reject this: the sum of the groups' fractions is compared with the sums under random signs (a
    randomisation test, Pitman, 1937).

    Parameters
    ----------
    values : array_like, shape (n,)
        Infinities may be among them.
    groups : array_like of int, shape (n,)
        Number of the group of each value. With a single group its members are taken as independent, and the interval is
        for the median of that group alone.
    level : float, default 0.95

    Returns
    -------
    median, (low, high)
        Ends are sample values, or infinite: with fewer than 6 groups no interval of level 0.95 exists
        that holds for every distribution, since all groups lie on one side of the population's median
        with probability 2^(1 - groups).

    Notes
    -----
    Coverage of a nominal 95 %, measured with 8 problems of 32 replicates on the ratios of Figure 2
    (:mod:`qpsim.verdicts.figure2`): 94 to 97.5 % in the twelve panels (standard error 0.5 %). A bootstrap of
    problems and replicates covers 88 to 98 % there, and least where the sample is skewed.

    Examples
    --------
    >>> from qpsim.simulation.statistics import median_interval
    >>> median_interval([1, 2, 3, 4, 5, 6, 7, 8], range(8))
    (4.5, (1.0, 8.0))
    >>> median_interval([1, 2, 3, 4], [0, 0, 1, 1])
    (2.5, (-inf, inf))
    """
    sample = np.asarray(values, dtype=float)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if names.size == 1:
        member = np.arange(sample.size)
    count = int(member.max()) + 1
    ends, at = np.unique(sample, return_inverse=True)
    # Columns are the gaps before, between and after the distinct values, in which m may lie.
    table = np.bincount(member * ends.size + at, minlength=count * ends.size)
    below = np.cumsum(np.pad(table.reshape(count, ends.size), ((0, 0), (1, 0))), axis=1)
    score = below / below[:, -1:] - 0.5
    rejected, side = _rejected(score, 1.0 - level), score.sum(axis=0)
    first = np.flatnonzero(~(rejected & (side < 0.0)))[0]
    last = np.flatnonzero(~(rejected & (side > 0.0)))[-1]
    low = float(ends[first - 1]) if first > 0 else -math.inf
    high = float(ends[last]) if last < ends.size else math.inf
    return float(np.median(sample)), (low, high)


def _rejected(score: np.ndarray, error: float) -> np.ndarray:
    """Which columns of (groups, columns) have a mean that differs significantly from 0."""
    total = np.abs(score.sum(axis=0))
    count = score.shape[0]
    if count > _COUNTED:
        quantile = NormalDist().inv_cdf(1.0 - 0.5 * error)
        return total > quantile * np.sqrt(np.sum(score**2, axis=0))
    signs = np.array(list(product((1.0, -1.0), repeat=count)))
    # Fraction of the sums that are as large as the observed one, up to rounding.
    return np.mean(np.abs(signs @ score) >= total - 1e-9, axis=0) <= error


def mean_interval(
    values: Sequence[float] | np.ndarray, *, level: float = 0.95
) -> tuple[float, tuple[float, float]]:
    """Mean of independent values and Student's interval for it, infinite for a single value.

    Examples
    --------
    >>> from qpsim.simulation.statistics import mean_interval
    >>> mean, (low, high) = mean_interval([1.0, 2.0, 3.0])
    >>> f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    '2.000 [-0.484, 4.484]'
    """
    sample = np.asarray(values, dtype=float)
    mean = float(sample.mean())
    if sample.size < 2:
        return mean, (-math.inf, math.inf)
    error = float(sample.std(ddof=1) / sample.size**0.5)
    return mean, student_interval(mean, error, sample.size - 1, level=level)


def student_interval(
    value: float, standard_error: float, degrees: int, *, level: float = 0.95
) -> tuple[float, float]:
    """Student's interval around an estimate whose standard error has so many degrees of freedom.

    Examples
    --------
    >>> from qpsim.simulation.statistics import student_interval
    >>> low, high = student_interval(2.0, 0.5, degrees=10)
    >>> f"{low:.3f}, {high:.3f}"
    '0.886, 3.114'
    """
    from scipy.special import stdtrit

    half = float(stdtrit(degrees, 0.5 + 0.5 * level)) * standard_error
    return value - half, value + half
