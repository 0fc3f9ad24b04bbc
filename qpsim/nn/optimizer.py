"""One step of a method on a network: the scalar rule applied to each parameter.

The rules are the same as on quadratic problems. Parameters and state are stored in the network's
dtype, usually float32, and the rule's arithmetic is float64, so that squares of small averages do
not underflow.
"""

from __future__ import annotations

import numpy as np

from qpsim.errors import MethodError, TrainingError
from qpsim.execution.threads import for_each
from qpsim.methods import Method
from qpsim.methods.trial import try_rule
from qpsim.nn.examples import Fit
from qpsim.nn.losses import minibatch_variance
from qpsim.nn.memory import aligned_zeros
from qpsim.nn.network import Network

__all__ = ["Optimizer", "check_trains"]

# Parameters of one task of a thread; the results do not depend on it.
_CHUNK = 1 << 16


def check_trains(method: Method) -> None:
    """Raise MethodError for a method that needs the exact relative variance.

    >>> import qpsim
    >>> check_trains(qpsim.method("svag"))
    Traceback (most recent call last):
    ...
    qpsim.errors.MethodError: svag needs the exact relative variance, which is known only on a \
quadratic problem; a network is trained with a method that estimates it, such as m-svag or adam.
    """
    if method.observes == "relative_variance":
        raise MethodError(
            f"{method.name} needs the exact relative variance, which is known only on a quadratic "
            "problem; a network is trained with a method that estimates it, such as m-svag or adam."
        )


class Optimizer:
    """A method's state on a network, and its step.

    Methods that observe the variance estimate (the -mb methods) get the unbiased Eq. 44 of the data
    loss. The L2 term is added to the gradient afterwards, since it is the same for every example
    and has no variance.

    Parameters
    ----------
    network : Network
        Its parameters are changed in place.
    method : Method
        One of the registry or a user's own.

    Attributes
    ----------
    t : int
        Steps taken.
    states : ndarray (n_states, 1, P)
        The rule's state, in the order of ``method.state_names``.

    Raises
    ------
    MethodError
        The method needs the exact relative variance, which only a quadratic problem has; or it is a user's own and
        does not pass :func:`qpsim.methods.trial.try_rule`.

    Examples
    --------
    >>> import numpy as np, qpsim
    >>> from qpsim.nn import Dense, Network
    >>> network = Network([Dense(2)], (3,), rng=0)
    >>> optimizer = Optimizer(network, qpsim.method("adam"))
    >>> fits = [optimizer.step(np.eye(3), [0, 1, 1], step_size=0.1) for _ in range(20)]
    >>> fits[-1].loss < fits[0].loss
    True
    """

    def __init__(self, network: Network, method: Method) -> None:
        check_trains(method)
        try_rule(method.rule, method.hyper)
        self.network = network
        self.method = method
        self.t = 0
        size = network.parameters.size
        names = method.state_names
        self.states = aligned_zeros(len(names) * size, network.dtype).reshape(len(names), 1, size)
        self.gradient = aligned_zeros(size, network.dtype)
        self._smallest = float(np.finfo(network.dtype).tiny)
        self._observes = method.observes is not None
        n_extra = size if self._observes else 0
        self._squares = aligned_zeros(n_extra, network.dtype)
        self._variance = aligned_zeros(n_extra, network.dtype)

    def step(
        self,
        x: np.ndarray,
        y: np.ndarray,
        step_size: float,
        rng: np.random.Generator | None = None,
    ) -> Fit:
        """Take one step on a batch.

        Parameters
        ----------
        x, y, rng
            As for `Network.loss_and_gradient`.
        step_size : float
            theta moves by ``-step_size * direction``.

        Returns
        -------
        Fit
            Loss, without L2, and accuracy of the batch *before* the step.

        Raises
        ------
        TrainingError
            A batch of one example, of which no variance can be estimated.
        """
        network = self.network
        if self._observes:
            if len(x) < 2:
                raise TrainingError(
                    f"{self.method.name} estimates variances within a batch, which needs at least "
                    f"2 examples, not {len(x)}."
                )
            network.per_example_moments(x, y, rng, out=(self.gradient, self._squares))
            with np.errstate(over="ignore", invalid="ignore"):
                minibatch_variance(self.gradient, self._squares, len(x), out=self._variance)
                network.add_weight_decay(self.gradient)
        else:
            network.loss_and_gradient(x, y, rng, out=self.gradient)
        self.t += 1
        self._move(float(step_size))
        return network.last_fit

    def _move(self, step_size: float) -> None:
        from qpsim.kernels.elementwise import step_all

        theta = self.network.parameters
        observed = self._variance if self._observes else self.gradient

        def move(chunk: int) -> None:
            start = chunk * _CHUNK
            stop = min(start + _CHUNK, theta.size)
            step_all(
                self.method.hyper, self.gradient, observed, self.states, float(self.t), step_size,
                self._smallest, theta, start, stop,
            )  # fmt: skip

        for_each(move, -(-theta.size // _CHUNK), self.network.workers)
