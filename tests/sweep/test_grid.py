"""The specification of a sweep: canonical form, order, and errors."""

import numpy as np
import pytest

import qpsim
from qpsim.errors import FileError, QpsimError, SpecError
from qpsim.sweep import Cell, Sweep
from qpsim.sweep.grid import _MOST_CELLS
from qpsim.sweep.parameters import DEFAULTS, checked, label
from tests.sweep.examples import FIXED, small


def test_the_grid_is_every_combination_and_the_list_comes_after():
    sweep = Sweep(FIXED, {"noise_std": [0.1, 1], "method": ["sgd", "ssd"]}, [{"noise_std": 3}])
    seen = [(c.parameters["noise_std"], c.parameters["method"]["name"]) for c in sweep]
    assert seen == [(0.1, "sgd"), (0.1, "ssd"), (1.0, "sgd"), (1.0, "ssd"), (3.0, "sgd")]
    assert len(sweep) == 5
    assert sweep.ids == {cell.id for cell in sweep}


def test_the_order_of_the_file_does_not_matter():
    one = Sweep(FIXED, {"noise_std": [0.1, 1], "method": ["sgd", "ssd"]})
    two = Sweep(FIXED, {"method": ["sgd", "ssd"], "noise_std": [0.1, 1]})
    assert [c.id for c in one] == [c.id for c in two]
    assert one.spec == two.spec


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"noise_std": 1}, {"noise_std": 1.0}),
        ({"basis": "haar"}, {"basis": 1}),
        ({"basis": "axis"}, {"basis": -0.0}),
        ({"method": "adam"}, {"method": {"name": "adam", "b1": 0.9}}),
        ({"method": "adam", "hyper.b2": 0.5}, {"method": {"name": "adam", "b2": 0.5}}),
        ({"spectrum": "power-law"}, {"spectrum": "power-law", "condition": 100}),
        ({"spectrum": [1, 2]}, {"spectrum": (1.0, 2.0), "dim": 2}),
        ({}, {name: value for name, value in DEFAULTS.items() if name != "condition"}),
    ],
)
def test_two_ways_to_say_the_same_cell_have_one_identity(left, right):
    cells = [Cell({name: checked(name, v) for name, v in given.items()}) for given in (left, right)]
    assert cells[0].id == cells[1].id


def test_every_parameter_is_part_of_the_identity():
    other = {
        "spectrum": "power-law",
        "condition": 7.0,
        "dim": 5,
        "scale": 1.0,
        "basis": 0.5,
        "rng": 1,
        "noise_std": 2.0,
        "batch_size": 2,
        "n_replicates": 5,
        "n_steps": 5,
        "method": "ssd",
        "step_size": "bound",
        "record": "full",
    }
    assert other.keys() == DEFAULTS.keys()
    base = {"spectrum": "log-uniform"}
    ids = {Cell({**base, name: value}).id for name, value in other.items()}
    assert len(ids | {Cell(base).id}) == len(other) + 1


def test_the_canonical_form_makes_the_same_sweep_again():
    sweep = Sweep(
        {"spectrum": [1.0, 2.0], "step_size": "line-search"},
        {"noise_std": {"log": [0.01, 10], "n": 4}, "hyper": {"b1": [0.8, 0.9]}, "method": ["adam"]},
        [{"method": {"name": "adam", "eps": 1e-3}, "rng": 3}],
    )
    again = Sweep.from_spec(sweep.spec)
    assert [c.id for c in again] == [c.id for c in sweep]
    assert again.spec == sweep.spec
    assert again.difference(sweep) == []


def test_ranges_are_rounded_so_that_every_machine_has_the_same_cells():
    sweep = Sweep(grid={"noise_std": {"log": [0.01, 10], "n": 4}})
    assert sweep.axes["noise_std"] == [0.01, 0.1, 1.0, 10.0]
    assert Sweep(grid={"basis": {"linear": [0, 1], "n": 4}}).axes["basis"][1] == 0.333333333333
    assert Sweep(grid={"dim": {"log": [10, 1000], "n": 3}}).axes["dim"] == [10, 100, 1000]
    assert Sweep(grid={"noise_std": np.array([1.0, 2.0])}).axes["noise_std"] == [1.0, 2.0]


