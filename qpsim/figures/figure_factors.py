"""The effective variance adaptation factor of each method along a run, and that of an oracle.

One run of each variance-adapted method that estimates its factors, on one problem. The oracle's factor uses the exact
relative variance at the same points (Lemma 1, Eq. 16 and 19). The minibatch methods have the mean of ``batch`` draws
with larger noise, so that the gradients of all methods are equally noisy.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim.errors import MethodError
from qpsim.execution.pool import threads
from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.provenance import provenance_since
from qpsim.rules.scalar import momentum_correction
from qpsim.seeds import seed_sequence
from qpsim.simulation.run import simulate
from qpsim.simulation.stepsize import StepSize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

METHODS = ("svag-ema", "m-svag", "m-svag-mb", "adam", "adam*", "adam*-mb")
_MINIBATCH = ("m-svag-mb", "adam*-mb")
LEVELS = (0.1, 0.5, 0.9)
_OWN, _ALPHA = "#0072B2", 0.25
_MEDIAN: dict[str, Any] = {"color": "#404040", "linestyle": (0, (4, 1.5))}
_ENDS: dict[str, Any] = {"color": "#404040", "linestyle": (0, (1, 1.2)), "linewidth": 0.9}
# What gamma multiplies: the gradient, a state's array, or a sign (then |direction| is gamma).
_ADAPTED = {
    "svag": "gradient",
    "svag-ema": "gradient",
    "m-svag": "m",
    "m-svag-mb": "r",
    "va-ssd": "sign",
    "va-ssd-erf": "sign",
    "adam": "sign",
    "adam*": "sign",
    "adam*-mb": "sign",
}


@dataclass(frozen=True)
class Options(BaseOptions):
    """Which run is shown."""

    spectrum: str = option("structured", "mild or structured")
    basis: str = option("axis", "axis or haar")
    noise_std: float = option(1.0, "noise level nu of the gradients", at_least=0.0)
    batch_size: int = option(16, "draws of a minibatch, for the methods that use one", at_least=2)
    n_steps: int = option(100, "steps of the run", at_least=1)
    dim: int = option(100, "coordinates", at_least=1)
    scale: float = option(10.0, "the optimum is U[-scale, scale]", at_least=0.0)
    rng: int = option(0, "seed", at_least=0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Run every method once and record its factors and the oracle's.

    Returns
    -------
    Data
        ``factor`` and ``oracle`` (method, level, step): quantiles over coordinates; ``distance``
        (method, step): mean |factor - oracle| over coordinates; ``excess_loss`` (method, point).
    """
    began = time.perf_counter()
    seeds = np.random.SeedSequence(options.rng).spawn(2)
    problem = random_problem(
        options.spectrum,
        options.dim,
        options.basis,
        options.noise_std,
        scale=options.scale,
        rng=seeds[0],
    )
    noisier = problem.with_noise(options.noise_std * options.batch_size**0.5)

    cases = [(noisier if method in _MINIBATCH else problem, method) for method in METHODS]
    tasks = enumerate((*case, options, seeds[1]) for case in cases)
    with threads(workers) as pool, pool.run(_factors, tasks) as results:
        runs = list(results.in_order())
    arrays = {
        "factor": np.array([np.quantile(run.factor, LEVELS, axis=1) for run in runs]),
        "oracle": np.array([np.quantile(run.oracle, LEVELS, axis=1) for run in runs]),
        "distance": np.array([np.abs(run.factor - run.oracle).mean(axis=1) for run in runs]),
        "excess_loss": np.array([run.excess_loss for run in runs]),
    }
    axes = {
        "factor": ["method", "level", "step"],
        "oracle": ["method", "level", "step"],
        "distance": ["method", "step"],
        "excess_loss": ["method", "point"],
    }
    labels: dict[str, list[Any]] = {"method": list(METHODS), "level": list(LEVELS)}
    return Data("factors", options, arrays, axes, labels, provenance_since(began))


