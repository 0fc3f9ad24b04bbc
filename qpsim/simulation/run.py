"""``simulate``: runs of a method on a problem, divided into blocks among workers.

The replicates are divided into blocks (:mod:`qpsim.simulation.block`), which any executor may run in any order.
Replicate k draws its noise from ``numpy.random.SFC64(seed_sequence.spawn(n)[k])``, so that methods simulated with the
same ``rng`` have the same noise and can be compared replicate by replicate.
"""

from __future__ import annotations

import os
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim import checks
from qpsim.errors import (
    ArtefactWarning,
    DivergenceWarning,
    MethodError,
    PrecisionWarning,
    QpsimError,
    SimulationError,
)
from qpsim.execution import progress
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.pool import WorkerPool, in_this_thread, threads
from qpsim.methods import Method, Rule
from qpsim.problem.interface import Problem
from qpsim.provenance import environment
from qpsim.simulation import block as blocks
from qpsim.simulation.checkpoint import Checkpoint
from qpsim.simulation.memory import check_memory
from qpsim.simulation.plan import Plan, make_plan
from qpsim.simulation.result import Result
from qpsim.simulation.step_check import StepTest, warn_of_draws
from qpsim.simulation.stepsize import StepSize, planned


def simulate(
    problem: Problem,
    method: str | Method | Rule,
    step_size: StepSize = "optimal",
    n_steps: int = 100,
    n_replicates: int = 256,
    theta0: ArrayLike | None = None,
    *,
    rng: Any = None,
    workers: int | Executor | None = None,
    batch_size: int = 1,
    tolerance: float = 1e-9,
    dtype: str = "float64",
    record: Iterable[str] | Mapping[str, Any] = ("excess_loss", "step_size"),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
) -> Result:
    """Run a method on a problem, many times.

    Parameters
    ----------
    problem : QuadraticProblem, or any other problem
    method : str, Method or Rule
        A registry name, a method with its hyper-parameters, or a rule, which has its defaults.
    step_size : {"optimal", "bound", "line-search", "planned"}, float, array_like or callable, default "optimal"
        See :mod:`qpsim.simulation.stepsize`. A callable is called with t = 1, ..., n_steps. "planned" takes the steps
        of :func:`qpsim.best_schedule`, for methods linear in the gradient on a QuadraticProblem and for ssd on a
        diagonal one.
    n_steps, n_replicates : int, default 100 and 256
    theta0 : array_like, shape (d,) or (n_replicates, d), default zeros
        Starting point, common or one for each replicate.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed (SPEC 7). The same seed gives the same bits for any ``workers``.
    workers : None, int or concurrent.futures.Executor, default None
        Number of threads (None: one for each core), or an executor of threads or processes, which is left open.
    batch_size : int, default 1
        B: every gradient is the mean of B draws, with noise level nu / sqrt(B). At least 2 for a method
        that estimates the variance within the minibatch.
    tolerance : float, default 1e-9
        Allowed relative error of E[z^T Q z] in the optimal step of a method without a closed form on a dense Hessian.
        Terms of a Hermite series are added until a rigorous bound is below the tolerance; pairs of coordinates that are
        too strongly correlated for the series are integrated numerically. The bound reached is the result's
        ``moment_error``. The integral of a pair takes half a millisecond for each replicate, and most are needed in the
        first steps, where directions have sharp turns. A larger tolerance, such as 1e-4, needs fewer of them.
    dtype : {"float64", "float32"}, default "float64"
        Precision in which normals and the method's state are stored between steps. Theta - optimum, arithmetic, moments
        and losses are always float64. float32 halves the memory of the state and rounds it to a relative error of 6e-8.
        It is available for a diagonal Hessian and for methods that commute with rotations.
    record : iterable of names, or mapping, default ("excess_loss", "step_size")
        What to keep besides the excess loss: "step_size"; "theta" after every step or, as
        ``{"theta": [0, 50, 100]}``, after the chosen ones; the excess loss of an average of the iterates, as
        ``{"average": {"ema": 0.99}}`` or ``{"average": {"tail": 50}}``, the mean from step 50 on
        (:func:`qpsim.theory.averaging.average_of`).
    checkpoint : path, optional
        File in which the state of the run is saved; if it exists, the run continues from it, with the same bits. The
        file is kept when the run is done. Needs a fixed ``rng``.
    checkpoint_every : float, default 60
        Seconds between two writes of the checkpoint.

    Returns
    -------
    Result
        ``excess_loss`` (n_replicates, n_steps + 1), ``step_size`` (n_replicates, n_steps), ``theta`` (n_replicates,
        kept steps, d), ``averaged_excess_loss`` (n_replicates, n_steps + 1) and, if the optimal step has a series or a
        quadrature with a recorded error, ``moment_error`` (n_replicates, n_steps).

    Raises
    ------
    ProblemError, MethodError, StepSizeError, SimulationError
        Invalid arguments, or arguments that do not fit together; raised before any work.
    FileError
        The checkpoint is damaged, another simulation's, or cannot be written.

    Warns
    -----
    DivergenceWarning
        The loss of a replicate became infinite or NaN; its record is +inf from that step on.
    ArtefactWarning
        A method that is not linear starts at a point where all coordinates have the same distance from the optimum, so
        that sign descent can reach the optimum in one step; or every replicate starts at the optimum, where every
        optimal step is 0.
    PrecisionWarning
        Some of ``moment_error`` is above the tolerance; or the draws of a user's rule show that its optimal steps are
        too long (:mod:`qpsim.simulation.step_check`).

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.random_problem("mild", dim=20, basis="axis", noise_std=0.0, rng=0)
    >>> r = qpsim.simulate(p, "sgd", n_steps=5, n_replicates=2, rng=0, workers=1)
    >>> r.excess_loss.shape, bool((r.excess_loss[:, 5] < r.excess_loss[:, 0]).all())
    ((2, 6), True)
    """
    plan = make_plan(
        problem,
        method,
        step_size,
        n_steps,
        n_replicates,
        theta0,
        rng=rng,
        batch_size=batch_size,
        tolerance=tolerance,
        dtype=dtype,
        record=record,
    )
    file = None if checkpoint is None else Checkpoint(checkpoint, checkpoint_every)
    return run_plan(plan, workers, file)


