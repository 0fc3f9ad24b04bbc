"""Least squares in many coordinates: SGD and sign descent beside their high-dimensional equations.

Runs of batch size 1 on Gaussian data whose covariance has a log-uniform spectrum of mean 1 in a random basis. Steps are
a constant over d, and time is counted in multiples of d steps. Every start has the excess loss 1/2. The gap of a run is
its largest distance from the equation's curve (:func:`qpsim.theory.high_dimensional_risk`), as a share of that loss.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qpsim import theory
from qpsim.execution import progress
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.pool import threads
from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.problem.least_squares import LeastSquares
from qpsim.problem.random import random_problem
from qpsim.provenance import provenance_since
from qpsim.simulation.run import simulate
from qpsim.simulation.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

METHODS = ("sgd", "ssd")
LEVELS = (0.1, 0.5, 0.9)
_POINTS = 60
_START = 0.5


@dataclass(frozen=True)
class Options(BaseOptions):
    """Which dimensions, how many runs, and how long."""

    dims: tuple[int, ...] = option((32, 64, 128, 256, 512), "numbers of coordinates", at_least=2)
    n_replicates: int = option(128, "runs of each method and dimension", at_least=1)
    n_draws: int = option(8, "draws of spectrum, rotation and start among them", at_least=1)
    time: float = option(4.0, "length of a run in multiples of d steps", at_least=1.0)
    sgd_step: float = option(0.5, "d times the step size of SGD", at_least=0.0)
    ssd_step: float = option(0.5, "d times the step size of sign descent", at_least=0.0)
    label_noise_std: float = option(0.5, "standard deviation of the labels", at_least=0.0)
    condition: float = option(10.0, "condition number of the covariance", at_least=1.0)
    rng: int = option(0, "seed", at_least=0)


class _Found(NamedTuple):
    """Results of one draw of one dimension; the leading axis is the method."""

    losses: np.ndarray  # (method, replicate, point)
    curve: np.ndarray  # (method, point)
    gap: np.ndarray  # (method, replicate)
    exact: float  # largest share by which the equation of SGD is off its exact risk


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Run all dimensions and draws, and the equations beside them.

    Returns
    -------
    Data
        ``time`` (dim, point): in multiples of d steps; ``quantiles`` (dim, method, level, point): of the excess loss of
        the first draw's runs; ``curve`` (dim, method, point): the equation on that draw; ``deviation`` (dim, method,
        draw, point): mean of a draw's runs over the equation, minus 1; ``gap`` (dim, method, draw): geometric mean of
        the runs' gaps; ``exact_gap`` (dim, draw): largest share by which the equation of SGD is off its exact risk;
        ``exponent`` (method, draw) and ``exact_exponent`` (draw): slopes of their logarithms over that of d.

    Examples
    --------
    >>> from qpsim.figures import figure_least_squares as figure
    >>> few = figure.Options(dims=(4, 8), n_replicates=4, n_draws=2)
    >>> figure.compute(few, workers=1)["exponent"].shape
    (2, 2)
    """
    began = time.perf_counter()
    n_draws = min(options.n_draws, options.n_replicates)
    jobs = [(options, dim, draw) for dim in options.dims for draw in range(n_draws)]
    # The largest dimensions first, since they take longest.
    order = sorted(range(len(jobs)), key=lambda k: -jobs[k][1])
    found: dict[int, _Found] = {}
    with (
        threads(workers) as pool,
        progress.bar("figure least-squares", len(jobs)) as bar,
        pool.run(_run, enumerate(jobs[k] for k in order)) as results,
    ):
        for k, one in zip(order, results.in_order(), strict=True):
            found[k] = one
            bar.tick()
    by_dim = [[found[d * n_draws + j] for j in range(n_draws)] for d in range(len(options.dims))]
    times = np.array([_points(options, dim) / dim for dim in options.dims])
    gap = np.array(
        [np.exp([np.log(f.gap).mean(axis=1) for f in row]).T for row in by_dim]
    )  # (dim, method, draw)
    exact = np.array([[f.exact for f in row] for row in by_dim])
    arrays = {
        "time": times,
        "quantiles": np.array(
            [np.quantile(row[0].losses, LEVELS, axis=1).swapaxes(0, 1) for row in by_dim]
        ),
        "curve": np.array([row[0].curve for row in by_dim]),
        "deviation": np.array(
            [[f.losses.mean(axis=1) / f.curve - 1.0 for f in row] for row in by_dim]
        ).swapaxes(1, 2),
        "gap": gap,
        "exact_gap": exact,
        "exponent": _slopes(options.dims, gap),
        "exact_exponent": _slopes(options.dims, exact),
    }
    axes = {
        "time": ["dim", "point"],
        "quantiles": ["dim", "method", "level", "point"],
        "curve": ["dim", "method", "point"],
        "deviation": ["dim", "method", "draw", "point"],
        "gap": ["dim", "method", "draw"],
        "exact_gap": ["dim", "draw"],
        "exponent": ["method", "draw"],
        "exact_exponent": ["draw"],
    }
    labels: dict[str, list[Any]] = {
        "dim": list(options.dims),
        "method": list(METHODS),
        "level": list(LEVELS),
    }
    return Data(
        "least-squares",
        options,
        arrays,
        axes,
        labels,
        provenance_since(began, bit_generator="SFC64"),
    )


