"""The machine-code cache: used when possible, never out of date, and damage to it has no effect.

A small copy of the package, with a toy rule in ``methods`` and a generic kernel that finds it by
its hyper-parameters' type, is run in fresh processes.
"""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qpsim.kernels.machine_code as original

RULE = """
from typing import NamedTuple
from qpsim.kernels.jit import jit_inline

class ToyHyper(NamedTuple):
    rate: float

@jit_inline
def toy(x, hyper):
    return 2.0 * x * hyper.rate
"""

KERNEL = """
from numba.extending import overload
from qpsim.kernels.elementary import exp
from qpsim.kernels.jit import jit
from qpsim.methods.toy import ToyHyper, toy

RULES = {ToyHyper: toy}

def apply(x, hyper):
    raise NotImplementedError

@overload(apply)
def _apply(x, hyper):
    rule = RULES[hyper.instance_class]
    return lambda x, hyper: rule(x, hyper)

@jit
def walk(hyper, out):
    for k in range(out.size):
        out[k] = apply(out[k] + exp(0.0), hyper)

@jit
def total(out):
    found = 0.0
    for k in range(out.size):  # numba compiles np.sum longer than all the rest
        found += out[k]
    return found
"""

RUN = """
import json, sys
import numpy as np
from qpsim.kernels.machine_code import cache_folder, timings
from qpsim.kernels.toy import total, walk
from qpsim.methods.toy import ToyHyper
BEFORE
out = np.ones(3)
walk(HYPER(3.0), out)
folder = cache_folder()
print(json.dumps({"value": float(total(out)), "folder": folder and str(folder), **timings()}))
"""

# Run by every process of a copy that is read-only, before anything of the copy is imported: root
# may write whatever a file's mode says.
READ_ONLY = """
import errno, os, sys
ROOT = {root!r} + os.sep
TOUCHING = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.chmod", "os.truncate")
def refuse(event, arguments):
    writing = event == "open" and (
        any(letter in (arguments[1] or "") for letter in "wax+")
        or isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    if writing or event in TOUCHING:
        for path in arguments[: 1 if writing else 2]:
            if isinstance(path, (str, bytes)) and os.path.abspath(os.fsdecode(path)).startswith(ROOT):
                raise OSError(errno.EROFS, "Read-only file system", path)
sys.addaudithook(refuse)
"""

USERS_RULE = """
from typing import NamedTuple
from numba import njit
from qpsim.kernels.jit import jit
from qpsim.kernels import toy as kernels
class ToyHyper(NamedTuple):
    rate: float
@jit
def mine(x, hyper):
    return FACTOR * x * hyper.rate
kernels.RULES[ToyHyper] = mine
"""


