"""Which statements on Figure 2 hold under another noise: its twelve problems under four covariances of the gradient.

The paper's noise is that of data, C = nu^2 QQ. The others are C proportional to the Hessian Q (the noisy quadratic
model of Zhang et al., 2019), white noise, and a diagonal of random variances independent of Q. All are scaled to tr C =
nu^2 tr QQ, so that the mean squared length of the noise is the paper's, and only its shape differs. Shown are the
ratios by which the statements of Section 2.2 are judged (:mod:`qpsim.figures.figure2_statements`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import style
from qpsim.figures.choices import methods as chosen
from qpsim.figures.data import Data
from qpsim.figures.figure2 import METHODS, NOISE
from qpsim.figures.figure2_problems import Ensemble, EnsembleOptions, PanelOptions, WithNoise
from qpsim.figures.figure2_statements import STATEMENTS, Case, Statement
from qpsim.figures.options import option
from qpsim.problem import noise as noises
from qpsim.problem.noise import Noise
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.provenance import provenance_since
from qpsim.simulation.statistics import median_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FAMILIES = ("data", "hessian", "white", "diagonal")
_TITLES = {
    "noise-free": "well-conditioned, no noise: gradient descent vastly better",
    "a-little-noise": "well-conditioned: a little noise almost evens them out",
    "orientation": "well-conditioned: orientation matters little to SSD",
    "structured-haar": "ill-conditioned, rotated: roughly equal",
    "structured-axis": "ill-conditioned: SSD gains from axes, beats SGD there",
}


@dataclass(frozen=True)
class Options(EnsembleOptions):
    """How many runs, and how unequal the random variances are."""

    spread: float = option(
        100.0, "largest over smallest of the random variances, log-uniform", at_least=1.0
    )


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Simulate Figure 2 under every family; its panels without noise are the same for all and run once.

    Returns
    -------
    Data
        ``final`` (family, row, noise, method, replicate): log10 excess loss after the last step; ``problem``
        (replicate): which draw a replicate belongs to.

    Examples
    --------
    >>> from qpsim.figures import figure_noise
    >>> few = figure_noise.Options(n_replicates=4, n_draws=2, n_steps=3, dim=4)
    >>> figure_noise.compute(few, workers=1)["final"].shape
    (4, 4, 3, 2, 4)
    """
    began = time.perf_counter()
    plain = {name: getattr(options, name) for name in EnsembleOptions.names()}
    places = [(0, 0), *((f, n) for f in range(len(FAMILIES)) for n in range(1, len(NOISE)))]
    columns = [_with_family(FAMILIES[f], NOISE[n], options) for f, n in places]
    ensemble = Ensemble(PanelOptions(**plain), columns)
    shape = (len(FAMILIES), len(ensemble.rows), len(NOISE), len(METHODS), options.n_replicates)
    final = np.empty(shape)
    for (row, column), losses in ensemble.run(chosen(METHODS), workers, "figure noise"):
        family, noise = places[column]
        final[family if noise else slice(None), row, noise] = losses[:, :, -1]
    axes = {"final": ["family", "row", "noise", "method", "replicate"], "problem": ["replicate"]}
    labels: dict[str, list[Any]] = {
        "family": list(FAMILIES),
        "row": [row.label for row in ensemble.rows],
        "noise": list(NOISE),
        "method": list(METHODS),
    }
    arrays = {"final": final, "problem": ensemble.of_replicate}
    return Data(
        "noise", options, arrays, axes, labels, provenance_since(began, bit_generator="SFC64")
    )


def evaluated(data: Data, case: Case, family: int) -> tuple[float, tuple[float, float], bool]:
    """Median of a case's ratio under a family, its 95 % interval, and whether the whole interval satisfies the case."""
    middle, interval = median_interval(case.ratios(data["final"][family]), data["problem"])
    return middle, interval, case.bounds.contain(interval)


def holds(data: Data, statement: Statement, family: int) -> bool:
    """Whether a statement holds under a family: in every case that it covers."""
    return all(evaluated(data, case, family)[2] for case in statement.cases)


def _with_family(name: str, nu: float, options: Options) -> WithNoise:
    def noisy(problem: QuadraticProblem, draw: int) -> QuadraticProblem:
        return problem.with_noise(_MAKERS[name](problem, nu, _variances(problem, draw, options)))

    return noisy


def _variances(problem: QuadraticProblem, draw: int, options: Options) -> np.ndarray:
    """Random variances of mean 1, shape (d,), which all rows of one draw share."""
    # A fourth random stream; the first three are used for the problem, starts and noise of a draw.
    seed = np.random.SeedSequence(options.rng, spawn_key=(draw, 3))
    generator = np.random.Generator(np.random.PCG64(seed))
    values = np.exp(generator.uniform(0.0, math.log(options.spread), problem.dim))
    return values / values.mean()


def _mean_square(problem: QuadraticProblem) -> float:
    return float(np.mean(problem.eigenvalues**2))


