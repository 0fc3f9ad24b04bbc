"""The file ``sweep.json`` of a store: its sweep, and the version of the package that began it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import qpsim
from qpsim import checks
from qpsim.errors import FileError, QpsimError, SweepError
from qpsim.files.reading import read_bytes
from qpsim.sweep.cell import digest
from qpsim.sweep.grid import Sweep

NAME = "sweep.json"
_TOLD = ("qpsim", "cells", "spec")


def content(sweep: Sweep) -> bytes:
    """The content of the file for a sweep."""
    told = {"qpsim": qpsim.__version__, "cells": len(sweep), "spec": sweep.spec}
    manifest = {"format": "qpsim", "kind": "sweep", "digest": digest(told), **told}
    return (json.dumps(manifest, indent=1) + "\n").encode()


class OtherVersion(SweepError):
    """The store is undamaged, but was written by another version, and this version cannot read it."""


def read(path: Path) -> tuple[Sweep, str]:
    """Read the sweep of a store, and the version that began it."""
    found = read_bytes(path, follow_links=False)
    try:
        manifest = json.loads(found)
        if manifest["format"] != "qpsim" or manifest["kind"] != "sweep":
            raise FileError(f"{path} is not a sweep of qpsim.")
        # The digest includes the version, so that a damaged version number is recognised as damage.
        if digest({name: manifest[name] for name in _TOLD}) != manifest["digest"]:
            raise FileError(f"{path} is damaged: its content does not match its digest.")
        version = str(manifest["qpsim"])
        return _understood(path, manifest["spec"], version), version
    except QpsimError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(f"{path} is damaged ({type(error).__name__}: {error}).") from None


def _understood(path: Path, spec: Any, version: str) -> Sweep:
    """The sweep in the file, which was written by this version of the package."""

    def present(table: Any) -> dict[str, Any]:
        return checks.current_names(table, SweepError, warn=False)

    try:
        return Sweep(
            present(spec["fixed"]), present(spec["grid"]), [present(cell) for cell in spec["cells"]]
        )
    except QpsimError as error:
        if version == qpsim.__version__:
            raise
        raise OtherVersion(
            f"The store {path.parent} was begun by qpsim {version}, and this is "
            f"{qpsim.__version__}, which cannot read it: {error}"
        ) from None
