"""The same ensembles, written as a user of another array library would write them.

The step is written once with functions that NumPy, PyTorch and JAX have in common, and run in NumPy,
in PyTorch, and in JAX under ``jit`` and ``scan``; the fourth peer is :mod:`qpsim.bench.loops`. All use
float64, replicates as rows and the generator of their library. The exact sign step is Plackett's
integral by Gauss-Legendre quadrature, to the same accuracy as in the package.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from qpsim.bench import loops, peer_noise
from qpsim.bench.peer_parts import Constants, Library
from qpsim.bench.workloads import Workload
from qpsim.problem.least_squares import LeastSquares
from qpsim.problem.quadratic import QuadraticProblem

NAMES = ("numpy", "numba", "jax", "torch")
# A peer's pairs x replicates at a time in eager libraries, about 64 MB an array.
_EAGER_PAIRS = 1 << 23


def reason_missing(name: str, workload: Workload) -> str | None:
    """Why a peer cannot take part; None if it can."""
    if find_spec(name) is None:
        return f"{name} is not installed (pip install 'qpsim[bench]')"
    if workload.group == "scale":
        return "the workload is too large for it"
    if name == "numba" and workload.group == "noise":
        return "its plain loop has the paper's noise only"
    if name == "numba" and workload.basis != "axis":
        return "its plain loop is one over uncoupled coordinates"
    return None


def prepare(name: str, workload: Workload, workers: int) -> Callable[[int], np.ndarray]:
    """A function from a seed to the final losses (n_replicates,) of a run of the workload."""
    problem = workload.problem()
    maker = {"numpy": _numpy, "numba": _numba, "jax": _jax, "torch": _torch}[name]
    return maker(workload, problem, workers)


def initial_state(workload: Workload, zeros: Any) -> tuple[Any, ...]:
    """Adam's and M-SVAG's two moving averages."""
    return (zeros, zeros) if workload.method in ("adam", "m-svag") else ()


def step(
    workload: Workload,
    library: Library,
    constants: Constants,
    error: Any,
    state: tuple[Any, ...],
    normals: Any,
    t: Any,
) -> tuple[Any, tuple[Any, ...]]:
    """One step of all replicates: new errors (replicate, coordinate) and state."""
    xp, dim = library.module, workload.dim
    if workload.least_squares:
        moved = peer_noise.least_squares_step(workload, library, constants, error, normals)
        return moved, state
    gradient = _times(error, constants.hessian)
    noise = _times(normals[:, :dim], constants.noise)
    if workload.df is not None:
        noise = peer_noise.tailed(workload, library, noise, normals[:, dim:])
    drawn = gradient - noise
    if workload.method == "adam":
        m = 0.9 * state[0] + 0.1 * drawn
        v = 0.999 * state[1] + 0.001 * drawn * drawn
        direction = m / (1.0 - 0.9**t) / (xp.sqrt(v / (1.0 - 0.999**t)) + 1e-8)
        return error - workload.step_size * direction, (m, v)
    if workload.method == "m-svag":
        raw_m = 0.9 * state[0] + 0.1 * drawn
        raw_v = 0.9 * state[1] + 0.1 * drawn * drawn
        m, v = raw_m / (1.0 - 0.9**t), raw_v / (1.0 - 0.9**t)
        kappa = 0.1 * (1.0 + 0.9**t) / (1.9 * (1.0 - 0.9**t))
        variance = xp.abs(v - m * m)
        return error - workload.step_size * m**3 / (m * m + kappa * variance), (raw_m, raw_v)
    if workload.method == "sgd":
        numerator = (gradient * gradient).sum(1)
        denominator = (gradient * _times(gradient, constants.hessian)).sum(1) + constants.quadratic
        return error - (numerator / denominator)[:, None] * drawn, state
    standard = gradient / constants.std
    mean = peer_noise.mean_sign(library, constants, standard)
    numerator = (gradient * mean).sum(1)
    denominator = constants.quadratic
    if workload.step_size == "optimal" and workload.basis != "axis":
        denominator = denominator + sign_form(workload, library, constants, standard)
    return error - (numerator / denominator)[:, None] * xp.sign(drawn), state


def losses(constants: Constants, error: Any) -> Any:
    """Excess loss of every replicate."""
    return 0.5 * (error * _times(error, constants.hessian)).sum(1)


def error_function() -> Callable[[Any], Any]:
    """erf for NumPy's arrays."""
    from scipy.special import erf

    return erf


