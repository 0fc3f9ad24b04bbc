"""How figures look: the packaged style sheet, one appearance a method, text sized by width.

Colours are of Okabe & Ito's palette, told apart by all common kinds of colour vision; lightness and
line style differ as well, so that a grey print keeps them apart.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qpsim.files.writing import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import NDArray


class Look(NamedTuple):
    """Appearance of one method wherever it is drawn."""

    label: str
    color: str
    linestyle: Any


# By family: gradients are dashed and light, signs solid and dark, variance adaptation dotted.
METHODS: dict[str, Look] = {
    "sgd": Look("SGD", "#E69F00", (0, (4, 1.5))),
    "ssd": Look("SSD", "#0072B2", "solid"),
    "svag": Look("SVAG", "#D55E00", (0, (1, 1))),
    "va-ssd": Look("VA-SSD", "#009E73", (0, (5, 1, 1, 1))),
    "va-ssd-erf": Look("VA-SSD (erf)", "#56B4E9", (0, (2, 1))),
    "m-sgd": Look("M-SGD", "#E69F00", (0, (4, 1.5))),
    "m-ssd": Look("M-SSD", "#0072B2", "solid"),
    "m-svag": Look("M-SVAG", "#D55E00", (0, (1, 1))),
    "adam": Look("ADAM", "#CC79A7", (0, (5, 1, 1, 1))),
    "adam*": Look("ADAM*", "#000000", (0, (2, 1))),
    "svag-ema": Look("SVAG-EMA", "#D55E00", (0, (1, 1))),
    "m-svag-mb": Look("M-SVAG-mb", "#882255", (0, (3, 1, 1, 1))),
    "adam*-mb": Look("ADAM*-mb", "#56B4E9", (0, (2, 1))),
}


def look(method: str) -> Look:
    """Appearance of a method; one without its own is black and solid.

    >>> look("ssd").label
    'SSD'
    """
    return METHODS.get(method, Look(method, "#000000", "solid"))


def text_size(width: float) -> float:
    """Size in points of text that still reads at a width in inches.

    >>> text_size(3.5), text_size(7.0)
    (6.0, 8.0)
    """
    return min(max(4.0 + width * 4.0 / 7.0, 6.0), 11.0)


@contextmanager
def use(width: float = 7.0) -> Iterator[None]:
    """The style sheet, with text and lines for a figure of that width, inside a ``with`` block."""
    import matplotlib.style

    size = text_size(width)
    fine = 0.75 if width < 5 else 1.0
    sizes = {
        "font.size": size,
        "axes.titlesize": size,
        "axes.labelsize": size,
        "xtick.labelsize": size - 0.5,
        "ytick.labelsize": size - 0.5,
        "legend.fontsize": size,
        "lines.linewidth": 1.2 * fine,
        "axes.titlepad": 4.0 * fine,
        "axes.labelpad": 2.5 * fine,
        "xtick.major.size": 2.5 * fine,
        "ytick.major.size": 2.5 * fine,
        "xtick.major.pad": 2.0 * fine,
        "ytick.major.pad": 2.0 * fine,
    }
    with as_file(files("qpsim.figures") / "qpsim.mplstyle") as sheet:
        with matplotlib.style.context([str(sheet), sizes]):
            yield


def new_figure(width: float, aspect: float) -> Figure:
    """An empty figure of a width in inches, outside of pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, width * aspect))
    FigureCanvasAgg(fig)
    return fig


def em() -> float:
    """Height of the text in inches, in multiples of which margins are set."""
    import matplotlib

    return float(matplotlib.rcParams["font.size"]) / 72


def inches(fig: Figure | SubFigure) -> tuple[float, float]:
    """Width and height of a figure or subfigure."""
    return fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi


def save(fig: Figure, path: Path, kind: str) -> Path:
    """Write an image as a whole, the same bytes for the same drawing.

    Raises
    ------
    FileError
        The place cannot be written.
    """
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    picture = io.BytesIO()
    with use(fig.get_figwidth()):
        fig.savefig(picture, format=kind, metadata=dates[kind])
    return write_bytes(path, picture.getvalue())


def band(
    ax: Axes,
    x: NDArray[Any],
    low: NDArray[Any],
    middle: NDArray[Any],
    high: NDArray[Any],
    method: str,
) -> dict[str, Any]:
    """A median with its band, in a method's appearance; returns the artists."""
    shape = look(method)
    fill = ax.fill_between(x, low, high, color=shape.color, alpha=0.25, linewidth=0)
    (line,) = ax.plot(x, middle, color=shape.color, linestyle=shape.linestyle, label=shape.label)
    return {"band": fill, "line": line}
