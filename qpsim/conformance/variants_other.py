"""Variants of the methods that are not built on Adam: M-SVAG and ADAM*, momentum, RMSprop and its kin, Rprop, signs."""

from qpsim.conformance.variant import over, variant
from qpsim.rules.scalar import adapted, adapted_sign, momentum_correction, sign, sqrt


def _svag(gradient, m, v, momentum, kappa, correction, sign, bias_corrected):
    """One step of M-SVAG or ADAM* with these corrections, from averages that are not corrected."""
    m = momentum * m + (1.0 - momentum) * gradient
    v = momentum * v + (1.0 - momentum) * gradient * gradient
    mean, square = m / correction, v / correction
    spread = max(square - mean * mean, 0.0)
    factor = kappa
    if bias_corrected:
        factor = kappa / (1.0 - kappa) if kappa != 1.0 else 0.0
    z = adapted_sign(mean, spread * factor) if sign else adapted(mean, mean, spread * factor)
    return z, m, v


@variant("m-svag adam*", "with kappa(mu) taken at t - 1")
def _late_kappa(gradient, m, v, t, momentum=0.9, bias_corrected=False, _sign=False):
    kappa = momentum_correction(momentum, t - 1.0) if t > 1.0 else 1.0
    correction = 1.0 - momentum**t
    return _svag(gradient, m, v, momentum, kappa, correction, _sign, bias_corrected)


@variant("m-svag adam*", "with 1 - mu instead of 1 - mu^2 in kappa")
def _other_kappa(gradient, m, v, t, momentum=0.9, bias_corrected=False, _sign=False):
    power = momentum**t
    # As Eq. 19 with (1 - mu) in the place of (1 - mu^2).
    kappa = (1.0 - momentum) * (1.0 - power * power) / (1.0 - power) ** 2
    return _svag(gradient, m, v, momentum, kappa, 1.0 - power, _sign, bias_corrected)


@variant("m-svag adam*", "with kappa(mu) of many steps from the start")
def _final_kappa(gradient, m, v, t, momentum=0.9, bias_corrected=False, _sign=False):
    kappa = (1.0 - momentum) / (1.0 + momentum)
    correction = 1.0 - momentum**t
    return _svag(gradient, m, v, momentum, kappa, correction, _sign, bias_corrected)


@variant("m-svag adam*", "without kappa")
def _no_kappa(gradient, m, v, t, momentum=0.9, bias_corrected=False, _sign=False):
    kappa = momentum_correction(momentum, t)
    # What is left of kappa s / (1 - kappa) is s / (1 - kappa), the variance of a gradient.
    factor = 1.0 / (1.0 - kappa) if bias_corrected and kappa < 1.0 else 1.0
    return _svag(gradient, m, v, momentum, factor, 1.0 - momentum**t, _sign, False)


@variant("m-svag adam*", "without bias corrections")
def _svag_uncorrected(gradient, m, v, t, momentum=0.9, bias_corrected=False, _sign=False):
    kappa = momentum_correction(momentum, t)
    return _svag(gradient, m, v, momentum, kappa, 1.0, _sign, bias_corrected)


@variant("m-svag adam*", "with averages divided by mu^t instead of 1 - mu^t")
def _svag_divided_by_powers(gradient, m, v, t, momentum=0.9, bias_corrected=False, _sign=False):
    kappa = momentum_correction(momentum, t)
    return _svag(gradient, m, v, momentum, kappa, momentum**t, _sign, bias_corrected)


@variant("m-svag adam*", "with gamma 0 at t = 1")
def _gamma_zero(gradient, m, v, t, momentum=0.9, bias_corrected=False, _sign=False):
    kappa = momentum_correction(momentum, t)
    correction = 1.0 - momentum**t
    z, m, v = _svag(gradient, m, v, momentum, kappa, correction, _sign, bias_corrected)
    return (0.0 if t == 1.0 else z), m, v


@variant("m-svag", "with kappa s / (1 - kappa) for the variance, and gamma 0 where that is 0/0")
def _published_gamma_zero(gradient, m, v, t, momentum=0.9):
    kappa = momentum_correction(momentum, t)
    z, m, v = _svag(gradient, m, v, momentum, kappa, 1.0 - momentum**t, False, True)
    return (0.0 if t == 1.0 else z), m, v


@variant("m-svag", "with kappa s / (1 - kappa) for the variance, and kappa at most 0.9999")
def _published_capped(gradient, m, v, t, momentum=0.9, _unit=1.0):
    m = momentum * m + (1.0 - momentum) * gradient
    v = momentum * v + (1.0 - momentum) * gradient * gradient
    mean = m / (1.0 - momentum**t)
    kappa = min(momentum_correction(momentum, t), 0.9999)
    square = mean * mean
    # At t = 1 this is a rounding error, and multiplied by 10^4 it counts: hence _unit.
    spread = (v / (1.0 - momentum**t) * _unit - square) / (1.0 - kappa)
    total = square + kappa * spread
    # What is 0/0 is 0 here, small means too.
    gamma = square / total if total != 0.0 else float(square > 0.0)
    return mean * min(max(gamma, 0.0), 1.0), m, v


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
    return over(gradient, sqrt(v + eps)), v


@variant("rmsprop", "with v starting at 1")
def _rms_from_one(gradient, v, t, decay=0.9, eps=1e-8):
    v = decay * (1.0 if t == 1.0 else v) + (1.0 - decay) * gradient * gradient
    return over(gradient, sqrt(v) + eps), v


@variant("rmsprop", "with v starting at 1 and eps inside the root")
def _rms_from_one_inside(gradient, v, t, decay=0.9, eps=1e-8):
    v = decay * (1.0 if t == 1.0 else v) + (1.0 - decay) * gradient * gradient
    return over(gradient, sqrt(v + eps)), v


@variant("rmsprop", "with bias correction")
def _rms_corrected(gradient, v, t, decay=0.9, eps=1e-8):
    v = decay * v + (1.0 - decay) * gradient * gradient
    return over(gradient, sqrt(v / (1.0 - decay**t)) + eps), v


@variant("rmsprop", "with the variance, centered, for the square")
def _rms_centered(gradient, m, v, t, decay=0.9, eps=1e-8):
    m = decay * m + (1.0 - decay) * gradient
    v = decay * v + (1.0 - decay) * gradient * gradient
    return over(gradient, sqrt(max(v - m * m, 0.0)) + eps), m, v


@variant("adagrad", "with eps inside the root")
def _sum_inside(gradient, total, t, eps=1e-10):
    total = total + gradient * gradient
    return over(gradient, sqrt(total + eps)), total


@variant("adagrad", "with the sum starting at 0.1")
def _sum_started(gradient, total, t, eps=1e-10):
    total = (0.1 if t == 1.0 else total) + gradient * gradient
    return over(gradient, sqrt(total) + eps), total


@variant("adagrad", "with the sum starting at 0.1 and eps inside the root")
def _sum_started_inside(gradient, total, t, eps=1e-10):
    total = (0.1 if t == 1.0 else total) + gradient * gradient
    return over(gradient, sqrt(total + eps)), total


@variant("adagrad", "with the mean of g^2 instead of the sum")
def _mean_of_squares(gradient, total, t, eps=1e-10):
    total = total + gradient * gradient
    return over(gradient, sqrt(total / t) + eps), total


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
