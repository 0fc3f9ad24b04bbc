"""How kernels are compiled and where their machine code is kept: all jit flags are here.

Numba's own disk cache asks only whether the file of the outermost function was edited. Kernels
inline functions of other files (elementary functions, rules), so an edit there would go unnoticed.
Here the cache's folder is named by a fingerprint of all the sources that can end up in machine
code, of the compilers and of the processor: machine code of another version is never even looked
at.

Environment: ``QPSIM_CACHE_DIR`` moves the cache, ``QPSIM_NO_CACHE=1`` turns it off. Whatever goes
wrong with a cache file (damaged, unreadable, folder not writable) costs one compilation and nothing
else.
"""

import hashlib
import os
import pickle
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import caching, compiler, event, serialize
from numba.core import config as numba_config
from numba.core import types as numba_types
from numba.core.registry import cpu_target
from numba.extending import intrinsic as numba_intrinsic

from qpsim.execution.sources import Sources

# numba's annotations know neither its configuration nor its tuple types
config: Any = numba_config
types: Any = numba_types
intrinsic: Any = numba_intrinsic

_SOURCE_ROOMS = ("rules", "methods", "kernels", "nn/kernels")
_KEPT_FINGERPRINTS = 4
_DIGEST_BYTES = hashlib.sha256().digest_size

# nogil: blocks of replicates run in threads. error_model: x/0 is inf or nan, as in NumPy, without a
# branch that would stop vectorisation. No fastmath: nan tests must work, and results must not
# depend on the vector width.
_FLAGS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "no_cfunc_wrapper": True,
}
# The same for the functions that numba.extending.overload compiles: where they are called in a kernel, and
# where they must vanish into a kernel's loops.
OVERLOAD: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
OVERLOAD_INLINE: dict[str, Any] = {**OVERLOAD, "forceinline": True}


def jit(function: Callable[..., Any]) -> Any:
    """Compile a kernel on its first call, or load its machine code from the cache.

    Parameters
    ----------
    function
        A module-level function in Numba's subset of Python. Functions of other packages, and
        functions made inside functions, are compiled just the same but never cached on disk.

    Returns
    -------
    The compiled function (a Numba dispatcher); ``.py_func`` is the original.
    """
    return _compiled(function)


def jit_inner(function: Callable[..., Any]) -> Any:
    """Like `jit`, for what only kernels call: that Python could call it would take some 50 ms more.

    Should Python call it nevertheless, that is a TypeError; tests take a kernel of their own.
    """
    return _closed_to_python(_compiled(function, no_cpython_wrapper=True))


def jit_inline(function: Callable[..., Any]) -> Any:
    """Like `jit`, for a small function that must vanish into the loops of its callers.

    A loop is vectorised only if nothing is called in it; the flag makes LLVM inline whatever its
    cost model says. As with `jit_inner`, Python cannot call it.
    """
    return _closed_to_python(_compiled(function, forceinline=True, no_cpython_wrapper=True))


def jit_spliced(function: Callable[..., Any]) -> Any:
    """Like `jit`, for a large function that is called in one place: it becomes part of its caller.

    Every function between a kernel and what it calls is linked and optimised with all of that code
    once more, most of a second for a long one.
    """
    return _compiled(function, inline="always")


@intrinsic
def arguments_are_apart(typing_context: Any) -> Any:
    """Promise, in a kernel's first line, that no two of its array arguments overlap.

    Numba does not tell LLVM so, whose vector loops then begin with a comparison of all addresses, or
    are not made at all where these would be many.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def wide_vectors(typing_context: Any) -> Any:
    """Ask, in a kernel's first line, for vectors of 512 bits in its loops where the processor has them.

    For some processors LLVM takes half of that, lest their clock slow down; where it does at all, these
    loops still gain. Results are the same: nothing here is summed across a vector.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite knows no attribute that has a value, and writes it as it is given
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


