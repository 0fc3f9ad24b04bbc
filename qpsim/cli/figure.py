"""``qpsim figure``: numbers, then images, into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qpsim.cli.report_errors import file_lines, print_json, print_table, say
from qpsim.cli.shared import (
    CacheFolder,
    DataFolder,
    Methods,
    NoiseLevels,
    Problems,
    Rng,
    Tasks,
    Workers,
    chosen_options,
)

_OWN = "the figure's own, see --list"


def _names(incomplete: str) -> list[str]:
    from qpsim.figures import names

    return [name for name in ("all", *names()) if name.startswith(incomplete)]


def figure(
    name: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Figures to make, or 'all'.", autocompletion=_names),
    ] = None,
    n_replicates: Annotated[
        int | None, typer.Option(help="Runs of each method and panel.", show_default=_OWN)
    ] = None,
    n_draws: Annotated[
        int | None,
        typer.Option(help="Number of draws of spectrum and rotation.", show_default=_OWN),
    ] = None,
    n_steps: Annotated[int | None, typer.Option(help="Steps of a run.", show_default=_OWN)] = None,
    dim: Annotated[
        int | None, typer.Option(help="Number of coordinates.", show_default=_OWN)
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Starting offsets are U[-scale, scale].", show_default=_OWN),
    ] = None,
    rng: Rng = None,
    problem: Problems = None,
    task: Tasks = None,
    noise_std: NoiseLevels = None,
    method: Methods = None,
    data: DataFolder = None,
    cache: CacheFolder = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other option of a figure."),
    ] = None,
    workers: Workers = None,
    out: Annotated[Path, typer.Option(help="Folder for images and data.")] = Path("figures"),
    format: Annotated[
        list[str] | None,
        typer.Option(
            help="png, pdf, svg, or csv for the data; may be repeated.",
            show_default="png and pdf",
        ),
    ] = None,
    width: Annotated[
        str, typer.Option(help="'full' (7 in), 'column' (3.5 in) or inches.")
    ] = "full",
    redraw: Annotated[
        bool, typer.Option("--redraw", help="Draw the data in the folder, compute nothing.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Print the figures and their options.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make figures: their data (.npz, and .json for where they come from) and images.

    \b
    Examples:
      qpsim figure 2
      qpsim figure 2 --n-replicates 1000 --scale 3 --out scale3
      qpsim figure 2 --problem H.npy --problem mild/haar --noise-std 0.5 --method adam
      qpsim figure 2 --redraw --width column --format pdf --format csv
      qpsim figure 3 --workers 2     networks on the digits, a few minutes
      qpsim figure 3 --data ~/data   networks on MNIST and CIFAR, those that are there; days
      qpsim figure 3 --data ~/data --task mnist --task digits-cnn --n-steps 1000 --n-replicates 3
      qpsim figure all --workers 2
      qpsim figure --list
    """
    from qpsim import figures

    if list_:
        _list(json_)
        return
    if not name:
        raise typer.BadParameter(f"name a figure: {', '.join(figures.names())} or all.")
    wanted = list(figures.names()) if "all" in name else list(dict.fromkeys(name))
    common = {
        "n_replicates": n_replicates,
        "n_draws": n_draws,
        "n_steps": n_steps,
        "dim": dim,
        "scale": scale,
        "rng": rng,
        "problems": problem,
        "tasks": task,
        "noise_std": noise_std,
        "methods": method,
        "data": data,
        "cache": cache,
    }
    known = {one: figures.module(one).Options.names() for one in wanted}
    options = chosen_options(common, set_, known)
    made: list[dict[str, Any]] = []
    for one in wanted:
        result = figures.make(
            one,
            out,
            formats=format or ("png", "pdf"),
            width=width,
            workers=workers,
            redraw=redraw,
            **options[one],
        )
        paths = file_lines(result.paths)
        made.append({**result.data.header, "files": paths})
        seconds = result.data.provenance.get("wall_seconds")
        say(f"figure {one}: " + ("redrawn" if redraw else f"computed in {seconds or 0.0:.1f} s"))
        if not json_:
            typer.echo("\n".join(paths))
            numbers = figures.table(result.data)
            if numbers is not None:
                print_table(*numbers)
    if json_:
        print_json(made[0] if len(made) == 1 else made)


def _list(as_json: bool) -> None:
    from qpsim import figures

    listed = {
        one: {"title": figures.title(one), "options": figures.module(one).Options().to_dict()}
        for one in figures.names()
    }
    if as_json:
        print_json(listed)
        return
    for one, about in listed.items():
        options = ", ".join(f"{key}={value}" for key, value in about["options"].items())
        typer.echo(f"{one:>12}  {about['title']}\n{'':14}{options}")
