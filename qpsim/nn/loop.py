"""The loop of a training run: steps, and evaluations on the test set.

All random numbers come from streams that are functions of the seed and a counter: the initial
parameters, the data order with its augmentation, and dropout. Runs with equal seeds have equal
streams, so that methods can be compared seed by seed.
"""

from __future__ import annotations

import math

import numpy as np

from qpsim.errors import TrainingError
from qpsim.nn.build import build_network
from qpsim.nn.data import Dataset, Stream
from qpsim.nn.optimizer import Optimizer
from qpsim.nn.run import History, Run

__all__ = ["LARGEST_LOSS", "Loop"]

# No run recovers from a cross-entropy this large; that of guessing is log(n_classes).
LARGEST_LOSS = 1e4
_PARAMETERS, _DATA, _DROPOUT = range(3)


class Loop:
    """The changing state of a run.

    A run has diverged when a batch loss is NaN or larger than `LARGEST_LOSS`; for other losses than
    the cross-entropy, larger than that multiple of the untrained network's loss.

    Parameters
    ----------
    run : Run
    dataset : Dataset
    workers : int or None
        Threads of the network; None means one per core.

    Raises
    ------
    TrainingError, NetworkError, DataError
        The network, the data and the run do not fit together.
    """

    def __init__(self, run: Run, dataset: Dataset, workers: int | None = None) -> None:
        self.run = run
        self.dataset = run.task.prepared(dataset)
        stream = Stream(run.seed)
        self.network = build_network(
            run.task,
            self.dataset,
            rng=stream.child(_PARAMETERS).at(0),
            dtype=np.dtype(run.dtype),
            workers=workers,
        )
        self.optimizer = Optimizer(self.network, run.method)
        self.batches = run.task.batches(self.dataset.train, rng=stream.child(_DATA))
        self.dropout = stream.child(_DROPOUT)
        self.history = History()

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the run has diverged."""
        diverged = self.history.diverged_at is not None
        return diverged or self.batches.step >= self.run.task.n_steps

    @property
    def largest_loss(self) -> float:
        """The batch loss above which the run has diverged."""
        if not self.network.has_own_loss:
            return LARGEST_LOSS
        return LARGEST_LOSS * max(abs(self.history.test_loss[0]), 1.0)

    def advance(self) -> float:
        """Take one step. Returns its batch loss.

        Raises
        ------
        TrainingError
            The untrained network's loss is not finite.
        """
        history, task = self.history, self.run.task
        if not history.evaluated:
            self._evaluate()
            if not math.isfinite(history.test_loss[0]):
                raise TrainingError(
                    f"the loss of the untrained network on the test set of {self.dataset.name} is "
                    f"{history.test_loss[0]}; look at the scale of the examples, the transform, "
                    "the loss and the initial weights"
                )
        step = self.batches.step + 1
        step_size = self.run.step_size * task.step_factor(step)
        x, y = next(self.batches)
        fit = self.optimizer.step(x, y, step_size, self.dropout.at(step))
        history.batch_loss.append(fit.loss if not math.isnan(fit.loss) else math.inf)
        history.batch_accuracy.append(fit.accuracy)
        if not fit.loss <= self.largest_loss:
            history.diverged_at = step
        elif step % task.evaluate_every == 0 or step == task.n_steps:
            self._evaluate()
        return fit.loss

    def _evaluate(self) -> None:
        n, loss, hits = len(self.dataset.test), 0.0, 0.0
        for x, y in self.run.task.evaluation_batches(self.dataset.test):
            mean_loss, accuracy = self.network.evaluate(x, y)
            loss += mean_loss * len(y)
            hits += accuracy * len(y)
        self.history.evaluated.append(self.batches.step)
        self.history.test_loss.append(loss / n if math.isfinite(loss) else math.inf)
        self.history.test_accuracy.append(hits / n)
