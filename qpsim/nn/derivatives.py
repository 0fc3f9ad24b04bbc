"""Derivatives of a network's objective: gradients, per-example moments and products with its Hessian."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qpsim import seeds
from qpsim.errors import NetworkError
from qpsim.execution.blas import one_blas_thread
from qpsim.nn.examples import Fit, accuracy
from qpsim.nn.layers import Dropout, Layer
from qpsim.nn.memory import aligned_zeros
from qpsim.nn.workspace import Request

if TYPE_CHECKING:
    from qpsim.nn.assembly import Assembly
    from qpsim.nn.execution import Plan


class PerExampleMoments(NamedTuple):
    """The result of `Network.per_example_moments`, for the data loss without L2.

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


class Differentiable:
    """The methods of `qpsim.nn.Network` that compute derivatives.

    A class that inherits from this one sets the attributes below and defines ``_plan``.
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    dtype: np.dtype
    weight_decay: float
    last_fit: Fit
    _parts: Assembly
    _parameters: np.ndarray

    def _plan(self, training: bool, examples: int) -> Plan:
        raise NotImplementedError

    def _checked(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

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
            Labels from 0 to n_outputs - 1, or other targets of the loss.
        rng : Generator, optional
            The source of dropout: one number is drawn in each call if the network has dropout.
        train : bool, default True
            False turns dropout off.
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
        >>> from qpsim.nn import Dense, Network
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

        The B x P gradients are never stored. `minibatch_variance` computes the unbiased Eq. 44 from it;
        `add_weight_decay` adds the L2 term to the gradient.

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
        >>> from qpsim.nn import Dense, Network
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
        >>> from qpsim.nn import Dense, Network
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
            As for `loss_and_gradient`; generators of equal state give equal dropout.
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
        >>> from qpsim.nn import Dense, Network
        >>> network = Network([Dense(2)], (3,), dtype=np.float64, rng=0)
        >>> x, y, v = np.eye(3), [0, 1, 1], np.linspace(0, 1, 8)
        >>> product = network.hessian_vector_product(x, y, v)
        >>> before = network.loss_and_gradient(x, y)[1]
        >>> network.parameters += 1e-6 * v
        >>> bool(np.allclose((network.loss_and_gradient(x, y)[1] - before) / 1e-6, product, 1e-4))
        True
        """
        from qpsim.nn.curvature import hessian_vector_product

        x, targets = self._checked(x, y)
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
        >>> from qpsim.nn import Dense, Network
        >>> network = Network([Dense(2)], (3,), weight_decay=0.1, rng=0)
        >>> matrix = network.hessian(np.eye(3), [0, 1, 1])
        >>> matrix.shape, bool(np.linalg.eigvalsh(matrix).min() > -1e-6)
        ((8, 8), True)
        """
        from qpsim.nn.curvature import hessian

        x, targets = self._checked(x, y)
        return hessian(self, x, targets, self._dropout_key(rng, train))

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
        x, targets = self._checked(x, y)
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
        # In a diverging run numbers overflow; the caller sees this in the loss.
        with (
            one_blas_thread(load_scipy=False),
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            plan = self._plan(True, len(x))
            loss, penalty = plan.backward(request)
        self.last_fit = Fit(loss, accuracy(plan.outputs[: len(x)], targets))
        return loss + penalty, gradient

    def _dropout_key(self, rng: np.random.Generator | None, train: bool) -> int | None:
        drops = any(isinstance(layer, Dropout) and layer.rate > 0 for layer in self.layers)
        if not (train and drops):
            return None
        if rng is None:
            raise NetworkError("this network has dropout: training needs rng, a numpy Generator")
        return int(seeds.generator(rng).integers(2**64, dtype=np.uint64))
