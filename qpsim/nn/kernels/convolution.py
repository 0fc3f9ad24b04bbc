"""Convolution without im2col: one small matrix product per output row and kernel position.

In a zero-padded NHWC image the pixels that kernel position (p, q) meets along one output row are
a matrix already: ``width`` rows of ``channels`` numbers, ``stride * channels`` apart. So

    y[i, :, :] += x[stride i + p, q::stride, :] @ w[p, q]

reads the image where it lies and adds into the output where it belongs. The same holds for the
gradient by the input, with the strided matrix on the left, and for the gradient by the weights.
The products stay below the size up to which OpenBLAS does without packing. Only where an image
has so few channels that such a product would be all overhead are the patches of one output row
gathered first (``cols`` given, of K = kernel area x channels columns).

Images live in buffers with a margin; ``origin`` says where in its buffer an image's interesting
corner lies: for x the first pixel that the kernel meets, for y the first pixel of the output.
"""

from qpsim.kernels.jit import jit
from qpsim.nn.kernels.blas import address, product, product_transposed


@jit
def _gather_row(x, e, i, j, kh, kw, stride, width, cols):
    """cols[v] = the patch under output pixel v of one row, flattened as the weights are."""
    channels = x.shape[3]
    for v in range(width):
        at = 0
        for p in range(kh):
            for q in range(kw):
                for c in range(channels):
                    cols[v, at + c] = x[e, i + p, j + v * stride + q, c]
                at += channels


@jit
def forward(gemm, x, x_origin, weight, bias, y, y_origin, size, stride, relu, cols):
    """y = conv(x, weight) + bias, then its positive part if ``relu``."""
    kh, kw, channels, filters = weight.shape
    height, width = size
    item = x.itemsize
    one = weight.dtype.type(1)
    gathered = cols.shape[1] == kh * kw * channels
    w0 = address(weight)
    x_image, x_row, x_pixel = x.strides[0], x.strides[1], x.strides[2]
    y_image, y_row, y_pixel = y.strides[0], y.strides[1], y.strides[2]
    for e in range(x.shape[0]):
        x0 = address(x) + e * x_image + x_origin[0] * x_row + x_origin[1] * x_pixel
        y0 = address(y) + e * y_image + y_origin[0] * y_row + y_origin[1] * y_pixel
        for i in range(height):
            for j in range(width):
                for c in range(filters):
                    y[e, y_origin[0] + i, y_origin[1] + j, c] = bias[c]
        if gathered:
            k = kh * kw * channels
            for i in range(height):
                _gather_row(
                    x, e, x_origin[0] + i * stride, x_origin[1], kh, kw, stride, width, cols
                )
                product(gemm, width, filters, k, address(cols), k, w0, filters,
                        one, y0 + i * y_row, filters)  # fmt: skip
        else:
            for p in range(kh):
                for q in range(kw):
                    w = w0 + (p * kw + q) * channels * filters * item
                    for i in range(height):
                        a = x0 + (i * stride + p) * x_row + q * x_pixel
                        product(gemm, width, filters, channels, a, stride * channels, w, filters,
                                one, y0 + i * y_row, filters)  # fmt: skip
        if relu:
            for i in range(height):
                for j in range(width):
                    for c in range(filters):
                        value = y[e, y_origin[0] + i, y_origin[1] + j, c]
                        y[e, y_origin[0] + i, y_origin[1] + j, c] = max(value, value * 0)


@jit
def backward_input(gemm, dy, y_origin, transposed, dx, x_origin, size, stride):
    """dx = the gradient by the input; ``transposed[p, q]`` is ``weight[p, q].T``."""
    kh, kw, filters, channels = transposed.shape
    height, width = size
    item = dx.itemsize
    one = transposed.dtype.type(1)
    w0 = address(transposed)
    x_image, x_row, x_pixel = dx.strides[0], dx.strides[1], dx.strides[2]
    y_image, y_row, y_pixel = dy.strides[0], dy.strides[1], dy.strides[2]
    for e in range(dx.shape[0]):
        dx[e] = 0
        x0 = address(dx) + e * x_image + x_origin[0] * x_row + x_origin[1] * x_pixel
        y0 = address(dy) + e * y_image + y_origin[0] * y_row + y_origin[1] * y_pixel
        for p in range(kh):
            for q in range(kw):
                w = w0 + (p * kw + q) * channels * filters * item
                for i in range(height):
                    target = x0 + (i * stride + p) * x_row + q * x_pixel
                    product(gemm, width, channels, filters, y0 + i * y_row, filters, w, channels,
                            one, target, stride * channels)  # fmt: skip


@jit
def backward_weight(
    gemm, x, x_origin, dy, y_origin, d_weight, d_bias, q_weight, q_bias, scale, size, stride,
    block, cols,
):  # fmt: skip
    """Add the gradient by weight and bias; if ``block`` has room, also each example's square.

    With ``block`` (channels or K, filters) the products of one example and kernel position are
    formed there, in cache, then ``d += block`` and ``q += (scale block)^2``; B x P is never held.
    """
    kh, kw, channels, filters = d_weight.shape
    height, width = size
    item = x.itemsize
    one, zero = d_weight.dtype.type(1), d_weight.dtype.type(0)
    squares = block.size > 0
    gathered = cols.shape[1] == kh * kw * channels
    d0 = address(block) if squares else address(d_weight)
    x_image, x_row, x_pixel = x.strides[0], x.strides[1], x.strides[2]
    y_image, y_row, y_pixel = dy.strides[0], dy.strides[1], dy.strides[2]
    for e in range(x.shape[0]):
        x0 = address(x) + e * x_image + x_origin[0] * x_row + x_origin[1] * x_pixel
        y0 = address(dy) + e * y_image + y_origin[0] * y_row + y_origin[1] * y_pixel
        if gathered:
            k = kh * kw * channels
            if squares:
                block[:] = 0
            for i in range(height):
                _gather_row(
                    x, e, x_origin[0] + i * stride, x_origin[1], kh, kw, stride, width, cols
                )
                product_transposed(gemm, k, filters, width, address(cols), k, y0 + i * y_row,
                                   filters, one, d0, filters)  # fmt: skip
            if squares:
                _add_with_square(block, scale, d_weight, q_weight, 0)
        else:
            for p in range(kh):
                for q in range(kw):
                    at = (p * kw + q) * channels * filters
                    target = d0 if squares else d0 + at * item
                    for i in range(height):
                        beta = zero if squares and i == 0 else one
                        a = x0 + (i * stride + p) * x_row + q * x_pixel
                        product_transposed(gemm, channels, filters, width, a, stride * channels,
                                           y0 + i * y_row, filters, beta, target,
                                           filters)  # fmt: skip
                    if squares:
                        _add_with_square(block, scale, d_weight, q_weight, at)
        _add_bias(dy, e, y_origin, size, scale, d_bias, q_bias)


@jit
def _add_with_square(block, scale, total, squares, at):
    """total += block and squares += (scale block)^2, at flat position ``at``."""
    source, d, q = block.reshape(-1), total.reshape(-1), squares.reshape(-1)
    for s in range(source.size):
        value = source[s]
        d[at + s] += value
        q[at + s] += (scale * value) * (scale * value)


@jit
def _add_bias(dy, e, origin, size, scale, d_bias, q_bias):
    for c in range(d_bias.size):
        total = d_bias.dtype.type(0)
        for i in range(size[0]):
            for j in range(size[1]):
                total += dy[e, origin[0] + i, origin[1] + j, c]
        d_bias[c] += total
        if q_bias.size > 0:
            q_bias[c] += (scale * total) * (scale * total)
