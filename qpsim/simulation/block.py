"""Runs one block of replicates, the unit of work that is given to a worker.

A block's result depends only on the plan and the block's first replicate, not on the worker or on what ran before, so
that every executor gives the same bits.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from qpsim.execution.blas import one_blas_thread
from qpsim.execution.stopping import stop_flag, stop_requested
from qpsim.problem.interface import Prepared
from qpsim.simulation.plan import BLOCK_SIZE, LANES_AT_ONCE, Plan
from qpsim.simulation.step_check import StepTest, is_needed, next_tested_step
from qpsim.simulation.stepsize import optimal
from qpsim.theory.averaging import Average

# BLAS computes the last columns of a product by another kernel, with other rounding, if they do not fill a vector. A
# block with matrix products therefore has a multiple of so many lanes.
_LANES_OF_A_VECTOR = 16
# Without matrix products the number of lanes is a matter of speed only. Blocks are filled up to whole vectors, but for
# so few lanes that they are quicker one by one.
_FEW_LANES = 2
# Number of coordinate updates in a chunk of steps, about a tenth of a second. Between chunks a run can be stopped.
_CHUNK_ELEMENTS = 1 << 24
# The least number of steps in a chunk.
_LEAST_CHUNK = 4
# With a series the time of a step is not known in advance: the first steps of a rule with sharp turns may take a
# thousand times as long as later ones. Chunks become longer while one takes less than the first number of seconds, and
# shorter if one takes more than the second.
_QUICK_SECONDS, _SLOW_SECONDS = 0.05, 0.2


class Block(NamedTuple):
    """Record of one block, in arrays (step, lane) as in the kernels; theta is (step, coordinate, lane).

    ``first`` is the number of the block's first replicate; what is not recorded is None.
    """

    first: int
    losses: np.ndarray
    steps: np.ndarray | None
    errors: np.ndarray | None
    theta: np.ndarray | None
    averaged: np.ndarray | None
    step_test: StepTest = StepTest()


@dataclass
class BlockState:
    """The state of a block after t steps: everything that its next step depends on, and its record so far.

    Continuing from a saved state gives the same bits as an uninterrupted run. Axes are (coordinate, lane) and (step,
    lane), as in the kernels.
    """

    t: int
    offset: np.ndarray
    states: np.ndarray
    stream: np.ndarray
    diverged: np.ndarray
    losses: np.ndarray
    steps: np.ndarray
    errors: np.ndarray
    theta: np.ndarray
    # Average of theta - optimum, and its losses; without columns if no average is recorded.
    average: np.ndarray
    averaged: np.ndarray

    def copy(self) -> BlockState:
        """A copy, which later steps do not change."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "t"}
        return BlockState(self.t, **{name: array.copy() for name, array in arrays.items()})


class Interrupted(Exception):
    """A block was stopped; its partial result must not be used."""


# Prepared problems, by the token of their plan.
_prepared: dict[str, Prepared] = {}
_lock = threading.Lock()
# Types of arguments with which kernels have been called, and a lock for calls with new types.
_called_types: set[Any] = set()
_first_call_lock = threading.Lock()
# Functions to call between chunks of steps, by a plan's token and the process.
_watchers: dict[tuple[str, int], Callable[[int, BlockState], None]] = {}


def forget(token: str) -> None:
    """Delete what this process has stored for a plan."""
    with _lock:
        _prepared.pop(token, None)
    _watchers.pop((token, os.getpid()), None)


def watch(token: str, watcher: Callable[[int, BlockState], None]) -> None:
    """Call a function between the chunks of every block of a plan, in this process.

    It gets the block's first replicate and the :class:`BlockState`, which it must copy to keep.
    """
    # The process id is in the key, since a forked child must not use its parent's function.
    _watchers[token, os.getpid()] = watcher


def run_block(plan: Plan, first: int, count: int, state: BlockState | None = None) -> Block:
    """Simulate replicates ``first`` to ``first + count - 1`` of a plan, continuing from ``state`` if it is given.

    Raises
    ------
    Interrupted
        The run was stopped.
    """
    # Diverging lanes overflow and small numbers underflow. That is recorded, so that NumPy must not warn or raise,
    # whatever its settings are.
    with one_blas_thread(), np.errstate(all="ignore"):
        return _run(plan, first, count, state)


