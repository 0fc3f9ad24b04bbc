"""What Sections 4.2 and D.1 say of seven methods on networks (Figures 3, 6 and 7).

Methods are compared seed by seed: replicates of one seed share initial parameters, data order and
noise. The value is the mean over ten seeds of A / B - 1, in percent, of the mean training loss over
the run, each method at its tuned step size; the interval is Student's. The words of the paper are
translated into numbers by our own convention, the same for every problem: "clearly" and
"considerable" mean that the whole 95 % interval lies beyond 5 %; "about equal", "very small
difference" and "as well as" that it lies within +-5 %; "does not gain" that it lies above -5 %;
"outperforms", "faster" and "helps" that it lies on the right side of 0. Because the step sizes of
the grid differ by factors of 2 to 3.3 and are chosen with one seed, differences of a few percent
may not be due to the methods.

By default the problems are three regimes on scikit-learn's digits, in the places of MNIST, CIFAR-10
and CIFAR-100: a verdict there says whether the statement holds for these data, not whether it was
true for the paper's own runs.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qpsim.figures import figure3, figure6, figure7, network_panels, networks
from qpsim.figures.data import Data
from qpsim.figures.figure2_statements import Bounds
from qpsim.verdicts.record import Measurement, Report, Verdict


@dataclass(frozen=True)
class Options(networks.Options):
    """Those of the figures."""


# Where an interval of A / B - 1, in percent, must lie.
LOWER = Bounds("below 0", -math.inf, 0.0)
CLEARLY_LOWER = Bounds("below -5 %", -math.inf, -5.0)
EQUAL = Bounds("within +-5 %", -5.0, 5.0)
NO_GAIN = Bounds("above -5 %", -5.0, math.inf)

_MEAN, _EARLY = "mean_loss", "early_loss"


class Case(NamedTuple):
    """Two methods on one problem (0 MNIST, 1 CIFAR-10, 2 CIFAR-100, or what is in its place)."""

    method: str
    than: str
    problem: int
    bounds: Bounds
    array: str = _MEAN


class Statement(NamedTuple):
    """What the paper says, and the cases that decide it."""

    name: str
    text: str
    source: str
    cases: tuple[Case, ...]


_FIGURE_3, _D1 = "Section 4.2, Figure 3", "Section D.1"
_BOTH = (1, 2)

STATEMENTS = (
    Statement(
        "mnist-adam",
        "On MNIST Adam is clearly ahead of M-SGD.",
        _FIGURE_3,
        (Case("adam", "m-sgd", 0, CLEARLY_LOWER),),
    ),
    Statement(
        "mnist-sign",
        "On MNIST M-SSD and Adam differ very little: it is the sign that matters.",
        _FIGURE_3,
        (Case("m-ssd", "adam", 0, EQUAL),),
    ),
    Statement(
        "mnist-m-svag",
        "On MNIST M-SVAG is considerably ahead of M-SGD, but behind both sign methods.",
        _FIGURE_3,
        (
            Case("m-svag", "m-sgd", 0, CLEARLY_LOWER),
            Case("m-ssd", "m-svag", 0, LOWER),
            Case("adam", "m-svag", 0, LOWER),
        ),
    ),
    Statement(
        "cifar10-sign",
        "On CIFAR-10 the sign methods are ahead.",
        _FIGURE_3,
        tuple(
            Case(sign, gradient, 1, LOWER)
            for sign in ("m-ssd", "adam")
            for gradient in ("m-sgd", "m-svag")
        ),
    ),
    Statement(
        "cifar10-adaptation",
        "On CIFAR-10 neither M-SSD nor M-SGD gains much from variance adaptation.",
        _FIGURE_3,
        (Case("adam", "m-ssd", 1, NO_GAIN), Case("m-svag", "m-sgd", 1, NO_GAIN)),
    ),
    Statement(
        "cifar100-sgd",
        "On CIFAR-100 M-SGD outperforms Adam.",
        _FIGURE_3,
        (Case("m-sgd", "adam", 2, LOWER),),
    ),
    Statement(
        "cifar100-adaptation",
        "On CIFAR-100 variance adaptation helps, with and without the sign.",
        _FIGURE_3,
        (Case("adam", "m-ssd", 2, LOWER), Case("m-svag", "m-sgd", 2, LOWER)),
    ),
    Statement(
        "cifar100-early",
        "On CIFAR-100 M-SVAG is faster than M-SGD in the initial phase.",
        _FIGURE_3,
        (Case("m-svag", "m-sgd", 2, LOWER, _EARLY),),
    ),
    Statement(
        "adam-star",
        "Adam* and Adam*-mb are about equal to Adam.",
        f"{_D1}, Figure 6",
        tuple(Case(m, "adam", k, EQUAL) for k in _BOTH for m in ("adam*", "adam*-mb")),
    ),
    Statement(
        "minibatch",
        "Variances from the minibatch work as well as those from moving averages.",
        f"{_D1}, Figures 6 and 7",
        tuple(Case(f"{m}-mb", m, k, EQUAL) for k in _BOTH for m in ("m-svag", "adam*")),
    ),
)


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Make the three figures' data and judge the statements.

    Parameters
    ----------
    options : Options
    workers : None, int or concurrent.futures.Executor
        As in :func:`qpsim.tuning.networks.tune`.

    Returns
    -------
    Report
    """
    began = time.perf_counter()
    common = {name: getattr(options, name) for name in Options.names()}
    found = [
        figure3.compute(figure3.Options(**common), workers),
        figure6.compute(figure6.Options(**common), workers),
        figure7.compute(figure7.Options(**common), workers),
    ]
    verdicts = judge(found)
    elapsed = {"wall_seconds": round(time.perf_counter() - began, 3)}
    return Report("networks", verdicts, options.to_dict(), {**found[0].provenance, **elapsed})


