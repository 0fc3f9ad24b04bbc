"""A faster 3 x 3 convolution of stride 1: Winograd's F(4 x 4, 3 x 3).

A 4 x 4 tile of outputs takes 144 multiplications per channel and filter. Written as
``A^T [(G w G^T) * (B^T x B)] A``, with x the 6 x 6 inputs below the tile, it takes 36 (Lavin and
Gray, 2015). The elementwise product, summed over channels, is one matrix product for each of the
36 places, over all tiles at once; B and A cost a few additions, G is applied once a step.

The price is rounding: an error some ten times that of the plain sum, 2e-6 of the result's spread. So this
serves float32 only, in the forward pass and the gradient by the input. The gradient by the weights
stays plain; its per-example squares would have to leave the transformed domain one by one anyway.
"""

import numpy as np

from qpsim.kernels.jit import jit
from qpsim.nn.kernels.blas import address, copy, product
from qpsim.nn.kernels.dense import BLOCK

TILE = 4


@jit
def transform_weight(weight, turned, out):
    """out[6 u + v] = (G w G^T)[u, v] (36, channels, filters).

    With ``turned`` for the gradient by the input: the kernel rotated by half a turn, and channels
    and filters (given as ``weight[p, q]`` transposed) exchanged.
    """
    _, _, channels, filters = weight.shape
    half = np.empty((3, 6, filters), weight.dtype)
    end = 2 if turned else 0
    for c in range(channels):
        for q in range(3):
            column = weight[:, abs(end - q), c]
            _turn_weight(column[end], column[1], column[2 - end], half[q])
        for u in range(6):
            _turn_weight(half[0, u], half[1, u], half[2, u], out[6 * u : 6 * u + 6, c])


@jit
def _turn_weight(a, b, c, out):
    """out (6 arrays) = G (a, b, c)."""
    kind = out.dtype.type
    quarter, sixth, part = kind(1 / 4), kind(1 / 6), kind(1 / 24)
    two, four = kind(2), kind(4)
    y0, y1, y2, y3, y4, y5 = out[0], out[1], out[2], out[3], out[4], out[5]
    for f in range(a.size):
        outer, wide = a[f] + c[f], a[f] + four * c[f]
        y0[f] = quarter * a[f]
        y1[f], y2[f] = -sixth * (outer + b[f]), -sixth * (outer - b[f])
        y3[f], y4[f] = part * (wide + two * b[f]), part * (wide - two * b[f])
        y5[f] = c[f]


@jit
def room(size, channels, filters, group):
    """How many numbers `correlate` needs to work on outputs of this size."""
    down, across = (size[0] + TILE - 1) // TILE, (size[1] + TILE - 1) // TILE
    line, results = (TILE * across + 2) * channels, TILE * across * filters
    places = 36 * group * down * across * (channels + filters)
    return (TILE * down + 2 + 6) * line + (6 + TILE) * results + places


@jit
def correlate(gemm, x, x_origin, x_size, weight, y, y_origin, y_size, pad, group, memory):
    """y = correlation of x with the kernel behind ``weight``, for images in buffers with margins.

    ``pad`` zeros lie above and to the left of the image x; what is missing below and to the right
    is zero too.
    """
    channels, filters = weight.shape[1], weight.shape[2]
    down, across = (y_size[0] + TILE - 1) // TILE, (y_size[1] + TILE - 1) // TILE
    tiles = down * across
    line, result = (TILE * across + 2) * channels, TILE * across * filters
    framed, memory = _take(memory, TILE * down + 2, line)
    rows, memory = _take(memory, 6, line)
    results, memory = _take(memory, 6, result)
    lines, memory = _take(memory, TILE, result)
    inputs, memory = _take(memory, 36 * group * tiles, channels)
    outputs, memory = _take(memory, 36 * group * tiles, filters)
    inputs = inputs.reshape((36, group * tiles, channels))
    outputs = outputs.reshape((36, group * tiles, filters))
    framed[:] = 0
    images = x.shape[0]
    for first in range(0, images, group):
        last = min(first + group, images)
        for e in range(first, last):
            for i in range(min(x_size[0], framed.shape[0] - pad[0])):
                copy(address(framed[pad[0] + i, pad[1] * channels :]),
                     address(x[e, x_origin[0] + i, x_origin[1]]),
                     min(x_size[1], TILE * across + 2 - pad[1]) * channels * x.itemsize)  # fmt: skip
            for i in range(down):
                _turn_inputs(framed[TILE * i : TILE * i + 6], rows)
                start = (e - first) * tiles + i * across
                for u in range(6):
                    for j in range(across):
                        place = inputs[6 * u : 6 * u + 6, start + j]
                        _place_inputs(rows[u, TILE * j * channels :], place)
        _multiply(gemm, inputs, weight, outputs, (last - first) * tiles)
        for e in range(first, last):
            for i in range(down):
                start = (e - first) * tiles + i * across
                for u in range(6):
                    for j in range(across):
                        place = outputs[6 * u : 6 * u + 6, start + j]
                        _take_outputs(place, results[u, TILE * j * filters :])
                _turn_outputs(results, lines)
                for r in range(min(TILE, y_size[0] - TILE * i)):
                    copy(address(y[e, y_origin[0] + TILE * i + r, y_origin[1]]), address(lines[r]),
                         y_size[1] * filters * y.itemsize)  # fmt: skip


