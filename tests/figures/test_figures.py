"""Making figures: files, redrawing, refused arguments."""

import json

import numpy as np
import pytest

from qpsim import figures
from qpsim.errors import ExecutionError, FigureError, FileError
from qpsim.figures.data import load

SMALL = {"n_replicates": 4, "n_draws": 2, "n_steps": 4, "dim": 4, "rng": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("gallery")
    return figures.make("2", place, formats=("png", "pdf", "svg"), workers=1, **SMALL), place


def test_data_and_images_lie_side_by_side(made):
    result, place = made
    assert sorted(path.name for path in place.iterdir()) == [
        "figure2.json",
        "figure2.npz",
        "figure2.pdf",
        "figure2.png",
        "figure2.svg",
    ]
    assert sorted(result.paths) == sorted(place.iterdir())
    assert (place / "figure2.png").read_bytes().startswith(b"\x89PNG")
    assert (place / "figure2.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (place / "figure2.svg").read_bytes()


def test_the_json_says_where_the_numbers_come_from(made):
    _, place = made
    header = json.loads((place / "figure2.json").read_text())
    assert header["options"]["n_replicates"] == 4
    assert header["options"]["scale"] == 10.0
    assert header["provenance"]["libraries"]["numpy"] == np.__version__
    assert header["arrays"]["quantiles"]["axes"] == ["row", "noise", "method", "level", "step"]


def test_a_redrawn_figure_is_the_same_bytes(made, tmp_path):
    _, place = made
    for name in ("figure2.npz", "figure2.json"):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    again = figures.make("2", tmp_path, formats=("png", "pdf", "svg"), redraw=True)
    assert [path.name for path in again.paths] == ["figure2.png", "figure2.pdf", "figure2.svg"]
    for path in again.paths:
        assert path.read_bytes() == (place / path.name).read_bytes(), path.name


def test_equal_options_give_equal_data_files_for_any_workers(made, tmp_path):
    _, place = made
    figures.make("2", tmp_path, formats="png", workers=3, **SMALL)
    assert (tmp_path / "figure2.npz").read_bytes() == (place / "figure2.npz").read_bytes()


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert figures.make("2", workers=1, **SMALL).paths == []
    assert list(tmp_path.iterdir()) == []


def test_loaded_data_equal_computed_data(made):
    result, place = made
    again = load(place / "figure2.npz", "2", figures.module("2").Options)
    assert again.options == result.data.options
    assert again.labels == result.data.labels
    for name, array in result.data.arrays.items():
        np.testing.assert_array_equal(again[name], array)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("22", {}, "no figure '22'; did you mean '2'"),
        ("2", {"formats": "gif"}, "Unknown format 'gif'"),
        ("2", {"formats": ()}, "No format"),
        ("2", {"width": "wide"}, "inches, 'column' or 'full'"),
        ("2", {"width": float("nan")}, "between 2 and 30 inches"),
        (
            "2",
            {"n_replicate": 3},
            "Figure 2 has no option 'n_replicate'; did you mean 'n_replicates'",
        ),
        ("2", {"n_steps": 0}, "n_steps must be a whole number of at least 1, not 0"),
        ("2", {"n_steps": 2.5}, "n_steps must be a whole number"),
        ("2", {"n_steps": True}, "n_steps must be a whole number"),
        ("2", {"n_steps": 10**12}, "n_steps must be at most"),
        ("2", {"scale": float("inf")}, "scale must be a finite number"),
        ("2", {"scale": "ten"}, "scale must be a finite number"),
        ("2", {"rng": -1}, "rng must be"),
        ("2", {"redraw": True}, "give out="),
    ],
)
def test_a_mistake_is_named(name, arguments, message):
    with pytest.raises(FigureError, match=message):
        figures.make(name, **arguments)


def test_workers_are_checked_as_by_a_simulation():
    with pytest.raises(ExecutionError, match="workers must be"):
        figures.make("2", workers=0, dim=2)


def test_a_large_seed_keeps_all_its_digits():
    assert figures.module("2").Options(rng=2**100 + 1).rng == 2**100 + 1


def test_redrawing_refuses_options_and_missing_or_foreign_data(tmp_path):
    with pytest.raises(FigureError, match="rng cannot be changed"):
        figures.make("2", tmp_path, redraw=True, rng=1)
    with pytest.raises(FileError, match="Cannot read"):
        figures.make("2", tmp_path, redraw=True)
    np.savez(tmp_path / "figure2.npz", a=np.zeros(3))
    with pytest.raises(FileError, match="not a qpsim file"):
        figures.make("2", tmp_path, redraw=True)


def test_redrawing_refuses_truncated_data(made, tmp_path):
    _, place = made
    content = (place / "figure2.npz").read_bytes()
    (tmp_path / "figure2.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match="damaged"):
        figures.make("2", tmp_path, redraw=True)
    assert [path.name for path in tmp_path.iterdir()] == ["figure2.npz"]


def test_an_unwritable_place_is_found_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")

    def never(*arguments, **keywords):
        raise AssertionError("computed before the folder was checked")

    monkeypatch.setattr(figures.module("2"), "compute", never)
    with pytest.raises(FileError, match="taken"):
        figures.make("2", tmp_path / "taken")


def test_every_figure_has_what_the_registry_promises():
    for name in figures.names():
        module = figures.module(name)
        assert figures.title(name).endswith(".")
        assert callable(module.aspect)
        assert callable(module.compute)
        assert callable(module.draw)
        for option in module.Options.names():
            assert module.Options.__dataclass_fields__[option].metadata["help"]