def judge(figures: list[Data]) -> tuple[Verdict, ...]:
    """All verdicts on the data of Figures 3, 6 and 7, computed or loaded."""
    problems, titles = figures[0].labels["problem"], network_panels.titles(figures[0])
    losses: dict[tuple[str, str, str], np.ndarray] = {}
    steps: dict[str, dict[str, float]] = {name: {} for name in problems}
    for data in figures:
        for k, problem in enumerate(data.labels["problem"]):
            for n, method in enumerate(data.labels["method"]):
                steps[problem][method] = float(data["step_size"][k, n])
                for array in (_MEAN, _EARLY):
                    losses[array, problem, method] = data[array][k, n]
    judged = [_judge(statement, problems, titles, losses, steps) for statement in STATEMENTS]
    return (*judged[:-2], _stability(figures[0]), *judged[-2:])


def compare(above: np.ndarray, below: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Mean of A / B - 1 over paired seeds, in percent, with Student's 95 % interval.

    >>> round(compare(np.array([1.1, 1.1]), np.array([1.0, 1.0]))[0], 6)
    10.0
    """
    from scipy.stats import t

    if not (np.isfinite(above).all() and np.isfinite(below).all()):
        return math.inf, (-math.inf, math.inf)
    ratio = 100 * (above / below - 1)
    if len(ratio) < 2:
        return float(ratio[0]), (-math.inf, math.inf)
    half = float(t.ppf(0.975, len(ratio) - 1) * ratio.std(ddof=1) / math.sqrt(len(ratio)))
    value = float(ratio.mean())
    return value, (value - half, value + half)


def _judge(
    statement: Statement,
    problems: list[str],
    titles: list[str],
    losses: dict[tuple[str, str, str], np.ndarray],
    steps: dict[str, dict[str, float]],
) -> Verdict:
    measured = []
    for case in statement.cases:
        problem = problems[case.problem]
        above = losses[case.array, problem, case.method]
        value, interval = compare(above, losses[case.array, problem, case.than])
        what = f"{_label(case.method)} / {_label(case.than)} - 1 on {titles[case.problem]}"
        measured.append(Measurement(what, value, interval, holds=case.bounds.contain(interval)))
    early = any(case.array == _EARLY for case in statement.cases)
    sides = dict.fromkeys(
        f"of {_label(case.method)} / {_label(case.than)} - 1 {case.bounds.rule}"
        for case in statement.cases
    )
    return Verdict(
        statement.name,
        _in_place(statement.text, titles),
        statement.source,
        "mean over paired seeds of A / B - 1, in percent, of the mean training loss over the "
        + ("first quarter of the run" if early else "run"),
        "95 % interval " + "; ".join(sides),
        tuple(measured),
        {"step_sizes": {problems[c.problem]: steps[problems[c.problem]] for c in statement.cases}},
    )


def _stability(data: Data) -> Verdict:
    """The ratio of two standard deviations, with the interval of normal samples (F)."""
    from scipy.stats import f

    titles = network_panels.titles(data)
    methods = data.labels["method"]
    accuracy = {m: data["test_accuracy"][2, methods.index(m)] for m in ("adam", "m-sgd")}
    n = len(accuracy["adam"])
    ratio, interval = math.nan, (-math.inf, math.inf)
    if n > 1:
        spread = {m: float(np.std(values, ddof=1)) for m, values in accuracy.items()}
        if spread["m-sgd"] > 0:
            ratio = spread["adam"] / spread["m-sgd"]
            quantile = math.sqrt(float(f.ppf(0.975, n - 1, n - 1)))
            interval = (ratio / quantile, ratio * quantile)
    what = f"sd of ADAM / sd of M-SGD on {titles[2]}"
    return Verdict(
        "cifar100-stability",
        _in_place("On CIFAR-100 Adam's results vary much more than M-SGD's.", titles),
        _FIGURE_3,
        "ratio of the standard deviations over seeds of the test accuracy after the last step",
        "95 % interval above 1",
        (Measurement(what, ratio, interval, holds=interval[0] > 1),),
    )


def _label(method: str) -> str:
    from qpsim.figures.style import look

    return look(method).label


def _in_place(text: str, titles: list[str]) -> str:
    """Say which data replace the paper's."""
    for paper, title in zip(("MNIST", "CIFAR-10 ", "CIFAR-100"), titles, strict=True):
        name = paper.strip()
        if title != name:
            text = text.replace(f"On {paper}", f"On {name} (here {title})" + paper[len(name) :])
    return text
