"""The fingerprint of the source files: equal for equal files, different after an edit."""

import subprocess
import sys

import pytest

import qpsim
from qpsim.execution import sources
from qpsim.execution.sources import Sources, identity, source_fingerprint


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name in ("kernels/a.py", "kernels/deep/b.py", "nn/c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"x = {name!r}\n")
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    return tmp_path


def test_an_edit_is_noticed_in_the_rooms_that_were_named(package):
    kernels, everything = Sources(["kernels"]), Sources([""])
    (package / "nn/c.py").write_text("x = 2\n")
    assert kernels.unchanged() and not everything.unchanged()
    assert Sources(["kernels"]).digest == kernels.digest
    (package / "kernels/deep/b.py").write_text("x = 3\n")
    assert not kernels.unchanged()
    assert Sources(["kernels"]).digest != kernels.digest


def test_a_new_file_is_an_edit_and_another_date_is_none(package):
    before = Sources(["kernels"])
    text = (package / "kernels/a.py").read_text()
    (package / "kernels/a.py").write_text(text)
    assert before.unchanged()
    (package / "kernels/d.py").write_text("")
    assert not before.unchanged()
    (package / "kernels/d.py").unlink()
    assert not before.unchanged()


def test_files_outside_are_not_covered(package):
    kernels = Sources(["kernels"])
    assert kernels.covers(str(package / "kernels/deep/b.py"))
    assert not kernels.covers(str(package / "nn/c.py")) and not kernels.covers(None)
    assert not kernels.covers(str(package / "kernels/notes.txt"))


def test_other_processes_find_the_same_identity():
    code = "from qpsim.execution.sources import identity; print(identity())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == identity() == f"{qpsim.__version__} {source_fingerprint()}"
    assert source_fingerprint("kernels") != source_fingerprint("kernels", "rules")
