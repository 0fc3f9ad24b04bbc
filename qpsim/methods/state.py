"""The class ``State``: what a method remembers between steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING

from qpsim.errors import FileError, MethodError

if TYPE_CHECKING:
    import numpy as np

_KIND = "state"


class State:
    """What a method remembers between steps: the count of steps taken and its named arrays.

    Parameters
    ----------
    t : int
        Steps taken so far; 0 before the first.
    arrays : mapping of str to ndarray
        One array per state name, all of the parameters' shape.

    Raises
    ------
    MethodError
        t is no whole number of at least 0, or the arrays are no mapping.

    Examples
    --------
    >>> import qpsim
    >>> qpsim.method("m-ssd").initial_state(3)
    State(t=0, buffer=array([0., 0., 0.]))
    """

    __slots__ = ("arrays", "t")

    def __init__(self, t: int, arrays: Mapping[str, np.ndarray]) -> None:
        import numpy as np

        try:
            self.t = index(t)
            self.arrays = {name: np.asarray(array) for name, array in dict(arrays).items()}
        except (TypeError, ValueError):
            raise MethodError(
                f"A state is a whole number of steps taken and a mapping from names to arrays, "
                f"not {t!r} and {type(arrays).__name__}."
            ) from None
        if self.t < 0:
            raise MethodError(f"A state's t counts the steps taken, so it cannot be {self.t}.")

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __repr__(self) -> str:
        fields = "".join(f", {name}={value!r}" for name, value in self.arrays.items())
        return f"State(t={self.t}{fields})"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write t and the arrays to one .npz file, atomically, so that a run can be continued later.

        Raises
        ------
        FileError
            The place cannot be written.
        """
        from qpsim.files.archive import write_arrays

        arrays = {f"state {name}": array for name, array in self.arrays.items()}
        return write_arrays(path, _KIND, {"t": self.t, "names": list(self.arrays)}, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> State:
        """Read a state that :meth:`save` wrote, bit for bit.

        Raises
        ------
        FileError
            The file is missing, damaged or no state.

        Examples
        --------
        >>> import tempfile, pathlib, qpsim
        >>> state = qpsim.State(3, {"buffer": [0.5, -1.0]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     qpsim.State.load(state.save(pathlib.Path(folder) / "state.npz"))
        State(t=3, buffer=array([ 0.5, -1. ]))
        """
        from qpsim.files.archive import read_arrays

        header, arrays = read_arrays(path, _KIND)
        try:
            return cls(header["t"], {name: arrays[f"state {name}"] for name in header["names"]})
        except (KeyError, TypeError, ValueError):
            raise FileError(f"{path} is no complete state of a method.") from None