@jit
def _take(memory, height, width):
    """The first height x width numbers of some memory, and what is left of it."""
    return memory[: height * width].reshape((height, width)), memory[height * width :]


@jit
def _multiply(gemm, inputs, weight, outputs, tiles):
    """outputs[k] = inputs[k] weight[k], for the 36 places k."""
    channels, filters = weight.shape[1], weight.shape[2]
    zero = weight.dtype.type(0)
    step = max(BLOCK // (channels * filters), 1)
    step = (tiles + (tiles + step - 1) // step - 1) // ((tiles + step - 1) // step)
    for k in range(36):
        for t in range(0, tiles, step):
            product(gemm, min(step, tiles - t), filters, channels, address(inputs[k, t]), channels,
                    address(weight[k]), filters, zero, address(outputs[k, t]), filters)  # fmt: skip


@jit
def _turn_inputs(x, out):
    """out = B^T x, of six rows of an image."""
    x0, x1, x2, x3, x4, x5 = x[0], x[1], x[2], x[3], x[4], x[5]
    y0, y1, y2, y3, y4, y5 = out[0], out[1], out[2], out[3], out[4], out[5]
    four, five, two = out.dtype.type(4), out.dtype.type(5), out.dtype.type(2)
    for s in range(x0.size):
        y0[s] = four * x0[s] - five * x2[s] + x4[s]
        even, odd = x4[s] - four * x2[s], x3[s] - four * x1[s]
        y1[s], y2[s] = even + odd, even - odd
        even, odd = x4[s] - x2[s], two * (x3[s] - x1[s])
        y3[s], y4[s] = even + odd, even - odd
        y5[s] = four * x1[s] - five * x3[s] + x5[s]


@jit
def _place_inputs(row, out):
    """out (6, channels) = B^T x, of six neighbouring pixels of a row."""
    n = out.shape[1]
    x0, x1, x2 = row[:n], row[n : 2 * n], row[2 * n : 3 * n]
    x3, x4, x5 = row[3 * n : 4 * n], row[4 * n : 5 * n], row[5 * n : 6 * n]
    y0, y1, y2, y3, y4, y5 = out[0], out[1], out[2], out[3], out[4], out[5]
    four, five, two = out.dtype.type(4), out.dtype.type(5), out.dtype.type(2)
    for s in range(n):
        y0[s] = four * x0[s] - five * x2[s] + x4[s]
        even, odd = x4[s] - four * x2[s], x3[s] - four * x1[s]
        y1[s], y2[s] = even + odd, even - odd
        even, odd = x4[s] - x2[s], two * (x3[s] - x1[s])
        y3[s], y4[s] = even + odd, even - odd
        y5[s] = four * x1[s] - five * x3[s] + x5[s]


@jit
def _take_outputs(x, row):
    """Four neighbouring pixels of a row = A^T x, for x (6, filters)."""
    n = x.shape[1]
    x0, x1, x2, x3, x4, x5 = x[0], x[1], x[2], x[3], x[4], x[5]
    y0, y1, y2, y3 = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n : 4 * n]
    two, four, eight = x.dtype.type(2), x.dtype.type(4), x.dtype.type(8)
    for s in range(n):
        sum1, less1 = x1[s] + x2[s], x1[s] - x2[s]
        sum2, less2 = x3[s] + x4[s], x3[s] - x4[s]
        y0[s] = x0[s] + sum1 + sum2
        y1[s] = less1 + two * less2
        y2[s] = sum1 + four * sum2
        y3[s] = less1 + eight * less2 + x5[s]


@jit
def _turn_outputs(x, out):
    """out (4 rows) = A^T x, for x (6 rows)."""
    x0, x1, x2, x3, x4, x5 = x[0], x[1], x[2], x[3], x[4], x[5]
    y0, y1, y2, y3 = out[0], out[1], out[2], out[3]
    two, four, eight = x.dtype.type(2), x.dtype.type(4), x.dtype.type(8)
    for s in range(x0.size):
        sum1, less1 = x1[s] + x2[s], x1[s] - x2[s]
        sum2, less2 = x3[s] + x4[s], x3[s] - x4[s]
        y0[s] = x0[s] + sum1 + sum2
        y1[s] = less1 + two * less2
        y2[s] = sum1 + four * sum2
        y3[s] = less1 + eight * less2 + x5[s]
