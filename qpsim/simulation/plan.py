"""``Plan``: all arguments of a simulation, checked before any work starts."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim import checks
from qpsim.errors import (
    ArtefactWarning,
    InfiniteVarianceWarning,
    MethodError,
    SimulationError,
    nearest,
)
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.methods.trial import try_rule
from qpsim.problem.interface import Problem
from qpsim.seeds import seed_sequence
from qpsim.simulation.stepsize import Policy, StepSize, planned, resolve
from qpsim.theory.averaging import Average, average_of

RECORDS = ("excess_loss", "step_size", "theta", "average")
DTYPES = ("float64", "float32")
# Lanes (replicates) of a block: 8 AVX-512 vectors. Enough for BLAS to be fast, and few enough that the arrays of 100
# coordinates stay in the L2 cache.
BLOCK_SIZE = 64
# Largest number of coordinates x lanes in one array of a block; larger problems get fewer lanes.
_BLOCK_ELEMENTS = 1 << 23
# Lanes that one vector instruction processes: a block has a multiple of so many, where that is possible.
LANES_AT_ONCE = 8
# Numbers of a block that fit into the L2 cache, and the least number of blocks for each worker: with fewer, the other
# workers wait while one runs the last block.
_CACHED_ELEMENTS = 80_000
_BLOCKS_PER_WORKER = 4
# Coordinate updates of a block that take ten times as long as starting it.
_LEAST_UPDATES = 1 << 22


def block_size(dim: int) -> int:
    """Replicates of one block: 64, or fewer if 64 lanes of ``dim`` coordinates would take too much memory.

    A multiple of the lanes of one vector, if possible.

    Examples
    --------
    >>> from qpsim.simulation.plan import block_size
    >>> block_size(100), block_size(1_000_000)
    (64, 8)
    """
    size = max(1, min(BLOCK_SIZE, _BLOCK_ELEMENTS // dim))
    return size if size < LANES_AT_ONCE else size // LANES_AT_ONCE * LANES_AT_ONCE


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a worker needs, checked: plain arrays and values that can be pickled.

    Attributes
    ----------
    problem, method, policy, n_steps, n_replicates, batch_size, tolerance, dtype
        The arguments of :func:`qpsim.simulate`, checked and in one form.
    theta0 : ndarray, shape (d,) or (replicates, d)
        Starting points; the first row is that of replicate ``theta0_from``.
    seed : SeedSequence
        Replicate k draws from its k-th child.
    block_size : int
        Replicates of one block, if blocks are not joined (:meth:`blocks`).
    keep_step_size : bool
        Whether step sizes are recorded.
    theta_steps : tuple of int
        Steps after which theta is recorded, in ascending order.
    token : str
        A name of this plan, under which a worker keeps the prepared problem.
    average : Average or None
        The average of the iterates whose loss is recorded.
    """

    problem: Problem
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
    average: Average | None = None

    def for_block(self, first: int, count: int) -> Plan:
        """The plan with the starting points of the block's replicates only, to be sent to a worker."""
        if self.theta0.ndim == 1:
            return self
        return replace(self, theta0=self.theta0[first : first + count], theta0_from=first)

    @property
    def runs_by_coordinate(self) -> bool:
        """Whether a run's coordinates are coupled only by the step size, if needed after a rotation."""
        return self.problem.runs_by_coordinate(self.method)

    @property
    def lanes_are_independent(self) -> bool:
        """Whether a step has no matrix product over the replicates of a block."""
        return self.problem.lanes_are_independent(self.method)

    @property
    def uses_series(self) -> bool:
        """Whether the exact step's denominator is a series or a quadrature whose error is recorded."""
        return self.policy.is_exact and self.problem.records_moment_error(self.method)

    def blocks(self, workers: int = 1) -> Iterator[tuple[int, int]]:
        """(first replicate, count) of every block, for this number of workers.

        If lanes are independent, even in rounding, several blocks are joined to one, which saves the cost of starting
        them.
        """
        size = self.block_size
        if self.lanes_are_independent:
            numbers = self.problem.dim * (1 + len(self.method.state_names))
            while 2 * size * numbers <= _CACHED_ELEMENTS:
                small = size * self.problem.dim * self.n_steps < _LEAST_UPDATES
                if 2 * size * workers * (1 if small else _BLOCKS_PER_WORKER) > self.n_replicates:
                    break
                size *= 2
        for first in range(0, self.n_replicates, size):
            yield first, min(size, self.n_replicates - first)


