"""The record of a verdict: when a statement holds, and its JSON."""

import json

import numpy as np
import pytest

from qpsim import verdicts
from qpsim.errors import FigureError, FileError, VerdictError
from qpsim.verdicts import Measurement, Report, Verdict


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


def test_unknown_topics_and_options_are_refused():
    with pytest.raises(VerdictError, match="did you mean 'figure2'"):
        verdicts.measure("figure3")
    with pytest.raises(FigureError, match=r"Topic figure2 has no option 'sclaes'.*'scales'"):
        verdicts.measure("figure2", sclaes=[1.0])
    with pytest.raises(FigureError, match="scales must be a finite number"):
        verdicts.measure("figure2", scales=["ten"])


def test_every_topic_has_what_the_registry_promises():
    for topic in verdicts.topics():
        module = verdicts.module(topic)
        assert (module.__doc__ or "").strip()
        assert module.Options.names() is not None
        assert callable(module.measure)
