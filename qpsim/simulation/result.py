"""``Result``: the arrays that a simulation has recorded, its specification and its provenance.

A result is saved as one .npz file with a JSON header. Running its specification again in the same environment gives the
same bits.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim import checks
from qpsim.errors import FileError, SimulationError
from qpsim.files.archive import read_arrays, write_arrays
from qpsim.methods import Method
from qpsim.methods.method import defined_rule
from qpsim.problem.interface import Problem
from qpsim.problem.saved import problem_from_dict
from qpsim.rules import step_policies as codes
from qpsim.simulation.plan import DTYPES, Plan, plan_spec, starting_points
from qpsim.simulation.stepsize import Policy
from qpsim.theory.averaging import average_of

_KIND = "result"
# Number of losses that are copied and sorted at once.
_SORTED_ELEMENTS = 1 << 22
AXES = {
    "excess_loss": ("replicate", "step"),
    "step_size": ("replicate", "step"),
    "moment_error": ("replicate", "step"),
    "theta": ("replicate", "kept_step", "coordinate"),
    "averaged_excess_loss": ("replicate", "step"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """An ensemble of runs. Made by :func:`qpsim.simulate` or :func:`qpsim.load`.

    Attributes
    ----------
    excess_loss : ndarray, shape (n_replicates, n_steps + 1), float64
        Excess loss before the first step and after each; +inf once a replicate has diverged. Add
        ``problem.noise_floor`` for the expected loss of Eq. 9.
    step_size : ndarray, shape (n_replicates, n_steps), or None if not recorded
    moment_error : ndarray, shape (n_replicates, n_steps), or None
        Bound on the relative error of E[z^T Q z] in the optimal step of a method without a closed form. On a dense
        Hessian E[z^T Q z] is a truncated series; the bound is at most the tolerance, unless the largest number of terms
        was reached first. On a diagonal Hessian it is a quadrature, whose error is recorded for a user's rule; it is 0
        if the quadrature has resolved the rule. Not in the bound are: a peak or gap of the direction that is narrower
        than an eighth of the gradient's standard deviation and that no breakpoint declares; rounding errors of the
        quadrature (about 1e-11); and the error of 1e-9 of tabulated integrals of signs, which adam* uses in its first
        step.
    theta : ndarray, shape (n_replicates, len(theta_steps), d), or None if not recorded
    averaged_excess_loss : ndarray, shape (n_replicates, n_steps + 1), or None if not asked for
        Excess loss of the average of the iterates, before the first step and after each.
    provenance : dict
        Versions, git revision, seed, block size, CPU, wall time: plain JSON values.
    """

    plan: Plan
    excess_loss: np.ndarray
    step_size: np.ndarray | None
    moment_error: np.ndarray | None
    theta: np.ndarray | None
    provenance: dict[str, Any]
    averaged_excess_loss: np.ndarray | None = None

    def __post_init__(self) -> None:
        for array in (getattr(self, name) for name in AXES):
            if array is not None:
                array.flags.writeable = False

    @property
    def problem(self) -> Problem:
        """The problem that was simulated."""
        return self.plan.problem

    @property
    def method(self) -> Method:
        """The method that was simulated."""
        return self.plan.method

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return self.plan.n_steps

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        return self.plan.n_replicates

    @property
    def theta_steps(self) -> tuple[int, ...]:
        """Steps after which theta was recorded."""
        return self.plan.theta_steps

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Names of the axes of every recorded array."""
        return {name: axes for name, axes in AXES.items() if getattr(self, name) is not None}

    @property
    def spec(self) -> dict[str, Any]:
        """The full specification without its arrays, as plain JSON values."""
        return plan_spec(self.plan)

    def quantile(self, q: ArrayLike) -> np.ndarray:
        """Quantiles of the excess loss over replicates, shape (*q.shape, n_steps + 1).

        Raises
        ------
        SimulationError
            A probability outside [0, 1], or no number.

        Examples
        --------
        >>> import qpsim
        >>> p = qpsim.random_problem("mild", dim=5, basis="axis", rng=0)
        >>> r = qpsim.simulate(p, "sgd", n_steps=3, n_replicates=8, rng=0, workers=1)
        >>> r.quantile([0.1, 0.5, 0.9]).shape
        (3, 4)
        """
        probabilities = checks.numbers("q", q, SimulationError)
        inside = (probabilities >= 0) & (probabilities <= 1)
        if probabilities.ndim > 2 or probabilities.size == 0 or not inside.all():
            raise SimulationError(f"Quantiles need probabilities in [0, 1], not {checks.shown(q)}.")
        # A few steps at a time, since sorting makes a copy and the record may take half of the memory.
        at_once = max(1, _SORTED_ELEMENTS // self.n_replicates)
        return np.concatenate(
            [
                _quantiles(self.excess_loss[:, first : first + at_once], probabilities)
                for first in range(0, self.n_steps + 1, at_once)
            ],
            axis=-1,
        )

    def summary(self) -> dict[str, Any]:
        """Method, policy and the 10, 50 and 90 % quantiles of the final excess loss."""
        low, median, high = _quantiles(self.excess_loss[:, -1:], np.array([0.1, 0.5, 0.9]))[:, 0]
        return {
            "method": repr(self.method),
            "step_size": self.plan.policy.name,
            "n_steps": self.n_steps,
            "n_replicates": self.n_replicates,
            "initial_loss": float(np.median(self.excess_loss[:, 0])),
            "final_loss": {"10%": float(low), "median": float(median), "90%": float(high)},
            "diverged": int(np.isinf(self.excess_loss[:, -1]).sum()),
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to one .npz file, atomically.

        Raises
        ------
        FileError
            The place cannot be written.
        """
        plan, problem = self.plan, self.problem
        arrays = {
            "excess_loss": self.excess_loss,
            "step_size": self.step_size,
            "moment_error": self.moment_error,
            "theta": self.theta,
            "averaged_excess_loss": self.averaged_excess_loss,
            "theta0": plan.theta0,
            "given": plan.policy.given,
            **{f"problem {name}": array for name, array in problem.arrays().items()},
        }
        present = {name: array for name, array in arrays.items() if array is not None}
        rule = {"module": self.method.rule.module, "attribute": self.method.rule.attribute}
        header = {
            "spec": self.spec,
            "rule": rule,
            "axes": {name: list(axes) for name, axes in self.axes.items()},
            "provenance": self.provenance,
        }
        return write_arrays(path, _KIND, header, present)

    def to_xarray(self) -> Any:
        """The record as an ``xarray.Dataset`` with named dimensions (extra ``qpsim[xarray]``).

        Raises
        ------
        SimulationError
            xarray is not installed.
        """
        try:
            import xarray
        except ImportError:
            raise SimulationError(
                'to_xarray needs xarray; install it with: pip install "qpsim[xarray]"'
            ) from None
        data: dict[str, Any] = {"excess_loss": (("replicate", "step"), self.excess_loss)}
        coords: dict[str, Any] = {
            "replicate": np.arange(self.n_replicates),
            "step": np.arange(self.n_steps + 1),
        }
        for name in ("step_size", "moment_error"):
            if getattr(self, name) is not None:
                data[name] = (("replicate", "taken_step"), getattr(self, name))
                coords["taken_step"] = np.arange(1, self.n_steps + 1)
        if self.theta is not None:
            data["theta"] = (AXES["theta"], self.theta)
            coords["kept_step"] = np.array(self.theta_steps)
        if self.averaged_excess_loss is not None:
            data["averaged_excess_loss"] = (("replicate", "step"), self.averaged_excess_loss)
        return xarray.Dataset(data, coords, attrs={"method": repr(self.method)})

    def __repr__(self) -> str:
        return (
            f"<Result {self.method!r}, {self.plan.policy.name} step size, "
            f"{self.n_replicates} replicates x {self.n_steps} steps, dim={self.problem.dim}>"
        )


def load(path: str | os.PathLike[str]) -> Result:
    """Read a result that :meth:`Result.save` wrote. Nothing in the file is ever executed.

    Raises
    ------
    FileError
        The file is missing, truncated, damaged or not a qpsim result, or it was made by a rule that
        is not part of this qpsim and has not been defined in this process.
    """
    header, arrays = read_arrays(path, _KIND)
    try:
        plan = _plan(header, arrays)
        n, d = plan.n_replicates, plan.problem.dim
        shapes = {"excess_loss": (n, plan.n_steps + 1), "given": (plan.n_steps,)}
        if plan.keep_step_size:
            shapes["step_size"] = (n, plan.n_steps)
        # Version 0.1 has not recorded moment_error for a user's rule on a diagonal Hessian.
        if plan.uses_series and not (plan.runs_by_coordinate and "moment_error" not in arrays):
            shapes["moment_error"] = (n, plan.n_steps)
        if plan.theta_steps:
            shapes["theta"] = (n, len(plan.theta_steps), d)
        if plan.average is not None:
            shapes["averaged_excess_loss"] = (n, plan.n_steps + 1)
        for name, shape in shapes.items():
            if arrays[name].shape != shape or arrays[name].dtype != np.float64:
                raise ValueError(f"its {name} is not of shape {shape} and type float64")
            if np.isnan(arrays[name]).any():
                raise ValueError(f"its {name} holds NaN")
        return Result(
            plan,
            arrays["excess_loss"],
            arrays["step_size"] if plan.keep_step_size else None,
            arrays["moment_error"] if "moment_error" in shapes else None,
            arrays["theta"] if plan.theta_steps else None,
            header["provenance"],
            arrays["averaged_excess_loss"] if plan.average is not None else None,
        )
    except FileError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FileError(f"{path} is no complete qpsim result ({error}).") from None


def _plan(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Plan:
    spec = header["spec"]
    seed = spec["seed"]
    # Files of version 0.1 have the problem's arrays without the prefix.
    parts = {name.removeprefix("problem "): array for name, array in arrays.items()}
    problem = problem_from_dict(spec["problem"], parts)
    code = spec["step_size_code"]
    if code not in codes.ALL:
        raise ValueError(f"step-size code {code!r}")
    if spec["dtype"] not in DTYPES:
        raise ValueError(f"dtype {spec['dtype']!r}")
    if not 0.0 < spec["tolerance"] < 1.0:
        raise ValueError(f"tolerance {spec['tolerance']!r}")
    if not (np.isfinite(arrays["given"]) & (arrays["given"] >= 0)).all():
        raise ValueError("a given step size that is negative or not finite")
    for name in ("n_steps", "n_replicates", "batch_size", "block_size"):
        checks.count(name, spec[name], SimulationError)
    return Plan(
        problem=problem,
        method=_method(spec["method"], header["rule"]),
        policy=Policy(str(spec["step_size"]), int(code), arrays["given"]),
        n_steps=int(spec["n_steps"]),
        n_replicates=int(spec["n_replicates"]),
        batch_size=int(spec["batch_size"]),
        theta0=starting_points(arrays["theta0"], problem, spec["n_replicates"]),
        seed=np.random.SeedSequence(
            seed["entropy"], spawn_key=tuple(seed["spawn_key"]), pool_size=seed["pool_size"]
        ),
        block_size=int(spec["block_size"]),
        keep_step_size=bool(spec["record"]["step_size"]),
        theta_steps=tuple(int(step) for step in spec["record"]["theta"]),
        tolerance=float(spec["tolerance"]),
        dtype=spec["dtype"],
        token=uuid.uuid4().hex,
        average=average_of(spec["record"].get("average"), SimulationError, int(spec["n_steps"])),
    )


def _method(spec: dict[str, Any], place: dict[str, str]) -> Method:
    """The method, found by the module of its rule, since a user's rule may have the name of a registered one."""
    rule = defined_rule(place["module"], place["attribute"])
    if rule is None or rule.name != spec["name"]:
        raise FileError(
            f"The rule {place['module']}.{place['attribute']} is not defined in this process; define "
            "it, or import the module that does, then load the result it made."
        )
    return rule(**spec["hyper"])


def _quantiles(losses: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Quantiles over the first axis; values may be infinite."""
    # Interpolation between a number and infinity, or between two infinities, gives infinity; NumPy would give NaN in
    # the second case.
    values = np.quantile(np.minimum(losses, np.finfo(float).max), probabilities, axis=0)
    above = np.quantile(losses, probabilities, axis=0, method="higher")
    below = np.quantile(losses, probabilities, axis=0, method="lower")
    return np.where(np.isinf(above) & (np.isinf(below) | (values > below)), np.inf, values)
