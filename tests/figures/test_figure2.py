"""Figure 2: paired and reproducible numbers, and a drawing that can be read at both widths."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import qpsim
from qpsim import figures
from qpsim.figures import figure2, style
from qpsim.figures.figure2 import METHODS, NOISE, ROWS, Options

OPTIONS = Options(n_replicates=7, n_draws=3, n_steps=8, dim=5, seed=1)


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
    other = figure2.compute(Options(n_replicates=7, n_draws=3, n_steps=8, dim=5, seed=2), workers=1)
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


def test_a_row_shares_its_loss_axis_and_shows_every_band(data):
    _, artists = figures.draw(data)
    for row in range(len(ROWS)):
        axes = [artists[row, noise]["sgd"]["line"].axes for noise in NOISE]
        limits = {ax.get_ylim() for ax in axes}
        assert len(limits) == 1
        low, high = limits.pop()
        assert low < data["quantiles"][row].min()
        assert high > data["quantiles"][row].max()


@pytest.mark.parametrize("width", [3.5, 7.0])
def test_no_text_leaves_the_page_or_covers_another(data, width):
    fig, _ = figures.draw(data, width=width)
    fig.canvas.draw()
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in _visible_texts(fig)
        if text.get_text().strip()
    ]
    assert len(boxes) > 40
    for label, box in boxes:
        assert box.x0 >= 0 and box.x1 <= fig.bbox.width, label
        assert box.y0 >= 0 and box.y1 <= fig.bbox.height, label
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.padded(-1).overlaps(b.padded(-1)), (one, other)


def _visible_texts(fig):
    """What is drawn: tick labels beyond an axis' limits exist but are not."""
    yield from fig.texts
    for legend in fig.legends:
        yield from legend.get_texts()
    for ax in fig.axes:
        yield from (ax.title, ax.xaxis.label, ax.yaxis.label)
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            for tick in axis.get_major_ticks():
                if tick.label1.get_visible() and low <= tick.get_loc() <= high:
                    yield tick.label1


def test_methods_differ_in_grey_and_in_line_style():
    grey = {m: np.dot(to_rgb(style.look(m).color), [0.299, 0.587, 0.114]) for m in METHODS}
    assert abs(grey["sgd"] - grey["ssd"]) > 0.25
    assert style.look("sgd").linestyle != style.look("ssd").linestyle


def test_text_is_never_smaller_than_six_points():
    assert all(style.text_size(width) >= 6.0 for width in np.linspace(2, 30, 50))


def test_drawing_leaves_no_trace_in_matplotlibs_settings(data):
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.draw(data, width=3.5)
    assert dict(matplotlib.rcParams) == before
