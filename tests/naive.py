"""Obvious loop twins of what the package computes cleverly: slow, short, and compared with it."""

import math
from itertools import pairwise

import numpy as np
from scipy.integrate import quad


def box_muller(bit_generator, n):
    """n standard normals from raw words, in the order that a lane of n coordinates draws them."""
    normals = []
    while len(normals) < n:
        first, second = (int(word) for word in bit_generator.random_raw(2))
        radius = math.sqrt(-2 * math.log(((first >> 11) + 1) / 2**53))
        angle = 2 * math.pi * ((second >> 11) / 2**53)
        normals += [radius * math.cos(angle), radius * math.sin(angle)]
    return np.array(normals[:n])


def sign_product(a, b, r):
    """E[sign(a + X) sign(b + Y)], X and Y standard normal with correlation r: condition on X."""
    if abs(r) == 1.0:  # the signs differ where X lies between the two thresholds
        between = abs(math.erf(a / math.sqrt(2)) - r * math.erf(b / math.sqrt(2)))
        return r * (1.0 - between)
    width = math.sqrt((1 - r) * (1 + r))

    def integrand(x):
        conditional = math.erf((b + r * x) / (width * math.sqrt(2)))
        return math.copysign(1, a + x) * conditional * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    edges = {-9.0, 9.0, -a, *(-b / r + k * width for k in (-9, -3, -1, 0, 1, 3, 9))}
    edges = sorted(edge for edge in edges if -9 <= edge <= 9)
    pieces = pairwise(edges)
    return sum(quad(integrand, low, high, epsabs=1e-13, epsrel=1e-12)[0] for low, high in pieces)


def sign_form(hessian, correlation, a, scale):
    """E[s^T Q s] of scaled signs for one a (d,): Plackett's integral over t = asin r, pair by pair.

    64 nodes in each of eight pieces, which shrink towards t = pi/2 as the integrand does.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    total = 0.0
    for i in range(len(a)):
        total += hessian[i, i] * scale[i] ** 2
        for j in range(i):
            r = correlation[i, j]
            edges = math.pi / 2 - np.geomspace(math.pi / 2, math.acos(abs(r)), 9)
            half = np.diff(edges)[:, None] / 2
            t = edges[:-1, None] + half * (nodes + 1)
            square = a[i] ** 2 + a[j] ** 2 - 2 * a[i] * a[j] * math.copysign(1, r) * np.sin(t)
            integral = np.sum(half * weights * np.exp(-square / (2 * np.cos(t) ** 2)))
            moment = math.erf(a[i] / math.sqrt(2)) * math.erf(a[j] / math.sqrt(2))
            moment += math.copysign(2 / math.pi, r) * integral
            total += 2 * hessian[i, j] * scale[i] * scale[j] * moment
    return total
