"""A training step late in a run beside an early one: ``pytest -m benchmark tests/benchmarks/test_late_state.py -s``.

Under L2, weights of units that nothing reaches any more fade away. If they were left among the
subnormal numbers, the matrix products would take ten times as long.
"""

import time
from dataclasses import replace

import numpy as np
import pytest

import qpsim
from qpsim import nn
from qpsim.execution.blas import one_blas_thread
from qpsim.nn.catalogue import stand_in
from qpsim.nn.loop import Loop

pytestmark = pytest.mark.benchmark

# After so many steps half of the weights would be subnormal. A larger L2 factor than the task's
# makes them fade sooner.
LATE, L2 = 2000, 5e-3
ROUNDS = 15


def loop():
    task = replace(nn.task("mnist"), l2=L2, evaluate_every=10**6, n_steps=10**6)
    run = nn.Run(task, qpsim.method("adam"), 0.001)
    return Loop(run, stand_in("mnist", n_train=4000, n_test=100), workers=1)


def seconds(step):
    began = time.process_time()
    step()
    return time.process_time() - began


def test_a_late_step_is_as_fast_as_an_early_one():
    """Processor time of a step, early and late, taking turns; and how many weights have faded."""
    early, late = loop(), loop()
    with one_blas_thread():
        early.advance()
        for _ in range(LATE):
            late.advance()
        times = np.array([[seconds(early.advance), seconds(late.advance)] for _ in range(ROUNDS)])
    weights = late.network.parameters
    fresh, old = 1e3 * np.median(times, axis=0)
    ratio = np.median(times[:, 1] / times[:, 0])
    print(
        f"MNIST's network: {fresh:.1f} ms at step 1, {old:.1f} ms at step {LATE}, ratio {ratio:.2f}; "
        f"{(weights == 0).mean():.0%} of the weights are 0"
    )
    assert (weights == 0).mean() > 0.2
    assert not ((weights != 0) & (abs(weights) < np.finfo(weights.dtype).tiny)).any()
