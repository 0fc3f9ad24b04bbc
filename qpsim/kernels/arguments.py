"""The named tuples that the step loops take as arguments.

A lane is one replicate. d is the number of coordinates, n the number of steps of one call.
"""

from typing import NamedTuple

import numpy as np


class Lanes(NamedTuple):
    """The state of a block of replicates. All arrays are updated in place.

    Attributes
    ----------
    offset : array (d, lanes)
        theta - optimum, in the units of theta.
    states : array (names, d, lanes)
        The rule's state.
    stream : array (4, lanes) of uint64
        State of each lane's random number generator (:mod:`qpsim.kernels.noise`).
    diverged : array (lanes,) of uint8
        1 in a lane whose loss is no longer a finite number.
    """

    offset: np.ndarray
    states: np.ndarray
    stream: np.ndarray
    diverged: np.ndarray


class Steps(NamedTuple):
    """Which steps to take, and how their sizes are chosen.

    Attributes
    ----------
    taken : int
        Number of steps taken before; the first step here has t = taken + 1.
    policy : int
        A code of :mod:`qpsim.rules.step_policies`.
    given : array (n,)
        The step sizes, read only if the policy is GIVEN; its length is the number of steps.
    moments_for : int or None
        The policy again if it needs moments of the direction, None if it does not. None has another type, so that a
        kernel for it has no code for moments, which takes long to compile for a rule without a closed form.
    stop : array (1,) of uint8
        When it becomes 1 the kernel returns early, and its results must not be used. Only steps that integrate pairs of
        coordinates, which may take minutes, read it.
    """

    taken: int
    policy: int
    given: np.ndarray
    moments_for: int | None
    stop: np.ndarray


class Record(NamedTuple):
    """The record of the steps, one row for each step. All arrays are written.

    Attributes
    ----------
    loss, step_size : array (n, lanes)
        Excess loss after each step, and its step size.
    moment_error : array (n, lanes)
        Bound of the relative error of E[z^T Q z], if that is a quadrature or a truncated series.
    """

    loss: np.ndarray
    step_size: np.ndarray
    moment_error: np.ndarray


class StepInput(NamedTuple):
    """What a rule can read before a step.

    Attributes
    ----------
    offset : array (d, lanes)
        theta - optimum.
    gradient : array (d, lanes)
        The exact gradient: the mean of the stochastic one.
    extra : array (d, lanes)
        What the rule observes besides the gradient (:mod:`qpsim.kernels.observed`).
    states : array (names, d, lanes)
    t : float
        Number of the coming step, from 1.
    stop : array (1,) of uint8
        As in :class:`Steps`.
    """

    offset: np.ndarray
    gradient: np.ndarray
    extra: np.ndarray
    states: np.ndarray
    t: float
    stop: np.ndarray


class Row(NamedTuple):
    """One coordinate in every lane before a step. Its stochastic gradient is N(mean, std^2).

    Attributes
    ----------
    mean : array (lanes,)
        The exact gradient of the coordinate.
    std : float
        Standard deviation of the gradient, above 0, in the units of the gradient.
    extra : array (lanes,)
        What the rule observes besides the gradient.
    states : array (names, d, lanes)
        The states of all coordinates; the rule reads states[:, i].
    i : int
        Number of the coordinate.
    t : float
        Number of the coming step, from 1.
    """

    mean: np.ndarray
    std: float
    extra: np.ndarray
    states: np.ndarray
    i: int
    t: float


class Moments(NamedTuple):
    """Moments of the direction z in every lane (Eq. 11). All arrays (lanes,) are written.

    Attributes
    ----------
    numerator : grad^T E[z]
    denominator : E[z^T Q z], or its bound
    error : bound of the denominator's relative error
    """

    numerator: np.ndarray
    denominator: np.ndarray
    error: np.ndarray


class SeriesRest(NamedTuple):
    """The remainder of a step's Hermite series after some terms (:mod:`qpsim.kernels.series`). Arrays are updated.

    Attributes
    ----------
    second : array (d, lanes)
        E[z_i^2].
    tail : array (d, lanes)
        E[z_i^2] minus the sum of the squared coefficients so far.
    power : array (d, d)
        (Q - diag Q) o R^n for the next order n.
    open_lanes : array (lanes,) of uint8
        1 in lanes whose remainder is still above the tolerance.
    """

    second: np.ndarray
    tail: np.ndarray
    power: np.ndarray
    open_lanes: np.ndarray
