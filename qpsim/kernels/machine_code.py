"""The cache of compiled kernels on disk.

Numba's own disk cache checks only whether the file of the outermost function was edited. Kernels
inline functions of other files (elementary functions, rules), and an edit there would not be
noticed. Therefore the name of the cache's folder is a fingerprint of all source files that can
become machine code, of the compilers and of the processor, and machine code of other versions is
never loaded.

Environment: ``QPSIM_CACHE_DIR`` moves the cache, ``QPSIM_NO_CACHE=1`` turns it off. If a cache file
is damaged or unreadable, or the folder is not writable, the kernel is compiled again.
"""

import hashlib
import inspect
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
from typing import Any

import numba
import numpy as np

from qpsim.execution.sources import Sources
from qpsim.kernels.numba_interface import (
    caching,
    compiler,
    config,
    event,
    registry,
    serialize,
    types,
    works,
)

_SOURCE_ROOMS = ("rules", "methods", "kernels", "nn/kernels")
_KEPT_FINGERPRINTS = 4
_DIGEST_BYTES = hashlib.sha256().digest_size
_CODEGEN_OPTIONS = (
    "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "USING_SVML",
)  # fmt: skip


def cache_on_disk(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Make a kernel load its machine code from disk, and save it there if it is missing."""
    if _can_cache():
        dispatcher._cache = KernelCache(function)


def timings() -> dict[str, float]:
    """The time that this process has spent on compilation so far.

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
    off = os.environ.get("QPSIM_NO_CACHE", "") not in ("", "0")
    if off or not _can_cache() or not _sources.unchanged():
        return None
    root = cache_root()
    return None if root is None else root / "machine-code" / _fingerprint()


def cache_root() -> Path | None:
    """The folder for all files that can be made again."""
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
    parts = (
        _sources.digest,
        numba.__version__,
        import_module("llvmlite").__version__,
        np.__version__,
        sys.version,
        registry.cpu_target.target_context.codegen().magic_tuple(),
        [str(getattr(config, name, None)) for name in _CODEGEN_OPTIONS],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


class KernelCache(getattr(caching, "_Cache", object)):  # type: ignore[misc]
    """One kernel's machine code on disk: one file per signature, a checksum and then a pickle.

    There is no index. The name of a file is a hash of kernel and signature, so that processes
    started at the same time can at worst write the same file twice, each time completely.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        code = function.__code__
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._cacheable = (
            function.__closure__ is None
            and "<" not in function.__qualname__
            and _sources.covers(code.co_filename)
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
        """Forget every signature of this kernel (called by numba's ``recompile``)."""
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
        except Exception:  # a damaged or outdated pickle may raise anything: compile instead
            return None
        _clock.hits += 1
        _clock.load_seconds += time.perf_counter() - started
        _mark_used(path)
        return result

    def save_overload(self, sig: Any, data: Any) -> None:
        path = self._path(sig)
        if path is None or data.library.has_dynamic_globals:  # it has addresses of this process
            return
        payload = serialize.dumps((tuple(getattr(sig, "args", sig)), data._reduce()))
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _forget_old_fingerprints(path.parent)
            _write_atomically(path, hashlib.sha256(payload).digest() + payload)
        except OSError:  # read-only or full disk: the machine code stays in memory only
            return


def _is_portable(kind: Any) -> bool:
    """Whether a type is the same in other processes, with its code in the fingerprint."""
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
    """Whether a named tuple class can be imported from a file that is in the fingerprint.

    The class selects the rule in a kernel. A user's class may be edited, or made anew at each
    start, without a change of the fingerprint.
    """
    module = sys.modules.get(named_tuple.__module__)
    try:
        found = attrgetter(named_tuple.__qualname__)(module)
    except AttributeError:
        return False
    return found is named_tuple and _sources.covers(getattr(module, "__file__", None))


def _spell(kind: Any) -> str:
    """A type as text that distinguishes named tuples of the same name from different modules."""
    if isinstance(kind, types.BaseNamedTuple):
        cls = kind.instance_class
        return f"{cls.__module__}.{cls.__qualname__}({[_spell(field) for field in kind]})"
    if isinstance(kind, types.BaseTuple):
        return f"({[_spell(field) for field in kind]})"
    return str(kind)


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a file atomically: other processes see all of it or none."""
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
        except OSError:  # a read-only cache can still be read
            return


def _forget_old_fingerprints(current: Path) -> None:
    """Delete all but the most recently used versions; a few are kept, for work on several branches."""
    ages = []
    for folder in current.parent.iterdir():
        if folder != current and re.fullmatch(r"[0-9a-f]{32}", folder.name):
            try:
                ages.append((folder.stat().st_mtime, folder))
            except OSError:  # another process has deleted it
                continue
    for _, folder in sorted(ages, reverse=True)[_KEPT_FINGERPRINTS - 1 :]:
        shutil.rmtree(folder, ignore_errors=True)


class _Clock(getattr(event, "Listener", object)):  # type: ignore[misc]
    """Counts compilations of kernels and their time; nested ones count as part of the outer one."""

    def __init__(self) -> None:
        self.compile_seconds = 0.0
        self.load_seconds = 0.0
        self.hits = 0
        self.misses = 0
        self._depth = 0
        self._started = 0.0

    def _is_kernel(self, occurrence: Any) -> bool:
        return isinstance(getattr(occurrence.data["dispatcher"], "_cache", None), KernelCache)

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


def _clock_example() -> bool:
    seen: list[bool] = []

    class Listener(event.Listener):
        def on_start(self, event: Any) -> None:
            seen.append("dispatcher" in event.data)

        on_end = on_start

    with event.install_listener("numba:compile", Listener()):
        numba.njit(lambda x: x).compile((types.float64,))
    return seen == [True, True]


@cache
def _can_cache() -> bool:
    return works("Kept kernels", _cache_example, "each process compiles its kernels anew")


def _cache_example() -> bool:
    """Serialise machine code and load it again, as the cache does."""
    dispatcher = numba.njit(lambda x: x + 1.0)
    dispatcher.compile((types.float64,))
    (result,) = dispatcher.overloads.values()
    reduced = pickle.loads(serialize.dumps(result._reduce()))
    context = registry.cpu_target.target_context
    context.codegen().magic_tuple()
    again = compiler.CompileResult._rebuild(context, *reduced)
    wanted = {"cache_path", "enable", "disable", "flush", "load_overload", "save_overload"}
    return (
        again.signature == result.signature
        and result.library.has_dynamic_globals is False
        and isinstance(dispatcher._cache, caching._Cache)
        and caching._Cache.__abstractmethods__ <= wanted
        and list(inspect.signature(caching.Cache.load_overload).parameters)[1:]
        == ["sig", "target_context"]
        and list(inspect.signature(caching.Cache.save_overload).parameters)[1:] == ["sig", "data"]
    )


# The source files when this process starts; after an edit compiled code is not saved.
_sources = Sources(_SOURCE_ROOMS)
_marked: set[Path] = set()
_clock = _Clock()
if works("Compilation times", _clock_example, "they are given as 0"):
    event.register("numba:compile", _clock)
