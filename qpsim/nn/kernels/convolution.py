"""Convolution by matrix products on the image itself, without copying all its patches first.

In a zero-padded NHWC image, the pixels that kernel position (p, q) meets along one row of outputs
form a matrix: ``width`` rows of ``channels`` numbers, ``stride * channels`` apart. So

    y[i, :, :] += x[stride i + p, q::stride, :] @ w[p, q]

is one small matrix product, which reads the image in place and adds to the output in place. The same
holds for the gradient by the input, with the strided matrix on the left, and for the gradient by the
weights. Small products are fast because OpenBLAS does not pack their matrices.

In two cases such products are too thin, and ``rows`` rows of outputs are gathered in ``cols`` first:
with few channels, whole patches (``patches`` is True); with short rows, the pixels of one kernel
position. Where the BLAS packs all matrices, products should be ``large``: always patches, and many
rows of them. A gathered patch ends with a 1, whose weight is the bias: ``stacked`` holds the weights
as a matrix with the bias as last row.

A ``group`` of images is done together while the weights are in cache.

Images lie in buffers with a margin of zeros, which is the padding of the layer that reads them;
``origin`` says where in its buffer an output begins.
"""

from qpsim.kernels.jit import jit, jit_inner
from qpsim.nn.kernels.blas import address, copy, product, product_transposed


@jit
def forward(
    gemm, x, weight, bias, stacked, y, origin, size, stride, relu, patches, rows, group, cols
):
    """y = conv(x, weight) + bias, then its positive part if ``relu``."""
    for first in range(0, x.shape[0], group):
        last = min(first + group, x.shape[0])
        if patches:
            for e in range(first, last):
                _forward_by_patches(gemm, x[e], weight.shape, stacked, y[e], origin, size, stride,
                                    rows, cols)  # fmt: skip
            if relu:
                _cut(y[first:last], origin, size)
        else:
            _forward(gemm, x[first:last], weight, y[first:last], origin, size, stride)
            _add_bias(y[first:last], origin, size, bias, relu)


@jit
def backward(
    gemm, x, y, dy, origin, transposed, d_weight, d_bias, q_weight, q_bias, scale, dx, size,
    stride, relu, masks_dy, patches, large, rows, group, cols, block, compact,
):  # fmt: skip
    """Add the gradients by weight and bias; fill dx, unless it is empty.

    With ``masks_dy`` the ReLU's mask is applied to dy itself, for another kernel that makes dx.

    ``transposed[p, q]`` is ``weight[p, q].T``. If ``q_bias`` is not empty the squares of each
    example's gradients (times ``scale``) are added too: the products of one example and kernel
    position are formed in ``block``, in cache, and then go into both sums.
    """
    squares = q_bias.size > 0
    bias_gradient = block[block.size - d_bias.size :]
    ready = patches and not relu and (dy.shape[1], dy.shape[2]) == size
    for first in range(0, x.shape[0], group):
        last = min(first + group, x.shape[0])
        if ready:
            compact = dy[first:last].reshape((last - first, dy[0].size))
        else:
            for e in range(first, last):
                _mask(dy[e], y[e], origin, size, relu, compact[e - first], bias_gradient)
                if masks_dy:
                    _put_back(compact[e - first], dy[e], origin, size)
                if not patches:
                    _add_with_square(bias_gradient, d_bias, q_bias, scale, d_bias.size, 0, squares)
        if patches:
            for e in range(first, last):
                _image_gradient_by_patches(gemm, x[e], compact[e - first], d_weight.shape, size,
                                           stride, rows, cols, block)  # fmt: skip
                _add_with_square(block, d_weight, q_weight, scale, d_weight.size, 0, squares)
                _add_with_square(bias_gradient, d_bias, q_bias, scale, d_bias.size, 0, squares)
        else:
            _weight_gradient(gemm, x[first:last], compact, d_weight, q_weight, scale, size,
                             stride, rows, cols, block, squares)  # fmt: skip
        if dx.size > 0:
            _input_gradient(
                gemm, compact, transposed, dx[first:last], size, stride, rows if large else 1, cols
            )


