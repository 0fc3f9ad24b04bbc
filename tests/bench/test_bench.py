"""The benchmark's measurements and reports; no assertion depends on the size of a time."""

import dataclasses
import json
import subprocess

import numpy as np
import pytest

from qpsim import bench, theory
from qpsim.bench import ceilings, measure, memory, peer_noise, peers, report, start, workloads
from qpsim.errors import FileError, SimulationError
from qpsim.kernels import sign_table
from tests import naive

TINY = {"n_replicates": 600, "n_steps": 4, "dim": 6}


def tiny(name):
    (found,) = [w for w in workloads.workloads(workloads.GROUPS) if w.name == name]
    return dataclasses.replace(found, **TINY)


@pytest.fixture(scope="module")
def measured():
    return bench.run(quick=True, rounds=2, only=["SGD, axis", "SSD, axis"], peers=["numpy"])


@pytest.mark.peer
@pytest.mark.parametrize(
    ("peer", "name"),
    [
        # Those of other noise compile for seconds; their steps are compared below.
        pytest.param(peer, w.name, marks=[pytest.mark.long] if w.group == "noise" else [])
        for peer in peers.NAMES
        for w in workloads.workloads(("core", "noise"))
        if peer != "numba" or (w.basis == "axis" and w.group == "core")
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_peer_simulates_the_same_ensemble(peer, name):
    workload = tiny(name)
    if peers.reason_missing(peer, workload):
        pytest.skip(peers.reason_missing(peer, workload))
    theirs = peers.prepare(peer, workload, workers=1)(1)
    ours = workload.runner(workers=1)(1)
    assert theirs.shape == ours.shape == (600,)
    assert measure.same_median(ours, theirs)
    assert not measure.same_median(ours, 1.5 * theirs + ours.max())


def test_the_peers_exact_step_is_that_of_a_loop():
    workload = tiny("SSD, Haar, exact step")
    problem = workload.problem()
    library = peers.Library(np, peers.error_function(), np.asarray)
    constants = peers.constants_of(workload, problem, library)
    a = np.random.default_rng(0).standard_normal((2, 6))
    value = constants.quadratic + peers.sign_form(workload, library, constants, a)
    for k in range(2):
        exact = naive.sign_form(problem.hessian, problem.gradient_correlation(), a[k], np.ones(6))
        assert value[k] == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize("name", [w.name for w in workloads.workloads(("noise",))])
def test_a_peers_step_under_another_noise_is_the_exact_one(name):
    workload = tiny(name)
    problem = workload.problem()
    library = peers.Library(np, peers.error_function(), np.asarray)
    constants = peers.constants_of(workload, problem, library)
    rng = np.random.default_rng(0)
    error = rng.standard_normal((3, 6))
    normals = rng.standard_normal((3, 6 + peer_noise.extra_normals(workload)))
    moved, _ = peers.step(workload, library, constants, error, (), normals, 1.0)
    batched = problem.at_batch(workload.batch_size)
    for k in range(3):
        step = theory.optimal_step_size(batched, workload.method, problem.optimum + error[k])
        direction = np.sign(error[k] - moved[k])
        if workload.method == "sgd":
            tail = np.sqrt(3.0 / np.sum(normals[k, 6:] ** 2))
            direction = problem.hessian * (error[k] - 0.1 * tail * normals[k, :6])
        np.testing.assert_allclose(error[k] - moved[k], step * direction, rtol=1e-6)


def test_a_workload_is_timed_beside_the_one_it_varies(monkeypatch):
    seconds = {"SSD, axis, Student t": 3.0, "SSD, axis": 2.0}
    monkeypatch.setattr(measure, "_seconds", lambda run, seed: run.took)

    def runner(workload, workers):
        def run(seed):
            return np.full(16, 1.0 + workload.n_replicates)

        run.took = seconds[workload.name]
        return run

    monkeypatch.setattr(workloads.Workload, "runner", runner)
    found = bench.run(only=["SSD, axis, Student t"], peers=[], rounds=3)
    (entry,) = found["results"]
    assert entry["baseline"] == {
        "name": "SSD, axis",
        "ratio": {"median": 1.5, "low": 1.5, "high": 1.5},
    }
    columns, rows = report.table(found)
    assert columns[-2:] == ["x baseline", "at most"]
    assert rows[0][-2:] == ["1.50 (1.50-1.50)", "1.5"]
    assert any("Baseline SSD, axis of: " in line for line in report.remarks(found))


def test_every_workload_of_another_noise_has_a_baseline_and_a_limit():
    varied = workloads.workloads(("noise",))
    assert len(varied) == 6
    for workload in varied:
        beside = workloads.baseline_of(workload)
        assert beside.group == "core" and beside.method == workload.method
        assert (beside.dim, beside.n_steps) == (workload.dim, workload.n_steps)
        assert workload.at_most > 1.0 and "noise only" in peers.reason_missing("numba", workload)


def test_a_missing_peer_is_skipped_with_a_reason(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "jax" else object())
    found = bench.run(quick=True, rounds=1, only=["SGD, axis"], peers=["jax"])
    assert "pip install" in found["results"][0]["peers"]["jax"]["skipped"]
    assert any("jax is not installed" in line for line in report.remarks(found))
    assert report.table(found)[1][0][3] == "-"


def test_a_plain_loop_is_for_uncoupled_coordinates():
    assert peers.reason_missing("numba", tiny("SSD, axis")) is None
    assert "uncoupled" in peers.reason_missing("numba", tiny("SSD, Haar, bound step"))


def test_a_peer_of_another_law_gets_no_ratio(measured):
    changed = json.loads(json.dumps(measured))
    changed["results"][0]["peers"]["numpy"]["same_ensemble"] = False
    assert report.table(changed)[1][0][3] == "differs"
    assert any("not the same ensemble" in line for line in report.remarks(changed))


def test_a_report_holds_what_it_says(measured):
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    assert [e["workload"]["name"] for e in measured["results"]] == ["SGD, axis", "SSD, axis"]
    for entry in measured["results"]:
        assert entry["workload"]["n_replicates"] == 128
        for key in ("seconds", "fraction_of_limit", "normals_per_second", "flops_per_second"):
            assert 0 < entry[key]["low"] <= entry[key]["median"] <= entry[key]["high"]
        assert entry["peers"]["numpy"]["same_ensemble"]
    text = bench.markdown(measured)
    assert text.count("\n|") == 3 and "SGD, axis" in text


def test_the_least_time_adds_normals_and_products():
    workload = tiny("SSD, Haar, exact step")
    assert workload.updates == 600 * 4 * 6
    assert workload.flops == 3 * 2 * 6 * 6 * 600 * 4
    expected = workload.updates / 1e9 + workload.flops / 1e10
    assert ceilings.least_seconds(workload, 1e9, 1e10) == pytest.approx(expected)


def test_the_series_of_the_exact_step_can_be_counted():
    (workload,) = [w for w in workloads.workloads(("core",)) if w.name == "SSD, Haar, exact step"]
    problem, steps = workload.problem(), workload.n_replicates * workload.n_steps
    table = sign_table.pair_table(np.asarray(problem.hessian), problem.gradient_correlation())
    ends = table.single.ends
    singles = [ends[n, -1, -1] - (ends[n - 1, -1, -1] if n else 0) for n in range(len(ends))]
    assert 0 < sum(singles) <= len(singles) * 4950
    per_step = 2 * 2 * 100**2 + 2 * 4950 * table.double.shape[0] + sum(singles)
    assert ceilings.flops_with_series(workload) == steps * per_step
    assert ceilings.least_seconds(workload, np.inf, 2.0, 8.0) == 4.0
    assert ceilings.flops_with_series(tiny("SSD, Haar, bound step")) is None
    assert ceilings.flops_with_series(tiny("SSD, axis")) is None


def test_a_remark_tells_of_the_series(measured):
    entry = {**measured["results"][0], "fraction_with_series": {"median": 0.614}}
    said = " ".join(report.remarks({**measured, "results": [entry]}))
    assert "if the products of the sign's series count: 61 % (SGD, axis)." in said
    assert "series" not in " ".join(report.remarks(measured))


def test_starts_are_timed_beside_their_peers(monkeypatch):
    seconds = {"typer": 2.0, "-h": 3.0, "numpy, qpsim": 0.4, "figure": 9.0, "numpy": 0.1}
    asked = []

    def took(command, cache=None):
        asked.append(cache)
        return next(value for key, value in seconds.items() if key in " ".join(command))

    monkeypatch.setattr(start, "_seconds", took)
    found = bench.run(groups=["start"], peers=[], rounds=5)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["results"] == []
    shown, imported, cold, warm = found["start"]
    assert shown["ratio"] == {"median": 1.5, "low": 1.5, "high": 1.5} and shown["beyond"] is None
    assert imported["beyond"]["median"] == pytest.approx(0.3) and imported["ratio"] is None
    assert cold["seconds"]["median"] == warm["seconds"]["median"] == 9.0
    folders = [cache for cache in asked if cache is not None]
    assert len(folders) == 3 + 5 and len(set(folders)) == 3 and set(folders[3:]) == {folders[0]}
    text = bench.markdown(found)
    assert text.startswith("| start |") and "| 1.50 x |" in text and "| +0.300 s |" in text
    both = bench.markdown({**found, "results": [], "start": []})
    assert both.startswith("| workload |")


def test_the_programs_that_are_timed_run():
    assert start._seconds([*start._QPSIM, "-h"]) > 0.0
    assert start._seconds([start.sys.executable, "-c", start._BARE]) > 0.0
    with pytest.raises(subprocess.CalledProcessError):
        start._seconds([start.sys.executable, "-c", "import no_such_module"])


def test_a_report_without_starts_is_still_one(measured, tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({key: measured[key] for key in measured if key != "start"}))
    assert bench.markdown(report.read(path)).count("\n|") == 3


def test_compare_shows_what_moved(measured):
    before = json.loads(json.dumps(measured))
    before["results"][0]["ns_per_update"]["median"] *= 3
    before["results"].pop()
    columns, rows = bench.compare(before, measured)
    assert len(rows) == 1 and rows[0][0] == "SGD, axis"
    assert rows[0][columns.index("faster by")] == "3.00 x"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 0}', '{"schema": 1}', "\x00"])
def test_a_file_that_is_no_report_is_refused(tmp_path, content):
    path = tmp_path / "old.json"
    path.write_text(content)
    with pytest.raises(FileError, match="no report"):
        report.read(path)
    with pytest.raises(FileError, match="Cannot read"):
        report.read(tmp_path / "missing.json")


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": 1.5},
        {"rounds": 0},
        {"rounds": True},
        {"groups": ["cores"]},
        {"only": ["SDG, axis"]},
        {"peers": ["numpi"]},
    ],
)
def test_a_mistaken_option_is_refused_before_any_work(options):
    with pytest.raises(SimulationError, match=r"must be|did you mean|nown"):
        bench.run(**options)


