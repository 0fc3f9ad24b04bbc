"""The command line: one command a file; results on stdout, everything else on stderr.

``report_errors`` prints tables, JSON, errors and warnings, ``shared`` has the options that several commands have,
``reference`` the HTML page of ``qpsim docs``. A new command is a file with one function, named in ``__init__``.

Exit codes: 0 done; 1 a statement does not hold, or an optimizer does not conform; 2 a mistake in what was asked; 130
stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. A command imports what it needs when it runs, so that
``--help`` is fast.
"""

from __future__ import annotations

import gc
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qpsim import __version__
from qpsim.cli import (
    bench,
    compare,
    conform,
    docs,
    figure,
    info,
    plan,
    probe,
    simulate,
    sweep,
    theory,
    train,
    tune,
    verify,
)
from qpsim.cli.info import CITATION
from qpsim.cli.report_errors import make_streams_safe, one_line_errors
from qpsim.cli.shared import Command, refuse_empty
from qpsim.execution.ending import orderly

__all__ = ["app", "main"]


class Commands(TyperGroup):
    """Commands that report a user's mistake in one line, with an exit code."""

    def make_context(self, info_name: Any, args: list[str], *rest: Any, **more: Any) -> Any:
        """Read the command line, and print the help or the version if it asks for them."""
        with one_line_errors():
            if not more.get("resilient_parsing"):  # to complete a word that is only begun
                refuse_empty(args)
            return super().make_context(info_name, args, *rest, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command named on the command line."""
        with one_line_errors(), orderly():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    name="qpsim",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    # Plain text, since importing rich takes ten times as long.
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qpsim {__version__}")
        raise typer.Exit


def _cite(wanted: bool) -> None:
    if wanted:
        typer.echo(CITATION)
        raise typer.Exit


@app.callback()
def _qpsim(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    cite: Annotated[
        bool,
        typer.Option(
            "--cite", callback=_cite, is_eager=True, help="Print what to cite, as BibTeX."
        ),
    ] = False,
) -> None:
    """Simulate stochastic quadratic problems, and take the Adam optimizer apart on them.

    \b
    Examples:
      qpsim figure 2                 the paper's Figure 2, into the folder figures
      qpsim verify                   every formula of the paper against draws
      qpsim theory improvement H.npy would sign descent help on your Hessian?
      qpsim simulate experiment.toml your own matrix, several methods
      qpsim plan experiment.toml     the best step sizes for such a run
      qpsim tune digits-mlp          step sizes for a network, by the paper's protocol
      qpsim conform torch.optim:Adam is it Adam?
      qpsim figure 2 --json | jq .   every number also as JSON
    """


app.command("figure", cls=Command, short_help="Make figures, with their data.")(figure.figure)
app.command(
    "simulate", cls=Command, short_help="Run an experiment file: a problem and some methods."
)(simulate.simulate)
app.command("plan", cls=Command, short_help="Find the best step sizes for a run.")(plan.plan)
app.add_typer(sweep.app, name="sweep", short_help="Run many simulations into a folder.")
app.command("verify", cls=Command, short_help="Measure the paper's statements.")(verify.verify)
app.command("compare", cls=Command, short_help="Compare methods on problems and noise levels.")(
    compare.compare
)
app.command("conform", cls=Command, short_help="Check an optimizer against a method.")(
    conform.conform
)
app.add_typer(theory.app, name="theory", short_help="Ask the theory, without simulating.")
app.command("bench", cls=Command, short_help="Measure speed beside NumPy, Numba, JAX and PyTorch.")(
    bench.bench
)
app.command("train", cls=Command, short_help="Train a network.")(train.train)
app.command("tune", cls=Command, short_help="Find the best step sizes for a network.")(tune.tune)
app.command("probe", cls=Command, short_help="Measure curvature and noise along a training.")(
    probe.probe
)
app.command("docs", cls=Command, short_help="Write the reference as one HTML file.")(docs.docs)
app.command("info", cls=Command, short_help="Print versions and caches, or the list of changes.")(
    info.info
)


def main() -> None:
    """Run the command line."""
    make_streams_safe()
    # Compilation makes millions of small objects that stay. Python looks for garbage after every 700 new ones by
    # default, which is 7 % of the time of a first run.
    gc.set_threshold(100_000, 20, 100)
    app(prog_name="qpsim")
