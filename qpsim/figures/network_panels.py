"""How the figures on networks are drawn: losses over steps, and a table of the results below.

Used by Figures 3, 6 and 7, whose numbers come from :mod:`qpsim.figures.networks`, and by
``qpsim tune``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import style
from qpsim.figures.data import Data

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from qpsim.figures.page import Page
    from qpsim.tuning.networks import Tuned

PANELS = ("training loss", "test loss")
_LINE = 1.5  # height of a line of the table, in ems
_HEAD = 2.6  # lines above a table's first method
# Losses nearer to the lowest one than so many standard errors are printed in bold as well.
_STANDARD_ERRORS = 2.0


def titles(data: Data) -> list[str]:
    """The data of each problem; older files contain only the names of the tasks."""
    return data.labels.get("title", data.labels["problem"])


def aspect(data: Data, width: float) -> float:
    """Height over width: two rows of panels and a table of the methods."""
    lines = len(data.labels["method"]) * (0.04 if width < 5 else 0.033)
    return (0.86 if len(data.labels["problem"]) > 2 else 0.92) + lines


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Training and test loss over steps, mean and one standard deviation, and the table below.

    Returns
    -------
    dict
        (problem, "training loss" or "test loss") -> method -> artists; "legend"; "table"; "note".
    """
    from qpsim.figures import page as pages

    problems, methods = data.labels["problem"], data.labels["method"]
    page = pages.Page(fig)
    artists: dict[Any, Any] = {"note": page.note(_note(data))}
    artists["table"] = _table(data, page)
    artists["legend"] = page.legend(pages.handles(methods), pages.labels(methods))
    grid = page.grid(
        2, len(problems), left=4.6, right=1.4, top=1.8, bottom=3.9, across=4.0, down=1.2
    )
    for k, problem in enumerate(problems):
        shared: Axes | None = None
        for row, kind in enumerate(PANELS):
            ax = fig.add_subplot(grid[row, k], sharex=shared)
            artists[problem, kind] = draw_panel(data, k, kind, ax)
            ax.tick_params(labelbottom=row == 1)
            shared = shared or ax
            if row == 0:
                ax.set_title(titles(data)[k])
            else:
                ax.set_xlabel("steps")
            if k == 0:
                ax.set_ylabel(kind)
    return artists


def draw_panel(data: Data, problem: int, kind: str, ax: Axes) -> dict[str, Any]:
    """One loss of one problem over steps, into any axes: mean +- 1 sd over the replicates."""
    from qpsim.figures import page as pages

    evaluated = data[f"steps_{problem}"]
    training = kind == PANELS[0]
    losses = data[f"{'train' if training else 'test'}_loss_{problem}"]
    x = 0.5 * (evaluated[1:] + evaluated[:-1]) if training else evaluated
    artists = {}
    lows, highs = [], []
    for n, (method, shape) in enumerate(style.looks(data.labels["method"]).items()):
        finite = np.where(np.isfinite(losses[n]), losses[n], np.nan)
        mean = finite.mean(axis=0)
        spread = finite.std(axis=0, ddof=1) if len(finite) > 1 else np.zeros_like(mean)
        # On a logarithmic axis a band below 0 cannot be drawn.
        low = np.where(mean > spread, mean - spread, finite.min(axis=0))
        artists[method] = pages.band(ax, x, low, mean, mean + spread, shape, n)
        lows.append(low)
        highs.append(mean + spread)
    bottom, top = float(np.nanmin(lows)), float(np.nanmax(highs))
    ax.set_ylim(bottom * 0.9, top * 1.1)
    pages.log_axis(ax.yaxis)
    ax.set_xlim(0, evaluated[-1])
    return artists


def draw_sensitivity(tuned: list[Tuned], ax: Axes) -> dict[str, Any]:
    """Score of every step size of the grids, the chosen ones marked, into any axes.

    Parameters
    ----------
    tuned : list of Tuned
        Of one task. The score is the mean training loss over the run, or the highest test
        accuracy, whichever the task chooses by.
    ax : matplotlib Axes
    """
    from qpsim.figures import page as pages

    by_accuracy = tuned[0].task.criterion == "test-accuracy"
    shapes = style.looks([one.method.name for one in tuned]).values()
    artists = {}
    for one, shape in zip(tuned, shapes, strict=True):
        points = [point for point in one.grid if np.isfinite(point.score)]
        x = [point.step_size for point in points]
        y = [1 - point.score if by_accuracy else point.score for point in points]
        line = pages.line(ax, x, y, shape, markevery=1)
        at = [k for k, step in enumerate(x) if step == one.best.step_size]
        (mark,) = ax.plot(
            [x[k] for k in at],
            [y[k] for k in at],
            "o",
            color=shape.color,
            markerfacecolor="none",
            markersize=8,
        )
        artists[one.method.name] = {"line": line, "best": mark}
    ax.set_xscale("log")
    ax.set_xlabel("step size (circle: the chosen one)")
    ax.set_ylabel("highest test accuracy" if by_accuracy else "mean training loss")
    if not by_accuracy:
        pages.log_axis(ax.yaxis)
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, columnspacing=1.2)
    return artists


