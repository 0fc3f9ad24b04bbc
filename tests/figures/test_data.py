"""The numbers of a figure as CSV and as an xarray.Dataset."""

import csv
import json
import sys

import numpy as np
import pytest

from qpsim import figures
from qpsim.errors import FigureError
from tests.figures import small


def test_csv_holds_every_number_with_its_place(tmp_path):
    data = small.data("2")
    path = data.to_csv(tmp_path / "figure2.csv")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == sum(array.size for array in data.arrays.values())
    one = [
        row
        for row in rows
        if (row["array"], row["row"], row["noise"], row["method"], row["level"], row["step"])
        == ("quantiles", "structured/axis", "4.0", "ssd", "0.5", "3")
    ]
    assert [float(row["value"]) for row in one] == [data["quantiles"][3, 2, 1, 2, 3]]
    assert {row["coordinate"] for row in rows if row["array"] == "quantiles"} == {""}


@pytest.mark.parametrize("name", figures.names())
def test_xarray_holds_every_number_with_its_coordinates(name):
    xarray = pytest.importorskip("xarray")
    data = small.data(name)
    found = data.to_xarray()
    assert isinstance(found, xarray.Dataset)
    assert len(found.data_vars) == len(data.arrays)
    for array, values in data.arrays.items():
        stored = found[array if array in found.data_vars else f"{array}_values"]
        np.testing.assert_array_equal(stored.values, values)
    assert json.loads(found.attrs["options"]) == data.options.to_dict()
    if name == "2":
        picked = found["quantiles"].loc[
            {"row": "mild/axis", "noise": 0.1, "method": "sgd", "level": 0.5}
        ]
        np.testing.assert_array_equal(picked.values, data["quantiles"][1, 1, 0, 2])


def test_without_xarray_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(FigureError, match="needs xarray"):
        small.data("4").to_xarray()


def test_csv_is_one_of_the_formats(tmp_path):
    made = figures.make("4", tmp_path, formats=("csv", "svg"), points=5)
    assert [path.name for path in made.paths] == [
        "figure4.npz",
        "figure4.json",
        "figure4.csv",
        "figure4.svg",
    ]
    assert repr(made) == "<figure 4: figure4.npz, figure4.json, figure4.csv, figure4.svg>"
    again = figures.make("4", tmp_path, formats="csv", redraw=True)
    assert again.paths[0].read_bytes() == made.paths[2].read_bytes()
