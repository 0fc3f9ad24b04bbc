"""The law of sign descent in one coordinate as masses on a fixed grid, step by step, and the adjoint of that.

In units of the noise's scale over the curvature the offset x goes to x - a with probability F(x) and to x + a with
F(-x), F being the distribution of the noise. The grid is {spacing j}, j whole, so that all nodes move by the same share
of a cell: the mass of an image goes to the six nodes around it with the same six weights of Lagrange's interpolation
for all, which keep the mean of every polynomial of degree 5.
"""

import numpy as np

from qpsim.kernels.jit import arguments_are_apart, jit, jit_inner

# Nodes of the interpolation.
ORDER = 6
# A step of a whole number of cells has masses at all six nodes too: where they are 0 they would be dropped, and the
# derivative by the step be lost with them. It is taken to be longer by this share of a cell.
_LEAST_SHARE = 1e-11


@jit_inner
def _weights(share, weights, slopes):
    """Lagrange's weights (6,) of nodes -2, ..., 3 at a share of a cell in [0, 1), and their derivatives by it."""
    for k in range(ORDER):
        value, slope = 1.0, 0.0
        for other in range(ORDER):
            if other != k:
                factor = (share - (other - 2.0)) / (k - other)
                slope = slope * factor + value / (k - other)
                value *= factor
        weights[k], slopes[k] = value, slope


@jit_inner
def _split(mass, low, table, up, down):
    """The parts of masses that go up in sign and down; table (n,) is F at nodes 0, 1, ..., the last for all beyond."""
    far = table.size - 1
    for j in range(mass.size):
        node = low + j
        share = table[min(abs(node), far)]
        more, less = mass[j] * share, mass[j] * (1.0 - share)
        up[j] = more if node >= 0 else less
        down[j] = less if node >= 0 else more


@jit
def forth(table, spacing, first, mass, lengths, negligible, lows, begins, held, losses):
    """Write the law before each step and after the last, and the sum of mass x^2 of each.

    Parameters
    ----------
    table : array (n,)
        F at x = 0, spacing, 2 spacing, ...
    spacing : float
    first : int
        Number of the node at which `mass` begins.
    mass : array (k,)
        At the start.
    lengths : array (n_steps,)
        Steps a, in the units of x.
    negligible : float
        Nodes at both ends are dropped while mass (1 + x^2) is below it.
    lows : array (n_steps + 1,) of int
        Number of the first node of each law.
    begins : array (n_steps + 2,) of int
        Where each law begins in `held`.
    held : array (room,)
        The masses, one law after the other.
    losses : array (n_steps + 1,)

    Returns
    -------
    bool
        Whether the room was enough; if not, what was written is of no use.
    float
        Sum of |mass| (1 + x^2) of all that was dropped.
    """
    arguments_are_apart()
    weights, slopes = np.empty(ORDER), np.empty(ORDER)
    lost = 0.0
    low, size = first, mass.size
    begins[0] = 0
    if size > held.size:
        return False, lost
    held[:size] = mass
    for t in range(lengths.size + 1):
        begin = begins[t]
        now = held[begin : begin + size]
        lows[t], begins[t + 1] = low, begin + size
        total = 0.0
        for j in range(size):
            x = spacing * (low + j)
            total += now[j] * x * x
        losses[t] = total
        if t == lengths.size:
            return True, lost
        cells = lengths[t] / spacing
        whole = int(np.floor(cells))
        _weights(max(cells - whole, _LEAST_SHARE), weights, slopes)
        # From the image of the first node down, less 3, to that of the last one up, more 3.
        wide = size + 2 * whole + ORDER
        if begins[t + 1] + wide > held.size:
            return False, lost
        up, down = np.empty(size), np.empty(size)
        _split(now, low, table, up, down)
        new = held[begins[t + 1] : begins[t + 1] + wide]
        new[:] = 0.0
        for k in range(ORDER):
            w, right, left = weights[k], 2 * whole + 1 + k, ORDER - 1 - k
            for j in range(size):
                new[right + j] += w * down[j]
            for j in range(size):
                new[left + j] += w * up[j]
        low -= whole + 3
        head, tail = 0, wide
        while tail - head > ORDER:
            x = spacing * (low + head)
            much = abs(new[head]) * (1.0 + x * x)
            if much >= negligible:
                break
            lost += much
            head += 1
        while tail - head > ORDER:
            x = spacing * (low + tail - 1)
            much = abs(new[tail - 1]) * (1.0 + x * x)
            if much >= negligible:
                break
            lost += much
            tail -= 1
        size = tail - head
        for j in range(size):
            new[j] = new[head + j]
        low += head
    return True, lost


@jit
def back(table, spacing, lengths, weight, lows, begins, held, gradient):
    """Add to `gradient` (n_steps,) the derivatives by the lengths of the sum of weight times loss after each step.

    The other arguments are what `forth` was given and wrote; weight (n_steps,).
    """
    arguments_are_apart()
    n = lengths.size
    weights, slopes = np.empty(ORDER), np.empty(ORDER)
    size = begins[n + 1] - begins[n]
    later = np.empty(size)
    for j in range(size):
        x = spacing * (lows[n] + j)
        later[j] = weight[n - 1] * x * x
    for t in range(n - 1, -1, -1):
        size, low = begins[t + 1] - begins[t], lows[t]
        cells = lengths[t] / spacing
        whole = int(np.floor(cells))
        _weights(max(cells - whole, _LEAST_SHARE), weights, slopes)
        wide = size + 2 * whole + ORDER
        # What was dropped after this step counts for nothing.
        around = np.zeros(wide)
        start = lows[t + 1] - (low - whole - 3)
        around[start : start + later.size] = later
        up, down = np.empty(size), np.empty(size)
        now = held[begins[t] : begins[t + 1]]
        _split(now, low, table, up, down)
        of_up, of_down = np.zeros(size), np.zeros(size)
        change = 0.0
        for k in range(ORDER):
            w, s, right, left = weights[k], slopes[k], 2 * whole + 1 + k, ORDER - 1 - k
            for j in range(size):
                of_down[j] += w * around[right + j]
                of_up[j] += w * around[left + j]
            part = 0.0
            for j in range(size):
                part += down[j] * around[right + j] + up[j] * around[left + j]
            change += s * part
        gradient[t] += change / spacing
        if t == 0:
            return
        far = table.size - 1
        later = np.empty(size)
        for j in range(size):
            node = low + j
            share = table[min(abs(node), far)]
            share = share if node >= 0 else 1.0 - share
            x = spacing * node
            later[j] = share * of_up[j] + (1.0 - share) * of_down[j] + weight[t - 1] * x * x
