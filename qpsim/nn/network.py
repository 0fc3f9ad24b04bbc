"""``Network``: a sequence of layers with a loss, and one flat vector of parameters."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import checks, seeds
from qpsim.errors import NetworkError
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.cores import worker_count
from qpsim.nn.assembly import assemble
from qpsim.nn.derivatives import Differentiable
from qpsim.nn.examples import Fit, accuracy, checked_examples, checked_targets
from qpsim.nn.execution import Plan
from qpsim.nn.layers import Dropout, Field, Layer
from qpsim.nn.losses import Loss, filling, find_loss, softmax_cross_entropy
from qpsim.nn.weights import read_weights, write_weights

_PREDICTED_AT_ONCE = 256


class Network(Differentiable):
    """A sequence of layers, followed by a loss.

    The objective is the mean loss of the batch plus ``weight_decay / 2`` times the sum of squares
    of all weights (not the biases).

    Parameters
    ----------
    layers : sequence of Layer
        From input to outputs. The network uses copies, so that the same layers can be used for
        other networks.
    input_shape : tuple of int
        Of one example: (features,) or (height, width, channels).
    weight_decay : float, default 0
        The L2 factor.
    loss : "cross-entropy", "squared-error" or callable, default "cross-entropy"
        The softmax cross-entropy of class scores and labels; half the squared distance from
        targets; or a function ``(outputs (n, k), targets) -> (losses (n,), gradients (n, k))`` of
        each example's loss and its gradient by the outputs.
    dtype : numpy.float32 (default) or numpy.float64
    rng : seed or Generator
        Of the initial parameters.
    workers : int or None
        Threads; None means one per available core. The results do not depend on it.
    fast : bool, default True
        Whether float32 convolutions of 3 x 3 and stride 1 use Winograd's algorithm where it is
        faster. It is about twice as fast, with rounding errors about five times larger (2e-6 of the
        result's standard deviation). float64 never uses it.

    Attributes
    ----------
    last_fit : Fit
        Of the last batch that a gradient was computed for.

    Raises
    ------
    NetworkError
        Layers that do not fit together, or an option that makes no sense.

    Notes
    -----
    A network must be used by one thread at a time. Its working memory is allocated at the first
    step and kept.

    Examples
    --------
    >>> from qpsim.nn import Dense, Network, ReLU
    >>> network = Network([Dense(8), ReLU(), Dense(3)], input_shape=(4,), rng=0)
    >>> network.parameters.shape, list(network.views)[:2]
    ((67,), ['dense1.weight', 'dense1.bias'])
    >>> loss, gradient = network.loss_and_gradient(np.ones((5, 4)), [0, 1, 2, 0, 1])
    >>> gradient.shape
    (67,)
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: tuple[int, ...],
        *,
        weight_decay: float = 0.0,
        loss: str | Loss = "cross-entropy",
        dtype: Any = np.float32,
        rng: Any = None,
        workers: int | None = None,
        fast: bool = True,
    ) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise NetworkError(f"a network's dtype is float32 or float64, not {self.dtype}")
        self.weight_decay = checks.number("weight_decay", weight_decay, NetworkError, "[0, inf)")
        self.workers = worker_count(workers)
        self.fast = bool(fast)
        self.layers = tuple(layers)
        self.input_shape = tuple(
            checks.count("a size in input_shape", size, NetworkError) for size in input_shape
        )
        self.loss = loss
        own = find_loss(loss)
        self._loss_of = softmax_cross_entropy if own is None else filling(own)
        self._parts = assemble(
            self.layers, self.input_shape, self.dtype, seeds.generator(rng), self.fast,
            fewest_outputs=1 if self.has_own_loss else 2,
        )  # fmt: skip
        self._parameters = self._parts.parameters
        self._plans: dict[bool, Plan] = {}
        self.last_fit = Fit(float("nan"), float("nan"))

    @property
    def has_own_loss(self) -> bool:
        """Whether the loss is another one than the cross-entropy of class scores."""
        return self._loss_of is not softmax_cross_entropy

    @property
    def parameters(self) -> np.ndarray:
        """All parameters as one contiguous vector (P,), aligned to 64 bytes.

        Changing it in place, or assigning to it, changes the network.
        """
        return self._parameters

    @parameters.setter
    def parameters(self, values: np.ndarray) -> None:
        given = checks.array("parameters", values, NetworkError)
        if given.shape != self._parameters.shape:
            raise NetworkError(
                f"this network has parameters of shape {self._parameters.shape}, not {given.shape}"
            )
        self._parameters[:] = given

    @property
    def views(self) -> Mapping[str, np.ndarray]:
        """The named arrays inside the vector, such as ``conv1.weight`` and ``dense2.bias``."""
        return self._parts.views

    @property
    def decaying(self) -> Sequence[slice]:
        """Parts of the vector that are in the L2 term."""
        return self._parts.decaying

    @property
    def dropouts(self) -> list[tuple[Dropout, Field]]:
        """Its dropout layers in order, each with its field."""
        return [
            (stage.layer, self._parts.fields[stage.source])
            for stage in self._parts.stages
            if isinstance(stage.layer, Dropout)
        ]

    @property
    def n_outputs(self) -> int:
        """Number of outputs for an example: the number of classes, or the length of a target."""
        return self._parts.fields[-1].shape[0]

    def named(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """Views of any vector like `parameters`, a gradient for example, by the same names.

        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), rng=0)
        >>> network.named(network.parameters)["dense1.weight"].shape
        (3, 2)
        """
        parts: Iterator[slice] = (part for stage in self._parts.stages for part in stage.slices)
        return {
            name: vector[part].reshape(view.shape)
            for (name, view), part in zip(self._parts.views.items(), parts, strict=True)
        }

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The outputs (B, n_outputs), without dropout; the argmax of class scores is the class.

        Examples
        --------
        >>> from qpsim.nn import Dense
        >>> Network([Dense(2)], (3,), rng=0).predict(np.ones((5, 3))).shape
        (5, 2)
        """
        x = self._checked_examples(x)
        outputs = np.empty((len(x), self.n_outputs), self.dtype)
        plan = self._plan(False, min(len(x), _PREDICTED_AT_ONCE))
        with one_blas_thread(load_scipy=False), np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(x), _PREDICTED_AT_ONCE):
                part = x[start : start + _PREDICTED_AT_ONCE]
                outputs[start : start + len(part)] = plan.forward(part)
        return outputs

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Mean data loss (without L2) and accuracy (see `Fit`), without dropout.

        Examples
        --------
        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), rng=0)
        >>> loss, accuracy = network.evaluate(np.eye(3), [0, 1, 1])
        >>> 0 <= accuracy <= 1
        True
        """
        outputs = self.predict(x)
        _, targets = self._checked(x, y)
        with np.errstate(over="ignore", invalid="ignore"):
            losses = self._loss_of(outputs, targets)
        return float(losses.mean()), accuracy(outputs, targets)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the parameters, by their names, to an .npz file.

        Raises
        ------
        FileError
            The place cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from qpsim.nn import Dense
        >>> network, other = (Network([Dense(2)], (3,), rng=seed) for seed in (0, 1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     other.load(network.save(f"{folder}/weights.npz"))
        >>> bool((other.parameters == network.parameters).all())
        True
        """
        return write_weights(path, self._parts.views)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read the parameters from a file written by `save` for a network with the same layers.

        Raises
        ------
        FileError
            The file is missing or damaged, or holds the parameters of other layers.
        """
        read_weights(path, self._parts.views)

    def _plan(self, training: bool, examples: int) -> Plan:
        plan = self._plans.get(training)
        if plan is None or plan.capacity < examples:
            decaying = [(part, self._parameters[part]) for part in self._parts.decaying]
            plan = Plan(
                self._parts.stages, self._parts.fields, self.dtype, examples, training, self.workers,
                self._loss_of, decaying,
            )  # fmt: skip
            self._plans[training] = plan
        plan.workers = self.workers
        return plan

    def _checked_examples(self, x: np.ndarray) -> np.ndarray:
        return checked_examples(x, self.input_shape)

    def _checked(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self._checked_examples(x)
        return x, checked_targets(y, len(x), None if self.has_own_loss else self.n_outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "weight_decay": self.weight_decay,
            "loss": self.loss,
            "dtype": self.dtype,
            "workers": self.workers,
            "fast": self.fast,
        }
        return _restored, (self.layers, self.input_shape, options, self.parameters)


def _restored(
    layers: Sequence[Layer],
    input_shape: tuple[int, ...],
    options: dict[str, Any],
    parameters: np.ndarray,
) -> Network:
    network = Network(layers, input_shape, rng=0, **options)
    network.parameters = parameters
    return network
