"""How figures look: a style that no setting of the user changes, and one appearance per method.

The colours are from the palette of Okabe & Ito, which all common kinds of colour vision can tell apart.
Methods that are drawn together also differ in lightness, dashes and markers, for printing in grey.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from typing import Any, NamedTuple

from qpsim.lazy import import_completely


class Look(NamedTuple):
    """Appearance of one method wherever it is drawn."""

    label: str
    color: str
    linestyle: Any
    marker: str
    filled: bool = True


_DASHED, _DOTTED, _DASH_DOT = (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))
_LONG, _DASH_DOT_DOT, _SHORT = (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1)), (0, (2, 1.2))
# One appearance for each place in Table 1, whether the method is idealised or estimated; variants
# that are compared with a method of the table have one of their own.
_GRADIENT = ("#E69F00", _DASHED, "s", False)
_SIGN = ("#0072B2", "solid", "o", True)
_ADAPTED_GRADIENT = ("#D55E00", _DOTTED, "^", True)
_ADAPTED_SIGN = ("#000000", _DASH_DOT, "D", False)
METHODS: dict[str, Look] = {
    "sgd": Look("SGD", *_GRADIENT),
    "ssd": Look("SSD", *_SIGN),
    "svag": Look("SVAG", *_ADAPTED_GRADIENT),
    "va-ssd": Look("VA-SSD", *_ADAPTED_SIGN),
    "m-sgd": Look("M-SGD", *_GRADIENT),
    "m-ssd": Look("M-SSD", *_SIGN),
    "m-svag": Look("M-SVAG", *_ADAPTED_GRADIENT),
    "adam": Look("ADAM", *_ADAPTED_SIGN),
    "svag-ema": Look("SVAG-EMA", *_ADAPTED_GRADIENT),
    "va-ssd-erf": Look("VA-SSD (erf)", "#56B4E9", _SHORT, "P"),
    "adam*": Look("ADAM*", "#CC79A7", _LONG, "v"),
    "adam*-mb": Look("ADAM*-mb", "#009E73", _DASH_DOT_DOT, "X"),
    "m-svag-mb": Look("M-SVAG-mb", "#882255", _LONG, "v", False),
}
# For methods without an appearance of their own, in this order.
_SPARE = (
    ("#009E73", _LONG, "v", True),
    ("#882255", _SHORT, "P", False),
    ("#56B4E9", _DASH_DOT_DOT, "X", True),
    ("#CC79A7", _DASHED, "<", False),
    ("#666666", "solid", ">", True),
    ("#332288", _DOTTED, "*", False),
)


def look(method: str) -> Look:
    """Appearance of a method by its name.

    >>> look("ssd").label
    'SSD'
    """
    return looks([method])[method]


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Appearances of methods that are drawn together, no two of them alike.

    A name with hyper-parameters, such as ``"adam(b2=0.9)"``, has the appearance of its method, unless
    an earlier one has it already.

    >>> both = looks(["adam", "adam(b2=0.9)"])
    >>> both["adam(b2=0.9)"].label, both["adam"].color == both["adam(b2=0.9)"].color
    ('ADAM(b2=0.9)', False)
    """
    found: dict[str, Look] = {}
    spare = iter(_SPARE)
    taken: set[Any] = set()
    for name in methods:
        stem, bracket, rest = name.partition("(")
        own = METHODS.get(stem)
        if own is None or own[1:] in taken:
            others = (one for one in spare if one not in taken)
            own = Look(name if own is None else own.label, *next(others, _SPARE[-1]))
        label = own.label if stem == name or stem not in METHODS else own.label + bracket + rest
        taken.add(own[1:])
        found[name] = own._replace(label=label)
    return found


def text_size(width: float) -> float:
    """Size in points of text that still reads at a width in inches.

    >>> text_size(3.5), text_size(7.0)
    (6.0, 8.0)
    """
    return min(max(4.0 + width * 4.0 / 7.0, 6.0), 11.0)


def import_matplotlib() -> Any:
    """Import matplotlib, whatever the environment variable MPLBACKEND says.

    Figures are drawn without a window, so that no backend is needed; but the import itself fails if
    the variable names one that is not installed, as Jupyter's ``inline`` in a plain terminal.
    """
    wanted = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        matplotlib: Any = import_completely("matplotlib")
        for part in ("backends.backend_agg", "figure", "style"):
            import_completely(f"matplotlib.{part}")
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
    if wanted:
        # The user's own plots must still get the backend that they asked for, if there is one.
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = wanted
    return matplotlib


@contextmanager
def use(width: float = 7.0) -> Iterator[None]:
    """Settings of matplotlib for a figure of that width, inside a ``with`` block.

    They start from matplotlib's defaults, so that neither a matplotlibrc file nor a style chosen by
    the user changes a figure.
    """
    matplotlib = import_matplotlib()
    size = text_size(width)
    fine = 0.75 if width < 5 else 1.0
    sizes = {
        "font.size": size,
        "axes.titlesize": size,
        "axes.labelsize": size,
        "xtick.labelsize": size - 0.5,
        "ytick.labelsize": size - 0.5,
        "legend.fontsize": size,
        "lines.linewidth": 1.2 * fine,
        "lines.markersize": 3.6 * fine,
        "lines.markeredgewidth": 0.8 * fine,
        "axes.titlepad": 4.0 * fine,
        "axes.labelpad": 2.5 * fine,
        "xtick.major.size": 2.5 * fine,
        "ytick.major.size": 2.5 * fine,
        "xtick.major.pad": 2.0 * fine,
        "ytick.major.pad": 2.0 * fine,
    }
    with as_file(files("qpsim.figures") / "qpsim.mplstyle") as sheet:
        with matplotlib.style.context(["default", str(sheet), sizes]):
            yield
