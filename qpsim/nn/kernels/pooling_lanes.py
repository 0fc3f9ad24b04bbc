"""Max-pooling of float32 and a multiple of sixteen channels, by addresses: sixteen at a time.

Results are those of :mod:`qpsim.nn.kernels.pooling`, to the last bit.
"""

from qpsim.kernels.jit import jit
from qpsim.nn.kernels.blas import address
from qpsim.nn.kernels.lanes import (
    LANES,
    every,
    load,
    load_bytes,
    store,
    store_bytes,
    where_at_most,
    where_equal,
    where_greater,
    where_nan,
)
from qpsim.nn.kernels.pooling import NOBODY

_ITEM = 4


@jit
def forward(x, x_size, y, y_origin, y_size, window, stride, pad, relu, winner):
    """As `pooling.forward`: maximum and winner of sixteen channels stay in registers."""
    none, nobody = every(0.0), every(float(NOBODY))
    row, pixel = x.strides[1], x.strides[2]
    for e in range(x.shape[0]):
        image = address(x[e])
        for i in range(y_size[0]):
            i_low = max(i * stride - pad[0], 0)
            i_high = min(i * stride - pad[0] + window, x_size[0])
            for j in range(y_size[1]):
                j_low = max(j * stride - pad[1], 0)
                j_high = min(j * stride - pad[1] + window, x_size[1])
                corner = pad[0] * window + pad[1] - (i * window + j) * stride
                out = address(y[e, y_origin[0] + i, y_origin[1] + j])
                won = address(winner[e, i, j])
                first = image + i_low * row + j_low * pixel
                for c in range(0, x.shape[3], LANES):
                    best = load(first + c * _ITEM)
                    code = every(float(corner + i_low * window + j_low))
                    for u in range(i_low, i_high):
                        at = image + u * row + j_low * pixel + c * _ITEM
                        for v in range(j_low, j_high):
                            value = load(at)
                            at += pixel
                            here = every(float(corner + u * window + v))
                            code = where_greater(value, best, here, code)
                            best = where_greater(value, best, value, best)
                            code = where_nan(value, value, here, code)
                            best = where_nan(value, value, value, best)
                    if relu:
                        code = where_at_most(best, none, nobody, code)
                        best = where_at_most(best, none, none, best)
                    store(out + c * _ITEM, best)
                    store_bytes(won + c, code)


@jit
def backward(dy, y_origin, y_size, window, stride, pad, winner, dx):
    """As `pooling.backward`."""
    none = every(0.0)
    row, pixel = dx.strides[1], dx.strides[2]
    for e in range(dx.shape[0]):
        dx[e] = 0
        image = address(dx[e])
        for i in range(y_size[0]):
            i_low = max(i * stride - pad[0], 0)
            i_high = min(i * stride - pad[0] + window, dx.shape[1])
            for j in range(y_size[1]):
                j_low = max(j * stride - pad[1], 0)
                j_high = min(j * stride - pad[1] + window, dx.shape[2])
                corner = pad[0] * window + pad[1] - (i * window + j) * stride
                source = address(dy[e, y_origin[0] + i, y_origin[1] + j])
                won = address(winner[e, i, j])
                for c in range(0, dx.shape[3], LANES):
                    value, code = load(source + c * _ITEM), load_bytes(won + c)
                    for u in range(i_low, i_high):
                        at = image + u * row + j_low * pixel + c * _ITEM
                        for v in range(j_low, j_high):
                            here = every(float(corner + u * window + v))
                            store(at, load(at) + where_equal(code, here, value, none))
                            at += pixel
