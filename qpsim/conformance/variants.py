"""What implementations get wrong, or do in another way: variants of the methods, each a scalar rule.

A variant has the form of a rule, (gradient, state ..., t, hyper-parameters ...) -> (direction, state
...), and takes the hyper-parameters of its method by name. It is found by planting it: an optimizer
made of it must be diagnosed as this variant (tests/conformance).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from qpsim.methods.averaged import adam
from qpsim.methods.modern import adamw
from qpsim.rules.scalar import adapted, adapted_sign, momentum_correction, sign, sqrt


class Variant(NamedTuple):
    """A rule that differs from a method: ``text`` says how, after the method's name."""

    methods: tuple[str, ...]
    text: str
    function: Callable[..., Any]

    @property
    def state_names(self) -> list[str]:
        """Names of its state."""
        plain = [p.name for p in self._parameters if p.default is p.empty]
        return plain[1:-1]

    def hyper(self, given: dict[str, Any]) -> dict[str, Any]:
        """Its hyper-parameters: those of the method where it has them, else its own defaults."""
        own = {p.name: p.default for p in self._parameters if p.default is not p.empty}
        return {name: given.get(name, value) for name, value in own.items()}

    @property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())


_VARIANTS: list[Variant] = []


def variant(methods: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a rule as a variant of these methods, whose names stand between spaces."""

    def entered(function: Callable[..., Any]) -> Callable[..., Any]:
        _VARIANTS.append(Variant(tuple(methods.split()), text, function))
        return function

    return entered


def variants(method: str | None = None) -> tuple[Variant, ...]:
    """All variants, or those of one method.

    >>> len(variants("adam")) > 8
    True
    """
    return tuple(one for one in _VARIANTS if method is None or method in one.methods)


def _over(a: float, b: float) -> float:
    return a / b if b > 0.0 else 0.0


def written_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same rule with its averages kept uncorrected, as most programs keep them.

    What a program does whose counter is lost depends on that. A rule that keeps no corrected averages
    is given back as it is.
    """
    return _WRITTEN_OUT.get(function, function)


def _adam_written_out(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t)) + eps), m, v


_WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Any]] = {
    adam.function: _adam_written_out,
    adamw.function: _adam_written_out,
}
_ADAM = "adam adamw"


@variant(_ADAM, "without bias corrections")
def _uncorrected(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m, sqrt(v) + eps), m, v


@variant(_ADAM, "without the bias correction of m")
def _first_uncorrected(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m, sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant(_ADAM, "without the bias correction of v")
def _second_uncorrected(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m / (1.0 - b1**t), sqrt(v) + eps), m, v


@variant(_ADAM, "with averages divided by beta^t instead of 1 - beta^t")
def _divided_by_powers(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m / b1**t, sqrt(v / b2**t) + eps), m, v


@variant(_ADAM, "with eps inside the root")
def _eps_inside(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t) + eps)), m, v


@variant(_ADAM, "with eps before the bias correction of v")
def _eps_before(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m / (1.0 - b1**t) * sqrt(1.0 - b2**t), sqrt(v) + eps), m, v


