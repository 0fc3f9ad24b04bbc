"""Makes a problem from the description and arrays with which it was saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qpsim.errors import ProblemError
from qpsim.problem import noise
from qpsim.problem.data import DataProblem
from qpsim.problem.least_squares import LeastSquares
from qpsim.problem.quadratic import QuadraticProblem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qpsim.problem.interface import Problem


def problem_from_dict(
    description: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]]
) -> Problem:
    """The problem described by its ``to_dict()`` and ``arrays()``; "kind" names its class.

    Raises
    ------
    ProblemError
        The kind is unknown, or the parts do not fit together.
    """
    kind = description.get("kind", "quadratic")
    if kind not in _READERS:
        raise ProblemError(f"a problem of kind {kind!r}, which this version of qpsim does not have")
    return _READERS[kind](description, arrays)


def _quadratic(
    description: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]]
) -> QuadraticProblem:
    # Files of version 0.1 have a noise level and no noise.
    described = description.get("noise")
    given = {
        name.removeprefix("noise "): array
        for name, array in arrays.items()
        if name.startswith("noise ")
    }
    chosen = (
        noise.default(description["noise_std"])
        if described is None
        else noise.from_dict(described, given)
    )
    if description["diagonal"]:
        return QuadraticProblem(arrays["hessian"], arrays["optimum"], noise=chosen)
    return QuadraticProblem.from_parts(
        arrays["hessian"], arrays["eigenvalues"], arrays["eigenvectors"], arrays["optimum"], chosen
    )


def _least_squares(
    description: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]]
) -> LeastSquares:
    made = LeastSquares(arrays["covariance"], arrays["optimum"], description["label_noise_std"])
    return made.at_batch(description["batch_size"])


def _data(description: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]]) -> DataProblem:
    held_out: Any = arrays.get("held-out rows")
    if held_out is not None and "held-out labels" in arrays:
        held_out = held_out, arrays["held-out labels"]
    return DataProblem(
        arrays["rows"],
        arrays.get("labels"),
        description["order"],
        description["drop_last"],
        hessian=arrays.get("hessian"),
        held_out=held_out,
    )


_READERS: dict[str, Any] = {"quadratic": _quadratic, "least-squares": _least_squares, "data": _data}
