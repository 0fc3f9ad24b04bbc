"""A faster 3 x 3 convolution of stride 1: Winograd's F(4 x 4, 3 x 3), forward and backward.

A 4 x 4 tile of outputs takes 144 multiplications per channel and filter. Written as

    Y = A^T [(G w G^T) * (B^T x B)] A,    x the 6 x 6 inputs below the tile,

it takes 36 (Lavin and Gray, 2015). The elementwise product, summed over channels, is one matrix
product for each of the 36 places, over many tiles at once; A and B cost a few additions. The
gradient by the input is such a convolution again. The gradient by the weights is the transpose of
the same formula, with one matrix product for each place, summed over tiles:

    dw = G^T [sum (A dY A^T) * (B^T x B)] G.

The rounding errors are larger: an error of 1e-6 (32 channels) to 2.5e-6 (192) of the result's spread, three
to six times that of the plain sum; of 1e-6 in the gradient by the weights. So this serves float32
only, in multiples of 16 channels and filters. For squares of single examples' gradients each
gradient would have to be transformed back by itself; the plain algorithm computes them.
"""

from qpsim.kernels.jit import jit, jit_inline, jit_inner
from qpsim.nn.kernels.blas import address, copy, product, product_transposed
from qpsim.nn.kernels.dense import BLOCK
from qpsim.nn.kernels.lanes import LANES, every, load, store, where_at_most, where_greater

TILE = 4
PLACES = 36
_ITEM = 4
_LINE = 16  # numbers of a cache line


# The three transforms and their transposes, of numbers or lanes.


@jit_inline
def _inputs(x0, x1, x2, x3, x4, x5):
    """B^T x."""
    even, odd = x4 - 4.0 * x2, x3 - 4.0 * x1
    near, far = x4 - x2, 2.0 * (x3 - x1)
    return (
        4.0 * x0 - 5.0 * x2 + x4, even + odd, even - odd, near + far, near - far,
        4.0 * x1 - 5.0 * x3 + x5,
    )  # fmt: skip


@jit_inline
def _outputs(x0, x1, x2, x3, x4, x5):
    """A^T x."""
    sum1, less1, sum2, less2 = x1 + x2, x1 - x2, x3 + x4, x3 - x4
    return x0 + sum1 + sum2, less1 + 2.0 * less2, sum1 + 4.0 * sum2, less1 + 8.0 * less2 + x5


@jit_inline
def _output_gradients(y0, y1, y2, y3):
    """A y."""
    even, odd, wide, far = y0 + y2, y1 + y3, y0 + 4.0 * y2, 2.0 * y1 + 8.0 * y3
    return y0, even + odd, even - odd, wide + far, wide - far, y3


@jit_inline
def _weights(w0, w1, w2):
    """G w."""
    outer, wide, middle = w0 + w2, w0 + 4.0 * w2, 2.0 * w1
    return (
        0.25 * w0, (-1 / 6) * (outer + w1), (-1 / 6) * (outer - w1),
        (1 / 24) * (wide + middle), (1 / 24) * (wide - middle), w2,
    )  # fmt: skip


@jit_inline
def _weight_gradients(x0, x1, x2, x3, x4, x5):
    """G^T x."""
    sum1, less1, sum2, less2 = x1 + x2, x1 - x2, x3 + x4, x3 - x4
    return (
        0.25 * x0 - (1 / 6) * sum1 + (1 / 24) * sum2,
        (1 / 12) * less2 - (1 / 6) * less1,
        (1 / 6) * (sum2 - sum1) + x5,
    )


# The same of a matrix of lanes at an address, from both sides: first by columns, then by rows.


@jit_inline
def _load3(at, step):
    return load(at), load(at + step), load(at + 2 * step)


@jit_inline
def _load4(at, step):
    return load(at), load(at + step), load(at + 2 * step), load(at + 3 * step)


@jit_inline
def _load6(at, step):
    return (
        load(at), load(at + step), load(at + 2 * step), load(at + 3 * step), load(at + 4 * step),
        load(at + 5 * step),
    )  # fmt: skip


@jit_inline
def _store6(at, step, values):
    store(at, values[0])
    store(at + step, values[1])
    store(at + 2 * step, values[2])
    store(at + 3 * step, values[3])
    store(at + 4 * step, values[4])
    store(at + 5 * step, values[5])


