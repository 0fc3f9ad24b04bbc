"""A network: layers in a row, one flat parameter vector, and what an optimizer asks of them."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from qpsim.execution.blas import one_blas_thread
from qpsim.execution.cores import available_cores
from qpsim.nn.execution import Plan, Request, Stage
from qpsim.nn.layers import Conv2D, Dropout, Field, Layer
from qpsim.nn.layers.fusion import fused
from qpsim.nn.losses import softmax_cross_entropy
from qpsim.nn.memory import aligned_zeros

_PREDICTED_AT_ONCE = 256


class PerExampleMoments(NamedTuple):
    """What `Network.per_example_moments` returns, all about the data loss, without L2.

    ``loss`` is the mean loss, ``gradient`` (P,) its gradient (1/B) sum_k g_k, and
    ``sum_of_squares`` (P,) the sum over examples sum_k g_k^2, with g_k the gradient of example k's
    own loss (not divided by B).
    """

    loss: float
    gradient: np.ndarray
    sum_of_squares: np.ndarray


class Fit(NamedTuple):
    """How well a batch was fitted: its mean loss, without L2, and accuracy."""

    loss: float
    accuracy: float


class Network:
    """Layers in a row with a softmax cross-entropy on top.

    The objective is the mean loss of the batch plus ``weight_decay / 2`` times the sum of squares
    of all weights (not the biases).

    Parameters
    ----------
    layers
        From input to logits. The network binds copies; the same layers can make another network.
    input_shape
        Of one example: (features,) or (height, width, channels).
    weight_decay
        The L2 factor, 0 by default.
    dtype
        numpy.float32 (default), or numpy.float64 for checks.
    rng
        Seed or generator of the initial parameters.
    workers
        Threads; None means one per available core. The results do not depend on it.
    fast
        Let float32 convolutions of 3 x 3 and stride 1 use Winograd's algorithm where it pays: about
        twice as fast, with rounding errors some five times larger (2e-6 of the result's spread).
        float64 never does.

    Notes
    -----
    One network serves one thread at a time. Its working memory is made at the first step and kept.
    ``last_fit`` says how well the last batch was fitted that a gradient was asked for.

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
        dtype: Any = np.float32,
        rng: Any = None,
        workers: int | None = None,
        fast: bool = True,
    ) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"a network's dtype is float32 or float64, got {self.dtype}")
        if not (np.isfinite(weight_decay) and weight_decay >= 0):
            raise ValueError(f"weight_decay must be finite and not negative, got {weight_decay!r}")
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise ValueError(f"workers must be None or an integer of at least 1, got {workers!r}")
        self.weight_decay = float(weight_decay)
        self.workers = available_cores() if workers is None else workers
        self.fast = bool(fast)
        self.layers = tuple(layers)
        self.input_shape = tuple(int(size) for size in input_shape)
        self._build(np.random.default_rng(rng))
        self._plans: dict[bool, Plan] = {}
        self.last_fit = Fit(float("nan"), float("nan"))

    def _build(self, rng: np.random.Generator) -> None:
        """Lay out fields and parameters, bind copies of the layers, draw the start."""
        stages, shapes, fields = fused(self.layers), [self.input_shape], []
        for layer in stages:
            shapes.append(layer.output_shape(shapes[-1]))
        if not any(layer.parameters(s) for layer, s in zip(stages, shapes, strict=False)):
            raise ValueError("a network needs at least one layer with parameters")
        if len(shapes[-1]) != 1 or shapes[-1][0] < 2:
            raise ValueError(
                f"the last layer must give at least two class scores per example, got shape "
                f"{shapes[-1]}"
            )
        places = [0]
        for layer in stages:
            places.append(places[-1] if layer.in_place else places[-1] + 1)
        for place in range(places[-1] + 1):
            # Who reads a field decides its margin; in-place layers may change its shape (flatten).
            at = places.index(place)
            readers = [n for n in range(len(stages)) if places[n] == place]
            margins = [stages[n].margin(shapes[n]) for n in readers if stages[n].margin(shapes[n])]
            fields.append(Field(shapes[at], margins[-1] if margins else (0, 0, 0, 0)))
        specified = [layer.parameters(s) for layer, s in zip(stages, shapes, strict=False)]
        total = sum(p.size for parameters in specified for p in parameters)
        self._parameters = aligned_zeros(total, self.dtype)
        self._stages: list[Stage] = []
        self._decaying: list[slice] = []
        views: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        start = 0
        for n, (layer, parameters) in enumerate(zip(stages, specified, strict=True)):
            counts[layer.kind] = counts.get(layer.kind, 0) + 1
            parts, values = [], []
            for parameter in parameters:
                part = slice(start, start + parameter.size)
                view = self._parameters[part].reshape(parameter.shape)
                view[:] = parameter.initial(rng, parameter.shape)
                views[f"{layer.kind}{counts[layer.kind]}.{parameter.name}"] = view
                parts.append(part)
                values.append(view)
                if parameter.decays:
                    self._decaying.append(part)
                start = part.stop
            source, target = places[n], places[n + 1]
            if isinstance(layer, Conv2D):
                layer.fast = self.fast
            layer.connect(fields[source], fields[target], values)
            self._stages.append(
                Stage(layer, source, target, tuple(parts), tuple(p.shape for p in parameters))
            )
        for position, layer in enumerate(layer for layer in stages if isinstance(layer, Dropout)):
            layer.position = position
        self._fields = fields
        self._views = MappingProxyType(views)

    @property
    def parameters(self) -> np.ndarray:
        """All parameters as one contiguous vector (P,), aligned to 64 bytes.

        Changing it in place, or assigning to it, changes the network.
        """
        return self._parameters

    @parameters.setter
    def parameters(self, values: np.ndarray) -> None:
        values = np.asarray(values)
        if values.shape != self._parameters.shape:
            raise ValueError(
                f"this network has parameters of shape {self._parameters.shape}, got {values.shape}"
            )
        self._parameters[:] = values

    @property
    def views(self) -> Mapping[str, np.ndarray]:
        """The named arrays inside the vector, such as ``conv1.weight`` and ``dense2.bias``."""
        return self._views

    @property
    def n_classes(self) -> int:
        """Length of the logits."""
        return self._fields[-1].shape[0]

    def named(self, vector: np.ndarray) -> dict[str, np.ndarray]:
        """Views of any vector like `parameters`, a gradient for example, by the same names.

        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), rng=0)
        >>> network.named(network.parameters)["dense1.weight"].shape
        (3, 2)
        """
        parts: Iterator[slice] = (part for stage in self._stages for part in stage.slices)
        return {
            name: vector[part].reshape(view.shape)
            for (name, view), part in zip(self._views.items(), parts, strict=True)
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
        x
            (B, *input_shape).
        y
            (B,) integer labels from 0 to n_classes - 1.
        rng
            Where dropout comes from: one number is drawn per call if the network drops anything.
        train
            False leaves dropout out.
        out
            Receives the gradient if given, which spares a large network the page faults of a new
            array.

        Returns
        -------
        (float, (P,) array)

        Raises
        ------
        ValueError
            For shapes or labels that do not fit, and for dropout without ``rng``.
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
        out
            Two vectors (P,) for gradient and sum of squares.

        Returns
        -------
        PerExampleMoments

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
        for part in self._decaying:
            weight = self._parameters[part]
            total += float(np.dot(weight, weight))
            gradient[part] += self.dtype.type(self.weight_decay) * weight
        return 0.5 * self.weight_decay * total

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The logits (B, n_classes), nothing dropped; their argmax is the predicted class."""
        x = self._checked_examples(x)
        logits = np.empty((len(x), self.n_classes), self.dtype)
        plan = self._plan(False, min(len(x), _PREDICTED_AT_ONCE))
        with one_blas_thread(load_scipy=False), np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(x), _PREDICTED_AT_ONCE):
                part = x[start : start + _PREDICTED_AT_ONCE]
                logits[start : start + len(part)] = plan.forward(part)
        return logits

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Mean data loss (without L2) and accuracy, nothing dropped.

        >>> from qpsim.nn import Dense
        >>> network = Network([Dense(2)], (3,), rng=0)
        >>> loss, accuracy = network.evaluate(np.eye(3), [0, 1, 1])
        >>> 0 <= accuracy <= 1
        True
        """
        logits = self.predict(x)
        labels = self._checked_labels(y, len(logits))
        with np.errstate(over="ignore", invalid="ignore"):
            losses = softmax_cross_entropy(logits, labels)
        return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())

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
        labels = self._checked_labels(y, len(x))
        gradient = aligned_zeros(self._parameters.size, self.dtype) if out is None else out
        for vector in (gradient, squares):
            if vector is not None and (
                vector.shape != self._parameters.shape
                or vector.dtype != self.dtype
                or not vector.flags.c_contiguous
            ):
                raise ValueError(
                    f"out must be contiguous {self.dtype} of shape {self._parameters.shape}, got "
                    f"{vector.dtype} of shape {vector.shape}"
                )
        key = self._dropout_key(rng, train)
        request = Request(x, labels, key, weight_decay, gradient, squares)
        # A diverging run overflows; that is the optimizer's to notice, in the loss.
        with (
            one_blas_thread(load_scipy=False),
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            plan = self._plan(True, len(x))
            loss, penalty = plan.backward(request)
        hits = plan.logits[: len(x)].argmax(axis=1) == labels
        self.last_fit = Fit(loss, float(hits.mean()))
        return loss + penalty, gradient

    def _dropout_key(self, rng: np.random.Generator | None, train: bool) -> int | None:
        drops = any(isinstance(layer, Dropout) and layer.rate > 0 for layer in self.layers)
        if not (train and drops):
            return None
        if rng is None:
            raise ValueError("this network has dropout: training needs rng, a numpy Generator")
        return int(np.random.default_rng(rng).integers(2**64, dtype=np.uint64))

    def _plan(self, training: bool, examples: int) -> Plan:
        plan = self._plans.get(training)
        if plan is None or plan.capacity < examples:
            decaying = [(part, self._parameters[part]) for part in self._decaying]
            plan = Plan(
                self._stages, self._fields, self.dtype, examples, training, self.workers, decaying
            )
            self._plans[training] = plan
        plan.workers = self.workers
        return plan

    def _checked_examples(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if x.shape[1:] != self.input_shape or x.ndim == 0 or len(x) == 0:
            raise ValueError(
                f"x must be (B, {', '.join(map(str, self.input_shape))}) with B >= 1, got {x.shape}"
            )
        return x

    def _checked_labels(self, y: np.ndarray, examples: int) -> np.ndarray:
        y = np.asarray(y)
        if y.shape != (examples,) or y.dtype.kind not in "iu":
            raise ValueError(
                f"y must be {examples} integer labels, got {y.dtype} of shape {y.shape}"
            )
        if y.min() < 0 or y.max() >= self.n_classes:
            raise ValueError(
                f"labels must lie in 0..{self.n_classes - 1}, got {y.min()}..{y.max()}"
            )
        return y

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "a Network is not pickled: save network.parameters, and build it again from its layers"
        )
