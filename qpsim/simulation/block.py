"""One block of replicates, from its seed to its record: the unit of work of every executor.

A block's result depends on the plan and the block's first replicate alone, never on which worker
ran it or what ran before, so that any executor gives the same bits.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from qpsim.execution.blas import one_blas_thread
from qpsim.execution.stopping import stop_requested
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.simulation.plan import BLOCK_SIZE, Plan

# BLAS rounds the last columns of a product by another kernel if they fill no vector: a dense block
# always has whole vectors of lanes, so that a replicate's bits do not depend on how many there are.
_LANES_OF_A_VECTOR = 16
# Elsewhere a vector that is not full is only slow: single lanes cost as much as three in a vector.
_LANES_AT_ONCE, _FEW_LANES = 8, 2
# Coordinate-updates between two looks at the stop flag: about a tenth of a second.
_CHUNK_ELEMENTS = 1 << 24
# Steps of a chunk at least, however large the problem.
_LEAST_CHUNK = 4


class Block(NamedTuple):
    """Record of one block, in the kernels' layout (step, lane)."""

    first: int
    losses: np.ndarray
    steps: np.ndarray | None
    errors: np.ndarray | None
    theta: np.ndarray | None


@dataclass
class Point:
    """Where a block stands after t steps: all that its next step depends on, and its record so far.

    A point that was reached is the same point whoever goes on from it, so that a run may be ended
    and continued without changing a bit. Axes are the kernels': (coordinate, lane), (step, lane).
    """

    t: int
    error: np.ndarray
    states: np.ndarray
    stream: np.ndarray
    dead: np.ndarray
    losses: np.ndarray
    steps: np.ndarray
    errors: np.ndarray
    theta: np.ndarray

    def copy(self) -> Point:
        """The point as it is now, whatever the block does next."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "t"}
        return Point(self.t, **{name: array.copy() for name, array in arrays.items()})


class Interrupted(Exception):
    """A block was told to stop; its partial result is of no use."""


class _Prepared(NamedTuple):
    """A plan's arrays as the kernels want them: writable, contiguous, computed once a process."""

    hessian: np.ndarray
    noise_factor: np.ndarray
    std: np.ndarray
    form_matrix: np.ndarray
    table: Any


# Sign tables that a problem keeps for its next run, up to so many coordinates: there they take 26
# megabytes, about as much as the problem itself, and a tenth of a second.
_sign_tables: weakref.WeakKeyDictionary[QuadraticProblem, Any] = weakref.WeakKeyDictionary()
_KEPT_UP_TO_DIM = 1024
_prepared: dict[str, _Prepared] = {}
_lock = threading.Lock()


def forget(token: str) -> None:
    """Drop what this process keeps for a plan."""
    with _lock:
        _prepared.pop(token, None)
    _watchers.pop((token, os.getpid()), None)


_watchers: dict[tuple[str, int], Callable[[int, Point], None]] = {}


def watch(token: str, watcher: Callable[[int, Point], None]) -> None:
    """Show every block of a plan to a function whenever it rests, in this process.

    It gets the block's first replicate and the :class:`Point`, which it must copy to keep.
    """
    # By process: a child forked for a pool must not take its parent's watcher for its own.
    _watchers[token, os.getpid()] = watcher


def run_block(plan: Plan, first: int, count: int, point: Point | None = None) -> Block:
    """Simulate replicates ``first`` to ``first + count - 1`` of a plan, on from a point if given.

    Raises
    ------
    Interrupted
        Nobody waits for the result any more.
    """
    # A diverging lane may overflow in NumPy's products; its record says so, no warning is due.
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
        return _run(plan, first, count, point)


def _run(plan: Plan, first: int, count: int, point: Point | None) -> Block:
    from qpsim.kernels import dense, diagonal
    from qpsim.kernels.record import record_loss

    basis = None if plan.problem.is_diagonal else plan.problem.eigenvectors
    basis = basis if plan.runs_in_eigenbasis else None
    here = _start(plan, first, count, basis) if point is None else point
    policy, given = plan.policy.code, plan.policy.given
    direct = plan.runs_in_eigenbasis
    table = _moment_table() if direct and plan.method.form is None else ()
    gradient = np.empty((0, 0) if direct else here.error.shape)
    loss = np.empty(here.dead.size)
    if direct:
        diagonal.excess_loss(np.array(plan.problem.eigenvalues), here.error, loss)
    else:
        dense.excess_loss(_prepare(plan).hessian, here.error, gradient, loss)
    if point is None:
        record_loss(loss, here.dead, here.losses[0])
        _record_theta(plan, here, basis)
    for end in _chunk_ends(plan, here.losses.shape[1]):
        if end <= here.t:
            continue
        if stop_requested():
            raise Interrupted
        window = slice(here.t, end)
        after = slice(here.t + 1, end + 1)
        if direct:
            diagonal.advance(
                plan.method.hyper,
                np.array(plan.problem.eigenvalues),
                plan.noise_std,
                plan.batch_size,
                table,
                here.error,
                here.states,
                here.stream,
                here.t,
                policy,
                given[window],
                here.losses[after],
                here.steps[window],
                here.dead,
            )
        else:
            prepared = _prepare(plan)
            dense.advance(
                plan.method.hyper,
                prepared.hessian,
                prepared.noise_factor,
                prepared.std,
                prepared.form_matrix,
                prepared.table,
                plan.batch_size,
                here.error,
                gradient,
                here.states,
                here.stream,
                here.t,
                policy,
                given[window],
                here.losses[after],
                here.steps[window],
                here.errors[window],
                here.dead,
            )
        here.t = end
        _record_theta(plan, here, basis)
        watcher = _watchers.get((plan.token, os.getpid()))
        if watcher is not None:
            watcher(first, here)
    return Block(
        first,
        here.losses[:, :count],
        here.steps[:, :count] if plan.keep_step_size else None,
        here.errors[:, :count] if plan.uses_series else None,
        here.theta[:, :, :count] if plan.theta_steps else None,
    )


