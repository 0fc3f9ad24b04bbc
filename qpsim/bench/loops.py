"""Peer: ensembles on a diagonal Hessian as a plain loop, compiled by Numba, with NumPy's generator.

It has the same compiler as the package, but NumPy's normals, and runs one replicate after the other:
the ratio shows what the package's own sampler and its blocks of replicates gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import numpy as np

from qpsim.bench.workloads import Workload
from qpsim.problem.quadratic import QuadraticProblem


def prepare(
    workload: Workload, problem: QuadraticProblem, quadratic: float, workers: int
) -> Callable[[int], np.ndarray]:
    """A function from a seed to the final losses (n_replicates,).

    ``quadratic`` is the part of the exact step's denominator that does not depend on the gradient.
    """
    numba: Any = import_module("numba")
    rule = numba.njit(_RULES[workload.method])
    moments = numba.njit(_MOMENTS.get(workload.method, _none))

    @numba.njit(nogil=True)
    def simulated(
        generator: Any, q: Any, nu: float, given: float, below: float, steps: int, error: Any
    ) -> None:
        m, v = np.empty(q.size), np.empty(q.size)
        for r in range(error.shape[0]):
            m[:] = 0.0
            v[:] = 0.0
            for t in range(1, steps + 1):
                alpha = given
                if math.isnan(given):
                    numerator, denominator = 0.0, below
                    for i in range(q.size):
                        above, under = moments(q[i], q[i] * error[r, i], nu * q[i])
                        numerator += above
                        denominator += under
                    alpha = numerator / denominator
                for i in range(q.size):
                    g = q[i] * error[r, i] - nu * q[i] * generator.standard_normal()
                    z, m[i], v[i] = rule(g, m[i], v[i], t)
                    error[r, i] -= alpha * z

    q = np.array(problem.hessian)
    given = math.nan if isinstance(workload.step_size, str) else float(workload.step_size)

    def run(seed: int) -> np.ndarray:
        error = np.tile(-problem.optimum, (workload.n_replicates, 1))
        parts = np.array_split(error, workers)
        seeds = np.random.SeedSequence(seed).spawn(workers)

        def work(k: int) -> None:
            generator = np.random.Generator(np.random.PCG64(seeds[k]))
            simulated(generator, q, problem.noise_std, given, quadratic, workload.n_steps, parts[k])

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))
        return np.asarray(0.5 * (q * error * error).sum(axis=1))

    return run


def _sgd(g: float, m: float, v: float, t: int) -> tuple[float, float, float]:
    return g, m, v


def _ssd(g: float, m: float, v: float, t: int) -> tuple[float, float, float]:
    return np.sign(g), m, v


def _adam(g: float, m: float, v: float, t: int) -> tuple[float, float, float]:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return m / (1.0 - 0.9**t) / (math.sqrt(v / (1.0 - 0.999**t)) + 1e-8), m, v


def _m_svag(g: float, m: float, v: float, t: int) -> tuple[float, float, float]:
    m = 0.9 * m + 0.1 * g
    v = 0.9 * v + 0.1 * g * g
    mean, square = m / (1.0 - 0.9**t), v / (1.0 - 0.9**t)
    kappa = 0.1 * (1.0 + 0.9**t) / (1.9 * (1.0 - 0.9**t))
    variance = abs(square - mean * mean)
    return mean**3 / (mean * mean + kappa * variance), m, v


def _sgd_moments(q: float, gradient: float, std: float) -> tuple[float, float]:
    return gradient * gradient, q * gradient * gradient


def _ssd_moments(q: float, gradient: float, std: float) -> tuple[float, float]:
    return gradient * math.erf(gradient / (math.sqrt(2.0) * std)), 0.0


def _none(q: float, gradient: float, std: float) -> tuple[float, float]:
    return 0.0, 0.0


_RULES: dict[str, Callable[..., Any]] = {
    "sgd": _sgd,
    "ssd": _ssd,
    "adam": _adam,
    "m-svag": _m_svag,
}
_MOMENTS: dict[str, Callable[..., Any]] = {"sgd": _sgd_moments, "ssd": _ssd_moments}
