"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil
import sys
from types import ModuleType

import pytest

import qpsim

MODULES = sorted(
    name
    for _, name, _ in pkgutil.walk_packages(qpsim.__path__, "qpsim.")
    if not name.endswith("__main__")
)

# Their examples compute a small figure, seconds each; tests of figures and verdicts do the same with checks.
SLOW = {
    "qpsim.figures",
    *(f"qpsim.verdicts.{name}" for name in ("batch", "least_squares", "noise", "tails")),
    *(
        f"qpsim.figures.figure_{name}"
        for name in ("batch", "conditions", "least_squares", "noise", "schedules", "tails")
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] * (name in SLOW)) for name in MODULES],
)
def test_examples(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "examples", ModuleType("examples"))
    # A rule defined in an example is a user's, not one of the module that explains it.
    outcome = doctest.testmod(importlib.import_module(name), extraglobs={"__name__": "examples"})
    assert outcome.failed == 0


def test_slow_examples_are_those_of_modules():
    assert set(MODULES) >= SLOW
