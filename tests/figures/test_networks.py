"""Figures 3, 6 and 7: from tuned runs to panels and a table that say what the data say."""

import json

import numpy as np
import pytest

from qpsim import figures
from qpsim.errors import DataError, FigureError
from qpsim.figures import figure3, figure6, network_panels, networks
from qpsim.nn import load_mnist
from tests.figures import small
from tests.nn.data.make_files import idx

SMALL = {"n_replicates": 2, "n_steps": 20}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("gallery")
    cache = str(place / "cache")
    return figures.make("7", place / "out", workers=1, cache=cache, **SMALL), place


def test_the_data_hold_every_replicate(made):
    data = made[0].data
    assert data.labels["problem"] == ["digits-cnn", "digits-whitened"]
    assert data.labels["method"] == ["m-svag", "m-svag-mb"]
    for name in ("test_accuracy", "test_loss", "mean_loss", "early_loss"):
        assert data[name].shape == (2, 2, 2), name
        assert np.isfinite(data[name]).all()
    assert data["steps_0"].tolist() == [0, 10, 20]
    assert data["train_loss_1"].shape == (2, 2, 2) and data["test_loss_1"].shape == (2, 2, 3)
    # Two intervals of equal length: their mean is the run's.
    np.testing.assert_allclose(data["train_loss_0"].mean(axis=2), data["mean_loss"][0])
    np.testing.assert_allclose(data["test_loss_0"][:, :, -1], data["test_loss"][0])
    tried = data["grid_0"][0]
    best = tried[np.nanargmin(tried[:, 1]), 0]
    assert best == data["step_size"][0, 0]
    assert set(data.axes) == set(data.arrays)


def test_no_place_of_this_machine_is_written_down(made):
    _, place = made
    text = (place / "out" / "figure7.json").read_text()
    assert str(place) not in text
    header = json.loads(text)
    assert header["options"]["data"] == "" and "cache" not in header["options"]


def test_a_second_making_takes_the_runs_from_the_cache(made, tmp_path, monkeypatch):
    from qpsim.nn import cells

    _, place = made
    monkeypatch.setattr(cells, "train", lambda *a, **k: pytest.fail("a finished cell was run"))
    figures.make("7", tmp_path, workers=1, cache=str(place / "cache"), formats="png", **SMALL)
    for name in ("figure7.npz", "figure7.png"):
        assert (tmp_path / name).read_bytes() == (place / "out" / name).read_bytes()


def test_the_artists_are_the_data(made):
    data, artists = made[0].data, made[0].artists
    line = artists["digits-cnn", "training loss"]["m-svag"]["line"]
    np.testing.assert_allclose(line.get_ydata(), data["train_loss_0"][0].mean(axis=0))
    np.testing.assert_allclose(line.get_xdata(), [5, 15])
    line = artists["digits-whitened", "test loss"]["m-svag-mb"]["line"]
    np.testing.assert_allclose(line.get_ydata(), data["test_loss_1"][1].mean(axis=0))
    accuracy = 100 * data["test_accuracy"][1, 0]
    expected = f"{accuracy.mean():.1f} ± {accuracy.std(ddof=1):.1f}"
    assert artists["table"]["digits-whitened", "m-svag", 0].get_text() == expected
    assert [text.get_text() for text in artists["legend"].get_texts()] == ["M-SVAG", "M-SVAG-mb"]


@pytest.mark.parametrize("width", [3.5, 7.0])
def test_no_text_reaches_into_another_or_out_of_the_page(made, width):
    data = made[0].data
    fig, artists = figures.draw(data, width=width)
    fig.canvas.draw()
    boxes = [text.get_window_extent() for text in artists["table"].values()]
    for k, box in enumerate(boxes):
        assert 0 <= box.x0 and box.x1 <= fig.bbox.width and box.y0 >= 0
        for other in boxes[k + 1 :]:
            assert not box.overlaps(other)


def test_a_replicate_that_diverged_is_counted_and_not_averaged(made):
    spread = network_panels.spread_text
    assert spread(np.array([0.5, np.inf, 0.7]), 3, False) == "1/3 div."
    assert spread(np.array([0.5, 0.7]), 3, False) == ".600 ± .141"
    assert spread(np.array([1.5, 1.7]), 3, True) == "1.60±.14"
    assert spread(np.array([95.0, 96.0]), 1, True) == "95.5±0.7"


def test_bold_is_what_cannot_be_told_from_the_best():
    # Paired by seed: the second is 0.01 +- 0.01 behind, the third 0.01 without any spread.
    best = np.array([1.0, 1.1, 1.3, 1.2])
    noise = np.array([0.02, 0.0, 0.02, 0.0])
    losses = np.stack([best, best + noise, best + 0.01, np.full(4, np.inf)])
    assert network_panels.as_good_as_best(losses).tolist() == [True, True, False, False]
    assert not network_panels.as_good_as_best(losses[:, :1]).any()
    assert not network_panels.as_good_as_best(np.full((2, 3), np.inf)).any()


def test_the_picture_says_what_its_table_and_bands_are():
    data = small.networks("3")
    data.arrays["mean_loss"][0] = [[1.0, 1.1, 1.2, 1.3]] * 4
    _, artists = figures.draw(data)
    said = artists["note"].get_text().replace("\n", " ")
    for words in ("means over 4 runs", "1 standard deviation", "averaged over all steps", "Bold"):
        assert words in said
    weights = {artists["table"]["digits-mlp", m, 1].get_fontweight() for m in figure3.METHODS}
    assert weights == {"bold"}


