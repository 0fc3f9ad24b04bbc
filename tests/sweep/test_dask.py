"""A real cluster of two worker processes on loopback: same bits, though a worker is killed."""

import os
import signal

import pytest

from qpsim.errors import ExecutionError
from qpsim.sweep import Sweep, run
from tests.sweep.examples import FIXED, data, small

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture
def cluster():
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address=None,
    ) as made:
        yield made


def address(cluster):
    return cluster.scheduler_address.replace("tcp://", "dask://")


def pids(cluster):
    with distributed.Client(cluster) as client:
        return list(client.run(os.getpid).values())


@pytest.mark.long
def test_a_killed_worker_costs_a_repetition_and_no_bit(cluster, tmp_path):
    sweep = Sweep({**FIXED, "dim": 30, "n_steps": 200}, {"rng": list(range(40))})
    run(sweep, tmp_path / "expected", workers=1, progress=False)
    victims = pids(cluster)

    told = []

    def kill(*counts):
        told.append(counts)
        if len(told) == 3:
            os.kill(victims[0], signal.SIGKILL)

    report = run(sweep, tmp_path / "s", executor=address(cluster), progress=kill)
    assert told == [(k, 0, 40) for k in range(1, 41)]
    assert report.computed == 40 and report.failed == 0
    assert data(tmp_path / "s") == data(tmp_path / "expected")
    assert victims[0] not in pids(cluster)


def test_a_lost_scheduler_ends_the_run_with_one_sentence_and_what_is_finished(tmp_path):
    sweep = Sweep({**FIXED, "dim": 30, "n_steps": 200}, {"rng": list(range(40))})
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address=None,
    ) as cluster:

        def close(done, failed, total):
            if done == 1:
                cluster.close()

        with pytest.raises(ExecutionError, match=r"connection to the Dask scheduler .* was lost"):
            run(sweep, tmp_path / "s", executor=address(cluster), progress=close)
    report = run(sweep, tmp_path / "s", progress=False)
    assert report.found >= 1 and report.found + report.computed == 40


def test_a_local_cluster_is_started_and_ended(tmp_path):
    run(small(), tmp_path / "threads", progress=False)
    run(small(), tmp_path / "dask", executor="dask", workers=2, progress=False)
    assert data(tmp_path / "dask") == data(tmp_path / "threads")
