"""Conversion of Python values to values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Numbers, texts, lists and dicts that stand for a value; None for a number that is not finite.

    Parameters
    ----------
    value
        Any nesting of dataclasses, named tuples, mappings, sequences, arrays and numbers. Anything else is kept as it
        is.

    Examples
    --------
    >>> import numpy as np
    >>> plain({"a": np.array([1.0, np.inf]), "b": (np.int64(2), "text")})
    {'a': [1.0, None], 'b': [2, 'text']}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
