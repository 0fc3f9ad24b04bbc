"""An ensemble of runs: problem + method + step-size policy -> simulate -> result.

Replicates are cut into blocks (:mod:`qpsim.blocks`) that any executor may run in any order. Replicate
k draws its noise from ``numpy.random.SFC64(seed_sequence.spawn(n)[k])``, so that methods simulated
with the same ``rng`` see the same noise and may be compared pair by pair.
"""

from __future__ import annotations

import os
import queue
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from numbers import Real
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim import blocks, interrupts, progress
from qpsim.checkpoint import Checkpoint
from qpsim.errors import (
    ArtefactWarning,
    DivergenceWarning,
    MethodError,
    PrecisionWarning,
    ProblemError,
    QpsimError,
    SimulationError,
    nearest,
)
from qpsim.kernels import policy as codes
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.methods.trial import try_rule
from qpsim.problem import LARGEST_COUNT, QuadraticProblem, real_array
from qpsim.provenance import environment
from qpsim.result import Result
from qpsim.seeds import seed_sequence
from qpsim.stepsize import StepSize, resolve

RECORDS = ("excess_loss", "step_size", "theta")
DTYPES = ("float64", "float32")
# Blocks handed out ahead: this thread gets little time to hand out more while the workers use all cores.
_FLYING_PER_WORKER = 4


