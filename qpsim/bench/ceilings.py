"""What limits every simulation on this machine: drawing its normals, and BLAS.

Both are measured on as many threads as the simulation gets, between the simulations' own turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from qpsim.bench.workloads import Workload
from qpsim.execution.blas import one_blas_thread
from qpsim.simulation.plan import BLOCK_SIZE

_NORMALS_DIM = 100
_FILLS = 200
_MATRIX_DIM = 512
_SECONDS = 0.05


def normals_per_second(workers: int) -> float:
    """Rate of the package's own sampler into a block that stays in the cache."""
    from qpsim.kernels.noise import seed_lanes

    def job() -> Callable[[], int]:
        stream = seed_lanes(np.random.SeedSequence(0), 0, BLOCK_SIZE)
        out = np.empty((_NORMALS_DIM, BLOCK_SIZE))

        def draw() -> int:
            _filled()(stream, out, _FILLS)
            return _FILLS * out.size

        return draw

    return _rate(job, workers, 2)


@cache
def _filled() -> Any:
    """Fills an array many times; between calls as short as one fill, threads would wait for each other."""
    import numba

    from qpsim.kernels.noise import fill_normals

    @numba.njit(nogil=True)
    def again(stream: Any, out: Any, times: int) -> None:
        for _ in range(times):
            fill_normals(stream, out)

    return again


def flops_per_second(workers: int) -> float:
    """Rate of double-precision matrix products, one BLAS thread a worker."""

    def job() -> Callable[[], int]:
        matrix, block = np.ones((_MATRIX_DIM, _MATRIX_DIM)), np.ones((_MATRIX_DIM, BLOCK_SIZE))
        out = np.empty_like(block)

        def multiply() -> int:
            np.dot(matrix, block, out)
            return 2 * matrix.size * BLOCK_SIZE

        return multiply

    with one_blas_thread():
        return _rate(job, workers, 2)


def least_seconds(
    workload: Workload, normals: float, flops: float, operations: float | None = None
) -> float:
    """Time that the normals and matrix products of a workload, or so many operations, take at these rates."""
    return workload.updates / normals + (operations or workload.flops) / flops


def flops_with_series(workload: Workload) -> float | None:
    """Operations of a workload's matrix products and of the series that this package sums; None without.

    The exact step of signs has no closed form: the limit counts what any way needs, this what ours
    does. Operations in single precision, of which a vector holds twice as many, count half.
    """
    if (workload.method, workload.step_size) != ("ssd", "optimal") or workload.basis == "axis":
        return None
    from qpsim.kernels.signs import pair_table

    problem, dim = workload.problem(), workload.dim
    table = pair_table(np.asarray(problem.hessian), problem.gradient_correlation())
    products = 2 * 2 * dim**2
    forms = table.double.shape[0] * dim * (dim - 1) + table.single.entries.size
    return float((products + forms) * workload.n_replicates * workload.n_steps)


def _rate(job: Callable[[], Callable[[], int]], workers: int, repeats: int) -> float:
    def work(run: Callable[[], int]) -> int:
        done = 0
        while time.perf_counter() - began < _SECONDS:
            for _ in range(repeats):
                done += run()
        return done

    runs = [job() for _ in range(workers)]
    for run in runs:
        run()
    with ThreadPoolExecutor(workers) as pool:
        began = time.perf_counter()
        return sum(pool.map(work, runs)) / (time.perf_counter() - began)