def rerun(result: Result, workers: int | Executor | None = None) -> Result:
    """Run the specification of a result again: the same bits in the same environment.

    Parameters
    ----------
    result : Result
        From :func:`simulate` or :func:`qpsim.load`.
    workers : None, int or concurrent.futures.Executor

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.random_problem("mild", dim=5, basis="axis", rng=0)
    >>> r = qpsim.simulate(p, "ssd", n_steps=3, n_replicates=2, rng=0, workers=1)
    >>> bool((qpsim.rerun(r).excess_loss == r.excess_loss).all())
    True
    """
    checks.instance("result", result, Result, SimulationError, "qpsim.load(path)")
    return run_plan(replace(result.plan, token=uuid.uuid4().hex), workers)


def run_plan(
    plan: Plan,
    workers: int | Executor | None = None,
    checkpoint: Checkpoint | None = None,
) -> Result:
    """Run a plan on the given workers, with a checkpoint if there is one."""
    began = time.perf_counter()
    states = {}
    if checkpoint is not None:
        states = checkpoint.open(plan)
        blocks.watch(plan.token, checkpoint.store)
    with threads(workers) as pool, one_blas_thread():
        # A checkpoint stores blocks by their first replicate, so that the blocks must not depend on the workers.
        spans = list(plan.blocks(1 if checkpoint is not None else pool.width))
        check_memory(plan, spans[0][1], pool.width)
        losses = np.empty((plan.n_replicates, plan.n_steps + 1))
        steps = np.empty((plan.n_replicates, plan.n_steps)) if plan.keep_step_size else None
        errors = np.empty((plan.n_replicates, plan.n_steps)) if plan.uses_series else None
        theta = None
        if plan.theta_steps:
            theta = np.empty((plan.n_replicates, len(plan.theta_steps), plan.problem.dim))
        averaged = np.empty(losses.shape) if plan.average is not None else None
        own_threads = not isinstance(workers, Executor)
        # A single block runs in this thread, unless its steps may take long: Python handles Ctrl-C only in the main
        # thread and only between kernels.
        is_quick = len(spans) == 1 and not plan.uses_series
        block_pool = in_this_thread() if own_threads and is_quick else pool
        step_test = StepTest()
        for block in _completed(plan, spans, states, block_pool):
            step_test += block.step_test
            if checkpoint is not None:
                checkpoint.store_finished(block)
            rows = slice(block.first, block.first + block.losses.shape[1])
            losses[rows] = block.losses.T
            if steps is not None and block.steps is not None:
                steps[rows] = block.steps.T
            if errors is not None and block.errors is not None:
                # 0 / 0 where the direction is 0: then there is no error.
                errors[rows] = np.nan_to_num(block.errors.T, nan=0.0, posinf=np.inf)
            if theta is not None and block.theta is not None:
                theta[rows] = block.theta.transpose(2, 0, 1)
            if averaged is not None and block.averaged is not None:
                averaged[rows] = block.averaged.T
    if checkpoint is not None:
        checkpoint.close()
    _warn_of_start_at_optimum(plan)
    _warn_of_divergence(plan, losses)
    _warn_of_imprecision(plan, errors)
    warn_of_draws(plan, step_test)
    provenance = {
        **environment(),
        "seed_entropy": plan.seed.entropy,
        "seed_spawn_key": list(plan.seed.spawn_key),
        "block_size": plan.block_size,
        "bit_generator": "SFC64",
        "workers": pool.width,
        "wall_seconds": time.perf_counter() - began,
    }
    return Result(plan, losses, steps, errors, theta, provenance, averaged)