def _points(options: Options, dim: int) -> np.ndarray:
    """Steps at which the losses are recorded."""
    return np.linspace(0, round(options.time * dim), _POINTS + 1).round().astype(int)


def _run(options: Options, dim: int, draw: int) -> _Found:
    seed = np.random.SeedSequence(options.rng, spawn_key=(dim, draw))
    drawn, begin, noise = seed.spawn(3)
    with one_blas_thread():
        made = random_problem(
            "log-uniform", dim, "haar", condition=options.condition, scale=0.0, rng=drawn
        )
        covariance = made.hessian / made.eigenvalues.mean()
    problem = LeastSquares(covariance, label_noise_std=options.label_noise_std)
    theta0 = np.random.Generator(np.random.PCG64(begin)).uniform(-1.0, 1.0, dim)
    theta0 *= np.sqrt(_START / problem.excess_loss(theta0))
    n_draws = min(options.n_draws, options.n_replicates)
    n_replicates = len(range(draw, options.n_replicates, n_draws))
    n_steps, at = round(options.time * dim), _points(options, dim)
    losses, curves, gaps, exact = [], [], [], 0.0
    for method, length in zip(METHODS, (options.sgd_step, options.ssd_step), strict=True):
        step = length / dim
        curve = theory.high_dimensional_risk(problem, method, theta0, step, n_steps)
        run = simulate(
            problem,
            method,
            step_size=step,
            n_steps=n_steps,
            n_replicates=n_replicates,
            theta0=theta0,
            rng=noise,
            workers=1,
        )
        losses.append(run.excess_loss[:, at])
        curves.append(curve[at])
        gaps.append(np.abs(run.excess_loss - curve).max(axis=1) / _START)
        if method == "sgd":
            known = theory.expected_excess_loss(problem, method, theta0, step, n_steps)
            exact = float(np.max(np.abs(curve / known - 1.0)))
    return _Found(np.array(losses), np.array(curves), np.array(gaps), exact)


def _slopes(dims: tuple[int, ...], values: np.ndarray) -> np.ndarray:
    """Least-squares slope of log(values) over log(d), along the first axis."""
    x = np.log(np.array(dims, dtype=float))
    x -= x.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.tensordot(x, np.log(values), axes=1) / (x @ x)


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """The gap's exponents with their intervals."""
    rows = []
    for k, method in enumerate(data.labels["method"]):
        mean, (low, high) = mean_interval(data["exponent"][k])
        last = float(np.exp(np.log(data["gap"][-1, k]).mean()))
        rows.append([method, f"{last:.3g}", f"{mean:.3f}", f"[{low:.3f}, {high:.3f}]"])
    largest = data.labels["dim"][-1]
    return ["method", f"gap at d = {largest}", "exponent of d", "95 % interval"], rows


