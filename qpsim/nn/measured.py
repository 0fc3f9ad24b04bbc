"""Measures curvature, noise and the improvement by each direction at some steps of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpsim import checks, seeds
from qpsim.errors import MeasureError, TrainingError
from qpsim.execution import progress
from qpsim.files.plain import plain
from qpsim.measure.gradient_noise import NoiseMeasurement
from qpsim.measure.hessian import CurvatureMeasurement
from qpsim.measure.improvement import DirectionsMeasurement
from qpsim.measure.point import Point, slices
from qpsim.methods import Method, State
from qpsim.nn.build import build_network
from qpsim.nn.data import Dataset
from qpsim.nn.loop import Loop
from qpsim.nn.network import Network
from qpsim.nn.race import Race, race
from qpsim.nn.run import Run
from qpsim.nn.tasks import Task

# Largest number of parameters for which gradients are stored in double precision.
_DOUBLE = 200_000
METHODS = ("sgd", "ssd", "svag", "va-ssd")


@dataclass(frozen=True)
class Sizes:
    """The extent of the measurements at each point.

    Attributes
    ----------
    n_examples : int
        Number of training examples whose mean loss is the objective (at most all).
    n_gradients : int
        Minibatches, drawn from those examples with replacement.
    n_probes, n_rows, n_lanczos, n_eigenvalues : int
        As for :func:`qpsim.measure.curvature`.
    n_products : int
        As for :func:`qpsim.measure.directions`.
    exact_below : int
        Largest number of parameters for which the whole Hessian is formed.
    n_race : int
        Steps of the race of sign against gradient descent from each point (:mod:`qpsim.nn.race`); 0: none.
    by_layer : bool
        Whether c is also measured for the parameters of each layer.
    """

    n_examples: int = 512
    n_gradients: int = 64
    n_probes: int = 6
    n_rows: int = 32
    n_lanczos: int = 24
    n_eigenvalues: int = 4
    n_products: int = 24
    exact_below: int = 800
    n_race: int = 0
    by_layer: bool = True

    def __post_init__(self) -> None:
        lowest = {
            "n_eigenvalues": 1,
            "n_gradients": 8,
            "n_examples": 2,
            "exact_below": 0,
            "n_race": 0,
        }
        for name, value in vars(self).items():
            if isinstance(value, bool):
                continue
            checks.count(name, value, MeasureError, low=lowest.get(name, 3))


@dataclass(frozen=True)
class Probe:
    """The measurements after ``step`` steps."""

    step: int
    loss: float
    noise: NoiseMeasurement
    curvature: CurvatureMeasurement
    directions: DirectionsMeasurement
    race: Race | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the vectors of all coordinates."""
        parts = {
            name: getattr(self, name).to_dict() for name in ("noise", "curvature", "directions")
        }
        for part, name in (
            ("noise", "gradient"), ("noise", "variance"), ("curvature", "diagonal"),
            ("curvature", "density_nodes"), ("curvature", "density_weights"),
            ("directions", "gradient"),
        ):  # fmt: skip
            del parts[part][name]
        run = {} if self.race is None else {"race": plain(self.race)}
        return {"step": self.step, "loss": self.loss, **parts, **run}


def network_point(
    network: Network, x: np.ndarray, y: np.ndarray, batch_size: int, n_gradients: int, rng: Any
) -> Point:
    """A network at its present parameters, with the mean loss of some examples as the objective.

    Minibatches are drawn from the examples with replacement. Without dropout; the L2 term is included.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim.nn import Dense
    >>> network = Network([Dense(2)], (3,), dtype=np.float64, rng=0)
    >>> point = network_point(network, np.eye(3), np.array([0, 1, 1]), 2, 10, rng=0)
    >>> point.dim, next(point.gradients()).shape, sorted(point.blocks)
    (8, (1, 8), ['dense1.bias', 'dense1.weight'])
    """
    origin = network.parameters.copy()
    # Some measurements store all gradients; those of large networks are in single precision.
    kept = np.float64 if origin.size <= _DOUBLE else np.float32
    rows = seeds.generator(rng).integers(len(x), size=(n_gradients, batch_size))

    def gradients() -> Iterator[np.ndarray]:
        network.parameters = origin
        for chosen in rows:
            gradient = network.loss_and_gradient(x[chosen], y[chosen], train=False)[1]
            yield gradient[None].astype(kept)

    def hvp(v: np.ndarray) -> np.ndarray:
        return network.hessian_vector_product(x, y, v, train=False)

    def loss(delta: np.ndarray) -> float:
        moved = origin + delta
        network.parameters = moved
        with np.errstate(over="ignore", invalid="ignore"):
            decay = sum(float(moved[part] @ moved[part]) for part in network.decaying)
        value = network.evaluate(x, y)[0] + 0.5 * network.weight_decay * decay
        network.parameters = origin
        return float(value)

    blocks = slices((name, view.size) for name, view in network.views.items())
    return Point(origin.size, gradients, hvp, loss, blocks)


