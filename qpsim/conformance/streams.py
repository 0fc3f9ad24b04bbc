"""Fixed streams of gradients on which optimizers are compared with rules, each with its purpose.

A stream is a table of gradients, one row a step and one column a coordinate, with the shapes of the
tensors that the columns are cut into. The gradients do not depend on what the optimizer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.conformance import dtypes
from qpsim.errors import ConformanceError, nearest

_D, _N = 6, 40
LONG = 100_000
NO_GRADIENT, FROZEN, GROUPS, LAYOUTS, SAVE = "no gradient", "frozen", "groups", "layouts", "save"
SUBNORMALS = "subnormals"
# The stream in the middle of which the state is saved and loaded.
SAVED = "save and load"


@dataclass(frozen=True, eq=False)
class Stream:
    """Gradients, and how they are given to an optimizer.

    Attributes
    ----------
    name, purpose : str
    gradients : ndarray, shape (n_steps, n_coordinates)
        Exact in ``dtype``.
    shapes : tuple of tuple of int
        Shapes of the parameter tensors, whose sizes sum up to n_coordinates.
    dtype : str or None
        Of parameters and gradients; None is the most precise that the optimizer can do.
    theta0 : ndarray, shape (n_coordinates,)
        Parameters at the start.
    given : ndarray of bool, shape (n_steps, n_coordinates), or None
        False where a tensor has no gradient.
    needs : str or None
        What an optimizer must be able to do to be given this stream.
    event : {"save", "two", "clone"} or None
        What happens in the middle. ``two``: the second half of the tensors has an optimizer of its own.
    """

    name: str
    purpose: str
    gradients: np.ndarray
    shapes: tuple[tuple[int, ...], ...]
    dtype: str | None
    theta0: np.ndarray
    given: np.ndarray | None = None
    needs: str | None = None
    event: str | None = None

    def __repr__(self) -> str:
        n_steps, dim = self.gradients.shape
        return f"<stream {self.name!r}: {n_steps} steps, {dim} coordinates>"

    @property
    def frozen(self) -> tuple[int, ...]:
        """Numbers of the tensors that never have a gradient."""
        if self.given is None:
            return ()
        return tuple(k for k, c in enumerate(self.columns) if not self.given[:, c].any())

    @property
    def columns(self) -> list[slice]:
        """Columns of each tensor."""
        ends = np.cumsum([0, *(prod(shape) for shape in self.shapes)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]


def stream_names() -> tuple[str, ...]:
    """Names of all streams.

    >>> from qpsim import conformance
    >>> len(conformance.stream_names()) >= 25
    True
    """
    return tuple(_MAKERS)


def checked_names(names: Any) -> list[str]:
    """One name, or several, each that of a stream."""
    try:
        given = [names] if isinstance(names, str) else list(names)
    except Exception:  # whatever the object's class raises
        raise ConformanceError(
            f"Streams are given as a list of names, not {checks.shown(names)}."
        ) from None
    for name in given:
        if not isinstance(name, str) or name not in _MAKERS:
            word = name if isinstance(name, str) else ""
            raise ConformanceError(
                f"There is no stream {checks.shown(name)}; {nearest(word, _MAKERS)}"
            )
    return given


@np.errstate(all="ignore")
def streams(names: Sequence[str] | None = None, n_long: int = LONG) -> tuple[Stream, ...]:
    """Streams by their names; all by default.

    Parameters
    ----------
    names : sequence of str, optional
    n_long : int, default 100000
        Steps of the stream "long".

    Raises
    ------
    ConformanceError
        There is no such stream.

    Examples
    --------
    >>> from qpsim import conformance
    >>> conformance.streams(["constant"])
    (<stream 'constant': 40 steps, 6 coordinates>,)
    """
    found = []
    for name in stream_names() if names is None else checked_names(names):
        purpose, make, more = _MAKERS[name]
        # Each has random numbers of its own, whatever others are asked for.
        rng = np.random.Generator(np.random.PCG64(list(name.encode())))
        values = make(rng, n_long) if name == "long" else make(rng)
        found.append(_stream(name, purpose, values, **more))
    return tuple(found)


def _stream(name, purpose, values, dtype=None, shapes=None, theta0=0.0, given=None, **more):
    gradients = dtypes.rounded(values, dtype or "float64")
    gradients.setflags(write=False)
    dim = gradients.shape[1]
    start = np.full(dim, theta0) if np.isscalar(theta0) else np.asarray(theta0, float)
    mask = None
    if given is not None:
        mask = np.ones(gradients.shape, bool)
        for rows, columns in given:
            mask[rows, columns] = False
    return Stream(name, purpose, gradients, shapes or ((dim,),), dtype, start, mask, **more)


_SIZES = np.array([1.0, -2.0, 0.5, -0.125, 3.0, 0.75])


def _steps(n: int = _N) -> np.ndarray:
    return np.arange(n, dtype=float)[:, None]


def _normal(rng: np.random.Generator, n: int = _N, d: int = _D) -> np.ndarray:
    return rng.standard_normal((n, d)) + np.linspace(-1.0, 1.0, d)


def _where(values: np.ndarray, keep: np.ndarray) -> np.ndarray:
    return np.where(keep, values, 0.0)


def _quadratic(rng: np.random.Generator, rotated: bool) -> np.ndarray:
    """Gradients of a quadratic with noise on the path of gradient descent; the paper's noise."""
    hessian = np.diag(np.geomspace(0.1, 10.0, _D))
    if rotated:
        basis = np.linalg.qr(rng.standard_normal((_D, _D)))[0]
        hessian = basis @ hessian @ basis.T
    theta, rows = np.full(_D, 3.0), []
    for _ in range(_N):
        rows.append(hessian @ (theta - 0.5 * rng.standard_normal(_D)))
        theta = theta - 0.05 * rows[-1]
    return np.array(rows)


