"""The matplotlib figure that all figures of this package are drawn into.

Imported only when something is drawn: it needs matplotlib.
"""

from __future__ import annotations

from typing import Any

from qpsim.figures import style

style.import_matplotlib()

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


class StyledFigure(Figure):
    """A figure outside of pyplot's global state that is rendered in the package's style.

    Ticks and some texts are only made when a figure is rendered, and would otherwise take the
    settings of that moment.
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
