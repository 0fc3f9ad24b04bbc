"""How kernels are compiled: what only kernels call, wide vectors, and nothing before it is needed."""

import subprocess
import sys

import numpy as np
import pytest

from qpsim.kernels import jit


@jit.jit_inner
def halved(x):
    return x / 2.0


@jit.jit
def quartered(x):
    return halved(halved(x))


def test_what_only_kernels_call_refuses_python_before_and_after_it_is_compiled():
    for _ in range(2):
        with pytest.raises(TypeError, match="halved is for kernels alone"):
            halved(3.0)
        assert quartered(3.0) == 0.75


def scaled(x, out):
    for k in range(x.size):
        out[k] = x[k] / 3.0 + 1.0


def scaled_in_wide_vectors(x, out):
    jit.wide_vectors()
    for k in range(x.size):
        out[k] = x[k] / 3.0 + 1.0


def test_wide_vectors_are_asked_for_and_change_no_bit():
    x = np.random.default_rng(0).standard_normal(101)
    found = []
    for function in (scaled, scaled_in_wide_vectors):
        kernel = jit.jit(function)
        found.append(np.empty_like(x))
        kernel(x, found[-1])
        (text,) = kernel.inspect_llvm().values()
        assert ('"prefer-vector-width"="512"' in text) == (function is scaled_in_wide_vectors)
    assert np.array_equal(*found)


def test_importing_the_package_does_not_import_numba():
    code = "import sys, qpsim; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
