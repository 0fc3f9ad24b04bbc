"""The reference as one HTML page: what can be imported, every command, and the gallery.

Docstrings are rendered by pdoc, an extra. The public names are those in ``__all__``, the registered methods, and the
commands with their help.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import qpsim
from qpsim.errors import FileError

_TEMPLATE = Path(__file__).with_name("reference.html.jinja")
_WIDTH = 88


class Entry(NamedTuple):
    """A public name: its anchor on the page, and what is shown of it."""

    anchor: str
    name: str
    kind: str
    signature: str
    text: str
    members: list[Entry]


class Section(NamedTuple):
    """A part of the page with a heading in its index."""

    anchor: str
    title: str
    text: str
    entries: list[Entry]


def reference(figures: Path) -> str:
    """The page, with the .png files of a folder as its gallery.

    Raises
    ------
    FileError
        pdoc is not installed.
    """
    try:
        import jinja2
        from pdoc.render_helpers import formatter
    except ImportError:
        raise FileError(
            'The reference is made with pdoc; install it with: pip install "qpsim[docs]"'
        ) from None
    sections = [_module(shown, name) for shown, name in modules().items()]
    sections += [_methods(), _commands(), _errata(), _gallery(figures), _changes()]
    page = jinja2.Template(_TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True, autoescape=True)
    text = page.render(
        version=qpsim.__version__,
        sections=[section for section in sections if section.text or section.entries],
        highlighting=formatter.get_style_defs(".pdoc-code"),
    )
    return _linked(text, sections)


def modules() -> dict[str, str]:
    """Modules with public names: the name for users, and the module."""
    found = {"qpsim": "qpsim"}
    found |= {f"qpsim.{name}": path for name, path in qpsim._MODULES.items()}
    found["qpsim.methods"] = "qpsim.methods"
    found |= {f"qpsim.{name}": f"qpsim.{name}" for name in qpsim._SUBPACKAGES}
    found["qpsim.errors"] = found.pop("qpsim.errors")  # last
    return found


def _module(shown: str, name: str) -> Section:
    module = importlib.import_module(name)
    known = getattr(module, "__all__", None) or [
        key for key, value in vars(module).items() if inspect.isclass(value)
    ]
    values = {key: getattr(module, key) for key in known}
    # Submodules have their own sections, and errors are listed once.
    described = {
        key: value
        for key, value in values.items()
        if callable(value) and not (_is_error(value) and name != "qpsim.errors")
    }
    entries = [_entry(f"{shown}.{key}", value) for key, value in described.items()]
    return Section(shown, shown, _rendered(module.__doc__ or ""), entries)


def _is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, (Exception, Warning))


def _entry(path: str, value: Any) -> Entry:
    name = path.rpartition(".")[2]
    kind = "class" if inspect.isclass(value) else "function"
    members = []
    if inspect.isclass(value) and not _is_error(value):
        members = [_member(path, key, member) for key, member in _own_members(value)]
    signature = "" if _is_error(value) else _signature(name, value)
    return Entry(path, name, kind, signature, _rendered(inspect.getdoc(value) or ""), members)


def _own_members(kind: type) -> Iterator[tuple[str, Any]]:
    """Methods and properties that a class of this package says something about."""
    for key, member in vars(kind).items():
        public = not key.startswith("_")
        described = isinstance(
            member, (property, cached_property, classmethod, staticmethod)
        ) or inspect.isfunction(member)
        if public and described and inspect.getdoc(member):
            yield key, member


def _member(path: str, key: str, member: Any) -> Entry:
    if isinstance(member, (property, cached_property)):
        kind, signature = "property", ""
    else:
        function = getattr(member, "__func__", member)
        kind = "class method" if isinstance(member, classmethod) else "method"
        signature = _signature(key, function)
    return Entry(f"{path}.{key}", key, kind, signature, _rendered(inspect.getdoc(member)), [])


def _signature(name: str, value: Any) -> str:
    """The call as it is written in the source: annotations are not looked up."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return f"{name}(...)"
    parameters = [p for p in found.parameters.values() if p.name not in ("self", "cls", "_cls")]
    written, last = [], None
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and last not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            written.append("*")
        star = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        annotation = "" if p.annotation is p.empty else f": {_annotation(p.annotation)}"
        default = "" if p.default is p.empty else f"{' = ' if annotation else '='}{_default(p)}"
        written.append(f"{star}{p.name}{annotation}{default}")
        last = p.kind
    given = found.return_annotation
    returns = "" if given in (found.empty, None, "None") else f" -> {_annotation(given)}"
    line = f"{name}({', '.join(written)}){returns}"
    if len(line) <= _WIDTH or not written:
        return line
    inner = "".join(f"    {item},\n" for item in written)
    return f"{name}(\n{inner}){returns}"


