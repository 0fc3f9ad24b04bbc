"""The table of public optimizers: what is not installed is said, and no number is written by hand."""

import pytest

from qpsim import figures
from qpsim.errors import FigureError
from tests.figures import small


def test_a_package_that_cannot_be_imported_is_said_so(monkeypatch):
    from qpsim.figures import figure_conformance

    monkeypatch.setattr(figure_conformance, "why_missing", lambda name: f"no {name} here")
    data = figures.compute("conformance", packages=["timm", "optax"])
    assert data.labels["missing"] == ["timm", "optax"] and data["conforms"].shape == (0,)
    _, rows = figures.table(data)
    assert [row[:2] for row in rows] == [["timm", "no timm here"], ["optax", "no optax here"]]
    figures.draw(data)


def test_the_table_says_what_the_drawing_says():
    data = small.data("conformance")
    columns, rows = figures.table(data)
    assert columns[-1] == "how it differs" and [row[3] for row in rows] == ["yes", "no", "no", ""]
    assert (
        rows[1][4]
        == "with eps inside the root, except on stream 'float16', where it differs from step 1 on, by 0.01"
    )
    _, artists = figures.draw(data, width=3.4)
    assert {"torch SGD", "optax yogi"} <= set(artists)


def test_an_unknown_package_is_refused():
    with pytest.raises(FigureError, match="did you mean 'optax'"):
        figures.compute("conformance", packages=["optx"])


def test_rows_of_packages_that_are_not_installed_are_kept(monkeypatch, tmp_path):
    """Of two runs each has its own versions; a run that was shorter is not mixed with a longer one."""
    from qpsim.figures import figure_conformance as figure

    monkeypatch.setattr(figure, "why_missing", lambda name: "not installed")
    small.data("conformance").save(tmp_path, "old")
    old = str(tmp_path / "old.npz")
    data = figures.compute("conformance", packages=["torch", "timm"], keep=old)
    assert data.labels["package"] == ["torch", "torch", "optax"]
    assert data.labels["version"] == ["2.0", "2.0", "0.2"] and data.labels["missing"] == ["timm"]
    assert data["streams"].tolist() == small.data("conformance")["streams"].tolist()
    assert data.provenance["packages"] == {"torch": "2.0", "optax": "0.2"}
    figures.draw(data)
    with pytest.raises(FigureError, match="computed with n_long 100000 and laws True, not with 7"):
        figures.compute("conformance", packages=["timm"], keep=old, n_long=7)
