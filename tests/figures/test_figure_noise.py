"""Figure 2 under other covariances: equally long noises, the paper's among them, judged by its own cases."""

import numpy as np
import pytest

import qpsim
from qpsim import figures, noise
from qpsim.figures import figure2, figure_noise
from qpsim.figures.figure2_statements import STATEMENTS

SIZES = {"n_replicates": 6, "n_draws": 3, "n_steps": 8, "dim": 5, "rng": 1}


@pytest.fixture(scope="module")
def data():
    return figure_noise.compute(figure_noise.Options(**SIZES), workers=2)


def test_the_noise_of_data_is_figure_2_and_without_noise_all_are(data):
    paper = figure2.compute(figure2.Options(**SIZES), workers=1)["checkpoints"][..., -1]
    np.testing.assert_array_equal(data["final"][0], paper)
    for family in range(1, 4):
        np.testing.assert_array_equal(data["final"][family, :, 0], paper[:, 0])
        assert not np.isclose(data["final"][family, :, 1:], paper[:, 1:]).all(axis=(-1, -2)).any()


@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_all_noises_are_as_long_on_average(basis):
    problem = qpsim.random_problem("structured", 30, basis, scale=0.0, rng=2)
    options = figure_noise.Options()
    found = {
        name: figure_noise._with_family(name, 3.0, options)(problem, 1).noise
        for name in figure_noise.FAMILIES
    }
    assert [one.family for one in found.values()] == list(figure_noise.FAMILIES)
    for one in found.values():
        assert one.trace(problem) == pytest.approx(9.0 * np.sum(problem.eigenvalues**2))
    unequal = found["diagonal"].matrix(problem)
    assert 10.0 < unequal.max() / unequal.min() <= 100.0


def test_the_random_variances_are_those_of_a_draw_in_every_row():
    options = figure_noise.Options(dim=4)
    rows = [qpsim.random_problem("mild", 4, basis, rng=3) for basis in ("axis", "haar")]
    first, second = (figure_noise._variances(p, 0, options) for p in rows)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, figure_noise._variances(rows[0], 1, options))


def test_a_panel_is_what_simulate_gives(data):
    seeds = np.random.SeedSequence(1).spawn(3)[1].spawn(3)
    starts = np.random.Generator(np.random.PCG64(seeds[1])).uniform(-10, 10, (2, 5))
    problem = qpsim.random_problem("structured", 5, "haar", scale=0.0, rng=seeds[0])
    level = 4.0 * np.sqrt(np.sum(problem.eigenvalues**2) / 5)
    noisy = problem.with_noise(noise.white(level))
    run = qpsim.simulate(noisy, "ssd", n_steps=8, n_replicates=2, theta0=starts, rng=seeds[2])
    stored = data["final"][figure_noise.FAMILIES.index("white"), 2, 2, 1][data["problem"] == 1]
    np.testing.assert_allclose(stored, np.log10(run.excess_loss[:, -1]), rtol=1e-12)


def test_the_picture_shows_every_noisy_case_under_every_family(data):
    fig, artists = figures.draw(data)
    shown = [s for s in STATEMENTS if any(case.above.noise for case in s.cases)]
    assert len(fig.axes) == len(shown) == 4
    for statement in shown:
        noisy = [case for case in statement.cases if case.above.noise]
        for k, family in enumerate(figure_noise.FAMILIES):
            medians = [np.median(case.ratios(data["final"][k])) for case in noisy]
            points = artists[statement.name][family]
            np.testing.assert_allclose(points.get_xdata(), medians)
            assert (np.round(points.get_ydata()) == np.arange(len(noisy))).all()


def test_the_table_says_which_statements_survive(data):
    columns, rows = figures.table(data)
    assert columns == ["statement", *figure_noise.FAMILIES]
    assert [row[0] for row in rows] == [s.name for s in STATEMENTS]
    # With three draws no interval is finite, so that nothing is decided.
    assert {cell for row in rows for cell in row[1:]} == {"no"}