def _default(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if isinstance(value, (type, Callable)):  # type: ignore[arg-type]
        return getattr(value, "__name__", "...")
    return "..." if value is dataclasses.MISSING else repr(value)


def _annotation(annotation: Any) -> str:
    # A named tuple keeps what is written in its source in a wrapper.
    annotation = getattr(annotation, "__forward_arg__", annotation)
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text.replace("typing.", "")


def _methods() -> Section:
    from qpsim.methods import method, method_names

    entries = []
    for name in method_names():
        found = method(name)
        hyper = ", ".join(f"{key}={value!r}" for key, value in found.hyper_parameters.items())
        call = f'qpsim.method("{name}"{", " if hyper else ""}{hyper})'
        text = _rendered(inspect.getdoc(found.rule.function) or "")
        entries.append(Entry(f"method.{name}", name, "method", call, text, []))
    text = "<p>Each is one scalar rule, mapped over all coordinates of a problem or a network.</p>"
    return Section("methods", "Methods", text, entries)


def _commands() -> Section:
    import typer

    from qpsim.cli import app

    entries: list[Entry] = []

    def add(path: str, command: Any) -> None:
        context = command.make_context(path, ["--help"], resilient_parsing=True)
        text = f"<pre>{html.escape(command.get_help(context).strip())}</pre>"
        anchor = path.replace(" ", ".").replace("qpsim", "command", 1)
        entries.append(Entry(anchor, path, "command", "", text, []))
        for name, inner in getattr(command, "commands", {}).items():
            add(f"{path} {name}", inner)

    add("qpsim", typer.main.get_command(app))
    return Section("commands", "Command line", "", entries)


def _errata() -> Section:
    from qpsim import theory

    return Section(
        "errata",
        "What the paper gets wrong",
        _markdown(theory.errata_markdown().replace("\\~", "~")),
        [],
    )


def _gallery(folder: Path) -> Section:
    from qpsim.figures import names, stem, title

    entries = []
    for name in names():
        place = folder / f"{stem(name)}.png"
        if place.is_file():
            data = base64.b64encode(place.read_bytes()).decode()
            about = html.escape(title(name))
            text = f'<p>{about}</p><img alt="{about}" src="data:image/png;base64,{data}">'
            entries.append(Entry(f"figure.{name}", f"qpsim figure {name}", "figure", "", text, []))
    return Section("gallery", "Gallery", "", entries)


def _changes() -> Section:
    from qpsim.cli.info import CHANGES

    text = CHANGES.read_text(encoding="utf-8").replace("# Changes\n", "")
    return Section("changes", "Changes", _markdown(text.replace("\n## ", "\n#### ")), [])


def _rendered(docstring: str | None) -> str:
    """A docstring in numpydoc's style as HTML."""
    from pdoc import docstrings

    text = inspect.cleandoc(docstring or "")
    # A colon in a parameter's type would be taken for the one before it.
    lines = [
        re.sub(r"^(\w[\w, *]* : )(.*)$", lambda m: m[1] + m[2].replace(":", "&#58;"), line)
        for line in text.splitlines()
    ]
    text = re.sub(r"::$", ":", "\n".join(lines), flags=re.MULTILINE)
    text = re.sub(r":\w+:`~?([^`]+)`", r"``\1``", text)
    converted = docstrings.convert(text, "numpy", None)
    # A parameter that needs no words besides its type.
    converted = re.sub(
        r"^( - .*\)):\s*\n(?=\s*(?: - |#|\Z))", r"\1\n", converted, flags=re.MULTILINE
    )
    return _markdown(converted)


def _markdown(text: str) -> str:
    from pdoc.render_helpers import to_html

    # Headings inside of docstrings repeat: their anchors would not be unique.
    return re.sub(r"<h(\d) id=[^>]*>", r"<h\1>", str(to_html(text)))


def _linked(page: str, sections: list[Section]) -> str:
    """The page, with a link from every mention of a public name, written as code."""
    entries = [entry for section in sections for entry in section.entries]
    anchors = {entry.anchor for entry in entries}
    anchors |= {member.anchor for entry in entries for member in entry.members}

    def link(match: re.Match[str]) -> str:
        name = match[1].removesuffix("()")
        # Names are often written with the module that defines them instead of the public one.
        last = name.rpartition(".")[2]
        known = [a for a in (name, f"qpsim.{last}") if a in anchors] if "." in name else []
        return f'<a href="#{known[0]}">{match[0]}</a>' if known else match[0]

    return re.sub(r"<code>(qpsim[\w.]+(?:\(\))?)</code>", link, page)
