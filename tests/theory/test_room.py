"""The room's doors: what importing and using it brings along, and that it stands alone."""

import subprocess
import sys

import pytest

from qpsim import theory

SCRIPT = """
import sys, qpsim
theory = qpsim.theory
assert not {"scipy", "numba"} & set(sys.modules)
theory.momentum_correction(0.9, 3)
assert not {"scipy", "numba"} & set(sys.modules)
p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]])
theory.compare_directions(p, [1.0, 0.0])
theory.expected_excess_loss(p, "m-sgd", [1.0, 0.0], 0.1, 3)
assert "scipy" in sys.modules
assert not {"numba", "qpsim.kernels", "qpsim.simulation.run"} & set(sys.modules)
"""


def test_theory_needs_no_simulation_and_scipy_only_when_used():
    subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], check=True)


def test_every_public_name_is_there_and_documented():
    for name in theory.__all__:
        value = getattr(theory, name)
        assert name == "ERRATA" or value.__doc__
    assert set(theory.__all__) <= set(dir(theory))
    with pytest.raises(AttributeError, match="no attribute 'improvment'"):
        theory.improvment  # noqa: B018
