"""The public names stay what they are, whatever is imported first."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "first", ["import qpsim.simulate", "from qpsim.simulate import make_plan", "import qpsim.sweep"]
)
def test_simulate_is_the_function_though_a_module_has_its_name(first):
    code = f"{first}\nimport qpsim\nassert callable(qpsim.simulate), qpsim.simulate"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
