"""Searches get the histories of the runs that they ask for; the progress bar counts them."""

import dataclasses

import pytest

import qpsim
from qpsim import nn
from qpsim.errors import TrainingError, WorkerLost
from qpsim.execution.pool import in_this_thread, threads
from qpsim.execution.progress import bar
from qpsim.nn.run import History, Run
from qpsim.tuning import searches
from qpsim.tuning.searches import Search, drive

TASK = dataclasses.replace(nn.task("digits-whitened"), n_steps=2)


def run_of(seed, step_size=0.1):
    return Run(TASK, qpsim.method("sgd"), step_size, seed)


@pytest.fixture
def fake(monkeypatch):
    """A run's history is its seed."""
    made = []

    def run_cell(cell, stop):
        made.append(cell.run)
        seed = float(cell.run.seed)
        return History([seed, seed], [0.5, 0.5], [0, 2], [seed, seed], [0.5, 0.5])

    monkeypatch.setattr(searches, "run_cell", run_cell)
    return made


def counting(first, times):
    """Asks for one run after the other, then for two at once, then for one that it knows already."""
    seen = []
    for k in range(times):
        (history,) = yield [run_of(first + k)]
        seen.append(history.mean_loss)
    both = yield [run_of(first + times), run_of(first + times + 1)]
    (again,) = yield [run_of(first)]
    return [*seen, *(history.mean_loss for history in both), again.mean_loss]


def search(asking, expected):
    return Search(asking, None, "key", None, expected)


@pytest.mark.parametrize("place", [in_this_thread, lambda: None])
def test_every_search_finds_what_it_asked_for(fake, place):
    wanted = [search(counting(0, 3), 4), search(counting(10, 1), 4)]
    with threads(2) as pool, bar("tuning", 8) as opened:
        found = drive(wanted, place() or pool, opened)
    assert found == [[0.0, 1.0, 2.0, 3.0, 4.0, 0.0], [10.0, 11.0, 12.0, 10.0]]
    assert len(fake) == 8
    assert opened.done == opened.total == 8


def test_the_total_follows_what_is_asked_for(fake, monkeypatch):
    counts = []
    with bar("tuning", 7) as opened:
        tick = opened.tick

        def note(text):
            tick(text)
            counts.append((opened.done, opened.total))

        monkeypatch.setattr(opened, "tick", note)
        drive([search(counting(0, 4), 3), search(counting(10, 1), 4)], in_this_thread(), opened)
    assert all(done <= total for done, total in counts)
    assert counts[0] == (1, 7) and counts[-1] == (9, 9)
    assert opened.total == 9


def test_a_dead_worker_is_named_with_what_can_be_done(monkeypatch):
    def run_cell(cell, stop):
        raise WorkerLost("The worker died of it")

    monkeypatch.setattr(searches, "run_cell", run_cell)
    with bar("tuning", 1) as opened, pytest.raises(TrainingError, match="fewer workers"):
        drive([search(counting(0, 1), 3)], in_this_thread(), opened)
