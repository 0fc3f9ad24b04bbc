"""The gallery: all figures of a folder on one page, in Markdown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from qpsim.figures import names, stem, title


def markdown(folder: str | os.PathLike[str]) -> str:
    """A section for each figure whose image lies in a folder: title, command, picture, and origin.

    Links are relative to the folder, where the page belongs.

    Examples
    --------
    >>> import tempfile
    >>> from qpsim import figures
    >>> from qpsim.figures import gallery
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = figures.make("4", folder, formats="png", points=9)
    ...     page = gallery.markdown(folder)
    >>> print(page.splitlines()[0])
    ### Figure 4
    """
    place = Path(folder)
    sections = [
        _section(place, name) for name in names() if (place / f"{stem(name)}.png").is_file()
    ]
    return "\n".join(sections)


def _section(place: Path, name: str) -> str:
    files = {kind: f"{stem(name)}.{kind}" for kind in ("png", "pdf", "npz", "json")}
    words = {"pdf": "PDF", "npz": "data", "json": "where they come from"}
    links = [
        f"[{word}]({files[kind]})"
        for kind, word in words.items()
        if (place / files[kind]).is_file()
    ]
    heading = f"Figure {name}" if name.isdigit() else name.capitalize()
    about = title(name)
    return (
        f"### {heading}\n\n{about}\n\n```sh\nqpsim figure {name}\n```\n\n"
        f"![{about}]({files['png']})\n\n{', '.join(links)}{_origin(place / files['json'])}\n"
    )


def _origin(header: Path) -> str:
    """The time and the processor of the computation, if they are in the header."""
    if not header.is_file():
        return ""
    about: dict[str, Any] = json.loads(header.read_text()).get("provenance", {})
    if "wall_seconds" not in about:
        return ""
    seconds = about["wall_seconds"]
    spent = f"{seconds:.0f} s" if seconds >= 1 else "less than a second"
    return f"; computed in {spent} on {about.get('cpu', 'an unknown processor')}"
