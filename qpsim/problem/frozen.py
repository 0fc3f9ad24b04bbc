"""Base class of objects that cannot be changed after they are made, so that cached results stay valid."""

from __future__ import annotations

from typing import Any

import numpy as np

from qpsim.problem.matrices import frozen


class Frozen:
    """A class whose attributes are set once, in its constructor, and whose arrays are read-only.

    An attribute whose name begins with an underscore may be set once; others cannot be set.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") and name not in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(
                f"A {type(self).__name__} is frozen; {name} cannot be set, make a new one."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Neither pickle nor copy keeps an array's read-only flag.
        for value in state.values():
            if isinstance(value, np.ndarray):
                frozen(value)
        self.__dict__.update(state)
