"""The maps of where the sign wins: measured by cells, predicted by theory alone."""

import numpy as np
import pytest

import qpsim
from qpsim import figures, theory
from qpsim.errors import FigureError
from qpsim.figures import figure_phase, phase_map
from qpsim.sweep import Cell
from qpsim.sweep.cell import read_cell

SMALL = {
    "dim": 6,
    "n_steps": 5,
    "n_replicates": 8,
    "n_draws": 2,
    "noise_std": (0.1, 1.0, 4.0),
    "condition": (10.0, 100.0),
    "tau": (0.0, 1.0),
}


@pytest.fixture(scope="module")
def data():
    return figure_phase.compute(figure_phase.Options(**SMALL), workers=1)


def test_the_measured_ratio_is_that_of_the_cells_it_names(data):
    def final(method, noise, tau, seed):
        settings = {"dim": 6, "n_steps": 5, "n_replicates": 8, "method": method, "rng": seed}
        it = Cell({**settings, "noise_std": noise, "basis": tau})
        return read_cell(it.run(), "cell").mean_log10_loss[-1]

    for seed in (0, 1):
        for row, noise in enumerate(SMALL["noise_std"]):
            for column, tau in enumerate(SMALL["tau"]):
                ratio = final("sgd", noise, tau, seed) - final("ssd", noise, tau, seed)
                found = data["noise_problems"][0, seed, row, column]
                assert found == pytest.approx(ratio, rel=1e-12)
    np.testing.assert_allclose(data["noise"], data["noise_problems"].mean(axis=1))


def test_the_numbers_do_not_depend_on_the_workers(data):
    again = figure_phase.compute(figure_phase.Options(**SMALL), workers=3)
    for name, array in data.arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_the_predictions_are_those_of_the_theory():
    problem = qpsim.random_problem("structured", 8, 0.4, 8.0, rng=1)
    methods = qpsim.method("sgd"), qpsim.method("ssd")
    start, run = figure_phase.predicted(problem, methods, "optimal", 3)
    gain = [theory.expected_improvement(problem, m, np.zeros(8)) for m in methods]
    assert start == pytest.approx(np.log10(gain[1] / gain[0]), rel=1e-12)
    ends = [theory.optimal_run(problem, m, 3).final_log10_loss for m in methods]
    assert run == pytest.approx(ends[0] - ends[1], rel=1e-12)
    assert np.isnan(figure_phase.predicted(problem, methods, "bound", 3)[1])


def test_a_cell_is_decided_by_its_own_replicates(data):
    finals = []
    for method in ("sgd", "ssd"):
        settings = {"dim": 6, "n_steps": 5, "n_replicates": 8, "method": method}
        cells = [Cell({**settings, "rng": k, "noise_std": 1.0, "basis": 1.0}) for k in (0, 1)]
        finals.append([read_cell(cell.run(), "cell").final_loss for cell in cells])
    gap = np.log10(np.array(finals[0]) / np.array(finals[1]))
    error = np.sqrt(np.sum(gap.var(axis=1, ddof=1) / 8)) / 2
    assert data["noise_error"][1, 1] == pytest.approx(error, rel=1e-9)
    decided = np.abs(data["noise"][0]) > 1.96 * data["noise_error"]
    for k in range(3):
        same = (np.sign(data["noise"][k]) == np.sign(data["noise"][0])) & decided
        assert data["agreement"][0, k].tolist() == [same.sum(), decided.sum()]


def test_a_method_without_a_one_step_theory_has_no_prediction():
    options = figure_phase.Options(**{**SMALL, "methods": ("sgd", "m-sgd"), "n_draws": 1})
    data = figure_phase.compute(options, workers=1)
    assert np.isfinite(data["noise"][0]).all() and np.isnan(data["noise"][1:]).all()
    assert np.isnan(data["agreement"][:, 1:, 0]).all()
    _, artists = figures.draw(data)
    maps = {place for place in artists if isinstance(place, tuple)}
    assert maps == {("noise", "measured"), ("condition", "measured")}


def test_the_picture_shows_the_numbers(data):
    _, artists = figures.draw(data)
    for name in ("noise", "condition"):
        for k, kind in enumerate(("measured", "start", "run")):
            shown = artists[name, kind]["mesh"].get_array()
            np.testing.assert_array_equal(
                np.asarray(shown).reshape(data[name][k].shape), data[name][k]
            )
    marked = np.transpose(artists["noise", "measured"]["corners"].get_data())
    np.testing.assert_allclose(marked, [[0, 0], [0, 2], [1, 0], [1, 2]])


def test_all_maps_share_one_scale_and_the_sign_is_hatched(data):
    _, artists = figures.draw(data)
    kinds = ("measured", "start", "run")
    meshes = [artists[name, kind]["mesh"] for name in ("noise", "condition") for kind in kinds]
    assert len({tuple(mesh.norm.boundaries) for mesh in meshes}) == 1
    for name in ("noise", "condition"):
        for k, kind in enumerate(kinds):
            hatched = artists[name, kind]["hatched"]
            assert len(hatched.get_paths()) == (data[name][k] < 0).sum()
            assert hatched.get_hatch()


def test_the_border_parts_cells_of_different_sign():
    import matplotlib.pyplot as plt

    values = np.array([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
    contour = plt.figure().subplots().contour(*phase_map.border(values), levels=[0.0])
    line = contour.get_paths()[0].vertices
    # Halfway between neighbours of equal size, and to the map's edges.
    assert {tuple(place) for place in line.tolist()} >= {(1.5, 0.0), (0.5, 1.0), (0.5, 1.5)}
    assert phase_map.border(np.abs(values)) is None
    plt.close("all")


def test_undecided_cells_are_marked_where_they_are(data):
    _, artists = figures.draw(data)
    x, y = artists["noise", "measured"]["undecided"].get_data()
    undecided = np.abs(data["noise"][0]) <= 1.96 * data["noise_error"]
    assert {*zip(y, x, strict=True)} == {tuple(cell) for cell in np.argwhere(undecided)}


def test_two_methods_are_compared():
    with pytest.raises(FigureError, match="two methods, not 3"):
        figure_phase.compute(figure_phase.Options(methods=("sgd", "ssd", "svag")))


def test_a_mistyped_value_is_refused_before_anything_runs():
    with pytest.raises(qpsim.QpsimError, match="did you mean 'ssd'"):
        figure_phase.compute(figure_phase.Options(methods=("sgd", "sssd")))
    with pytest.raises(qpsim.QpsimError, match="in \\[0, 1\\]"):
        figure_phase.compute(figure_phase.Options(tau=(0.0, 2.0)))
