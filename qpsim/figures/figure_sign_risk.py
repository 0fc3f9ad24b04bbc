"""Sign descent on a rotated Hessian: two approximations of its expected loss beside ensembles, as d grows.

Every problem is the paper's mild one in a random basis, with white noise of variance 1. The start is random and its
gradient scaled to a given signal q, the mean square of a coordinate's gradient over its noise. A run takes a fixed
number of steps of one size, which grows with the distance. The error of an approximation is its largest relative
difference from the mean loss of the runs. Means over problems are geometric.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qpsim import theory
from qpsim.execution import progress
from qpsim.execution.pool import threads
from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.problem import noise
from qpsim.problem.random import random_problem
from qpsim.provenance import provenance_since
from qpsim.simulation.run import simulate
from qpsim.simulation.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from qpsim.problem.quadratic import QuadraticProblem

LAWS = ("closure", "high-dimensional")
_LOOKS = {
    "closure": style.Look("Gaussian closure", "#0072B2", "solid", "o"),
    "high-dimensional": style.Look(
        "high-dimensional equation", "#E69F00", (0, (4, 1.5)), "s", False
    ),
}
_RUNS = style.Look("runs: mean of one problem", "#000000", (0, (1, 1)), "")
_RESOLVED = style.Look("standard error of the runs' mean", "#777777", (0, (5, 1, 1, 1)), "")
# Length of all steps together: for small gradients, and in addition as a multiple of the distance per coordinate.
_LENGTH, _FURTHER = 4.0, 2.5


@dataclass(frozen=True)
class Options(BaseOptions):
    """Which dimensions and signals, and how many runs."""

    dims: tuple[int, ...] = option((16, 32, 64, 128), "numbers of coordinates", at_least=2)
    signals: tuple[float, ...] = option(
        (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), "mean squares of gradient over noise", at_least=1e-6
    )
    n_steps: int = option(200, "steps of a run", at_least=1)
    n_replicates: int = option(2048, "runs of each problem", at_least=2)
    n_draws: int = option(4, "draws of spectrum, rotation and start", at_least=1)
    rng: int = option(0, "seed", at_least=0)


class _Found(NamedTuple):
    """Results of one problem; the leading axis of ``risk`` and ``error`` is the law."""

    mean: np.ndarray  # (step + 1,)
    risk: np.ndarray  # (law, step + 1)
    error: np.ndarray  # (law,)
    resolved: float


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Run ensembles and both approximations for all dimensions and signals.

    Returns
    -------
    Data
        ``mean`` (signal, point) and ``risk`` (law, signal, point): losses after each step on the first problem of the
        largest dimension; ``error`` (law, signal, dim, draw): largest relative difference of a law from the runs' mean;
        ``resolved`` (signal, dim, draw): largest relative standard error of that mean.

    Examples
    --------
    >>> from qpsim.figures import figure_sign_risk as figure
    >>> few = figure.Options(dims=(2, 3), signals=(0.1, 1.0), n_steps=4, n_replicates=4, n_draws=2)
    >>> figure.compute(few, workers=1)["error"].shape
    (2, 2, 2, 2)
    """
    began = time.perf_counter()
    dims, signals = sorted(options.dims), sorted(options.signals)
    shape = len(signals), len(dims), options.n_draws
    # The largest dimensions first, since they take longest.
    places = sorted(np.ndindex(shape), key=lambda place: -place[1])
    jobs = [(options, signals[s], dims[d], draw) for s, d, draw in places]
    error, resolved = np.empty((len(LAWS), *shape)), np.empty(shape)
    n_points = options.n_steps + 1
    mean, risk = np.empty((len(signals), n_points)), np.empty((len(LAWS), len(signals), n_points))
    with (
        threads(workers) as pool,
        progress.bar("figure sign-risk", len(jobs)) as bar,
        pool.run(_run, enumerate(jobs)) as results,
    ):
        for place, one in zip(places, results.in_order(), strict=True):
            error[:, *place], resolved[place] = one.error, one.resolved
            if place[1:] == (len(dims) - 1, 0):
                mean[place[0]], risk[:, place[0]] = one.mean, one.risk
            bar.tick()
    arrays = {"mean": mean, "risk": risk, "error": error, "resolved": resolved}
    axes = {
        "mean": ["signal", "point"],
        "risk": ["law", "signal", "point"],
        "error": ["law", "signal", "dim", "draw"],
        "resolved": ["signal", "dim", "draw"],
    }
    labels: dict[str, list[Any]] = {"law": list(LAWS), "signal": signals, "dim": dims}
    return Data(
        "sign-risk", options, arrays, axes, labels, provenance_since(began, bit_generator="SFC64")
    )


