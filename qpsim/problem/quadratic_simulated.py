"""The interface for simulations of a quadratic problem (:class:`qpsim.problem.interface.Problem`)."""

from __future__ import annotations

from typing import Any


class Simulated:
    """For a problem with a diagonal or dense Hessian and a :class:`qpsim.problem.noise.Noise`."""

    has_additive_noise = True

    def runs_by_coordinate(self: Any, method: Any) -> bool:
        """Whether a run's coordinates are coupled only by the step size, if needed after a rotation."""
        return self.is_diagonal or bool(method.equivariant)

    def lanes_are_independent(self: Any, method: Any) -> bool:
        """Whether a step has no matrix product over the replicates of a block."""
        return self.runs_by_coordinate(method) and self.noise.eigen_std(self) is not None

    def is_deterministic(self: Any) -> bool:
        """Whether gradients have no noise."""
        return self.noise.is_zero

    def records_moment_error(self: Any, method: Any) -> bool:
        """Whether the error of the exact step's denominator is recorded.

        It is for a rule without a closed form: on a dense Hessian, where the denominator is a truncated series, and for
        a user's rule on a diagonal one, where the quadrature may be too coarse. It is exact enough for all rules of the
        package.
        """
        if method.closed_form is not None:
            return False
        return not (self.is_diagonal and method.rule.is_builtin)

    def check_simulation(self: Any, method: Any, policy: Any, batch_size: int) -> str | None:
        """Raise errors and return a warning; see :func:`qpsim.problem.quadratic_kernel.check_simulation`."""
        from qpsim.problem.quadratic_kernel import check_simulation

        return check_simulation(self, method, policy, batch_size)

    def prepared(self: Any, method: Any, policy: Any, batch_size: int, tolerance: float) -> Any:
        """The arguments of the step loop."""
        from qpsim.problem.quadratic_kernel import prepared

        return prepared(self, method, policy, batch_size, tolerance)