class Copy:
    """A small copy of the package with its own cache."""

    def __init__(self, root: Path):
        self.root = root
        self.cache = root / "cache"
        source = Path(original.__file__).parent
        package = root / "qpsim"
        (package / "kernels").mkdir(parents=True)
        (package / "methods").mkdir()
        (package / "execution").mkdir()
        for name in (
            "__init__.py",
            "errors.py",
            "lazy.py",
            "execution/__init__.py",
            "execution/interrupts.py",
            "execution/sources.py",
            "execution/stopping.py",
            "kernels/__init__.py",
            "kernels/compiler_interrupts.py",
            "kernels/elementary.py",
            "kernels/jit.py",
            "kernels/machine_code.py",
            "kernels/numba_interface.py",
        ):
            shutil.copy(source.parent / name, package / name)
        (package / "methods" / "__init__.py").write_text("")
        (package / "methods" / "toy.py").write_text(RULE)
        (package / "kernels" / "toy.py").write_text(KERNEL)

    def start(self, before="", hyper="ToyHyper", **environment):
        environment = {"QPSIM_CACHE_DIR": str(self.cache), **environment}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("QPSIM_", "PYTHON"))}
        return subprocess.Popen(
            [sys.executable, "-B", "-W", "error", "-c"]
            + [RUN.replace("BEFORE", before).replace("HYPER", hyper)],
            env={**inherited, "PYTHONPATH": str(self.root), **environment},
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process):
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        assert stderr == ""
        return json.loads(stdout)

    def run(self, *arguments, **environment):
        return self.finish(self.start(*arguments, **environment))

    def make_read_only(self):
        """Nothing below the root can be written from here on, cache included if it lies there."""
        for path in self.root.rglob("*"):
            if path != self.root / "sitecustomize.py":
                path.chmod(0o555 if path.is_dir() else 0o444)
        (self.root / "sitecustomize.py").write_text(READ_ONLY.format(root=str(self.root)))
        self.root.chmod(0o555)

    def make_writable(self):
        self.root.chmod(0o755)
        for path in self.root.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def tree(self):
        return {path: path.stat().st_mtime_ns for path in self.root.rglob("*")}

    def files(self):
        return sorted(path for path in self.cache.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def warm_copy(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("warm"))
    copy.first = copy.run()
    return copy


@pytest.fixture
def copy(tmp_path, warm_copy):
    """A copy whose cache is already filled; the fingerprint does not depend on where it lies."""
    copy = Copy(tmp_path)
    shutil.copytree(warm_copy.cache, copy.cache)
    return copy


def test_a_generic_kernel_is_loaded_in_the_next_process(warm_copy, copy):
    assert warm_copy.first["value"] == 36.0
    assert warm_copy.first["cache_hits"] == 0
    assert warm_copy.first["cache_misses"] >= 2
    assert warm_copy.first["compile_seconds"] > 0
    again = copy.run()
    assert again["value"] == 36.0
    assert (again["cache_hits"], again["cache_misses"]) == (2, 0)
    assert again["compile_seconds"] == 0
    assert again["load_seconds"] > 0
    assert copy.files() and all(path.suffix == ".bin" for path in copy.files())


def test_an_edited_rule_in_another_file_is_never_stale(copy):
    rule = copy.root / "qpsim" / "methods" / "toy.py"
    before = rule.stat()
    rule.write_text(RULE.replace("2.0 * x", "5.0 * x"))
    os.utime(rule, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same time
    edited = copy.run()
    assert edited["value"] == 90.0
    assert edited["cache_hits"] == 0
    rule.write_text(RULE)
    restored = copy.run()
    assert (restored["value"], restored["cache_misses"]) == (36.0, 0)


def test_an_edit_under_a_running_process_ends_its_caching(copy):
    rule = copy.root / "qpsim" / "methods" / "toy.py"
    rule.write_text(RULE + "# a new version\n")
    files = copy.files()
    result = copy.run(f"import pathlib; pathlib.Path({str(rule)!r}).write_text('# newer still')")
    assert (result["value"], result["folder"], result["cache_hits"]) == (36.0, None, 0)
    assert copy.files() == files


def test_damaged_files_are_compiled_again_and_replaced(copy):
    files = copy.files()
    assert len(files) >= 4
    whole = {path: path.read_bytes() for path in files}
    for k, (path, content) in enumerate(whole.items()):
        truncated, garbage = content[: len(content) // 2], bytes(1000)
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes((b"", truncated, garbage, flipped)[k % 4])
    result = copy.run()
    assert (result["value"], result["cache_hits"]) == (36.0, 0)
    assert copy.run()["cache_misses"] == 0


@pytest.mark.long
def test_a_sound_checksum_around_nonsense_is_a_miss(copy):
    for k, path in enumerate(copy.files()):
        payload = (b"not a pickle", pickle.dumps((1, 2)), pickle.dumps(None))[k % 3]
        path.write_bytes(hashlib.sha256(payload).digest() + payload)
    result = copy.run()
    assert (result["value"], result["cache_hits"]) == (36.0, 0)


@pytest.mark.long
def test_an_unwritable_place_is_no_error(copy, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("a file where a folder should be")
    result = copy.run(QPSIM_CACHE_DIR=str(blocker / "cache"))
    assert (result["value"], result["cache_hits"]) == (36.0, 0)
    assert blocker.read_text() == "a file where a folder should be"


@pytest.fixture
def read_only_copy(copy):
    yield copy
    copy.make_writable()


@pytest.mark.long
def test_a_read_only_installation_keeps_its_machine_code_elsewhere(read_only_copy, tmp_path):
    elsewhere = {"QPSIM_CACHE_DIR": str(tmp_path.parent / f"{tmp_path.name}-elsewhere")}
    read_only_copy.make_read_only()
    before = read_only_copy.tree()
    first = read_only_copy.run(**elsewhere)
    again = read_only_copy.run(**elsewhere)
    assert (first["value"], first["cache_hits"]) == (36.0, 0)
    assert (again["value"], again["cache_misses"]) == (36.0, 0)
    assert read_only_copy.tree() == before


def test_a_read_only_cache_is_still_a_cache(read_only_copy):
    read_only_copy.make_read_only()
    before = read_only_copy.tree()
    result = read_only_copy.run()
    assert (result["value"], result["cache_hits"], result["cache_misses"]) == (36.0, 2, 0)
    assert read_only_copy.tree() == before


@pytest.mark.long
def test_a_read_only_cache_of_an_older_version_is_left_alone(read_only_copy):
    rule = read_only_copy.root / "qpsim" / "methods" / "toy.py"
    rule.write_text(RULE.replace("2.0 * x", "5.0 * x"))
    read_only_copy.make_read_only()
    before = read_only_copy.tree()
    result = read_only_copy.run()
    assert (result["value"], result["cache_hits"]) == (90.0, 0)
    assert read_only_copy.tree() == before


def test_the_read_only_copies_are_read_only(read_only_copy):
    read_only_copy.make_read_only()
    place = read_only_copy.root / "qpsim" / "new.py"
    attempt = f"open({str(place)!r}, 'w')"
    process = read_only_copy.start(attempt)
    assert "Read-only file system" in process.communicate(timeout=120)[1]
    assert not place.exists()


@pytest.mark.long
def test_no_home_directory_is_no_error(copy):
    before = "import pathlib\ndef homeless(): raise RuntimeError\npathlib.Path.home = homeless"
    result = copy.run(before, QPSIM_CACHE_DIR="", XDG_CACHE_HOME="")
    assert (result["value"], result["cache_hits"]) == (36.0, 0)


def test_the_cache_can_be_turned_off(copy):
    files = {path: path.stat().st_mtime_ns for path in copy.files()}
    result = copy.run(QPSIM_NO_CACHE="1")
    assert (result["value"], result["folder"], result["cache_hits"]) == (36.0, None, 0)
    assert {path: path.stat().st_mtime_ns for path in copy.files()} == files


def test_a_users_rule_is_neither_saved_nor_loaded(copy):
    """Even one whose hyper-parameters have the same name, and where an older version has run."""
    files = copy.files()
    for factor, value in ((7.0, 126.0), (8.0, 144.0)):
        result = copy.run(USERS_RULE.replace("FACTOR", str(factor)))
        assert result["value"] == value
        assert result["cache_misses"] >= 2
    assert copy.files() == files


@pytest.mark.long
def test_a_class_that_only_claims_to_be_ours_is_not_cached(copy):
    files = copy.files()
    before = USERS_RULE.replace("FACTOR", "7.0") + "ToyHyper.__module__ = 'qpsim.methods.toy'"
    assert copy.run(before)["value"] == 126.0
    assert copy.files() == files
    assert copy.run()["value"] == 36.0


@pytest.mark.long
def test_processes_started_at_once_do_not_meet_halves(tmp_path):
    copy = Copy(tmp_path)
    processes = [copy.start() for _ in range(3)]
    assert [copy.finish(process)["value"] for process in processes] == [36.0] * 3
    assert all(path.suffix == ".bin" for path in copy.files())
    assert copy.run()["cache_misses"] == 0


@pytest.mark.long
def test_processes_started_at_once_mend_a_damaged_cache(copy):
    for path in copy.files():
        path.write_bytes(path.read_bytes()[:-7])
    processes = [copy.start() for _ in range(2)]
    assert [copy.finish(process)["value"] for process in processes] == [36.0] * 2
    assert copy.run()["cache_misses"] == 0


@pytest.mark.parametrize(
    "upgrade",
    [
        "import numba; numba.__version__ = '99.0'",
        *(
            pytest.param(f"import {module}; {module}.{name} = '99.0'", marks=pytest.mark.long)
            for module, name in (("llvmlite", "__version__"), ("sys", "version"))
        ),
    ],
)
def test_machine_code_of_other_compilers_is_not_looked_at(copy, upgrade):
    before = copy.files()
    upgraded = copy.run(upgrade)
    assert (upgraded["value"], upgraded["cache_hits"]) == (36.0, 0)
    assert set(before) < set(copy.files())
    assert copy.run()["cache_misses"] == 0


BREAKS = {
    "no cache to derive from": "import numba.core.caching as m; del m._Cache",
    "results that cannot be taken apart": "import numba.core.compiler as m; del m.CompileResult._reduce",
    "other events": "import numba.core.event as m; m.Event.data = property(lambda self: {})",
    "an unknown flag": "import numba.core.cpu as m; delattr(m.CPUTargetOptions.__mro__[1], 'forceinline')",
}


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(name, marks=[] if name == "no cache to derive from" else pytest.mark.long)
        for name in BREAKS
    ],
)
def test_a_numba_that_lacks_what_is_private_gives_the_same_and_says_so(tmp_path, broken):
    copy = Copy(tmp_path)
    pretended = f"import numba; numba.__version__ = '99.0'; {BREAKS[broken]}"
    code = f"{pretended}\n{RUN.replace('BEFORE', '').replace('HYPER', 'ToyHyper')}"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={**os.environ, "PYTHONPATH": str(copy.root), "QPSIM_CACHE_DIR": str(copy.cache)},
        cwd=copy.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["value"] == 36.0
    assert "do not work with numba 99.0" in done.stderr and "was tried with numba" in done.stderr
    keeps = broken in ("other events", "an unknown flag")
    assert bool(copy.files()) == keeps


@pytest.mark.long
def test_an_upgraded_package_and_the_old_one_live_side_by_side(copy, tmp_path):
    """Two versions that share a cache, started at once and then once more."""
    newer = Copy(tmp_path / "newer")
    newer.cache = copy.cache
    (newer.root / "qpsim" / "methods" / "toy.py").write_text(RULE.replace("2.0 * x", "5.0 * x"))
    processes = [(one, one.start()) for one in (copy, newer)]
    assert [one.finish(process)["value"] for one, process in processes] == [36.0, 90.0]
    for one, value in ((copy, 36.0), (newer, 90.0)):
        again = one.run()
        assert (again["value"], again["cache_misses"]) == (value, 0)


@pytest.mark.long
def test_old_fingerprints_are_deleted_and_strangers_kept(copy):
    (current,) = (copy.cache / "machine-code").iterdir()
    for k in range(6):
        old = current.with_name(f"{k:032x}")
        old.mkdir()
        (old / "kernel.bin").write_bytes(b"old")
        os.utime(old, (1000 + k, 1000 + k))
    (current.parent / "notes").mkdir()
    (copy.root / "qpsim" / "methods" / "toy.py").write_text(RULE + "# a new version\n")
    newest = Path(copy.run()["folder"])
    kept = {path.name for path in current.parent.iterdir()}
    assert kept == {newest.name, current.name, f"{5:032x}", f"{4:032x}", "notes"}


@pytest.mark.long
def test_flush_forgets_one_kernel(copy):
    before = "import qpsim.kernels.toy as toy\ntoy.walk._cache.flush()"
    result = copy.run(before)
    assert (result["value"], result["cache_hits"]) == (36.0, 3)
