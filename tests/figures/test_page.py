"""Layout: labels of logarithmic axes, notes that fit, curves of a single point."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from qpsim.figures import canvas, page, style


@pytest.mark.parametrize("width", [2.0, 3.5, 7.0, 12.0])
def test_a_note_takes_as_many_lines_as_it_needs(width):
    with style.use(width):
        fig = canvas.StyledFigure(width, 1.0)
        note = page.Page(fig).note(r"A formula $a + b$ stays whole, " + "and words follow. " * 12)
        box = note.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= fig.bbox.width
        assert "$a + b$" in note.get_text() and note.get_text().count("\n") >= 1


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.8, 2.4), (1e-3, 1e4), (0.05, 0.9), (1.01, 1.09), (7.0, 13.0), (1.6e-4, 3.9e-4)],
)
def test_a_logarithmic_axis_has_at_least_three_labels_and_one_below_one(low, high):
    ticks = page.log_ticks(low, high)
    assert 3 <= len(ticks) <= 12 and ticks == sorted(ticks)
    assert low <= ticks[0] and ticks[-1] <= high
    if low < 0.7:
        assert ticks[0] < 1.0


def test_a_curve_of_one_point_can_be_seen():
    ax = Figure().add_subplot()
    drawn = page.band(ax, [3], [0.9], [1.0], [1.1], style.look("adam"))
    assert drawn["line"].get_marker() != "" and drawn["line"].get_markevery() is None
    ax.figure.canvas.draw()
    longer = page.line(ax, np.arange(9), np.arange(9), style.look("adam"))
    assert longer.get_markevery() is not None


def test_parts_of_a_page_lie_beside_or_above_each_other_and_do_not_overlap():
    with style.use(7.0):
        whole = page.Page(canvas.StyledFigure(7.0, 1.0))
        whole.note("A note.")
        for stacked in (False, True):
            first, second = whole.split([2.0, 1.0], stacked=stacked)
            a, b = first.box, second.box
            if stacked:
                assert a[1] == pytest.approx(b[1] + b[3]) and a[3] == pytest.approx(2 * b[3])
            else:
                assert a[0] + a[2] == pytest.approx(b[0]) and a[2] == pytest.approx(2 * b[2])
