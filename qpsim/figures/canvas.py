"""The matplotlib figure that all figures of this package are drawn into, and how it is saved.

Imported only when something is drawn: it needs matplotlib.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from qpsim.figures import style
from qpsim.files.writing import write_bytes

style.import_matplotlib()

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


class StyledFigure(Figure):
    """A figure independent of pyplot's global state, rendered in the package's style.

    Ticks and some texts are made when a figure is rendered, and would otherwise use the global
    settings at that time.

    Parameters
    ----------
    width : float
        Inches.
    aspect : float
        Height over width.
    """

    def __init__(self, width: float, aspect: float) -> None:
        self._style_width = width
        with style.use(width):
            super().__init__(figsize=(width, width * aspect))
            FigureCanvasAgg(self)

    def draw(self, renderer: Any) -> None:
        """Render with the settings of the package."""
        with style.use(self._style_width):
            super().draw(renderer)


def save(fig: Figure, path: Path, kind: str) -> Path:
    """Write an image atomically; equal drawings give equal bytes.

    Raises
    ------
    FileError
        The place cannot be written.
    """
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    picture = io.BytesIO()
    with style.use(fig.get_figwidth()):
        # The backend is given explicitly, because a program may have registered another one for the
        # file format.
        backend = "agg" if kind == "png" else kind
        fig.savefig(picture, format=kind, metadata=dates[kind], backend=backend)
    return write_bytes(path, picture.getvalue())