def timings() -> dict[str, float]:
    """What compilation has cost this process so far.

    Returns
    -------
    dict
        ``compile_seconds`` and ``load_seconds`` (wall time), ``cache_hits`` (machine code loaded
        from disk) and ``cache_misses`` (machine code compiled; every one if the cache is off).
    """
    return {
        "compile_seconds": _clock.compile_seconds,
        "load_seconds": _clock.load_seconds,
        "cache_hits": _clock.hits,
        "cache_misses": _clock.misses,
    }


def cache_folder() -> Path | None:
    """This version's folder of machine code (it may not exist yet), or None if the cache is off."""
    if os.environ.get("QPSIM_NO_CACHE", "") not in ("", "0") or not _sources.unchanged():
        return None
    root = cache_root()
    return None if root is None else root / "machine-code" / _fingerprint()


def _compiled(function: Callable[..., Any], **flags: Any) -> Any:
    dispatcher = numba.njit(**_FLAGS, **flags)(function)
    if not isinstance(dispatcher, FunctionType):  # NUMBA_DISABLE_JIT=1 hands the function back
        dispatcher._cache = _KernelCache(function)
    return dispatcher


def _closed_to_python(dispatcher: Any) -> Any:
    """Without a wrapper there is nothing that Python could call; numba would try, and end the process."""
    if isinstance(dispatcher, FunctionType):
        return dispatcher

    def refuse(*arguments: Any, **named: Any) -> None:
        raise TypeError(
            f"{dispatcher.__name__} is for kernels alone: call it in a jitted function of your own."
        )

    def add_overload(result: Any) -> None:
        dispatcher.overloads[tuple(result.signature.args)] = result

    # Known to kernels that call it, but not to numba's own search for what Python's arguments match.
    dispatcher.add_overload = add_overload
    dispatcher._compile_for_args = refuse
    return dispatcher


def cache_root() -> Path | None:
    """The folder below which everything is kept that can be made again."""
    given = os.environ.get("QPSIM_CACHE_DIR")
    try:
        if given:
            return Path(given).expanduser()
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            return (Path(local) if local else Path.home() / "AppData" / "Local") / "qpsim" / "Cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "qpsim"
        xdg = os.environ.get("XDG_CACHE_HOME")
        return (Path(xdg) if xdg else Path.home() / ".cache") / "qpsim"
    except RuntimeError:  # no home directory
        return None


