"""All use of numba and llvmlite beyond ``njit`` and ``overload``, with fallbacks for versions that lack it.

Kernels use undocumented parts of numba: for the cache on disk, for flags that speed up compilation, and for vector
instructions. A future numba may change them. The whole test suite was run with the versions ``TRIED``. With a version
outside of this range each private feature is tested on a small example when it is first needed. If the test fails, a
warning says so and the feature is not used: the package is slower and gives the same bits. (Convolutions of networks
then use the plain algorithm, whose results differ by rounding.)

The documented ``numba.extending`` and llvmlite's instruction builder are always needed. If they are missing, an error
names the versions that have them.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numba

from qpsim.errors import QpsimError

# The oldest and the newest numba with which the whole test suite was run.
TRIED = ("0.59", "0.68")


def version_of(text: str) -> tuple[int, int]:
    """Major and minor number of a version; (0, 0) if it has none.

    >>> version_of("0.61.2"), version_of("0.62.0rc1"), version_of("unknown")
    ((0, 61), (0, 62), (0, 0))
    """
    parts = text.split(".")[:2]
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return int(parts[0]), int(parts[1])
    return 0, 0


def is_tried() -> bool:
    """Whether this numba is one of those with which the test suite was run."""
    return version_of(TRIED[0]) <= version_of(numba.__version__) <= version_of(TRIED[1])


def works(feature: str, example: Callable[[], bool], instead: str) -> bool:
    """Whether a private feature works in this version.

    Parameters
    ----------
    feature : str
        Its name, as the beginning of a sentence.
    example : callable
        Uses the feature and returns whether the result is right. It is not called with versions that were tried.
    instead : str
        What happens without the feature, for the warning.
    """
    if is_tried():
        return True
    try:
        if example():
            return True
        reason = "a wrong result"
    except Exception as error:  # another version of numba may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    warnings.warn(
        f"{feature} do not work with numba {numba.__version__} ({reason}); {instead}. "
        f"qpsim was tried with numba {TRIED[0]} to {TRIED[1]}.",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def _required(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise QpsimError(
            f"qpsim does not work with numba {numba.__version__} ({error}); install one of those it "
            f"was tried with: pip install 'numba>={TRIED[0]},<={TRIED[1]}.*'."
        ) from None


def _optional(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:  # the example of the feature will fail
        return SimpleNamespace()


_core = _required("numba.core")
_required("numba.core.cgutils")
config: Any = _required("numba.core.config")
if config.DISABLE_JIT:
    raise QpsimError(
        "qpsim's kernels exist as machine code only, and NUMBA_DISABLE_JIT forbids it: unset it. To "
        "step through a rule, call its plain Python function, such as method.rule.function."
    )

# For instructions of our own.
cgutils: Any = _core.cgutils
ir: Any = _required("llvmlite.ir")
types: Any = _required("numba.core.types")
extending: Any = _required("numba.extending")
intrinsic: Any = extending.intrinsic
TypingError: Any = _required("numba.core.errors").TypingError
templates: Any = _optional("numba.core.typing.templates")

# For machine code on disk, and for measuring compilation times.
caching: Any = _optional("numba.core.caching")
compiler: Any = _optional("numba.core.compiler")
event: Any = _optional("numba.core.event")
serialize: Any = _optional("numba.core.serialize")
registry: Any = _optional("numba.core.registry")


def has_512_bits() -> bool:
    """Whether the processor has vectors of 512 bits."""
    return bool(_required("llvmlite.binding").get_host_cpu_features().get("avx512f", False))


def accepted(flags: dict[str, Any]) -> dict[str, Any]:
    """The private compilation flags that this numba accepts; they do not change results."""

    def is_known(name: str) -> bool:
        def example() -> bool:
            numba.njit(**{name: flags[name]})(lambda x: x).compile((types.float64,))
            return True

        return works(f"Compiler flags ({name})", example, "kernels compile or run slower")

    return {name: value for name, value in flags.items() if is_known(name)}


def forbid_python_calls(dispatcher: Any) -> Any:
    """Make calls from Python an error, for a kernel that was compiled without a wrapper for Python.

    Without the wrapper such a call would crash the process.
    """

    def refuse(*arguments: Any, **named: Any) -> None:
        raise TypeError(
            f"{dispatcher.__name__} is for kernels alone: call it in a jitted function of your own."
        )

    def add_overload(result: Any) -> None:
        dispatcher.overloads[tuple(result.signature.args)] = result

    # Kernels that call it find it, but numba's search for calls from Python does not.
    dispatcher.add_overload = add_overload
    dispatcher._compile_for_args = refuse
    return dispatcher
