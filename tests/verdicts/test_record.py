"""The verdict record and the bootstrap interval."""

import json

import numpy as np
import pytest

from qpsim import verdicts
from qpsim.errors import FigureError, FileError, VerdictError
from qpsim.verdicts import Measurement, Report, Verdict, bootstrap_median


def _verdict(*measurements):
    return Verdict("name", "It is so.", "Section 9", "a number", "a rule", measurements)


def test_a_statement_holds_if_every_deciding_measurement_does():
    yes, no = Measurement("a", 1.0, holds=True), Measurement("b", 2.0, holds=False)
    context = Measurement("c", 3.0)
    assert _verdict(yes, context).holds
    assert not _verdict(yes, no, context).holds
    assert not Report("topic", (_verdict(yes), _verdict(no))).holds
    assert _verdict(yes, context).deciding == (yes,)


def test_numbers_that_are_not_finite_survive_as_json(tmp_path):
    odd = Measurement("a", np.inf, (np.float64(0.0), np.nan), z=np.nan, holds=True)
    path = Report("topic", (_verdict(odd),), {"n": 1}).save(tmp_path)
    assert path.name == "topic-verdicts.json"
    found = json.loads(path.read_text())["verdicts"][0]["measurements"][0]
    assert found == {
        "what": "a",
        "value": None,
        "interval": [0.0, None],
        "z": None,
        "holds": True,
        "claimed": None,
        "error": None,
    }


def test_saving_needs_a_folder(tmp_path):
    with pytest.raises(FileError):
        Report("topic", ()).save(tmp_path / "missing")


def test_bootstrap_agrees_with_a_loop():
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(6), 10)
    values = rng.normal(size=60) + rng.normal(size=6)[groups]
    median, (low, high) = bootstrap_median(values, groups, draws=4000, rng=1)
    medians = []
    for _ in range(4000):
        chosen = rng.integers(6, size=6)
        parts = [rng.choice(values[groups == g], size=10) for g in chosen]
        medians.append(np.median(np.concatenate(parts)))
    assert median == np.median(values)
    spread = np.std(medians)
    # The ends are order statistics of 4000 medians: a tenth of the spread is over 2 standard errors.
    np.testing.assert_allclose(
        [low, high], np.quantile(medians, [0.025, 0.975]), atol=0.15 * spread
    )


def test_the_interval_knows_that_a_problems_replicates_belong_together():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 50)
    values = rng.normal(size=8)[groups] + 0.01 * rng.normal(size=400)
    _, (low, high) = bootstrap_median(values, groups)
    _, (naive_low, naive_high) = bootstrap_median(values, np.zeros(400, int))
    assert high - low > 2 * (naive_high - naive_low)


def test_groups_of_unequal_size_and_the_same_seed_give_the_same_interval():
    values, groups = np.arange(5.0), [0, 0, 0, 1, 1]
    first, second = (bootstrap_median(values, groups, rng=3) for _ in range(2))
    assert first == second
    assert 0.0 <= first[1][0] <= first[0] <= first[1][1] <= 4.0


def test_unknown_topics_and_options_are_refused():
    with pytest.raises(VerdictError, match="did you mean 'figure2'"):
        verdicts.measure("figure3")
    with pytest.raises(FigureError, match=r"Topic figure2 has no option 'sclaes'.*'scales'"):
        verdicts.measure("figure2", sclaes=[1.0])
    with pytest.raises(FigureError, match="scales must be a list"):
        verdicts.measure("figure2", scales=1.0)
    with pytest.raises(FigureError, match="scales must be a finite number"):
        verdicts.measure("figure2", scales=["ten"])


def test_every_topic_has_what_the_registry_promises():
    for topic in verdicts.topics():
        module = verdicts.module(topic)
        assert (module.__doc__ or "").strip()
        assert module.Options.names() is not None
        assert callable(module.measure)
