"""The structure of the package: imports go only to lower subpackages ("rooms"), without circles between files.

Every import counts: at the top of a file, inside a function, for type checking only, or named as text for a
later import.
"""

import ast
from pathlib import Path

import qpsim

PACKAGE = Path(qpsim.__file__).parent
# From the lowest up: a room may import from itself and from the rooms before it.
ROOMS = (
    "errors",
    "checks",
    "seeds",
    "provenance",
    "files",
    "execution",
    "lazy",
    "rules",
    "kernels",
    "methods",
    "problem",
    "theory",
    "simulation",
    "measure",
    "conformance",
    "nn",
    "tuning",
    "sweep",
    "figures",
    "verdicts",
    "bench",
    "cli",
)


def modules():
    """Paths of all files by the dotted name of their module."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("qpsim", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path, known):
    """Modules of the package that a file imports anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module)
        elif isinstance(node, ast.Constant) and path != PACKAGE / "__init__.py":
            found.add(str(node.value))
    return {name for name in found if name in known}


def room(module):
    """The room of a module; None for the package itself."""
    return module.split(".")[1] if "." in module and module != "qpsim.__main__" else None


def test_every_room_has_its_place():
    assert {room(m) for m in modules()} - {None} <= set(ROOMS)


def test_imports_run_downwards_through_the_rooms():
    known = modules()
    back = [
        f"{module} -> {target}"
        for module, path in known.items()
        for target in imports(path, known)
        if room(module) and room(target) and ROOMS.index(room(target)) > ROOMS.index(room(module))
    ]
    assert back == []


def test_no_files_import_each_other_in_a_circle():
    known = modules()
    # An ``__init__`` only makes names of its own room available.
    arrows = {m: imports(p, known) - {m} for m, p in known.items() if p.name != "__init__.py"}
    done, path = set(), []

    def visit(module):
        if module in path:
            raise AssertionError(" -> ".join([*path[path.index(module) :], module]))
        if module in done or module not in arrows:
            return
        path.append(module)
        for target in sorted(arrows[module]):
            visit(target)
        path.pop()
        done.add(module)

    for module in sorted(arrows):
        visit(module)
