"""``qpsim conform``: compare an optimizer that Python can import with the exact numbers of a method."""

from __future__ import annotations

import inspect
import math
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from qpsim.cli.report_errors import NOT_TRUE, assignments, print_json, print_table
from qpsim.cli.shared import methods_beginning


def conform(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:NAME",
            help="A class, factory, transformation or pair, such as torch.optim:Adam or mine:make.",
        ),
    ],
    method: Annotated[
        str,
        typer.Option(help="Method that the optimizer should be.", autocompletion=methods_beginning),
    ] = "adam",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyper-parameter of the method."),
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option(help="Step size of the optimizer.", show_default="what it says, or what fits"),
    ] = None,
    weight_decay: Annotated[float, typer.Option(help="Weight decay of the optimizer.")] = 0.0,
    decay_form: Annotated[
        str, typer.Option(help="decoupled, or coupled: added to the gradient.")
    ] = "decoupled",
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STREAM", help="A stream by name; may be repeated.", show_default="all"
        ),
    ] = None,
    laws: Annotated[bool, typer.Option(help="Also compare losses on noisy quadratics.")] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check an optimizer on fixed streams of gradients; exit with 1 if it differs.

    It says what the optimizer equals, or from which step on it differs from all known variants. Modules
    in the present folder are found.

    \b
    Examples:
      qpsim conform torch.optim:Adam --method adam
      qpsim conform optax:lion --method lion --set b2=0.98
      qpsim conform torch.optim:AdamW --method adamw --weight-decay 0.01
      qpsim conform mine:make_optimizer --method m-svag --json
    """
    from qpsim import conformance
    from qpsim.methods import method as find_method

    chosen = find_method(method)
    hyper = assignments(set_, chosen.rule.defaults)
    report = conformance.check(
        _imported(target),
        method,
        step_size=step_size,
        weight_decay=weight_decay,
        decay_form=decay_form,
        only=only or None,
        run_laws=laws,
        **hyper,
    )
    if json_:
        print_json(report.to_dict())
    else:
        rows = [
            [one.stream, one.dtype or "", one.outcome, str(one.step or ""), _size(one.difference)]
            for one in report.streams
        ]
        print_table(["stream", "type", "outcome", "from step", "difference"], rows)
        reasons: dict[str, list[str]] = {}
        for one in report.streams:
            if one.outcome == "not applicable":
                reasons.setdefault(one.note, []).append(one.stream)
        for reason, names in reasons.items():
            typer.echo(f"Not given: {', '.join(names)}; {reason}.")
        if report.laws:
            found = [
                [law.law, f"{law.observed:.5g}", f"{law.expected:.5g}", f"{law.z:+.1f}"]
                for law in report.laws
            ]
            print_table(["law", "observed", "expected", "std. errors"], found)
        typer.echo(f"{report.kind}, step size {report.step_size}.")
        typer.echo(f"{'CONFORMS' if report.conforms else 'DIFFERS'}: {report.diagnosis}.")
    if not report.conforms:
        raise typer.Exit(NOT_TRUE)


def _size(difference: float | None) -> str:
    if difference is None:
        return ""
    return "not finite" if math.isnan(difference) else f"{difference:.2g}"


def _imported(target: str) -> Any:
    """The object that MODULE:NAME names."""
    from qpsim.errors import ConformanceError, nearest

    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ConformanceError(
            f"An optimizer is named MODULE:NAME, such as torch.optim:Adam, not {target!r}."
        )
    if module.split(".")[0] == "keras":
        _choose_backend()
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        found: Any = import_module(module)
    except (Exception, SystemExit) as error:
        lines = str(error).splitlines() or [""]
        raise ConformanceError(
            f"{module} cannot be imported: {type(error).__name__}: {lines[0]}."
        ) from error
    finally:
        sys.path.remove(here)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConformanceError(f"{module} has no {part!r}; {nearest(part, _names(found))}")
        found = getattr(found, part)
    return found


def _choose_backend() -> None:
    """Choose an installed backend, since Keras looks for TensorFlow by default."""
    for library, backend in (("tensorflow", ""), ("torch", "torch"), ("jax", "jax")):
        if library in sys.modules or find_spec(library):
            if backend:
                os.environ.setdefault("KERAS_BACKEND", backend)
            return


def _names(found: Any) -> list[str]:
    """Public names of a module that may be optimizers; all public names if none may."""
    public = [name for name in dir(found) if not name.startswith("_")]
    return [name for name in public if _may_be_optimizer(found, name)] or public


def _may_be_optimizer(module: Any, name: str) -> bool:
    thing = getattr(module, name, None)
    if isinstance(thing, type):
        is_base = name == "Optimizer" or issubclass(thing, tuple)
        return not is_base and any(hasattr(thing, step) for step in ("step", "update_step"))
    if isinstance(thing, (tuple, list)):
        return len(thing) == 2 and all(map(callable, thing))
    if not inspect.isfunction(thing):
        return False
    try:
        known = inspect.signature(thing).parameters
    except (TypeError, ValueError):
        return False
    needed = [one for one in known.values() if one.default is one.empty]
    is_own = thing.__module__ == getattr(module, "__name__", None)
    return "learning_rate" in known or "lr" in known or (is_own and len(needed) == 1)
