"""The figure of batch sizes: its counts are the recursion's, its picture shows them."""

import numpy as np
import pytest

import qpsim
from qpsim import figures, noise, theory
from qpsim.errors import FigureError
from qpsim.figures import figure_batch as figure
from qpsim.theory.steps import STEP_SIZES

SMALL = {"dim": 8, "bins": 100, "batch_sizes": (1, 64, 4096), "averaging": (0.0, 0.9)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return figures.make("batch", out, formats=("png", "csv"), workers=2, **SMALL)


def walked(matrix, variance, square, weight, step, mu):
    """Steps to 0.01 by a walk along each coordinate's second moments of (offset, buffer)."""
    a = np.array([[1.0 - step * matrix, -step * mu + 0.0 * matrix], [matrix, mu + 0.0 * matrix]])
    push = np.array([-step, 1.0])
    moment = np.zeros((2, 2, matrix.size))
    moment[0, 0] = square
    for count in range(200_000):
        if weight @ moment[0, 0] <= 0.01:
            return count
        moment = np.einsum("ijc,jkc,lkc->ilc", a, moment, a)
        moment += push[:, None, None] * push[None, :, None] * variance
    return np.inf


def test_the_counts_are_those_of_a_walk(made):
    steps, sizes = made.data["steps"], made.data["constant_step"]
    h = qpsim.gallery.noisy_quadratic_model(8, bins=100).hessian
    # Of the largest batch, which takes the fewest steps.
    assert steps[0, 2] == walked(h, h / 4096, np.ones(8), 0.5 * h, sizes[0, 2], 0.0)
    assert steps[1, 2] == walked(h, h / 4096, np.ones(8), 0.5 * h, sizes[1, 2], 0.9)
    # H^(-1/2) g moves an offset like curvature h^(1/2), with noise of variance h^(-1) h / B.
    alone = np.full(8, 1.0 / 4096)
    assert steps[3, 2] == walked(np.sqrt(h), alone, np.ones(8), 0.5 * h, sizes[3, 2], 0.0)
    assert (steps[2] <= steps[0]).all() and steps[2, 0] < steps[0, 0]
    assert set(made.data["averaging"]) <= {0.0, 0.9}


def test_one_step_is_the_theorys(made):
    p = qpsim.gallery.noisy_quadratic_model(8, bins=100).with_optimum(np.ones(8))
    for k, (name, q) in enumerate([("sgd", p), ("ssd", p), ("sgd", p.preconditioned(-0.5))]):
        point = np.zeros(8)
        best = [
            theory.expected_improvement(r, name, point)
            for r in (q.at_batch(64), q.with_noise(noise.hessian(0.0)))
        ]
        if k < 2:
            assert made.data["improvement"][k, 1] == pytest.approx(best[0] / best[1])
        step = theory.optimal_step_size(q.at_batch(64), name, point)
        still = theory.batch_size_law(q, point, [name], [64]).limit_step_size[0]
        assert made.data["one_step"][k, 1] == pytest.approx(step / still)


def test_the_lines_are_the_numbers(made):
    for panel in ("steps", "constant_step", "improvement", "one_step"):
        names = made.data.labels["curve" if panel in ("steps", "constant_step") else "method"]
        for k, name in enumerate(names):
            if (panel, name) == ("constant_step", "pieces"):
                assert name not in made.artists[panel]
                continue
            drawn = made.artists[panel][name]
            assert list(drawn.get_xdata()) == [1, 64, 4096]
            np.testing.assert_array_equal(drawn.get_ydata(), made.data[panel][k])
    assert made.artists["published"] == {}
    assert (made.paths[-1].suffix, made.paths[-1].exists()) == (".csv", True)


def test_critical_batches_by_hand(made):
    found = figure.critical_batches(made.data)
    batches, steps = np.array([1.0, 64.0, 4096.0]), made.data["steps"]
    for k in range(4):
        draws = steps[k] * batches / steps[k, 0]
        if np.isfinite(found[k]):
            at = np.exp(np.interp(np.log(found[k]), np.log(batches), np.log(draws)))
            assert at == pytest.approx(2.0)
    assert np.isfinite(found[0])
    columns, rows = figure.table(made.data)
    assert columns[1] == "B = 1" and rows[0][1] == f"{steps[0, 0]:.10g}"
    assert figure.summary(made.data).startswith("Twice as many draws")


def test_crosses_stand_where_the_model_is_the_published_one():
    steps = np.tile(1e6 / np.array([1.0, 4.0, 256.0]), (5, 1))
    arrays = {
        "steps": steps,
        "constant_step": steps / 1e6,
        "averaging": np.zeros(3),
        "improvement": steps[:3] / 1e6,
        "one_step": steps[:3] / 1e6,
        "exponent": steps[:3],
        "noise_scale": np.array([2.0, 3.0, 1e9]),
        "half": np.ones(3),
    }
    labels = {
        "curve": list(figure.CURVES),
        "method": list(figure.ONE_STEP),
        "batch": [1, 4, 256],
    }
    options = figure.Options(batch_sizes=(1, 4, 256))
    _, artists = figures.draw(figures.data.Data("batch", options, arrays, {}, labels), width=3.5)
    assert list(artists["published"]["sgd"].get_ydata()) == [1507367, 25880]
    assert set(artists["scales"]["one_step"]) == {"sgd", "ssd"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_sizes": (4, 1)}, "must rise"),
        ({"target": 0.0}, "above 0"),
        ({"averaging": (1.0,)}, "below 1"),
        ({"momentum": 1.0}, "below 1"),
    ],
)
def test_a_bad_question_gets_its_own_sentence(options, sentence):
    with pytest.raises(FigureError, match=sentence):
        figures.compute("batch", workers=1, **options)


def test_the_grid_is_the_published_one():
    assert (len(STEP_SIZES), STEP_SIZES[0]) == (100, pytest.approx(1e-5))
    assert STEP_SIZES[-1] == pytest.approx(10**0.5)
