"""One block of replicates, from its seed to its record: the unit of work of every executor.

A block's result depends on the plan and the block's first replicate alone, never on which worker
ran it or what ran before, so that any executor gives the same bits.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from qpsim.methods import Method
from qpsim.problem import QuadraticProblem
from qpsim.stepsize import Policy

# Lanes of a block: 8 AVX-512 vectors, wide enough for BLAS and small enough that a block of
# 100 coordinates stays in the L2 cache.
BLOCK_SIZE = 64
# Coordinates x lanes of one block's array; a wide problem gets fewer lanes, never more memory.
_BLOCK_ELEMENTS = 1 << 23
# BLAS rounds the last columns of a product by another kernel if they fill no vector: a dense block
# always has whole vectors of lanes, so that a replicate's bits do not depend on how many there are.
_LANES_OF_A_VECTOR = 16
# Elsewhere a vector that is not full is only slow: single lanes cost as much as three in a vector.
_LANES_AT_ONCE, _FEW_LANES = 8, 2
# Numbers of a block that stay in the L2 cache together, and the least number of blocks a worker
# should get, lest one of them be left alone with the last.
_CACHED_ELEMENTS = 80_000
_TURNS = 4
# Coordinate-updates of a block that take ten times as long as beginning it.
_LEAST_UPDATES = 1 << 22
# Coordinate-updates between two looks at the stop flag: about a tenth of a second.
_CHUNK_ELEMENTS = 1 << 24
# Steps of a chunk at least, however large the problem.
_LEAST_CHUNK = 4


def block_size(dim: int) -> int:
    """Replicates of one block: 64, and fewer only if 64 lanes of ``dim`` would fill the memory.

    Whole vectors of lanes, if there is room for one.

    Examples
    --------
    >>> from qpsim.blocks import block_size
    >>> block_size(100), block_size(1_000_000)
    (64, 8)
    """
    size = max(1, min(BLOCK_SIZE, _BLOCK_ELEMENTS // dim))
    return size if size < _LANES_AT_ONCE else size // _LANES_AT_ONCE * _LANES_AT_ONCE


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything a worker needs, checked: plain arrays and values that pickle.

    ``theta0`` has shape (d,) or (replicates, d), its first row being that of replicate
    ``theta0_from``; ``theta_steps`` is sorted.
    """

    problem: QuadraticProblem
    method: Method
    policy: Policy
    n_steps: int
    n_replicates: int
    batch_size: int
    theta0: np.ndarray
    seed: np.random.SeedSequence
    block_size: int
    keep_step_size: bool
    theta_steps: tuple[int, ...]
    tolerance: float
    dtype: str
    token: str
    theta0_from: int = 0

    def share(self, first: int, count: int) -> Plan:
        """The plan with the starting points of one block only: what its worker has to be sent."""
        if self.theta0.ndim == 1:
            return self
        return replace(self, theta0=self.theta0[first : first + count], theta0_from=first)

    @property
    def noise_std(self) -> float:
        """nu / sqrt(B): the noise of a minibatch mean."""
        return self.problem.noise_std / self.batch_size**0.5

    @property
    def runs_in_eigenbasis(self) -> bool:
        """Whether coordinates couple through the step size alone, after a rotation at most."""
        return self.problem.is_diagonal or self.method.equivariant

    @property
    def uses_series(self) -> bool:
        """Whether the exact step's denominator is a truncated series, whose error is recorded."""
        from qpsim.kernels import policy

        series = self.method.form is None and not self.problem.is_diagonal
        return series and self.policy.code == policy.OPTIMAL

    def blocks(self, workers: int = 1) -> Iterator[tuple[int, int]]:
        """(first replicate, count) of every block, as work for so many workers.

        Where lanes do not see each other, not even in a product's rounding, several blocks are one:
        what a block costs besides its steps is then paid once.
        """
        size = self.block_size
        if self.runs_in_eigenbasis:
            numbers = self.problem.dim * (1 + len(self.method.state_names))
            while 2 * size * numbers <= _CACHED_ELEMENTS:
                small = size * self.problem.dim * self.n_steps < _LEAST_UPDATES
                if 2 * size * workers * (1 if small else _TURNS) > self.n_replicates:
                    break
                size *= 2
        for first in range(0, self.n_replicates, size):
            yield first, min(size, self.n_replicates - first)


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
_stopped: set[str] = set()
_prepared: dict[str, _Prepared] = {}
_lock = threading.Lock()


def stop(token: str) -> None:
    """Make the running blocks of a plan in this process give up at their next look."""
    _stopped.add(token)


def forget(token: str) -> None:
    """Drop what this process keeps for a plan."""
    with _lock:
        _prepared.pop(token, None)
    _stopped.discard(token)
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
        The plan was stopped.
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
        if plan.token in _stopped:
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


_blas_users = 0
_blas_threads: list[int] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread while any block runs here: our own threads use the cores.

    It also keeps results independent of how many threads BLAS would have used.
    """
    global _blas_users
    libraries = _blas_libraries(os.getpid())
    with _lock:
        if _blas_users == 0:
            _blas_threads[:] = [library.num_threads for library in libraries]
            for library in libraries:
                library.set_num_threads(1)
        _blas_users += 1
    try:
        yield
    finally:
        with _lock:
            _blas_users -= 1
            if _blas_users == 0:
                for library, n_threads in zip(libraries, _blas_threads, strict=True):
                    library.set_num_threads(n_threads)


@cache
def _blas_libraries(pid: int) -> list[Any]:
    """Looked up once a process; the argument keeps a forked child from using its parent's."""
    import scipy.linalg  # noqa: F401  (loads the BLAS that the kernels call)
    from threadpoolctl import ThreadpoolController

    # Their own switches, a hundred times quicker than the controller's.
    return ThreadpoolController().select(user_api="blas").lib_controllers
