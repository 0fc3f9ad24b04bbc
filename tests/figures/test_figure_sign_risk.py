"""Risk of sign descent: the library's numbers, and lines where the data say."""

import numpy as np
import pytest

from qpsim import figures, theory
from qpsim.figures import figure_sign_risk as figure


@pytest.fixture(scope="module")
def data():
    few = {"dims": (3, 6), "signals": (0.1, 3.0), "n_steps": 8, "n_replicates": 16, "n_draws": 2}
    return figures.compute("sign-risk", workers=1, **few)


def test_numbers_are_those_of_the_library(data):
    for s, signal in enumerate((0.1, 3.0)):
        seed = np.random.SeedSequence(0, spawn_key=(6, 0))
        p, start, step = figure.setting(signal, 6, 8, seed)
        assert np.mean(p.gradient(start) ** 2) == pytest.approx(signal)
        for k, law in enumerate(figure.LAWS):
            risk = theory.expected_excess_loss(p, "ssd", start, step, 8, law=law)
            np.testing.assert_allclose(data["risk"][k, s], risk, rtol=1e-10)
            error = np.abs(risk / data["mean"][s] - 1.0).max()
            assert data["error"][k, s, 1, 0] == pytest.approx(error)


@pytest.mark.parametrize("width", [3.5, 7.0])
def test_errors_are_drawn_as_geometric_means(data, width):
    _, artists = figures.draw(data, width=width)
    drawn = artists["signal"]["closure"].get_ydata()
    np.testing.assert_allclose(drawn, np.sqrt(data["error"][0, :, 1].prod(axis=-1)))
    assert set(artists["dim"]) == {(law, q) for law in figure.LAWS for q in (0.1, 3.0)}
