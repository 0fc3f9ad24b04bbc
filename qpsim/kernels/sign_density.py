"""Sign descent in one coordinate: its distribution on a fixed grid after each step, and the derivative by the steps.

In units of the noise's scale over the curvature, the offset x goes to x - a with probability F(x) and to x + a with
probability F(-x), where F is the distribution function of the noise. The nodes are x_j = spacing j for integers j, so a
step moves all nodes by the same fraction of a cell. The mass at an image point is distributed to the six nodes around
it by the weights of Lagrange interpolation, which preserve the mean of every polynomial of degree 5. With w_k these
weights and n = floor(a / spacing): new[j + n + k] += w_k mass[j] F(-x_j) and new[j - n - k] += w_k mass[j] F(x_j), k =
-2, ..., 3.
"""

import numpy as np

from qpsim.kernels.jit import arguments_are_apart, jit, jit_inner

# Number of nodes of the interpolation.
ORDER = 6
# A step of a whole number of cells would have weight 0 at five nodes; such nodes at the ends would be dropped, and with
# them the derivative by the step. The step is lengthened by this fraction of a cell.
_LEAST_SHARE = 1e-11


@jit_inner
def _weights(share, weights, slopes):
    """Lagrange weights (6,) of the nodes -2, ..., 3 for the point ``share`` in [0, 1), and their derivatives by it."""
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
    """Masses of positive and negative gradient sign: mass F(x) and mass F(-x); table (n,): F at 0, 1, ..."""
    far = table.size - 1
    for j in range(mass.size):
        node = low + j
        share = table[min(abs(node), far)]
        more, less = mass[j] * share, mass[j] * (1.0 - share)
        up[j] = more if node >= 0 else less
        down[j] = less if node >= 0 else more


@jit
def forth(table, spacing, first, mass, lengths, negligible, lows, begins, held, losses):
    """Write the distribution before each step and after the last, and the sum of mass x^2 of each.

    Parameters
    ----------
    table : array (n,)
        F at x = 0, spacing, 2 spacing, ...
    spacing : float
    first : int
        Number of the node at which `mass` begins.
    mass : array (k,)
        Masses at the start.
    lengths : array (n_steps,)
        Steps a, in the units of x.
    negligible : float
        Nodes at both ends are dropped while mass (1 + x^2) is below it.
    lows : array (n_steps + 1,) of int
        Number of the first node of each distribution.
    begins : array (n_steps + 2,) of int
        Index in `held` at which each distribution begins.
    held : array (room,)
        The masses of all distributions, in sequence.
    losses : array (n_steps + 1,)

    Returns
    -------
    bool
        Whether `held` was long enough; if not, the results are incomplete.
    float
        Sum of |mass| (1 + x^2) of all nodes that were dropped.
    """
    arguments_are_apart()
    weights, slopes = np.empty(ORDER), np.empty(ORDER)
    lost = 0.0
    low, size = first, mass.size
    begins[0] = 0
    if size > held.size:
        return False, lost
    for i in range(size):
        held[i] = mass[i]
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
        # From 3 nodes below the lowest image to 3 nodes above the highest.
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
    """Add the derivatives of sum_t weight_t loss_t by the steps to `gradient` (n_steps,).

    The backward pass of `forth`: ``weight`` is (n_steps,), the other arguments are those that `forth` took and wrote.
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
        # Nodes dropped after this step have derivative 0.
        around = np.zeros(wide)
        start = lows[t + 1] - (low - whole - 3)
        for i in range(later.size):
            around[start + i] = later[i]
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
