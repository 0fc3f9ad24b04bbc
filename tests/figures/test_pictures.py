"""All figures are readable, also in grey and in a narrow column, and have labels."""

import itertools
import os
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from qpsim import figures
from qpsim.figures import canvas
from tests.figures import small

NAMES = figures.names()
WIDTHS = tuple(figures.WIDTHS.values())
# What a user might have chosen for other plots, in a matplotlibrc file or by a style.
FOREIGN = {
    "axes.facecolor": "black",
    "figure.facecolor": "black",
    "savefig.facecolor": "black",
    "text.color": "white",
    "axes.labelcolor": "white",
    "xtick.color": "white",
    "ytick.labelcolor": "white",
    "font.family": "serif",
    "font.size": 21.0,
    "savefig.bbox": "tight",
    "savefig.dpi": 40.0,
    "figure.dpi": 33.0,
    "figure.constrained_layout.use": True,
    "axes.unicode_minus": False,
    "axes.formatter.limits": (-1, 1),
    "axes.prop_cycle": "cycler('color', ['w'])",
    "lines.linewidth": 9.0,
    "lines.marker": "h",
    "path.sketch": (1.0, 2.0, 3.0),
    "text.usetex": True,
    "text.parse_math": False,
    "mathtext.fontset": "cm",
    "image.cmap": "hot",
    "svg.fonttype": "path",
    "pdf.fonttype": 3,
    "hatch.color": "red",
    "xtick.minor.visible": True,
    "axes.axisbelow": False,
}


# In a narrow column there is the least room.
@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (name, width), id=f"{name}-{width}", marks=[pytest.mark.long] * (width > min(WIDTHS))
        )
        for name, width in itertools.product(NAMES, WIDTHS)
    ],
)
def drawn(request):
    name, width = request.param
    fig, artists = figures.draw(small.data(name), width=width)
    fig.canvas.draw()
    return name, fig, artists


def test_no_text_leaves_the_page_or_covers_another(drawn):
    _, fig, _ = drawn
    boxes = [(text.get_text(), text.get_window_extent()) for text in small.visible_texts(fig)]
    assert len(boxes) > 3
    for label, box in boxes:
        assert box.x0 >= -1 and box.x1 <= fig.bbox.width + 1, label
        assert box.y0 >= -1 and box.y1 <= fig.bbox.height + 1, label
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.padded(-1.5).overlaps(b.padded(-1.5)), (one, other)


def test_no_text_is_smaller_than_five_and_a_half_points(drawn):
    assert min(text.get_fontsize() for text in small.visible_texts(drawn[1])) >= 5.25


def test_a_figure_says_what_its_bands_lines_and_dots_are(drawn):
    _, fig, artists = drawn
    assert "note" in artists or "legend" in artists
    bands = [c for ax in fig.axes for c in ax.collections if isinstance(c, PolyCollection)]
    if any(band.get_alpha() for band in bands):
        said = " ".join(text.get_text() for text in small.visible_texts(fig)).lower()
        assert "band" in said or "shaded" in said


def test_numbers_have_minus_signs_and_not_hyphens(drawn):
    for text in small.visible_texts(drawn[1]):
        plain = re.sub(r"\$.*?\$", "", text.get_text())
        assert not re.search(r"(^|[\s(])-\d", plain), text


def test_a_logarithmic_axis_has_more_than_one_label(drawn):
    for ax in small.all_axes(drawn[1]):
        for axis in (ax.xaxis, ax.yaxis):
            labels = small.tick_labels(axis)
            if axis.get_scale() == "log" and labels:
                assert len(labels) >= (3 if axis is ax.yaxis else 2), (ax.get_title(), labels)


def test_reprs_are_short(drawn):
    name, fig, artists = drawn
    data = small.data(name)
    for value in (data, figures.Made(data, fig, artists), artists):
        assert len(repr(value)) < 250, type(value)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("2", "4", "conditions") else pytest.mark.long)
        for name in NAMES
    ],
)
def test_a_picture_is_the_same_bytes_whatever_the_user_has_set(name, tmp_path):
    before = dict(matplotlib.rcParams)
    data = small.data(name)
    # One format for all, and each for one: they are drawn alike and differ in how they are saved.
    formats = ("svg", "png", "pdf") if name == "4" else ("svg",)
    pictures = []
    for settings in ({}, FOREIGN):
        with matplotlib.rc_context(settings):
            fig, _ = figures.draw(data, width=3.5)
            for kind in formats:
                pictures.append(canvas.save(fig, tmp_path / "a", kind).read_bytes())
    assert pictures[: len(formats)] == pictures[len(formats) :]
    assert dict(matplotlib.rcParams) == before


def test_a_figure_that_is_shown_later_keeps_its_style():
    plain, _ = figures.draw(small.data("4"), width=3.5)
    plain.canvas.draw()
    fig, _ = figures.draw(small.data("4"), width=3.5)
    with matplotlib.rc_context(FOREIGN | {"text.usetex": False, "path.sketch": None}):
        fig.canvas.draw()
    np.testing.assert_array_equal(fig.canvas.buffer_rgba(), plain.canvas.buffer_rgba())


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("inline", marks=pytest.mark.long),
        pytest.param("module://matplotlib_inline.no_such", marks=pytest.mark.long),
        "nonsense",
    ],
)
def test_no_backend_of_the_environment_stands_in_the_way(backend, tmp_path):
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: black\ntext.usetex: True\n")
    code = (
        "from qpsim import figures\n"
        "figures.make('4', 'out', points=9, formats=('png', 'pdf'), width='column')\n"
        "import matplotlib, os\n"
        "print(os.environ['MPLBACKEND'], matplotlib.rcParams['axes.facecolor'])\n"
    )
    environment = {**os.environ, "MPLBACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [backend, "black"]
    made = figures.make("4", tmp_path / "here", points=9, width="column")
    for path in made.paths[2:]:
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
