"""Steps of an optimizer that are those of a rule times one number for each step: schedules, clipped norms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from qpsim.conformance.expectation import Candidate, compare, expected
from qpsim.conformance.play import Played


def fitted_factors(base: Candidate, one: Played) -> np.ndarray | None:
    """A step size for each step with which the rule fits, if there is one."""
    said = expected(base, one.stream, one.theta, one.dtype).direction
    moved = np.diff(one.theta, axis=0)
    with np.errstate(all="ignore"):
        factors = -np.sum(moved * said, axis=1) / np.sum(said * said, axis=1)
        rest = np.abs(moved + factors[:, None] * said).max(axis=1)
        fits = rest <= 1e-4 * np.abs(moved).max(axis=1) + 1e-12
    return factors if bool(np.all(fits)) and np.all(np.isfinite(factors)) else None


def is_schedule(base: Candidate, played: Sequence[Played], factors: np.ndarray) -> bool:
    """Whether the same step sizes, at least nearly, fit other streams too."""
    others = [one for one in played[1:] if one.stream.gradients.shape[0] <= factors.size]
    fit = []
    for one in others:
        sizes = factors[: one.stream.gradients.shape[0]]
        own = fitted_factors(base, one)
        near = own is not None and np.allclose(own, sizes, rtol=1e-4)
        fit.append(near or compare(base, one.stream, one.theta, one.dtype, sizes) is None)
    return not fit or 2 * sum(fit) > len(fit)


def beginning_of(factors: np.ndarray) -> str:
    """The first numbers; also the last, where these are alike.

    >>> import numpy as np
    >>> beginning_of(np.array([0.1, 0.2, 0.3, 0.4, 0.5])), beginning_of(np.array([2.0, 2.0, 2.0, 2.0, 1.0]))
    ('0.1, 0.2, 0.3, 0.4, ...', '2, 2, 2, 2, ..., 1')
    """
    first = [f"{value + 0.0:.6g}" for value in factors[:4]]
    last = f", {factors[-1]:.6g}" if len(set(first)) == 1 else ""
    return f"{', '.join(first)}, ...{last}"


def norm_clipped(one: Played) -> Iterator[tuple[str, Played]]:
    """The stream as it is for an optimizer that clips the gradient's norm; it has one tensor."""
    given = one.stream.gradients
    norms = np.sqrt(np.sum(given**2, axis=1, keepdims=True))
    for limit in (1.0, 0.5, 0.1, 2.0, 0.25):
        gradients = given * np.minimum(1.0, limit / norms)
        # Where all are clipped, the limit is a part of the step size.
        norm = "one norm" if norms.min() >= limit else f"a norm up to {limit:g}"
        yield norm, replace(one, stream=replace(one.stream, gradients=gradients))
