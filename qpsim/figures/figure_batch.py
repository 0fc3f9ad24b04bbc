"""Batch size: steps to a loss in the noisy quadratic model, and the gain and best size of one step.

The model of Zhang et al. (2019): curvatures 1 / i, gradient noise of covariance H / B, a start N(0, I). Its expected
loss is exact, and so is the fewest number of steps to a target with a constant step size. One step is taken from a
point at distance 1 from the optimum in every coordinate; its gain is compared with that of a step without noise.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import qpsim
from qpsim import theory
from qpsim.errors import FigureError
from qpsim.execution import progress
from qpsim.execution.pool import threads
from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.problem.gallery import noisy_quadratic_model
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.provenance import provenance_since
from qpsim.theory.pieces import fewest_steps
from qpsim.theory.steps import STEP_SIZES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Zhang et al. (2019): fewest steps to a loss of 0.01, counted from 0, by the batch size.
PUBLISHED = {
    "sgd": {4: 1507367, 256: 25880, 16384: 7447, 2**20: 7268},
    "preconditioned": {4: 345591, 256: 5421, 16384: 106, 2**20: 84},
}
CURVES = ("sgd", "m-sgd", "averaged", "preconditioned", "pieces")
ONE_STEP = ("sgd", "ssd", "preconditioned")
_LABELS = {
    "sgd": "sgd",
    "m-sgd": "m-sgd",
    "averaged": "SGD, averaged",
    "preconditioned": "SGD, $H^{-1/2}$",
    "pieces": "SGD, pieces",
    "ssd": "ssd",
}


@dataclass(frozen=True)
class Options(BaseOptions):
    """Which model, target and batch sizes."""

    dim: int = option(10_000, "number of coordinates", at_least=1)
    bins: int = option(100, "number of different curvatures", at_least=2)
    target: float = option(0.01, "excess loss to be reached", at_least=0.0)
    batch_sizes: tuple[int, ...] = option(tuple(2**k for k in range(21)), "batch sizes", at_least=1)
    momentum: float = option(0.9, "momentum of M-SGD", at_least=0.0)
    n_pieces: int = option(10, "constant pieces of equal length of a schedule", at_least=1)
    averaging: tuple[float, ...] = option(
        (0.0, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999, 0.99997, 0.99999, 0.999997),
        "constants of iterate averaging, of which the best is taken",
        at_least=0.0,
    )


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Count steps and measure one step at every batch size.

    Returns
    -------
    Data
        ``steps`` (curve, batch): fewest steps to the target, infinite where it is not reached; ``constant_step``
        (curve, batch): the constant step size that takes them, NaN for pieces; ``averaging`` (batch): best constant of
        averaging;
        ``improvement``, ``one_step`` and ``exponent`` (method, batch): gain and best size of one step over those
        without noise, and d log(size) / d log(B); ``noise_scale`` and ``half`` (method): noise scale, and batch size
        at which the gain is half.

    Raises
    ------
    FigureError
        Batch sizes that do not rise, a target of 0, or a constant of averaging that is not below 1.

    Examples
    --------
    >>> from qpsim.figures import figure_batch as figure
    >>> few = figure.Options(dim=10, batch_sizes=(1, 16))
    >>> figure.compute(few, workers=1)["steps"].shape
    (5, 2)
    """
    began = time.perf_counter()
    if list(options.batch_sizes) != sorted(set(options.batch_sizes)):
        raise FigureError("batch_sizes must rise.")
    if options.target == 0.0 or max(options.averaging) >= 1.0 or options.momentum >= 1.0:
        raise FigureError("The target must be above 0, momentum and averaging below 1.")
    with (
        threads(workers) as pool,
        progress.bar("figure batch", len(options.batch_sizes)) as bar,
        pool.run(_fewest_steps, enumerate((options, b) for b in options.batch_sizes)) as results,
    ):
        counted = []
        for one in results.in_order():
            counted.append(one)
            bar.tick()
    steps, sizes, averaging = (np.array(part) for part in zip(*counted, strict=True))
    arrays = {"steps": steps.T, "constant_step": sizes.T, "averaging": averaging}
    arrays |= _one_step(options)
    axes = {
        "steps": ["curve", "batch"],
        "constant_step": ["curve", "batch"],
        "averaging": ["batch"],
        "improvement": ["method", "batch"],
        "one_step": ["method", "batch"],
        "exponent": ["method", "batch"],
        "noise_scale": ["method"],
        "half": ["method"],
    }
    labels: dict[str, list[Any]] = {
        "curve": list(CURVES),
        "method": list(ONE_STEP),
        "batch": list(options.batch_sizes),
    }
    return Data("batch", options, arrays, axes, labels, provenance_since(began))


