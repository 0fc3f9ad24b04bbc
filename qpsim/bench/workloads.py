"""The ensembles that are timed, described as data: the same for this package and for its peers.

A workload is a problem, a method, a step-size policy and three sizes. Its noise is that of Section
2.2 of Balles & Hennig (2018) at ``noise_std = 0.1``, its optimum U[-10, 10], its start 0. Workloads of
group "noise" have another noise, or are least squares, and are timed beside the one they vary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from qpsim.problem import noise as noises
from qpsim.problem.least_squares import LeastSquares
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.simulation.run import simulate

GROUPS = ("core", "shape", "scale", "noise")


@dataclass(frozen=True)
class Workload:
    """One ensemble to be timed.

    Attributes
    ----------
    name : str
        Short and unique, as printed.
    group : {"core", "shape", "scale", "noise"}
        "core" has the targets, "shape" varies one size, "scale" is too large for peers, "noise" has
        other noises and least squares.
    step_size : "optimal", "bound" or float
        As in :func:`qpsim.simulate`.
    matrix_products : int
        Products of a (d, d) matrix with a vector that every implementation needs in a step.
    shared_nodes : bool
        Whether peers get this package's table of quadrature nodes, chosen for each pair of
        coordinates. Without it they use as many nodes for all pairs as the most correlated one needs.
    target : float or None
        How many times faster than JAX the package should be.
    noise : {"data", "dense"}
        "dense" is a random covariance matrix with the trace of the paper's.
    df : float or None
        Degrees of freedom of Student's t, a whole number; None for a Gaussian.
    batch_size : int
    least_squares : bool
        Least squares with Gaussian data of this Hessian and label noise ``noise_std``.
    baseline : str or None
        Name of a workload that takes turns with this one.
    at_most : float or None
        How many times as long as the baseline it may take.
    """

    name: str
    group: str
    method: str
    step_size: str | float
    basis: str = "axis"
    dim: int = 100
    n_replicates: int = 1024
    n_steps: int = 100
    spectrum: str = "structured"
    noise_std: float = 0.1
    matrix_products: int = 0
    shared_nodes: bool = False
    target: float | None = None
    noise: str = "data"
    df: float | None = None
    batch_size: int = 1
    least_squares: bool = False
    baseline: str | None = None
    at_most: float | None = None

    @property
    def updates(self) -> int:
        """Replicates x steps x coordinates."""
        return self.n_replicates * self.n_steps * self.dim

    @property
    def flops(self) -> float:
        """Floating-point operations of the matrix products."""
        return 2.0 * self.matrix_products * self.dim * self.updates

    def problem(self) -> QuadraticProblem | LeastSquares:
        """The problem, the same at every call."""
        made = random_problem(
            self.spectrum, self.dim, self.basis, noise_std=self.noise_std, rng=self.dim
        )
        if self.least_squares:
            return LeastSquares(made.hessian, made.optimum, label_noise_std=self.noise_std)
        if self.noise == "dense":
            return made.with_noise(noises.dense(self._covariance(made), df=self.df))
        return made.with_noise(noises.data(self.noise_std, df=self.df))

    def _covariance(self, problem: QuadraticProblem) -> np.ndarray:
        factor = np.random.default_rng(self.dim).standard_normal((self.dim, self.dim))
        covariance = factor @ factor.T
        return covariance * (problem.noise.trace(problem) / np.trace(covariance))

    def runner(self, workers: int) -> Callable[[int], np.ndarray]:
        """This package's run of the workload: from a seed to the final losses (n_replicates,)."""
        problem = self.problem()

        def run(seed: int) -> np.ndarray:
            result = simulate(
                problem,
                self.method,
                self.step_size,
                self.n_steps,
                self.n_replicates,
                rng=seed,
                batch_size=self.batch_size,
                workers=workers,
                record=("excess_loss",),
            )
            return result.excess_loss[:, -1]

        return run

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


