"""``qpsim plan``: the best step sizes for an experiment file's run, in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpsim.cli.report_errors import print_json, print_table, say

if TYPE_CHECKING:
    from qpsim.simulation.plan import Plan
    from qpsim.theory.schedule_table import ScheduleTable
    from qpsim.theory.schedules import Schedule


def plan(
    spec: Annotated[str, typer.Argument(metavar="SPEC.toml", help="Experiment; - for stdin.")],
    n_steps: Annotated[int | None, typer.Option(help="Steps of a run.", show_default="100")] = None,
    n_pieces: Annotated[int, typer.Option(help="Pieces of a piecewise constant schedule.")] = 10,
    target: Annotated[
        float | None,
        typer.Option(
            help="Expected excess loss; adds the fewest steps to it, up to --n-steps, where none is simulated."
        ),
    ] = None,
    n_replicates: Annotated[
        int, typer.Option(help="Runs of each schedule that is tried, where losses are simulated.")
    ] = 64,
    rng: Annotated[
        int | None, typer.Option("--rng", help="Seed of a random problem.", show_default="0")
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print as JSON, with every step size.")
    ] = False,
) -> None:
    """Which step sizes should a run have? Schedules with their expected final loss.

    Takes the file of qpsim simulate. For sgd, m-sgd, nesterov and damped-m-sgd on a quadratic problem, and for ssd on a
    diagonal one, nothing is simulated. Rows: the planned schedule, every step free; greedy steps, each the best for the
    loss right after it (Eq. 10); the best constant step; the best schedule of each family. For the planned one the
    disagreement of its searches is printed: the highest final value of a search over the lowest, minus 1. For all other
    methods, and on other problems, the best schedule of each family is searched by simulation, all with the same noise,
    and evaluated with other noise; the standard error of its loss is printed. The table also has the highest expected
    loss during the run, since a schedule that is best at the end may have a high loss before. The file's own step sizes
    are not used. With step_size = "planned" in the file, qpsim simulate uses the planned ones.

    \b
    Examples:
      qpsim plan experiment.toml
      qpsim plan experiment.toml --n-steps 500 --target 0.01
      qpsim plan experiment.toml --json | jq .methods.sgd.schedules.planned.step_size
    """
    from qpsim.errors import ProblemError
    from qpsim.simulation.spec import read
    from qpsim.theory.schedules import is_planned

    experiment = read(spec, n_steps=n_steps, rng=rng, step_size=0.0)
    problem: Any = experiment.problem
    tables: dict[str, dict[str, Any]] = {}
    rows: list[list[str]] = []
    remarks = []
    for label, p in experiment.plans.items():
        try:
            table = _planned(problem, p, n_pieces, target)
        except ProblemError as refused:
            # Of several methods the one that this is about.
            raise ProblemError(f"{label}: {refused}") from None
        if table is not None:
            tables[label] = table.to_dict()
            for row in table.rows:
                more = [row.over_planned]
                if row.steps_to_target is not None:
                    more.append(row.steps_to_target)
                rows.append([label, row.name, *_numbers(row.schedule), *(f"{x:.4g}" for x in more)])
            best = table.rows[0].schedule
            end = f"searches disagree by {best.disagreement:.2g}."
            if best.disagreement > 1.0:
                end = f"searches end between {best.restarts[0]:.4g} and {best.restarts[-1]:.4g}."
            if best.grid_error is not None:
                end += f" The grid of the law errs by some {best.grid_error[-1]:.1g}."
        else:
            why = "" if not is_planned(problem, p.method) else ": its law has too little noise"
            say(f"{label}: families of schedules are searched by simulation{why}")
            found = _simulated(problem, p, n_pieces, n_replicates)
            tables[label] = {
                "method": p.method.name,
                "n_steps": p.n_steps,
                "target": None,
                "schedules": {one.family: one.to_dict() for one in found},
            }
            blank = ["-"] * (1 if target is None else 2)
            rows += [[label, one.family, *_numbers(one), *blank] for one in found]
            best = min(found, key=lambda one: one.value)
            error = best.standard_error
            assert error is not None  # these are simulated
            end = f"the final loss of {best.family} has a standard error of {error[-1]:.2g}."
        remarks.append(
            f"{label}: {p.n_steps} step{'s' * (p.n_steps > 1)} from an expected excess loss of "
            f"{best.expected_excess_loss[0]:.4g}; {end}"
        )
    if json_:
        about = {"kind": problem.kind, **problem.to_dict()}
        print_json({"problem": about, "methods": tables})
        return
    typer.echo(repr(problem))
    columns = ["method", "schedule", "first step", "largest", "last step", "highest loss"]
    columns += ["final loss", "over planned"] + (["steps to target"] if target is not None else [])
    print_table(columns, rows)
    for remark in remarks:
        typer.echo(remark)


def _numbers(schedule: Schedule) -> list[str]:
    """First, largest and last step, highest and final loss."""
    steps, losses = schedule.step_size, schedule.expected_excess_loss
    numbers = (steps[0], steps.max(), steps[-1], schedule.highest_loss, losses[-1])
    return [f"{number:.4g}" for number in numbers]


def _planned(problem: Any, plan: Plan, n_pieces: int, target: float | None) -> ScheduleTable | None:
    """All kinds of schedules of a method whose expected loss is known without simulation; None for others."""
    from qpsim.theory.schedule_table import compare_schedules
    from qpsim.theory.schedules import is_planned
    from qpsim.theory.sign_law import LawSizeError

    if not is_planned(problem, plan.method):
        return None
    try:
        return compare_schedules(
            problem.at_batch(plan.batch_size),
            plan.method,
            plan.n_steps,
            plan.theta0,
            n_pieces=n_pieces,
            target=target,
        )
    except LawSizeError:
        return None


def _simulated(problem: Any, plan: Plan, n_pieces: int, n_replicates: int) -> list[Schedule]:
    """The best schedule of each family of any other method."""
    from qpsim.theory.families import NAMES
    from qpsim.tuning.schedules import simulated_schedules

    return simulated_schedules(
        problem,
        plan.method,
        plan.n_steps,
        plan.theta0,
        NAMES,
        n_pieces=n_pieces,
        objective="final",
        n_replicates=n_replicates,
        rng=0,
        workers=None,
        batch_size=plan.batch_size,
    )