# From a problem, nu and random variances of mean 1 to a noise with tr C = nu^2 tr QQ.
_MAKERS: dict[str, Callable[[QuadraticProblem, float, np.ndarray], Noise]] = {
    "data": lambda p, nu, v: noises.data(nu),
    "hessian": lambda p, nu, v: noises.hessian(
        nu * math.sqrt(_mean_square(p) / float(np.mean(p.eigenvalues)))
    ),
    "white": lambda p, nu, v: noises.white(nu * math.sqrt(_mean_square(p))),
    "diagonal": lambda p, nu, v: noises.diagonal(nu**2 * _mean_square(p) * v),
}


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """A table of which statements hold under which family."""
    rows = [
        [s.name, *("yes" if holds(data, s, f) else "no" for f in range(len(FAMILIES)))]
        for s in STATEMENTS
    ]
    return ["statement", *data.labels["family"]], rows


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.95 if width >= 5 else 1.75


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """A block for each statement about noise, a line in it for each case, a marker for each family.

    Returns
    -------
    dict
        Statement's name -> artists as :func:`draw_statement` returns them; "legend"; "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    names = data.labels["family"]
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Medians over {data['final'].shape[-1]} runs, with 95 % intervals over "
            f"{np.unique(data['problem']).size} draws. Shaded: where the whole interval must lie for the statement to "
            r"hold. Cases of $\nu = 0$, which are the same for all, are left out; all noises have "
            r"$\mathrm{tr}\,C = \nu^2\,\mathrm{tr}\,QQ$. Haar: in a random basis."
        )
    }
    markers = pages.handles(names, bands=False)
    for marker in markers:
        marker.set_linestyle("")
    artists["legend"] = page.legend(markers, [f"{name} noise" for name in names])
    shown = {s.name: noisy for s in STATEMENTS if (noisy := _noisy(s))}
    high = [len(cases) for cases in shown.values()]
    grid = page.grid(len(shown), 1, left=12.0, right=1.0, top=1.8, down=2.0, bottom=3.2)
    grid.set_height_ratios(high)
    ends = [
        end
        for cases in shown.values()
        for case in cases
        for f in range(len(names))
        for end in _finite_ends(*evaluated(data, case, f)[:2])
    ]
    limits = pages.padded(min(*ends, -0.5), max(*ends, 1.5))
    for k, (name, cases) in enumerate(shown.items()):
        ax = fig.add_subplot(grid[k, 0])
        artists[name] = draw_statement(data, cases, limits, ax)
        ax.set_title(_TITLES[name])
        last = k == len(shown) - 1
        ax.tick_params(labelbottom=last)
        if last:
            ax.set_xlabel(r"$\log_{10}$ of the ratio of final losses")
    return artists


def draw_statement(
    data: Data, cases: tuple[Case, ...], limits: tuple[float, float], ax: Axes
) -> dict[str, Any]:
    """Ratios of a statement's cases, from top to bottom, into any axes; returns the points of each family."""
    from matplotlib.patches import Rectangle

    from qpsim.figures import page as pages

    ax.set_xlim(*limits)
    ax.set_ylim(len(cases) - 0.5, -0.5)
    ax.axvline(0.0, color="black", linewidth=0.6, zorder=1)
    for k, case in enumerate(cases):
        low, high = max(case.bounds.low, limits[0]), min(case.bounds.high, limits[1])
        ax.add_patch(
            Rectangle((low, k - 0.46), high - low, 0.92, color="0.88", linewidth=0, zorder=0.5)
        )
    artists = {}
    for f, (name, shape) in enumerate(style.looks(data.labels["family"]).items()):
        y = np.arange(len(cases)) + 0.2 * (f - 0.5 * (len(FAMILIES) - 1))
        found = [evaluated(data, case, f) for case in cases]
        for at, (middle, interval, _) in zip(y, found, strict=True):
            ax.hlines(
                at, *_finite_ends(middle, interval), color=shape.color, linewidth=1.0, zorder=2
            )
        middles = [one[0] for one in found]
        artists[name] = pages.line(ax, middles, y, shape, markevery=1, linestyle="", zorder=3)
    ax.set_yticks(range(len(cases)), [_text(case) for case in cases])
    ax.tick_params(axis="y", length=0)
    ax.grid(False)
    return artists


def _text(case: Case) -> str:
    """A case without its spectrum, which is in the statement's title: SSD/SGD, haar, nu = 0.1."""
    problem, _, noise = case.where.partition(", nu = ")
    basis = problem.partition("/")[2]
    return f"{case.ratio}{', ' if basis else ''}{basis}, $\\nu = {noise}$"


def _noisy(statement: Statement) -> tuple[Case, ...]:
    return tuple(case for case in statement.cases if case.above.noise > 0)


def _finite_ends(middle: float, interval: tuple[float, float]) -> tuple[float, float]:
    """Ends of an interval; the median itself where there is none, with few draws."""
    low, high = interval
    return (low if math.isfinite(low) else middle, high if math.isfinite(high) else middle)
