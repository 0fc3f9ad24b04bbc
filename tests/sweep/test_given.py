"""Noises, covariances, least squares and tables of data as axes of a sweep."""

import csv
import shutil

import numpy as np
import pytest

import qpsim
from qpsim import noise
from qpsim.errors import QpsimError, SpecError
from qpsim.sweep import Cell, Store, Sweep, given, run
from qpsim.sweep.cell import cell_of, read_cell
from qpsim.sweep.parameters import checked, label
from qpsim.sweep.table import write
from tests.sweep.examples import FIXED

# Steps are given: the moments of an exact one would be compiled for every kind of noise.
FIXED = {**FIXED, "step_size": 0.01}
PLAIN = {name: FIXED[name] for name in ("n_steps", "n_replicates", "step_size")}
MATRIX = np.array(
    [[2.0, 0.5, 0.0, 0.1], [0.5, 1.0, 0.2, 0.0], [0.0, 0.2, 3.0, 0.0], [0.1, 0.0, 0.0, 1.0]]
)
TABLE = np.random.default_rng(0).standard_normal((20, 4))


def cell(**settings):
    return Cell({name: checked(name, value) for name, value in settings.items()})


def simulated(problem, seed=0, **settings):
    sizes = {"step_size": 0.01, "n_steps": 3, "n_replicates": 8, "workers": 1} | settings
    run = qpsim.simulate(problem, "sgd", rng=np.random.SeedSequence(seed).spawn(2)[1], **sizes)
    return run.excess_loss[:, -1]


def drawn():
    return qpsim.random_problem("mild", 4, 0.0, rng=np.random.SeedSequence(0).spawn(2)[0])


@pytest.mark.parametrize(
    ("settings", "made"),
    [
        ({"noise": "white", "noise_std": 2.0}, noise.white(2.0)),
        ({"noise": "hessian", "df": 3}, noise.hessian(0.1, df=3.0)),
        ({"df": "inf"}, noise.data(0.1)),
        ({"covariance": MATRIX, "df": 4}, noise.dense(MATRIX, df=4.0)),
    ],
)
def test_a_cell_simulates_the_noise_that_it_names(settings, made):
    record = read_cell(cell(**FIXED, **settings).run(), "a cell")
    assert record.final_loss == pytest.approx(simulated(drawn().with_noise(made)), rel=1e-12)


def test_least_squares_has_the_hessian_as_covariance_and_the_noise_on_the_labels():
    it = cell(**FIXED, problem="least-squares", noise_std=0.3)
    problem = qpsim.LeastSquares(drawn().hessian, drawn().optimum, 0.3)
    assert read_cell(it.run(), "a cell").final_loss == pytest.approx(simulated(problem), rel=1e-12)


@pytest.mark.parametrize("order", ["replacement", "fixed"])
def test_a_table_of_data_has_its_labels_in_the_last_column(order):
    it = cell(**PLAIN, data=TABLE, order=order, batch_size=5)
    problem = qpsim.DataProblem(TABLE[:, :-1], TABLE[:, -1], order)
    expected = simulated(problem, batch_size=5)
    assert read_cell(it.run(), "a cell").final_loss == pytest.approx(expected, rel=1e-12)
    assert {"spectrum", "dim", "noise_std"} & set(it.parameters) == set()


@pytest.mark.parametrize(
    "settings", [{"covariance": MATRIX, **FIXED}, {"data": TABLE}, {"problem": "least-squares"}]
)
def test_a_cell_is_made_again_from_what_its_file_holds(settings):
    it = cell(**PLAIN | settings)
    record = read_cell(it.run(), "a cell", it.id)
    assert cell_of(record.parameters).id == it.id
    assert cell_of(record.parameters).run() == it.run()


@pytest.fixture
def sweep(tmp_path):
    """Two covariances, in files beside the sweep's own."""
    np.save(tmp_path / "c.npy", MATRIX)
    np.savetxt(tmp_path / "d.csv", 2.0 * MATRIX, delimiter=",")
    (tmp_path / "s.toml").write_text(
        "[fixed]\nspectrum = 'mild'\nbasis = 'axis'\ndim = 4\nn_steps = 3\nn_replicates = 8\nstep_size = 0.01\n"
        "[grid]\ncovariance = ['c.npy', 'd.csv']\ndf = [3.0, inf]\n"
    )
    return Sweep.from_toml(tmp_path / "s.toml")


