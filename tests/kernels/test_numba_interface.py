"""Private parts of numba are used in one file only, and results without them are the same."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import qpsim
from qpsim.kernels import numba_interface
from qpsim.kernels.numba_interface import is_tried, version_of, works

PACKAGE = Path(qpsim.__file__).parent

# Prints hashes of everything that the vector instructions compute, in the exact sign step and in networks.
VECTORS = """
import hashlib, json
import numpy as np
from numba import njit
from qpsim.kernels import forms
from qpsim.nn.kernels import has_lanes
from qpsim.nn.layers import MaxPool

@njit
def run(packed, columns, steps, a, this, last, terms, short, lists, some, out):
    forms.add_forms(packed, columns, out[0])
    forms.fill_terms(steps, a, this, last, terms)
    forms.fill_terms(steps, a, this, last, short)
    forms.add_list_forms(lists, 0, some, out[1])

draws = np.random.Generator(np.random.PCG64(0))
d, lanes = 20, 80
i, j = np.tril_indices(d, -1)
entries = [draws.standard_normal(i.size) * (draws.random(i.size) < 0.5) for _ in range(3)]
lists = forms.lists(i, j, entries, d)
packed = draws.standard_normal((3, forms.triangle(d).size))
columns = draws.standard_normal((3 * d, lanes))
a, this, last = draws.standard_normal((3, d, lanes))
terms, short = np.zeros((7 * d, lanes)), np.zeros((7 * d, lanes), np.float32)
out = np.zeros((2, lanes))
steps = draws.standard_normal(7)
some = columns.astype(np.float32)
run(packed, columns, steps, a, this, last, terms, short, lists, some, out)
digest = hashlib.sha256()
for array in (this, last, terms, short, out):
    digest.update(np.ascontiguousarray(array).tobytes())
print(json.dumps([digest.hexdigest(), forms.HAS_VECTORS, has_lanes()]))
"""
NEWER = "import numba; numba.__version__ = '99.0'\n"
BROKEN = """
import llvmlite.ir
def gone(*arguments, **named):
    raise RuntimeError("no such instruction")
llvmlite.ir.IRBuilder.shuffle_vector = gone
"""


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_installed_numba_is_one_that_was_tried():
    assert is_tried(), f"run the whole suite with numba {numba.__version__}, then widen TRIED"


def test_nothing_private_is_imported_elsewhere():
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.startswith(("numba.core", "numba.np", "llvmlite")) for name in names):
                found.append(path)
    assert found == []


@pytest.mark.long
def test_without_vector_instructions_the_results_are_the_same_bits(tmp_path):
    codes = {"as it is": VECTORS, "newer": NEWER + VECTORS, "broken": NEWER + BROKEN + VECTORS}
    found = {}
    for name, code in codes.items():
        status, out, err = python(code, QPSIM_CACHE_DIR=str(tmp_path / name))
        assert status == 0, err
        found[name] = json.loads(out)
        assert err.count("Vector instructions do not work with numba 99.0") == (name == "broken")
        assert err.count("Vector instructions of networks do not work") == (name == "broken")
    assert found["as it is"][1:] == found["newer"][1:] == [True, True]
    assert found["broken"][1:] == [False, False]
    assert found["as it is"][0] == found["newer"][0] == found["broken"][0]


def test_a_numba_that_lacks_what_every_kernel_needs_is_refused_in_one_sentence():
    code = "import sys, numba; sys.modules['numba.core.cgutils'] = None; import qpsim.kernels.jit"
    status, _, err = python(code)
    assert status == 1 and "QpsimError: qpsim does not work with numba" in err.splitlines()[-1]
    assert "pip install 'numba>=" in err


def test_forbidden_compilation_is_refused_in_one_sentence():
    code = (
        "import qpsim\n"
        "p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 3.0])\n"
        "try: qpsim.simulate(p, 'sgd', n_steps=1, n_replicates=1, rng=0)\n"
        "except qpsim.QpsimError as error: print(error)"
    )
    status, out, err = python(code, NUMBA_DISABLE_JIT="1")
    assert status == 0, err
    assert "NUMBA_DISABLE_JIT forbids it: unset it" in out and len(out.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.59.0", (0, 59)),
        ("0.62.0rc1", (0, 62)),
        ("1.2", (1, 2)),
        ("0+unknown", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_versions_are_compared_by_their_first_two_numbers(text, version):
    assert version_of(text) == version


def test_a_feature_of_an_untried_version_is_tried(monkeypatch):
    monkeypatch.setattr(numba_interface.numba, "__version__", "99.0")
    assert works("Cats", lambda: True, "there are dogs")
    with pytest.warns(RuntimeWarning, match=r"Cats do not work with numba 99.0 \(a wrong result\)"):
        assert not works("Cats", lambda: False, "there are dogs")
    with pytest.warns(RuntimeWarning, match=r"ZeroDivisionError.*; there are dogs"):
        assert not works("Cats", lambda: 1 / 0, "there are dogs")
    monkeypatch.setattr(numba_interface.numba, "__version__", numba_interface.TRIED[1] + ".9")
    assert works("Cats", lambda: 1 / 0, "there are dogs")
