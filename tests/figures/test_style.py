"""Appearances of methods differ also in grey, by line style and marker."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from qpsim.figures import figure2, figure3, figure6, figure7, figure_methods, style
from qpsim.methods import method_names


def grey(look):
    return float(np.dot(to_rgb(look.color), [0.299, 0.587, 0.114]))


COMPARED = {
    "figure 2": figure2.METHODS,
    "figure 3": figure3.METHODS,
    "figure 6": figure6.METHODS,
    "figure 7": figure7.METHODS,
    "idealised": figure_methods.IDEALISED,
    "estimated": figure_methods.ESTIMATED,
}


@pytest.mark.parametrize("methods", COMPARED.values(), ids=COMPARED)
def test_methods_that_are_compared_differ_in_grey_in_line_and_in_marker(methods):
    looks = style.looks(methods)
    for one, other in itertools.combinations(looks.values(), 2):
        assert abs(grey(one) - grey(other)) > 0.1, (one, other)
        assert one.linestyle != other.linestyle
        assert (one.marker, one.filled) != (other.marker, other.filled)


def test_any_methods_that_are_drawn_together_look_different():
    for names in (method_names(), ("sgd", "m-sgd", "sgd(x=1)"), ("mine", "yours", "theirs")):
        looks = style.looks(names[:12])
        assert len({look[1:] for look in looks.values()}) == len(looks)
        assert len({look.label for look in looks.values()}) == len(looks)


def test_text_is_never_smaller_than_six_points():
    assert all(style.text_size(width) >= 6.0 for width in np.linspace(2, 30, 50))
