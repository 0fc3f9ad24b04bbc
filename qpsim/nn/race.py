"""The next steps of two methods from one point of a network, each with its best constant step size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpsim import seeds
from qpsim.measure.record import Estimate, mean_estimate, student_estimate
from qpsim.nn.network import Network

# Number of orders of minibatches on which the methods are compared; step sizes are chosen on another order.
N_ORDERS = 4
# Largest number of times that a first guess of the step size is doubled or halved.
_DOUBLED = 12
_DIRECTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ssd": np.sign,
    "sgd": lambda gradient: gradient,
}


@dataclass(frozen=True)
class Race:
    """Sign descent against gradient descent over some steps.

    Attributes
    ----------
    n_steps : int
    step_size : dict of str to float
        The best constant step size of "ssd" and of "sgd", within a factor of 2.
    fall : dict of str to Estimate
        Mean decrease of the loss over orders of minibatches.
    log_ratio : Estimate
        log of the ratio of the decreases, sign descent over gradient descent: positive if sign descent is better.
        Infinite if one of the two never decreases the loss, NaN if neither does.
    """

    n_steps: int
    step_size: dict[str, float]
    fall: dict[str, Estimate]
    log_ratio: Estimate


def race(
    network: Network,
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int,
    n_steps: int,
    loss: Callable[[np.ndarray], float],
    guesses: dict[str, float],
    rng: Any,
) -> Race:
    """Run both methods from a network's present parameters, which are not changed.

    Parameters
    ----------
    network : Network
    x, y : ndarray
        Examples, of which minibatches are drawn with replacement.
    batch_size, n_steps : int
    loss : callable
        ``loss(delta)``, the mean loss of all examples at the present parameters plus ``delta`` (d,).
    guesses : dict of str to float
        First step sizes to try for "ssd" and "sgd"; 0.01 where one is not finite.
    rng : seed or Generator

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim.nn import Dense
    >>> from qpsim.nn.measured import network_point
    >>> network, x, y = Network([Dense(2)], (3,), dtype=np.float64, rng=0), np.eye(3), np.array([0, 1, 1])
    >>> point = network_point(network, x, y, 2, 10, rng=0)
    >>> found = race(network, x, y, 3, 20, point.loss, {"ssd": 0.1, "sgd": 1.0}, rng=0)
    >>> min(found.fall["ssd"].value, found.fall["sgd"].value) > 0.5
    True
    """
    random = seeds.generator(rng)
    orders = random.integers(len(y), size=(1 + N_ORDERS, n_steps, batch_size))
    start = network.parameters.copy()
    here = loss(np.zeros(start.size))

    def fall(name: str, step_size: float, rows: np.ndarray) -> float:
        """Decrease of the loss after the steps; -inf if they diverge."""
        parameters = start.copy()
        for chosen in rows:
            network.parameters = parameters
            value, gradient = network.loss_and_gradient(x[chosen], y[chosen], train=False)
            if not value <= here + 1e4:
                network.parameters = start
                return -math.inf
            parameters = parameters - step_size * _DIRECTIONS[name](gradient)
        network.parameters = start
        found = here - loss(parameters - start)
        return found if math.isfinite(found) else -math.inf

    steps, falls = {}, {}
    for name in _DIRECTIONS:
        guess = guesses.get(name, math.nan)
        guess = guess if math.isfinite(guess) and guess > 0.0 else 0.01
        steps[name] = _best(lambda size, name=name: fall(name, size, orders[0]), guess)  # type: ignore[misc]
        falls[name] = np.array([fall(name, steps[name], rows) for rows in orders[1:]])
    return Race(
        n_steps,
        steps,
        {name: _mean(values) for name, values in falls.items()},
        _log_ratio(falls["ssd"], falls["sgd"]),
    )


def _best(fall: Callable[[float], float], guess: float) -> float:
    """The step size of the largest decrease: the guess is doubled or halved until the result gets worse."""
    falls = {k: fall(guess * 2.0**k) for k in (-1, 0)}

    def better(k: int) -> tuple[float, int]:
        # If all steps diverge, prefer the smallest.
        return falls[k], -k

    best = max(falls, key=better)
    while abs(best) < _DOUBLED and best in (min(falls), max(falls)):
        further = best - 1 if best == min(falls) else best + 1
        falls[further] = fall(guess * 2.0**further)
        best = max(falls, key=better)
    return guess * 2.0**best


def _mean(values: np.ndarray) -> Estimate:
    if not np.isfinite(values).all():
        return Estimate(-math.inf, -math.inf, -math.inf)
    return mean_estimate(values)


def _log_ratio(sign: np.ndarray, gradient: np.ndarray) -> Estimate:
    """log of the ratio of the mean falls, its error from the orders."""
    means = [float(values.mean()) for values in (sign, gradient)]
    if min(means) <= 0.0:
        value = math.nan if max(means) <= 0.0 else math.copysign(math.inf, means[0] - means[1])
        return Estimate(value, value, value)
    # Both methods had the same orders, so that the differences are paired.
    shares = sign / means[0] - gradient / means[1]
    error = shares.std(ddof=1) / np.sqrt(len(shares))
    return student_estimate(math.log(means[0] / means[1]), error, len(shares) - 1)
