"""Variants of Adam and of the rules built on its two averages: NAdam, AdaMax, AMSGrad, RAdam, AdaBelief, Yogi."""

from qpsim.conformance.variant import over, variant
from qpsim.rules.scalar import sign, sqrt

_ADAM = "adam adamw"


@variant(_ADAM, "without bias corrections")
def _uncorrected(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m, sqrt(v) + eps), m, v


@variant(_ADAM, "without the bias correction of m")
def _first_uncorrected(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m, sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant(_ADAM, "without the bias correction of v")
def _second_uncorrected(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / (1.0 - b1**t), sqrt(v) + eps), m, v


@variant(_ADAM, "with averages divided by beta^t instead of 1 - beta^t")
def _divided_by_powers(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / b1**t, sqrt(v / b2**t) + eps), m, v


@variant(_ADAM, "with eps inside the root")
def _eps_inside(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t) + eps)), m, v


@variant(_ADAM, "with eps before the bias correction of v")
def _eps_before(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / (1.0 - b1**t) * sqrt(1.0 - b2**t), sqrt(v) + eps), m, v


@variant(_ADAM, "with v averaged with b1 but corrected with b2")
def _averaged_with_b1(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b1 * v + (1.0 - b1) * gradient * gradient
    return over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant(_ADAM, "with both averages corrected with b1")
def _corrected_with_b1(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / (1.0 - b1**t), sqrt(v / (1.0 - b1**t)) + eps), m, v


@variant(_ADAM, "with the v of the step before")
def _late_variance(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    before = v / (1.0 - b2 ** (t - 1.0)) if t > 1.0 else 0.0
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / (1.0 - b1**t), sqrt(before) + eps), m, v


@variant(_ADAM, "with m re-zeroed at each step")
def _no_memory(gradient, v, t, b1=0.9, b2=0.999, eps=1e-8):
    v = b2 * v + (1.0 - b2) * gradient * gradient
    m = (1.0 - b1) * gradient / (1.0 - b1**t)
    return over(m, sqrt(v / (1.0 - b2**t)) + eps), v


@variant(_ADAM, "with |g| averaged instead of g^2")
def _absolute(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * abs(gradient)
    return over(m / (1.0 - b1**t), v / (1.0 - b2**t) + eps), m, v


@variant(_ADAM, "without the root of v")
def _no_root(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / (1.0 - b1**t), v / (1.0 - b2**t) + eps), m, v


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
    return over(forward * sqrt(1.0 - b2**t), sqrt(v) + eps), m, v, product


@variant("nadam", "with a constant momentum b1")
def _nadam_constant(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    forward = b1 * m / (1.0 - b1 ** (t + 1.0)) + (1.0 - b1) * gradient / (1.0 - b1**t)
    return over(forward, sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant("nadam", "with a constant momentum b1, and m corrected as in this step")
def _nadam_same_step(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    forward = (b1 * m + (1.0 - b1) * gradient) / (1.0 - b1**t)
    return over(forward, sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant("adamax", "with eps added after the maximum")
def _adamax_eps_after(gradient, m, u, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    u = max(b2 * u, abs(gradient))
    return over(m / (1.0 - b1**t), u + eps), m, u


@variant("adamax", "without the bias correction of m")
def _adamax_uncorrected(gradient, m, u, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    u = max(b2 * u, abs(gradient) + eps)
    return over(m, u), m, u


@variant("amsgrad", "with the largest of the bias-corrected v")
def _largest_corrected(gradient, m, v, largest, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    largest = max(largest, v / (1.0 - b2**t))
    return over(m / (1.0 - b1**t), sqrt(largest) + eps), m, v, largest


@variant("amsgrad", "with eps before the bias correction of v")
def _largest_eps_before(gradient, m, v, largest, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    largest = max(largest, v)
    return over(m / (1.0 - b1**t) * sqrt(1.0 - b2**t), sqrt(largest) + eps), m, v, largest


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
    return over(_rectification(t, b2, threshold) * corrected, length), m, v


@variant("adabelief", "with the floor in the root only, not in the average")
def _belief_floor_outside(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16, floor=1e-16):
    m = b1 * m + (1.0 - b1) * gradient
    s = b2 * s + (1.0 - b2) * (gradient - m) ** 2
    return over(m / (1.0 - b1**t), sqrt(s / (1.0 - b2**t) + floor) + eps), m, s


@variant("adabelief", "without the floor")
def _belief_no_floor(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16):
    m = b1 * m + (1.0 - b1) * gradient
    s = b2 * s + (1.0 - b2) * (gradient - m) ** 2
    return over(m / (1.0 - b1**t), sqrt(s / (1.0 - b2**t)) + eps), m, s


@variant("adabelief", "with g - m of the m before the step")
def _belief_early(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16, floor=1e-16):
    s = b2 * s + (1.0 - b2) * (gradient - m) ** 2 + floor
    m = b1 * m + (1.0 - b1) * gradient
    return over(m / (1.0 - b1**t), sqrt(s / (1.0 - b2**t)) + eps), m, s


@variant("adabelief", "with eps, added to the average as well, before the bias correction")
def _belief_eps_before(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16):
    m = b1 * m + (1.0 - b1) * gradient
    s = b2 * s + (1.0 - b2) * (gradient - m) ** 2 + eps
    return over(m / (1.0 - b1**t) * sqrt(1.0 - b2**t), sqrt(s) + eps), m, s


def _additive(v, square, b2):
    return v - (1.0 - b2) * sign(v - square) * square


@variant("yogi", "with m and v started at initial, and both bias-corrected")
def _yogi_both_started(
    gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-3, initial=1e-6
):  # fmt: skip
    m, v = (initial, initial) if t == 1.0 else (m, v)
    m = b1 * m + (1.0 - b1) * gradient
    v = _additive(v, gradient * gradient, b2)
    return over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t)) + eps), m, v


@variant("yogi", "bias-corrected, with eps before the correction of v")
def _yogi_eps_before(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-3, initial=0.0):
    v = initial if t == 1.0 else v
    m = b1 * m + (1.0 - b1) * gradient
    v = _additive(v, gradient * gradient, b2)
    return over(m / (1.0 - b1**t) * sqrt(1.0 - b2**t), sqrt(v) + eps), m, v


@variant("yogi", "with the sign of v - g^2 reversed")
def _yogi_reversed(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-3, initial=0.0):
    v = initial if t == 1.0 else v
    m = b1 * m + (1.0 - b1) * gradient
    square = gradient * gradient
    v = max(v + (1.0 - b2) * sign(v - square) * square, 0.0)
    return over(m, sqrt(v) + eps), m, v