@jit_inner
def _forward_by_patches(gemm, x, shape, stacked, y, origin, size, stride, rows, cols):
    kh, kw, _, filters = shape
    height, width = size
    zero = stacked.dtype.type(0)
    y_row, y_pixel = y.strides[0], y.strides[1]
    y0 = address(y) + origin[0] * y_row + origin[1] * y_pixel
    k = stacked.shape[0]
    for i in range(0, height, rows):
        taken = min(rows, height - i)
        _gather_patches(x, i, taken, kh, kw, stride, width, cols)
        if y_row == width * y_pixel:
            product(gemm, taken * width, filters, k, address(cols), k, address(stacked), filters,
                    zero, y0 + i * y_row, filters)  # fmt: skip
        else:
            for r in range(taken):
                product(gemm, width, filters, k, address(cols) + r * width * k * x.itemsize, k,
                        address(stacked), filters, zero, y0 + (i + r) * y_row,
                        filters)  # fmt: skip


@jit_inner
def _forward(gemm, x, weight, y, origin, size, stride):
    kh, kw, channels, filters = weight.shape
    height, width = size
    one, zero = weight.dtype.type(1), weight.dtype.type(0)
    y0 = address(y) + origin[0] * y.strides[1] + origin[1] * y.strides[2]
    for p in range(kh):
        for q in range(kw):
            w = address(weight) + (p * kw + q) * channels * filters * x.itemsize
            beta = zero if p == 0 and q == 0 else one
            for e in range(x.shape[0]):
                a = address(x) + e * x.strides[0] + p * x.strides[1] + q * x.strides[2]
                out = y0 + e * y.strides[0]
                for i in range(height):
                    product(gemm, width, filters, channels, a + i * stride * x.strides[1],
                            stride * channels, w, filters, beta, out + i * y.strides[1],
                            filters)  # fmt: skip


@jit_inner
def _mask(dy, y, origin, size, relu, compact, bias_gradient):
    """compact = dy without margin, 0 where the ReLU's output is 0; bias_gradient = its sum over pixels."""
    filters = bias_gradient.size
    zero = bias_gradient.dtype.type(0)
    bias_gradient[:] = zero
    at = 0
    for i in range(origin[0], origin[0] + size[0]):
        for j in range(origin[1], origin[1] + size[1]):
            source, value, target = dy[i, j], y[i, j], compact[at : at + filters]
            if relu:
                for c in range(filters):
                    kept = source[c] if value[c] > zero else zero
                    target[c] = kept
                    bias_gradient[c] += kept
            else:
                for c in range(filters):
                    target[c] = source[c]
                    bias_gradient[c] += source[c]
            at += filters


@jit_inner
def _put_back(compact, dy, origin, size):
    line = size[1] * dy.strides[1]
    for i in range(size[0]):
        copy(address(dy[origin[0] + i, origin[1]]), address(compact) + i * line, line)


@jit_inner
def _image_gradient_by_patches(gemm, x, dy, shape, size, stride, rows, cols, block):
    """block = the gradient by the weights of one image, and below it that by the bias."""
    kh, kw, channels, filters = shape
    height, width = size
    one, zero = dy.dtype.type(1), dy.dtype.type(0)
    k = kh * kw * channels + 1
    for i in range(0, height, rows):
        taken = min(rows, height - i)
        _gather_patches(x, i, taken, kh, kw, stride, width, cols)
        product_transposed(gemm, k, filters, taken * width, address(cols), k,
                           address(dy) + i * width * filters * dy.itemsize, filters,
                           zero if i == 0 else one, address(block), filters)  # fmt: skip


@jit_inner
def _weight_gradient(
    gemm, x, dy, d_weight, q_weight, scale, size, stride, rows, cols, block, squares
):
    kh, kw, channels, filters = d_weight.shape
    height, width = size
    one, zero = d_weight.dtype.type(1), d_weight.dtype.type(0)
    for p in range(kh):
        for q in range(kw):
            at = (p * kw + q) * channels * filters
            target = address(block) if squares else address(d_weight) + at * x.itemsize
            for e in range(x.shape[0]):
                for i in range(0, height, rows):
                    taken = min(rows, height - i)
                    if rows > 1:
                        _gather_pixels(x[e], i, taken, p, q, stride, width, cols)
                        a, between = address(cols), channels
                    else:
                        a = (address(x) + e * x.strides[0] + (i * stride + p) * x.strides[1]
                             + q * x.strides[2])  # fmt: skip
                        between = stride * channels
                    product_transposed(gemm, channels, filters, taken * width, a, between,
                                       address(dy[e]) + i * width * filters * dy.itemsize, filters,
                                       zero if squares and i == 0 else one, target,
                                       filters)  # fmt: skip
                if squares:
                    _add_with_square(block, d_weight, q_weight, scale, channels * filters, at, True)


