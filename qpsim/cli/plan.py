"""``qpsim plan``: the best step sizes for an experiment file's run, in one table."""

from __future__ import annotations

from typing import Annotated

import typer

from qpsim.cli.report_errors import print_json, print_table, say


def plan(
    spec: Annotated[str, typer.Argument(metavar="SPEC.toml", help="Experiment; - for stdin.")],
    n_steps: Annotated[int | None, typer.Option(help="Steps of a run.", show_default="100")] = None,
    n_pieces: Annotated[int, typer.Option(help="Pieces of a piecewise constant schedule.")] = 10,
    target: Annotated[
        float | None,
        typer.Option(help="Expected excess loss; adds the fewest steps to it, up to --n-steps."),
    ] = None,
    rng: Annotated[
        int | None, typer.Option("--rng", help="Seed of a random problem.", show_default="0")
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print as JSON, with every step size.")
    ] = False,
) -> None:
    """Which step sizes should a run have? Schedules with their exact expected final loss.

    Takes the file of qpsim simulate, and of it the methods that are linear in the gradient: sgd,
    m-sgd, nesterov, damped-m-sgd. Nothing is simulated. Rows: the planned schedule, every step
    free; greedy steps, each the best for the loss right after it (Eq. 10); the best constant step;
    the best schedule of each family. The highest expected loss on the way is there too: what is best
    for the end alone may rise high before. Of the planned one it is told how far its searches disagree:
    the highest value in which one ended over the lowest, minus 1. The file's step sizes play no part;
    with step_size = "planned" in it, qpsim simulate takes the planned ones.

    \b
    Examples:
      qpsim plan experiment.toml
      qpsim plan experiment.toml --n-steps 500 --target 0.01
      qpsim plan experiment.toml --json | jq .methods.sgd.schedules.planned.step_size
    """
    from qpsim.errors import MethodError
    from qpsim.problem.quadratic import QuadraticProblem
    from qpsim.simulation.spec import read
    from qpsim.theory.schedule_table import compare_schedules
    from qpsim.theory.schedules import PLANNED, is_planned

    experiment = read(spec, n_steps=n_steps, rng=rng, step_size=0.0)
    problem = experiment.problem
    plans = {label: p for label, p in experiment.plans.items() if is_planned(p.method)}
    if not plans or not isinstance(problem, QuadraticProblem):
        raise MethodError(
            f"There is nothing to plan: qpsim plan takes {PLANNED} on a quadratic problem, not "
            f"{', '.join(p.method.name for p in experiment.plans.values())} on a {problem.kind} one."
        )
    left_out = [label for label in experiment.plans if label not in plans]
    if left_out:
        say(f"left out: {', '.join(left_out)}; only {PLANNED} can be planned.")
    tables = {
        label: compare_schedules(
            problem.at_batch(p.batch_size),
            p.method,
            p.n_steps,
            p.theta0,
            n_pieces=n_pieces,
            target=target,
        )
        for label, p in plans.items()
    }
    if json_:
        print_json(
            {
                "problem": {"kind": problem.kind, **problem.to_dict()},
                "methods": {label: table.to_dict() for label, table in tables.items()},
            }
        )
        return
    typer.echo(repr(problem))
    columns = ["method", "schedule", "first step", "largest", "last step", "highest loss"]
    columns += ["final loss", "over planned"] + (["steps to target"] if target is not None else [])
    rows = []
    for label, table in tables.items():
        for row in table.rows:
            steps = row.schedule.step_size
            numbers = [steps[0], steps.max(), steps[-1], row.schedule.highest_loss]
            numbers += [row.final_loss, row.over_planned]
            if row.steps_to_target is not None:
                numbers.append(row.steps_to_target)
            rows.append([label, row.name, *(f"{number:.4g}" for number in numbers)])
    print_table(columns, rows)
    for label, table in tables.items():
        planned = table.rows[0].schedule
        typer.echo(
            f"{label}: {table.n_steps} steps from an expected excess loss of "
            f"{planned.expected_excess_loss[0]:.4g}; searches disagree by {planned.disagreement:.2g}."
        )
