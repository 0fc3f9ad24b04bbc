"""Exact risk of sign descent on a diagonal Hessian, with step sizes that are multiples of one spacing.

Steps that are halved, increased linearly or divided by ten are multiples of a common spacing, so that the offset stays
on the lattice e_0 + spacing Z. A step moves its distribution by several sites (in :mod:`qpsim.theory.lattice` all steps
are one site). Other schedules have :mod:`qpsim.theory.sign_law`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

# Most sites of the smallest step, most sites that the walk may reach, and the tolerance for integers.
_FINEST, _MOST_SITES, _WHOLE = 64, 50_000, 1e-9


def scheduled_sign_risk(
    p: QuadraticProblem, offset: Array, spacing: float, lengths: NDArray[np.int_]
) -> Array:
    """E[excess loss] (n_steps + 1,) of ssd with steps of so many (n_steps,) spacings; cost O(d n_steps sites)."""
    ratio = np.where(p.hessian > 0.0, p.hessian, 0.0)
    scale = p.gradient_scale()
    reach = int(lengths.sum())
    risk = np.zeros(lengths.size + 1)
    for q, e, sigma in zip(ratio.tolist(), offset.tolist(), scale.tolist(), strict=True):
        if q > 0.0:
            at = e + spacing * np.arange(-reach, reach + 1.0)
            if sigma > 0.0:
                up, down = (
                    np.asarray(p.noise.law.cdf(x)) for x in (-q * at / sigma, q * at / sigma)
                )
            else:
                up, down = (at < 0.0) + 0.0, (at > 0.0) + 0.0
            risk += _walk(0.5 * q * at**2, up, down, lengths)
    return risk


def _walk(loss: Array, up: Array, down: Array, lengths: NDArray[np.int_]) -> Array:
    """Expected loss of a walk from the middle site. Mass that moves neither up nor down stays."""
    middle = loss.size // 2
    mass, risk, far = np.zeros(loss.size), [loss[middle]], 0
    mass[middle] = 1.0
    stay = 1.0 - up - down
    stay[np.abs(stay) < 1e-12] = 0.0
    for length in lengths.tolist():
        if length:
            live = slice(middle - far, middle + far + 1)
            far += length
            moved = np.zeros_like(mass)
            moved[live] += mass[live] * stay[live]
            moved[live.start + length : live.stop + length] += mass[live] * up[live]
            moved[live.start - length : live.stop - length] += mass[live] * down[live]
            mass = moved
        risk.append(float(mass @ loss))
    return np.array(risk)


def common_spacing(steps: Array) -> tuple[float, NDArray[np.int_]] | None:
    """A number of which all steps are integer multiples, and the multiples; None if there is none above a bound."""
    smallest = float(steps[steps > 0.0].min())
    for parts in range(1, _FINEST + 1):
        spacing = smallest / parts
        multiples = steps / spacing
        whole = np.rint(multiples)
        if (np.abs(multiples - whole) <= _WHOLE * np.maximum(whole, 1.0)).all():
            return (spacing, whole.astype(int)) if whole.sum() <= _MOST_SITES else None
    return None