@variant(_ADAM, "with v averaged with b1 but corrected with b2")
def _averaged_with_b1(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b1 * v + (1.0 - b1) * gradient * gradient
    return _over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant(_ADAM, "with both averages corrected with b1")
def _corrected_with_b1(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m / (1.0 - b1**t), sqrt(v / (1.0 - b1**t)) + eps), m, v


@variant(_ADAM, "with the v of the step before")
def _late_variance(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    before = v / (1.0 - b2 ** (t - 1.0)) if t > 1.0 else 0.0
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m / (1.0 - b1**t), sqrt(before) + eps), m, v


@variant(_ADAM, "with |g| averaged instead of g^2")
def _absolute(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * abs(gradient)
    return _over(m / (1.0 - b1**t), v / (1.0 - b2**t) + eps), m, v


@variant(_ADAM, "without the root of v")
def _no_root(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return _over(m / (1.0 - b1**t), v / (1.0 - b2**t) + eps), m, v


@variant("nadam", "with eps before the bias correction of v")
def _nadam_eps_before(
    gradient, m, v, product, t, b1=0.9, b2=0.999, eps=1e-8, momentum_decay=0.004
):  # fmt: skip
    mu = b1 * (1.0 - 0.5 * 0.96 ** (momentum_decay * t))
    following = b1 * (1.0 - 0.5 * 0.96 ** (momentum_decay * (t + 1.0)))
    product = product + (1.0 - product) * (1.0 - mu)
    ahead = product + (1.0 - product) * (1.0 - following)
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    forward = following * m / ahead + (1.0 - mu) * gradient / product
    return _over(forward * sqrt(1.0 - b2**t), sqrt(v) + eps), m, v, product


@variant("nadam", "with a constant momentum b1")
def _nadam_constant(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    forward = b1 * m / (1.0 - b1 ** (t + 1.0)) + (1.0 - b1) * gradient / (1.0 - b1**t)
    return _over(forward, sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant("nadam", "with a constant momentum b1, and m corrected as in this step")
def _nadam_same_step(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    forward = (b1 * m + (1.0 - b1) * gradient) / (1.0 - b1**t)
    return _over(forward, sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant("adamax", "with eps added after the maximum")
def _adamax_eps_after(gradient, m, u, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    u = max(b2 * u, abs(gradient))
    return _over(m / (1.0 - b1**t), u + eps), m, u


@variant("adamax", "without the bias correction of m")
def _adamax_uncorrected(gradient, m, u, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    u = max(b2 * u, abs(gradient) + eps)
    return _over(m, u), m, u


@variant("amsgrad", "with the largest of the bias-corrected v")
def _largest_corrected(gradient, m, v, largest, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    largest = max(largest, v / (1.0 - b2**t))
    return _over(m / (1.0 - b1**t), sqrt(largest) + eps), m, v, largest


@variant("amsgrad", "with eps before the bias correction of v")
def _largest_eps_before(gradient, m, v, largest, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    largest = max(largest, v)
    return _over(m / (1.0 - b1**t) * sqrt(1.0 - b2**t), sqrt(largest) + eps), m, v, largest


def _rectification(t, b2, threshold):
    longest = 2.0 / (1.0 - b2) - 1.0
    rho = longest - 2.0 * t * b2**t / (1.0 - b2**t)
    if rho <= threshold:
        return 0.0
    above = (rho - 4.0) * (rho - 2.0) * longest
    return sqrt(above / ((longest - 4.0) * (longest - 2.0) * rho))


@variant("radam", "with eps before the bias correction of v")
def _radam_eps_before(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8, threshold=5.0):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    factor = _rectification(t, b2, threshold)
    corrected = m / (1.0 - b1**t)
    if factor == 0.0:
        return corrected, m, v
    return factor * sqrt(1.0 - b2**t) * corrected / (sqrt(v) + eps), m, v


@variant("radam", "that does not move before it divides, eps before the bias correction of v")
def _radam_waits(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8, threshold=5.0):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    factor = _rectification(t, b2, threshold)
    corrected = m / (1.0 - b1**t)
    return factor * sqrt(1.0 - b2**t) * corrected / (sqrt(v) + eps), m, v


@variant("radam", "that does not move before it divides")
def _radam_waits_alone(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8, threshold=5.0):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    corrected = m / (1.0 - b1**t)
    length = sqrt(v / (1.0 - b2**t)) + eps
    return _over(_rectification(t, b2, threshold) * corrected, length), m, v


@variant("adabelief", "with the floor in the root only, not in the average")
def _belief_floor_outside(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16, floor=1e-16):
    m = b1 * m + (1.0 - b1) * gradient
    s = b2 * s + (1.0 - b2) * (gradient - m) ** 2
    return _over(m / (1.0 - b1**t), sqrt(s / (1.0 - b2**t) + floor) + eps), m, s


@variant("adabelief", "without the floor")
def _belief_no_floor(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16):
    m = b1 * m + (1.0 - b1) * gradient
    s = b2 * s + (1.0 - b2) * (gradient - m) ** 2
    return _over(m / (1.0 - b1**t), sqrt(s / (1.0 - b2**t)) + eps), m, s


@variant("adabelief", "with g - m of the m before the step")
def _belief_early(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16, floor=1e-16):
    s = b2 * s + (1.0 - b2) * (gradient - m) ** 2 + floor
    m = b1 * m + (1.0 - b1) * gradient
    return _over(m / (1.0 - b1**t), sqrt(s / (1.0 - b2**t)) + eps), m, s


@variant("adabelief", "with eps, added to the average as well, before the bias correction")
def _belief_eps_before(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16):
    m = b1 * m + (1.0 - b1) * gradient
    s = b2 * s + (1.0 - b2) * (gradient - m) ** 2 + eps
    return _over(m / (1.0 - b1**t) * sqrt(1.0 - b2**t), sqrt(s) + eps), m, s


def _additive(v, square, b2):
    return v - (1.0 - b2) * sign(v - square) * square


@variant("yogi", "with m and v started at initial, and both bias-corrected")
def _yogi_both_started(
    gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-3, initial=1e-6
):  # fmt: skip
    m, v = (initial, initial) if t == 1.0 else (m, v)
    m = b1 * m + (1.0 - b1) * gradient
    v = _additive(v, gradient * gradient, b2)
    return _over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant("yogi", "bias-corrected, with eps before the correction of v")
def _yogi_eps_before(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-3, initial=0.0):
    v = initial if t == 1.0 else v
    m = b1 * m + (1.0 - b1) * gradient
    v = _additive(v, gradient * gradient, b2)
    return _over(m / (1.0 - b1**t) * sqrt(1.0 - b2**t), sqrt(v) + eps), m, v


@variant("yogi", "with the sign of v - g^2 reversed")
def _yogi_reversed(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-3, initial=0.0):
    v = initial if t == 1.0 else v
    m = b1 * m + (1.0 - b1) * gradient
    square = gradient * gradient
    v = max(v + (1.0 - b2) * sign(v - square) * square, 0.0)
    return _over(m, sqrt(v) + eps), m, v


def _svag(gradient, m, v, t, momentum, factor, correction):
    m = momentum * m + (1.0 - momentum) * gradient
    v = momentum * v + (1.0 - momentum) * gradient * gradient
    mean, square = m / correction, v / correction
    spread = max(square - mean * mean, 0.0)
    return mean, spread * factor, m, v


@variant("m-svag adam*", "with kappa(mu) taken at t - 1")
def _late_kappa(gradient, m, v, t, momentum=0.9, _sign=False):
    kappa = momentum_correction(momentum, t - 1.0) if t > 1.0 else 1.0
    mean, spread, m, v = _svag(gradient, m, v, t, momentum, kappa, 1.0 - momentum**t)
    return (adapted_sign(mean, spread) if _sign else adapted(mean, mean, spread)), m, v


@variant("m-svag adam*", "with 1 - mu instead of 1 - mu^2 in kappa")
def _other_kappa(gradient, m, v, t, momentum=0.9, _sign=False):
    power = momentum**t
    # As Eq. 19 with (1 - mu) in the place of (1 - mu^2).
    kappa = (1.0 - momentum) * (1.0 - power * power) / (1.0 - power) ** 2
    mean, spread, m, v = _svag(gradient, m, v, t, momentum, kappa, 1.0 - power)
    return (adapted_sign(mean, spread) if _sign else adapted(mean, mean, spread)), m, v


@variant("m-svag adam*", "without kappa")
def _no_kappa(gradient, m, v, t, momentum=0.9, _sign=False):
    mean, spread, m, v = _svag(gradient, m, v, t, momentum, 1.0, 1.0 - momentum**t)
    return (adapted_sign(mean, spread) if _sign else adapted(mean, mean, spread)), m, v


@variant("m-svag adam*", "without bias corrections")
def _svag_uncorrected(gradient, m, v, t, momentum=0.9, _sign=False):
    kappa = momentum_correction(momentum, t)
    mean, spread, m, v = _svag(gradient, m, v, t, momentum, kappa, 1.0)
    return (adapted_sign(mean, spread) if _sign else adapted(mean, mean, spread)), m, v


@variant("m-svag adam*", "with averages divided by mu^t instead of 1 - mu^t")
def _svag_divided_by_powers(gradient, m, v, t, momentum=0.9, _sign=False):
    kappa = momentum_correction(momentum, t)
    mean, spread, m, v = _svag(gradient, m, v, t, momentum, kappa, momentum**t)
    return (adapted_sign(mean, spread) if _sign else adapted(mean, mean, spread)), m, v


@variant("m-svag adam*", "with gamma 0 at t = 1")
def _gamma_zero(gradient, m, v, t, momentum=0.9, _sign=False):
    kappa = momentum_correction(momentum, t)
    mean, spread, m, v = _svag(gradient, m, v, t, momentum, kappa, 1.0 - momentum**t)
    z = adapted_sign(mean, spread) if _sign else adapted(mean, mean, spread)
    return (0.0 if t == 1.0 else z), m, v


@variant("m-svag", "with kappa s / (1 - kappa) for the variance, and gamma 0 where that is 0/0")
def _published_gamma_zero(gradient, m, v, t, momentum=0.9):
    kappa = momentum_correction(momentum, t)
    factor = kappa / (1.0 - kappa) if t > 1.0 else 0.0
    mean, spread, m, v = _svag(gradient, m, v, t, momentum, factor, 1.0 - momentum**t)
    return (0.0 if t == 1.0 else adapted(mean, mean, spread)), m, v


@variant("m-sgd nesterov damped-m-sgd", "with momentum re-zeroed at each step")
def _no_momentum(gradient, t):
    return gradient


@variant("damped-m-sgd", "with the first gradient damped too")
def _first_damped(gradient, buffer, t, momentum=0.9, dampening=0.5):
    buffer = momentum * buffer + (1.0 - dampening) * gradient
    return buffer, buffer


@variant("m-sgd", "in Nesterov's form")
def _as_nesterov(gradient, buffer, t, momentum=0.9):
    buffer = momentum * buffer + gradient
    return gradient + momentum * buffer, buffer


@variant("m-sgd nesterov", "with a bias-corrected average")
def _corrected_momentum(gradient, m, t, momentum=0.9):
    m = momentum * m + (1.0 - momentum) * gradient
    return m / (1.0 - momentum**t), m


@variant("nesterov", "in the heavy-ball form")
def _as_heavy_ball(gradient, buffer, t, momentum=0.9):
    buffer = momentum * buffer + gradient
    return buffer, buffer


@variant("nesterov", "with the momentum of the step before")
def _nesterov_before(gradient, buffer, t, momentum=0.9):
    direction = gradient + momentum * buffer
    return direction + momentum * gradient, momentum * buffer + gradient


@variant("rmsprop", "with eps inside the root")
def _rms_inside(gradient, v, t, decay=0.9, eps=1e-8):
    v = decay * v + (1.0 - decay) * gradient * gradient
    return _over(gradient, sqrt(v + eps)), v


@variant("rmsprop", "with v starting at 1")
def _rms_from_one(gradient, v, t, decay=0.9, eps=1e-8):
    v = decay * (1.0 if t == 1.0 else v) + (1.0 - decay) * gradient * gradient
    return _over(gradient, sqrt(v) + eps), v


@variant("rmsprop", "with v starting at 1 and eps inside the root")
def _rms_from_one_inside(gradient, v, t, decay=0.9, eps=1e-8):
    v = decay * (1.0 if t == 1.0 else v) + (1.0 - decay) * gradient * gradient
    return _over(gradient, sqrt(v + eps)), v


@variant("rmsprop", "with bias correction")
def _rms_corrected(gradient, v, t, decay=0.9, eps=1e-8):
    v = decay * v + (1.0 - decay) * gradient * gradient
    return _over(gradient, sqrt(v / (1.0 - decay**t)) + eps), v


@variant("rmsprop", "with the variance, centered, for the square")
def _rms_centered(gradient, m, v, t, decay=0.9, eps=1e-8):
    m = decay * m + (1.0 - decay) * gradient
    v = decay * v + (1.0 - decay) * gradient * gradient
    return _over(gradient, sqrt(max(v - m * m, 0.0)) + eps), m, v


@variant("adagrad", "with eps inside the root")
def _sum_inside(gradient, total, t, eps=1e-10):
    total = total + gradient * gradient
    return _over(gradient, sqrt(total + eps)), total


@variant("adagrad", "with the sum starting at 0.1")
def _sum_started(gradient, total, t, eps=1e-10):
    total = (0.1 if t == 1.0 else total) + gradient * gradient
    return _over(gradient, sqrt(total) + eps), total


@variant("adagrad", "with the sum starting at 0.1 and eps inside the root")
def _sum_started_inside(gradient, total, t, eps=1e-10):
    total = (0.1 if t == 1.0 else total) + gradient * gradient
    return _over(gradient, sqrt(total + eps)), total


@variant("adagrad", "with the mean of g^2 instead of the sum")
def _mean_of_squares(gradient, total, t, eps=1e-10):
    total = total + gradient * gradient
    return _over(gradient, sqrt(total / t) + eps), total


@variant("adadelta", "with eps outside the roots")
def _delta_outside(gradient, v, u, t, decay=0.95, eps=1e-6):
    v = decay * v + (1.0 - decay) * gradient * gradient
    z = gradient * (sqrt(u) + eps) / (sqrt(v) + eps)
    return z, v, decay * u + (1.0 - decay) * z * z


def _sizes(size, t, factor, smallest, largest):
    return min(max(1.0 if t == 1.0 else size * factor, smallest), largest)


@variant("rprop", "that steps after a change of sign too")
def _never_skips(
    gradient, size, previous, t, increase=1.2, decrease=0.5, smallest=1e-6, largest=50.0
):  # fmt: skip
    agreement = gradient * previous
    factor = increase if agreement > 0.0 else decrease if agreement < 0.0 else 1.0
    size = _sizes(size, t, factor, smallest, largest)
    return size * sign(gradient), size, sign(gradient)


@variant("rprop", "that takes each step one step late")
def _rprop_late(
    gradient, size, waiting, t, increase=1.2, decrease=0.5, smallest=1e-6, largest=50.0
):  # fmt: skip
    agreement = gradient * waiting
    factor = increase if agreement > 0.0 else decrease
    size = 1.0 if t == 1.0 else size
    size = min(max(size * factor, smallest), largest) if agreement != 0.0 else size
    late = 0.0 if agreement < 0.0 else waiting
    return late, size, 0.0 if agreement < 0.0 else size * sign(gradient)


@variant("rprop", "with the product of two gradients, which underflows, for their signs")
def _product_underflows(
    gradient, size, previous, t, increase=1.2, decrease=0.5, smallest=1e-6, largest=50.0
):  # fmt: skip
    agreement = gradient * previous
    factor = increase if agreement > 0.0 else decrease if agreement < 0.0 else 1.0
    size = _sizes(size, t, factor, smallest, largest)
    kept = 0.0 if agreement < 0.0 else gradient
    return size * sign(kept), size, kept


@variant("signum m-ssd", "with the sign taken before the average")
def _average_of_signs(gradient, m, t, momentum=0.9):
    m = momentum * m + (1.0 - momentum) * sign(gradient)
    return m, m


@variant("lion", "with b1 and b2 exchanged")
def _lion_exchanged(gradient, m, t, b1=0.9, b2=0.99):
    return sign(b2 * m + (1.0 - b2) * gradient), b1 * m + (1.0 - b1) * gradient


@variant("lion", "with m updated before the sign")
def _lion_late(gradient, m, t, b1=0.9, b2=0.99):
    m = b2 * m + (1.0 - b2) * gradient
    return sign(b1 * m + (1.0 - b1) * gradient), m


@variant("lion", "with b1 for both averages")
def _lion_one(gradient, m, t, b1=0.9, b2=0.99):
    m = b1 * m + (1.0 - b1) * gradient
    return sign(m), m