_CORE = (
    Workload("SGD, axis", "core", "sgd", "optimal", target=10.0),
    Workload("SSD, axis", "core", "ssd", "optimal", target=10.0),
    Workload("Adam, axis", "core", "adam", 0.01, target=10.0),
    Workload("M-SVAG, axis", "core", "m-svag", 0.01, target=10.0),
    Workload("SGD, Haar", "core", "sgd", "optimal", "haar", target=18.0),
    Workload("SSD, Haar, bound step", "core", "ssd", "bound", "haar", matrix_products=2),
    Workload(
        "SSD, Haar, exact step",
        "core",
        "ssd",
        "optimal",
        "haar",
        n_replicates=256,
        n_steps=20,
        matrix_products=3,
        target=30.0,
    ),
    Workload(
        "SSD, Haar, exact step, nodes given",
        "core",
        "ssd",
        "optimal",
        "haar",
        n_replicates=256,
        n_steps=20,
        matrix_products=3,
        shared_nodes=True,
    ),
)
_SHAPE = (
    Workload("SGD, axis, d=10", "shape", "sgd", "optimal", dim=10, n_replicates=10_240),
    Workload("SGD, axis, d=1000", "shape", "sgd", "optimal", dim=1000, n_replicates=256),
    Workload("SGD, axis, d=10^6", "shape", "sgd", "optimal", dim=10**6, n_replicates=16, n_steps=5),
    Workload("SGD, axis, 1 replicate", "shape", "sgd", "optimal", n_replicates=1),
    Workload(
        "SGD, axis, 10^5 replicates", "shape", "sgd", "optimal", n_replicates=100_000, n_steps=10
    ),
)
_SCALE = (
    Workload("SGD, axis, 10^6 replicates", "scale", "sgd", "optimal", n_replicates=10**6),
    Workload(
        "SGD, Haar, d=2000",
        "scale",
        "sgd",
        "optimal",
        "haar",
        dim=2000,
        n_replicates=256,
        n_steps=100,
    ),
    Workload(
        "SSD, Haar, bound step, d=2000",
        "scale",
        "ssd",
        "bound",
        "haar",
        dim=2000,
        n_replicates=128,
        n_steps=10,
        matrix_products=2,
    ),
    Workload(
        "SSD, Haar, exact step, d=1000",
        "scale",
        "ssd",
        "optimal",
        "haar",
        dim=1000,
        n_replicates=128,
        n_steps=5,
        matrix_products=3,
    ),
)
_EXACT = next(w for w in _CORE if w.name == "SSD, Haar, exact step")
_VARIED = replace(_EXACT, group="noise", target=None, shared_nodes=True, baseline=_EXACT.name)
_NOISE = (
    replace(_VARIED, name="SSD, Haar, dense C", noise="dense", at_most=1.3),
    replace(_VARIED, name="SSD, Haar, Student t", df=3.0, at_most=3.0),
    replace(_VARIED, name="SSD, least squares", least_squares=True, at_most=4.0),
    replace(_VARIED, name="SSD, least squares, B=8", least_squares=True, batch_size=8, at_most=4.0),
    *(
        replace(
            gaussian,
            name=f"{gaussian.name}, Student t",
            group="noise",
            target=None,
            df=3.0,
            baseline=gaussian.name,
            at_most=1.5,
        )
        for gaussian in _CORE[:2]
    ),
)


def workloads(groups: tuple[str, ...] = ("core", "shape")) -> tuple[Workload, ...]:
    """The workloads of these groups whose method is registered.

    >>> [w.name for w in workloads(("core",))][:2]
    ['SGD, axis', 'SSD, axis']
    """
    from qpsim.methods import method_names

    known = method_names()
    return tuple(
        w for w in _CORE + _SHAPE + _SCALE + _NOISE if w.group in groups and w.method in known
    )


def baseline_of(workload: Workload) -> Workload | None:
    """The workload that one is compared with, if there is one.

    >>> baseline_of(workloads(("noise",))[0]).name
    'SSD, Haar, exact step'
    """
    named = (w for w in _CORE if w.name == workload.baseline)
    return next(named, None)


def small(workload: Workload) -> Workload:
    """The same with an eighth of the replicates: enough to see that all works."""
    return replace(workload, n_replicates=max(1, workload.n_replicates // 8))
