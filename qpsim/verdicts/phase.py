"""The maps of where the sign wins: does the theory name the winner, and where does the sign stop paying?

The data are those of ``qpsim figure phase``. A cell is decided if the 95 % interval of its measured ratio excludes 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from qpsim.figures import figure_phase as figure
from qpsim.figures.data import Data
from qpsim.verdicts.record import Measurement, Report, Verdict

_SOURCE = "Section 2, over whole runs"
_SHARE, _LOUD = 0.95, 1.0

Options = figure.Options


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Compute the maps and judge the statements.

    Examples
    --------
    >>> from qpsim.verdicts import phase
    >>> few = {"noise_std": (0.1, 4.0), "condition": (10.0,), "tau": (0.0, 1.0)}
    >>> small = phase.Options(dim=4, n_steps=3, n_replicates=4, n_draws=1, **few)
    >>> [verdict.name for verdict in phase.measure(small, workers=1).verdicts]
    ['runs-name-the-winner', 'one-step-does-not', 'ahead-on-the-axes', 'rotation-takes-it', 'noise-moves-the-border']
    """
    data = figure.compute(options, workers=workers)
    return Report("phase", judge(data), options.to_dict(), data.provenance)


def judge(data: Data) -> tuple[Verdict, ...]:
    """The verdicts on the figure's data, computed or loaded."""
    of_cells = "share of the decided cells in which prediction and measurement have the same winner"
    of_ratio = f"mean of log10 of SGD's loss over sign descent's after {data.options.n_steps} steps"
    above = "whole 95 % interval above 0"
    axes, haar = _column(data, 0), _column(data, -1)
    difference = [
        (f"nu = {nu:g}", a[0] - b[0], math.hypot(a[1], b[1]))
        for nu, a, b in zip(data.options.noise_std, axes, haar, strict=True)
    ]
    return (
        Verdict(
            "runs-name-the-winner",
            "The laws of whole runs, without sampling, name the method that ends lower.",
            "beyond the paper",
            of_cells,
            f"at least {_SHARE:.0%}",
            (*_shares(data, "run", lambda share: share >= _SHARE), *_errors(data)),
        ),
        Verdict(
            "one-step-does-not",
            "The improvements of one step from the start do not name it: after a few steps the offset is another one.",
            _SOURCE,
            of_cells,
            f"below {_SHARE:.0%}",
            _shares(data, "start", lambda share: share < _SHARE),
        ),
        Verdict(
            "ahead-on-the-axes",
            "On the axes of a structured spectrum sign descent ends below SGD at every noise level.",
            _SOURCE,
            of_ratio,
            above,
            tuple(
                _above(f"nu = {nu:g}", *cell)
                for nu, cell in zip(data.options.noise_std, axes, strict=True)
            ),
        ),
        Verdict(
            "rotation-takes-it",
            "A Haar rotation takes sign descent's lead away, at every noise level.",
            _SOURCE,
            f"{of_ratio}, on the axes minus under the largest rotation",
            above,
            tuple(_above(*one) for one in difference),
        ),
        _border(data),
    )


def _shares(data: Data, kind: str, rule: Callable[[float], bool]) -> tuple[Measurement, ...]:
    """One share for each map, with Wilson's 95 % interval as if cells were independent."""
    found = []
    for name, (same, count) in zip(
        figure.MAPS, data["agreement"][:, figure.KINDS.index(kind)].tolist(), strict=True
    ):
        share = same / count if count else math.nan
        found.append(
            Measurement(
                f"{name}: {same:g} of {count:g} decided cells",
                share,
                _wilson(same, count),
                holds=bool(rule(share)),
            )
        )
    return tuple(found)


def _errors(data: Data) -> tuple[Measurement, ...]:
    """Errors of the predicted ratios, for information only."""
    found = []
    for name in figure.MAPS:
        measured, _, predicted = data[name]
        off = float(np.sqrt(np.mean((predicted - measured) ** 2)))
        found.append(Measurement(f"{name}: root mean square error of the log10 ratio", off))
    return tuple(found)


def _wilson(same: float, count: float) -> tuple[float, float]:
    """Wilson (1927): the shares that a count of successes does not reject."""
    if not count:
        return 0.0, 1.0
    z = 1.96
    middle = (same + 0.5 * z * z) / (count + z * z)
    half = z / (count + z * z) * math.sqrt(same * (count - same) / count + 0.25 * z * z)
    return middle - half, middle + half


def _column(data: Data, tau: int) -> list[tuple[float, float]]:
    """Measured ratio and its standard error at each noise level of one rotation."""
    return list(
        zip(data["noise"][0, :, tau].tolist(), data["noise_error"][:, tau].tolist(), strict=True)
    )


def _above(what: str, value: float, error: float) -> Measurement:
    half = 1.96 * error
    return Measurement(what, value, (value - half, value + half), holds=value > half)


def _border(data: Data) -> Verdict:
    """The rotation from which on sign descent is no longer ahead, by noise level."""
    tau, found, last = np.array(data.options.tau), [], math.inf
    for nu, row in zip(data.options.noise_std, data["noise"][0], strict=True):
        behind = np.flatnonzero(row <= 0.0)
        at = float(tau[behind[0]]) if behind.size else math.inf
        if nu < _LOUD:
            found.append(Measurement(f"nu = {nu:g}", at))
            continue
        found.append(Measurement(f"nu = {nu:g}", at, holds=at <= last))
        last = at
    return Verdict(
        "noise-moves-the-border",
        f"From nu = {_LOUD:g} on, louder noise lets the sign stop paying at no larger a rotation.",
        _SOURCE,
        "smallest rotation tau of the map at which SGD ends no higher than sign descent",
        "no larger than at the noise level before",
        tuple(found),
    )
