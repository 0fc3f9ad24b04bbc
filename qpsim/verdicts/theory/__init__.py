"""The statements of Sections 1 to 3, B and C, and of other noises and problems, each against independent draws.

A statement is one :class:`~qpsim.verdicts.theory.statement.Statement`: what the theory claims, and a Monte Carlo
experiment that measures it from the definitions. Where the paper is wrong the corrected form is verified (see
:data:`qpsim.theory.ERRATA`). All comparisons of one run together have one error level, so that false alarms are rare
with any seed.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from qpsim.errors import FigureError
from qpsim.execution import progress
from qpsim.figures.options import BaseOptions, option
from qpsim.provenance import provenance_since
from qpsim.verdicts.record import Report
from qpsim.verdicts.theory import (
    adaptation,
    batch_size,
    convergence,
    curves,
    improvement,
    mass,
    momentum,
    noises,
    problems,
    risk,
    schedules,
    signs,
    whole_runs,
)
from qpsim.verdicts.theory.statement import Draw, Statement

STATEMENTS: tuple[Statement, ...] = (
    *signs.STATEMENTS,
    *improvement.STATEMENTS,
    *mass.STATEMENTS,
    *adaptation.STATEMENTS,
    *momentum.STATEMENTS,
    *convergence.STATEMENTS,
    *risk.STATEMENTS,
    *curves.STATEMENTS,
    *batch_size.STATEMENTS,
    *schedules.STATEMENTS,
    *whole_runs.STATEMENTS,
    *noises.STATEMENTS,
    *problems.STATEMENTS,
)


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of the verification of the theory."""

    n_replicates: int = option(100_000, "draws of each experiment", at_least=10_000)
    seed: int = option(0, "seed of everything random", at_least=0)
    level: float = option(
        1e-3, "probability that a run with all statements true rejects any", at_least=1e-12
    )


def measure(
    options: Options,
    workers: int | Executor | None = None,
    statements: tuple[Statement, ...] = STATEMENTS,
) -> Report:
    """Measure the statements.

    Parameters
    ----------
    options : Options
    workers : None, int or concurrent.futures.Executor
        Of the simulations among the experiments; the numbers do not depend on it.
    statements : tuple of Statement
        All by default; each has its own random stream, independent of the others.

    Returns
    -------
    Report

    Examples
    --------
    >>> from qpsim.verdicts import theory
    >>> report = theory.measure(theory.Options(n_replicates=10_000), statements=theory.STATEMENTS[:3])
    >>> report.holds
    True
    """
    if options.level >= 1.0:
        raise FigureError(f"level must be below 1, not {options.level:g}.")
    began = time.perf_counter()
    threshold = critical_deviation(options.level, statements)
    verdicts = []
    with progress.bar("theory", len(statements)) as bar:
        for statement in statements:
            # By name and not by position, so that a statement's numbers do not change when another one is added.
            key = int.from_bytes(statement.name.encode(), "big")
            seed = np.random.SeedSequence([options.seed, key])
            draw = Draw(np.random.Generator(np.random.PCG64(seed)), options.n_replicates, workers)
            verdicts.append(statement.verdict(draw, threshold))
            bar.tick()
    provenance = provenance_since(
        began,
        bit_generator="PCG64",
        comparisons=sum(len(statement.cases) for statement in statements if statement.random),
        critical_z=round(threshold, 4),
    )
    return Report("theory", tuple(verdicts), options.to_dict(), provenance)


def critical_deviation(level: float, statements: tuple[Statement, ...] = STATEMENTS) -> float:
    """|z| beyond which a comparison fails: two-sided, Bonferroni over all random comparisons.

    >>> f"{critical_deviation(0.05, ()):.3f}"
    '1.960'
    """
    count = sum(len(statement.cases) for statement in statements if statement.random)
    return -NormalDist().inv_cdf(0.5 * level / max(count, 1))
