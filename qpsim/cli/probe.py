"""``qpsim probe``: the paper's conditions measured along the training of a network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from qpsim.cli.report_errors import assignments, file_lines, print_json, print_table, say
from qpsim.cli.shared import TaskData, methods_beginning, tasks_beginning


def probe(
    task: Annotated[
        str,
        typer.Argument(help="Problem; train --list shows all.", autocompletion=tasks_beginning),
    ],
    method: Annotated[
        str, typer.Option(help="Method of the training.", autocompletion=methods_beginning)
    ] = "adam",
    step_size: Annotated[float, typer.Option(help="Step size of the optimizer.")] = 0.001,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyper-parameter, such as b2=0.99."),
    ] = None,
    at: Annotated[str, typer.Option(help="Steps at which to measure.")] = "0,50,200",
    n_examples: Annotated[int, typer.Option(help="Examples whose loss is measured.")] = 512,
    n_gradients: Annotated[int, typer.Option(help="Number of minibatches at each point.")] = 64,
    by_layer: Annotated[
        bool, typer.Option(help="Also measure c of each layer's parameters.")
    ] = True,
    seed: Annotated[int, typer.Option("--rng", help="Seed; equal seeds give equal bits.")] = 0,
    data: TaskData = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of threads.", show_default="all cores")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the measurements.")] = Path("probe"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the points that are in the folder already.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Train a network, stop at some steps, and measure curvature, noise and directions there.

    On networks of a million parameters a point takes minutes; --no-by-layer halves them.
    Each point is written as soon as it is measured: after Ctrl-C the same command with --resume
    goes on. The numbers are in probe.json, all arrays in one .npz a measurement.

    \b
    Examples:
      qpsim probe digits-whitened --method sgd --step-size 0.1 --at 0,50,200
      qpsim probe digits-mlp --method adam --step-size 0.003 --at 0,100 --json
      qpsim probe mnist --data /usr/share/datasets/fashion-mnist --at 0,100
    """
    from qpsim import method as method_of
    from qpsim import nn
    from qpsim.figures.canvas import save
    from qpsim.figures.probe_picture import draw
    from qpsim.files.writing import check_writable, write_json
    from qpsim.nn.measured import Probe, Sizes, refuse_unmeasured
    from qpsim.nn.measured import probe as measure
    from qpsim.provenance import environment

    steps = _steps(at)
    chosen = nn.task(task)
    hyper = assignments(set_, list(method_of(method).rule.defaults))
    run = nn.Run(chosen, method_of(method, **hyper), step_size, seed)
    sizes = Sizes(n_examples=n_examples, n_gradients=n_gradients, by_layer=by_layer)
    # All checks before the folder is made.
    refuse_unmeasured(run.method)
    dataset = chosen.load(data)
    # Without the number of steps, on which points do not depend, so that later points can be added.
    key = {"run": run.record(), "sizes": vars(sizes), "data": dataset.fingerprint()}
    if max(steps) > chosen.n_steps:
        run = nn.Run(replace(chosen, n_steps=max(steps)), run.method, step_size, seed)
    points = _known(out / "probe.json", key) if resume else {}
    wanted = {step: points[step] for step in steps if step in points}
    new = not out.exists()
    place = check_writable(out)

    def keep(found: Probe) -> None:
        for name in ("noise", "curvature", "directions"):
            getattr(found, name).save(place / f"step{found.step}-{name}.npz")
        points[found.step] = wanted[found.step] = found.to_dict()
        listed = [points[step] for step in sorted(points)]
        content = {"key": key, "points": listed, "provenance": environment()}
        write_json(place / "probe.json", content)

    try:
        measure(
            run, steps, dataset=dataset, sizes=sizes, done=keep, skip=list(wanted), workers=workers
        )
    except KeyboardInterrupt:
        if points:
            many = f"{len(points)} points are" if len(points) > 1 else "1 point is"
            say(f"{many} in {file_lines([out])[0]}; --resume goes on from there.")
        raise
    finally:
        if new and not points:
            with suppress(OSError):
                place.rmdir()
    missing = [step for step in steps if step not in wanted]
    if missing:
        say(f"warning: the run diverged before step {missing[0]}; the step size is too large.")
    listed = [wanted[step] for step in sorted(wanted)]
    if listed:
        save(draw(listed), place / "probe.png", "png")
    if json_:
        print_json({"key": key, "points": listed})
        return
    if listed:
        _print(listed)
        say(f"saved to {file_lines([out])[0]}")


def _steps(text: str) -> list[int]:
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        steps = [-1]
    if min(steps) < 0:
        raise typer.BadParameter(f"--at takes steps such as 0,50,200, not {text!r}.")
    return sorted(set(steps))


def _known(path: Path, key: dict[str, Any]) -> dict[int, Any]:
    """The points of an earlier run of the same command."""
    import json

    from qpsim.errors import FileError
    from qpsim.files.reading import read_bytes

    if not path.exists():
        return {}
    try:
        content = json.loads(read_bytes(path))
        known, points = content["key"], {int(one["step"]): one for one in content["points"]}
    except (ValueError, KeyError, TypeError):
        raise FileError(f"{path} is damaged or not ours; give another --out.") from None
    if known != json.loads(json.dumps(key)):
        raise FileError(f"{path} holds another run's points; give another --out.")
    return points


def _print(points: list[dict[str, Any]]) -> None:
    columns = ["step", "loss", "c", "largest eigenvalue", "negative mass", "median eta^2"]
    methods = [row["method"] for row in points[0]["directions"]["rows"]] if points else []
    columns += [f"{name} / sgd" for name in methods if name != "sgd"]
    rows = []
    for one in points:
        curvature = one["curvature"]
        ratios = {
            row["method"]: _interval(row["ratio_to_sgd"]) for row in one["directions"]["rows"]
        }
        rows.append(
            [
                str(one["step"]),
                f"{one['loss']:.4g}",
                _interval(curvature["diagonal_mass"]),
                f"{curvature['eigenvalues'][-1]:.3g}",
                _interval(curvature["negative_mass"]),
                _number(one["noise"]["relative_variance"][2]),
                *(ratios[name] for name in methods if name != "sgd"),
            ]
        )
    print_table(columns, rows)


def _number(value: float | None) -> str:
    return "inf" if value is None else f"{value:.3g}"


def _interval(value: dict[str, float | None]) -> str:
    if value["value"] is None:
        return "-"
    if value["low"] == value["high"]:
        return _number(value["value"])
    return f"{_number(value['value'])} [{_number(value['low'])}, {_number(value['high'])}]"