def test_a_toml_file_is_read(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        """
        [fixed]
        spectrum = "log-uniform"
        step_size = "line-search"
        [grid]
        condition = { log = [10.0, 1000.0], n = 3 }
        method = ["sgd", { name = "adam", b1 = 0.8 }]
        hyper.b2 = [0.9]
        """.replace("hyper.b2 = [0.9]", "")
        + "\n[[cells]]\nrng = 7\n"
    )
    sweep = Sweep.from_toml(path)
    assert sweep.dims == {"condition": 3, "method": 2}
    assert [c.parameters["rng"] for c in sweep][-1] == 7


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"grid": {"nose_std": [1]}}, "did you mean 'noise_std'"),
        ({"grid": {"noise_std": []}}, "grid of noise_std is empty"),
        ({"grid": {"noise_std": ["a"]}}, "noise_std must be a finite number"),
        ({"grid": {"noise_std": [float("nan")]}}, "noise_std must be a finite number"),
        ({"grid": {"noise_std": 1.0}}, "must be a list of values"),
        ({"grid": {"noise_std": [-1.0]}}, "noise_std must be a finite number >= 0"),
        ({"grid": {"noise_std": [10**400]}}, "noise_std must be a finite number"),
        ({"grid": {"noise_std": [1, 1.0]}}, "Cells 1 and 2 are the same: noise_std = 1.0"),
        ({"grid": {"noise_std": [1.0]}, "cells": [{"noise_std": 1}]}, "Cells 1 and 2 are the same"),
        ({"grid": {"dim": [3.5]}}, "dim must be a whole number of at least 1"),
        ({"grid": {"dim": [True]}}, "dim must be a whole number"),
        ({"grid": {"dim": [0]}}, "dim must be a whole number of at least 1"),
        ({"grid": {"rng": [-1]}}, "rng must be a whole number of at least 0"),
        ({"grid": {"basis": [1.5]}}, r"basis must be a number in \[0, 1\]"),
        ({"grid": {"basis": ["harr"]}}, "did you mean 'haar'"),
        ({"grid": {"spectrum": ["mlid"]}}, "did you mean 'mild'"),
        ({"grid": {"spectrum": [[]]}}, "spectrum is a name or a list"),
        ({"grid": {"spectrum": [[1.0, 0.0]]}}, "An eigenvalue must be"),
        ({"grid": {"method": ["adma"]}}, "did you mean 'adam'"),
        ({"grid": {"method": [{"b1": 0.3}]}}, "A method is a name, or a table"),
        ({"grid": {"method": [{"name": "adam", "b3": 0.3}]}}, "did you mean"),
        ({"grid": {"method": ["m-svag-mb"]}}, "batch_size of at least 2"),
        ({"grid": {"method": ["sgd"], "hyper": {"b1": [0.5]}}}, "sgd has no hyper-parameters"),
        ({"grid": {"hyper": 3}}, "must be a table of hyper-parameters"),
        ({"grid": {"hyper.b1": [0.5], "method": [{"name": "adam", "b1": 0.1}]}}, "given twice"),
        ({"grid": {"step_size": ["optimum"]}}, "did you mean 'optimal'"),
        ({"grid": {"step_size": [-0.1]}}, "step_size must be a finite number"),
        ({"grid": {"condition": [10]}}, "condition goes with the spectra"),
        ({"fixed": {"spectrum": [1, 2]}, "grid": {"dim": [3]}}, "leave dim out"),
        ({"fixed": {"dim": 3}, "grid": {"dim": [3]}}, "both fixed and in the grid"),
        ({"fixed": {"dim": 3}}, "nothing to sweep"),
        ({}, "nothing to sweep"),
        ({"gird": {}}, "did you mean 'grid'"),
        ({"grid": 3}, "must be a table"),
        ({"cells": 3}, "cells must be a list"),
        ({"cells": [3]}, "must be a table"),
        ({"grid": {"rng": {"linear": [0, 10**7], "n": 10**7}}}, "n must be at most 1000000"),
        ({"grid": {"rng": {"linear": [0, 9], "n": True}}}, "n must be a whole number"),
        ({"grid": {"rng": {"linear": [False, 9], "n": 2}}}, "an end must be a finite number"),
        ({"grid": {"rng": {"linear": ["0", 9], "n": 2}}}, "an end must be a finite number"),
        ({"grid": {"rng": {"linear": [0, 9], "m": 3}}}, "must be a list, or like"),
        ({"grid": {"rng": {"linear": [0], "n": 3}}}, "takes its two ends"),
        ({"grid": {"noise_std": {"log": [0, 1], "n": 3}}}, "ends of a log range must be positive"),
        ([], "A sweep is a table"),
        ({"noise": {"df": 3}}, r"no section 'noise': .* give them in \[fixed\], \[grid\]"),
    ],
)
def test_bad_specifications_are_refused_with_one_sentence(spec, message):
    with pytest.raises(QpsimError, match=message) as caught:
        Sweep.from_spec(spec)
    assert "\n" not in str(caught.value)


def test_too_many_cells_are_refused_at_once():
    axis = list(range(1, 2000))
    with pytest.raises(SpecError, match=f"more than {_MOST_CELLS}"):
        Sweep(grid={"rng": axis, "n_steps": axis})


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[grid", b"a = " + b"[" * 5000, b"a = 1" + b"0" * 5000, b""]
)
def test_files_that_are_no_sweep_are_named(tmp_path, content):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"bad\.toml"):
        Sweep.from_toml(path)
    with pytest.raises(FileError, match=r"nowhere\.toml"):
        Sweep.from_toml(tmp_path / "nowhere.toml")


def test_the_difference_of_two_sweeps_names_what_differs_and_nothing_else():
    lines = small(n=2, n_steps=7).difference(small(n=3))
    assert [line.split(":")[0] for line in lines] == ["n_steps", "noise_std", "number of cells"]
    assert "n_steps: 3 there, 7 here" in lines


def test_labels_tell_methods_apart_by_what_is_unusual():
    assert label("method", {"name": "sgd"}) == "sgd"
    assert label("method", "sgd") == "sgd"
    assert label("spectrum", [1.0, 2.5]) == "[1, 2.5]"


def test_a_byte_order_mark_does_not_matter(tmp_path):
    path = tmp_path / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbf[grid]\ndim = [2, 3]\n")
    assert len(Sweep.from_toml(path)) == 2


def test_names_of_the_version_before_are_the_same_cells():
    new = Sweep({"n_steps": 3, "rng": 2}, {"n_replicates": [4, 5]}, [{"rng": 9}])
    with pytest.warns(qpsim.RenamedWarning) as told:
        old = Sweep({"steps": 3, "seed": 2}, {"replicates": [4, 5]}, [{"seed": 9}])
    assert len(told) == 4 and old.spec == new.spec and old.ids == new.ids
    with pytest.raises(SpecError, match="steps and n_steps are the same"):
        Sweep({"steps": 3, "n_steps": 3}, {"dim": [2]})