def _sparse(rng: np.random.Generator) -> np.ndarray:
    """Of a matrix of four rows, one has a gradient at each step, as an embedding's."""
    row = rng.integers(0, 4, 60)
    values = rng.standard_normal((60, 4, 2)) * (np.arange(4) == row[:, None])[:, :, None]
    return values.reshape(60, 8)


def _sign_flips(rng: np.random.Generator) -> np.ndarray:
    return np.where(_steps() % 2 == 0, 1.0, -1.0) * rng.uniform(0.2, 2.0, (_N, _D))


_SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (3,), (2, 3), (2, 1, 2), (0,), (0, 3))
_LAYOUTS: tuple[tuple[int, ...], ...] = ((4,), (2, 3), (3, 2))
_HALVES: tuple[tuple[int, ...], ...] = ((3,), (3,))
_Maker = Callable[..., np.ndarray]
_MAKERS: dict[str, tuple[str, _Maker, dict]] = {
    "normal": ("independent gradients with a mean: the step size is found here", _normal, {}),
    "constant": ("bias corrections: averages of one value", lambda r: np.tile(_SIZES, (_N, 1)), {}),
    "alternating": (
        "averages that cancel and squares that do not",
        lambda r: _SIZES * (1.0 - 2.0 * (_steps() % 2)),
        {},
    ),
    "zeros first": (
        "0/0, and a counter that starts with the first gradient",
        lambda r: _where(_normal(r), _steps() >= 10),
        {},
    ),
    "zeros after": (
        "what the state does when gradients end",
        lambda r: _where(_normal(r), _steps() < 10),
        {},
    ),
    "all zero": ("0/0 at every step", lambda r: np.zeros((_N, _D)), {}),
    "every third": (
        "zeros between gradients",
        lambda r: _where(_normal(r), _steps() % 3 == 0),
        {},
    ),
    "spike": (
        "one gradient a million times as large",
        lambda r: _normal(r) * np.where(_steps() == 7, 1e6, 1.0),
        {},
    ),
    "growing": ("gradients that grow by 1.5", lambda r: _SIZES * 1.5 ** _steps(), {}),
    "shrinking": ("gradients that shrink by 0.5", lambda r: _SIZES * 0.5 ** _steps(), {}),
    "first only": ("one gradient, then none", lambda r: _SIZES * (_steps() == 0), {}),
    "tiny": ("1e-30: where the epsilon stands", lambda r: 1e-30 * _normal(r), {}),
    "small": ("1e-8: where the epsilon matters", lambda r: 1e-8 * _normal(r), {}),
    "huge": ("1e30: squares that are large", lambda r: 1e30 * _normal(r), {"dtype": "float64"}),
    "subnormal": (
        "5e-310: squares that are 0",
        lambda r: 5e-310 * _normal(r),
        {"dtype": "float64", "needs": SUBNORMALS},
    ),
    "scales": (
        "each coordinate at a scale of its own, 1e-9 to 1e6",
        lambda r: _normal(r) * np.geomspace(1e-9, 1e6, _D),
        {},
    ),
    "sparse rows": ("one row of a matrix at a time", _sparse, {"shapes": ((4, 2),)}),
    "sign flips": ("another sign at every step", _sign_flips, {}),
    "heavy tails": (
        "Student t with two degrees of freedom",
        lambda r: r.standard_t(2.0, (_N, _D)),
        {},
    ),
    "quadratic": ("a noisy quadratic in its own axes", lambda r: _quadratic(r, False), {}),
    "rotated quadratic": ("a noisy quadratic, rotated", lambda r: _quadratic(r, True), {}),
    "away from zero": (
        "parameters that are not 0: a decay of weights",
        _normal,
        {"theta0": np.array([2.0, -3.0, 1.0, -0.5, 4.0, -1.5])},
    ),
    "float64": ("double precision", _normal, {"dtype": "float64"}),
    "float32": ("single precision", _normal, {"dtype": "float32"}),
    "float16": ("half precision", _normal, {"dtype": "float16"}),
    "bfloat16": ("half precision with eight bits", _normal, {"dtype": "bfloat16"}),
    "long": (
        "100000 steps: counters, powers of beta and sums of rounding errors",
        lambda r, n: _normal(r, n, 2),
        {},
    ),
    "shapes": (
        "scalars, matrices and empty tensors",
        lambda r: _normal(r, 12, 15),
        {"shapes": _SHAPES},
    ),
    "layouts": (
        "tensors that are not contiguous",
        lambda r: _normal(r, 12, 16),
        {"shapes": _LAYOUTS, "needs": LAYOUTS},
    ),
    "groups": (
        "several groups of parameters",
        lambda r: _normal(r, 12, 6),
        {"shapes": _HALVES, "needs": GROUPS},
    ),
    "no gradient": (
        "a parameter that does not always have a gradient",
        lambda r: _normal(r, 12, 9),
        {
            "shapes": ((3,), (3,), (3,)),
            "needs": NO_GRADIENT,
            "given": [(slice(4, 7), slice(6, 9))],
        },
    ),
    "frozen": (
        "a parameter that never has a gradient",
        lambda r: _normal(r, 12, 6),
        {
            "shapes": _HALVES,
            "theta0": 1.0,
            "needs": FROZEN,
            "given": [(slice(None), slice(3, 6))],
        },
    ),
    SAVED: ("the state saved and loaded in the middle", _normal, {"needs": SAVE, "event": "save"}),
    "two at once": (
        "two optimizers in turn",
        _normal,
        {"shapes": _HALVES, "theta0": np.repeat([0.0, 1.0], 3), "event": "two"},
    ),
    "clones": (
        "a parameter that is a copy of another: what belongs to each by its value",
        _normal,
        {"shapes": _HALVES, "theta0": 1.0, "event": "clone"},
    ),
}  # fmt: skip