def simulate(
    problem: QuadraticProblem,
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
    problem : QuadraticProblem
    method : str, Method or Rule
        A registry name, a method with its hyper-parameters, or a rule at its defaults.
    step_size : {"optimal", "bound", "line-search"}, float, array_like or callable, default "optimal"
        See :mod:`qpsim.stepsize`. A callable is called with t = 1, ..., n_steps.
    n_steps, n_replicates : int, default 100 and 256
    theta0 : array_like, shape (d,) or (n_replicates, d), default zeros
        Starting point, common or one for each replicate.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed (SPEC 7). The same seed gives the same bits for any ``workers``.
    workers : None, int or concurrent.futures.Executor, default None
        Threads to run blocks on (None: one a core), or an executor of threads or processes, which
        is left open.
    batch_size : int, default 1
        B: every gradient is the mean of B draws, its noise nu / sqrt(B). At least 2 for a method
        that estimates the variance within the minibatch.
    tolerance : float, default 1e-9
        Relative error allowed to E[z^T Q z] in the optimal step of a method without a closed form
        on a dense Hessian: terms of its Hermite series are added until a rigorous bound is below
        it, and coordinates too strongly correlated for that are integrated in pairs. The bound
        reached is the result's ``moment_error``.
    dtype : {"float64", "float32"}, default "float64"
        Precision in which noise, theta - optimum and the method's state are kept between steps.
        Arithmetic, moments and losses are float64 in either case. float32 takes half the memory; its
        rounding, 6e-8 of each number and step, is far below the ensemble's own spread. Only where
        coordinates couple through the step size alone: a diagonal Hessian, or a method that commutes
        with rotations.
    record : iterable of names, or mapping, default ("excess_loss", "step_size")
        What to keep besides the excess loss: "step_size", and "theta" after every step or, as
        ``{"theta": [0, 50, 100]}``, after the chosen ones.
    checkpoint : path, optional
        File in which to keep where the run stands; if it is there already, the run goes on from
        it, to the same bits. It stays, complete, when the run is done. Needs a fixed ``rng``.
    checkpoint_every : float, default 60
        Seconds between two writes of the checkpoint.

    Returns
    -------
    Result
        ``excess_loss`` (n_replicates, n_steps + 1), ``step_size`` (n_replicates, n_steps),
        ``theta`` (n_replicates, kept steps, d) and, where the optimal step takes a series,
        ``moment_error`` (n_replicates, n_steps).

    Raises
    ------
    ProblemError, MethodError, StepSizeError, SimulationError
        Before any work, for input that does not fit together.
    FileError
        The checkpoint is damaged, another simulation's, or cannot be written.

    Warns
    -----
    DivergenceWarning
        A replicate left the finite numbers; its record is +inf from that step on.
    ArtefactWarning
        A method that is not linear starts at a multiple of a sign vector from the optimum, from
        where axis-aligned sign descent lands on the optimum in one step; or every replicate starts
        at the optimum, where every chosen step is 0.
    PrecisionWarning
        Some of ``moment_error`` is above the tolerance.

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
    kept = None if checkpoint is None else Checkpoint(checkpoint, checkpoint_every)
    return run_plan(plan, workers, kept)


def make_plan(
    problem: QuadraticProblem,
    method: str | Method | Rule,
    step_size: StepSize = "optimal",
    n_steps: int = 100,
    n_replicates: int = 256,
    theta0: ArrayLike | None = None,
    *,
    rng: Any = None,
    batch_size: int = 1,
    tolerance: float = 1e-9,
    dtype: str = "float64",
    record: Iterable[str] | Mapping[str, Any] = ("excess_loss", "step_size"),
) -> blocks.Plan:
    """Check the arguments of :func:`simulate` and put them together, without running anything."""
    if not isinstance(problem, QuadraticProblem):
        raise SimulationError(
            f"A simulation needs a QuadraticProblem, not {type(problem).__name__}."
        )
    moving = find_method(method)
    try_rule(moving)
    check_count("n_steps", n_steps)
    check_count("n_replicates", n_replicates)
    check_count("batch_size", batch_size)
    if moving.observes == "variance_estimate" and batch_size < 2:
        raise MethodError(
            f"{moving.name} estimates the variance within a minibatch, which takes a batch_size of "
            f"at least 2, not {batch_size}."
        )
    if not (isinstance(tolerance, Real) and 0.0 < tolerance < 1.0):
        raise SimulationError(f"tolerance must be a number in (0, 1), not {tolerance!r}.")
    policy = resolve(step_size, int(n_steps))
    if problem.noise_std == 0.0 and policy.name == "optimal":
        # The direction is deterministic: minimising along it is the exact step (MATH: nu = 0).
        policy = type(policy)(policy.name, resolve("line-search", 1).code, policy.given)
    start = starting_points(theta0, problem, int(n_replicates))
    kept, theta_steps = _records(record, int(n_steps))
    if moving.form != "linear":
        _warn_of_sign_vector(start - problem.optimum)
    return blocks.Plan(
        problem=problem,
        method=moving,
        policy=policy,
        n_steps=int(n_steps),
        n_replicates=int(n_replicates),
        batch_size=int(batch_size),
        theta0=start,
        seed=seed_sequence(rng),
        block_size=blocks.block_size(problem.dim),
        keep_step_size="step_size" in kept,
        theta_steps=theta_steps,
        tolerance=float(tolerance),
        dtype=_precision(dtype, problem, moving, start),
        token=uuid.uuid4().hex,
    )


def run_plan(
    plan: blocks.Plan,
    workers: int | Executor | None = None,
    checkpoint: Checkpoint | None = None,
) -> Result:
    """Run a checked plan on the given workers, from and to a checkpoint if there is one."""
    began = time.perf_counter()
    points = {}
    if checkpoint is not None:
        points = checkpoint.open(plan)
        blocks.watch(plan.token, checkpoint.note)
    losses = np.empty((plan.n_replicates, plan.n_steps + 1))
    steps = np.empty((plan.n_replicates, plan.n_steps)) if plan.keep_step_size else None
    errors = np.empty((plan.n_replicates, plan.n_steps)) if plan.uses_series else None
    theta = None
    if plan.theta_steps:
        theta = np.empty((plan.n_replicates, len(plan.theta_steps), plan.problem.dim))
    with executor_of(workers) as (executor, width):
        # A checkpoint knows blocks by their first replicate: one cut, whoever goes on from it.
        spans = list(plan.blocks(1 if checkpoint is not None else width))
        if len(spans) == 1 and not isinstance(workers, Executor):
            executor = _Here()
        for block in _completed(plan, spans, points, executor, width):
            if checkpoint is not None:
                checkpoint.finish(block)
            rows = slice(block.first, block.first + block.losses.shape[1])
            losses[rows] = block.losses.T
            if steps is not None and block.steps is not None:
                steps[rows] = block.steps.T
            if errors is not None and block.errors is not None:
                # 0 / 0 where nothing moves: no direction, no error in its length.
                errors[rows] = np.nan_to_num(block.errors.T, nan=0.0, posinf=np.inf)
            if theta is not None and block.theta is not None:
                theta[rows] = block.theta.transpose(2, 0, 1)
    if checkpoint is not None:
        checkpoint.close()
    _warn_of_standing_still(plan)
    _warn_of_divergence(plan, losses)
    _warn_of_imprecision(plan, errors)
    provenance = {
        **environment(),
        "seed_entropy": plan.seed.entropy,
        "seed_spawn_key": list(plan.seed.spawn_key),
        "block_size": plan.block_size,
        "bit_generator": "SFC64",
        "workers": width,
        "wall_seconds": time.perf_counter() - began,
    }
    return Result(plan, losses, steps, errors, theta, provenance)


class _Here(Executor):
    """Runs what it is given at once, in this thread: one block is not worth starting another."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def default_workers() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def executor_of(workers: int | Executor | None) -> Iterator[tuple[Executor, int]]:
    if isinstance(workers, Executor):
        if getattr(workers, "_shutdown", False) or getattr(workers, "_shutdown_thread", False):
            raise SimulationError("The executor was shut down; give one that is open.")
        yield workers, int(getattr(workers, "_max_workers", None) or default_workers())
        return
    if workers is None:
        workers = default_workers()
    whole = isinstance(workers, (int, np.integer)) and not isinstance(workers, bool)
    if not whole or not 1 <= workers <= LARGEST_COUNT:
        raise SimulationError(
            "workers must be None, a whole number of at least 1 or a concurrent.futures.Executor, "
            f"not {workers!r}."
        )
    pool = ThreadPoolExecutor(int(workers), thread_name_prefix="qpsim")
    try:
        yield pool, int(workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _completed(
    plan: blocks.Plan,
    spans: list[tuple[int, int]],
    points: Mapping[int, blocks.Point],
    executor: Executor,
    width: int,
) -> Iterator[blocks.Block]:
    """Blocks in the order they finish; few are in flight, so memory stays flat and Ctrl-C quick."""
    waiting = spans[::-1]
    finished: queue.SimpleQueue[Future[blocks.Block]] = queue.SimpleQueue()
    flying: set[Future[blocks.Block]] = set()
    n_blocks = len(spans)
    try:
        with progress.bar(f"{plan.method.name}", n_blocks) as tick, blocks.one_blas_thread():
            for _ in range(n_blocks):
                while waiting and len(flying) < _FLYING_PER_WORKER * width:
                    span = waiting.pop()
                    share, point = plan.share(*span), points.get(span[0])
                    with interrupts.deferred():
                        future = executor.submit(blocks.run_block, share, *span, point)
                        flying.add(future)
                        future.add_done_callback(finished.put)
                future = finished.get()
                flying.discard(future)
                yield _outcome(plan, future)
                tick()
    finally:
        if flying:
            blocks.stop(plan.token)
        wait([future for future in flying if not future.cancel()])
        blocks.forget(plan.token)


def _outcome(plan: blocks.Plan, future: Future[blocks.Block]) -> blocks.Block:
    """A block; what a user's rule raised late in its run is told in the rule's name."""
    try:
        return future.result()
    except (ArithmeticError, ValueError, LookupError, AssertionError) as error:
        if plan.method.rule.module.startswith("qpsim.") or isinstance(error, QpsimError):
            raise
        raise MethodError(
            f"Rule {plan.method.name!r} fails during the run: {type(error).__name__}: {error}; "
            "it must give numbers at every gradient, state and t."
        ) from error


def check_count(name: str, value: Any) -> None:
    """Refuse what is no whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise SimulationError(f"{name} must be a whole number of at least 1, not {value!r}.")
    if value > LARGEST_COUNT:
        raise SimulationError(f"{name} must be at most {LARGEST_COUNT}, not {value:.3g}.")


def starting_points(theta0: Any, problem: QuadraticProblem, n_replicates: int) -> np.ndarray:
    """theta0 as a checked copy, shape (d,) or (n_replicates, d)."""
    if theta0 is None:
        return np.zeros(problem.dim)
    try:
        start = real_array(theta0, "theta0")
    except ProblemError as error:
        raise SimulationError(str(error)) from None
    if start.shape not in ((problem.dim,), (n_replicates, problem.dim)):
        raise SimulationError(
            f"theta0 must have shape ({problem.dim},) or ({n_replicates}, {problem.dim}), "
            f"not {start.shape}."
        )
    return start


def _precision(dtype: Any, problem: QuadraticProblem, moving: Method, start: np.ndarray) -> str:
    """The name of a precision that this simulation can have."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    if name not in DTYPES:
        raise SimulationError(f"dtype must be 'float64' or 'float32', not {dtype!r}.")
    if name == "float64":
        return name
    if not (problem.is_diagonal or moving.equivariant):
        raise SimulationError(
            f"{moving.name} on a dense Hessian is simulated in float64 only; float32 takes a diagonal "
            "Hessian, or a method that commutes with rotations, such as sgd."
        )
    largest = float(np.abs(start - problem.optimum).max())
    if largest * problem.dim**0.5 > float(np.finfo(np.float32).max):
        raise SimulationError(
            f"theta0 - optimum is as large as {largest:.3g}, which float32 cannot hold; use float64."
        )
    return name


def _records(record: Any, n_steps: int) -> tuple[set[str], tuple[int, ...]]:
    try:
        names = [record] if isinstance(record, str) else record
        wanted = dict(record) if isinstance(record, Mapping) else dict.fromkeys(names, True)
    except TypeError:
        raise SimulationError(
            f"record must be names or a mapping from names, not {record!r}; "
            f"known are: {', '.join(RECORDS)}."
        ) from None
    for name in wanted:
        if name not in RECORDS:
            raise SimulationError(f"Cannot record {name!r}; {nearest(str(name), RECORDS)}")
    kept = {name for name, value in wanted.items() if value is not False}
    theta = wanted.get("theta", False)
    if theta is False:
        return kept, ()
    steps = range(n_steps + 1) if theta is True else theta
    try:
        chosen = sorted({index(step) for step in steps})
    except TypeError:
        raise SimulationError(
            f"The steps at which theta is recorded must be whole numbers, not {theta!r}."
        ) from None
    if not chosen or chosen[0] < 0 or chosen[-1] > n_steps:
        raise SimulationError(
            f"The steps at which theta is recorded must lie in 0 to {n_steps}, not {theta!r}."
        )
    return kept, tuple(chosen)


def _warn_of_sign_vector(error: np.ndarray) -> None:
    size = np.abs(error)
    largest, smallest = size.max(axis=-1), size.min(axis=-1)
    if error.shape[-1] > 1 and bool((smallest >= (1.0 - 1e-12) * largest)[largest > 0].any()):
        warnings.warn(
            "theta0 - optimum is a multiple of a sign vector, from where axis-aligned sign descent "
            "reaches the optimum in one step; draw it at random instead.",
            ArtefactWarning,
            stacklevel=4,
        )


def _warn_of_standing_still(plan: blocks.Plan) -> None:
    if plan.policy.code != codes.GIVEN and bool((plan.theta0 == plan.problem.optimum).all()):
        warnings.warn(
            "Every replicate starts at the optimum, where no step is taken; give another theta0, or "
            "a problem with another optimum.",
            ArtefactWarning,
            stacklevel=4,
        )


def _warn_of_divergence(plan: blocks.Plan, losses: np.ndarray) -> None:
    # A replicate that has left stays away, so that the last step tells, and a step at a time keeps
    # a large record from being copied.
    gone = int(np.isinf(losses[:, -1]).sum())
    if gone:
        first = next(k for k in range(losses.shape[1]) if np.isinf(losses[:, k]).any())
        cause = f"its {plan.policy.name} step size is too large"
        if first == 0:
            cause = "theta0 is too far from the optimum for its loss to be a finite number"
        warnings.warn(
            f"{plan.method.name} diverged in {gone} of {plan.n_replicates} replicates, first at "
            f"step {first}; {cause}.",
            DivergenceWarning,
            stacklevel=4,
        )


def _warn_of_imprecision(plan: blocks.Plan, errors: np.ndarray | None) -> None:
    if errors is not None and (worst := float(errors.max(initial=0.0))) > plan.tolerance:
        share = float((errors > plan.tolerance).mean())
        warnings.warn(
            f"{plan.method.name}'s exact step is known to {worst:.1e} relatively at worst, above the "
            f"tolerance of {plan.tolerance:.1e} in {share:.2%} of the steps: moment_error has the "
            "bound of each.",
            PrecisionWarning,
            stacklevel=4,
        )