def test_files_are_relative_to_the_sweeps_own_and_not_needed_afterwards(sweep, tmp_path):
    assert sweep.dims == {"covariance": 2, "df": 2}
    store = run(sweep, tmp_path / "s.sweep", progress=False).store
    moved = tmp_path / "elsewhere"
    shutil.move(store.path, moved)
    for name in ("c.npy", "d.csv", "s.toml"):
        (tmp_path / name).unlink()
    again = Store(moved)
    assert again.sweep.ids == sweep.ids and again.sweep.spec == sweep.spec
    report = run(again.sweep, moved, progress=False)
    assert (report.found, report.computed) == (4, 0)
    rows = list(again.to_rows())
    assert [(row["covariance"], row["df"]) for row in rows] == [
        ("c.npy", 3.0),
        ("c.npy", np.inf),
        ("d.csv", 3.0),
        ("d.csv", np.inf),
    ]
    assert rows[0]["noise_std"] is None and rows[0]["spectrum"] == "mild"


def test_a_table_tells_the_noises_apart(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    cells = [{"noise": "white", "df": 3.0}, {"problem": "least-squares"}, {}]
    store = run(Sweep(FIXED, cells=cells), tmp_path / "store", progress=False).store
    rows = list(store.to_rows())
    assert [(r["problem"], r["noise"], r["df"]) for r in rows] == [
        (None, "white", 3.0),
        ("least-squares", None, None),
        (None, None, None),
    ]
    write(store.to_rows(), tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == rows
    write(store.to_rows(), tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as stream:
        assert [row["noise"] for row in csv.DictReader(stream)] == ["white", "", ""]


def test_without_other_noises_a_table_has_no_columns_for_them(tmp_path):
    store = run(Sweep(FIXED, {"noise_std": [0.1]}), tmp_path / "store", progress=False).store
    assert {"noise", "df", "covariance", "problem"} & set(next(store.to_rows())) == set()


def test_an_array_is_the_same_value_in_every_form(tmp_path):
    np.save(tmp_path / "c.npy", MATRIX)
    from_file = given.packed("covariance", tmp_path / "c.npy")
    assert from_file == given.packed("covariance", str(tmp_path / "c.npy"))
    from_list = given.packed("covariance", MATRIX.tolist())
    assert from_list == given.packed("covariance", MATRIX)
    assert from_list == given.packed("covariance", dict(from_list))
    np.testing.assert_array_equal(given.unpacked(from_file), MATRIX)
    assert label("covariance", from_file) == "c.npy"
    assert label("covariance", from_list).startswith("array (4, 4) ")
    other = cell(**FIXED, covariance=2.0 * MATRIX)
    assert other.id != cell(**FIXED, covariance=MATRIX).id


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"covariance": MATRIX, "noise_std": 1.0}, "noise_std means nothing beside covariance"),
        ({"covariance": MATRIX, "noise": "white"}, "noise means nothing beside covariance"),
        ({"data": TABLE, "dim": 4}, "dim means nothing beside data"),
        ({"data": TABLE, "covariance": MATRIX}, "data means nothing beside covariance"),
        ({"problem": "least-squares", "df": 3.0}, "df means nothing for least squares"),
        ({"order": "fixed"}, "order is that of a table of data"),
        ({"noise": "wite"}, "did you mean 'white'"),
        ({"problem": "cubic"}, "Unknown problem 'cubic'; known are: quadratic, least-squares"),
        ({"df": 0}, "df must"),
        ({"covariance": "gone.npy"}, "gone.npy"),
        ({"covariance": [["a"]]}, "array of .*numbers"),
        (
            {"covariance": {"name": "c", "shape": [2], "float64": "?"}},
            "covariance is a file's name",
        ),
        ({"covariance": {"name": "c"}}, "covariance is a file's name"),
        ({"data": np.zeros((500, 501))}, "data has 250500 numbers"),
        ({"data": TABLE[:, :1]}, "at least two columns"),
        ({"data": TABLE, "order": "fixed", "batch_size": 21}, "21"),
        ({"covariance": MATRIX}, "4 coordinates, but the problem has 100"),
        ({"covariance": -MATRIX, "dim": 4}, "positive semi-definite"),
    ],
)
def test_a_mistake_is_found_before_any_cell_runs(settings, message):
    with pytest.raises(QpsimError, match=message) as caught:
        Sweep(cells=[settings])
    assert "\n" not in str(caught.value)


def test_the_same_cell_twice_is_named_with_its_noise():
    with pytest.raises(SpecError, match=r"Cells 1 and 2 are the same: .*noise = white"):
        Sweep(FIXED, {"noise": ["white", "white"]})
