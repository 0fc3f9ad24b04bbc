"""Checks of the inputs of measurements: gradients in chunks of rows, and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from qpsim import checks, seeds
from qpsim.errors import MeasureError, ProblemError, QpsimError, first_line
from qpsim.execution import progress

FEWEST = 8
# Largest number of columns of one product, and largest number of their entries.
_COLUMNS, _NUMBERS = 8, 4e6
# Largest entry whose squares, summed over all coordinates and gradients, stay in the range of double precision.
_LARGEST = 1e140
# Fewest gradients in one array.
_ROWS = 8


def chunks_of(gradients: Any) -> Iterator[np.ndarray]:
    """The gradients as chunks (m, d), each checked when it is read; an array is not copied.

    Raises
    ------
    MeasureError
        A chunk that is not (m, d) with one d, or holds numbers that are NaN, infinite or beyond 1e140; an iterator
        that fails.
    """
    dim = None
    parts: Iterable[Any]
    if hasattr(gradients, "shape") or isinstance(gradients, (list, tuple)):
        whole = checks.array("gradients", gradients, MeasureError)
        rows = max(1, 2_000_000 // max(1, whole.shape[-1])) if whole.ndim == 2 else 1
        parts = (
            [whole]
            if whole.ndim != 2
            else (whole[k : k + rows] for k in range(0, len(whole), rows))
        )
    elif isinstance(gradients, Iterable):
        parts = _each(gradients)
    else:
        raise MeasureError(
            "gradients must be an array (n, d) or an iterable of such chunks, "
            f"not {type(gradients).__name__}."
        )
    first = 0
    for part in parts:
        chunk = checks.array("gradients", part, MeasureError)
        if chunk.dtype not in (np.float32, np.float64):
            chunk = chunk.astype(np.float64)
        if chunk.ndim != 2 or chunk.shape[1] == 0 or (dim is not None and chunk.shape[1] != dim):
            wanted = "d" if dim is None else dim
            raise MeasureError(f"gradients must have shape (n, {wanted}), not {chunk.shape}.")
        dim = chunk.shape[1]
        _finite(chunk, first)
        first += len(chunk)
        yield chunk


def _each(gradients: Iterable[Any]) -> Iterator[Any]:
    """The chunks of an iterable; its exceptions become a MeasureError."""
    count = 0
    try:
        for chunk in gradients:
            yield chunk
            count += 1
    except QpsimError:
        raise
    except Exception as error:
        raise MeasureError(
            f"The iterator of gradients fails at chunk {count + 1}: {first_line(error)}."
        ) from error


def _finite(chunk: np.ndarray, first: int) -> None:
    """Raise MeasureError for entries that are NaN, infinite or too large; ``first`` is the number of the first row."""
    if not len(chunk):
        return
    low, high = float(chunk.min()), float(chunk.max())
    if -_LARGEST <= low and high <= _LARGEST:
        return
    bad = ~(np.abs(chunk) <= _LARGEST)
    row, column = map(int, np.argwhere(bad)[0])
    if np.isfinite(low) and np.isfinite(high):
        raise MeasureError(
            f"gradients reach {chunk[row, column]:.3g}, whose squares double precision does not hold: "
            "divide the loss by a constant."
        )
    raise MeasureError(
        f"gradients hold {int(np.sum(~np.isfinite(chunk)))} NaN or infinite entries, the first in gradient "
        f"{first + row} at coordinate {column}; all must be finite."
    )


def blocks_of(gradients: Any) -> Iterator[np.ndarray]:
    """As :func:`chunks_of`, with at least 8 rows in all chunks but the last: products are faster then."""
    waiting: list[np.ndarray] = []
    owned = hasattr(gradients, "shape") or isinstance(gradients, (list, tuple))
    for chunk in chunks_of(gradients):
        # Copied, since an iterator may use the same array again.
        waiting.append(chunk if owned else chunk.copy())
        if sum(map(len, waiting)) >= _ROWS:
            yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def check_count(n: int) -> None:
    """Raise MeasureError if there are too few gradients for an interval."""
    if n < FEWEST:
        raise MeasureError(f"An interval needs at least {FEWEST} gradients, not {n}.")


class Products:
    """A checked Hessian-vector product, with the number of products that were taken.

    Attributes
    ----------
    dim, count : int
        Coordinates, and products taken so far.
    width : int
        Best number of vectors for one product.

    Raises
    ------
    MeasureError
        The function fails; its products have another shape than the vectors, are not finite, differ from call to
        call, are not linear, or belong to no symmetric matrix (<u, Hv> and <v, Hu> differ).
    """

    def __init__(self, hvp: Callable[[Any], Any], dim: int, rng: np.random.Generator) -> None:
        if not callable(hvp):
            raise MeasureError(
                f"hvp must be a function of a vector (d,), not {type(hvp).__name__}."
            )
        self.dim = checks.count("dim", dim, MeasureError)
        self.count = 0
        self.width = max(1, min(_COLUMNS, int(_NUMBERS / self.dim)))
        self._hvp = hvp
        self._blocks = False
        u, v = rng.standard_normal((2, self.dim))
        kept = u.copy()
        hu = self.of(u)
        if not np.array_equal(u, kept):
            raise MeasureError("hvp changes the vector that it is given; it must return a new one.")
        hu_before = hu.copy()
        hv = self.of(v)
        if not np.array_equal(hu, hu_before):
            raise MeasureError("hvp returns one array again and again; it must return a new one.")
        self._tolerance = 1e-3 if self._single else 1e-6
        scale = np.linalg.norm(u) * np.linalg.norm(hv) + np.linalg.norm(v) * np.linalg.norm(hu)
        if hv.any() and np.linalg.norm(hv) ** 2 == 0.0:
            raise MeasureError(
                f"hvp returned {np.abs(hv).max():.3g} at most, whose square is lost in double precision: "
                "multiply the loss by a constant."
            )
        if abs(u @ hv - v @ hu) > self._tolerance * scale:
            self._check_repeats(u, hu)
            raise MeasureError(
                f"hvp is not the product with a symmetric matrix: <u, Hv> is {u @ hv:.6g} but "
                f"<v, Hu> is {v @ hu:.6g} for random u and v."
            )
        wanted = hu - 2.0 * hv
        both = self.of(u - 2.0 * v)
        if np.linalg.norm(both - wanted) > self._tolerance * (
            np.linalg.norm(hu) + 2.0 * np.linalg.norm(hv)
        ):
            self._check_repeats(u, hu)
            raise MeasureError(
                "hvp is not linear: its value at u - 2 v is not that at u minus twice that at v; it must be the "
                "product of one matrix with the vector."
            )
        self._blocks = self._takes_blocks(u, v, hu, hv)

    def _check_repeats(self, u: np.ndarray, hu: np.ndarray) -> None:
        again = self.of(u)
        if np.linalg.norm(again - hu) > self._tolerance * np.linalg.norm(hu):
            raise MeasureError(
                "hvp is not deterministic: two products with the same vector differ; use the same "
                "examples each time and switch dropout off."
            )

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """H times vectors (d,) or (d, k), in double precision."""
        if vectors.ndim == 2:
            width = self.width if self._blocks else 1
            found = np.empty(vectors.shape)
            for k in range(0, vectors.shape[1], width):
                part = vectors[:, k : k + width]
                if self._blocks:
                    found[:, k : k + width] = self._one(np.ascontiguousarray(part))
                else:
                    found[:, k] = self._one(np.ascontiguousarray(part[:, 0]))
            return found
        return self._one(vectors)

    def _one(self, vectors: np.ndarray) -> np.ndarray:
        try:
            product = self._hvp(vectors)
        except QpsimError:
            raise
        except Exception as error:
            raise MeasureError(
                f"hvp fails for a vector of shape {vectors.shape}: {first_line(error)}."
            ) from error
        if hasattr(product, "detach"):
            product = product.detach()
        found = checks.array("The value of hvp", product, MeasureError)
        if found.shape != vectors.shape:
            raise MeasureError(
                f"hvp must return the shape that it is given, {vectors.shape}, not {found.shape}."
            )
        if found.dtype == np.float16:
            raise MeasureError(
                "hvp returned float16, which is too coarse; give float32 or float64."
            )
        if not -_LARGEST <= float(found.min()) <= float(found.max()) <= _LARGEST:
            kind = "entries beyond 1e140" if np.isfinite(found).all() else "NaN or infinite entries"
            raise MeasureError(f"hvp returned {kind}; all must be finite, and their squares too.")
        self._single = found.dtype == np.float32
        self.count += vectors.shape[1] if vectors.ndim == 2 else 1
        progress.refresh(f"{self.count} products")
        return found.astype(np.float64, copy=False)

    def _takes_blocks(self, u: Any, v: Any, hu: Any, hv: Any) -> bool:
        """Whether the function takes several vectors at once, as (d, k)."""
        block = np.stack([u, v], axis=1)
        try:
            found = np.asarray(self._hvp(block))
        except Exception:  # a function for single vectors may raise anything
            return False
        if found.shape != block.shape:
            return False
        wanted = np.stack([hu, hv], axis=1)
        return bool(np.linalg.norm(found - wanted) <= 10 * self._tolerance * np.linalg.norm(wanted))


def generator(rng: Any) -> np.random.Generator:
    """The generator of a seed."""
    try:
        return seeds.generator(rng)
    except ProblemError:
        raise MeasureError(
            f"rng must be a seed or a numpy Generator, not {checks.shown(rng)}."
        ) from None