def _model(options: Options) -> QuadraticProblem:
    p = noisy_quadratic_model(options.dim, bins=options.bins)
    return p.with_optimum(np.ones(p.dim))


def _fewest_steps(options: Options, batch_size: int) -> tuple[list[float], list[float], float]:
    """Fewest steps and their step size of every curve, and the best constant of averaging."""
    p = _model(options).at_batch(batch_size)
    # In theta' = H^(1/4) theta the start N(0, I) has E[theta'^2] = h^(1/2), equal to the new curvatures.
    q = p.preconditioned(-0.5)
    grid = np.array(STEP_SIZES)
    momentum = qpsim.method("m-sgd", momentum=options.momentum)

    def fewest(problem: Any, method: Any, sizes: np.ndarray, gamma: float = 0.0) -> Any:
        square = 1.0 if problem is p else problem.hessian
        average = {"ema": gamma} if gamma > 0.0 else None
        found = theory.steps_until(
            problem, method, options.target, sizes, initial_square=square, average=average
        )
        k = int(np.argmin(found))
        return float(found[k]), float(sizes[k]) if math.isfinite(found[k]) else math.nan

    means = [fewest(p, "sgd", grid, gamma) for gamma in options.averaging]
    best = min(range(len(means)), key=lambda k: means[k][0])
    rows = [
        fewest(p, "sgd", grid),
        # Momentum is stable at steps 1 + mu times as large.
        fewest(p, momentum, (1.0 + options.momentum) * grid),
        means[best],
        fewest(q, "sgd", grid),
        (_steps_with_pieces(p, options), math.nan),
    ]
    return [row[0] for row in rows], [row[1] for row in rows], options.averaging[best]


def _steps_with_pieces(p: QuadraticProblem, options: Options) -> float:
    """Fewest steps of SGD with the best step size in each of some pieces."""
    h, alike = np.unique(p.hessian, return_inverse=True)
    count = np.bincount(alike).astype(float)
    variance = np.bincount(alike, weights=p.gradient_std() ** 2).astype(float)
    return fewest_steps(np.asarray(h), variance, count, options.target, options.n_pieces)


def _one_step(options: Options) -> dict[str, np.ndarray]:
    """Gain and best size of one step from 0, over those without noise."""
    p = _model(options)
    plain = theory.batch_size_law(p, np.zeros(p.dim), ["sgd", "ssd"], options.batch_sizes)
    q = p.preconditioned(-0.5)
    other = theory.batch_size_law(q, np.zeros(p.dim), ["sgd"], options.batch_sizes)
    both = (plain, other)
    return {
        "improvement": np.concatenate(
            [law.improvement / law.limit_improvement[:, None] for law in both]
        ),
        "one_step": np.concatenate([law.step_size / law.limit_step_size[:, None] for law in both]),
        "exponent": np.concatenate([law.step_exponent for law in both]),
        "noise_scale": np.array(
            [plain.curvature_noise_scale, plain.sign_noise_scale, other.curvature_noise_scale]
        ),
        "half": np.concatenate([law.half_batch_size for law in both]),
    }


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """Steps at some batch sizes."""
    batches = data.labels["batch"]
    shown = [
        j for j, b in enumerate(batches) if b in PUBLISHED["sgd"] or j in (0, len(batches) - 1)
    ]
    rows = [
        [shape.label, *(f"{data['steps'][k, j]:.10g}" for j in shown)]
        for k, shape in enumerate(_looks(data.labels["curve"]))
    ]
    return ["steps to the target", *(f"B = {batches[j]}" for j in shown)], rows


def summary(data: Data) -> str:
    """The results in one sentence."""
    said = [
        f"{batch:.3g} for {shape.label}"
        for shape, batch in zip(_looks(data.labels["curve"]), critical_batches(data), strict=True)
    ]
    return f"Twice as many draws as at the smallest batch are needed from B = {', '.join(said)}."