@cache
def _fingerprint() -> str:
    codegen_options = (
        config.OPT,
        config.LOOP_VECTORIZE,
        config.SLP_VECTORIZE,
        config.BOUNDSCHECK,
        config.DEBUGINFO_DEFAULT,
        getattr(config, "USING_SVML", None),
    )
    parts = (
        _sources.digest,
        numba.__version__,
        import_module("llvmlite").__version__,
        np.__version__,
        sys.version,
        cpu_target.target_context.codegen().magic_tuple(),
        [str(o) for o in codegen_options],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


class _KernelCache(caching._Cache):
    """One kernel's machine code on disk: one file per signature, a checksum and then a pickle.

    There is no index: the file's name is a hash of kernel and signature, so that processes started
    at once can at worst write the same file twice, each time as a whole.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        code = function.__code__
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._cacheable = (
            function.__closure__ is None
            and "<" not in function.__qualname__
            and _sources.cover(code.co_filename)
        )
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        folder = cache_folder()
        return None if folder is None else str(folder)

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        """Forget every signature of this kernel (numba's ``recompile`` asks for it)."""
        folder = cache_folder()
        if folder is not None:
            for path in folder.glob(f"{self._name}-*.bin"):
                path.unlink(missing_ok=True)

    def _path(self, signature: Any) -> Path | None:
        arguments = getattr(signature, "args", signature)
        if not (self._enabled and self._cacheable and all(map(_is_portable, arguments))):
            return None
        folder = cache_folder()
        if folder is None:
            return None
        key = repr([_spell(argument) for argument in arguments])
        return folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.bin"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        path = self._path(sig)
        started = time.perf_counter()
        try:
            content = path.read_bytes() if path is not None else b""
        except OSError:
            content = b""
        checksum, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if not payload or hashlib.sha256(payload).digest() != checksum:
            return None
        try:
            arguments, reduced = pickle.loads(payload)
            if arguments != tuple(getattr(sig, "args", sig)):
                return None
            result = compiler.CompileResult._rebuild(target_context, *reduced)
        except Exception:  # whatever a foreign or outdated pickle may raise: compile instead
            return None
        _clock.hits += 1
        _clock.load_seconds += time.perf_counter() - started
        _mark_used(path)
        return result

    def save_overload(self, sig: Any, data: Any) -> None:
        path = self._path(sig)
        if path is None or data.library.has_dynamic_globals:  # addresses of this process
            return
        payload = serialize.dumps((tuple(getattr(sig, "args", sig)), data._reduce()))
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _forget_old_fingerprints(path.parent)
            _write_whole(path, hashlib.sha256(payload).digest() + payload)
        except OSError:  # read-only or full disk: this process keeps its machine code in memory
            return


def _is_portable(kind: Any) -> bool:
    """Whether a type means the same in the next process, its code covered by the fingerprint."""
    if isinstance(kind, types.BaseNamedTuple) and not _is_ours(kind.instance_class):
        return False
    if isinstance(kind, types.BaseTuple):
        return all(map(_is_portable, kind))
    if isinstance(kind, types.Optional):
        return _is_portable(kind.type)
    if isinstance(kind, types.Array):
        return _is_portable(kind.dtype)
    return isinstance(
        kind, types.Number | types.Boolean | types.NoneType | types.Omitted | types.Literal
    )


def _is_ours(named_tuple: type) -> bool:
    """Whether a named tuple class can be imported again from a file that the fingerprint covers.

    A class is what selects a method's rule in a generic kernel. A user's class may be edited, or
    made anew at each start, without the fingerprint noticing.
    """
    module = sys.modules.get(named_tuple.__module__)
    try:
        found = attrgetter(named_tuple.__qualname__)(module)
    except AttributeError:
        return False
    return found is named_tuple and _sources.cover(getattr(module, "__file__", None))


def _spell(kind: Any) -> str:
    """A type's text, in which named tuples of the same name and different modules differ."""
    if isinstance(kind, types.BaseNamedTuple):
        cls = kind.instance_class
        return f"{cls.__module__}.{cls.__qualname__}({[_spell(field) for field in kind]})"
    if isinstance(kind, types.BaseTuple):
        return f"({[_spell(field) for field in kind]})"
    return str(kind)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that other processes see all of it or none of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _mark_used(path: Path | None) -> None:
    if path is not None and path.parent not in _marked:
        _marked.add(path.parent)
        try:
            os.utime(path.parent)
        except OSError:  # a read-only cache is still a cache
            return


def _forget_old_fingerprints(current: Path) -> None:
    """Keep the few most recently used versions: going back and forth between two stays fast."""
    ages = []
    for folder in current.parent.iterdir():
        if folder != current and re.fullmatch(r"[0-9a-f]{32}", folder.name):
            try:
                ages.append((folder.stat().st_mtime, folder))
            except OSError:  # another process has just deleted it
                continue
    for _, folder in sorted(ages, reverse=True)[_KEPT_FINGERPRINTS - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


class _Clock(event.Listener):
    """Counts compilations of kernels; those that happen inside another count as part of it."""

    def __init__(self) -> None:
        self.compile_seconds = 0.0
        self.load_seconds = 0.0
        self.hits = 0
        self.misses = 0
        self._depth = 0
        self._started = 0.0

    def _is_kernel(self, occurrence: Any) -> bool:
        return isinstance(occurrence.data["dispatcher"]._cache, _KernelCache)

    def on_start(self, event: Any) -> None:
        if not self._is_kernel(event):
            return
        self.misses += 1
        if self._depth == 0:
            self._started = time.perf_counter()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        if not self._is_kernel(event):
            return
        self._depth -= 1
        if self._depth == 0:
            self.compile_seconds += time.perf_counter() - self._started


# As they are when this process starts: code compiled from edited files is not kept.
_sources = Sources(_SOURCE_ROOMS)
_marked: set[Path] = set()
_clock = _Clock()
event.register("numba:compile", _clock)