@jit_inner
def _place_inputs(at, row, pixel, to, place):
    a, b = _inputs(*_load6(at, row)), _inputs(*_load6(at + pixel, row))
    c, d = _inputs(*_load6(at + 2 * pixel, row)), _inputs(*_load6(at + 3 * pixel, row))
    e, f = _inputs(*_load6(at + 4 * pixel, row)), _inputs(*_load6(at + 5 * pixel, row))
    _store6(to, place, _inputs(a[0], b[0], c[0], d[0], e[0], f[0]))
    _store6(to + 6 * place, place, _inputs(a[1], b[1], c[1], d[1], e[1], f[1]))
    _store6(to + 12 * place, place, _inputs(a[2], b[2], c[2], d[2], e[2], f[2]))
    _store6(to + 18 * place, place, _inputs(a[3], b[3], c[3], d[3], e[3], f[3]))
    _store6(to + 24 * place, place, _inputs(a[4], b[4], c[4], d[4], e[4], f[4]))
    _store6(to + 30 * place, place, _inputs(a[5], b[5], c[5], d[5], e[5], f[5]))


@jit_inner
def _place_output_gradients(at, row, pixel, to, place):
    a = _output_gradients(*_load4(at, row))
    b = _output_gradients(*_load4(at + pixel, row))
    c = _output_gradients(*_load4(at + 2 * pixel, row))
    d = _output_gradients(*_load4(at + 3 * pixel, row))
    _store6(to, place, _output_gradients(a[0], b[0], c[0], d[0]))
    _store6(to + 6 * place, place, _output_gradients(a[1], b[1], c[1], d[1]))
    _store6(to + 12 * place, place, _output_gradients(a[2], b[2], c[2], d[2]))
    _store6(to + 18 * place, place, _output_gradients(a[3], b[3], c[3], d[3]))
    _store6(to + 24 * place, place, _output_gradients(a[4], b[4], c[4], d[4]))
    _store6(to + 30 * place, place, _output_gradients(a[5], b[5], c[5], d[5]))


@jit_inner
def _place_weights(at, row, column, to, place):
    a = _weights(*_load3(at, row))
    b = _weights(*_load3(at + column, row))
    c = _weights(*_load3(at + 2 * column, row))
    _store6(to, place, _weights(a[0], b[0], c[0]))
    _store6(to + 6 * place, place, _weights(a[1], b[1], c[1]))
    _store6(to + 12 * place, place, _weights(a[2], b[2], c[2]))
    _store6(to + 18 * place, place, _weights(a[3], b[3], c[3]))
    _store6(to + 24 * place, place, _weights(a[4], b[4], c[4]))
    _store6(to + 30 * place, place, _weights(a[5], b[5], c[5]))


@jit_inner
def _take_outputs(at, place, to, row, pixel, height, width, bias, relu):
    """Up to height x width outputs, plus ``bias``, and their positive part if ``relu``."""
    line = 6 * place
    a, b = _outputs(*_load6(at, line)), _outputs(*_load6(at + place, line))
    c, d = _outputs(*_load6(at + 2 * place, line)), _outputs(*_load6(at + 3 * place, line))
    e, f = _outputs(*_load6(at + 4 * place, line)), _outputs(*_load6(at + 5 * place, line))
    y = _outputs(a[0], b[0], c[0], d[0], e[0], f[0])
    _store_row(to, pixel, width, y, bias, relu)
    if height > 1:
        y = _outputs(a[1], b[1], c[1], d[1], e[1], f[1])
        _store_row(to + row, pixel, width, y, bias, relu)
    if height > 2:
        y = _outputs(a[2], b[2], c[2], d[2], e[2], f[2])
        _store_row(to + 2 * row, pixel, width, y, bias, relu)
    if height > 3:
        y = _outputs(a[3], b[3], c[3], d[3], e[3], f[3])
        _store_row(to + 3 * row, pixel, width, y, bias, relu)


@jit_inline
def _store_row(to, pixel, width, y, bias, relu):
    y0, y1, y2, y3 = y[0] + bias, y[1] + bias, y[2] + bias, y[3] + bias
    if relu:
        none = every(0.0)
        y0, y1 = where_at_most(y0, none, none, y0), where_at_most(y1, none, none, y1)
        y2, y3 = where_at_most(y2, none, none, y2), where_at_most(y3, none, none, y3)
    store(to, y0)
    if width > 1:
        store(to + pixel, y1)
    if width > 2:
        store(to + 2 * pixel, y2)
    if width > 3:
        store(to + 3 * pixel, y3)


