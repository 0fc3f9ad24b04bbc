"""The maps of where the sign wins: measured by cells, predicted by theory alone."""

import numpy as np
import pytest

import qpsim
from qpsim import figures, theory
from qpsim.errors import FigureError
from qpsim.figures import figure_phase
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
                assert data["noise_problems"][0, seed, row, column] == ratio
    np.testing.assert_allclose(data["noise"], data["noise_problems"].mean(axis=1))


def test_the_numbers_do_not_depend_on_the_workers(data):
    again = figure_phase.compute(figure_phase.Options(**SMALL), workers=3)
    for name, array in data.arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_one_step_of_the_path_is_the_exact_expected_loss():
    problem = qpsim.random_problem("structured", 8, 0.4, 8.0, rng=1)
    methods = qpsim.method("sgd"), qpsim.method("ssd")
    theta = np.zeros(8)
    left = [
        problem.excess_loss(theta) - theory.expected_improvement(problem, m, theta) for m in methods
    ]
    start, path = figure_phase.predicted(problem, methods, 1)
    assert path == pytest.approx(np.log10(left[0] / left[1]), rel=1e-12)
    gain = [theory.expected_improvement(problem, m, theta) for m in methods]
    assert start == pytest.approx(np.log10(gain[1] / gain[0]), rel=1e-12)
    for method, loss in zip(methods, left, strict=True):
        run = qpsim.simulate(problem, method, n_steps=1, n_replicates=20_000, rng=2)
        losses = run.excess_loss[:, 1]
        assert abs(losses.mean() - loss) < 4 * losses.std() / np.sqrt(losses.size)


def test_without_noise_on_the_axes_the_path_of_gradients_is_exact():
    problem = qpsim.random_problem("mild", 5, "axis", 0.0, rng=3)
    sgd = qpsim.method("sgd")
    run = qpsim.simulate(problem, sgd, n_steps=6, n_replicates=1, rng=0, workers=1)
    found = figure_phase._log_loss(problem, sgd, np.zeros(5), 6)
    assert found == pytest.approx(np.log10(run.excess_loss[0, -1]), rel=1e-9)


def test_a_method_without_a_one_step_theory_has_no_prediction():
    options = figure_phase.Options(**{**SMALL, "methods": ("sgd", "m-ssd"), "n_draws": 1})
    data = figure_phase.compute(options, workers=1)
    assert np.isfinite(data["noise"][0]).all() and np.isnan(data["noise"][1:]).all()
    assert np.isnan(data["agreement"][:, 1:]).all()
    _, artists = figures.draw(data)
    maps = {place for place in artists if isinstance(place, tuple)}
    assert maps == {("noise", "measured"), ("condition", "measured")}


def test_the_picture_shows_the_numbers(data):
    _, artists = figures.draw(data)
    for name in ("noise", "condition"):
        for k, kind in enumerate(("measured", "start", "path")):
            shown = artists[name, kind]["mesh"].get_array()
            np.testing.assert_array_equal(
                np.asarray(shown).reshape(data[name][k].shape), data[name][k]
            )
    marked = np.transpose(artists["noise", "measured"]["corners"].get_data())
    np.testing.assert_allclose(marked, [[0, 0], [0, 2], [1, 0], [1, 2]])


def test_all_maps_share_one_scale_and_the_sign_is_hatched(data):
    _, artists = figures.draw(data)
    kinds = ("measured", "start", "path")
    meshes = [artists[name, kind]["mesh"] for name in ("noise", "condition") for kind in kinds]
    assert len({tuple(mesh.norm.boundaries) for mesh in meshes}) == 1
    for name in ("noise", "condition"):
        for k, kind in enumerate(kinds):
            hatched = artists[name, kind]["hatched"]
            assert len(hatched.get_paths()) == (data[name][k] < 0).sum()
            assert hatched.get_hatch()


def test_the_border_runs_between_cells_of_different_sign():
    values = np.array([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
    edges = {frozenset(edge) for edge in figure_phase.sign_changes(values)}
    assert edges == {
        frozenset({(1.5, -0.5), (1.5, 0.5)}),
        frozenset({(0.5, 0.5), (0.5, 1.5)}),
        frozenset({(0.5, 0.5), (1.5, 0.5)}),
    }


def test_two_methods_are_compared():
    with pytest.raises(FigureError, match="two methods, not 3"):
        figure_phase.compute(figure_phase.Options(methods=("sgd", "ssd", "svag")))


def test_a_mistyped_value_is_refused_before_anything_runs():
    with pytest.raises(qpsim.QpsimError, match="did you mean 'ssd'"):
        figure_phase.compute(figure_phase.Options(methods=("sgd", "sssd")))
    with pytest.raises(qpsim.QpsimError, match="in \\[0, 1\\]"):
        figure_phase.compute(figure_phase.Options(tau=(0.0, 2.0)))
