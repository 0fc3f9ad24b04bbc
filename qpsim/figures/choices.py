"""Converts the problems and methods that a user chooses for a figure, given as text or as objects.

As text a problem is ``SPECTRUM/BASIS``, such as ``mild/haar``, ``log-uniform:1000/axis`` (with a
condition number) or ``eigenvalues.npy/0.3``, or a file that holds a Hessian, such as ``H.csv``; a
method is a name. In Python, problems, arrays, methods and rules are accepted too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import FigureError, QpsimError, nearest
from qpsim.files.arrays import ENDINGS, read_array
from qpsim.methods import Method
from qpsim.methods import method as find_method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import BASES, CONDITIONED, SPECTRA, random_problem


@dataclass(frozen=True)
class Row:
    """A problem of a figure.

    Attributes
    ----------
    label : str
    spectrum : str
        Label of its spectrum; rows in different bases may have the same one.
    draw : callable
        From a dimension and a seed to a problem whose optimum is 0. A given Hessian is always the
        same, and so is the dimension of given eigenvalues.
    """

    label: str
    spectrum: str
    draw: Callable[[int, np.random.SeedSequence], QuadraticProblem]


def rows(given: Sequence[Any]) -> list[Row]:
    """The problems of a figure, with different labels.

    Raises
    ------
    FigureError
        What is given describes no problem.
    FileError
        A file cannot be read.
    """
    found: list[Row] = []
    for value in given:
        row = _row(value)
        taken = [other.label for other in found]
        again = sum(label.split(" #")[0] == row.label for label in taken)
        found.append(Row(f"{row.label} #{again + 1}", row.spectrum, row.draw) if again else row)
    return found


def problem_text(value: Any) -> str:
    """The name of a problem in a data file; of a path only the file's name.

    >>> import numpy as np
    >>> [problem_text(p) for p in ("mild/haar", "my/H.npy", np.eye(3))]
    ['mild/haar', 'H.npy', 'Hessian, d = 3']
    """
    if isinstance(value, str):
        folder, _, name = value.rpartition("/")
        if _fraction(name) is not None:
            return f"{Path(folder).name}/{name}"
        return Path(value).name if Path(value).suffix.lower() in ENDINGS else value
    dim = value.dim if hasattr(value, "dim") else len(np.atleast_1d(value))
    return f"Hessian, d = {dim}"


def methods(given: Sequence[Any]) -> dict[str, Method]:
    """The methods of a figure by their labels.

    Raises
    ------
    FigureError
        One is given twice.
    MethodError
        One is unknown, or has no such hyper-parameter.
    """
    found: dict[str, Method] = {}
    for value in given:
        label = method_text(value)
        if label in found:
            raise FigureError(f"The method {label} is given twice; leave one out.")
        found[label] = _method(value)
    return found


def method_text(value: Any) -> str:
    """The name of a method in a data file, with the hyper-parameters that are not the defaults.

    >>> import qpsim
    >>> method_text(qpsim.method("adam", b2=0.99)), method_text("ssd")
    ('adam(b2=0.99)', 'ssd')
    """
    method = _method(value)
    defaults = method.rule.defaults
    hyper = [f"{k}={v}" for k, v in method.hyper_parameters.items() if v != defaults[k]]
    return method.name + (f"({', '.join(hyper)})" if hyper else "")


def _method(value: Any) -> Method:
    if isinstance(value, Mapping):
        if not isinstance(value.get("name"), str):
            raise FigureError(f"A table for a method has a 'name'; {checks.shown(value)} has none.")
        return find_method(**value)
    return find_method(value)


def _row(value: Any) -> Row:
    label = problem_text(value)
    if not isinstance(value, str):
        problem = value if hasattr(value, "hessian") else QuadraticProblem(value)
        return _given(label, problem)
    if Path(value).suffix.lower() in ENDINGS:
        return _given(label, QuadraticProblem(read_array(value, Path(value))))
    head, _, tail = value.rpartition("/")
    basis = _fraction(tail)
    if basis is None or not head:
        raise FigureError(
            f"{value!r} is no problem; give SPECTRUM/BASIS, as mild/haar, or a file with a Hessian "
            f"({', '.join(ENDINGS)})."
        )
    spectrum, condition = _spectrum(head)
    shown = label.rpartition("/")[0]

    def draw(dim: int, seed: np.random.SeedSequence) -> QuadraticProblem:
        return random_problem(spectrum, dim, basis, scale=0.0, condition=condition, rng=seed)

    return Row(label, shown, draw)


def _given(label: str, problem: QuadraticProblem) -> Row:
    centred = problem.with_optimum(np.zeros(problem.dim))
    return Row(label, label, lambda dim, seed: centred)


def _spectrum(text: str) -> tuple[Any, float | None]:
    """Name or eigenvalues of a spectrum, and its condition number if it has one."""
    if Path(text).suffix.lower() in ENDINGS:
        return read_array(text, Path(text)), None
    name, colon, number = text.partition(":")
    if name not in SPECTRA:
        raise FigureError(
            f"There is no spectrum {name!r}; {nearest(name, SPECTRA)} A file with eigenvalues ends "
            f"in {', '.join(ENDINGS)}."
        )
    if not colon:
        return name, None
    try:
        condition = float(number)
        random_problem(name, 1, condition=condition)
    except QpsimError as error:
        raise FigureError(f"{text!r}: {error}") from None
    except ValueError:
        raise FigureError(
            f"{text!r}: {number!r} is no condition number, which {' and '.join(CONDITIONED)} take."
        ) from None
    return name, condition


def _fraction(text: str) -> str | float | None:
    """A basis as :func:`random_problem` takes it; None if the text is no basis."""
    if text in BASES:
        return text
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 <= value <= 1.0 else None
