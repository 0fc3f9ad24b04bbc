"""The reference is one self-contained file with all public names."""

import re
import sys

import pytest
from typer.testing import CliRunner

import qpsim
from qpsim.cli import app
from qpsim.cli.reference import _signature, modules

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pytest.importorskip("pdoc")
    folder = tmp_path_factory.mktemp("docs")
    (folder / "figure2.png").write_bytes(PIXEL)
    place = folder / "reference.html"
    done = CliRunner().invoke(app, ["docs", "--out", str(place), "--figures", str(folder)])
    assert done.exit_code == 0, done.output
    return place.read_text(encoding="utf-8")


def test_it_needs_no_network_and_no_other_file(page):
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in sources)
    assert "@import" not in page and "url(" not in page


def test_every_anchor_is_there_once(page):
    anchors = re.findall(r'id="([^"]*)"', page)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(anchors)


def test_everything_public_is_told_of(page):
    import importlib

    for shown, name in modules().items():
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", ()):
            value = getattr(module, public)
            error = isinstance(value, type) and issubclass(value, (Exception, Warning))
            if callable(value) and not error:
                assert f'id="{shown}.{public}"' in page, public
    for name in qpsim.method_names():
        assert f'id="method.{name}"' in page
    for anchor in ("command.theory.risk", "qpsim.sweep.run", "figure.2", "errata", "changes"):
        assert f'id="{anchor}"' in page
    assert 'id="figure.3"' not in page


def test_docstrings_become_lists_and_highlighted_examples(page):
    part = page.split('id="qpsim.random_problem"')[1].split("<h2")[0]
    assert "<strong>noise_std</strong> (float, default 0.1)" in part
    assert '<span class="gp">&gt;&gt;&gt; </span>' in part
    assert "----" not in part


def test_a_signature_is_as_written():
    def f(a, b: "int | None" = None, *rest: int, c: float = 0.5, **more) -> "str":
        """Nothing."""

    assert _signature("f", f) == (
        "f(a, b: int | None = None, *rest: int, c: float = 0.5, **more) -> str"
    )
    assert _signature("g", lambda x, *, y=print: x) == "g(x, *, y=print)"


def test_without_pdoc_it_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pdoc", None)
    monkeypatch.setitem(sys.modules, "pdoc.render_helpers", None)
    done = CliRunner().invoke(app, ["docs"])
    assert done.exit_code == 2
    assert 'pip install "qpsim[docs]"' in done.stderr and done.stderr.count("\n") == 1


def test_a_place_that_cannot_be_written_is_found_first(tmp_path):
    done = CliRunner().invoke(app, ["docs", "--out", str(tmp_path)])
    assert done.exit_code == 2 and "it is a folder" in done.stderr