def _run(plan: Plan, first: int, count: int, state: BlockState | None) -> Block:
    from qpsim.kernels import coupled, diagonal
    from qpsim.kernels.arguments import Lanes, Record, Steps
    from qpsim.kernels.record import record_loss

    prepared = _prepare(plan)
    problem, basis = prepared.arguments, prepared.basis
    hyper, policy = plan.method.hyper, plan.policy
    by_coordinate = isinstance(problem, diagonal.DiagonalProblem)
    # On a diagonal Hessian a closed form is little code, and one kernel for all policies is quicker to compile. Without
    # noise the exact step is a line search; it uses the kernel of the exact step, which is usually compiled for runs
    # with noise anyway.
    is_shared = by_coordinate or policy.name == optimal.NAME
    with_moments = (
        policy.is_exact or policy.is_bound or (is_shared and plan.method.closed_form is not None)
    )
    moments_for = policy.code if with_moments else None
    stop = stop_flag()

    def advance(window: slice, offset: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        lanes = Lanes(offset, current.states, current.stream, current.diverged)
        steps = Steps(window.start, policy.code, policy.given[window], moments_for, stop)
        after = slice(window.start + 1, window.stop + 1)
        record = Record(current.losses[after], current.steps[window], current.errors[window])
        if by_coordinate:
            return diagonal.advance(hyper, problem, lanes, steps, record)
        return coupled.advance(hyper, problem, prepared.n_normals, lanes, gradient, steps, record)

    def evaluate(offset: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Excess loss (lanes,) at an offset from the optimum; coupled problems write the gradient there."""
        loss = np.empty(current.diverged.size)
        if by_coordinate:
            diagonal.excess_loss(problem.eigenvalues, offset, loss)
            return loss
        return advance(slice(current.t, current.t), offset, gradient)

    with _first_call(hyper, problem, plan.dtype, moments_for) as is_first:
        current = _start(plan, first, count, basis) if state is None else state
        gradient = np.empty((0, 0) if by_coordinate else current.offset.shape)
        loss = evaluate(current.offset, gradient)
        if state is None:
            record_loss(loss, current.diverged, current.losses[0])
            _record_theta(plan, current, basis)
            if plan.average is not None:
                current.average[:] = current.offset
                current.averaged[0] = current.losses[0]
        if is_first:
            advance(slice(current.t, current.t), current.offset, gradient)
    length = _chunk_length(plan, current.losses.shape[1])
    step_test, tests_steps = StepTest(), is_needed(plan)
    while current.t < plan.n_steps:
        if stop_requested():
            raise Interrupted
        began = time.perf_counter()
        end = _chunk_end(plan, current.t, length)
        is_tested = tests_steps and next_tested_step(current.t) == current.t
        if is_tested:
            end, moved_by = current.t + 1, current.offset.copy()
        elif tests_steps:
            end = min(end, next_tested_step(current.t))
        advance(slice(current.t, end), current.offset, gradient)
        if stop[0]:
            raise Interrupted
        current.t = end
        if is_tested:
            moved_by -= current.offset
            loss_of_step = evaluate(moved_by, np.empty_like(moved_by))
            before, after = current.losses[end - 1, :count], current.losses[end, :count]
            step_test = step_test.with_step(before, after, loss_of_step[:count])
        _record_theta(plan, current, basis)
        if plan.average is not None:
            _update_average(plan.average, current)
            value = evaluate(current.average, np.empty_like(current.average))
            # An average may overflow before the iterate does; its lane goes on all the same.
            record_loss(value, current.diverged.copy(), current.averaged[current.t])
        watcher = _watchers.get((plan.token, os.getpid()))
        if watcher is not None:
            watcher(first, current)
        if plan.uses_series and not is_tested:
            length = _next_length(length, time.perf_counter() - began)
    return Block(
        first,
        current.losses[:, :count],
        current.steps[:, :count] if plan.keep_step_size else None,
        current.errors[:, :count] if plan.uses_series else None,
        current.theta[:, :, :count] if plan.theta_steps else None,
        current.averaged[:, :count] if plan.average is not None else None,
        step_test,
    )


@contextmanager
def _first_call(*arguments: Any) -> Iterator[bool]:
    """Whether kernels are called with these types for the first time; if so, other threads wait.

    Numba then compiles the kernels or loads them from disk, which has failed when two threads did it at once. A
    compilation may take a minute on a busy machine; Ctrl-C ends it.
    """
    kinds = _kinds(arguments)
    if kinds in _called_types:
        yield False
        return
    with _first_call_lock:
        yield True
        _called_types.add(kinds)


def _kinds(value: Any) -> Any:
    """A key that differs if numba's types of two arguments differ."""
    if isinstance(value, tuple):
        return type(value), *map(_kinds, value)
    return (value.dtype.str, value.ndim) if isinstance(value, np.ndarray) else type(value)


def _start(plan: Plan, first: int, count: int, basis: np.ndarray | None) -> BlockState:
    from qpsim.kernels.noise import seed_lanes

    dim, n = plan.problem.dim, plan.n_steps
    lanes = count
    if basis is not None or not plan.lanes_are_independent:
        lanes = -(-count // _LANES_OF_A_VECTOR) * _LANES_OF_A_VECTOR
    elif count > _FEW_LANES:
        lanes = -(-count // LANES_AT_ONCE) * LANES_AT_ONCE
    return BlockState(
        t=0,
        offset=_initial_offset(plan, first, count, lanes, basis),
        states=np.zeros((len(plan.method.state_names), dim, lanes), plan.dtype),
        stream=seed_lanes(plan.seed, first, lanes),
        diverged=np.zeros(lanes, dtype=np.uint8),
        losses=np.empty((n + 1, lanes)),
        steps=np.empty((n, lanes)),
        errors=np.zeros((n, lanes)),
        theta=np.empty((len(plan.theta_steps), dim, lanes)),
        average=np.empty((dim, lanes if plan.average is not None else 0)),
        averaged=np.empty((n + 1, lanes if plan.average is not None else 0)),
    )


def _initial_offset(
    plan: Plan, first: int, count: int, lanes: int, basis: np.ndarray | None
) -> np.ndarray:
    columns = np.empty((plan.problem.dim, lanes))
    if plan.theta0.ndim == 1:
        offset = plan.theta0 - plan.problem.optimum
        columns[:] = (offset if basis is None else basis.T @ offset)[:, None]
        return columns
    own = plan.theta0[first - plan.theta0_from :][:count]
    offset = own - plan.problem.optimum
    columns[:, :count] = offset.T
    columns[:, count:] = offset[-1][:, None]
    return columns if basis is None else _product(basis.T, columns)


def _product(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """matrix @ columns, with the same rounding for any number of lanes."""
    parts = [
        matrix @ columns[:, lane : lane + BLOCK_SIZE]
        for lane in range(0, columns.shape[1], BLOCK_SIZE)
    ]
    return np.concatenate(parts, axis=1)


def _chunk_length(plan: Plan, count: int) -> int:
    """Number of steps in the first chunk."""
    if plan.uses_series:
        return 1
    dim = plan.problem.dim
    cost = count * (dim if plan.runs_by_coordinate else dim * dim // 16 + dim)
    return max(_LEAST_CHUNK, _CHUNK_ELEMENTS // cost)


def _next_length(length: int, seconds: float) -> int:
    """Number of steps in the next chunk, given the number and the seconds of the last one."""
    if seconds < _QUICK_SECONDS:
        return 2 * length
    return max(1, length // 2) if seconds > _SLOW_SECONDS else length


def _chunk_end(plan: Plan, t: int, length: int) -> int:
    """The last step of a chunk that begins after step t. Theta is recorded and averaged only between chunks."""
    if plan.average is not None:
        return t + 1
    following = bisect_right(plan.theta_steps, t)
    return min([t + length, plan.n_steps, *plan.theta_steps[following : following + 1]])


def _record_theta(plan: Plan, current: BlockState, basis: np.ndarray | None) -> None:
    if current.t not in plan.theta_steps:
        return
    offset = current.offset if basis is None else _product(basis, current.offset)
    k = plan.theta_steps.index(current.t)
    current.theta[k] = plan.problem.optimum[:, None] + offset
    current.theta[k][:, current.diverged != 0] = np.inf


def _update_average(average: Average, current: BlockState) -> None:
    """Add the iterate after step current.t to the average."""
    kept = average.kept(current.t)
    current.average *= kept
    current.average += (1.0 - kept) * current.offset


def _prepare(plan: Plan) -> Prepared:
    """The problem prepared for the kernels, made once in each process."""
    with _lock:
        if plan.token not in _prepared:
            if len(_prepared) > 4:
                _prepared.pop(next(iter(_prepared)))
            _prepared[plan.token] = plan.problem.prepared(
                plan.method, plan.policy, plan.batch_size, plan.tolerance
            )
        return _prepared[plan.token]
