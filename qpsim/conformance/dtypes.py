"""The four types of numbers in which optimizers are tested, with their rounding errors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Precision(NamedTuple):
    """Unit roundoff of a type, its smallest positive and its largest number, and what its scalars round to.

    Hyper-parameters and bias corrections are Python's doubles in some programs, and in others single
    precision even where parameters are halves.
    """

    roundoff: float
    smallest: float
    scalar_roundoff: float
    underflow: float
    largest: float


PRECISIONS = {
    "float64": Precision(2.0**-53, 2.0**-1074, 2.0**-53, 2.0**-1058, (2.0 - 2.0**-52) * 2.0**1023),
    "float32": Precision(2.0**-24, 2.0**-149, 2.0**-24, 2.0**-133, (2.0 - 2.0**-23) * 2.0**127),
    "float16": Precision(2.0**-11, 2.0**-24, 2.0**-24, 2.0**-20, 65504.0),
    "bfloat16": Precision(2.0**-8, 2.0**-133, 2.0**-24, 2.0**-117, (2.0 - 2.0**-7) * 2.0**127),
}


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """The nearest numbers that the type has, as float64.

    >>> import numpy as np
    >>> rounded(np.array([1.005]), "bfloat16"), rounded(np.array([1.005]), "float16")
    (array([1.0078125]), array([1.00488281]))
    """
    values = np.array(values, np.float64)
    # What is beyond the type is infinite there, whatever NumPy is told to do about it.
    with np.errstate(all="ignore"):
        return _rounded(values, dtype)


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        bits = values.astype(np.float32).view(np.uint32)
        kept = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(
            0xFFFF0000
        )
        return kept.view(np.float32).astype(np.float64)
    return values.astype(dtype).astype(np.float64)
