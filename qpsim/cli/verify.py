"""``qpsim verify``: the paper's statements, each measured, as a table and as JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qpsim.cli.report_errors import NOT_TRUE, file_lines, print_json, print_table, say
from qpsim.cli.shared import CacheFolder, DataFolder, Seed, Workers, chosen_options
from qpsim.verdicts import topics

if TYPE_CHECKING:
    from qpsim.verdicts import Measurement, Report, Verdict


def _topics(incomplete: str) -> list[str]:
    return [name for name in ("all", *topics()) if name.startswith(incomplete)]


def verify(
    topic: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC",
            help=f"What to verify: {', '.join(topics())}, or all; theory if none is named.",
            autocompletion=_topics,
        ),
    ] = None,
    n_replicates: Annotated[
        int | None,
        typer.Option(
            help="Draws of each experiment, or runs of each method and panel.",
            show_default="100000, or 256; networks 10",
        ),
    ] = None,
    n_steps: Annotated[int | None, typer.Option(help="Steps of a run.", show_default="100")] = None,
    dim: Annotated[
        int | None, typer.Option(help="Number of coordinates.", show_default="100")
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Starting offsets are U[-scale, scale].", show_default="10"),
    ] = None,
    seed: Seed = None,
    data: DataFolder = None,
    cache: CacheFolder = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other option of a topic."),
    ] = None,
    workers: Workers = None,
    out: Annotated[Path, typer.Option(help="Folder for TOPIC-verdicts.json.")] = Path("figures"),
    json_: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
) -> None:
    """Measure the paper's statements; exit with 1 if one of them does not hold.

    The topic theory has every formula of Sections 1 to 3, B and C: the claimed number, the mean of
    independent draws, its standard error, and their difference in standard errors (z).

    \b
    Examples:
      qpsim verify                   the theory, with a fresh seed: --rng 7
      qpsim verify --n-replicates 1000000
      qpsim verify --json | jq '.verdicts[] | select(.holds | not)'
      qpsim verify figure2
      qpsim verify figure2 --n-replicates 1024 --scale 3
      qpsim verify figure2 --set 'scales=[10, 100]' --json
      qpsim verify networks --json
      qpsim verify conditions
      qpsim verify tails noise       what heavy tails and other covariances change
      qpsim verify all --workers 2
    """
    from qpsim import verdicts
    from qpsim.files.writing import check_writable

    wanted = list(dict.fromkeys(topic or ["theory"]))
    if "all" in wanted:
        wanted = list(verdicts.topics())
    common = {
        "n_replicates": n_replicates,
        "n_steps": n_steps,
        "dim": dim,
        "scale": scale,
        "seed": seed,
        "data": data,
        "cache": cache,
    }
    known = {one: verdicts.module(one).Options.names() for one in wanted}
    options = chosen_options(common, set_, known)
    check_writable(out)
    reports = []
    for one in wanted:
        report = verdicts.measure(one, workers=workers, **options[one])
        path = report.save(out)
        reports.append(report)
        if not json_:
            _print(report)
        say(f"{one}: saved to {file_lines([path])[0]}")
    if json_:
        found = [report.to_dict() for report in reports]
        print_json(found[0] if len(found) == 1 else found)
    if not all(report.holds for report in reports):
        raise typer.Exit(NOT_TRUE)


def _print(report: Report) -> None:
    for number, verdict in enumerate(report.verdicts, 1):
        outcome = "HOLDS" if verdict.holds else "DOES NOT HOLD"
        typer.echo(f"\n{number}. {verdict.statement}  [{verdict.source}]\n   {outcome}")
        scales = verdict.notes.get("scales", {})
        columns = ["case", *_headings(verdict), "", *(f"scale {scale}" for scale in scales)]
        rows = []
        for k, measured in enumerate(verdict.measurements):
            at = [_at_scale(found["measurements"][k]) for found in scales.values()]
            rows.append([measured.what, *_numbers(verdict, measured), _word(measured.holds), *at])
        print_table(columns, rows)
        typer.echo(f"   Measured: {verdict.quantity}.\n   Rule: {verdict.rule}.")
        for remark in verdict.notes.get("remarks", []):
            typer.echo(f"   {remark}")
    held = sum(verdict.holds for verdict in report.verdicts)
    typer.echo(f"\n{held} of {len(report.verdicts)} statements hold.")


def _headings(verdict: Verdict) -> list[str]:
    columns = ["claimed"] if any(m.claimed is not None for m in verdict.measurements) else []
    columns.append("value")
    if any(measured.error is not None for measured in verdict.measurements):
        columns.append("std. error")
    if any(measured.interval is not None for measured in verdict.measurements):
        columns.append("95 % interval")
    if any(measured.z is not None for measured in verdict.measurements):
        columns.append("z")
    return columns


def _numbers(verdict: Verdict, measured: Measurement) -> list[str]:
    # The numbers of a row have equally many decimals; a row of tiny numbers has significant digits.
    ends = measured.interval or ()
    finite = (abs(x) for x in (measured.value, *ends) if math.isfinite(x))
    largest = max(finite, default=0.0)
    shape = ".3f" if 1e-2 <= largest < 1e4 or largest == 0 else ".3g"
    if measured.claimed is not None:
        shape = ".6g"
    cells = {
        "claimed": "" if measured.claimed is None else f"{measured.claimed:{shape}}",
        "std. error": "" if measured.error is None else f"{measured.error:.2g}",
        "value": "-" if math.isnan(measured.value) else f"{measured.value:{shape}}",
        "95 % interval": f"[{', '.join(f'{end:{shape}}' for end in ends)}]" if ends else "",
        "z": "" if measured.z is None else f"{measured.z:+.2f}",
    }
    return [cells[heading] for heading in _headings(verdict)]


def _at_scale(found: dict) -> str:
    value = "" if found["value"] is None else f"{found['value']:.2f}"
    return f"{value} {_word(found['holds'])}".strip()


def _word(holds: bool | None) -> str:
    return "" if holds is None else "yes" if holds else "no"