def test_the_cores_are_given_back():
    import os

    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system does not hold processes to cores")
    before = os.sched_getaffinity(0)
    bench.run(quick=True, rounds=1, only=["SGD, axis"], peers=[], workers=1)
    assert os.sched_getaffinity(0) == before


def test_peak_memory_is_that_of_the_run_and_not_of_this_process():
    ballast = np.ones(1 << 25)
    small = tiny("SGD, axis")
    large = dataclasses.replace(small, n_replicates=200_000, n_steps=40)
    peaks = [memory.peak_bytes(workload, workers=1) for workload in (small, large)]
    if None in peaks:
        pytest.skip("This system does not say how much memory a process held.")
    record = 8 * 200_000 * 41
    assert record < peaks[1] - peaks[0] < 3 * record
    assert memory.own_peak_bytes() > ballast.nbytes


def test_peak_memory_has_a_column_where_it_was_measured(measured):
    columns, _ = report.table(measured)
    assert "peak memory" not in columns
    entry = {**measured["results"][0], "peak_bytes": 3 << 20}
    columns, rows = report.table({**measured, "results": [entry, measured["results"][1]]})
    assert columns[-1] == "peak memory"
    assert [row[-1] for row in rows] == ["3 MiB", "-"]


def test_a_rate_is_positive_when_a_thread_starts_late(monkeypatch):
    class Clock:
        """A machine so busy that a second passes between any two looks at the clock."""

        now = 0.0

        @classmethod
        def perf_counter(cls):
            cls.now += 1.0
            return cls.now

    monkeypatch.setattr(ceilings, "time", Clock)
    assert ceilings._rate(lambda: lambda: 3, workers=2, repeats=1) > 0.0
    assert ceilings._rate(lambda: lambda: 3, workers=1, repeats=2) == 6.0


def test_a_report_with_a_time_of_zero_is_refused(measured, tmp_path):
    changed = json.loads(json.dumps(measured))
    changed["results"][0]["ns_per_update"]["median"] = 0.0
    path = tmp_path / "zero.json"
    path.write_text(json.dumps(changed))
    with pytest.raises(FileError, match="no report"):
        report.read(path)