def test_losses_of_one_interval_are_seen():
    data = small.networks("6", evaluations=2)
    _, artists = figures.draw(data)
    line = artists["digits-cnn", "training loss"]["adam"]["line"]
    assert len(line.get_xdata()) == 1 and line.get_marker() not in ("", "None")


def test_the_problems_and_methods_are_the_papers():
    assert len(figure3.PROBLEMS) == 3
    assert figure3.METHODS == ("m-sgd", "m-svag", "m-ssd", "adam")
    assert figure6.METHODS == ("adam", "adam*", "adam*-mb")


TINY = {"n_replicates": 1, "n_steps": 2, "workers": 1}


def test_real_data_that_are_not_there_are_missed_by_name(tmp_path):
    with pytest.raises(DataError, match="holds none of mnist, cifar10, cifar100"):
        figures.make("7", workers=1, data=str(tmp_path), cache=str(tmp_path))
    with pytest.raises(DataError, match=r"there is no CIFAR-10 in .*cifar-10-batches-bin"):
        figures.compute("7", data=str(tmp_path), tasks=["cifar10"], cache=str(tmp_path), **TINY)


def small_mnist(folder):
    """Data in MNIST's files, as many as a batch of its task needs."""
    rng = np.random.default_rng(0)
    for which in ("train", "t10k"):
        images, labels = rng.integers(256, size=(128, 28, 28)), rng.integers(10, size=128)
        (folder / f"{which}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{which}-labels-idx1-ubyte").write_bytes(idx(labels))


@pytest.mark.long
def test_the_real_problems_that_are_there_take_their_places(tmp_path):
    small_mnist(tmp_path)
    given = {"data": str(tmp_path), "cache": str(tmp_path / "cache"), "methods": ["m-sgd"], **TINY}
    with pytest.warns(UserWarning) as caught:
        data = figures.compute("3", **given)
    assert [str(warning.message).split("does not hold ")[1] for warning in caught] == [
        "cifar10; digits-cnn takes its place.",
        "cifar100; digits-whitened takes its place.",
    ]
    assert data.labels["problem"] == ["mnist", "digits-cnn", "digits-whitened"]
    fingerprint = load_mnist(tmp_path).fingerprint()
    assert data.labels["data"][0]["fingerprint"] == fingerprint
    assert data.labels["title"] == [
        f"IDX images {fingerprint[:8]}", "digits-cnn", "digits-whitened",
    ]  # fmt: skip
    _, artists = figures.draw(data)
    panel = artists["mnist", "training loss"]["m-sgd"]["line"].axes
    assert panel.get_title() == f"IDX images {fingerprint[:8]}"


@pytest.mark.long
def test_real_and_embedded_problems_and_any_methods_may_be_mixed(tmp_path):
    small_mnist(tmp_path)
    data = figures.compute(
        "6", data=str(tmp_path), cache=str(tmp_path / "cache"), tasks=["digits-whitened", "mnist"],
        methods=["sgd", {"name": "m-sgd", "momentum": 0.5}], **TINY,
    )  # fmt: skip
    assert data.labels["problem"] == ["digits-whitened", "mnist"]
    assert data.labels["method"] == ["sgd", "m-sgd(momentum=0.5)"]
    assert data["mean_loss"].shape == (2, 2, 1)
    header = json.loads(json.dumps(data.header))
    assert header["options"]["tasks"] == ["digits-whitened", "mnist"]
    assert header["labels"]["data"][0]["name"] == "digits-whitened"
    with pytest.raises(FigureError, match="The task mnist is given twice"):
        figures.compute("6", tasks=["mnist", "mnist"], **TINY)


def test_a_task_of_ones_own_is_a_problem_too(tmp_path):
    from qpsim import nn

    mine = nn.Task("mine", [nn.Dense(10)], 8, 4, data="digits-whitened", evaluate_every=2)
    data = figures.compute("7", tasks=[mine], methods=["sgd"], cache=str(tmp_path), **TINY)
    assert data.labels["title"] == ["mine"] and data["steps_0"].tolist() == [0, 2]


def test_a_shorter_run_drops_its_step_size_after_the_same_share_of_steps():
    from qpsim.nn import task

    short = networks._shortened(task("cifar100"), 600)
    assert (short.n_steps, short.drops) == (600, (400, 500))
    assert networks._shortened(task("cifar100"), 0) == task("cifar100")
    assert networks._shortened(task("cifar100"), 1).drops == (1, 1)


def test_the_sensitivity_plot_marks_the_chosen_step(tmp_path):
    from dataclasses import replace

    from matplotlib.figure import Figure

    from qpsim.nn import task
    from qpsim.tuning.networks import Protocol, tune

    short = replace(task("digits-whitened"), n_steps=20)
    found = tune(short, ["m-sgd", "adam"], Protocol(1, n_replicates=1), workers=1, cache=tmp_path)
    ax = Figure().add_subplot()
    artists = network_panels.draw_sensitivity(found, ax)
    for one in found:
        line, mark = artists[one.method.name]["line"], artists[one.method.name]["best"]
        assert line.get_xdata().tolist() == [point.step_size for point in one.grid]
        assert line.get_ydata().tolist() == [point.score for point in one.grid]
        assert mark.get_xdata().tolist() == [one.best.step_size]
        assert mark.get_ydata().tolist() == [min(point.score for point in one.grid)]
