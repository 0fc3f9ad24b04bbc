"""Max-pooling that remembers in one byte which pixel of the window was the largest.

Both passes are written twice: for any numbers, and for sixteen float32 channels at a time.
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

_NOBODY = 255
_ITEM = 4


@jit
def forward(x, x_size, y, y_origin, y_size, window, stride, pad, relu, winner):
    """y = the window's maximum, winner = its position in the window (the first one of equals).

    x has no margin; where a window reaches over the edge it holds only the pixels inside. With
    ``relu`` what is not positive becomes 0, and nobody has won.
    """
    for e in range(x.shape[0]):
        for i in range(y_size[0]):
            i_low = max(i * stride - pad[0], 0)
            i_high = min(i * stride - pad[0] + window, x_size[0])
            for j in range(y_size[1]):
                j_low = max(j * stride - pad[1], 0)
                j_high = min(j * stride - pad[1] + window, x_size[1])
                out = y[e, y_origin[0] + i, y_origin[1] + j]
                won = winner[e, i, j]
                first = True
                for u in range(i_low, i_high):
                    for v in range(j_low, j_high):
                        code = (u - i * stride + pad[0]) * window + v - j * stride + pad[1]
                        source = x[e, u, v]
                        if first:
                            for c in range(out.size):
                                out[c] = source[c]
                                won[c] = code
                            first = False
                        else:
                            for c in range(out.size):
                                # NaN counts as larger than all numbers, so that it reaches the loss.
                                better = (source[c] > out[c]) | (source[c] != source[c])
                                out[c] = source[c] if better else out[c]
                                won[c] = code if better else won[c]
                if relu:
                    for c in range(out.size):
                        lost = out[c] <= 0
                        out[c] = 0 if lost else out[c]
                        won[c] = _NOBODY if lost else won[c]


@jit
def backward(dy, y_origin, y_size, window, stride, pad, winner, dx):
    """dx = the gradient by the input: each output's goes to the pixel that won."""
    zero = dx.dtype.type(0)
    for e in range(dx.shape[0]):
        dx[e] = 0
        for i in range(y_size[0]):
            for j in range(y_size[1]):
                source = dy[e, y_origin[0] + i, y_origin[1] + j]
                won = winner[e, i, j]
                for code in range(window * window):
                    u = i * stride - pad[0] + code // window
                    v = j * stride - pad[1] + code % window
                    if 0 <= u < dx.shape[1] and 0 <= v < dx.shape[2]:
                        target = dx[e, u, v]
                        for c in range(source.size):
                            target[c] += source[c] if won[c] == code else zero


# The same for float32 and a multiple of sixteen channels.


@jit
def forward_by_lanes(x, x_size, y, y_origin, y_size, window, stride, pad, relu, winner):
    """As `forward`: maximum and winner of sixteen channels stay in registers."""
    none, nobody = every(0.0), every(float(_NOBODY))
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
def backward_by_lanes(dy, y_origin, y_size, window, stride, pad, winner, dx):
    """As `backward`."""
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
