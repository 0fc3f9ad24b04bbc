"""Networks measured along their training."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import qpsim
from qpsim import nn
from qpsim.cli import app
from qpsim.errors import MeasureError, TrainingError
from qpsim.figures.probe_picture import draw
from qpsim.nn.measured import Sizes, network_point, probe
from tests.figures import small


def test_the_point_of_a_network_is_consistent():
    network = nn.Network([nn.Dense(4), nn.ReLU(), nn.Dense(3)], (5,), weight_decay=0.01,
                         dtype=np.float64, rng=0)  # fmt: skip
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 5)), rng.integers(3, size=20)
    before = network.parameters.copy()
    point = network_point(network, x, y, 8, 400, rng=1)
    gradients = np.concatenate(list(point.gradients()))
    full = network.loss_and_gradient(x, y)[1]
    error = gradients.std(axis=0, ddof=1) / 20
    assert (np.abs(gradients.mean(axis=0) - full) <= 4.5 * error + 1e-12).all()
    v = 1e-3 * rng.standard_normal(point.dim)
    change = point.loss(v) - point.loss(0 * v)
    assert change == pytest.approx(full @ v + 0.5 * v @ point.hvp(v), abs=1e-6)
    np.testing.assert_array_equal(network.parameters, before)


def test_steps_that_make_no_sense_are_refused():
    run = nn.Run(replace(nn.task("digits-whitened"), n_steps=5), qpsim.method("sgd"), 0.1)
    with pytest.raises(TrainingError, match="among 0 to 5"):
        probe(run, [9])
    other = nn.Run(run.task, qpsim.method("m-svag-mb"), 0.1)
    with pytest.raises(MeasureError, match="own variance"):
        probe(other, [1])
    with pytest.raises(MeasureError, match="n_gradients"):
        Sizes(n_gradients=3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--method", "m-svag-mb"], "own variance"),
        (["--method", "svag"], "svag"),
        (["--data", "/nowhere"], "reads no directory"),
        (["--n-gradients", "3"], "n_gradients"),
        (["--at", "0,x"], "--at takes steps"),
    ],
)
def test_a_refused_probe_leaves_no_folder(tmp_path, more, message):
    place = tmp_path / "probe"
    found = CliRunner().invoke(app, ["probe", "digits-whitened", "--out", str(place), *more])
    assert found.exit_code != 0
    assert message in found.output
    assert not place.exists()


def test_a_probe_that_is_interrupted_before_its_first_point_leaves_no_folder(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("qpsim.nn.measured.Loop", interrupted)
    place = tmp_path / "probe"
    found = CliRunner().invoke(app, ["probe", "digits-whitened", "--out", str(place)])
    assert found.exit_code != 0
    assert not place.exists()


@pytest.mark.parametrize("width", [3.5, 7.0])
def test_the_picture_of_a_probe_says_what_its_bars_are(width):
    def estimate(value, spread):
        return {"value": value, "low": value / spread, "high": value * spread}

    unknown = dict.fromkeys(("value", "low", "high"))
    points = [
        {
            "step": step,
            "curvature": {"diagonal_mass": estimate(0.1, 1.5)},
            "directions": {
                "rows": [
                    {"method": "sgd", "ratio_to_sgd": estimate(1.0, 1.0)},
                    {"method": "ssd", "ratio_to_sgd": estimate(3.0, 1.2)},
                    {"method": "adam", "ratio_to_sgd": estimate(2.0, 1.2) if step else unknown},
                ]
            },
        }
        for step in (0, 40, 80)
    ]
    fig = draw(points, width)
    fig.canvas.draw()
    texts = [text for text in small.visible_texts(fig) if text.get_text()]
    said = " ".join(text.get_text() for text in texts)
    assert "95 %" in said
    assert {"SSD", "ADAM"} <= set(said.split())
    boxes = [text.get_window_extent().padded(-1.5) for text in texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(0 <= box.x0 and box.x1 <= fig.bbox.width for box in boxes)


@pytest.mark.long
def test_a_probe_is_resumed_and_refuses_another_run(tmp_path):
    def run(*more):
        fixed = ["probe", "digits-whitened", "--method", "adam", "--n-gradients", "12",
                 "--n-examples", "64", "--out", str(tmp_path)]  # fmt: skip
        return CliRunner().invoke(app, [*fixed, *more])

    assert run("--at", "0").exit_code == 0
    first = json.loads((tmp_path / "probe.json").read_text())["points"]
    found = run("--at", "0,3", "--resume", "--json", "--step-size", "0.001")
    assert found.exit_code == 0, found.output
    points = json.loads((tmp_path / "probe.json").read_text())["points"]
    assert [one["step"] for one in points] == [0, 3]
    assert points[0] == first[0]
    assert (tmp_path / "probe.png").exists()
    assert qpsim.measure.load(tmp_path / "step3-directions.npz")["adam"].slope.value != 0.0
    # A step beyond the task's own number of steps is added to the same points.
    assert run("--at", "0,301", "--resume").exit_code == 0
    points = json.loads((tmp_path / "probe.json").read_text())["points"]
    assert [one["step"] for one in points] == [0, 3, 301]
    assert run("--at", "0", "--resume", "--step-size", "0.5").exit_code != 0
