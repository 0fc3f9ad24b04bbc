"""Exceptions for mistakes in a user's input; the message is one sentence. Also the warnings.

All derive from ``ValueError``, so that other code can catch them without importing qpsim. The command line prints the
sentence and exits with code 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class QpsimError(ValueError):
    """The root of every error that qpsim raises for a user's input."""


class ProblemError(QpsimError):
    """A Hessian, optimum, noise level, spectrum or basis that defines no quadratic problem."""


class MethodError(QpsimError):
    """An unknown method, a hyper-parameter out of its range, or a rule that does not work."""


class StepSizeError(QpsimError):
    """A step-size policy that is unknown, not finite, or not available for the method."""


class SimulationError(QpsimError):
    """Steps, replicates, starting points, workers or records that cannot be simulated."""


class ExecutionError(QpsimError):
    """Workers that cannot be started or have died."""


class WorkerLost(ExecutionError):
    """A worker process died of one certain task, also when no other task was running."""


class ForeignWorker(ExecutionError):
    """A worker runs another version of qpsim than the program that uses it."""


class FileError(QpsimError):
    """A file that is missing, truncated or not one of ours, or a place that is not writable."""


class SpecError(QpsimError):
    """An experiment file with an unknown key, a missing key or a value of the wrong type."""


class SweepError(QpsimError):
    """A sweep whose store is in use, or belongs to another sweep."""


class DataError(QpsimError):
    """A data set whose files are missing, truncated or not in the format they claim."""


class NetworkError(QpsimError):
    """Layers that make no network, or parameters, inputs or labels that do not fit one."""


class TrainingError(QpsimError):
    """A training or tuning run whose steps, step size, schedule or workers make no sense."""


class MeasureError(QpsimError):
    """Gradients, Hessian-vector products or a loss from which nothing can be measured."""


class FigureError(QpsimError):
    """An unknown figure, output format or figure option, or a value it cannot take."""


class VerdictError(QpsimError):
    """An unknown statement or topic."""


class ConformanceError(QpsimError):
    """Something that is not an optimizer, or an optimizer that cannot be run on a stream of gradients."""


class TheoryError(QpsimError):
    """An argument outside a formula's domain, or a quantity that has no closed form here."""


class DivergenceWarning(RuntimeWarning):
    """A simulated run or an exact risk became infinite or NaN: its step size is too large."""


class ArtefactWarning(RuntimeWarning):
    """A special setting that decides the result, so that it says little about the method."""


class StoreWarning(UserWarning):
    """A sweep's store on a file system that lacks something, such as locks."""


class RenamedWarning(FutureWarning):
    """An old name that was replaced, and that this version still accepts."""


class PrecisionWarning(RuntimeWarning):
    """A result is less precise than was asked for; the message says how precise it is."""


class InfiniteVarianceWarning(RuntimeWarning):
    """A step is 0 because the noise's variance is infinite (heavy tails) and the method is linear in the gradient."""


def nearest(name: str, known: Iterable[str]) -> str:
    """End of an error sentence: the nearest known name, or all of them.

    >>> nearest("adma", ["adam", "sgd"])
    "did you mean 'adam'?"
    >>> nearest("xyz", ["adam", "sgd"])
    'known are: adam, sgd.'
    """
    known = list(known)
    close = get_close_matches(name, known, n=5, cutoff=0.5)
    # Names with the same letters in another order come first: that is the most common mistake.
    close.sort(key=lambda one: sorted(one) != sorted(name))
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}."


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its text, without its final full stop."""
    lines = str(error).strip().splitlines()
    text = lines[0].rstrip(" .:;,") if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
