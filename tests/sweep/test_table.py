"""Tables of a store: rows, CSV, Parquet, and an array over the grid."""

import csv
import io
import sys

import numpy as np
import pytest

from qpsim.errors import FileError, SweepError
from qpsim.sweep import Sweep, run
from qpsim.sweep.table import write, write_csv
from tests.sweep.examples import FIXED, small


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return run(small(), tmp_path_factory.mktemp("table") / "store", progress=False).store


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    cells = [
        {"method": {"name": "adam", "b1": 0.8}, "step_size": 0.1, "n_steps": 5},
        {"spectrum": [1.0, 2.0], "method": "ssd"},
    ]
    sweep = Sweep({**FIXED, "noise_std": 0.5}, {"method": ["sgd"]}, cells=cells[:1])
    other = Sweep({"n_steps": 3, "n_replicates": 8}, cells=cells[1:] + [{"dim": 3}])
    place = tmp_path_factory.mktemp("mixed")
    return [run(s, place / str(k), progress=False).store for k, s in enumerate((sweep, other))]


def test_one_row_a_cell_with_all_its_parameters(store):
    found = list(store.to_rows())
    assert [row["cell"] for row in found] == [cell.id for cell in store.sweep]
    assert {"spectrum", "noise_std", "method", "rng", "loss_q50", "diverged"} <= set(found[0])
    record = store.read(next(iter(store.sweep)))
    assert found[0]["loss_q50"] == record.quantiles[2, -1]
    assert found[0]["mean_log10_loss"] == record.mean_log10_loss[-1]


def test_one_row_a_cell_and_step(store):
    found = list(store.to_rows(steps=True))
    assert len(found) == 6 * 4 and [row["step"] for row in found[:5]] == [0, 1, 2, 3, 0]
    record = store.read(next(iter(store.sweep)))
    assert [row["loss_q95"] for row in found[:4]] == record.quantiles[-1].tolist()


def test_rows_from_the_index_and_from_the_files_are_the_same(store, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(store.path, copy)
    (copy / "index.jsonl").unlink()
    assert list(type(store)(copy).to_rows()) == list(store.to_rows())


def test_csv_can_be_read_back(store, tmp_path):
    assert write(store.to_rows(), tmp_path / "x.csv") == 6
    with open(tmp_path / "x.csv", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [float(row["loss_q05"]) for row in found] == [row["loss_q05"] for row in store.to_rows()]
    text = io.StringIO()
    assert write_csv(store.to_rows(), text) == 6
    assert text.getvalue() == (tmp_path / "x.csv").read_text()


def test_parquet_has_one_type_a_column(mixed, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    for k, store in enumerate(mixed):
        for steps in (False, True):
            path = tmp_path / f"{k}{steps}.parquet"
            count = write(store.to_rows(steps), path)
            table = pq.read_table(path)
            assert table.num_rows == count == len(list(store.to_rows(steps)))
            assert table.to_pylist() == list(store.to_rows(steps))
            assert str(table.schema.field("rng").type) == "int64"
            assert str(table.schema.field("step_size").type) == "string"


def test_hyper_parameters_are_columns(mixed):
    found = list(mixed[0].to_rows())
    assert [row["hyper.b1"] for row in found] == [None, 0.8]
    assert [row["step_size"] for row in found] == ["optimal", "0.1"]


def test_xarray_has_the_grid_as_dimensions(store):
    pytest.importorskip("xarray")
    array = store.to_xarray()
    assert dict(array.sizes) == {"noise_std": 3, "method": 2, "quantile": 5, "step": 4}
    cell = list(store.sweep)[3]
    noise, method = cell.parameters["noise_std"], cell.parameters["method"]["name"]
    picked = array.sel({"noise_std": noise, "method": method})
    np.testing.assert_array_equal(picked["loss_quantile"], store.read(cell).quantiles)
    np.testing.assert_array_equal(picked["mean_log10_loss"], store.read(cell).mean_log10_loss)


def test_xarray_marks_what_is_missing(store, tmp_path):
    import shutil

    pytest.importorskip("xarray")
    copy = tmp_path / "copy"
    shutil.copytree(store.path, copy)
    partial = type(store)(copy)
    partial.file(next(iter(partial.sweep))).unlink()
    array = partial.to_xarray()
    assert int(array["diverged"].isel(noise_std=0, method=0)) == -1
    assert np.isnan(array["mean_log10_loss"].isel(noise_std=0, method=0)).all()
    assert int((array["diverged"] == 0).sum()) == 5


def test_xarray_of_listed_cells_has_one_dimension(mixed):
    pytest.importorskip("xarray")
    array = mixed[0].to_xarray()
    assert dict(array.sizes) == {"cell": 2, "quantile": 5, "step": 6}
    assert array["method"].values.tolist() == ["sgd", "adam"]
    assert np.isnan(array["mean_log10_loss"][0, 4:]).all()


def test_a_table_goes_to_a_known_kind_of_file(store, tmp_path):
    with pytest.raises(SweepError, match=r"\.csv or \.parquet"):
        write(store.to_rows(), tmp_path / "x.xlsx")
    with pytest.raises(FileError, match="nowhere"):
        write(store.to_rows(), tmp_path / "nowhere" / "x.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("module", "extra"), [("pyarrow", "parquet"), ("xarray", "xarray")])
def test_a_missing_extra_is_answered_with_the_command_that_adds_it(
    store, tmp_path, monkeypatch, module, extra
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SweepError, match=rf'pip install "qpsim\[{extra}\]"'):
        if module == "pyarrow":
            write(store.to_rows(), tmp_path / "x.parquet")
        else:
            store.to_xarray()
    assert list(tmp_path.iterdir()) == []