def _completed(
    plan: Plan,
    spans: list[tuple[int, int]],
    states: Mapping[int, blocks.BlockState],
    pool: WorkerPool,
) -> Iterator[blocks.Block]:
    """The blocks, in the order in which they finish."""
    # A worker receives only the part of the plan for its block.
    tasks = ((span, (plan.for_block(*span), *span, states.get(span[0]))) for span in spans)
    try:
        with (
            progress.bar(plan.method.name, len(spans)) as bar,
            pool.run(blocks.run_block, tasks) as results,
        ):
            for _, future in results:
                yield _outcome(plan, future)
                bar.tick()
    finally:
        blocks.forget(plan.token)


def _outcome(plan: Plan, future: Future[blocks.Block]) -> blocks.Block:
    """A finished block; an exception of a user's rule becomes a MethodError that names the rule."""
    try:
        return future.result()
    except (ArithmeticError, ValueError, LookupError, AssertionError) as error:
        if plan.method.rule.is_builtin or isinstance(error, QpsimError):
            raise
        raise MethodError(
            f"Rule {plan.method.name!r} fails during the run: {type(error).__name__}: {error}; "
            "it must give numbers at every gradient, state and t."
        ) from error


def _warn_of_start_at_optimum(plan: Plan) -> None:
    chooses = not plan.policy.is_given or plan.policy.name == planned.NAME
    if chooses and bool((plan.theta0 == plan.problem.optimum).all()):
        warnings.warn(
            "Every replicate starts at the optimum, where no step is taken; give another theta0, or "
            "a problem with another optimum.",
            ArtefactWarning,
            stacklevel=4,
        )


def _warn_of_divergence(plan: Plan, losses: np.ndarray) -> None:
    # A diverged replicate stays +inf, so that the last step is enough. Steps are searched one at a time, to avoid a
    # copy of a large record.
    n_diverged = int(np.isinf(losses[:, -1]).sum())
    if n_diverged:
        first = next(k for k in range(losses.shape[1]) if np.isinf(losses[:, k]).any())
        cause = f"its {plan.policy.name} step size is too large"
        if first == 0:
            cause = "theta0 is too far from the optimum for its loss to be a finite number"
        warnings.warn(
            f"{plan.method.name} diverged in {n_diverged} of {plan.n_replicates} replicates, first at "
            f"step {first}; {cause}.",
            DivergenceWarning,
            stacklevel=4,
        )


def _warn_of_imprecision(plan: Plan, errors: np.ndarray | None) -> None:
    if errors is not None and (worst := float(errors.max(initial=0.0))) > plan.tolerance:
        share = float((errors > plan.tolerance).mean())
        warnings.warn(
            f"{plan.method.name}'s exact step is known to {worst:.1e} relatively at worst, above the "
            f"tolerance of {plan.tolerance:.1e} in {share:.2%} of the steps: moment_error has the "
            "bound of each.",
            PrecisionWarning,
            stacklevel=4,
        )
