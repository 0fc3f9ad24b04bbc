"""What the figures on networks share: tuned runs as arrays, losses over steps, the table below.

A figure says which problems and methods it compares. Each method's step size is tuned by the
protocol of Section A.2 (:mod:`qpsim.tuning.networks`), then run ten times; the runs are kept in a cache, so
that the figures share what they have in common and an interrupted one goes on where it was.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.provenance import environment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from qpsim.tuning.networks import Tuned

_REAL = {"digits-mlp": "mnist", "digits-cnn": "cifar10", "digits-whitened": "cifar100"}
_TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
_TABLE_HEAD = 2.6  # lines above a table's first method
_PANEL_ROWS = ("training loss", "test loss")


@dataclass(frozen=True)
class Options(BaseOptions):
    """What a figure on networks may be asked for."""

    replicates: int = option(10, "runs at the best step size", at_least=1)
    tuning_seeds: int = option(1, "runs at each step size that is tried", at_least=1)
    steps: int = option(0, "steps of each run; 0: as the problem says", at_least=0)
    seed: int = option(0, "seed of everything random", at_least=0)
    data: str = option("", "folder of MNIST, CIFAR-10 and CIFAR-100; without it, the digits")
    cache: str = option("", "folder of finished runs; by default the user's cache folder")

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the places on this machine, which decide no number."""
        kept = {key: value for key, value in super().as_dict().items() if key != "cache"}
        return {**kept, "data": "real" if self.data else ""}


def compute(
    figure: str,
    problems: tuple[str, ...],
    methods: tuple[str, ...],
    options: Options,
    workers: int | Executor | None = None,
) -> Data:
    """Tune all methods on all problems and gather the replicates.

    Parameters
    ----------
    figure : str
        Name that the data carry.
    problems : tuple of str
        Names of digits tasks; with ``options.data`` their real counterparts take their place.
    methods : tuple of str

    Returns
    -------
    Data
        For the k-th problem ``steps_k`` (evaluation,); ``test_loss_k`` (method, replicate,
        evaluation); ``train_loss_k`` (method, replicate, interval): mean batch loss from one
        evaluation to the next; ``grid_k`` (method, point, [step size, score]), NaN beyond a method's
        last point. And
        ``test_accuracy`` after the last step, ``test_loss``, ``mean_loss``: training loss over the
        run, ``early_loss``: over its first quarter, each (problem, method, replicate);
        ``step_size`` (problem, method). What diverged is +inf, its accuracy NaN.
    """
    from qpsim.nn import task
    from qpsim.tuning.networks import Protocol, tune

    began = time.perf_counter()
    names = [_REAL[name] for name in problems] if options.data else list(problems)
    tasks = [task(name) for name in names]
    if options.steps:
        tasks = [replace(one, n_steps=options.steps) for one in tasks]
    protocol = Protocol(
        tuning_seeds=options.tuning_seeds, replicates=options.replicates, seed=options.seed
    )
    tuned = tune(
        tasks,
        methods,
        protocol,
        directory=options.data or None,
        workers=workers,
        cache=options.cache or None,
    )
    cells = [tuned[k * len(methods) : (k + 1) * len(methods)] for k in range(len(tasks))]
    arrays: dict[str, np.ndarray] = {
        name: np.array([[pick(one) for one in row] for row in cells])
        for name, pick in (
            ("test_accuracy", lambda one: one.test_accuracy),
            ("test_loss", lambda one: one.test_loss),
            ("mean_loss", lambda one: one.mean_loss),
            ("early_loss", _early_loss),
            ("step_size", lambda one: one.best.step_size),
        )
    }
    axes = {name: ["problem", "method", "replicate"] for name in arrays}
    axes["step_size"] = ["problem", "method"]
    for k, row in enumerate(cells):
        found, names_of_axes = _curves(row)
        arrays |= {f"{name}_{k}": array for name, array in found.items()}
        axes |= {f"{name}_{k}": listed for name, listed in names_of_axes.items()}
    labels: dict[str, list[Any]] = {
        "problem": names,
        "method": list(methods),
        "criterion": [one.criterion for one in tasks],
        "tasks": [{"name": one.name, "notes": one.notes} for one in tasks],
    }
    provenance = {
        **environment(),
        "protocol": "largest stable step size, two orders of magnitude down over 6, 3, 1 x 10^m",
        "replicate_seeds": list(protocol.replicate_seeds),
        "wall_seconds": round(time.perf_counter() - began, 3),
    }
    return Data(figure, options, arrays, axes, labels, provenance)


