"""The figure of costs: shapes, refusals and what is drawn; no assertion is about a time's size."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from qpsim import figures
from qpsim.errors import FigureError
from qpsim.figures import figure_scaling as scaling

SMALL = {
    "dim": 4,
    "n_replicates": 3,
    "n_steps": 2,
    "rounds": 1,
    "dims": (2, 5),
    "replicate_counts": (1, 2, 3),
    "step_counts": (1,),
    "worker_counts": (1, 2),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return figures.make(
        "scaling", tmp_path_factory.mktemp("out"), formats="png", workers=1, **SMALL
    )


def test_every_size_has_a_time(made):
    for panel, values in (("dims", 2), ("replicate_counts", 3), ("step_counts", 1)):
        assert made.data[panel].shape == (4, values)
        assert np.all(made.data[panel] > 0)
    assert made.data["worker_counts"].shape == (4, 2)
    assert made.data.provenance["workers"] == 1


def test_the_lines_are_the_times(made):
    for panel in scaling.PANELS:
        for curve in range(len(scaling.CURVES)):
            line = made.artists[panel, curve]
            assert line.get_ydata().tolist() == made.data[panel][curve].tolist()
            assert list(line.get_xdata()) == list(getattr(made.data.options, panel))
            assert line.axes.get_xscale() == line.axes.get_yscale() == "log"
    labels = [text.get_text() for text in made.artists["legend"].get_texts()]
    assert len(set(labels)) == 4


def test_one_size_varies_at_a_time():
    options = scaling.Options(**SMALL)
    assert scaling._sizes(options, "dims", 7) == [(2, 3, 2, 7), (5, 3, 2, 7)]
    assert scaling._sizes(options, "worker_counts", 7) == [(4, 3, 2, 1), (4, 3, 2, 2)]


def test_an_executor_is_refused():
    with ThreadPoolExecutor(1) as pool, pytest.raises(FigureError, match="not an executor"):
        figures.compute("scaling", workers=pool, **SMALL)


def test_it_is_drawn_again_from_its_file(made, tmp_path):
    again = figures.make("scaling", made.paths[0].parent, redraw=True, formats="png")
    assert np.array_equal(again.data["dims"], made.data["dims"])


def on_cores(data, cores):
    return dataclasses.replace(data, arrays={**data.arrays, "cores": np.array(cores)})


def test_the_table_says_what_is_drawn(made):
    columns, rows = figures.table(on_cores(made.data, 2))
    assert columns[1:] == [text.get_text() for text in made.artists["legend"].get_texts()]
    assert [row[0] for row in rows] == [
        "2 coordinates",
        "5 coordinates",
        "exponent of coordinates",
        "1 replicates",
        "2 replicates",
        "3 replicates",
        "exponent of replicates",
        "1 steps",
        "1 workers",
        "2 workers",
        "exponent of workers",
    ]
    assert float(rows[1][2]) == pytest.approx(1e3 * made.data["dims"][1, 1], rel=6e-3)
    seconds = made.data["replicate_counts"][3]
    assert float(rows[6][4]) == pytest.approx(
        np.log(seconds[2] / seconds[1]) / np.log(1.5), abs=6e-3
    )


def test_threads_without_a_core_of_their_own_have_no_exponent(made):
    rows = figures.table(on_cores(made.data, 1))[1]
    assert [row[0] for row in rows][-2:] == ["1 workers", "2 workers"]


def test_other_figures_have_no_table():
    data = figures.compute("2", n_replicates=2, n_draws=1, n_steps=2, dim=2, workers=1)
    assert figures.table(data) is None
