"""Problems on a table of data: least squares, or the paper's model on finitely many draws, with minibatches of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError
from qpsim.execution.blas import one_blas_thread
from qpsim.problem import noise
from qpsim.problem.interface import Prepared
from qpsim.problem.local import LocalModel
from qpsim.problem.matrices import (
    LARGEST,
    SMALLEST_HESSIAN,
    check_coordinates,
    frozen,
    real_array,
    semidefinite,
    square_or_diagonal,
)
from qpsim.problem.quadratic_loss import QuadraticLoss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

# The kernel takes an order by its position here (qpsim.kernels.data).
ORDERS = ("replacement", "reshuffled", "fixed")


class DataProblem(QuadraticLoss):
    """A quadratic loss that is a mean over the rows of a table.

    With labels y it is least squares, 0.5 mean (x_k^T theta - y_k)^2, whose Hessian is X^T X / n. With a Hessian Q
    instead it is the model of Balles & Hennig (2018), 0.5 mean (theta - x_k)^T Q (theta - x_k), on n draws x_k.

    Parameters
    ----------
    X : array_like, shape (n, d)
        Rows x_k.
    y : array_like, shape (n,), optional
        Labels.
    order : {"replacement", "reshuffled", "fixed"}, default "replacement"
        How minibatches are chosen. "replacement": each row is drawn at random. "reshuffled": every row once in each
        epoch, in a new random order. "fixed": every row once in each epoch, in the order of the table.
    drop_last : bool, default True
        Whether the last rows of an epoch are left out if they do not fill a minibatch.
    hessian : array_like, shape (d, d) or (d,), optional
        Q, if no labels are given.
    held_out : (X, y), or X for the second model, optional
        Rows for :meth:`held_out_loss`.

    Notes
    -----
    Loss and gradient are means over all rows. If several points minimise the loss, ``optimum`` is the one of smallest
    norm.

    Raises
    ------
    ProblemError
        Shapes that do not fit, entries that are not finite, an unknown order, labels and a Hessian together or neither.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.DataProblem([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]], [1.0, 2.0, 4.0])
    >>> p.optimum.round(4), round(p.minimum, 4)
    (array([0.8333, 1.5   ]), 0.0278)
    >>> r = qpsim.simulate(p, "sgd", 0.1, n_steps=20, n_replicates=4, rng=0, batch_size=2)
    >>> r.excess_loss.shape
    (4, 21)
    """

    kind = "data"

    @one_blas_thread(load_scipy=False)
    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        order: str = "replacement",
        drop_last: bool = True,
        *,
        hessian: ArrayLike | None = None,
        held_out: Any = None,
    ) -> None:
        rows: Array = real_array(X, "X")
        if rows.ndim != 2 or rows.size == 0:
            raise ProblemError(f"X must be a table (n, d), not of shape {rows.shape}.")
        if (y is None) == (hessian is None):
            raise ProblemError(
                "Give labels y, for least squares, or a hessian, for draws around an optimum, and not both."
            )
        _check_rows(rows, y is not None)
        self._order = checks.choice("order", order, ORDERS, ProblemError)
        self._drop_last = checks.flag("drop_last", drop_last, ProblemError)
        self._rows = frozen(np.ascontiguousarray(rows))
        labels = None if y is None else frozen(_labels(y, rows.shape[0], "y"))
        self._labels: Array | None = labels
        if labels is not None:
            self._hessian = frozen(_gram(rows))
            shortest: Array = np.asarray(np.linalg.lstsq(rows, labels, rcond=None)[0], float)
            self._optimum = frozen(shortest)
        else:
            given = square_or_diagonal(hessian)
            matrix: Array = np.diag(given) if given.ndim == 1 else given
            semidefinite(np.asarray(np.linalg.eigvalsh(matrix), float), False)
            if matrix.shape[0] != rows.shape[1]:
                raise ProblemError(
                    f"The Hessian has {matrix.shape[0]} coordinates, but X {rows.shape[1]} columns."
                )
            self._hessian = frozen(np.ascontiguousarray(matrix))
            self._optimum = frozen(rows.mean(axis=0))
        self._held_out = self._checked_held_out(held_out)

    def _checked_held_out(self, held_out: Any) -> tuple[Array, Array | None] | None:
        if held_out is None:
            return None
        if self._labels is None:
            rows, labels = real_array(held_out, "held_out"), None
        else:
            try:
                first, second = held_out
            except (TypeError, ValueError):
                raise ProblemError("held_out must be a pair (X, y).") from None
            rows = real_array(first, "The held-out X")
            if rows.ndim != 2:
                raise ProblemError(
                    f"The held-out X must be a table (m, {self.dim}), not of shape {rows.shape}."
                )
            labels = frozen(_labels(second, rows.shape[0], "The held-out y"))
        if rows.ndim != 2 or rows.shape[1] != self.dim or rows.shape[0] == 0:
            raise ProblemError(
                f"The held-out X must be a table (m, {self.dim}), not of shape {rows.shape}."
            )
        return frozen(rows), labels

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return int(self._rows.shape[0])

    @property
    def hessian(self) -> Array:
        """Hessian of the mean loss, shape (d, d); singular if there are fewer rows than coordinates."""
        return self._hessian

    @property
    def order(self) -> str:
        """How minibatches are filled."""
        return self._order

    @property
    def minimum(self) -> float:
        """The mean loss at the optimum: the loss is the excess loss plus this."""
        return float(np.mean(self._losses(self._rows, self._labels, self._optimum)))

    def _times(self, vectors: Array) -> Array:
        return vectors @ self._hessian

    def row_gradients(self, theta: ArrayLike) -> Array:
        """Gradient of every row's loss at one theta (d,), shape (n, d)."""
        offset = self._offset(theta)
        if self._labels is None:
            return (offset - self._centred()) @ self._hessian
        residuals = self._rows @ offset + self._residuals()
        return self._rows * residuals[:, None]

    def gradient_std(self, theta: ArrayLike) -> Array:
        """Standard deviation of the gradient of a random row at one theta (d,), shape (d,)."""
        return np.asarray(self.row_gradients(theta).std(axis=0), float)

    def gradient_mixture(self, theta: ArrayLike) -> Iterator[tuple[float, LocalModel, Array]]:
        """The law of the gradient of a random row at one theta (d,): (1/n, model without noise, gradient) of each."""
        gradients = self.row_gradients(theta)
        model = LocalModel(gradients.mean(axis=0), self._hessian, noise.white(0.0))
        for gradient in gradients:
            yield 1.0 / self.n_rows, model, gradient

    def held_out_loss(self, theta: ArrayLike) -> Any:
        """Mean loss of the held-out rows at theta (..., d), shape (...).

        Raises
        ------
        ProblemError
            The problem was made without held-out rows.
        """
        if self._held_out is None:
            raise ProblemError(
                "This problem has no held-out rows; give held_out=(X, y) when it is made."
            )
        points = self._offset(theta) + self._optimum
        flat = points.reshape(-1, self.dim)
        losses = np.array([np.mean(self._losses(*self._held_out, one)) for one in flat])
        return float(losses[0]) if points.ndim == 1 else losses.reshape(points.shape[:-1])

    def _losses(self, rows: Array, labels: Array | None, theta: Array) -> Array:
        if labels is not None:
            return 0.5 * np.square(rows @ theta - labels)
        apart = theta - rows
        return 0.5 * np.sum(apart * (apart @ self._hessian), axis=1)

    def _residuals(self) -> Array:
        assert self._labels is not None
        return self._rows @ self._optimum - self._labels

    def _centred(self) -> Array:
        return self._rows - self._optimum

    # -- the interface for simulations (qpsim.problem.interface.Problem) ---------------------------

    def is_deterministic(self) -> bool:
        """Whether there is only one row."""
        return self.n_rows == 1

    def check_simulation(self, method: Any, policy: Any, batch_size: int) -> None:
        """Refuse minibatches of more rows than there are, and exact steps that are not a finite sum."""
        if self._order != "replacement" and batch_size > self.n_rows:
            raise ProblemError(
                f"A minibatch of {batch_size} does not fit into {self.n_rows} rows without replacement; take "
                "order='replacement' or a smaller batch_size."
            )
        if policy.is_bound:
            raise ProblemError(
                "The step-size policy 'bound' is not offered on data; take 'optimal', 'line-search' or given steps."
            )
        if not policy.is_exact:
            return
        if self._order != "replacement":
            raise ProblemError(
                f"With order={self._order!r} a minibatch depends on those before it, and has no exact step; take "
                "order='replacement', step_size='line-search' or given steps."
            )
        single = batch_size == 1 and method.observes != "variance_estimate"
        if method.closed_form != "linear" and not single:
            raise ProblemError(
                f"{method.name} has an exact step on data at batch_size=1 only, where it is a sum over the rows; "
                "take that, step_size='line-search' or given steps."
            )

    def prepared(self, method: Any, policy: Any, batch_size: int, tolerance: float) -> Prepared:
        """The arguments of the step loop."""
        from qpsim.kernels.data import RegressionProblem, SampleProblem

        n_full, rest = divmod(self.n_rows, batch_size)
        n_batches = max(1, n_full + (1 if rest and not self._drop_last else 0))
        minibatches = (ORDERS.index(self._order), batch_size, n_batches)
        matrix = np.array(self._hessian)
        if self._labels is not None:
            rows = np.array(self._rows)
            return Prepared(RegressionProblem(matrix, rows, self._residuals(), *minibatches))
        own = np.ascontiguousarray(self._centred() @ self._hessian)
        return Prepared(SampleProblem(matrix, own, np.zeros(0), *minibatches))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that, with :meth:`arrays`, describe the problem."""
        return {
            "dim": self.dim,
            "n_rows": self.n_rows,
            "order": self._order,
            "drop_last": self._drop_last,
            "labels": self._labels is not None,
        }

    def arrays(self) -> dict[str, Array]:
        """Rows, labels or Hessian, optimum and held-out rows."""
        found = {"rows": self._rows, "optimum": self._optimum}
        if self._labels is None:
            found["hessian"] = self._hessian
        else:
            found["labels"] = self._labels
        if self._held_out is not None:
            found["held-out rows"] = self._held_out[0]
            if self._held_out[1] is not None:
                found["held-out labels"] = self._held_out[1]
        return found

    def __repr__(self) -> str:
        what = "draws around an optimum" if self._labels is None else "least squares"
        return f"<DataProblem {what}, {self.n_rows} rows, dim={self.dim}, order={self._order!r}>"


def _gram(rows: Array) -> Array:
    return np.ascontiguousarray(rows.T @ rows / rows.shape[0])


def _check_rows(rows: Array, squared: bool) -> None:
    """Raise ProblemError for entries whose squares, the Hessian of least squares, leave its range."""
    largest = float(np.abs(rows).max())
    low, high = (SMALLEST_HESSIAN**0.5, LARGEST**0.5) if squared else (0.0, LARGEST)
    if largest > high or 0.0 < largest < low:
        raise ProblemError(
            f"The largest entry of X is {largest:.3g}; take a unit in which it lies between {low:g} and {high:g}."
        )


def _labels(y: Any, n: int, what: str) -> Array:
    labels = real_array(y, what)
    if labels.shape == (n, 1):
        labels = labels[:, 0]
    if labels.shape != (n,):
        raise ProblemError(
            f"{what} must have one label for each of the {n} rows, not shape {labels.shape}."
        )
    check_coordinates(labels, what)
    return labels
