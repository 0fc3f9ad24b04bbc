"""What can be wrong with a user's input, as exceptions whose message is one clear sentence.

Every one of them is a ``ValueError``, so that code which knows nothing of qpsim can catch them;
the command line prints the sentence and exits with code 2.
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
    """Workers that cannot be had or have died."""


class WorkerLost(ExecutionError):
    """A worker process died whenever it was given a certain task, even with no other beside it."""


class ForeignWorker(ExecutionError):
    """A worker that runs another qpsim than the program that uses it."""


class FileError(QpsimError):
    """A file that is missing, truncated or not one of ours, or a place that is not writable."""


class SpecError(QpsimError):
    """An experiment file with an unknown key, a missing key or a value of the wrong type."""


class SweepError(QpsimError):
    """A sweep whose store is busy or another's."""


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
    """A statement or topic that nobody can verify."""


class ConformanceError(QpsimError):
    """Something that is no optimizer, or one that cannot be given a stream of gradients."""


class TheoryError(QpsimError):
    """An argument outside a formula's domain, or a quantity that has no closed form here."""


class DivergenceWarning(RuntimeWarning):
    """A simulated run or an exact risk left the finite numbers: its step size is too large."""


class ArtefactWarning(RuntimeWarning):
    """A setting for which the result says something about the setting, not about the method."""


class StoreWarning(UserWarning):
    """A sweep's store that works, but not with all that it promises elsewhere."""


class RenamedWarning(FutureWarning):
    """A name that was replaced, and that is still understood in this version."""


class PrecisionWarning(RuntimeWarning):
    """A result that is known less precisely than was asked; it says how precisely."""


class InfiniteVarianceWarning(RuntimeWarning):
    """A step is 0 because the noise has no variance: gradients of heavy tails, and a method linear in them."""


def nearest(name: str, known: Iterable[str]) -> str:
    """End of an error sentence: the nearest known name, or all of them.

    >>> nearest("adma", ["adam", "sgd"])
    "did you mean 'adam'?"
    >>> nearest("xyz", ["adam", "sgd"])
    'known are: adam, sgd.'
    """
    known = list(known)
    close = get_close_matches(name, known, n=5, cutoff=0.5)
    # Letters in another order are the commonest slip.
    close.sort(key=lambda one: sorted(one) != sorted(name))
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}."


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its text, without a mark at its end."""
    lines = str(error).strip().splitlines()
    text = lines[0].rstrip(" .:;,") if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
