"""Dropout in place.

The mask is not stored. Whether number ``s`` of example ``k`` is kept is decided by a hash of the
step's key, k and s, which the backward pass computes again, in whatever thread.
"""

import numpy as np

from qpsim.kernels.jit import jit, jit_inner

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


@jit_inner
def _mixed(counter):
    """The output function of SplitMix64 (Steele, Lea and Flood, 2014)."""
    z = (counter ^ (counter >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@jit
def dropout(values, key, first, threshold, factor):
    """values[e, s] *= factor if the hash of (key, first + e, s) is >= threshold, else 0."""
    for e in range(values.shape[0]):
        stream = _mixed(key + _GOLDEN * np.uint64(first + e + 1))
        row = values[e]
        for s in range(row.size):
            drawn = _mixed(stream + _GOLDEN * np.uint64(s + 1)) >> _S32
            row[s] = row[s] * factor if drawn >= threshold else row[s] * 0
