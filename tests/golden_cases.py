"""The cases of :mod:`tests.golden`: simulations, theory, commands, sweeps, networks and files that are recorded.

Some cases are marked ``rounding``: methods without a closed form with a step size computed from moments, on a diagonal
Hessian. Their moments were summed in an order that depended on how many replicates run side by side. Their bits may
change, by at most 1e-12 relatively; in single precision by 1e-6, where such a change can alter the last digit of a
stored number.

All combinations of method, basis and step size are recorded; the other settings are varied one or two at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import qpsim
from qpsim import checks, nn, sweep, theory

ROUNDING = 1e-12
ROUNDING_FLOAT32 = 1e-6
TOLERANCE = 1e-9
NETWORK_TOLERANCE = 1e-4

CLOSED = ("sgd", "ssd", "m-sgd", "m-ssd", "nesterov", "svag", "va-ssd", "va-ssd-erf", "rprop")
WITHOUT_CLOSED_FORM = ("adam", "adam*", "m-svag", "svag-ema", "rmsprop", "adagrad", "adadelta")
# Those whose kernels other tests need as well; each of the others compiles four of its own.
QUICK = ("sgd", "ssd", "m-sgd", "m-ssd", "svag", "va-ssd", "adam")
MINIBATCH = ("m-svag-mb", "adam*-mb")
METHODS = (*CLOSED, *WITHOUT_CLOSED_FORM, *MINIBATCH)
# Methods that may be simulated in single precision on a dense Hessian, too.
EQUIVARIANT = ("sgd", "m-sgd", "nesterov")
LARGE = ("sgd", "ssd", "adam", "m-svag", "adam*")
N_STEPS = 12


def schedule(t):
    """A step size that is a function of the step."""
    return 0.2 / t


POLICIES = {
    "optimal": "optimal",
    "bound": "bound",
    "line-search": "line-search",
    "constant": 0.05,
    "schedule": schedule,
}
BASES = {"diagonal": "axis", "dense": "haar"}

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """What is computed under one name.

    ``compute(workers)`` gives, by the name of an array, the array whose bits are recorded and the
    few numbers of it that are recorded as they are.
    """

    name: str
    compute: Callable[[int | None], Arrays]
    rounding: bool = False
    quick: bool = False

    @property
    def tolerance(self) -> float:
        """The relative difference that another machine may make."""
        return NETWORK_TOLERANCE if self.name.startswith("network") else TOLERANCE

    @property
    def allowed(self) -> float:
        """The relative difference that is no fault even on the machine of the recording."""
        if not self.rounding:
            return 0.0
        return ROUNDING_FLOAT32 if "float32" in self.name else ROUNDING


def cases() -> Iterator[Case]:
    """Everything that is recorded, in a fixed order."""
    yield from _theory_cases()
    yield from _command_cases()
    yield from _simulation_cases()
    yield from _special_simulations()
    yield from _sweep_cases()
    yield from _network_cases()


# Simulations


def _numbers_of(result: Any) -> Arrays:
    """The arrays of a result, and of each the numbers that are kept.

    Of the losses: the first, those of three replicates at the end, and the mean at the end.
    """
    losses = result.excess_loss
    with np.errstate(over="ignore"):
        few = np.concatenate([losses[:1, 0], losses[:3, -1], [losses[:, -1].mean()]])
    out = {"excess_loss": (losses, few)}
    if result.step_size is not None:
        out["step_size"] = (result.step_size, result.step_size[0, :2])
    if result.moment_error is not None:
        out["moment_error"] = (result.moment_error, np.zeros(0))
    if result.theta is not None:
        out["theta"] = (result.theta, result.theta[0, -1, :3])
    return out


def _simulated(*arguments: Any, workers: int | None = None, **options: Any) -> Arrays:
    return _numbers_of(qpsim.simulate(*arguments, workers=workers, rng=1705, **options))


def _simulation(
    method: str,
    basis: str,
    policy: str,
    spectrum: str = "mild",
    noise: float = 0.1,
    batch: int | None = None,
    replicates: int = 64,
    dtype: str = "float64",
    dim: int = 12,
    n_steps: int = N_STEPS,
    quick: bool = False,
) -> Case:
    if batch is None:
        batch = 16 if method in MINIBATCH else 1

    def compute(workers: int | None) -> Arrays:
        problem = qpsim.random_problem(spectrum, dim, BASES[basis], noise, rng=2018)
        return _simulated(
            problem,
            method,
            POLICIES[policy],
            n_steps,
            replicates,
            batch_size=batch,
            dtype=dtype,
            workers=workers,
        )

    of_moments = policy == "bound" or (policy == "optimal" and noise > 0)
    settings = {
        "spectrum": (spectrum, "mild"),
        "noise": (noise, 0.1),
        "batch": (batch, 1),
        "replicates": (replicates, 64),
        "dtype": (dtype, "float64"),
        "dim": (dim, 12),
        "steps": (n_steps, N_STEPS),
    }
    other = [f"{name} {value}" for name, (value, usual) in settings.items() if value != usual]
    return Case(
        ", ".join(["simulate", method, basis, policy, *other]),
        compute,
        of_moments and basis == "diagonal" and method not in CLOSED,
        quick,
    )


def _simulation_cases() -> Iterator[Case]:
    for method in METHODS:
        for basis in BASES:
            for policy in POLICIES:
                at = (method, basis, policy)
                small = 2 if method in MINIBATCH else 16
                yield _simulation(*at, replicates=1)
                yield _simulation(*at, replicates=64, quick=method in QUICK)
                yield _simulation(*at, replicates=200)
                yield _simulation(*at, noise=0.0)
                yield _simulation(*at, noise=4.0)
                yield _simulation(*at, noise=4.0, batch=small, replicates=200)
                yield _simulation(*at, spectrum="structured")
                # Strongly correlated pairs of coordinates are integrated, some 0.1 s a step.
                integrated = basis == "dense" and policy == "optimal" and method not in CLOSED
                size = {"dim": 6, "n_steps": 2} if integrated else {"replicates": 200}
                yield _simulation(*at, spectrum="structured", noise=4.0, **size)
                if basis == "diagonal" or method in EQUIVARIANT:
                    yield _simulation(*at, dtype="float32")
                    yield _simulation(
                        *at, dtype="float32", spectrum="structured", noise=4.0, replicates=200
                    )
                if method in LARGE:
                    yield _simulation(*at, spectrum="structured", dim=100)


def _special_simulations() -> Iterator[Case]:
    """Arguments that the regular cases leave at their defaults."""

    def case(
        name: str,
        compute: Callable[[int | None], Arrays],
        rounding: bool = False,
        quick: bool = True,
    ) -> Case:
        return Case(f"simulate, {name}", compute, rounding, quick)

    mild = ("mild", 12)
    starts = np.linspace(-3.0, 4.0, 12) + np.arange(70)[:, None] / 70

    def starting_points(workers: int | None) -> Arrays:
        problem = qpsim.random_problem(*mild, "haar", 0.5, rng=3)
        record = {"theta": [0, 5, N_STEPS], "step_size": None}
        return _simulated(
            problem, "ssd", "optimal", N_STEPS, 70, starts, record=record, workers=workers
        )

    yield case("starting points of their own and theta recorded", starting_points)

    def given_array(workers: int | None) -> Arrays:
        problem = qpsim.random_problem(*mild, "axis", 0.5, rng=3)
        sizes = np.linspace(0.2, 0.1, N_STEPS)
        return _simulated(problem, "m-ssd", sizes, N_STEPS, 5, record=(), workers=workers)

    yield case("an array of step sizes, step sizes not recorded", given_array)

    hyper = {
        "adam": {"b1": 0.8, "b2": 0.95, "eps": 1e-3},
        "adam*": {"momentum": 0.7},
        "m-svag": {"momentum": 0.5, "bias_corrected": True},
        "m-sgd": {"momentum": 0.5},
        "rprop": {"increase": 1.3, "decrease": 0.4},
    }
    for name, values in hyper.items():
        for basis in BASES:

            def other_hyper(
                workers: int | None, name: str = name, values: Any = values, basis: str = basis
            ) -> Arrays:
                problem = qpsim.random_problem(*mild, BASES[basis], 0.5, rng=3)
                method = qpsim.method(name, **values)
                return _simulated(problem, method, "optimal", N_STEPS, 20, workers=workers)

            yield case(
                f"{name} with other hyper-parameters, {basis}",
                other_hyper,
                basis == "diagonal" and name not in CLOSED,
                quick=name in QUICK,
            )

    def between(workers: int | None) -> Arrays:
        problem = qpsim.random_problem("log-uniform", 9, 0.5, 1.0, condition=1e4, scale=2, rng=4)
        return _simulated(problem, "va-ssd-erf", "optimal", N_STEPS, 33, workers=workers)

    yield case("a partial rotation", between, quick=False)

    def power_law(workers: int | None) -> Arrays:
        problem = qpsim.random_problem("power-law", 30, 0.1, 1.0, rng=4)
        return _simulated(problem, "svag", "optimal", N_STEPS, 33, tolerance=1e-4, workers=workers)

    yield case("a power law and a small rotation", power_law)

    def coarse(workers: int | None) -> Arrays:
        problem = qpsim.random_problem("power-law", 10, 1.0, 2.0, rng=4)
        return _simulated(problem, "adam", "optimal", N_STEPS, 9, tolerance=1e-4, workers=workers)

    yield case("a coarse tolerance", coarse)

    for name in ("sgd", "ssd", "adam"):

        def written_out(workers: int | None, name: str = name) -> Arrays:
            hessian = [[40.0, 1.0, 0.0], [1.0, 2.0, 0.3], [0.0, 0.3, 0.5]]
            problem = qpsim.QuadraticProblem(hessian, noise_std=4.0)
            return _simulated(problem, name, "optimal", 50, 65, [0.5, -5.0, 8.0], workers=workers)

        yield case(f"{name}, a matrix of three coordinates", written_out)

    def one_coordinate(workers: int | None) -> Arrays:
        problem = qpsim.QuadraticProblem([2.0], [1.5], noise_std=1.0)
        return _simulated(problem, "ssd", "optimal", 40, 17, workers=workers)

    yield case("one coordinate", one_coordinate)

    def divergence(workers: int | None) -> Arrays:
        problem = qpsim.QuadraticProblem([2.0, 60.0], [1.5, 1.0], noise_std=1.0)
        return _simulated(problem, "sgd", 1.0, 200, 17, workers=workers)

    yield case("divergence", divergence)

    def long_run(workers: int | None) -> Arrays:
        problem = qpsim.random_problem("structured", 300, "axis", 0.1, rng=5)
        return _simulated(problem, "m-ssd", "optimal", 500, 150, workers=workers)

    yield case("a long run", long_run)

    def search(workers: int | None) -> Arrays:
        problem = qpsim.random_problem("mild", 10, "haar", 0.5, rng=6)
        found = qpsim.best_constant_step(problem, "ssd", 30, 20, rng=7, workers=workers)
        return {
            "best": _all(found.best),
            "step_sizes": _few(found.step_sizes),
            "final_loss": _few(found.final_loss),
        }

    yield case("the best constant step", search)

    def quantiles(workers: int | None) -> Arrays:
        problem = qpsim.random_problem("mild", 10, "axis", 0.5, rng=6)
        result = qpsim.simulate(problem, "m-sgd", 0.1, 20, 50, rng=7, workers=workers)
        return {"quantile": _few(result.quantile([0.1, 0.5, 0.9]))}

    yield case("quantiles", quantiles)


# Theory


def _all(value: Any) -> tuple[np.ndarray, np.ndarray]:
    array = np.atleast_1d(np.asarray(value, dtype=float))
    return array, array.ravel()


def _few(value: Any) -> tuple[np.ndarray, np.ndarray]:
    """An array, and about eight of its numbers."""
    array, numbers = _all(value)
    return array, numbers[:: max(1, numbers.size // 8)]


def _theory_problems() -> Iterator[tuple[str, Any, np.ndarray]]:
    hessian = [[40.0, 1.0, 0.0], [1.0, 2.0, 0.3], [0.0, 0.3, 0.5]]
    yield (
        "three coordinates",
        qpsim.QuadraticProblem(hessian, noise_std=4.0),
        np.array([0.5, -5.0, 8.0]),
    )
    for spectrum, dim in (("mild", 12), ("structured", 100)):
        for name, basis in BASES.items():
            for noise in (0.0, 0.1, 4.0):
                problem = qpsim.random_problem(spectrum, dim, basis, noise, rng=2018)
                theta = np.linspace(-4.0, 5.0, dim)
                yield f"{spectrum} {dim}, {name}, noise {noise:g}", problem, theta


def _state(method: str, dim: int) -> Any:
    """Some state of a method after three steps; every array of it positive."""
    names = qpsim.method(method).initial_state(dim).arrays
    return qpsim.State(
        3, {name: np.linspace(0.2, 3.0 + k, dim) ** 2 for k, name in enumerate(names)}
    )


def _theory_cases() -> Iterator[Case]:
    for label, problem, theta in _theory_problems():

        def directions(_: Any, problem: Any = problem, theta: np.ndarray = theta) -> Arrays:
            rows = theory.compare_directions(problem, theta).to_dict()["rows"]
            return {
                f"{row['method']} {name}": _all(value)
                for row in rows
                for name, value in row.items()
                if isinstance(value, float)
            }

        def bounds(_: Any, problem: Any = problem, theta: np.ndarray = theta) -> Arrays:
            return {
                "bound": _all(theory.improvement_bound(problem, theta)),
                "diagonal mass": _all(problem.diagonal_mass),
                "excess loss": _all(problem.excess_loss(theta)),
                "gradient": _few(problem.gradient(theta)),
                "std": _few(problem.gradient_std()),
                "hessian": _few(problem.hessian),
                "eigenvalues": _few(problem.eigenvalues),
                "optimum": _few(problem.optimum),
                "probability": _few(
                    theory.success_probability(problem.gradient(theta), problem.gradient_std())
                ),
                "signs": _few(theory.sign_second_moment(problem, theta)),
            }

        def moments(_: Any, problem: Any = problem, theta: np.ndarray = theta) -> Arrays:
            out: Arrays = {}
            for name in METHODS:
                if problem.dim > 12 and name not in CLOSED:
                    continue
                estimate = np.full(problem.dim, 0.7) if name in MINIBATCH else None
                for state in (None, _state(name, problem.dim)):
                    at = "start" if state is None else "later"
                    asked = (problem, name, theta, state)
                    given = {"variance_estimate": estimate}
                    mean, quadratic = theory.direction_moments(*asked, **given)
                    out[f"{name} {at}: mean"] = (mean, mean[:2])
                    out[f"{name} {at}: quadratic, improvement, step"] = _all(
                        [
                            quadratic,
                            theory.expected_improvement(*asked, **given),
                            theory.optimal_step_size(*asked, **given),
                        ]
                    )
            return out

        quick = problem.dim <= 12
        yield Case(f"theory, compare_directions, {label}", directions, quick=quick)
        yield Case(f"theory, problem and bounds, {label}", bounds, quick=quick)
        yield Case(f"theory, moments of directions, {label}", moments, quick=quick)

    def scalars(_: Any) -> Arrays:
        eta2 = np.array([0.0, 1e-8, 0.3, 1.0, 17.0, 1e6, np.inf])
        gradient = np.linspace(-9.0, 9.0, 37)
        out = {
            f"factor {kind}": _all(theory.variance_adaptation_factor(eta2, kind))
            for kind in ("gradient", "sign", "adam")
        }
        out["kappa"] = _all(
            theory.momentum_correction(np.array([[0.0], [0.5], [0.9], [0.999]]), [1, 2, 10, 1e6])
        )
        out["probability"] = _few(theory.success_probability(gradient, 1.3))
        return out

    yield Case("theory, functions of numbers", scalars, quick=True)

    def risk(_: Any) -> Arrays:
        out: Arrays = {}
        for basis, methods in (
            ("diagonal", ("sgd", "m-sgd", "nesterov", "ssd")),
            ("dense", ("sgd", "m-sgd", "nesterov")),
        ):
            problem = qpsim.random_problem("mild", 12, BASES[basis], 0.5, rng=2018)
            for name in methods:
                curve = theory.expected_excess_loss(problem, name, np.zeros(12), 0.07, 40)
                out[f"{name}, {basis}"] = _few(curve)
        curve = theory.expected_excess_loss(problem, "sgd", np.zeros(12), schedule, 40)
        out["sgd, schedule"] = _few(curve)
        return out

    yield Case("theory, expected_excess_loss", risk, quick=True)


# The command line

_EXPERIMENT = """
n_steps = 20
n_replicates = 30
rng = 4
workers = 1
methods = ["sgd", "ssd", {name = "adam", b2 = 0.99, step_size = 0.05, label = "fast"}]
[problem]
spectrum = "structured"
basis = "haar"
dim = 20
noise_std = 0.3
"""

_SWEEP = """
[fixed]
spectrum = "log-uniform"
dim = 6
n_steps = 5
n_replicates = 8
[grid]
noise_std = [0.1, 2.0]
method = ["sgd", "ssd"]
[[cells]]
basis = 0.5
method = { name = "adam", b1 = 0.8 }
[[cells]]
spectrum = "mild"
method = "m-svag"
step_size = 0.1
record = "full"
"""


def run_command(*arguments: str, stdin: str = "", folder: str | None = None) -> str:
    """What ``python -m qpsim`` prints, with the very package that this process has imported."""
    root = str(Path(qpsim.__file__).resolve().parents[1])
    found = subprocess.run(
        [sys.executable, "-m", "qpsim", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        cwd=folder or tempfile.gettempdir(),
        env={**os.environ, "PYTHONPATH": root},
    )
    return found.stdout


def _command_cases() -> Iterator[Case]:
    def json_of(*arguments: str, stdin: str = "") -> Any:
        return json.loads(run_command(*arguments, "--json", stdin=stdin))

    def kappa(_: Any) -> Arrays:
        found = json_of("theory", "kappa", "0.5,0.9,0.99", "10,inf")
        return {"kappa": _all(found["kappa"])}

    def success(_: Any) -> Arrays:
        found = json_of("theory", "success", "0.5,1,-2", "1,2,3")
        return {"success_probability": _all(found["success_probability"])}

    def simulated(workers: int | None) -> Arrays:
        given = [] if workers is None else ["--workers", str(workers)]
        found = json_of("simulate", "-", *given, stdin=_EXPERIMENT)["methods"]
        return {
            label: _all([row["initial_loss"], *row["final_loss"].values()])
            for label, row in found.items()
        }

    yield Case("command, theory kappa", kappa)
    yield Case("command, theory success", success)
    yield Case("command, simulate", simulated)


# Sweeps


def small_sweep(folder: Path) -> Any:
    """Six cells, made from a TOML file as a user would write it."""
    path = folder / "small.toml"
    path.write_text(_SWEEP)
    return sweep.Sweep.from_toml(path)


def numbers_of_store(store: Any) -> Arrays:
    """Every number of every cell's row, in the order of the sweep.

    Within a row they are in the order of the names that the recorded version gave to its columns.
    """
    names = {now: before for before, now in checks.RENAMED.items()}
    rows = [
        [
            float(value)
            for _, value in sorted((names.get(name, name), value) for name, value in row.items())
            if isinstance(value, (int, float))
        ]
        for row in store.to_rows()
    ]
    full = [record for record in store if record.excess_loss is not None]
    numbers = np.array([value for row in rows for value in row])
    return {
        "rows": (numbers, numbers[::5]),
        "excess_loss": _few(np.concatenate([record.excess_loss for record in full])),
    }


def _sweep_cases() -> Iterator[Case]:
    def swept(workers: int | None) -> Arrays:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sweep.run(small_sweep(folder), folder / "store", workers=workers, progress=None)
            return numbers_of_store(sweep.Store(folder / "store"))

    yield Case("sweep, six cells", swept, quick=True)


# Networks


def _trained(run: Any, workers: int | None) -> Arrays:
    """What a training leaves: bits of everything, and numbers of what another machine gives, too.

    Two numbers are badly conditioned, and only their bits are kept. Whitening magnifies pixels that
    hardly vary: the rounding of the whitened digits changes their test loss by up to 0.5 %. And
    m-svag-mb divides by tiny variances of a deep network: its losses part after some steps.
    """
    trained = nn.train(run, workers=workers)
    weights = trained.parameters.astype(float)
    losses, test = np.array(trained.history.batch_loss), np.array(trained.history.test_loss)
    size = np.array([np.sqrt(np.square(weights).sum()), np.abs(weights).mean()])
    few, few_of_test = losses[::7], test
    if run.task.name == "digits-whitened":
        few_of_test = test[:0]
    elif run.method.name == "m-svag-mb":
        few, few_of_test = losses[:3], test[:1]
    return {
        "batch_loss": (losses, few),
        "test_loss": (test, few_of_test),
        "parameters": (trained.parameters, size),
    }


def _network(
    name: str, method: str, step_size: float, n_steps: int, dtype: str = "float32", quick=False
) -> Case:
    def compute(workers: int | None) -> Arrays:
        task = replace(nn.task(name), n_steps=n_steps, evaluate_every=n_steps // 2)
        run = nn.Run(task, qpsim.method(method), step_size, rng=1, dtype=dtype)
        return _trained(run, workers)

    return Case(f"network, {name}, {method}, {dtype}", compute, quick=quick)


def _network_cases() -> Iterator[Case]:
    for method, step_size in (("m-sgd", 0.1), ("m-svag", 0.3), ("m-ssd", 0.003), ("adam", 0.003)):
        yield _network("digits-whitened", method, step_size, 60, quick=True)
    for method in ("adam*", "m-svag-mb", "adam*-mb", "rmsprop", "adadelta", "rprop"):
        yield _network("digits-whitened", method, 0.003, 40)
    for name, n_steps in (("digits-mlp", 40), ("digits-cnn", 20)):
        yield _network(name, "adam", 0.003, n_steps)
        yield _network(name, "m-svag", 0.1, n_steps)
        yield _network(name, "m-svag-mb", 0.1, n_steps)
        yield _network(name, "m-sgd", 0.1, n_steps, "float64")
    yield _network("synthetic-10", "m-svag", 0.1, 12)
    yield _network("synthetic-100", "adam", 0.003, 8)


# Saved files


def small_simulation(**options: Any) -> Any:
    """The simulation whose result is among the saved files."""
    problem = qpsim.random_problem("mild", 5, "haar", 0.5, rng=1)
    method = qpsim.method("adam", b1=0.8)
    record = ("step_size", "theta")
    return qpsim.simulate(problem, method, "optimal", 6, 4, rng=2, record=record, **options)


def small_continued(**options: Any) -> Any:
    """The simulation whose checkpoint is among the saved files.

    A checkpoint is known again by the bits of the problem: nothing of it is computed here.
    """
    problem = qpsim.QuadraticProblem([0.5, 1.0, 2.0, 30.0], [4.0, -3.0, 2.0, 1.0], 0.5)
    return qpsim.simulate(problem, "m-ssd", "optimal", 6, 4, rng=2, **options)


def small_state() -> Any:
    """The state that is among the saved files."""
    arrays = {"m": np.linspace(-1.0, 1.0, 7), "v": np.linspace(0.0, 3.0, 7) ** 2}
    return qpsim.State(9, arrays)


def small_training(n_steps: int, path: Path | None = None) -> Any:
    """The training whose checkpoint is among the saved files; it was put down after 10 steps."""
    task = replace(nn.task("digits-whitened"), n_steps=n_steps, evaluate_every=5)
    run = nn.Run(task, qpsim.method("m-svag"), 0.3, rng=3)
    return nn.train(run, workers=1, checkpoint=path)


def write_files(folder: Path) -> None:
    """One file of every kind that the package saves, and one store of a sweep.

    The log and the lock of the sweep's run are left out: they name the machine.
    """
    folder.mkdir(parents=True)
    small_simulation(workers=1).save(folder / "result.npz")
    small_state().save(folder / "state.npz")
    small_continued(workers=1, checkpoint=folder / "simulation.checkpoint")
    small_training(10, folder / "training.checkpoint")
    store = folder / "store"
    sweep.run(small_sweep(folder), store, workers=1, progress=None)
    shutil.rmtree(store / "runs")
    (store / "lock").unlink()
