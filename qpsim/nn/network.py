"""A network: layers in a row, one flat parameter vector, and what an optimizer asks of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qpsim import checks
from qpsim.errors import NetworkError
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.cores import worker_count
from qpsim.nn.assembly import assemble
from qpsim.nn.execution import Plan
from qpsim.nn.layers import Dropout, Field, Layer
from qpsim.nn.losses import Loss, filling, find_loss, softmax_cross_entropy
from qpsim.nn.memory import aligned_zeros
from qpsim.nn.weights import read_weights, write_weights
from qpsim.nn.workspace import Request

_PREDICTED_AT_ONCE = 256


class PerExampleMoments(NamedTuple):
    """What `Network.per_example_moments` returns, all about the data loss, without L2.

    Attributes
    ----------
    loss : float
        Mean loss.
    gradient : array (P,)
        Its gradient, (1/B) sum_k g_k.
    sum_of_squares : array (P,)
        sum_k g_k^2, with g_k the gradient of example k's own loss (not divided by B).
    """

    loss: float
    gradient: np.ndarray
    sum_of_squares: np.ndarray


class Fit(NamedTuple):
    """How well a batch was fitted: its mean loss, without L2, and accuracy.

    The accuracy is the share of examples whose largest output is the one of the label; NaN where
    targets are no labels.
    """

    loss: float
    accuracy: float


class Network:
    """Layers in a row with a loss on top.

    The objective is the mean loss of the batch plus ``weight_decay / 2`` times the sum of squares
    of all weights (not the biases).

    Parameters
    ----------
    layers : sequence of Layer
        From input to outputs. The network binds copies; the same layers can make another network.
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
        Let float32 convolutions of 3 x 3 and stride 1 use Winograd's algorithm where it is faster,
        by a factor of about two, with rounding errors some five times larger (2e-6 of the result's
        spread). float64 never does.

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
    One network serves one thread at a time. Its working memory is made at the first step and kept.

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
            self.layers, self.input_shape, self.dtype, np.random.default_rng(rng), self.fast,
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
        """Parts of the vector that the L2 term includes."""
        return self._parts.decaying

    @property
    def dropouts(self) -> list[tuple[Dropout, Field]]:
        """Its dropout layers in their order, each with the field that it works on."""
        return [
            (stage.layer, self._parts.fields[stage.source])
            for stage in self._parts.stages
            if isinstance(stage.layer, Dropout)
        ]

    @property
    def n_outputs(self) -> int:
        """Numbers that it gives for an example: scores of the classes, or a target's length."""
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

    def loss_and_gradient(
        self,
        x: np.ndarray,
        y: np.ndarray,
        rng: np.random.Generator | None = None,
        train: bool = True,
        out: np.ndarray | None = None,
    ) -> tuple[float, np.ndarray]:
        """The objective on a batch, L2 included, and its gradient.

        Parameters
        ----------
        x : array (B, *input_shape)
        y : array (B,) of integers, or (B, ...) of numbers
            Labels from 0 to n_outputs - 1; or what else the loss compares outputs with.
        rng : Generator, optional
            Where dropout comes from: one number is drawn per call if the network drops anything.
        train : bool, default True
            False leaves dropout out.
        out : array (P,), optional
            Receives the gradient.

        Returns
        -------
        loss : float
        gradient : array (P,)

        Raises
        ------
        NetworkError
            Shapes or labels that do not fit, or dropout without ``rng``.

        Examples
        --------
        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), rng=0)
        >>> loss, gradient = network.loss_and_gradient(np.eye(3), [0, 1, 1])
        >>> loss > 0, gradient.shape
        (True, (8,))
        """
        return self._differentiate(x, y, rng, train, out, None, self.weight_decay)

    def per_example_moments(
        self,
        x: np.ndarray,
        y: np.ndarray,
        rng: np.random.Generator | None = None,
        train: bool = True,
        out: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> PerExampleMoments:
        """Mean and sum of squares of the per-example gradients of the data loss, without L2.

        Never holds the B x P gradients. `minibatch_variance` makes the paper's Eq. 44 of it, in
        its unbiased form; `add_weight_decay` adds what is missing to the objective's gradient.

        Parameters
        ----------
        x, y, rng, train
            As for `loss_and_gradient`.
        out : two arrays (P,), optional
            Receive gradient and sum of squares.

        Returns
        -------
        PerExampleMoments

        Raises
        ------
        NetworkError
            As `loss_and_gradient`.

        Examples
        --------
        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), rng=0)
        >>> x, y = np.eye(3), [0, 1, 1]
        >>> moments = network.per_example_moments(x, y)
        >>> single = [network.per_example_moments(x[k:k+1], y[k:k+1]).gradient for k in range(3)]
        >>> bool(np.allclose(moments.sum_of_squares, np.square(single).sum(axis=0)))
        True
        >>> bool(np.allclose(moments.gradient, np.mean(single, axis=0)))
        True
        """
        squares = aligned_zeros(self._parameters.size, self.dtype) if out is None else out[1]
        loss, gradient = self._differentiate(x, y, rng, train, out and out[0], squares, 0.0)
        return PerExampleMoments(loss, gradient, squares)

    def add_weight_decay(self, gradient: np.ndarray) -> float:
        """Add the L2 term's gradient, in place, and return the L2 term.

        Examples
        --------
        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), weight_decay=0.1, rng=0)
        >>> network.parameters = np.ones(8)
        >>> gradient = np.zeros(8)
        >>> round(network.add_weight_decay(gradient), 3), gradient.round(3).tolist()
        (0.3, [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0, 0.0])
        """
        if self.weight_decay == 0:
            return 0.0
        total = 0.0
        for part in self._parts.decaying:
            weight = self._parameters[part]
            total += float(np.dot(weight, weight))
            gradient[part] += self.dtype.type(self.weight_decay) * weight
        return 0.5 * self.weight_decay * total

    def hessian_vector_product(
        self,
        x: np.ndarray,
        y: np.ndarray,
        v: np.ndarray,
        rng: np.random.Generator | None = None,
        train: bool = True,
    ) -> np.ndarray:
        """The Hessian of the objective on a batch, L2 included, times a vector: exact to rounding.

        Parameters
        ----------
        x, y, rng, train
            As for `loss_and_gradient`; generators of the same state drop the same.
        v : array (P,) or (P, k)
            One vector, or k of them as columns.

        Returns
        -------
        array (P,) or (P, k)

        Raises
        ------
        NetworkError
            As `loss_and_gradient`; or a layer or loss that is none of the package's.

        Examples
        --------
        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), dtype=np.float64, rng=0)
        >>> x, y, v = np.eye(3), [0, 1, 1], np.linspace(0, 1, 8)
        >>> product = network.hessian_vector_product(x, y, v)
        >>> before = network.loss_and_gradient(x, y)[1]
        >>> network.parameters += 1e-6 * v
        >>> bool(np.allclose((network.loss_and_gradient(x, y)[1] - before) / 1e-6, product, 1e-4))
        True
        """
        from qpsim.nn.curvature import hessian_vector_product

        x = self._checked_examples(x)
        targets = self._checked_targets(y, len(x))
        return hessian_vector_product(self, x, targets, v, self._dropout_key(rng, train))

    def hessian(
        self,
        x: np.ndarray,
        y: np.ndarray,
        rng: np.random.Generator | None = None,
        train: bool = True,
    ) -> np.ndarray:
        """The whole Hessian (P, P) of the objective on a batch, for networks of at most 5000 parameters.

        Parameters
        ----------
        x, y, rng, train
            As for `loss_and_gradient`.

        Raises
        ------
        NetworkError
            As `hessian_vector_product`; or too many parameters.

        Examples
        --------
        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), weight_decay=0.1, rng=0)
        >>> matrix = network.hessian(np.eye(3), [0, 1, 1])
        >>> matrix.shape, bool(np.linalg.eigvalsh(matrix).min() > -1e-6)
        ((8, 8), True)
        """
        from qpsim.nn.curvature import hessian

        x = self._checked_examples(x)
        targets = self._checked_targets(y, len(x))
        return hessian(self, x, targets, self._dropout_key(rng, train))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The outputs (B, n_outputs), nothing dropped; of class scores the argmax is the class.

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
        """Mean data loss (without L2) and accuracy, nothing dropped; `Fit` says what accuracy is.

        Examples
        --------
        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), rng=0)
        >>> loss, accuracy = network.evaluate(np.eye(3), [0, 1, 1])
        >>> 0 <= accuracy <= 1
        True
        """
        outputs = self.predict(x)
        targets = self._checked_targets(y, len(outputs))
        with np.errstate(over="ignore", invalid="ignore"):
            losses = self._loss_of(outputs, targets)
        return float(losses.mean()), _accuracy(outputs, targets)

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
        """Take the parameters of a file that `save` wrote for a network of the same layers.

        Raises
        ------
        FileError
            The file is missing or damaged, or holds the parameters of other layers.
        """
        read_weights(path, self._parts.views)

    def _differentiate(
        self,
        x: np.ndarray,
        y: np.ndarray,
        rng: np.random.Generator | None,
        train: bool,
        out: np.ndarray | None,
        squares: np.ndarray | None,
        weight_decay: float,
    ) -> tuple[float, np.ndarray]:
        x = self._checked_examples(x)
        targets = self._checked_targets(y, len(x))
        gradient = aligned_zeros(self._parameters.size, self.dtype) if out is None else out
        for vector in (gradient, squares):
            if vector is not None and (
                vector.shape != self._parameters.shape
                or vector.dtype != self.dtype
                or not vector.flags.c_contiguous
            ):
                raise NetworkError(
                    f"out must be contiguous {self.dtype} of shape {self._parameters.shape}, not "
                    f"{vector.dtype} of shape {vector.shape}"
                )
        key = self._dropout_key(rng, train)
        request = Request(x, targets, key, weight_decay, gradient, squares)
        # In a run that diverges numbers overflow, which the caller sees in the loss.
        with (
            one_blas_thread(load_scipy=False),
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            plan = self._plan(True, len(x))
            loss, penalty = plan.backward(request)
        self.last_fit = Fit(loss, _accuracy(plan.outputs[: len(x)], targets))
        return loss + penalty, gradient

    def _dropout_key(self, rng: np.random.Generator | None, train: bool) -> int | None:
        drops = any(isinstance(layer, Dropout) and layer.rate > 0 for layer in self.layers)
        if not (train and drops):
            return None
        if rng is None:
            raise NetworkError("this network has dropout: training needs rng, a numpy Generator")
        return int(np.random.default_rng(rng).integers(2**64, dtype=np.uint64))

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
        x = checks.array("x", x, NetworkError)
        if x.shape[1:] != self.input_shape or x.ndim == 0 or len(x) == 0:
            sizes = ", ".join(map(str, self.input_shape))
            raise NetworkError(f"x must be (B, {sizes}) with B >= 1, not {x.shape}")
        return x

    def _checked_targets(self, y: np.ndarray, examples: int) -> np.ndarray:
        y = checks.array("y", y, NetworkError)
        if self.has_own_loss:
            if y.shape[:1] != (examples,):
                raise NetworkError(f"y must be {examples} targets, not of shape {y.shape}")
            return y
        if y.shape != (examples,) or y.dtype.kind not in "iu":
            raise NetworkError(
                f"y must be {examples} integer labels, not {y.dtype} of shape {y.shape}"
            )
        if y.min() < 0 or y.max() >= self.n_outputs:
            raise NetworkError(
                f"labels must lie in 0..{self.n_outputs - 1}, not in {y.min()}..{y.max()}"
            )
        return y

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


def _accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        return float("nan")
    return float((outputs.argmax(axis=1) == targets).mean())
