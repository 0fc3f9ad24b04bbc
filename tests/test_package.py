"""The package's public names, and the cost of importing it."""

import subprocess
import sys

import pytest

import qpsim


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()


def test_importing_the_package_imports_nothing_heavy():
    heavy = run("import qpsim, sys; print(*{m.partition('.')[0] for m in sys.modules})")
    assert not {"numba", "scipy", "matplotlib", "typer", "rich", "numpy"} & set(heavy)


def test_making_and_checking_a_plan_compiles_nothing():
    code = (
        "import qpsim, sys; from qpsim.simulation.plan import make_plan;"
        "p = qpsim.random_problem('mild', 5, 'axis', rng=0); make_plan(p, 'adam', 0.1);"
        "print(*{m.partition('.')[0] for m in sys.modules})"
    )
    assert not {"numba", "scipy", "matplotlib", "typer"} & set(run(code))


def test_every_public_name_is_listed_and_unknown_ones_are_attribute_errors():
    for name in ("simulate", "load", "method", "rule", "random_problem", "QuadraticProblem"):
        assert name in dir(qpsim) and getattr(qpsim, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = qpsim.simulat


def test_no_module_hides_a_public_function():
    code = (
        "import pkgutil, importlib, qpsim; from qpsim import nn\n"
        "for m in pkgutil.walk_packages(qpsim.__path__, 'qpsim.'):\n"
        "    m.name.endswith('__main__') or importlib.import_module(m.name)\n"
        "print(*(callable(f) for f in (qpsim.simulate, qpsim.load, qpsim.rerun, nn.train, nn.task)))"
    )
    assert run(code) == ["True"] * 5