def setting(
    signal: float, dim: int, n_steps: int, seed: np.random.SeedSequence
) -> tuple[QuadraticProblem, np.ndarray, float]:
    """A problem, a start theta0 (d,) of this signal, and the step size."""
    drawn, begin = seed.spawn(2)
    p = random_problem("mild", dim, "haar", rng=drawn).with_noise(noise.white(1.0))
    offset = np.random.Generator(np.random.PCG64(begin)).standard_normal(dim)
    offset *= math.sqrt(signal / float(np.mean(p.gradient(p.optimum + offset) ** 2)))
    distance = float(np.linalg.norm(offset)) / math.sqrt(dim)
    return p, p.optimum + offset, (_LENGTH + _FURTHER * distance) / n_steps


def _run(options: Options, signal: float, dim: int, draw: int) -> _Found:
    # The same problems and noise for all signals.
    seed = np.random.SeedSequence(options.rng, spawn_key=(dim, draw))
    p, theta0, step = setting(signal, dim, options.n_steps, seed)
    run = simulate(
        p,
        "ssd",
        step_size=step,
        n_steps=options.n_steps,
        n_replicates=options.n_replicates,
        theta0=theta0,
        rng=seed.spawn(1)[0],
        workers=1,
        record=(),
    )
    mean = run.excess_loss.mean(axis=0)
    spread = run.excess_loss.std(axis=0, ddof=1) / math.sqrt(options.n_replicates)
    risk = np.array(
        [
            theory.expected_excess_loss(p, "ssd", theta0, step, options.n_steps, law=law)
            for law in LAWS
        ]
    )
    error = np.abs(risk / mean - 1.0).max(axis=1)
    return _Found(mean, risk, error, float((spread / mean).max()))


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """Errors at the smallest and the largest dimension, for each law and signal."""
    dims = data.labels["dim"]
    rows = []
    for k, law in enumerate(data.labels["law"]):
        for s, signal in enumerate(data.labels["signal"]):
            middle = _middle(data["error"][k, s])
            rows.append([_LOOKS[law].label, f"{signal:g}", f"{middle[0]:.2g}", f"{middle[-1]:.2g}"])
    return ["law", "signal", f"error at d = {dims[0]}", f"at d = {dims[-1]}"], rows


def summary(data: Data) -> str:
    """The results in one sentence."""
    signals, said = data.labels["signal"], []
    for k, law in enumerate(data.labels["law"]):
        first, last = (100.0 * _middle(data["error"][k, s])[-1] for s in (0, -1))
        said.append(
            f"the {_LOOKS[law].label} is off by {first:.2g} % where gradients are small (q = {signals[0]:g}) and by "
            f"{last:.2g} % where they are large (q = {signals[-1]:g})"
        )
    return f"At d = {data.labels['dim'][-1]} {'; '.join(said)}."


def _middle(values: np.ndarray) -> np.ndarray:
    """Geometric mean over problems, the last axis."""
    return np.asarray(np.exp(np.log(values).mean(axis=-1)))


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.76 if width >= 5 else 1.2


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Losses at the smallest and largest signal, and errors over d and over the signal.

    Returns
    -------
    dict
        "small" and "large": law or "runs" -> line; "dim": (law, signal) -> line; "signal": law or "resolved" -> line;
        "legend"; "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    options, largest = data.options, data.labels["dim"][-1]
    signals = data.labels["signal"]
    artists: dict[Any, Any] = {
        "note": page.note(
            f"SSD, mild spectrum in a random basis, white noise. Signal $q$: mean square of gradient over noise at the "
            f"start. Upper row: one problem, $d = {largest}$, {options.n_replicates} runs. Lower row: largest relative "
            f"error of a run's curve, geometric mean over {options.n_draws} problems; bars: 95 % intervals; grey "
            "band: standard error of the runs' mean, below which nothing is resolved."
        )
    }
    looks = [*_LOOKS.values(), _RUNS]
    artists["legend"] = page.legend(
        [pages.handle(look, marker=True) for look in looks], [k.label for k in looks]
    )
    grid = page.grid(2, 2, left=4.8, right=1.2, across=5.2, down=4.8, bottom=3.4)
    for column, (name, s) in enumerate((("small", 0), ("large", len(signals) - 1))):
        ax = fig.add_subplot(grid[0, column])
        artists[name] = draw_run(data, s, ax)
        ax.set_title(f"expected excess loss, $q = {signals[s]:g}$")
    ax = fig.add_subplot(grid[1, 0])
    artists["dim"] = draw_dims(data, ax)
    artists["signal"] = draw_signals(data, fig.add_subplot(grid[1, 1], sharey=ax))
    low = 0.5 * min(_middle(data["resolved"]).min(), _middle(data["error"]).min())
    # All bars, but those of few and unlike problems may be longer than the axis.
    shown = data["error"][:, [0, -1]], data["error"][:, :, -1]
    high = max(float(_bars(one.reshape(-1, one.shape[-1])).max()) for one in shown)
    ax.set_ylim(low, min(1.3 * high, 20.0 * float(_middle(data["error"]).max())))
    for other in fig.axes[-2:]:
        pages.log_axis(other.yaxis)
    return artists


