"""Section 2's conditions on networks: the Hessian's diagonal mass and spectrum, and where the sign helps.

The paper offers "some (weak) empirical evidence" that they are fulfilled. Here each is measured along the training of
the embedded digits tasks (:mod:`qpsim.nn.measured`), and the improvement at a point is held against the next steps.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qpsim.execution import progress
from qpsim.figures import networks
from qpsim.figures.options import BaseOptions, option
from qpsim.methods import method
from qpsim.nn.build import build_network
from qpsim.nn.catalogue import task as task_of
from qpsim.nn.loop import Loop
from qpsim.nn.measured import Probe, Sizes, examples, probe
from qpsim.nn.run import Run
from qpsim.provenance import environment
from qpsim.verdicts.record import Measurement, Report, Verdict

TASKS = ("digits-whitened", "digits-cnn")
# Factors of the best single step that are tried as constant steps of the following ones.
_FACTORS = 2.0 ** np.arange(-7.0, 2.0)


@dataclass(frozen=True)
class Options(BaseOptions):
    """What is measured."""

    tasks: tuple = option(TASKS, "problems, see train --list", text=networks.task_text)
    n_points: int = option(5, "points along each training, evenly spaced from step 0", at_least=2)
    last_step: int = option(200, "step of the last point", at_least=1)
    step_size: float = option(0.003, "step size of Adam, which trains", at_least=0.0)
    n_gradients: int = option(64, "minibatches at each point", at_least=8)
    n_examples: int = option(512, "examples whose loss is measured", at_least=2)
    n_steps: int = option(50, "steps of the race from each point", at_least=1)
    seed: int = option(0, "seed of everything random", at_least=0)


def measure(options: Options, workers: Any = None) -> Report:
    """Measure the statements."""
    began = time.perf_counter()
    threads = workers if isinstance(workers, int) else None
    sizes = Sizes(n_examples=options.n_examples, n_gradients=options.n_gradients)
    steps = sorted({round(x) for x in np.linspace(0, options.last_step, options.n_points).tolist()})
    found: list[tuple[str, Probe, float]] = []
    with progress.bar("conditions", len(options.tasks)) as bar:
        for name in options.tasks:
            task = replace(task_of(name), n_steps=max(options.last_step, task_of(name).n_steps))
            run = Run(task, method("adam"), options.step_size, options.seed)
            points = probe(run, steps, sizes=sizes, workers=threads)
            races = _races(run, points, sizes, options.n_steps, threads)
            found += [(name, *pair) for pair in zip(points, races, strict=True)]
            bar.tick(name)
    verdicts = (_mass(found), _spectrum(found), _sign(found), _prediction(found, options.n_steps))
    provenance = {**environment(), "wall_seconds": round(time.perf_counter() - began, 3)}
    return Report("conditions", verdicts, options.to_dict(), provenance)


def _races(
    run: Run, points: list[Probe], sizes: Sizes, n_steps: int, workers: int | None
) -> list[float]:
    """log of how much more the loss falls by sign than by gradient descent, from each point."""
    loop = Loop(run, run.task.load(), workers)
    x, y = examples(run.task, loop.dataset, sizes.n_examples, [run.seed, 1])
    twin = build_network(run.task, loop.dataset, rng=0, dtype=np.float64, workers=workers)
    found = []
    for point in points:
        while loop.batches.step < point.step:
            loop.advance()
        start = loop.network.parameters.astype(np.float64)
        rows = np.random.default_rng([run.seed, 3, point.step]).integers(
            len(y), size=(n_steps, run.task.batch_size)
        )
        falls = []
        for name in ("ssd", "sgd"):
            best = point.directions[name].step_size.value
            losses = [
                _loss_after(twin, start, x, y, rows, factor * best, name) for factor in _FACTORS
            ]
            finite = [one for one in losses if math.isfinite(one)]
            falls.append(point.loss - min(finite) if finite else 0.0)
        good = min(falls) > 0.0
        found.append(math.log(falls[0] / falls[1]) if good else math.copysign(math.inf, falls[0]))
    return found


def _loss_after(
    twin: Any, start: Any, x: Any, y: Any, rows: Any, step_size: float, name: str
) -> float:
    if not math.isfinite(step_size):
        return math.inf
    twin.parameters = start
    for chosen in rows:
        loss, gradient = twin.loss_and_gradient(x[chosen], y[chosen], train=False)
        if not math.isfinite(loss):
            return math.inf
        twin.parameters = twin.parameters - step_size * (
            np.sign(gradient) if name == "ssd" else gradient
        )
    return float(twin.loss_and_gradient(x, y, train=False)[0])


def _where(name: str, point: Probe) -> str:
    return f"{name}, step {point.step}"


def _mass(found: Any) -> Verdict:
    rows = []
    for name, point, _ in found:
        c = point.curvature.diagonal_mass
        rows.append(
            Measurement(
                _where(name, point), c.value, (c.low, c.high), holds=c.high >= 0.1 and c.low <= 0.6
            )
        )
    return Verdict(
        "diagonal-mass",
        "The Hessian's diagonal holds between .1 and .6 of its mass.",
        "Section 2.1, Eq. 13",
        "c",
        "the 95 % interval meets [.1, .6]",
        tuple(rows),
    )


def _spectrum(found: Any) -> Verdict:
    rows = []
    for name, point, _ in found:
        share = point.curvature.outlier_share
        rows.append(
            Measurement(
                _where(name, point), share.value, (share.low, share.high), holds=share.high < 0.1
            )
        )
    return Verdict(
        "few-large-eigenvalues",
        "The spectrum is ill-conditioned: few eigenvalues are large.",
        "Section 2.1",
        "share of eigenvalues above a tenth of the largest",
        "the whole 95 % interval lies below .1",
        tuple(rows),
    )


def _sign(found: Any) -> Verdict:
    rows = []
    for name, point, _ in found:
        ratio = point.directions["ssd"].ratio_to_sgd
        eta = point.noise.relative_variance[2]
        what = f"{_where(name, point)}, median eta^2 {eta:.3g}"
        rows.append(
            Measurement(what, ratio.value, (ratio.low, ratio.high), holds=bool(ratio.low > 1.0))
        )
    return Verdict(
        "sign-improves-more",
        "One step along the sign improves the loss by more than one along the gradient.",
        "Section 2.1, Eq. 11 and 12",
        "I(s) / I(g)",
        "the whole 95 % interval lies above 1",
        tuple(rows),
    )


def _prediction(found: Any, n_steps: int) -> Verdict:
    """How often the better direction at a point is the better method of the following steps."""
    from scipy.stats import binomtest

    predicted = np.array([point.directions["ssd"].ratio_to_sgd.value for _, point, _ in found])
    races = np.array([race for *_, race in found])
    known = np.isfinite(predicted) & ~np.isnan(races)
    right = (np.log(predicted[known]) > 0.0) == (races[known] > 0.0)
    test = binomtest(int(right.sum()), max(1, len(right)))
    low, high = test.proportion_ci(method="wilson")
    rows = [
        Measurement(
            f"share of {len(right)} points", test.statistic, (low, high), holds=bool(low > 0.5)
        )
    ]
    rows += [
        Measurement(f"log of the falls' ratio, {_where(name, point)}", race)
        for name, point, race in found
    ]
    return Verdict(
        "one-step-predicts-many",
        f"Where I(s) > I(g), sign descent's loss falls further over the next {n_steps} steps, each method with its "
        "best constant step.",
        "not in the paper",
        "share of points at which I(s) / I(g) names the winner",
        "the whole 95 % interval lies above 1/2",
        tuple(rows),
    )
