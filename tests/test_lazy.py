"""Names that are imported when they are first used: an import that has begun is not interrupted."""

import importlib
import signal
import sys

import pytest

import qpsim
from qpsim import lazy
from qpsim.figures import style


class Press:
    """A finder that presses Ctrl-C when a module is looked for, and finds nothing."""

    def __init__(self, name):
        self.name = name
        self.pressed = 0

    def find_spec(self, name, path=None, target=None):
        if name == self.name:
            self.pressed += 1
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def pressed_at(monkeypatch):
    def press(module):
        finder = Press(module)
        monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
        monkeypatch.delitem(sys.modules, module)
        return finder

    return press


def test_ctrl_c_takes_effect_after_an_import(pressed_at, monkeypatch):
    importlib.import_module("qpsim.theory.descent")
    finder = pressed_at("qpsim.theory.descent")
    with pytest.raises(KeyboardInterrupt):
        lazy.import_completely("qpsim.theory.descent")
    assert finder.pressed == 1 and "qpsim.theory.descent" in sys.modules


@pytest.mark.parametrize(
    "name, module", [("gallery", "qpsim.problem.gallery"), ("load", "qpsim.simulation.result")]
)
def test_public_names_are_imported_so(name, module, monkeypatch):
    seen = []
    before = signal.getsignal(signal.SIGINT)

    def watched(target):
        seen.append((target, signal.getsignal(signal.SIGINT) is before))
        return sys.modules.get(target) or importlib.__import__(target, fromlist=["x"])

    monkeypatch.setattr(lazy, "import_module", watched)
    monkeypatch.delitem(vars(qpsim), name, raising=False)
    getattr(qpsim, name)
    assert seen == [(module, False)]


def test_parts_that_numpy_loads_late_come_with_our_modules():
    importlib.import_module("qpsim.checks")
    for part in ("linalg", "ma", "polynomial", "random"):
        assert f"numpy.{part}" in sys.modules


def test_matplotlib_is_imported_to_its_end(pressed_at):
    style.import_matplotlib()
    finder = pressed_at("matplotlib.style")
    with pytest.raises(KeyboardInterrupt):
        style.import_matplotlib()
    assert finder.pressed == 1 and "matplotlib.style" in sys.modules