def as_good_as_best(losses: np.ndarray) -> np.ndarray:
    """Which methods' mean losses do not differ significantly from the lowest one, shape (method,).

    Runs are paired by their seed: a method differs if the mean of its losses minus those of the best is more than two
    standard errors. With a single run none differs.

    Parameters
    ----------
    losses : ndarray, shape (method, replicate)
        What diverged is inf.

    Examples
    --------
    >>> import numpy as np
    >>> as_good_as_best(np.array([[1.0, 1.2], [1.1, 1.2], [2.0, 2.3]]))
    array([ True,  True, False])
    """
    n = losses.shape[1]
    finite = np.isfinite(losses).all(axis=1)
    if n < 2 or not finite.any():
        return np.zeros(len(losses), dtype=bool)
    means = np.where(finite, np.where(finite[:, None], losses, 0.0).mean(axis=1), np.inf)
    best = losses[int(np.argmin(means))]
    found = np.zeros(len(losses), dtype=bool)
    for k in np.flatnonzero(finite):
        behind = losses[k] - best
        found[k] = behind.mean() <= _STANDARD_ERRORS * behind.std(ddof=1) / np.sqrt(n)
    return found


def spread_text(values: np.ndarray, digits: int, narrow: bool) -> str:
    """Mean +- sd; a number below 1 goes without its 0 and one above 1 with a digit less.

    >>> import numpy as np
    >>> spread_text(np.array([0.5, 0.7]), 3, False), spread_text(np.array([0.5, np.inf]), 3, False)
    ('.600 ± .141', '1/2 div.')
    """
    finite = values[np.isfinite(values)]
    if len(finite) < len(values):
        return f"{len(values) - len(finite)}/{len(values)} div."
    mean, spread = finite.mean(), finite.std(ddof=1) if len(finite) > 1 else 0.0
    if digits == 3:
        digits -= mean >= 1
    texts = [f"{value:.{digits}f}" for value in (mean, spread)]
    if digits > 1:
        texts = [text.removeprefix("0") for text in texts]
    return ("±" if narrow else " ± ").join(texts)


def _note(data: Data) -> str:
    runs = data["mean_loss"].shape[-1]
    chosen = (
        ", by which the step sizes were chosen"
        if set(data.labels["criterion"]) == {"training-loss"}
        else ""
    )
    bold = (
        " Bold: the lowest loss, and all within two standard errors of it (runs paired by seed)."
        if runs > 1
        else ""
    )
    return (
        f"Lines: means over {runs} runs; bands: ± 1 standard deviation. Training loss: mean over the "
        "batches between two evaluations. Table: accuracy after the last step, and the training loss "
        f"averaged over all steps of a run{chosen}; mean ± 1 standard deviation.{bold}"
    )


def _table(data: Data, page: Page) -> dict[Any, Any]:
    """Test accuracy after the last step and mean training loss, mean +- sd, one line a method."""
    problems, methods = data.labels["problem"], data.labels["method"]
    # At column width six columns of numbers have to do without spaces.
    text_size = (0.88 if page.narrow else 1.0) * 72 * page.em
    headings = (
        ("acc. %", "mean loss") if page.narrow else ("test accuracy, %", "mean training loss")
    )
    ax = page.strip(_LINE * (len(methods) + _HEAD))
    ax.set_xlim(0, 1)
    ax.set_ylim(len(methods) + _HEAD, 0)
    first = 6.2 / page.width
    column = (1.0 - first - 0.6 / page.width) / (2 * len(problems))
    artists: dict[Any, Any] = {}
    ax.plot([0.01, 0.99], [2.0, 2.0], color="0.3", linewidth=0.6)
    for k, problem in enumerate(problems):
        left = first + 2 * k * column
        ax.text(left + column, 0.5, titles(data)[k], ha="center", va="center")
        for c, heading in enumerate(headings):
            place = left + (c + 0.5) * column
            ax.text(place, 1.4, heading, ha="center", va="center", fontsize=text_size)
        best = as_good_as_best(data["mean_loss"][k])
        for n, method in enumerate(methods):
            texts = (
                spread_text(100 * data["test_accuracy"][k, n], 1, page.narrow),
                spread_text(data["mean_loss"][k, n], 3, page.narrow),
            )
            for c, text in enumerate(texts):
                artists[problem, method, c] = ax.text(
                    left + (c + 0.5) * column,
                    n + _HEAD,
                    text,
                    ha="center",
                    va="center",
                    fontsize=text_size,
                    fontweight="bold" if c == 1 and best[n] else "normal",
                )
    for n, shape in enumerate(style.looks(methods).values()):
        ax.text(0.8 / page.width, n + _HEAD, shape.label, ha="left", va="center")
    return artists
