"""Tails: runs and theory are those of the noise that a panel names, and the picture shows them."""

import numpy as np
import pytest

import qpsim
from qpsim import figures, noise, theory
from qpsim.errors import FigureError
from qpsim.figures import figure2, figure_tails

SIZES = {"n_replicates": 6, "n_draws": 3, "n_steps": 8, "dim": 5, "rng": 1, "noise_std": (0.1, 4.0)}
OPTIONS = figure_tails.Options(**SIZES, df=(4.0, 2.5))


@pytest.fixture(scope="module")
def data():
    return figure_tails.compute(OPTIONS, workers=2)


def _second_draw(row):
    """Problem, starts and seed of the second of three draws, made without the figure."""
    seeds = np.random.SeedSequence(1).spawn(3)[1].spawn(3)
    starts = np.random.Generator(np.random.PCG64(seeds[1])).uniform(-10, 10, (2, 5))
    spectrum, basis = figure2.ROWS[row]
    problem = qpsim.random_problem(spectrum, 5, basis, scale=0.0, rng=seeds[0])
    return problem, starts, seeds[2]


def test_a_panel_is_what_simulate_and_theory_give(data):
    assert data.labels["df"] == [2.5, 4.0, "Gaussian"]
    mine = data["problem"] == 1
    for row in (0, 3):
        problem, starts, seed = _second_draw(row)
        for k, df in enumerate((2.5, 4.0, None)):
            noisy = problem.with_noise(noise.data(4.0, df=df))
            for m, method in enumerate(figure_tails.METHODS):
                run = qpsim.simulate(
                    noisy, method, n_steps=8, n_replicates=2, theta0=starts, rng=seed
                )
                np.testing.assert_array_equal(
                    data["final"][row, 1, k, m, mine], np.log10(run.excess_loss[:, -1])
                )
            gradient, sign = (
                theory.expected_improvement(noisy, m, starts[0]) for m in figure_tails.METHODS
            )
            assert data["one_step"][row, 1, k, 1] == pytest.approx(np.log10(sign / gradient))


def test_the_gaussian_is_figure_2(data):
    paper = figure2.compute(figure2.Options(**SIZES), workers=1)
    np.testing.assert_array_equal(data["final"][:, :, -1], paper["checkpoints"][..., -1])
    assert not np.array_equal(data["final"][:, :, 0], data["final"][:, :, -1])


def test_a_held_covariance_leaves_the_gradients_step_as_it_is():
    held = figure_tails.compute(
        figure_tails.Options(**{**SIZES, "n_steps": 1}, df=(3.0,), hold="covariance"), workers=1
    )
    for row in (0, 3):
        problem, starts, _ = _second_draw(row)
        gaussian = problem.with_noise(4.0)
        # Of three degrees of freedom the covariance is three times the scale matrix.
        tailed = problem.with_noise(noise.data(4.0 / 3.0**0.5, df=3.0))
        sign = theory.expected_improvement(tailed, "ssd", starts[0])
        gradient = theory.expected_improvement(gaussian, "sgd", starts[0])
        assert held["one_step"][row, 1, 0, 1] == pytest.approx(np.log10(sign / gradient))


def test_at_the_optimum_neither_improves():
    problem = _second_draw(0)[0].with_noise(noise.data(1.0, df=3.0))
    assert figure_tails._ratio(problem, problem.optimum) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"df": (3.0, 2.0)}, "df must be above 2, not 2: .* infinite"),
        ({"hold": "variance"}, "hold is 'scale' or 'covariance', not 'variance'"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(change, message, monkeypatch):
    monkeypatch.setattr(figure_tails, "Ensemble", None)
    with pytest.raises(FigureError, match=message):
        figure_tails.compute(figure_tails.Options(**change))


def test_the_picture_shows_the_medians_from_the_gaussian_to_the_thickest_tails(data):
    fig, artists = figures.draw(data)
    assert len(fig.axes) == 4
    shown = {"one_step": data["one_step"], "run": figure_tails.advantage(data)}
    for kind, values in shown.items():
        for k, nu in enumerate((0.1, 4.0)):
            for row, name in enumerate(data.labels["row"]):
                line = artists[kind, nu][name]
                np.testing.assert_allclose(
                    line.get_ydata(), 10.0 ** np.median(values[row, k], axis=-1)
                )
                np.testing.assert_allclose(line.get_xdata(), [0.4, 0.25, 0.0], atol=0.01)
    columns, rows = figures.table(data)
    assert len(rows) == 8 and all(len(row) == len(columns) for row in rows)
