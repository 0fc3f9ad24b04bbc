"""Adam's relatives of later years: AdamW, NAdam, AdaMax, AMSGrad, RAdam, AdaBelief and Yogi.

The sources differ in whether averages are bias-corrected and in where the epsilon stands; each docstring says how.
Public implementations differ from these forms in places, which :mod:`qpsim.conformance` lists.
"""

import math
import types

from qpsim.methods.averaged import adam
from qpsim.methods.rule import rule
from qpsim.rules.scalar import averaging_weight, sign, sqrt


def _gradient_vanishes(m, v, t, b1, b2, eps):
    return 0.0


def _under_the_name(function, name, summary):
    """A copy of the function under another name, for a second method with the same update."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
    )
    copy.__qualname__, copy.__module__, copy.__doc__ = name, __name__, summary
    return copy


adamw = rule(
    _under_the_name(
        adam.function,
        "adamw",
        "AdamW (Loshchilov & Hutter, 2019) as far as gradients go: Adam; its decay is of parameters.",
    ),
    breakpoint=_gradient_vanishes,
)


def _nadam_gradient_vanishes(m, v, product, t, b1, b2, eps, momentum_decay):
    return 0.0


@rule(breakpoint=_nadam_gradient_vanishes, ranges={"momentum_decay": (0.0, math.inf)})
def nadam(gradient, m, v, product, t, b1=0.9, b2=0.999, eps=1e-8, momentum_decay=0.004):
    """NAdam (Dozat, 2016): Adam with Nesterov's momentum, where mu_t grows to b1.

    mu_t = b1 (1 - 0.96^(momentum_decay t) / 2). The paper and Keras have momentum_decay = 1 resp.
    0.004; a very large one makes mu_t = b1 from the start. ``product`` is 1 - mu_1 ... mu_t.
    """
    mu = b1 * (1.0 - 0.5 * 0.96 ** (momentum_decay * t))
    following = b1 * (1.0 - 0.5 * 0.96 ** (momentum_decay * (t + 1.0)))
    product = product + (1.0 - product) * (1.0 - mu)
    ahead = product + (1.0 - product) * (1.0 - following)
    w = averaging_weight(b2, t)
    m = b1 * m + (1.0 - b1) * gradient
    v = (1.0 - w) * v + w * gradient * gradient
    length = sqrt(v) + eps
    forward = following * m / ahead + (1.0 - mu) * gradient / product
    return forward / (length if length > 0.0 else 1.0), m, v, product


def _largest_vanishes(m, u, t, b1, b2, eps):
    return 0.0


@rule(breakpoint=_largest_vanishes)
def adamax(gradient, m, u, t, b1=0.9, b2=0.999, eps=1e-8):
    """AdaMax (Kingma & Ba, 2015, Alg. 2): z = m / u, u = max(b2 u, |g| + eps), m bias-corrected.

    The paper has no epsilon; it stands here where PyTorch has it.
    """
    w = averaging_weight(b1, t)
    m = (1.0 - w) * m + w * gradient
    size = abs(gradient) + eps
    u = b2 * u
    u = size if size > u else u
    return m / (u if u > 0.0 else 1.0), m, u


def _with_largest_vanishes(m, v, largest, t, b1, b2, eps, bias_corrected):
    return 0.0


@rule(breakpoint=_with_largest_vanishes)
def amsgrad(gradient, m, v, largest, t, b1=0.9, b2=0.999, eps=1e-8, bias_corrected=True):
    """AMSGrad (Reddi et al., 2018): Adam divided by the root of the largest v so far.

    The paper does not correct the bias (``bias_corrected=False``). With ``bias_corrected`` both averages are corrected
    as in Adam, v after the maximum is taken.
    """
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    largest = v if v > largest else largest
    first = 1.0 - b1**t if bias_corrected else 1.0
    second = 1.0 - b2**t if bias_corrected else 1.0
    length = sqrt(largest / second) + eps
    return m / first / (length if length > 0.0 else 1.0), m, v, largest


def _rectified_gradient_vanishes(m, v, t, b1, b2, eps, threshold):
    return 0.0


@rule(breakpoint=_rectified_gradient_vanishes, ranges={"threshold": (4.0, math.inf)})
def radam(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8, threshold=5.0):
    """RAdam (Liu et al., 2020): m alone in the first steps, then Adam times a factor that grows to 1.

    The division by sqrt(v) begins when rho_t, the effective length of the average of squares, exceeds ``threshold``: 4
    in the paper, 5 in its authors' program.
    """
    w1, w2 = averaging_weight(b1, t), averaging_weight(b2, t)
    m = (1.0 - w1) * m + w1 * gradient
    v = (1.0 - w2) * v + w2 * gradient * gradient
    power = b2**t
    longest = 2.0 / (1.0 - b2) - 1.0
    rho = longest - 2.0 * t * power / (1.0 - power)
    divides = rho > threshold
    above = (rho - 4.0) * (rho - 2.0) * longest
    below = (longest - 4.0) * (longest - 2.0) * rho
    factor = sqrt(above / below) if divides else 1.0
    length = sqrt(v) + eps if divides else 1.0
    return factor * m / (length if length > 0.0 else 1.0), m, v


def _no_surprise(m, s, t, b1, b2, eps, floor):
    # The gradient for which g - m is 0.
    return m


@rule(breakpoint=_no_surprise, ranges={"floor": (0.0, math.inf)})
def adabelief(gradient, m, s, t, b1=0.9, b2=0.999, eps=1e-16, floor=1e-16):
    """AdaBelief (Zhuang et al., 2020, Alg. 2): Adam with the average of (g - m)^2 for that of g^2.

    ``floor`` is added to that average at every step, ``eps`` to its root.
    """
    m = b1 * m + (1.0 - b1) * gradient
    surprise = gradient - m
    s = b2 * s + (1.0 - b2) * surprise * surprise + floor
    length = sqrt(s / (1.0 - b2**t)) + eps
    return m / (1.0 - b1**t) / (length if length > 0.0 else 1.0), m, s


def _additive_gradient_vanishes(m, v, t, b1, b2, eps, initial, bias_corrected):
    return 0.0


@rule(breakpoint=_additive_gradient_vanishes, ranges={"initial": (0.0, math.inf)})
def yogi(
    gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-3, initial=0.0, bias_corrected=False
):  # fmt: skip
    """Yogi (Zaheer et al., 2018, Alg. 2): v moves towards g^2 by (1 - b2) g^2; z = m / (sqrt(v) + eps).

    v starts at ``initial``. The paper does not correct the bias; with ``bias_corrected`` both averages are corrected as
    in Adam.
    """
    square = gradient * gradient
    v = initial if t == 1.0 else v
    m = b1 * m + (1.0 - b1) * gradient
    v = v - (1.0 - b2) * sign(v - square) * square
    first = 1.0 - b1**t if bias_corrected else 1.0
    second = 1.0 - b2**t if bias_corrected else 1.0
    length = sqrt(v / second) + eps
    return m / first / (length if length > 0.0 else 1.0), m, v