def make_plan(
    problem: Problem,
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
    warned: bool = False,
) -> Plan:
    """Check the arguments of :func:`simulate` and make a plan of them, without running anything.

    ``warned`` is True where an InfiniteVarianceWarning has been given before, as for the cells of a sweep.
    """
    if not hasattr(problem, "prepared"):
        raise SimulationError(
            "A simulation needs a problem, such as a qpsim.QuadraticProblem, not "
            f"{type(problem).__name__}."
        )
    moving = find_method(method)
    try_rule(moving.rule, moving.hyper)
    n_steps = checks.count("n_steps", n_steps, SimulationError)
    n_replicates = checks.count("n_replicates", n_replicates, SimulationError)
    batch_size = checks.count("batch_size", batch_size, SimulationError)
    if moving.observes == "variance_estimate" and batch_size < 2:
        raise MethodError(
            f"{moving.name} estimates the variance within a minibatch, which takes a batch_size of "
            f"at least 2, not {batch_size}."
        )
    tolerance = checks.number("tolerance", tolerance, SimulationError, "(0, 1)")
    policy = resolve(step_size, n_steps)
    if policy.is_exact and problem.is_deterministic():
        # Without noise the direction is known, and the exact step is the line search along it.
        policy = replace(policy, code=resolve("line-search", 1).code)
    start = starting_points(theta0, problem, n_replicates)
    kept, theta_steps, average = _records(record, n_steps)
    warning = problem.check_simulation(moving, policy, int(batch_size))
    if warning is not None and not warned:
        warnings.warn(warning, InfiniteVarianceWarning, stacklevel=3)
    precision = _precision(dtype, problem, moving, start)
    seed = seed_sequence(rng)
    if policy.name == planned.NAME:
        policy = planned.planned(policy, problem, moving, start, batch_size)
    if moving.closed_form != "linear":
        _warn_of_sign_vector(start - problem.optimum)
    return Plan(
        problem=problem,
        method=moving,
        policy=policy,
        n_steps=n_steps,
        n_replicates=n_replicates,
        batch_size=batch_size,
        theta0=start,
        seed=seed,
        block_size=block_size(problem.dim),
        keep_step_size="step_size" in kept,
        theta_steps=theta_steps,
        tolerance=tolerance,
        dtype=precision,
        token=uuid.uuid4().hex,
        average=average,
    )


def plan_spec(plan: Plan) -> dict[str, Any]:
    """A plan's full specification without its arrays, as plain JSON values."""
    record: dict[str, Any] = {"step_size": plan.keep_step_size, "theta": list(plan.theta_steps)}
    if plan.average is not None:
        record["average"] = {plan.average.kind: plan.average.value}
    return {
        "problem": {"kind": plan.problem.kind, **plan.problem.to_dict()},
        "method": {"name": plan.method.name, "hyper": plan.method.hyper_parameters},
        "step_size": plan.policy.name,
        "step_size_code": plan.policy.code,
        "n_steps": plan.n_steps,
        "n_replicates": plan.n_replicates,
        "batch_size": plan.batch_size,
        "tolerance": plan.tolerance,
        "dtype": plan.dtype,
        "block_size": plan.block_size,
        "seed": {
            "entropy": plan.seed.entropy,
            "spawn_key": list(plan.seed.spawn_key),
            "pool_size": plan.seed.pool_size,
        },
        "record": record,
    }


def starting_points(theta0: Any, problem: Problem, n_replicates: int) -> np.ndarray:
    """theta0 as a checked copy, shape (d,) or (n_replicates, d)."""
    if theta0 is None:
        return np.zeros(problem.dim)
    start = checks.finite_numbers("theta0", theta0, SimulationError)
    if start.shape not in ((problem.dim,), (n_replicates, problem.dim)):
        raise SimulationError(
            f"theta0 must have shape ({problem.dim},) or ({n_replicates}, {problem.dim}), "
            f"not {start.shape}."
        )
    return start


def _precision(dtype: Any, problem: Problem, moving: Method, start: np.ndarray) -> str:
    """The checked name of the precision of this simulation."""
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", str(dtype))
    if name not in DTYPES:
        raise SimulationError(f"dtype must be 'float64' or 'float32', not {checks.shown(dtype)}.")
    if name == "float64":
        return name
    if not problem.runs_by_coordinate(moving):
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


def _records(record: Any, n_steps: int) -> tuple[set[str], tuple[int, ...], Average | None]:
    try:
        names = [record] if isinstance(record, str) else record
        wanted = dict(record) if isinstance(record, Mapping) else dict.fromkeys(names, True)
    except TypeError:
        raise SimulationError(
            f"record must be names or a mapping from names, not {checks.shown(record)}; "
            f"known are: {', '.join(RECORDS)}."
        ) from None
    for name in wanted:
        if name not in RECORDS:
            raise SimulationError(
                f"Cannot record {checks.shown(name)}; {nearest(str(name), RECORDS)}"
            )
    kept = {name for name, value in wanted.items() if value is not False}
    average = None
    if "average" in kept:
        average = average_of(wanted["average"], SimulationError, n_steps)
    theta = wanted.get("theta", False)
    if theta is False:
        return kept, (), average
    steps = range(n_steps + 1) if theta is True else theta
    try:
        kept_steps = sorted({index(step) for step in steps})
    except TypeError:
        raise SimulationError(
            f"The steps at which theta is recorded must be whole numbers, not {checks.shown(theta)}."
        ) from None
    if not kept_steps or kept_steps[0] < 0 or kept_steps[-1] > n_steps:
        raise SimulationError(
            f"The steps at which theta is recorded must lie in 0 to {n_steps}, not {checks.shown(theta)}."
        )
    return kept, tuple(kept_steps), average


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