@cache
def _moment_table() -> Any:
    """The quadrature for E[z] and E[z^2] alone, which is the same for all plans."""
    from qpsim.kernels import hermite

    return hermite.quadrature_table(1)


def _start(plan: Plan, first: int, count: int, basis: np.ndarray | None) -> Point:
    from qpsim.kernels.noise import seed_lanes

    problem, n = plan.problem, plan.n_steps
    lanes = count
    if not problem.is_diagonal:
        lanes = -(-count // _LANES_OF_A_VECTOR) * _LANES_OF_A_VECTOR
    elif count > _FEW_LANES:
        lanes = -(-count // _LANES_AT_ONCE) * _LANES_AT_ONCE
    error = _initial_error(plan, first, count, lanes, basis).astype(plan.dtype, copy=False)
    return Point(
        t=0,
        error=error,
        states=np.zeros((len(plan.method.state_names), problem.dim, lanes), plan.dtype),
        stream=seed_lanes(plan.seed, first, lanes),
        dead=np.zeros(lanes, dtype=np.uint8),
        losses=np.empty((n + 1, lanes)),
        steps=np.empty((n, lanes)),
        errors=np.zeros((n, lanes)),
        theta=np.empty((len(plan.theta_steps), problem.dim, lanes)),
    )


def _initial_error(
    plan: Plan, first: int, count: int, lanes: int, basis: np.ndarray | None
) -> np.ndarray:
    columns = np.empty((plan.problem.dim, lanes))
    if plan.theta0.ndim == 1:
        error = plan.theta0 - plan.problem.optimum
        columns[:] = (error if basis is None else basis.T @ error)[:, None]
        return columns
    own = plan.theta0[first - plan.theta0_from :][:count]
    error = own - plan.problem.optimum
    columns[:, :count] = error.T
    columns[:, count:] = error[-1][:, None]
    return columns if basis is None else _product(basis.T, columns)


def _product(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """matrix @ columns, rounded as if each block of lanes came alone."""
    parts = [
        matrix @ columns[:, lane : lane + BLOCK_SIZE]
        for lane in range(0, columns.shape[1], BLOCK_SIZE)
    ]
    return np.concatenate(parts, axis=1)


def _chunk_ends(plan: Plan, count: int) -> list[int]:
    dim = plan.problem.dim
    cost = count * (dim if plan.runs_in_eigenbasis else dim * dim // 16 + dim)
    chunk = max(_LEAST_CHUNK, _CHUNK_ELEMENTS // cost)
    ends = set(range(chunk, plan.n_steps, chunk)) | {plan.n_steps}
    return sorted(ends | {step for step in plan.theta_steps if step > 0})


def _record_theta(plan: Plan, here: Point, basis: np.ndarray | None) -> None:
    if here.t not in plan.theta_steps:
        return
    offset = here.error if basis is None else _product(basis, here.error)
    k = plan.theta_steps.index(here.t)
    here.theta[k] = plan.problem.optimum[:, None] + offset
    here.theta[k][:, here.dead != 0] = np.inf


def _prepare(plan: Plan) -> _Prepared:
    with _lock:
        if plan.token not in _prepared:
            if len(_prepared) > 4:
                _prepared.pop(next(iter(_prepared)))
            _prepared[plan.token] = _build(plan)
        return _prepared[plan.token]


def _build(plan: Plan) -> _Prepared:
    from qpsim.kernels import policy

    problem = plan.problem
    q, nu = problem.hessian, plan.noise_std
    vectors, code = problem.eigenvectors, plan.policy.code
    assert vectors is not None
    std = nu * np.sqrt(problem.hessian_square_diagonal)
    form_matrix = np.zeros((0, 0))
    if code == policy.BOUND and plan.method.form != "linear":
        rule = plan.method.rule
        # A scale that depends on no state is one for all coordinates: the form is that of a vector of ones.
        one_scale = rule.form == "sign" and not rule.state_names and rule.observes is None
        form_matrix = np.abs(q).sum(keepdims=True) if one_scale else np.abs(q)
    elif code in (policy.OPTIMAL, policy.BOUND) and plan.method.form == "linear":
        form_matrix = nu**2 * q * (q @ q)
    noise_factor = nu * vectors
    noise_factor *= problem.eigenvalues
    return _Prepared(
        np.array(q), np.ascontiguousarray(noise_factor), std, form_matrix, _table(plan)
    )


def _table(plan: Plan) -> Any:
    """What the exact step of the method's form tabulates; of the same type for every policy."""
    from qpsim.kernels import policy, quadratic, signs

    if plan.method.form == "linear":
        return ()
    needed = plan.policy.code == policy.OPTIMAL or (
        plan.policy.code == policy.BOUND and plan.method.form is None
    )
    signed = plan.method.form in ("sign", "two-valued")
    if needed and signed:
        return _sign_table(plan.problem)
    # A problem of one coordinate stands in where no table is needed.
    hessian = correlation = np.ones((1, 1))
    if needed:
        hessian, correlation = np.array(plan.problem.hessian), plan.problem.gradient_correlation()
    if signed:
        return signs.pair_table(hessian, correlation)
    return quadratic.series_table(hessian, correlation, plan.tolerance)


def _sign_table(problem: QuadraticProblem) -> Any:
    from qpsim.kernels import signs

    table = _sign_tables.get(problem)
    if table is None:
        table = signs.pair_table(np.array(problem.hessian), problem.gradient_correlation())
        if problem.dim <= _KEPT_UP_TO_DIM:
            _sign_tables[problem] = table
    return table
