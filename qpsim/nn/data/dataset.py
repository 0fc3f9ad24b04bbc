"""``Dataset``: training and test examples with their targets, a name and a fingerprint.

Images are stored as ``uint8`` if they are distributed so, in (example, row, column, channel)
order, and become ``float32`` one batch at a time: CIFAR then takes 184 MB of memory, not 737.
Everything else is stored as ``float32``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpsim import checks
from qpsim.errors import DataError

__all__ = ["Dataset", "Split", "to_float"]


def to_float(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images as ``float32``; ``uint8`` ones from 0..255 to 0..1, others keep their scale.

    Examples
    --------
    >>> import numpy as np
    >>> to_float(np.array([0, 51, 255], dtype=np.uint8)).tolist()
    [0.0, 0.20000001788139343, 1.0]
    """
    if images.dtype == np.uint8:
        return images * np.float32(1 / 255)
    return np.asarray(images, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their targets.

    NumPy arrays, lists, PyTorch tensors, sparse matrices, and data frames (with nullable or Arrow
    columns too) are taken.

    Parameters
    ----------
    images : array (n, rows, columns, channels) or (n, features)
        Kept as ``uint8``, or made ``float32``. Read-only afterwards.
    labels : array (n,) of integers, or (n,) or (n, k) of other numbers
        Class labels; or targets of a regression, kept as ``float32`` (n, k).

    Raises
    ------
    DataError
        There is no example, not one target for each, an array that does not hold numbers, or NaN or
        infinity among them.

    Examples
    --------
    >>> split = Split([[0.0, 1.0], [2.0, 3.0]], [0, 1])
    >>> split.images.dtype.name, split.labels.dtype.name, len(split)
    ('float32', 'int64', 2)
    """

    images: NDArray[Any]
    labels: NDArray[Any]

    def __post_init__(self) -> None:
        images = checks.array("the array of examples", self.images, DataError)
        labels = _targets(self.labels)
        if images.ndim == 0 or len(images) != len(labels):
            n = 0 if images.ndim == 0 else len(images)
            raise DataError(
                f"there are {n} images but {len(labels)} labels; every image needs one label"
            )
        if len(labels) == 0:
            raise DataError("the data holds no example; at least one is needed")
        if images.dtype != np.uint8:
            images = _as_float32("examples", images)
        object.__setattr__(self, "images", _read_only(images))
        object.__setattr__(self, "labels", _read_only(labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Split of {len(self)} examples of shape {self.example_shape}>"

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example: (rows, columns, channels) or (features,)."""
        return tuple(self.images.shape[1:])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples of one problem.

    Parameters
    ----------
    name : str
        What the data are, for records and titles.
    train, test : Split
        Examples of the same shape.
    n_classes : int or None
        Labels are 0 ... n_classes - 1. None for a regression.

    Raises
    ------
    DataError
        A label outside the classes, or test examples of another shape.

    Examples
    --------
    >>> import numpy as np
    >>> split = Split(np.zeros((2, 4), np.float32), np.array([0, 1]))
    >>> Dataset("tiny", split, split, n_classes=2).example_shape
    (4,)
    """

    name: str
    train: Split
    test: Split
    n_classes: int | None

    def __post_init__(self) -> None:
        if self.train.example_shape != self.test.example_shape:
            raise DataError(
                f"{self.name}: test examples have shape {self.test.example_shape} but training "
                f"examples {self.train.example_shape}; both must be the same"
            )
        for which, split in (("training", self.train), ("test", self.test)):
            if self.n_classes is not None:
                self._check_labels(which, split.labels, self.n_classes)
            elif split.labels.ndim == 1:
                raise DataError(
                    f"{self.name}: the {which} targets are integers; give n_classes, or, for a "
                    "regression, floating-point targets"
                )
        if self.train.labels.shape[1:] != self.test.labels.shape[1:]:
            raise DataError(
                f"{self.name}: test targets have shape {self.test.labels.shape[1:]} but training "
                f"targets {self.train.labels.shape[1:]}; both must be the same"
            )

    def _check_labels(self, which: str, labels: NDArray[Any], n_classes: int) -> None:
        if labels.ndim != 1:
            raise DataError(
                f"{self.name}: the {which} labels are not integers; classes are numbered from 0"
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= n_classes:
            raise DataError(
                f"{self.name}: a {which} label is {low if low < 0 else high}, outside the classes "
                f"0 to {n_classes - 1}"
            )

    @classmethod
    def from_arrays(
        cls,
        x_train: ArrayLike,
        y_train: ArrayLike,
        x_test: ArrayLike,
        y_test: ArrayLike,
        name: str | None = None,
        n_classes: int | None = None,
    ) -> Dataset:
        """A data set from four arrays; :class:`Split` says what counts as an array.

        Parameters
        ----------
        x_train, x_test : array (n, rows, columns, channels) or (n, features)
            ``uint8`` is scaled from 0..255 to 0..1 on the way to a network, nothing else is.
        y_train, y_test : array (n,) or (n, k)
            Integer class labels from 0, or floating-point targets of a regression.
        name : str, optional
            By default "data" and the first eight digits of the fingerprint.
        n_classes : int, optional
            By default one more than the largest label.

        Raises
        ------
        DataError
            As :class:`Split` and :class:`Dataset`.

        Examples
        --------
        >>> import numpy as np
        >>> x, y = np.eye(4), np.array([0, 1, 1, 2])
        >>> Dataset.from_arrays(x[:3], y[:3], x[3:], y[3:], name="corners").n_classes
        3
        """
        train, test = Split(x_train, y_train), Split(x_test, y_test)  # type: ignore[arg-type]
        if n_classes is None and train.labels.ndim == test.labels.ndim == 1:
            n_classes = 1 + max(int(train.labels.max()), int(test.labels.max()))
        found = cls(name or "data", train, test, n_classes)
        return found if name else replace(found, name=f"data {found.fingerprint()[:8]}")

    def __repr__(self) -> str:
        kind = (
            f"{self.n_outputs} targets" if self.n_classes is None else f"{self.n_classes} classes"
        )
        return (
            f"<Dataset {self.name}: {len(self.train)} training and {len(self.test)} test examples "
            f"of shape {self.example_shape}, {kind}>"
        )

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.train.example_shape

    @property
    def n_outputs(self) -> int:
        """Numbers that a network must give for an example: class scores, or a target's length."""
        return self.train.labels.shape[1] if self.n_classes is None else self.n_classes

    def fingerprint(self) -> str:
        """Hash of all examples and targets, 32 hexadecimal digits.

        It depends on the data, not on their name, and on whether the examples are images or
        vectors.

        Examples
        --------
        >>> one = Dataset.from_arrays([[0.0]], [0], [[1.0]], [1])
        >>> other = Dataset.from_arrays([[0.0]], [1], [[1.0]], [1])
        >>> one.fingerprint() == other.fingerprint()
        False
        """
        digest = hashlib.blake2b(digest_size=16)
        for split in (self.train, self.test):
            for array in (split.images, split.labels):
                digest.update(f"{array.dtype} {len(array)} {array.size} ".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def record(self) -> dict[str, Any]:
        """Name, fingerprint, sizes and shape as plain JSON values, for records and checkpoints.

        Examples
        --------
        >>> Dataset.from_arrays([[0.5]], [0], [[1.0]], [1], name="tiny").record()["shape"]
        [1]
        """
        return {
            "name": self.name,
            "fingerprint": self.fingerprint(),
            "train": len(self.train),
            "test": len(self.test),
            "shape": list(self.example_shape),
        }

    def as_vectors(self) -> Dataset:
        """The same examples with shape (n, features), as a dense network reads them.

        Examples
        --------
        >>> import numpy as np
        >>> split = Split(np.zeros((2, 3, 3, 1), np.float32), np.array([0, 1]))
        >>> Dataset("tiny", split, split, n_classes=2).as_vectors().example_shape
        (9,)
        """

        def flat(split: Split) -> Split:
            return Split(split.images.reshape(len(split), -1), split.labels)

        return replace(self, train=flat(self.train), test=flat(self.test))


def _targets(values: Any) -> NDArray[Any]:
    """Class labels (n,) int64, or targets of a regression (n, k) float32."""
    found = checks.array("the array of labels", values, DataError)
    # A nullable column of integers becomes an object array in NumPy; it counts as integers here.
    whole = getattr(getattr(values, "dtype", None), "kind", found.dtype.kind) in "iu"
    if found.ndim == 2 and found.shape[1] == 1 and (whole or found.dtype.kind in "iu"):
        found = found[:, 0]
    if found.dtype.kind in "iu" or whole:
        if found.ndim != 1:
            raise DataError(
                f"class labels are one integer for each example, not an array of shape {found.shape}"
            )
        return found.astype(np.int64)
    if found.ndim not in (1, 2):
        raise DataError(f"targets are an array (n,) or (n, k), not one of shape {found.shape}")
    return _as_float32("targets", found.reshape(len(found), -1))


def _as_float32(what: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """In single precision, all finite."""
    with np.errstate(over="ignore"):
        found = np.asarray(values, dtype=np.float32)
    finite = np.isfinite(found)
    if not finite.all():
        place = np.unravel_index(int(np.argmin(finite)), found.shape)
        value = values[place]
        raise DataError(
            f"the {what} must be finite numbers in single precision, but number "
            f"{int(place[0])} (from 0) holds {value:g}"
        )
    return found


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to; the caller's own array is left as it is."""
    view = array.view()
    view.flags.writeable = False
    return view
