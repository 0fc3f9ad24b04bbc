"""Max-pooling, which stores in one byte which pixel of the window was the largest.

For sixteen float32 channels at a time: :mod:`qpsim.nn.kernels.pooling_lanes`.
"""

from qpsim.kernels.jit import jit

NOBODY = 255


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
                        won[c] = NOBODY if lost else won[c]


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
