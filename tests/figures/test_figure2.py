"""Figure 2: paired and reproducible numbers, and a drawing that can be read at both widths."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.figure import Figure

import qpsim
from qpsim import figures
from qpsim.figures import figure2
from qpsim.figures.figure2 import METHODS, NOISE, ROWS, Options

OPTIONS = Options(n_replicates=7, n_draws=3, n_steps=8, dim=5, rng=1)


@pytest.fixture(scope="module")
def data():
    return figure2.compute(OPTIONS, workers=2)


def test_shapes_follow_the_named_axes(data):
    sizes = {
        "row": 4,
        "noise": 3,
        "method": 2,
        "level": 5,
        "step": 9,
        "replicate": 7,
        "checkpoint": 5,
        "spectrum": 2,
        "problem": 3,
        "coordinate": 5,
    }
    for name, array in data.arrays.items():
        assert array.shape == tuple(sizes[axis] for axis in data.axes[name]), name


def test_a_panel_is_what_simulate_gives(data):
    seeds = np.random.SeedSequence(1).spawn(3)[1].spawn(3)
    offsets = np.random.Generator(np.random.PCG64(seeds[1])).uniform(-10, 10, (2, 5))
    problem = qpsim.random_problem("structured", 5, "haar", 0.1, scale=0.0, rng=seeds[0])
    result = qpsim.simulate(problem, "ssd", n_steps=8, n_replicates=2, theta0=offsets, rng=seeds[2])
    mine = data["problem"] == 1
    assert mine.sum() == 2
    stored = data["checkpoints"][2, 1, METHODS.index("ssd")][mine]
    np.testing.assert_array_equal(stored, np.log10(result.excess_loss[:, [0, 2, 4, 6, 8]]))


def test_quantiles_are_over_replicates_in_log_space(data):
    at_end = data["checkpoints"][..., -1]
    expected = np.quantile(at_end, figure2.LEVELS, axis=-1)
    np.testing.assert_allclose(np.moveaxis(data["quantiles"][..., -1], -1, 0), expected, rtol=1e-12)


def test_methods_start_together_and_bases_share_spectra_and_offsets(data):
    start = data["checkpoints"][..., 0]
    # SGD runs in the eigenbasis: the same start, rounded otherwise.
    np.testing.assert_allclose(start[:, :, 0], start[:, :, 1], rtol=1e-14)
    for row in range(4):
        np.testing.assert_array_equal(start[row, 0], start[row, 2])
    spectrum = data["eigenvalues"][0]
    offsets = np.concatenate(
        [
            np.random.Generator(np.random.PCG64(seed.spawn(3)[1])).uniform(-10, 10, (size, 5))
            for seed, size in zip(np.random.SeedSequence(1).spawn(3), (3, 2, 2), strict=True)
        ]
    )
    loss = 0.5 * (spectrum[data["problem"]] * offsets**2).sum(axis=1)
    np.testing.assert_allclose(start[1, 0, 0], np.log10(loss), rtol=1e-12)


def test_the_structured_spectrum_has_exactly_a_tenth_of_large_eigenvalues():
    data = figure2.compute(Options(n_replicates=2, n_draws=2, n_steps=1, dim=20), workers=1)
    large = data["eigenvalues"][1] >= 30
    np.testing.assert_array_equal(large.sum(axis=1), [2, 2])
    assert (data["eigenvalues"][1][~large] <= 1).all()


def test_diagonal_mass_is_one_on_the_axes_and_less_when_rotated(data):
    np.testing.assert_array_equal(data["diagonal_mass"][[1, 3]], 1.0)
    assert (data["diagonal_mass"][[0, 2]] < 1.0).all()


def test_without_noise_the_scale_of_the_start_only_shifts_the_loss():
    small = figure2.compute(
        Options(n_replicates=4, n_draws=2, n_steps=6, dim=5, scale=2.0), workers=1
    )
    large = figure2.compute(
        Options(n_replicates=4, n_draws=2, n_steps=6, dim=5, scale=8.0), workers=1
    )
    shift = large["checkpoints"][:, 0] - small["checkpoints"][:, 0]
    np.testing.assert_allclose(shift, np.log10(16.0), atol=1e-9)


def test_any_executor_gives_the_same_bits(data):
    with ThreadPoolExecutor(3) as pool:
        again = figure2.compute(OPTIONS, workers=pool)
        assert pool.submit(int, 1).result() == 1
    for name, array in data.arrays.items():
        np.testing.assert_array_equal(again[name], array, strict=True)


def test_another_seed_gives_other_numbers(data):
    other = figure2.compute(Options(n_replicates=7, n_draws=3, n_steps=8, dim=5, rng=2), workers=1)
    assert not np.isclose(other["checkpoints"], data["checkpoints"]).any()


@pytest.mark.parametrize(("replicates", "draws", "drawn"), [(1, 8, 1), (3, 2, 2), (2, 1, 1)])
def test_problems_are_spread_over_replicates_as_evenly_as_can_be(replicates, draws, drawn):
    few = Options(n_replicates=replicates, n_draws=draws, n_steps=1, dim=2)
    data = figure2.compute(few, workers=1)
    counts = np.bincount(data["problem"])
    assert counts.size == drawn
    assert counts.max() - counts.min() <= 1
    assert counts.sum() == replicates


def test_a_loss_of_zero_can_be_drawn():
    # In one dimension the first exact step without noise lands on the optimum.
    data = figure2.compute(Options(n_replicates=2, n_draws=1, n_steps=3, dim=1), workers=1)
    assert np.isfinite(data["quantiles"]).all()
    fig, _ = figures.draw(data)
    fig.canvas.draw()


def test_drawing_into_an_existing_subfigure_returns_its_artists(data):
    whole = Figure(figsize=(7, 4))
    left, right = whole.subfigures(1, 2)
    fig, artists = figures.draw(data, right)
    assert fig is right
    assert len(right.axes) == 16
    assert left.axes == []
    for row, noise in itertools.product(range(4), NOISE):
        for method in METHODS:
            line = artists[row, noise][method]["line"]
            assert line.axes in right.axes
            assert line.get_xdata().tolist() == list(range(9))


def test_the_line_is_the_median(data):
    _, artists = figures.draw(data)
    line = artists[2, 4.0]["ssd"]["line"]
    np.testing.assert_array_equal(line.get_ydata(), data["quantiles"][2, 2, 1, 2])


def test_a_panel_goes_into_any_axes(data):
    ax = Figure().add_subplot()
    artists = figure2.draw_panel(data, 0, 1, ax)
    assert set(artists) == set(METHODS)
    assert all(entry["band"].axes is ax for entry in artists.values())


def test_every_panel_shows_its_bands_and_fills_its_axis(data):
    _, artists = figures.draw(data)
    for row, column in itertools.product(range(len(ROWS)), range(len(NOISE))):
        values = data["quantiles"][row, column]
        low, high = artists[row, NOISE[column]]["sgd"]["line"].axes.get_ylim()
        assert low < values.min() and values.max() < high
        assert values.max() - values.min() > 0.8 * (high - low)


def test_the_histogram_says_what_it_counts(data):
    _, artists = figures.draw(data)
    counts = [bar.get_height() for bar in artists[0, "spectrum"]]
    # The mean over three draws of five eigenvalues: below 1 in some bins.
    assert sum(counts) == pytest.approx(5) and 0 < min(c for c in counts if c) < 1
    assert "mean over 3 draws" in artists["note"].get_text()


def test_another_problem_noise_level_and_method(tmp_path):
    hessian = np.array([[3.0, 0.2, 0.0], [0.2, 2.0, 0.1], [0.0, 0.1, 1.0]])
    np.savetxt(tmp_path / "mine.csv", hessian, delimiter=",")
    options = Options(
        n_replicates=3,
        n_draws=2,
        n_steps=4,
        dim=5,
        problems=(str(tmp_path / "mine.csv"), "log-uniform:50/axis", hessian),
        noise_std=(0.2, 1.0),
        methods=("ssd", qpsim.method("m-ssd", momentum=0.5), {"name": "adam", "b2": 0.9}),
    )
    data = figure2.compute(options, workers=1)
    assert data.labels["row"] == ["mine.csv", "log-uniform:50/axis", "Hessian, d = 3"]
    assert data.labels["method"] == ["ssd", "m-ssd(momentum=0.5)", "adam(b2=0.9)"]
    assert data["quantiles"].shape == (3, 2, 3, 5, 5)
    np.testing.assert_array_equal(data["quantiles"][0], data["quantiles"][2])
    assert np.isnan(data["eigenvalues"][0, :, 3:]).all()
    values = data["eigenvalues"][1]
    np.testing.assert_allclose(values.max(axis=1) / values.min(axis=1), 50)
    assert str(tmp_path) not in str(data.header)
    # The same numbers as a simulation from the same starts, on the same noise.
    seeds = np.random.SeedSequence(0).spawn(2)[0].spawn(3)
    start = np.random.Generator(np.random.PCG64(seeds[1])).uniform(-10, 10, (2, 3))
    problem = qpsim.QuadraticProblem(hessian, noise_std=0.2)
    run = qpsim.simulate(problem, "ssd", n_steps=4, n_replicates=2, theta0=start, rng=seeds[2])
    stored = data["checkpoints"][0, 0, 0][data["problem"] == 0][:, -1]
    np.testing.assert_array_equal(stored, np.log10(run.excess_loss[:, -1]))
    _, artists = figures.draw(data)
    assert set(artists[2, 1.0]) == set(data.labels["method"])


def test_drawing_leaves_no_trace_in_matplotlibs_settings(data):
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.draw(data, width=3.5)
    assert dict(matplotlib.rcParams) == before
