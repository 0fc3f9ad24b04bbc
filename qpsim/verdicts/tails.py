"""Student's t: what thicker tails do to sign descent against SGD, in one step and after a run.

The data are those of ``qpsim figure tails``: Figure 2's problems, and noise whose scale matrix C is the same for all
degrees of freedom. One step is exact theory and differs by draw of the problem; a run is measured. The thickest tails
of the options are compared with the Gaussian.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from qpsim.figures import figure_tails as figure
from qpsim.figures.data import Data
from qpsim.simulation.statistics import median_interval
from qpsim.verdicts.record import Measurement, Report, Verdict

_SOURCE = "Section 2, with Student's t for the Gaussian"
# Below this nu the noise rarely changes a sign at the start, so that its tails have no visible effect.
_NOTICEABLE = 1.0
_ABOVE = "whole 95 % interval above 0"

Options = figure.Options


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Run the ensembles and judge the statements.

    Examples
    --------
    >>> from qpsim.verdicts import tails
    >>> few = tails.Options(df=(3.0,), n_replicates=6, n_draws=6, n_steps=3, dim=4)
    >>> [verdict.name for verdict in tails.measure(few, workers=1).verdicts]
    ['one-step', 'turned-in-one-step', 'ahead-after-a-run', 'further-ahead-after-a-run']
    """
    data = figure.compute(options, workers=workers)
    return Report("tails", judge(data), options.to_dict(), data.provenance)


def judge(data: Data) -> tuple[Verdict, ...]:
    """The verdicts on the figure's data, computed or loaded."""
    thick = f"df = {data.labels['df'][0]:g}"
    draws = np.arange(data["one_step"].shape[-1])
    step, run, problem = data["one_step"], figure.advantage(data), data["problem"]
    loudest = int(np.argmax(data.labels["noise"]))
    nu = data.labels["noise"][loudest]
    held = f"the same {'scale matrix' if data.options.hold == 'scale' else 'covariance'}"
    one_step, after = (
        "median over draws of log10 I(sign) / I(gradient) at the start (Eq. 11)",
        f"median over runs of log10 of SGD's loss over sign descent's after {data.options.n_steps} steps",
    )
    turned = [
        _above(data, step[:, loudest, 0], draws, loudest, f", {thick}"),
        _above(data, -step[:, loudest, -1], draws, loudest, f", {figure.GAUSSIAN}, negative"),
    ]
    return (
        Verdict(
            "one-step",
            f"With {held} and noise of nu >= {_NOTICEABLE:g}, tails of {thick} raise sign descent's share of SGD's "
            "improvement in one step.",
            _SOURCE,
            f"{one_step}, at {thick} minus Gaussian",
            _ABOVE,
            _every(data, step[:, :, 0] - step[:, :, -1], draws, _NOTICEABLE),
        ),
        Verdict(
            "turned-in-one-step",
            f"At nu = {nu:g} SGD has the better step under Gaussian noise, and sign descent at {thick}.",
            _SOURCE,
            f"{one_step}; the negative of it for the Gaussian",
            _ABOVE,
            tuple(found for group in turned for found in group),
        ),
        Verdict(
            "ahead-after-a-run",
            f"With tails of {thick} sign descent ends below SGD on every problem and at every noise level.",
            _SOURCE,
            after,
            _ABOVE,
            _every(data, run[:, :, 0], problem),
        ),
        Verdict(
            "further-ahead-after-a-run",
            f"With {held} tails of {thick} raise sign descent's final advantage over SGD.",
            _SOURCE,
            f"{after}, at {thick} minus Gaussian",
            _ABOVE,
            _every(data, run[:, :, 0] - run[:, :, -1], problem),
        ),
    )


def _every(
    data: Data, values: np.ndarray, groups: np.ndarray, felt: float = 0.0
) -> tuple[Measurement, ...]:
    """One measurement for each problem and noise level; values have shape (row, noise, n).

    Noise levels below ``felt`` are for information only.
    """
    found: list[Measurement] = []
    for k, nu in enumerate(data.labels["noise"]):
        at = _above(data, values[:, k], groups, k, "")
        found += at if nu >= felt else [replace(one, holds=None) for one in at]
    return tuple(found)


def _above(
    data: Data, values: np.ndarray, groups: np.ndarray, noise: int, more: str
) -> list[Measurement]:
    """Whether the median lies above 0, for each problem at one noise level; values have shape (row, n)."""
    found = []
    for row, name in enumerate(data.labels["row"]):
        middle, interval = median_interval(values[row], groups)
        what = f"{name}, nu = {data.labels['noise'][noise]:g}{more}"
        found.append(Measurement(what, middle, interval, holds=interval[0] > 0.0))
    return found