def aspect(n_problems: int, n_methods: int) -> float:
    """Height over width: two panels and a table of the methods."""
    return (0.78 if n_problems > 2 else 0.82) + 0.035 * n_methods


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Training and test loss over steps, mean and one standard deviation, and the table below.

    Returns
    -------
    dict
        (problem, "training loss" or "test loss") -> method -> artists; "legend"; "table".
    """
    problems, methods = data.labels["problem"], data.labels["method"]
    width, height = fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi
    em = _em()
    table_lines = len(methods) + _TABLE_HEAD
    grid = fig.add_gridspec(
        2,
        len(problems),
        left=4.6 * em / width,
        right=1.0 - 1.5 * em / width,
        top=1.0 - 3.8 * em / height,
        bottom=(table_lines * 1.45 + 4.2) * em / height,
        wspace=3.2 * em / (width / len(problems)) * 1.25,
        hspace=0.1,
    )
    artists: dict[Any, Any] = {}
    for k, problem in enumerate(problems):
        shared: Axes | None = None
        for row, kind in enumerate(_PANEL_ROWS):
            ax = fig.add_subplot(grid[row, k], sharex=shared)
            artists[problem, kind] = draw_panel(data, k, kind, ax)
            ax.tick_params(labelbottom=row == 1)
            shared = shared or ax
            if row == 0:
                ax.set_title(_TITLES.get(problem, problem))
            else:
                ax.set_xlabel("steps")
            if k == 0:
                ax.set_ylabel(kind)
    lines = [artists[problems[0], _PANEL_ROWS[0]][method]["line"] for method in methods]
    artists["legend"] = fig.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 - 0.2 * em / height),
        ncols=len(lines),
        borderpad=0.1,
        handlelength=2.6,
        columnspacing=1.4,
    )
    artists["table"] = _table(data, fig, table_lines * 1.45 * em / height, em, (width, height))
    return artists


def draw_panel(data: Data, problem: int, kind: str, ax: Axes) -> dict[str, Any]:
    """One loss of one problem over steps, into any axes: mean +- 1 sd over the replicates."""
    evaluated = data[f"steps_{problem}"]
    training = kind == _PANEL_ROWS[0]
    losses = data[f"{'train' if training else 'test'}_loss_{problem}"]
    x = 0.5 * (evaluated[1:] + evaluated[:-1]) if training else evaluated
    artists = {}
    lows, highs = [], []
    for n, method in enumerate(data.labels["method"]):
        finite = np.where(np.isfinite(losses[n]), losses[n], np.nan)
        mean = finite.mean(axis=0)
        spread = finite.std(axis=0, ddof=1) if len(finite) > 1 else np.zeros_like(mean)
        # A logarithmic axis has no place for a band that reaches below 0.
        low = np.where(mean > spread, mean - spread, finite.min(axis=0))
        artists[method] = style.band(ax, x, low, mean, mean + spread, method)
        lows.append(low)
        highs.append(mean + spread)
    bottom, top = float(np.nanmin(lows)), float(np.nanmax(highs))
    ax.set_yscale("log")
    ax.set_ylim(bottom * 0.9, top * 1.1)
    _label_decades(ax)
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
    by_accuracy = tuned[0].task.criterion == "test-accuracy"
    artists = {}
    for one in tuned:
        points = [point for point in one.grid if np.isfinite(point.score)]
        x = [point.step_size for point in points]
        y = [1 - point.score if by_accuracy else point.score for point in points]
        look = style.look(one.method.name)
        (line,) = ax.plot(x, y, color=look.color, linestyle=look.linestyle, label=look.label)
        at = [k for k, step in enumerate(x) if step == one.best.step_size]
        (mark,) = ax.plot(
            [x[k] for k in at], [y[k] for k in at], "o", color=look.color, markersize=4
        )
        artists[one.method.name] = {"line": line, "best": mark}
    ax.set_xscale("log")
    ax.set_xlabel("step size")
    ax.set_ylabel("highest test accuracy" if by_accuracy else "mean training loss")
    if not by_accuracy:
        ax.set_yscale("log")
        _label_decades(ax)
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, columnspacing=1.2)
    return artists


def _early_loss(one: Tuned) -> np.ndarray:
    quarter = max(one.task.n_steps // 4, 1)
    return np.array(
        [
            np.inf if history.diverged_at is not None else np.mean(history.batch_loss[:quarter])
            for history in one.histories
        ]
    )


def _curves(row: list[Tuned]) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    steps = max((history.evaluated for one in row for history in one.histories), key=len)
    test = np.full((len(row), len(row[0].histories), len(steps)), np.inf)
    train = np.full((*test.shape[:2], len(steps) - 1), np.inf)
    for n, one in enumerate(row):
        for r, history in enumerate(one.histories):
            test[n, r, : len(history.test_loss)] = history.test_loss
            train[n, r, : len(history.evaluated) - 1] = history.interval_loss()
    grid = np.full((len(row), max(len(one.grid) for one in row), 2), np.nan)
    for n, one in enumerate(row):
        grid[n, : len(one.grid)] = [[point.step_size, point.score] for point in one.grid]
    found = {"steps": np.array(steps), "test_loss": test, "train_loss": train, "grid": grid}
    names = {
        "steps": ["evaluation"],
        "test_loss": ["method", "replicate", "evaluation"],
        "train_loss": ["method", "replicate", "interval"],
        "grid": ["method", "point", "value"],
    }
    return found, names


def _table(
    data: Data, fig: Figure | SubFigure, height: float, em: float, size: tuple[float, float]
) -> dict[Any, Any]:
    """Test accuracy after the last step and mean training loss, mean +- sd, one line a method."""
    problems, methods = data.labels["problem"], data.labels["method"]
    width, _ = size
    narrow = width < 5
    # At column width six columns of numbers have to do without spaces.
    text_size = (0.88 if narrow else 1.0) * 72 * em
    headings = ("acc. %", "loss") if narrow else ("test accuracy, %", "training loss")
    ax = fig.add_axes((0.0, 0.0, 1.0, height))
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(len(methods) + _TABLE_HEAD, 0)
    first = 6.2 * em / width
    column = (1.0 - first - 0.6 * em / width) / (2 * len(problems))
    artists: dict[Any, Any] = {}
    ax.plot([0.01, 0.99], [2.0, 2.0], color="0.3", linewidth=0.6)
    for k, problem in enumerate(problems):
        left = first + 2 * k * column
        ax.text(left + column, 0.5, _TITLES.get(problem, problem), ha="center", va="center")
        for c, heading in enumerate(headings):
            place = left + (c + 0.5) * column
            ax.text(place, 1.4, heading, ha="center", va="center", fontsize=text_size)
        best = int(np.argmin(data["mean_loss"][k].mean(axis=1)))
        for n, method in enumerate(methods):
            texts = (
                _spread(100 * data["test_accuracy"][k, n], 1, narrow),
                _spread(data["mean_loss"][k, n], 3, narrow),
            )
            for c, text in enumerate(texts):
                artists[problem, method, c] = ax.text(
                    left + (c + 0.5) * column,
                    n + _TABLE_HEAD,
                    text,
                    ha="center",
                    va="center",
                    fontsize=text_size,
                    fontweight="bold" if c == 1 and n == best else "normal",
                )
    for n, method in enumerate(methods):
        ax.text(0.015, n + _TABLE_HEAD, style.look(method).label, ha="left", va="center")
    return artists


def _spread(values: np.ndarray, digits: int, narrow: bool) -> str:
    """Mean +- sd; a number below 1 goes without its 0 and one above 1 with a digit less."""
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


def _label_decades(ax: Axes) -> None:
    """Labels 0.5, 1, 2 and the like on a logarithmic loss axis, few enough not to touch."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_ylim()
    steps = (1.0, 2.0, 5.0) if high < 30 * low else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(base=10, subs=steps, numticks=12))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _em() -> float:
    import matplotlib

    return float(matplotlib.rcParams["font.size"]) / 72
