"""How much memory a simulation needs, so that one that needs too much is refused before it begins."""

from __future__ import annotations

from qpsim.errors import SimulationError
from qpsim.execution.memory import available_memory, readable
from qpsim.simulation.plan import Plan

_BYTES = 8
# Less than this is not compared with what is free: to find that out takes longer than a short run.
_SMALL_BYTES = 1 << 23


def required_bytes(plan: Plan, lanes: int, width: int) -> int:
    """Least number of bytes: for the record of all replicates, and for the blocks that run at the same time.

    Parameters
    ----------
    plan : Plan
    lanes : int
        Replicates of one block.
    width : int
        Blocks that run at the same time.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim.simulation.memory import required_bytes
    >>> from qpsim.simulation.plan import make_plan
    >>> plan = make_plan(qpsim.QuadraticProblem([1.0, 2.0]), "sgd", 0.1, 999, 1000, record=())
    >>> required_bytes(plan, 64, 1) > 1000 * 1000 * 8
    True
    """
    rows = plan.n_steps + 1
    kept = rows * (1 + (plan.average is not None)) + len(plan.theta_steps) * plan.problem.dim
    kept += plan.n_steps * (plan.keep_step_size + plan.uses_series)
    # A block always records its step sizes while it runs.
    in_block = (2 + plan.uses_series) * rows + plan.problem.dim * (1 + len(plan.method.state_names))
    running = min(plan.n_replicates, lanes * width)
    return _BYTES * (plan.n_replicates * kept + running * in_block)


def check_memory(plan: Plan, lanes: int, width: int) -> None:
    """Raise an error for a simulation of more than 8 MiB that needs more memory than is free.

    Raises
    ------
    SimulationError
    """
    needed = required_bytes(plan, lanes, width)
    if needed < _SMALL_BYTES:
        return
    free = available_memory()
    if free is not None and needed > free:
        raise SimulationError(
            f"This simulation takes at least {readable(needed)} of memory, but {readable(free)} are free; ask "
            "for fewer replicates or steps, or record less of them."
        )