def summary(data: Data) -> str:
    """The results in one sentence."""
    said = []
    for k, shape in enumerate(style.looks(data.labels["method"]).values()):
        mean, (low, high) = mean_interval(data["exponent"][k])
        said.append(f"d^{mean:.2f} [{low:.2f}, {high:.2f}] for {shape.label}")
    return (
        f"The gap of one run to the equation falls like {' and '.join(said)} (95 % intervals over "
        f"{data['exponent'].shape[1]} draws)."
    )


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.72 if width >= 5 else 1.05


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Three dimensions' curves and the gap over d.

    Returns
    -------
    dict
        By dimension method -> artists ("band", "line", "equation"); "gap" method -> line; "legend"; "note".
    """
    from matplotlib.lines import Line2D

    from qpsim.figures import page as pages

    page = pages.Page(fig)
    methods = data.labels["method"]
    dims = data.labels["dim"]
    shown = sorted({0, len(dims) // 2, len(dims) - 1})
    runs = len(range(0, data.options.n_replicates, data["exponent"].shape[1]))
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Lines and bands: median and 10 to 90 % of {runs} runs on one problem. Gap: largest distance of a run "
            "from the equation, as a share of the loss at the start; bars: 95 % intervals over "
            f"{data['exponent'].shape[1]} problems; dotted: fitted powers of $d$."
        )
    }
    equation = Line2D([], [], color="black", linestyle=_EQUATION)
    artists["legend"] = page.legend(
        [*pages.handles(methods, markers=False), equation],
        [*pages.labels(methods), "high-dimensional equation"],
    )
    grid = page.grid(2, 2, left=5.2, right=1.2, across=5.6, down=4.6, bottom=3.4)
    places = [grid[k // 2, k % 2] for k in range(4)]
    curves = []
    for k, place in zip(shown, places, strict=False):
        ax = fig.add_subplot(place)
        artists[dims[k]] = draw_panel(data, k, ax)
        ax.set_title(rf"$d = {dims[k]}$")
        ax.set_xlabel("steps / $d$")
        ax.set_ylabel("excess loss")
        curves.append(ax)
    ends = np.array([ax.get_ylim() for ax in curves])
    for ax in curves:
        ax.set_ylim(ends[:, 0].min(), ends[:, 1].max())
        pages.log_axis(ax.yaxis)
    ax = fig.add_subplot(places[3])
    artists["gap"] = draw_gap(data, ax)
    return artists


_EQUATION = (0, (1.2, 0.9))


def draw_panel(data: Data, k: int, ax: Axes) -> dict[str, Any]:
    """Runs and equation of the k-th dimension, into any axes."""
    from qpsim.figures import page as pages

    x = data["time"][k]
    artists = {}
    for m, (method, shape) in enumerate(style.looks(data.labels["method"]).items()):
        low, middle, high = data["quantiles"][k, m]
        artists[method] = pages.band(ax, x, low, middle, high, shape, marker="")
        (artists[method]["equation"],) = ax.plot(
            x, data["curve"][k, m], color="black", linestyle=_EQUATION, zorder=4
        )
    ax.set_xlim(0.0, x[-1])
    ax.set_xticks(np.linspace(0.0, x[-1], 5).round(2))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_yscale("log")
    return artists


def draw_gap(data: Data, ax: Axes) -> dict[str, Any]:
    """The gap over d with its fits, into any axes."""
    from qpsim.figures import page as pages

    dims = np.array(data.labels["dim"], dtype=float)
    artists = {}
    for m, (method, shape) in enumerate(style.looks(data.labels["method"]).items()):
        logs = np.log(data["gap"][:, m])
        middle = np.exp(logs.mean(axis=1))
        bars = np.array([mean_interval(row)[1] for row in logs])
        bars = np.where(np.isfinite(bars), np.exp(bars), middle[:, None])
        slope = float(data["exponent"][m].mean())
        fit = np.exp(logs.mean() + slope * (np.log(dims) - np.log(dims).mean()))
        ax.plot(dims, fit, color=shape.color, linestyle=(0, (1, 1)), zorder=1.5)
        ax.vlines(dims, bars[:, 0], bars[:, 1], color=shape.color, linewidth=1.0)
        artists[method] = pages.line(
            ax, dims, middle, shape, markevery=1, linestyle="", label=shape.label
        )
        # Above the upper points and below the lower ones.
        upper = m == int(np.argmax(data["gap"][-1].mean(axis=1)))
        at = min(1, len(dims) - 1) if upper else max(len(dims) - 2, 0)
        ax.annotate(
            f"$d^{{{slope:.2f}}}$",
            (dims[at], middle[at]),
            xytext=(5, 5) if upper else (-5, -5),
            textcoords="offset points",
            ha="left" if upper else "right",
            va="bottom" if upper else "top",
        )
    ax.set_xlim(dims[0] / 1.25, dims[-1] * 1.25)
    ax.set_yscale("log")
    ax.set_ylim(data["gap"].min() / 1.6, data["gap"].max() * 1.5)
    ax.set_title("gap of one run")
    ax.set_xlabel("$d$")
    ax.set_ylabel("gap / loss at the start")
    for axis in (ax.xaxis, ax.yaxis):
        pages.log_axis(axis)
    ax.set_xticks(dims, [f"{d:g}" for d in dims])
    return artists
