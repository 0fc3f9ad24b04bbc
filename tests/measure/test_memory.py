"""A million coordinates need less than a gigabyte: gradients are read one by one, and directions not stored."""

import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from qpsim import measure
from qpsim.bench.memory import own_peak_bytes

d, n = 10**6, 64
rng = np.random.default_rng(0)
diagonal = np.exp(rng.uniform(-5.0, 0.0, d)).astype(np.float32)
factor = (rng.standard_normal((d, 4)) / 500.0).astype(np.float32)
mean = 0.3 * np.sqrt(diagonal)


def hvp(v):
    return (diagonal * v.T).T + factor @ (factor.T @ v)


def gradients():
    for _ in range(n):
        yield (mean + np.sqrt(diagonal) * rng.standard_normal((1, d), dtype=np.float32))


found = measure.directions(gradients(), hvp, methods=["sgd", "ssd"], n_products=64)
measure.noise(gradients())
print(found.n_products, own_peak_bytes() / 2**20)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the peak memory is in other units elsewhere")
def test_a_million_coordinates_are_measured_within_a_gigabyte():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    n_products, megabytes = map(float, run.stdout.split())
    assert n_products >= 128 and megabytes < 1000