@jit_inner
def _take_weight_gradients(at, place, to, row, column):
    """Added to what is there."""
    line = 6 * place
    a = _weight_gradients(*_load6(at, line))
    b = _weight_gradients(*_load6(at + place, line))
    c = _weight_gradients(*_load6(at + 2 * place, line))
    d = _weight_gradients(*_load6(at + 3 * place, line))
    e = _weight_gradients(*_load6(at + 4 * place, line))
    f = _weight_gradients(*_load6(at + 5 * place, line))
    _add_row(to, column, _weight_gradients(a[0], b[0], c[0], d[0], e[0], f[0]))
    _add_row(to + row, column, _weight_gradients(a[1], b[1], c[1], d[1], e[1], f[1]))
    _add_row(to + 2 * row, column, _weight_gradients(a[2], b[2], c[2], d[2], e[2], f[2]))


@jit_inline
def _add_row(to, column, w):
    store(to, load(to) + w[0])
    store(to + column, load(to + column) + w[1])
    store(to + 2 * column, load(to + 2 * column) + w[2])


@jit_inner
def _tiles(size):
    return (size[0] + TILE - 1) // TILE, (size[1] + TILE - 1) // TILE


@jit_inner
def place_size(tiles, channels):
    """Numbers from one place's matrix to the next.

    One cache line more than the matrix: at distances of a power of two, addresses compete for the
    same places in the cache.
    """
    return tiles * channels + _LINE


@jit
def room(tiles, channels, filters):
    """Numbers of working memory for so many tiles at once, and for a patch at an edge."""
    both = place_size(tiles, channels) + place_size(tiles, filters)
    return PLACES * (both + max(channels, filters))


@jit
def transform_weight(weight, turned, out):
    """out[6 u + v] = (G w G^T)[u, v] (36, channels, filters).

    With ``turned`` for the gradient by the input: the kernel rotated by half a turn, and channels
    and filters (given as ``weight[p, q]`` transposed) exchanged.
    """
    _, _, channels, filters = weight.shape
    row, column, place = weight.strides[0], weight.strides[1], out.strides[0]
    for c in range(channels):
        first = address(weight[0, 0, c])
        if turned:
            first, row, column = address(weight[2, 2, c]), -weight.strides[0], -weight.strides[1]
        for f in range(0, filters, LANES):
            at = address(out[0, c]) + f * _ITEM
            _place_weights(first + f * _ITEM, row, column, at, place)


@jit_inner
def _place_tiles(x, origin, size, pad, tiles, gradients, patch, to, place):
    """The transformed tiles of one image: of 6 x 6 pixels or, if ``gradients``, of 4 x 4.

    ``pad`` zeros lie above and to the left of the image; what is missing below and to the right is
    zero too. A tile that reaches over an edge goes through ``patch``.
    """
    channels = x.shape[2]
    side = TILE if gradients else TILE + 2
    for i in range(tiles[0]):
        for j in range(tiles[1]):
            top, left = TILE * i - pad[0], TILE * j - pad[1]
            low, high = max(top, 0), min(top + side, size[0])
            start, stop = max(left, 0), min(left + side, size[1])
            if high - low == side and stop - start == side:
                at, row = address(x[origin[0] + top, origin[1] + left]), x.strides[0]
            else:
                at, row = address(patch), side * channels * _ITEM
                patch[: side * side * channels] = 0
                for r in range(low, high):
                    copy(at + (r - top) * row + (start - left) * x.strides[1],
                         address(x[origin[0] + r, origin[1] + start]),
                         (stop - start) * x.strides[1])  # fmt: skip
            for c in range(0, channels, LANES):
                source, target = at + c * _ITEM, to + c * _ITEM
                if gradients:
                    _place_output_gradients(source, row, x.strides[1], target, place)
                else:
                    _place_inputs(source, row, x.strides[1], target, place)
            to += channels * _ITEM


@jit
def correlate(
    gemm, x, x_origin, x_size, weight, bias, relu, y, y_origin, y_size, pad, group, memory
):
    """y = correlation of x with the kernel behind ``weight``, plus ``bias`` if it is not empty.

    For images in buffers with margins; a ``group`` of images at once. Beyond the part of x that
    is told by origin and size everything is zero: ``pad`` is how far above and to the left of
    it the first tile begins.
    """
    channels, filters = weight.shape[1], weight.shape[2]
    tiles = _tiles(y_size)
    each = tiles[0] * tiles[1]
    in_place, out_place = place_size(group * each, channels), place_size(group * each, filters)
    inputs, outputs = address(memory), address(memory) + PLACES * in_place * _ITEM
    patch = memory[PLACES * (in_place + out_place) :]
    for first in range(0, x.shape[0], group):
        last = min(first + group, x.shape[0])
        for e in range(first, last):
            _place_tiles(x[e], x_origin, x_size, pad, tiles, False, patch,
                         inputs + (e - first) * each * channels * _ITEM,
                         in_place * _ITEM)  # fmt: skip
        _multiply(gemm, inputs, in_place, weight, outputs, out_place, (last - first) * each)
        at = outputs
        for e in range(first, last):
            for i in range(tiles[0]):
                for j in range(tiles[1]):
                    to = address(y[e, y_origin[0] + TILE * i, y_origin[1] + TILE * j])
                    for f in range(0, filters, LANES):
                        added = load(address(bias) + f * _ITEM) if bias.size > 0 else every(0.0)
                        _take_outputs(at + f * _ITEM, out_place * _ITEM, to + f * _ITEM,
                                      y.strides[1], y.strides[2], y_size[0] - TILE * i,
                                      y_size[1] - TILE * j, added, relu)  # fmt: skip
                    at += filters * _ITEM


