"""Runs an optimizer on a stream and records its parameters, or what fails."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qpsim.conformance.adapters.subject import InPlaceSurprise, Run, Subject
from qpsim.conformance.streams import GROUPS, LAYOUTS, Stream
from qpsim.errors import ConformanceError


@dataclass(frozen=True, eq=False)
class Played:
    """Where an optimizer went on a stream.

    Attributes
    ----------
    stream : Stream
    dtype : str
    theta : ndarray, shape (n_steps + 1, n_coordinates)
    wrong : str or None
        What happened besides: a gradient changed in place, or a step that fails.
    step : int
        Where it happened, from 1.
    rate : float or None
        The step size that the optimizer says it has.
    """

    stream: Stream
    dtype: str
    theta: np.ndarray
    wrong: str | None = None
    step: int = 0
    rate: float | None = None


def why_not(subject: Subject, stream: Stream) -> str | None:
    """Why a stream cannot be given to an optimizer of this kind; None if it can."""
    if stream.dtype and stream.dtype not in subject.dtypes:
        return subject.reasons.get(stream.dtype, f"a {subject.kind} has no {stream.dtype}")
    if stream.needs and stream.needs not in subject.abilities:
        return subject.reasons.get(stream.needs, f"no {subject.kind} can be given it")
    return None


def play(subject: Subject, stream: Stream) -> Played | None:
    """Give a stream to an optimizer; None if it cannot be given to one of its kind."""
    dtype = stream.dtype or subject.dtypes[0]
    if why_not(subject, stream) is not None:
        return None
    layout = stream.needs if stream.needs in (GROUPS, LAYOUTS) else "plain"
    layout = "clone" if stream.event == "clone" else layout
    theta = [np.array(stream.theta0)]
    wrong, k, rate = None, 0, None
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # Warnings of the library are not part of the check.
        warnings.simplefilter("ignore")
        try:
            values = [
                stream.theta0[columns].reshape(shape)
                for columns, shape in zip(stream.columns, stream.shapes, strict=True)
            ]
            halves = len(values) // 2 if stream.event == "two" else len(values)
            runs = [subject.start(values[:halves], dtype, layout, stream.frozen)]
            if stream.event == "two":
                runs.append(subject.start(values[halves:], dtype, layout))
            rate = runs[0].learning_rate
            if stream.gradients.shape[0] > 1000:
                path = runs[0].follow([_row(stream, j) for j in range(stream.gradients.shape[0])])
                theta += [_flat(one) for one in path]
            else:
                for k in range(stream.gradients.shape[0]):
                    if stream.event == "save" and k == stream.gradients.shape[0] // 2:
                        runs = [run.restored(run.saved()) for run in runs]
                    rows = _row(stream, k)
                    runs[0].step(rows[:halves])
                    if stream.event == "two":
                        runs[1].step(rows[halves:])
                    theta.append(_flat([value for run in runs for value in run.values()]))
            wrong = _after(runs[0])
        except InPlaceSurprise as error:
            wrong = str(error)
        except ConformanceError as error:
            if stream.name == "normal":
                if k == 0:
                    raise
                # What fails later may depend on what happened before: say where.
                raise ConformanceError(f"At step {k + 1}: {error}") from error
            wrong = str(error)
    missing = stream.gradients.shape[0] + 1 - len(theta)
    rows = theta + [np.full_like(theta[0], np.nan)] * missing
    return Played(stream, dtype, np.array(rows), wrong, k + 1, rate)


def _after(run: Run) -> str | None:
    return (
        None if run.originals_are_untouched() else "changes the tensors that it was given copies of"
    )


def _row(stream: Stream, k: int) -> list:
    row: list = []
    for columns, shape in zip(stream.columns, stream.shapes, strict=True):
        has_none = stream.given is not None and not stream.given[k, columns].all()
        row.append(None if has_none else stream.gradients[k, columns].reshape(shape))
    return row


def _flat(values: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.asarray(value, np.float64).reshape(-1) for value in values])