def draw_run(data: Data, s: int, ax: Axes) -> dict[str, Any]:
    """Losses of the s-th signal over the steps, into any axes."""
    from qpsim.figures import page as pages

    x = np.arange(data["mean"].shape[1])
    artists = {"runs": pages.line(ax, x, data["mean"][s], _RUNS, zorder=3.0, linewidth=1.6)}
    for k, law in enumerate(data.labels["law"]):
        artists[law] = pages.line(ax, x, data["risk"][k, s], _LOOKS[law], k)
    ax.set_xlim(0, x[-1])
    ax.set_xlabel("step")
    pages.log_axis(ax.yaxis)
    return artists


def draw_dims(data: Data, ax: Axes) -> dict[Any, Any]:
    """Errors over d at the smallest and the largest signal, into any axes."""

    dims, signals = np.array(data.labels["dim"], dtype=float), data.labels["signal"]
    artists = {}
    for k, law in enumerate(data.labels["law"]):
        for s in sorted({0, len(signals) - 1}):
            # Large signals have another marker, which is seen in grey too.
            look = _LOOKS[law] if s == 0 else _LOOKS[law]._replace(marker="^")
            artists[law, signals[s]] = _errors(ax, dims, data["error"][k, s], look)
            if s or k == 0:
                # At the smallest signal the laws lie on each other: one label for both.
                ax.annotate(
                    f"$q = {signals[s]:g}$",
                    (dims[-1], _middle(data["error"][k, s])[-1]),
                    xytext=(0, 5 if s == 0 or k else -5),
                    textcoords="offset points",
                    ha="right",
                    va="bottom" if s == 0 or k else "top",
                    color=_LOOKS[law].color if s else "black",
                )
    ax.set_xlim(dims[0] / 1.25, dims[-1] * 1.25)
    ax.set_title("error over $d$")
    ax.set_xlabel("$d$")
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.set_xticks(dims, [f"{d:g}" for d in dims])
    return artists


def draw_signals(data: Data, ax: Axes) -> dict[str, Any]:
    """Errors over the signal at the largest dimension, into any axes."""
    from qpsim.figures import page as pages

    signals = np.array(data.labels["signal"])
    artists = {
        law: _errors(ax, signals, data["error"][k, :, -1], _LOOKS[law])
        for k, law in enumerate(data.labels["law"])
    }
    artists["resolved"] = ax.fill_between(
        signals, _middle(data["resolved"][:, -1]), color=_RESOLVED.color, alpha=0.3, linewidth=0
    )
    ax.set_xlim(signals[0] / 1.25, signals[-1] * 1.25)
    ax.set_title(f"error over $q$, $d = {data.labels['dim'][-1]}$")
    ax.set_xlabel("signal $q$")
    pages.log_axis(ax.xaxis)
    return artists


def _errors(ax: Axes, x: np.ndarray, errors: np.ndarray, look: style.Look) -> Any:
    """A line of geometric means (x, draw) with bars for their 95 % intervals."""
    from qpsim.figures import page as pages

    bars = _bars(errors)
    ax.vlines(x, bars[:, 0], bars[:, 1], color=look.color, linewidth=0.9)
    return pages.line(ax, x, _middle(errors), look, markevery=1)


def _bars(errors: np.ndarray) -> np.ndarray:
    """95 % intervals (x, 2) of the geometric means of errors (x, draw); the means themselves for a single draw."""
    bars = np.array([mean_interval(row)[1] for row in np.log(errors)])
    return np.where(np.isfinite(bars), np.exp(bars), _middle(errors)[:, None])
