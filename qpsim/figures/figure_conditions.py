"""Section 2's conditions along the training of networks: diagonal mass, spectrum, noise, and where the sign helps.

Each network is trained with Adam. At some steps the Hessian and the noise of minibatches are measured
(:mod:`qpsim.nn.measured`), and the improvement I(z) of Eq. 11 along the sign and along the gradient. From the same
points both methods run for some steps, each with its best constant step size (the "race").
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import networks
from qpsim.figures.conditions_panels import aspect, draw
from qpsim.figures.data import Data
from qpsim.figures.network_panels import titles
from qpsim.figures.options import BaseOptions, option
from qpsim.methods import method as method_of
from qpsim.provenance import provenance_since

if TYPE_CHECKING:
    from qpsim.nn.measured import Probe

__all__ = ["METHODS", "PROBLEMS", "Options", "aspect", "compute", "draw", "summary", "table"]

PROBLEMS = ("digits-mlp", "digits-cnn", "digits-whitened")
METHODS = ("sgd", "ssd")
# Sizes of eigenvalues relative to the largest, at which the share of larger ones is given.
LEVELS = tuple(float(x) for x in np.logspace(-5.0, 0.0, 41))
_INTERVAL = ["value", "low", "high"]


@dataclass(frozen=True)
class Options(BaseOptions):
    """Which networks are measured, where, and how well."""

    tasks: tuple = option(PROBLEMS, "problems, see train --list", text=networks.task_text)
    n_points: int = option(4, "points along each training, evenly spaced from step 0", at_least=2)
    last_step: int = option(200, "step of the last point", at_least=1)
    step_size: float = option(0.003, "step size of the training by Adam", at_least=0.0)
    n_gradients: int = option(64, "minibatches at each point", at_least=8)
    n_examples: int = option(512, "examples whose loss is measured", at_least=2)
    n_rows: int = option(32, "rows of the Hessian for c, if it is not formed", at_least=3)
    n_steps: int = option(50, "steps of the race from each point", at_least=1)
    by_layer: bool = option(False, "also measure c of each layer's parameters")
    rng: int = option(0, "seed", at_least=0)
    data: str = option("", "folder of MNIST, CIFAR-10 or CIFAR-100; without it, the digits")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without paths, on which no number depends."""
        return {**super().to_dict(), "data": "real" if self.data else ""}


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Train and measure.

    Returns
    -------
    Data
        Leading axes are (problem, point); [.] is an estimate with the ends of its 95 % interval, and NaN stands where
        a run has diverged or nothing is known. ``step``; ``loss``; ``mass`` [.]: c of Eq. 13; ``extreme``: smallest
        and largest eigenvalue; ``large_share`` [.]: share of eigenvalues above a tenth of the largest;
        ``spectrum`` (..., sign, level): share of the positive and of the negative eigenvalues larger in size than so
        many times the largest; ``relative_variance`` (..., quantile): of eta_i^2; ``noise_scale`` [.]: tr C / |grad|^2;
        ``improvement``, ``realised`` (..., method, [.]): I(z), and the best decrease of the loss itself; ``predicted``
        (..., method): I(z) of the Gaussian theory; ``ratio`` [.]: I(s) / I(g); ``race`` [.]: log of the ratio of the
        losses' falls over the next steps, sign over gradient; ``layer_mass`` (..., layer, [.]): c of each layer alone,
        if that was asked for. The layers' names are a label, a list for each problem.

    Examples
    --------
    >>> from qpsim.figures import figure_conditions as figure
    >>> small = {"n_points": 2, "last_step": 2, "n_gradients": 8, "n_examples": 16, "n_steps": 2}
    >>> few = figure.Options(tasks="digits-whitened", **small)
    >>> figure.compute(few, workers=1)["ratio"].shape
    (1, 2, 3)
    """
    from qpsim.nn.measured import Sizes, probe
    from qpsim.nn.run import Run

    began = time.perf_counter()
    sizes = Sizes(
        n_examples=options.n_examples,
        n_gradients=options.n_gradients,
        n_probes=4,
        n_eigenvalues=1,
        n_rows=options.n_rows,
        n_race=options.n_steps,
        by_layer=options.by_layer,
    )
    steps = sorted({round(x) for x in np.linspace(0, options.last_step, options.n_points).tolist()})
    chosen = networks.tasks_of(PROBLEMS, options.tasks, options.data)
    found: list[list[Probe]] = []
    trained_on, fingerprints = [], []
    for one in chosen:
        task = replace(one, n_steps=max(options.last_step, one.n_steps))
        dataset = task.load((options.data or None) if task.needs_directory else None)
        run = Run(task, method_of("adam"), options.step_size, options.rng)
        found.append(
            probe(
                run,
                steps,
                dataset=dataset,
                sizes=sizes,
                methods=METHODS,
                workers=workers if isinstance(workers, int) else None,
            )
        )
        trained_on.append(dataset.name if task.needs_directory else task.name)
        fingerprints.append({"name": dataset.name, "examples": len(dataset.train)})
    arrays, axes = _arrays(found, steps)
    labels: dict[str, list[Any]] = {
        "problem": [one.name for one in chosen],
        "title": trained_on,
        "data": fingerprints,
        "method": list(METHODS),
        "estimate": _INTERVAL,
        "sign": ["positive", "negative"],
        "level": list(LEVELS),
        "end": ["smallest", "largest"],
        "quantile": list(found[0][0].noise.quantiles),
        "dim": [row[0].noise.dim for row in found],
        "exact": [row[0].curvature.exact for row in found],
        "layers": [[block.name for block in row[0].curvature.blocks] for row in found],
    }
    return Data("conditions", options, arrays, axes, labels, provenance_since(began))


def _arrays(
    found: list[list[Probe]], steps: list[int]
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """The numbers of all points, NaN for points that a run did not reach."""
    picks: dict[str, tuple[Any, list[str]]] = {
        "loss": (lambda one: one.loss, []),
        "mass": (lambda one: one.curvature.diagonal_mass, ["estimate"]),
        "extreme": (lambda one: one.curvature.eigenvalues[[0, -1]], ["end"]),
        "large_share": (lambda one: one.curvature.outlier_share, ["estimate"]),
        "spectrum": (_shares, ["sign", "level"]),
        "relative_variance": (lambda one: one.noise.relative_variance, ["quantile"]),
        "noise_scale": (lambda one: one.noise.noise_scale, ["estimate"]),
        "improvement": (_of_methods("improvement"), ["method", "estimate"]),
        "realised": (_of_methods("realised"), ["method", "estimate"]),
        "predicted": (_of_methods("predicted"), ["method"]),
        "ratio": (lambda one: one.directions["ssd"].ratio_to_sgd, ["estimate"]),
        "race": (lambda one: one.race.log_ratio, ["estimate"]),
    }
    arrays, axes = {"step": np.array(steps)}, {"step": ["point"]}
    for name, (pick, own) in picks.items():
        shape = np.shape(pick(found[0][0]))
        arrays[name] = np.full((len(found), len(steps), *shape), np.nan)
        axes[name] = ["problem", "point", *own]
        for k, row in enumerate(found):
            for n, one in enumerate(row):
                arrays[name][k, n] = pick(one)
    layers = max(len(row[0].curvature.blocks) for row in found)
    if layers:
        arrays["layer_mass"] = np.full((len(found), len(steps), layers, 3), np.nan)
        axes["layer_mass"] = ["problem", "point", "layer", "estimate"]
        for k, row in enumerate(found):
            for n, one in enumerate(row):
                for m, block in enumerate(one.curvature.blocks):
                    arrays["layer_mass"][k, n, m] = block.diagonal_mass
    return arrays, axes


def _of_methods(name: str) -> Any:
    return lambda one: [getattr(one.directions[method], name) for method in METHODS]


def _shares(one: Probe) -> np.ndarray:
    """Shares (sign, level) of the eigenvalues, from the spectral density."""
    curvature = one.curvature
    largest = np.abs(curvature.eigenvalues).max()
    values, weights = curvature.density_nodes.ravel(), curvature.density_weights.ravel()
    return np.array(
        [
            [weights[sign * values > level * largest].sum() for level in LEVELS]
            for sign in (1.0, -1.0)
        ]
    ) / len(curvature.density_nodes)


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """One line a point."""
    columns = ["problem", "step", "c", "large", "tr C/|g|^2", "I(s)/I(g)", "real/I(s)", "real/I(g)"]
    columns.append("sign wins")
    rows = []
    for k, name in enumerate(titles(data)):
        for n, step in enumerate(data["step"]):
            if np.isnan(data["loss"][k, n]):
                continue
            with np.errstate(divide="ignore", invalid="ignore"):
                gain = data["realised"][k, n, :, 0] / data["improvement"][k, n, :, 0]
            rows.append(
                [
                    name,
                    str(step),
                    *(_interval(data[key][k, n]) for key in ("mass", "large_share")),
                    *(_interval(data[key][k, n]) for key in ("noise_scale", "ratio")),
                    f"{gain[1]:.2g}",
                    f"{gain[0]:.2g}",
                    _interval(np.exp(data["race"][k, n])),
                ]
            )
    return columns, rows


def _interval(values: np.ndarray) -> str:
    value, low, high = values
    return f"{value:.2g}" if low == high else f"{value:.2g} [{low:.2g}, {high:.2g}]"


def winners(data: Data) -> tuple[int, int]:
    """Number of points at which I(s) / I(g) predicts the method with the larger decrease, and number of all points."""
    predicted, ran = np.log(data["ratio"][..., 0]), data["race"][..., 0]
    known = np.isfinite(predicted) & ~np.isnan(ran)
    return int(np.sum((predicted[known] > 0.0) == (ran[known] > 0.0))), int(known.sum())


def summary(data: Data) -> str:
    """The results in one sentence."""
    right, points = winners(data)
    return (
        f"I(s) / I(g) at a point names the method whose loss falls further over the next {data.options.n_steps} steps "
        f"at {right} of {points} points."
    )