@jit_inner
def _input_gradient(gemm, dy, transposed, dx, size, stride, rows, cols):
    kh, kw, filters, channels = transposed.shape
    height, width = size
    item = dx.itemsize
    one, zero = transposed.dtype.type(1), transposed.dtype.type(0)
    dx[:] = 0
    for p in range(kh):
        for q in range(kw):
            w = address(transposed) + (p * kw + q) * channels * filters * item
            for e in range(dx.shape[0]):
                for i in range(0, height, rows):
                    source = address(dy[e]) + i * width * filters * item
                    if rows == 1:
                        target = (address(dx) + e * dx.strides[0] + (i * stride + p) * dx.strides[1]
                                  + q * dx.strides[2])  # fmt: skip
                        product(gemm, width, channels, filters, source, filters, w, channels, one,
                                target, stride * channels)  # fmt: skip
                    else:
                        taken = min(rows, height - i)
                        product(gemm, taken * width, channels, filters, source, filters, w,
                                channels, zero, address(cols), channels)  # fmt: skip
                        _add_pixels(cols, dx[e], i, taken, p, q, stride, width)


@jit_inner
def _gather_patches(image, first, rows, kh, kw, stride, width, cols):
    """cols = the patches under the output pixels of some rows, flattened as the weights are, and a 1.

    A patch's row is contiguous in the image.
    """
    run = kw * image.strides[1]
    length = kh * kw * image.shape[2] + 1
    target = address(cols)
    cols[length - 1 : rows * width * length : length] = 1
    for i in range(first, first + rows):
        for j in range(width):
            source = address(image) + i * stride * image.strides[0] + j * stride * image.strides[1]
            for p in range(kh):
                copy(target, source + p * image.strides[0], run)
                target += run
            target += image.itemsize


@jit_inner
def _gather_pixels(image, first, rows, p, q, stride, width, cols):
    """cols = the pixels that kernel position (p, q) meets under some output rows."""
    pixel = image.strides[1]
    target = address(cols)
    for i in range(first, first + rows):
        source = address(image) + (i * stride + p) * image.strides[0] + q * pixel
        if stride == 1:
            copy(target, source, width * pixel)
        else:
            for j in range(width):
                copy(target + j * pixel, source + j * stride * pixel, pixel)
        target += width * pixel


@jit_inner
def _add_pixels(cols, image, first, rows, p, q, stride, width):
    """The transpose of `_gather_pixels`: add ``cols`` to the pixels that they would come from."""
    channels = image.shape[2]
    at = 0
    for i in range(first, first + rows):
        for j in range(width):
            target, source = image[i * stride + p, j * stride + q], cols[at : at + channels]
            for c in range(channels):
                target[c] += source[c]
            at += channels


@jit_inner
def _add_bias(y, origin, size, bias, relu):
    """y += bias, then its positive part if ``relu``."""
    zero = bias.dtype.type(0)
    for e in range(y.shape[0]):
        for i in range(origin[0], origin[0] + size[0]):
            for j in range(origin[1], origin[1] + size[1]):
                pixel = y[e, i, j]
                if relu:
                    for c in range(bias.size):
                        value = pixel[c] + bias[c]
                        pixel[c] = zero if value < zero else value
                else:
                    for c in range(bias.size):
                        pixel[c] += bias[c]


@jit_inner
def _cut(y, origin, size):
    """y's positive part."""
    zero = y.dtype.type(0)
    for e in range(y.shape[0]):
        for i in range(origin[0], origin[0] + size[0]):
            for j in range(origin[1], origin[1] + size[1]):
                pixel = y[e, i, j]
                for c in range(pixel.size):
                    pixel[c] = zero if pixel[c] < zero else pixel[c]


@jit_inner
def _add_with_square(block, total, squares, scale, size, at, squared):
    """total += block and, if ``squared``, squares += (scale block)^2, from flat position ``at``."""
    d = total.reshape(-1)[at : at + size]
    if squared:
        q = squares.reshape(-1)[at : at + size]
        for s in range(size):
            value = block[s]
            d[s] += value
            q[s] += (scale * value) * (scale * value)
    else:
        for s in range(size):
            d[s] += block[s]