def _factors(
    problem: QuadraticProblem, method: str, options: Options, seed: np.random.SeedSequence
) -> AdaptationFactors:
    batch_size = options.batch_size if method in _MINIBATCH else 1
    return adaptation_factors(
        problem, method, n_steps=options.n_steps, rng=seed, batch_size=batch_size
    )


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.68 if width >= 5 else 0.82


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """One panel for each method: adapted gradients in the upper row, adapted signs in the lower row.

    Returns
    -------
    dict
        Method -> artists; "legend"; "note".
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from qpsim.figures import page as pages

    page = pages.Page(fig)
    artists: dict[Any, Any] = {
        "note": page.note(
            "One run of each method. Line and band: the factors in use, median and 10 to 90 % of the "
            "coordinates. Dashed and dotted: the same of the factors that an oracle would use, which "
            "knows the exact relative variance (Lemma 1)."
        )
    }
    own = (Patch(facecolor=_OWN, alpha=_ALPHA), Line2D([], [], color=_OWN))
    artists["legend"] = page.legend(
        [own, Line2D([], [], **_MEDIAN), Line2D([], [], **_ENDS)],
        ["in use: median, 10-90 %", "oracle: median", "oracle: 10 and 90 %"],
    )
    grid = page.grid(2, 3, left=4.6, top=1.8, across=1.2, down=2.6)
    first: Axes | None = None
    for k, method in enumerate(data.labels["method"]):
        row, column = divmod(k, 3)
        ax = fig.add_subplot(grid[row, column], sharex=first, sharey=first)
        first = first or ax
        artists[method] = draw_panel(data, k, ax)
        ax.set_title(f"{style.look(method).label} ({'sign' if row else 'gradient'})")
        ax.tick_params(labelleft=column == 0, labelbottom=row == 1)
        if row == 1:
            ax.set_xlabel("steps")
    assert first is not None
    first.set_ylim(-0.04, 1.1)
    page.side("variance adaptation factor", 1.1, 0.5 * (grid.bottom + grid.top))
    return artists


def draw_panel(data: Data, method: int, ax: Axes) -> dict[str, Any]:
    """One method's factors and the oracle's, into any axes."""
    x = np.arange(1, data.options.n_steps + 1)
    low, middle, high = data["factor"][method]
    below, oracle, above = data["oracle"][method]
    fill = ax.fill_between(x, low, high, color=_OWN, alpha=_ALPHA, linewidth=0)
    marker: dict[str, Any] = {"marker": "o"} if x.size == 1 else {}
    (line,) = ax.plot(x, middle, color=_OWN, **marker)
    (dashed,) = ax.plot(x, oracle, **_MEDIAN, **marker)
    ends = ax.plot(x, np.stack([below, above], 1), **_ENDS)
    ax.set_xlim(0, x[-1])
    ax.set_xticks(sorted({0, int(x[-1]) // 2}))
    return {"band": fill, "line": line, "oracle": dashed, "oracle_band": ends}


@dataclass(frozen=True, eq=False)
class AdaptationFactors:
    """Effective and oracle factors of one run. Made by :func:`adaptation_factors`.

    Attributes
    ----------
    method : Method
    factor : ndarray, shape (n_steps, d)
        gamma of each step and coordinate; 0 where nothing moves.
    oracle : ndarray, shape (n_steps, d)
        1 / (1 + eta^2), or (1 + eta^2)^(-1/2) for a method that adapts a sign.
    excess_loss : ndarray, shape (n_steps + 1,)
    """

    method: Method
    factor: np.ndarray
    oracle: np.ndarray
    excess_loss: np.ndarray

    def __repr__(self) -> str:
        n_steps, dim = self.factor.shape
        return f"<AdaptationFactors of {self.method}: {n_steps} steps, dim={dim}>"


def adaptation_factors(
    problem: QuadraticProblem,
    method: str | Method | Rule,
    step_size: StepSize = "optimal",
    n_steps: int = 100,
    theta0: ArrayLike | None = None,
    *,
    rng: Any = None,
    batch_size: int = 1,
) -> AdaptationFactors:
    """Factors along one run: replicate 0 of :func:`qpsim.simulate` with the same arguments.

    Parameters
    ----------
    problem, method, step_size, n_steps, theta0, rng, batch_size
        As in :func:`qpsim.simulate`; theta0 of shape (d,).

    Returns
    -------
    AdaptationFactors

    Raises
    ------
    MethodError
        The method has no variance adaptation factors, unlike those of Table 1.

    Examples
    --------
    >>> import numpy as np, qpsim
    >>> p = qpsim.random_problem("mild", dim=10, basis="axis", noise_std=1.0, rng=0)
    >>> f = qpsim.adaptation_factors(p, "svag", n_steps=5, rng=0)
    >>> f.factor.shape, bool(np.allclose(f.factor, f.oracle))
    ((5, 10), True)
    """
    chosen = find_method(method)
    what = _ADAPTED.get(chosen.name)
    if what is None or chosen.rule is not find_method(chosen.name).rule:
        raise MethodError(
            f"{chosen.name} has no variance adaptation factors; {', '.join(_ADAPTED)} do."
        )
    seed = seed_sequence(rng)
    run = simulate(
        problem,
        chosen,
        step_size,
        n_steps,
        1,
        theta0,
        rng=seed,
        workers=1,
        batch_size=batch_size,
        record={"step_size": True, "theta": True},
    )
    assert run.theta is not None
    theta = run.theta[0, :-1]
    exact = problem.gradient(theta)
    noise, estimates = _noise(problem, chosen, seed, n_steps, batch_size)
    variance = problem.gradient_std() ** 2 / batch_size
    with np.errstate(divide="ignore", invalid="ignore"):
        eta2 = np.where(variance > 0, variance / exact**2, 0.0)
    state = chosen.initial_state(problem.dim)
    factor = np.empty_like(exact)
    for k in range(n_steps):
        gradient = exact[k] - noise[k]
        observed = {None: None, "relative_variance": eta2[k], "variance_estimate": estimates[k]}
        given = {} if chosen.observes is None else {chosen.observes: observed[chosen.observes]}
        direction, state = chosen.update(gradient, state, **given)
        base = {"gradient": gradient, "sign": np.sign(direction)}.get(what)
        base = state[what] if base is None else base
        factor[k] = np.divide(direction, base, out=np.zeros(problem.dim), where=base != 0)
    hyper = chosen.hyper_parameters
    mu = hyper.get("momentum", hyper.get("b1", 0.0))
    kappa = np.array([momentum_correction(mu, float(t)) for t in range(1, n_steps + 1)])
    spread = 1.0 + kappa[:, None] * eta2
    oracle = spread**-0.5 if what == "sign" else 1.0 / spread
    return AdaptationFactors(chosen, factor, oracle, run.excess_loss[0])


def _noise(
    problem: QuadraticProblem,
    method: Method,
    seed: np.random.SeedSequence,
    n_steps: int,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient noise and variance estimates (n_steps, d) that replicate 0 of a simulation draws."""
    from qpsim.kernels.noise import fill_normals, seed_lanes
    from qpsim.kernels.observed import fill_chi_squares, fill_correlated_estimates

    stream = seed_lanes(seed, 0, 1)
    nu = problem.noise_std / batch_size**0.5
    vectors = np.eye(problem.dim) if problem.is_diagonal else problem.eigenvectors
    assert vectors is not None
    factor = nu * vectors * problem.eigenvalues
    noise = np.empty((n_steps, problem.dim))
    estimates = np.zeros((n_steps, problem.dim))
    drawn = np.empty((problem.dim, 1))
    for k in range(n_steps):
        fill_normals(stream, drawn)
        noise[k] = factor @ drawn[:, 0]
        if method.observes == "variance_estimate":
            if problem.is_diagonal:
                fill_chi_squares(stream, batch_size - 1, drawn)
                drawn *= np.square(nu * problem.eigenvalues)[:, None] / (batch_size - 1)
            else:
                fill_correlated_estimates(stream, factor.T.copy(), batch_size, drawn)
            estimates[k] = drawn[:, 0]
    return noise, estimates