@jit_inner
def _multiply(gemm, inputs, in_place, weight, outputs, out_place, tiles):
    """outputs[k] = inputs[k] weight[k], for the 36 places k."""
    channels, filters = weight.shape[1], weight.shape[2]
    zero = weight.dtype.type(0)
    step = _even_step(tiles, channels * filters)
    for k in range(PLACES):
        for t in range(0, tiles, step):
            product(gemm, min(step, tiles - t), filters, channels,
                    inputs + (k * in_place + t * channels) * _ITEM, channels,
                    address(weight[k]), filters, zero,
                    outputs + (k * out_place + t * filters) * _ITEM, filters)  # fmt: skip


@jit_inner
def _even_step(tiles, work):
    """Number of tiles in a product that stays small, in equal pieces."""
    step = max(BLOCK // work, 1)
    pieces = (tiles + step - 1) // step
    return (tiles + pieces - 1) // pieces


@jit
def mask(dy, y, origin, size, relu, d_bias, memory):
    """Set dy to 0 where the ReLU's output is; d_bias gets its sum over pixels and images."""
    filters = d_bias.size
    total = address(memory)
    for f in range(0, filters, LANES):
        none = every(0.0)
        kept = none
        for e in range(dy.shape[0]):
            for i in range(origin[0], origin[0] + size[0]):
                at = address(dy[e, i, origin[1]]) + f * _ITEM
                sign = address(y[e, i, origin[1]]) + f * _ITEM
                for _ in range(size[1]):
                    value = load(at)
                    if relu:
                        value = where_greater(load(sign), none, value, none)
                        store(at, value)
                    kept = kept + value
                    at += dy.strides[2]
                    sign += y.strides[2]
        store(total + f * _ITEM, kept)
    for f in range(filters):
        d_bias[f] += memory[f]


@jit
def weight_gradient(gemm, x, x_size, dy, y_origin, y_size, d_weight, group, memory, sums):
    """d_weight += the gradient by the weights, of the images x (whole buffers) and dy.

    ``sums`` (36, channels, filters) is room for the products before they are turned back.
    """
    _, _, channels, filters = d_weight.shape
    tiles = _tiles(y_size)
    each = tiles[0] * tiles[1]
    x_place, y_place = place_size(group * each, channels), place_size(group * each, filters)
    inputs, outputs = address(memory), address(memory) + PLACES * x_place * _ITEM
    patch = memory[PLACES * (x_place + y_place) :]
    zero, one = d_weight.dtype.type(0), d_weight.dtype.type(1)
    for first in range(0, x.shape[0], group):
        last = min(first + group, x.shape[0])
        for e in range(first, last):
            before = (e - first) * each * _ITEM
            _place_tiles(x[e], (0, 0), x_size, (0, 0), tiles, False, patch,
                         inputs + before * channels, x_place * _ITEM)  # fmt: skip
            _place_tiles(dy[e], y_origin, y_size, (0, 0), tiles, True, patch,
                         outputs + before * filters, y_place * _ITEM)  # fmt: skip
        n = (last - first) * each
        step = _even_step(n, channels * filters)
        for k in range(PLACES):
            for t in range(0, n, step):
                product_transposed(gemm, channels, filters, min(step, n - t),
                                   inputs + (k * x_place + t * channels) * _ITEM, channels,
                                   outputs + (k * y_place + t * filters) * _ITEM, filters,
                                   zero if first == 0 and t == 0 else one,
                                   address(sums[k]), filters)  # fmt: skip
    for c in range(channels):
        for f in range(0, filters, LANES):
            _take_weight_gradients(address(sums[0, c]) + f * _ITEM, sums.strides[0],
                                   address(d_weight[0, 0, c]) + f * _ITEM,
                                   d_weight.strides[0], d_weight.strides[1])  # fmt: skip
