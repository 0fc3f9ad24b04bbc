"""How gradient noise is drawn: each coordinate independently, or correlated by a factor of C."""

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from qpsim.kernels.jit import OVERLOAD, OVERLOAD_INLINE
from qpsim.kernels.noise import fill_normals


class IndependentNoise(NamedTuple):
    """Coordinate i is std_i times a normal; std (d,)."""

    std: np.ndarray


class FactorNoise(NamedTuple):
    """The noise is factor @ normals, with factor (d, k) and C = factor factor^T."""

    factor: np.ndarray


class LowRankNoise(NamedTuple):
    """The noise is factor @ normals + own * normals, factor (d, k), own (d,); C = factor factor^T + diag(own^2)."""

    factor: np.ndarray
    own: np.ndarray


def is_correlated(noise):
    """Whether all coordinates have to be drawn before one can be used."""


def fill_noise(noise, stream, out):
    """Draw one step: fill ``out`` with standard normals (rows, lanes) or, if correlated, with noise (d, lanes)."""


def coordinate_noise(noise, std, drawn):
    """One coordinate's noise, of standard deviation std, from the output of `fill_noise`."""


@overload(is_correlated, jit_options=OVERLOAD)
def _is_correlated(noise):
    answer = noise.instance_class is not IndependentNoise
    return lambda noise: answer


@overload(coordinate_noise, jit_options=OVERLOAD_INLINE)
def _coordinate_noise(noise, std, drawn):
    if noise.instance_class is IndependentNoise:
        return lambda noise, std, drawn: std * drawn
    return lambda noise, std, drawn: drawn


@overload(fill_noise, jit_options=OVERLOAD)
def _fill_noise(noise, stream, out):
    def independent(noise, stream, out):
        fill_normals(stream, out)

    # For an assignment between arrays numba compiles the text of its error message, which takes seconds.
    def from_factor(noise, stream, out):
        normals = np.empty((noise.factor.shape[1], out.shape[1]))
        fill_normals(stream, normals)
        np.dot(noise.factor, normals, out)

    def low_rank(noise, stream, out):
        d, lanes = out.shape
        normals = np.empty((noise.factor.shape[1], lanes))
        fill_normals(stream, normals)
        fill_normals(stream, out)
        product = np.dot(noise.factor, normals)
        for i in range(d):
            for lane in range(lanes):
                out[i, lane] *= noise.own[i]
                out[i, lane] += product[i, lane]

    kinds = {IndependentNoise: independent, FactorNoise: from_factor, LowRankNoise: low_rank}
    return kinds[noise.instance_class]
