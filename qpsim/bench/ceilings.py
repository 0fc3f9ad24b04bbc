"""The two limits of every simulation on a machine: drawing normals, and matrix products by BLAS.

Both rates are measured with as many threads as the simulation gets, between the runs of the
simulation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import Any

import numpy as np

from qpsim.bench.workloads import Workload
from qpsim.execution.blas import one_blas_thread
from qpsim.problem.least_squares import LeastSquares
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
    """A kernel that fills an array many times.

    A single fill is too short: threads would mostly wait for each other.
    """
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
    """Seconds that a workload's normals and matrix products take at these rates.

    ``operations`` replaces the number of floating-point operations of the matrix products.
    """
    return workload.updates / normals + (operations or workload.flops) / flops


def flops_with_series(workload: Workload) -> float | None:
    """Floating-point operations of a workload's matrix products and of the package's sign series.

    The exact step of sign descent on a rotated problem has no closed form, and the package sums a
    series for it. The limit counts only what every implementation needs; this count has the series
    too. Single-precision operations count half, since a vector register holds twice as many. None
    for a workload without the series, and for those of group "noise", which have others.
    """
    if (workload.method, workload.step_size) != ("ssd", "optimal") or workload.basis == "axis":
        return None
    from qpsim.kernels.sign_table import pair_table

    problem, dim = workload.problem(), workload.dim
    if workload.group == "noise" or isinstance(problem, LeastSquares):
        return None
    table = pair_table(np.asarray(problem.hessian), problem.gradient_correlation())
    products = 2 * 2 * dim**2
    forms = table.double.shape[0] * dim * (dim - 1) + table.single.entries.size
    return float((products + forms) * workload.n_replicates * workload.n_steps)


def _rate(job: Callable[[], Callable[[], int]], workers: int, repeats: int) -> float:
    """Work per second of so many threads at once.

    Each thread times itself and works at least once: on a busy machine a thread may get its first
    turn after the time that was meant for the measurement.
    """

    def work(run: Callable[[], int]) -> float:
        together.wait()
        done, began, seconds = 0, time.perf_counter(), 0.0
        while seconds < _SECONDS:
            for _ in range(repeats):
                done += run()
            seconds = time.perf_counter() - began
        return done / seconds

    together = Barrier(workers)
    runs = [job() for _ in range(workers)]
    for run in runs:
        run()
    with ThreadPoolExecutor(workers) as pool:
        return sum(pool.map(work, runs))
