"""``qpsim docs``: the reference as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qpsim.cli.report_errors import file_lines, say


def docs(
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("qpsim.html"),
    figures: Annotated[
        Path, typer.Option(help="Folder with rendered figures, for the gallery.")
    ] = Path("figures"),
) -> None:
    """Write the reference: public names, methods, commands, errata and figures in one HTML file.

    The file needs no network and nothing beside it. Its examples are those that the tests run. The
    gallery is of the .png files that qpsim figure has left in a folder.

    \b
    Examples:
      pip install "qpsim[docs]"
      qpsim docs
      qpsim docs --out reference.html --figures figures
    """
    from qpsim.cli.reference import reference
    from qpsim.files.writing import check_file, write_bytes

    check_file(out)
    write_bytes(out, reference(figures).encode())
    typer.echo(file_lines([out])[0])
    if not any(figures.glob("*.png")):
        say(f"there are no figures in {figures}, so no gallery; qpsim figure all makes them.")
