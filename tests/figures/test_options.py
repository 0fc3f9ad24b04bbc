"""Options of figures: checked before the work, known by their former names, plain in files."""

from dataclasses import dataclass

import numpy as np
import pytest

from qpsim.errors import FigureError, RenamedWarning
from qpsim.figures import choices
from qpsim.figures.options import BaseOptions, option


@dataclass(frozen=True)
class Options(BaseOptions):
    """Of every kind."""

    n_steps: int = option(100, "steps", at_least=1)
    n_draws: int = option(8, "draws", at_least=1)
    rng: int = option(0, "seed", at_least=0)
    noise_std: tuple[float, ...] = option((0.0, 1.0), "noise", at_least=0.0)
    problems: tuple = option(("mild/haar",), "problems", text=choices.problem_text)
    quiet: bool = option(False, "a switch")
    name: str = option("", "a text")
    ratio: float = option(0.5, "a number", at_least=0.0)


def test_values_are_kept_in_one_form():
    options = Options(noise_std=[1, 2], problems=np.eye(2), ratio=np.float32(0.25), n_steps=[7])
    assert options.noise_std == (1.0, 2.0) and options.ratio == 0.25 and options.n_steps == 7
    assert options.to_dict()["problems"] == ["Hessian, d = 2"]
    assert Options.given("it", options.to_dict(), stored=True).to_dict() == options.to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_steps": 0}, "n_steps must be a whole number of at least 1, not 0"),
        ({"n_steps": "3"}, "n_steps must be a whole number"),
        ({"noise_std": -1.0}, "noise_std must be a finite number >= 0"),
        ({"noise_std": []}, "noise_std must not be an empty list"),
        ({"noise_std": [0.1, "a"]}, "noise_std must be a finite number"),
        ({"quiet": 1}, "quiet must be True or False"),
        ({"name": 3}, "name must be a text"),
        ({"ratio": float("nan")}, "ratio must be a finite number"),
        ({"ration": 1}, "did you mean 'ratio'"),
        ({"rng": -1}, "rng must be"),
    ],
)
def test_a_mistake_is_named(values, message):
    with pytest.raises(FigureError, match=message):
        Options.given("Figure 2", values)


def test_former_names_are_understood_and_the_present_ones_told():
    with pytest.warns(RenamedWarning, match="steps is called n_steps now"):
        assert Options.given("it", {"steps": 3}).n_steps == 3
    with pytest.warns(RenamedWarning, match="problems is called n_draws now"):
        assert Options.given("it", {"problems": 3}).n_draws == 3
    # Files of earlier versions are read without a word.
    old = {"steps": 3, "problems": 2, "seed": 5, "noise": [0.5]}
    options = Options.given("it", old, stored=True)
    assert (options.n_steps, options.n_draws, options.rng) == (3, 2, 5)
    assert options.noise_std == (0.5,) and options.problems == ("mild/haar",)