def critical_batches(data: Data) -> np.ndarray:
    """Batch size (curve,) beyond which B times the steps is more than twice what it is at the smallest batch.

    Interpolated between the logarithms of batch sizes; NaN if there is none, or the target is not reached.
    """
    logs = np.log(np.array(data.labels["batch"], dtype=float))
    found = np.full(len(data["steps"]), np.nan)
    for k, steps in enumerate(data["steps"]):
        with np.errstate(invalid="ignore"):
            excess = np.log(steps) + logs - np.log(steps[0]) - logs[0] - math.log(2.0)
        over = np.flatnonzero(excess > 0.0)
        if np.isfinite(excess).all() and over.size:
            j = over[0]
            share = excess[j - 1] / (excess[j - 1] - excess[j])
            found[k] = math.exp(logs[j - 1] + share * (logs[j] - logs[j - 1]))
    return found


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.74 if width >= 5 else 1.1


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Steps and constant step sizes above, gain and best size of one step below.

    Returns
    -------
    dict
        By panel ("steps", "constant_step", "improvement", "one_step") name -> line; "published" name -> points;
        "scales" name -> line; "legend"; "note".
    """
    from matplotlib.lines import Line2D

    from qpsim.figures import page as pages

    page = pages.Page(fig)
    names = (*CURVES, "ssd")
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Noisy quadratic model, $d = {data.options.dim}$. Above: fewest steps to a loss of "
            f"{data.options.target:g} over constant step sizes, and the step size that takes them; pieces: "
            f"{data.options.n_pieces} of equal length, each with its best step size; thin: steps "
            "proportional to $1/B$. Below: one step of the best size, over one without noise; upright lines: noise "
            "scales, tr$(HC)/g^T H g$ or $(|\\sigma|_1/|g|_1)^2$."
        )
    }
    shapes = dict(zip(names, _looks(names), strict=True))
    handles = pages.handles([_LABELS[n] for n in names], bands=False)
    cross = Line2D([], [], color="black", linestyle="", marker="+", markersize=6)
    artists["legend"] = page.legend(
        [*handles, cross], [*(s.label for s in shapes.values()), "Zhang et al. (2019)"]
    )
    grid = page.grid(2, 2, left=5.2, right=1.2, across=5.8, down=5.0, bottom=3.4)
    panels = {
        "steps": ("steps to the target", "steps"),
        "constant_step": ("constant step size", "step size"),
        "improvement": ("gain of one step", r"$I(B) / I(\infty)$"),
        "one_step": ("best size of one step", r"step size / that at $B = \infty$"),
    }
    for k, (panel, (title, label)) in enumerate(panels.items()):
        ax = fig.add_subplot(grid[k // 2, k % 2])
        artists[panel] = draw_panel(data, panel, ax, shapes)
        ax.set_title(title)
        ax.set_xlabel("batch size $B$")
        ax.set_ylabel(label)
        if panel == "steps":
            artists["published"] = _draw_published(data, ax)
        if k >= 2:
            artists.setdefault("scales", {})[panel] = _draw_scales(data, ax, shapes)
        for axis in (ax.xaxis, ax.yaxis):
            pages.log_axis(axis)
    return artists


def draw_panel(data: Data, panel: str, ax: Axes, shapes: dict[str, style.Look]) -> dict[str, Any]:
    """One quantity over the batch size, into any axes."""
    from qpsim.figures import page as pages

    batches = np.array(data.labels["batch"], dtype=float)
    names = data.labels["curve" if panel in ("steps", "constant_step") else "method"]
    artists = {}
    for k, name in enumerate(names):
        values = np.where(np.isfinite(data[panel][k]), data[panel][k], np.nan)
        if name == "pieces" and panel == "constant_step":
            continue
        artists[name] = pages.line(ax, batches, values, shapes[name], k)
    ax.set_yscale("log")
    first = data["steps"][0, 0]
    if panel == "steps" and math.isfinite(first):
        ax.plot(batches, first * batches[0] / batches, color="0.65", linewidth=0.8, zorder=1.0)
    ax.set_xlim(batches[0] / 1.3, batches[-1] * 1.3)
    finite = [line.get_ydata() for line in artists.values()]
    low, high = np.nanmin(finite), np.nanmax(finite)
    ax.set_ylim(low / 1.6, high * 1.6)
    return artists


def _draw_published(data: Data, ax: Axes) -> dict[str, Any]:
    """The published counts, where the model is theirs."""
    if not is_published(data.options):
        return {}
    artists = {}
    for name, counts in PUBLISHED.items():
        shown = {b: n for b, n in counts.items() if b in data.labels["batch"]}
        (artists[name],) = ax.plot(
            list(shown), list(shown.values()), "+", color="black", markersize=6, zorder=5
        )
    return artists


def is_published(options: Options) -> bool:
    """Whether the published counts are those of this model and target."""
    return (options.dim, options.bins, options.target) == (10_000, 100, 0.01)


def _draw_scales(data: Data, ax: Axes, shapes: dict[str, style.Look]) -> dict[str, Any]:
    scales = zip(data.labels["method"], data["noise_scale"], strict=True)
    low, high = ax.get_xlim()
    return {
        name: ax.axvline(
            scale, color=shapes[name].color, linestyle=shapes[name].linestyle, linewidth=0.7
        )
        for name, scale in scales
        if low < scale < high
    }


def _looks(names: Any) -> list[style.Look]:
    """Appearance of each curve, which does not depend on the other curves."""
    every = style.looks([_LABELS[name] for name in (*CURVES, "ssd")])
    return [every[_LABELS[name]] for name in names]
