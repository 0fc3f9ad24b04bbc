"""Statements of the paper and of later work, each measured: one file a topic.

A topic is a module of this folder, such as ``figure2.py``. The first line of its docstring says what is verified; it
has ``Options`` (:class:`qpsim.figures.options.BaseOptions`) and ``measure(options, workers=None) -> Report``. A new
topic is such a file: ``qpsim verify`` finds it by its name. ``theory/`` holds the statements on single formulas, and
``record`` the classes ``Measurement``, ``Verdict`` and ``Report`` that all topics return.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from qpsim.errors import VerdictError, nearest

if TYPE_CHECKING:
    from qpsim.verdicts.record import Measurement, Report, Verdict

__all__ = ["Measurement", "Report", "Verdict", "measure", "module", "topics"]

_RECORD = ("Measurement", "Report", "Verdict")


@cache
def topics() -> tuple[str, ...]:
    """Names of everything that can be verified.

    >>> "figure2" in topics()
    True
    """
    found = (item.name for item in pkgutil.iter_modules(__path__) if item.name != "record")
    return tuple(name.replace("_", "-") for name in found)


def module(topic: str) -> Any:
    """The module of a topic.

    Raises
    ------
    VerdictError
        There is no such topic.
    """
    if topic not in topics():
        raise VerdictError(
            f"There is nothing to verify called {topic!r}; {nearest(topic, topics())}"
        )
    return import_module(f"qpsim.verdicts.{topic.replace('-', '_')}")


def measure(topic: str, *, workers: Any = None, **options: Any) -> Report:
    """Measure the statements of a topic.

    Parameters
    ----------
    topic : str
        One of :func:`topics`, such as "figure2".
    workers : None, int or concurrent.futures.Executor
        As in :func:`qpsim.simulate`; the numbers do not depend on it.
    **options
        The topic's own options.

    Raises
    ------
    VerdictError
        There is no such topic.
    FigureError
        An unknown option, or a value that makes no sense.
    """
    found = module(topic)
    return found.measure(found.Options.given(f"Topic {topic}", options), workers=workers)


def __getattr__(name: str) -> Any:
    if name in _RECORD:
        return getattr(import_module("qpsim.verdicts.record"), name)
    raise AttributeError(f"module 'qpsim.verdicts' has no attribute {name!r}")
