"""A data set is two splits of examples with integer labels; nothing here knows any file format.

Images are kept as they are distributed, ``uint8`` in (example, row, column, channel) order, and
become ``float32`` a batch at a time: CIFAR then takes 184 MB of memory rather than 737.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpsim.errors import DataError

__all__ = ["Dataset", "Split", "to_float"]


def to_float(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images as ``float32``; ``uint8`` ones from 0..255 to 0..1, others keep their scale.

    >>> import numpy as np
    >>> to_float(np.array([0, 51, 255], dtype=np.uint8)).tolist()
    [0.0, 0.20000001788139343, 1.0]
    """
    if images.dtype == np.uint8:
        return images * np.float32(1 / 255)
    return np.asarray(images, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their labels.

    Parameters
    ----------
    images : array (n, rows, columns, channels) or (n, features), uint8 or float32
    labels : array (n,) of integers

    Raises
    ------
    DataError
        There is no example, or not one label for each.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise DataError(
                f"there are {len(self.images)} images but {len(self.labels)} labels; "
                "every image needs one label"
            )
        if len(self.images) == 0:
            raise DataError("the data holds no example; at least one is needed")

    def __len__(self) -> int:
        return len(self.labels)

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
        What a provenance record calls it.
    train, test : Split
        Examples of the same shape.
    n_classes : int
        Labels are 0 ... n_classes - 1.

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
    n_classes: int

    def __post_init__(self) -> None:
        if self.train.example_shape != self.test.example_shape:
            raise DataError(
                f"{self.name}: test examples have shape {self.test.example_shape} but training "
                f"examples {self.train.example_shape}; both must be the same"
            )
        for which, split in (("training", self.train), ("test", self.test)):
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= self.n_classes:
                wrong = low if low < 0 else high
                raise DataError(
                    f"{self.name}: a {which} label is {wrong}, outside the classes "
                    f"0 to {self.n_classes - 1}"
                )

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.train.example_shape

    def as_vectors(self) -> Dataset:
        """The same examples with shape (n, features), as a dense network reads them.

        >>> import numpy as np
        >>> split = Split(np.zeros((2, 3, 3, 1), np.float32), np.array([0, 1]))
        >>> Dataset("tiny", split, split, n_classes=2).as_vectors().example_shape
        (9,)
        """

        def flat(split: Split) -> Split:
            return Split(split.images.reshape(len(split), -1), split.labels)

        return replace(self, train=flat(self.train), test=flat(self.test))
