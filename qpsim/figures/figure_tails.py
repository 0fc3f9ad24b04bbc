"""Where sign descent wins as tails thicken: one step and a whole run under Student's t.

Figure 2's problems and noise C = nu^2 QQ, but with gradients that follow Student's t of ``df`` degrees of freedom. C is
its scale matrix: the covariance is df / (df - 2) C, so that heavier tails also mean more variance. With ``hold`` equal
to "covariance" C is divided by that factor, so that only the tails change. One step: sign descent's expected
improvement over that of SGD at the start (Eq. 11, exact). A run: SGD's excess loss over that of sign descent after all
steps, each of the exact optimal size. Both ratios are above 1 where sign descent wins.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import theory
from qpsim.errors import FigureError
from qpsim.execution import progress
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.pool import threads
from qpsim.figures import style
from qpsim.figures.choices import methods as chosen
from qpsim.figures.data import Data
from qpsim.figures.figure2_problems import Ensemble, PanelOptions, WithNoise
from qpsim.figures.options import option
from qpsim.problem import noise as noises
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.provenance import provenance_since
from qpsim.simulation.statistics import median_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

METHODS = ("sgd", "ssd")
GAUSSIAN = "Gaussian"
HOLDS = ("scale", "covariance")


@dataclass(frozen=True)
class Options(PanelOptions):
    """Which tails, problems and noise levels."""

    df: tuple[float, ...] = option(
        (2.5, 3.0, 4.0, 6.0, 12.0),
        "degrees of freedom, above 2; the Gaussian is always added",
        at_least=0.0,
    )
    hold: str = option("scale", "what all tails share: scale or covariance")
    noise_std: tuple[float, ...] = option((0.1, 4.0, 16.0), "noise levels nu", at_least=0.0)
    n_replicates: int = option(96, "runs of each method and panel", at_least=1)
    n_draws: int = option(12, "draws of spectrum and rotation among them", at_least=1)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """One step's theory and the runs of all panels.

    Returns
    -------
    Data
        ``one_step`` (row, noise, df, draw): log10 of I(sign) / I(gradient) at the start of a draw's first run, 0 where
        neither improves; ``final`` (row, noise, df, method, replicate): log10 excess loss after the last step;
        ``problem`` (replicate): which draw a replicate belongs to. The last ``df`` is the Gaussian.

    Raises
    ------
    FigureError
        A df of 2 or below, where SGD's best step is 0, or an unknown ``hold``.

    Examples
    --------
    >>> from qpsim.figures import figure_tails
    >>> few = figure_tails.Options(df=(3.0,), n_replicates=4, n_draws=2, n_steps=3, dim=4)
    >>> figure_tails.compute(few, workers=1)["one_step"].shape
    (4, 3, 2, 2)
    """
    began = time.perf_counter()
    tails = _tails(options)
    ensemble = Ensemble(
        options, [_with_tail(nu, df, options.hold) for nu in options.noise_std for df in tails]
    )
    shape = (len(ensemble.rows), len(options.noise_std), len(tails))
    final = np.empty((*shape, len(METHODS), options.n_replicates))
    for (row, column), losses in ensemble.run(chosen(METHODS), workers, "figure tails"):
        final[row, *divmod(column, len(tails))] = losses[:, :, -1]
    one_step = _one_step(ensemble, workers).reshape(*shape, -1)
    axes = {
        "one_step": ["row", "noise", "df", "draw"],
        "final": ["row", "noise", "df", "method", "replicate"],
        "problem": ["replicate"],
    }
    labels: dict[str, list[Any]] = {
        "row": [row.label for row in ensemble.rows],
        "noise": list(options.noise_std),
        "df": [*sorted(options.df), GAUSSIAN],
        "method": list(METHODS),
    }
    arrays = {"one_step": one_step, "final": final, "problem": ensemble.of_replicate}
    return Data(
        "tails", options, arrays, axes, labels, provenance_since(began, bit_generator="SFC64")
    )


def advantage(data: Data) -> np.ndarray:
    """log10 of SGD's final loss over sign descent's, paired by run: shape (row, noise, df, replicate)."""
    return data["final"][..., 0, :] - data["final"][..., 1, :]


def _tails(options: Options) -> list[float]:
    if options.hold not in HOLDS:
        raise FigureError(f"hold is 'scale' or 'covariance', not {options.hold!r}.")
    if min(options.df) <= 2.0:
        raise FigureError(
            f"df must be above 2, not {min(options.df):g}: up to 2 the variance is infinite and SGD's best step 0."
        )
    return [*sorted(options.df), math.inf]


def _with_tail(nu: float, df: float, hold: str) -> WithNoise:
    """The paper's noise with Student's t of df degrees; the Gaussian if df is infinite."""
    shrunk = hold == "covariance" and math.isfinite(df)
    level = nu * math.sqrt((df - 2.0) / df) if shrunk else nu
    noise = noises.data(level, df=df if math.isfinite(df) else None)
    return lambda problem, draw: problem.with_noise(noise)


def _one_step(ensemble: Ensemble, workers: int | Executor | None) -> np.ndarray:
    """log10 I(sign) / I(gradient), flat in the order (row, column, draw)."""
    places = list(np.ndindex(len(ensemble.rows), len(ensemble.columns), len(ensemble.problems[0])))
    jobs = ((ensemble.noisy(*place), ensemble.start(place[0], place[2])[0]) for place in places)
    found = []
    with (
        threads(workers) as pool,
        progress.bar("figure tails, theory", len(places)) as bar,
        pool.run(_ratio, enumerate(jobs)) as results,
    ):
        for ratio in results.in_order():
            found.append(ratio)
            bar.tick()
    return np.array(found)


def _ratio(problem: QuadraticProblem, theta: np.ndarray) -> float:
    with one_blas_thread():
        gradient, sign = (theory.expected_improvement(problem, m, theta) for m in METHODS)
    return math.log10(sign / gradient) if gradient > 0.0 and sign > 0.0 else 0.0


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """Both ratios at the thickest tails and at the Gaussian, medians over draws and runs."""
    ends = {f"df = {data.labels['df'][0]:g}": 0, GAUSSIAN: -1}
    columns = ["problem", "nu", *(f"{what}, {tail}" for what in ("step", "run") for tail in ends)]
    rows = []
    for row, name in enumerate(data.labels["row"]):
        for k, nu in enumerate(data.labels["noise"]):
            found = [
                10.0 ** float(np.median(values[row, k, at]))
                for values in (data["one_step"], advantage(data))
                for at in ends.values()
            ]
            rows.append([name, f"{nu:g}", *(f"{ratio:.3g}" for ratio in found)])
    return columns, rows


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.66 if width >= 5 else 1.0


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Two rows of panels, a column for each noise level: one step above, a whole run below.

    Returns
    -------
    dict
        (kind, noise level) -> line of each problem, for the kinds "one_step" and "run"; "legend"; "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    names, levels = data.labels["row"], data.labels["noise"]
    held = {"scale": "the scale matrix $C$", "covariance": "the covariance"}[data.options.hold]
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Medians, with 95 % intervals as bars, over {data['one_step'].shape[-1]} draws of the problem (above) and "
            f"over {data['final'].shape[-1]} runs of {data.options.n_steps} steps on them (below). Above the black "
            rf"line sign descent wins. All tails share {held}; $\infty$ is the Gaussian."
        )
    }
    artists["legend"] = page.legend(
        pages.handles(names, bands=False),
        [pages.two_lines(name).replace("\n", " ") for name in pages.labels(names)],
    )
    grid = page.grid(2, len(levels), left=5.4, right=1.0, top=1.8, across=3.4, down=1.6)
    kinds = {"one_step": data["one_step"], "run": advantage(data)}
    groups = {"one_step": np.arange(data["one_step"].shape[-1]), "run": data["problem"]}
    said = {"one_step": "one step: $I(s)/I(g)$", "run": "run: SGD / SSD"}
    for row, (kind, values) in enumerate(kinds.items()):
        for k, nu in enumerate(levels):
            ax = fig.add_subplot(grid[row, k])
            artists[kind, nu] = draw_panel(data, values[:, k], groups[kind], ax)
            ax.tick_params(labelbottom=row == 1)
            if row == 0:
                ax.set_title(rf"$\nu = {nu:g}$")
            else:
                ax.set_xlabel("df")
            if k == 0:
                box = ax.get_position()
                page.side(said[kind], 1.2, 0.5 * (box.y0 + box.y1))
    return artists


def draw_panel(data: Data, values: np.ndarray, groups: np.ndarray, ax: Axes) -> dict[str, Any]:
    """Ratios of all problems over df, into any axes.

    Parameters
    ----------
    values : ndarray, shape (row, df, n)
        log10 of the ratios.
    groups : ndarray, shape (n,)
        Which draw each of them belongs to.
    ax : matplotlib Axes
    """
    from qpsim.figures import page as pages

    # The axis is 1/df: the Gaussian is at 0, and small df are well separated.
    x = np.array([0.0 if df == GAUSSIAN else 1.0 / df for df in data.labels["df"]])
    ax.axhline(1.0, color="black", linewidth=0.8, zorder=1)
    artists, ends = {}, [1.0]
    for k, (name, shape) in enumerate(style.looks(data.labels["row"]).items()):
        found = [median_interval(values[k, j], groups) for j in range(x.size)]
        middle = 10.0 ** np.array([one[0] for one in found])
        bars = 10.0 ** np.clip([one[1] for one in found], -300.0, 300.0)
        known = np.isfinite([one[1] for one in found]).all(axis=1)
        # Shifted, so that bars do not hide each other.
        beside = x + 0.014 * x[0] * (k - 0.5 * (len(values) - 1))
        ax.vlines(beside[known], *bars[known].T, color=shape.color, linewidth=1.0, zorder=2)
        artists[name] = pages.line(ax, beside, middle, shape, markevery=1, zorder=3)
        ends += [*middle, *bars[known].ravel()]
    ax.set_xlim(-0.06 * x[0], 1.06 * x[0])
    low, high = pages.padded(*np.log10([min(ends), max(ends)]))
    ax.set_yscale("log")
    ax.set_ylim(10.0**low, 10.0**high)
    pages.log_axis(ax.yaxis)
    shown = _labelled_positions(x, ax)
    texts = [r"$\infty$" if x[k] == 0.0 else f"{data.labels['df'][k]:g}" for k in shown]
    ax.set_xticks(x[shown], texts)
    return artists


def _labelled_positions(x: np.ndarray, ax: Axes) -> list[int]:
    """Positions of the axis with room for a label; both ends always have one."""
    import matplotlib

    ems = ax.get_window_extent().width / ax.figure.dpi * 72 / matplotlib.rcParams["font.size"]
    room = 1.7 * 1.12 * float(x.max()) / ems
    shown = [int(np.argmax(x))]
    for k in np.argsort(-x)[1:-1]:
        if x[shown[-1]] - x[k] >= room and x[k] >= room:
            shown.append(int(k))
    return [*shown, int(np.argmin(x))]