def _times(rows: Any, matrix: Any) -> Any:
    return rows * matrix if matrix.ndim == 1 else rows @ matrix


def sign_form(workload: Workload, library: Library, constants: Constants, standard: Any) -> Any:
    """sum_{i != j} q_ij E[s_i s_j]: see :mod:`qpsim.kernels.signs`."""
    total = peer_noise.mean_form(library, constants, standard)
    for first, second, sign, nodes in constants.groups:
        x, y = standard[:, first], standard[:, second] * sign
        square, product = (x - y) ** 2, x * y
        for p, q, weight in nodes:
            value = peer_noise.damped(workload, library, square * p + product * q)
            total = total + (weight * value).sum(1)
    return total


def constants_of(
    workload: Workload, problem: QuadraticProblem | LeastSquares, library: Library
) -> Constants:
    """A workload's problem in a library's arrays."""
    hessian = np.asarray(problem.hessian)
    if isinstance(problem, LeastSquares):
        return _least_squares_constants(workload, hessian, library)
    quadratic: Any
    if workload.method == "sgd":
        noise = problem.noise
        variance = noise.law.variance * noise.matrix(problem)
        quadratic = np.sum(hessian * variance)
    elif workload.step_size == "bound":
        quadratic = np.abs(hessian).sum()
    else:
        quadratic = np.sum(problem.eigenvalues)
    exact_signs = workload.method == "ssd" and workload.step_size == "optimal"
    groups = []
    if exact_signs and not problem.is_diagonal:
        for first, second, sign, nodes in _nodes(workload, problem):
            parts = [
                tuple(library.array(nodes[:, 3 * k + m]) for m in range(3))
                for k in range(nodes.shape[1] // 3)
            ]
            groups.append((library.array(first), library.array(second), library.array(sign), parts))
    root: np.ndarray
    if workload.noise == "data":
        root = problem.noise.level * hessian
    else:
        root = np.linalg.cholesky(problem.gradient_covariance()).T
    return Constants(
        library.array(hessian),
        library.array(root),
        library.array(problem.gradient_scale()),
        library.array(np.asarray(quadratic)),
        groups,
        peer_noise.scales(workload),
    )


def _least_squares_constants(
    workload: Workload, hessian: np.ndarray, library: Library
) -> Constants:
    std = np.sqrt(np.diagonal(hessian))
    correlation = np.clip(hessian / np.outer(std, std), -1.0, 1.0)
    quadratic = np.trace(hessian)
    if workload.batch_size == 1:
        quadratic = np.sum(hessian * np.arcsin(correlation)) * 2.0 / np.pi
    first, second = np.triu_indices(workload.dim, 1)
    pairs = tuple(library.array(part) for part in (first, second, hessian[first, second]))
    return Constants(
        library.array(hessian),
        library.array(np.linalg.cholesky(hessian).T),
        library.array(std),
        library.array(np.asarray(quadratic)),
        [pairs],
        peer_noise.scales(workload),
    )


def _nodes(workload: Workload, problem: QuadraticProblem) -> list[tuple[np.ndarray, ...]]:
    """Pairs (first, second, sign) and their nodes (pair, 3 n), one entry a number of nodes."""
    from qpsim.kernels import sign_table

    hessian, correlation = np.asarray(problem.hessian), problem.gradient_correlation()
    if workload.shared_nodes:
        return sign_table.pair_table(hessian, correlation, series=False).groups()
    first, second = np.triu_indices(workload.dim, 1)
    signed = correlation[first, second]
    sign = np.where(signed < 0.0, -1.0, 1.0)
    n = next(n for upper, n in sign_table.NODE_CLASSES if upper >= np.abs(signed).max())
    nodes = sign_table.quadrature_nodes(np.abs(signed), n)
    nodes[:, :, 2] *= (2.0 * hessian[first, second] * sign)[:, None]
    return [(first, second, sign, nodes.reshape(first.size, -1))]


def _start(workload: Workload, problem: QuadraticProblem | LeastSquares) -> np.ndarray:
    return np.tile(-problem.optimum, (workload.n_replicates, 1))


def _rows_at_a_time(workload: Workload, constants: Constants) -> int:
    pairs = max([len(group[0]) for group in constants.groups], default=1)
    return max(1, _EAGER_PAIRS // pairs) if constants.groups else workload.n_replicates


def _numpy(
    workload: Workload, problem: QuadraticProblem | LeastSquares, workers: int
) -> Callable[[int], np.ndarray]:
    from threadpoolctl import threadpool_limits

    library = Library(np, error_function(), np.asarray)
    constants = constants_of(workload, problem, library)
    start = _start(workload, problem)
    rows = _rows_at_a_time(workload, constants)
    width = workload.dim + peer_noise.extra_normals(workload)

    def run(seed: int) -> np.ndarray:
        generator = np.random.default_rng(seed)
        final = []
        with threadpool_limits(workers), np.errstate(all="ignore"):
            for first in range(0, workload.n_replicates, rows):
                error = start[first : first + rows]
                state = initial_state(workload, np.zeros_like(error))
                for t in range(1, workload.n_steps + 1):
                    normals = generator.standard_normal((len(error), width))
                    error, state = step(workload, library, constants, error, state, normals, t)
                final.append(losses(constants, error))
        return np.concatenate(final)

    return run


def _numba(workload: Workload, problem: Any, workers: int) -> Callable[[int], np.ndarray]:
    constants = constants_of(workload, problem, Library(np, error_function(), np.asarray))
    return loops.prepare(workload, problem, float(constants.quadratic), workers)


def _torch(
    workload: Workload, problem: QuadraticProblem | LeastSquares, workers: int
) -> Callable[[int], np.ndarray]:
    torch = import_module("torch")
    torch.set_num_threads(workers)
    library = Library(torch, torch.erf, partial(torch.tensor))
    constants = constants_of(workload, problem, library)
    start = torch.tensor(_start(workload, problem))
    rows = _rows_at_a_time(workload, constants)
    width = workload.dim + peer_noise.extra_normals(workload)

    def run(seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        final = []
        with torch.inference_mode():
            for first in range(0, workload.n_replicates, rows):
                error = start[first : first + rows]
                state = initial_state(workload, torch.zeros_like(error))
                for t in range(1, workload.n_steps + 1):
                    normals = torch.empty((len(error), width), dtype=error.dtype)
                    normals.normal_(generator=generator)
                    error, state = step(workload, library, constants, error, state, normals, t)
                final.append(losses(constants, error))
            return torch.cat(final).numpy()

    return run


def _jax(
    workload: Workload, problem: QuadraticProblem | LeastSquares, workers: int
) -> Callable[[int], np.ndarray]:
    jax = import_module("jax")
    jnp = import_module("jax.numpy")
    library = Library(jnp, jax.scipy.special.erf, jnp.asarray)
    width = workload.dim + peer_noise.extra_normals(workload)

    @jax.jit
    def simulated(constants: Constants, start: Any, key: Any) -> Any:
        def body(carry: Any, key: Any) -> Any:
            error, state, t = carry
            normals = jax.random.normal(key, (len(error), width), dtype=error.dtype)
            error, state = step(workload, library, constants, error, state, normals, t)
            return (error, state, t + 1.0), None

        state = initial_state(workload, jnp.zeros_like(start))
        keys = jax.random.split(key, workload.n_steps)
        (error, _, _), _ = jax.lax.scan(body, (start, state, 1.0), keys)
        return losses(constants, error)

    # A context rather than the global switch: this process may hold other JAX code.
    place = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    double = place.enable_x64
    with double(True):
        constants = constants_of(workload, problem, library)
        start = jnp.asarray(_start(workload, problem))

    def run(seed: int) -> np.ndarray:
        with double(True):
            return np.asarray(simulated(constants, start, jax.random.PRNGKey(seed)))

    return run
