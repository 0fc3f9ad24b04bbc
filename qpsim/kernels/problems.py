"""The kernels of a class of problems, as the step loop of :mod:`qpsim.kernels.coupled` calls them.

A class of problems is a NamedTuple with the arrays that its steps need, and a :class:`ProblemKernels` with five
functions that numba can compile; `register` joins the two. Numba then finds the functions by the type of the tuple, as
it finds a rule by the type of its hyper-parameters. Arrays are (coordinate, lane).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numba.extending import overload

from qpsim.kernels.jit import OVERLOAD
from qpsim.kernels.numba_interface import types


@dataclass(frozen=True)
class ProblemKernels:
    """The functions of one class of problems, each a function that numba can compile.

    Attributes
    ----------
    evaluate : (problem, offset, gradient, loss)
        Writes the exact gradient (d, lanes) and the excess loss (lanes,) at theta - optimum = offset.
    draw_noise : chooser of (problem, hyper, offset, gradient, stream, t, normals, noise, extra)
        Draws the stochastic gradients: writes noise (d, lanes) such that the stochastic gradient is gradient - noise,
        and what the rule observes besides into extra (d, lanes). normals (n_normals, lanes) is scratch memory.
    multiply : (problem, direction, image)
        Writes the Hessian times the direction.
    add_moments : chooser of (problem, hyper, step, policy, moments)
        Writes E[z]^T gradient and E[z^T Q z], or its bound, of the direction z given a :class:`StepInput`; None if the
        class has no moments, and so no exact step.

    A chooser is called with numba's types of problem and hyper-parameters and returns the function, which may so depend
    on the rule; it returns None for a rule without moments. Functions have the argument names given here.
    """

    evaluate: Callable[..., Any]
    draw_noise: Callable[[Any, Any], Callable[..., Any]]
    multiply: Callable[..., Any]
    add_moments: Callable[[Any, Any], Callable[..., Any]] | None = None


_KERNELS: dict[type, ProblemKernels] = {}


def register(problem_class: type, kernels: ProblemKernels) -> None:
    """Register the functions for the class of a problem's tuple."""
    _KERNELS[problem_class] = kernels


def evaluate(problem, offset, gradient, loss):
    """Exact gradient (d, lanes) and excess loss (lanes,)."""


def draw_noise(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    """Noise (d, lanes) of the stochastic gradients gradient - noise, and what the rule observes."""


def multiply(problem, direction, image):
    """The Hessian times the direction (d, lanes)."""


def add_moments(problem, hyper, step, policy, moments):
    """grad^T E[z] and E[z^T Q z], or its bound, in every lane; nothing if the policy is None."""


@overload(evaluate, jit_options=OVERLOAD)
def _evaluate(problem, offset, gradient, loss):
    return _KERNELS[problem.instance_class].evaluate


@overload(draw_noise, jit_options=OVERLOAD)
def _draw_noise(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    return _KERNELS[problem.instance_class].draw_noise(problem, hyper)


@overload(multiply, jit_options=OVERLOAD)
def _multiply(problem, direction, image):
    return _KERNELS[problem.instance_class].multiply


@overload(add_moments, jit_options=OVERLOAD)
def _add_moments(problem, hyper, step, policy, moments):
    choose = _KERNELS[problem.instance_class].add_moments
    found = None
    if choose is not None and not isinstance(policy, types.NoneType):
        found = choose(problem, hyper)
    return found or (lambda problem, hyper, step, policy, moments: None)
