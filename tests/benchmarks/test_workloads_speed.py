"""Speed of the workloads of ``qpsim bench``, on two threads: ``pytest -m benchmark``."""

import pytest

from qpsim.bench import workloads

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("workload", workloads.workloads(("core", "shape")), ids=lambda w: w.name)
def test_workload(benchmark, workload):
    run = workload.runner(workers=2)
    run(0)
    benchmark.extra_info["updates"] = workload.updates
    benchmark.pedantic(run, args=(1,), rounds=5)