def examples(task: Task, dataset: Dataset, n: int, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """Some training examples, drawn without replacement, after the transform, in double precision."""
    parts = list(task.evaluation_batches(dataset.train))
    x, y = (np.concatenate([part[k] for part in parts]) for k in range(2))
    chosen = seeds.generator(rng).permutation(len(y))[:n]
    return x[chosen].astype(np.float64), y[chosen]


def probe(
    run: Run,
    at: Sequence[int],
    *,
    dataset: Dataset | None = None,
    directory: Any = None,
    sizes: Sizes | None = None,
    methods: Sequence[str] | None = None,
    done: Callable[[Probe], None] | None = None,
    skip: Sequence[int] = (),
    workers: int | None = None,
) -> list[Probe]:
    """Train, and measure after given numbers of steps.

    Parameters
    ----------
    run : Run
    at : sequence of int
        Steps after which is measured; 0 is the untrained network.
    dataset, directory
        As for :func:`qpsim.nn.train`.
    sizes : Sizes, optional
    methods : sequence of str, optional
        Methods whose directions are measured; by default SGD, sign descent, their adapted variants and the run's own.
    done : callable, optional
        Called with each probe when it is finished, for example to save it.
    skip : sequence of int
        Steps that need not be measured.
    workers : int or None

    Returns
    -------
    list of Probe
        Without the skipped ones; a run that diverges ends early.

    Raises
    ------
    TrainingError
        Steps that are beyond the run's, or none.
    MeasureError
        The method's direction cannot be measured.
    """
    steps = sorted({checks.count("a step", step, TrainingError, low=0) for step in at})
    if not steps or steps[-1] > run.task.n_steps:
        raise TrainingError(
            f"The steps to measure at must be among 0 to {run.task.n_steps}, not {list(at)}."
        )
    if methods is None:
        refuse_unmeasured(run.method)
    others = [name for name in METHODS if name != run.method.name]
    measured: list[Any] = [*others, run.method] if methods is None else list(methods)
    sizes = sizes or Sizes()
    left = [step for step in steps if step not in skip]
    if not left:
        return []
    loop = Loop(run, run.task.load(directory) if dataset is None else dataset, workers)
    x, y = examples(run.task, loop.dataset, sizes.n_examples, [run.seed, 1])
    twin = build_network(run.task, loop.dataset, rng=0, dtype=np.float64, workers=workers)
    found = []
    stages = 5 if sizes.n_race else 4
    with progress.bar(f"probe {run.task.name}", stages * len(left)) as bar:
        for step in left:
            while loop.batches.step < step and not loop.finished:
                loop.advance()
            if loop.history.diverged_at is not None:
                break
            bar.tick("trained")
            twin.parameters = loop.network.parameters
            found.append(_measured(loop, twin, x, y, sizes, measured, bar))
            if done is not None:
                done(found[-1])
    return found


def refuse_unmeasured(method: Method) -> None:
    """Raise MeasureError for a method whose direction depends on more than the gradients.

    Raises
    ------
    MeasureError
    """
    if method.observes:
        raise MeasureError(
            f"{method.name} needs each minibatch's own variance, which gradients alone do not have."
        )


def _measured(
    loop: Loop,
    twin: Network,
    x: np.ndarray,
    y: np.ndarray,
    sizes: Sizes,
    methods: list[Any],
    bar: progress.Bar,
) -> Probe:
    run, step = loop.run, loop.batches.step
    seed = [run.seed, 2, step]
    point = network_point(twin, x, y, run.task.batch_size, sizes.n_gradients, seed)
    noise = point.noise(rng=seed)
    bar.tick("noise")
    curvature = point.curvature(
        by_block=sizes.by_layer,
        exact_below=sizes.exact_below,
        n_probes=sizes.n_probes,
        n_rows=sizes.n_rows,
        n_lanczos=sizes.n_lanczos,
        n_eigenvalues=sizes.n_eigenvalues,
        rng=seed,
    )
    bar.tick("curvature")
    own = [one for one in methods if one is run.method]
    directions = point.directions(
        methods=methods,
        states={run.method.name: _state(loop)} if own else None,
        exact_below=sizes.exact_below,
        n_products=sizes.n_products,
        rng=seed,
    )
    bar.tick("directions")
    ran = None
    if sizes.n_race:
        guesses = {row.method: row.step_size.value for row in directions.rows}
        ran = race(
            twin, x, y, run.task.batch_size, sizes.n_race, point.loss, guesses, [run.seed, 3, step]
        )
        bar.tick("race")
    return Probe(step, point.loss(np.zeros(point.dim)), noise, curvature, directions, ran)


def _state(loop: Loop) -> State:
    """The optimizer's state before the next step."""
    names, optimizer = loop.run.method.state_names, loop.optimizer
    states = {name: optimizer.states[k, 0].astype(np.float64) for k, name in enumerate(names)}
    return State(optimizer.t, states)
