"""``qpsim info``: versions, machine and cache, for a bug report or a cluster's log; and what to cite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qpsim import __version__
from qpsim.cli.report_errors import print_json

CITATION = f"""\
@software{{qpsim,
  title = {{qpsim: stochastic quadratic problems, and the Adam optimizer taken apart on them}},
  author = {{{{The qpsim authors}}}},
  year = {{2026}},
  version = {{{__version__}}},
  license = {{MIT}},
}}
@inproceedings{{balles2018dissecting,
  title = {{Dissecting Adam: The Sign, Magnitude and Variance of Stochastic Gradients}},
  author = {{Balles, Lukas and Hennig, Philipp}},
  booktitle = {{Proceedings of the 35th International Conference on Machine Learning}},
  series = {{Proceedings of Machine Learning Research}},
  volume = {{80}},
  pages = {{404--413}},
  year = {{2018}},
}}"""
CHANGES = Path(__file__).parent.parent / "CHANGES.md"


def info(
    timings: Annotated[
        bool,
        typer.Option("--timings", help="Also compile the kernels, and print the time."),
    ] = False,
    changes: Annotated[
        bool, typer.Option("--changes", help="Print what has changed from version to version.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print versions, cores and where machine code is kept; or the list of changes.

    \b
    Examples:
      qpsim info
      qpsim info --timings           compiles what simulations need, or loads it
      qpsim info --changes
      qpsim info --json
      QPSIM_NO_CACHE=1 qpsim info --timings
    """
    if changes:
        typer.echo(CHANGES.read_text(encoding="utf-8"), nl=False)
        return
    from qpsim.execution.cores import available_cores
    from qpsim.kernels.machine_code import cache_folder
    from qpsim.provenance import environment

    folder = cache_folder()
    about: dict[str, Any] = {
        **environment(),
        "cores": available_cores(),
        "cache_folder": None if folder is None else str(folder),
    }
    if timings:
        about["timings"] = _timings()
    if json_:
        print_json(about)
        return
    flat = {**about, **about["libraries"]}
    del flat["libraries"]
    took = flat.pop("timings", None)
    for name, value in flat.items():
        typer.echo(f"{name.replace('_', ' '):<14}{'none' if value is None else value}")
    if took is not None:
        typer.echo(f"{'compiled':<14}{took['cache_misses']} in {took['compile_seconds']:.2f} s")
        typer.echo(f"{'loaded':<14}{took['cache_hits']} in {took['load_seconds']:.2f} s")


def _timings() -> dict[str, float]:
    """Run a tiny simulation and report the compile times."""
    from qpsim.kernels import machine_code
    from qpsim.problem.random import random_problem
    from qpsim.simulation.run import simulate

    for basis in ("axis", "haar"):
        problem = random_problem("mild", 3, basis, rng=0)
        for method in ("sgd", "ssd"):
            simulate(problem, method, n_steps=1, n_replicates=1, rng=0, workers=1)
    return machine_code.timings()
