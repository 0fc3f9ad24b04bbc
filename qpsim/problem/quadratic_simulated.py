"""What a simulation asks of a quadratic problem (:class:`qpsim.problem.interface.Problem`)."""

from __future__ import annotations

from typing import Any


class Simulated:
    """Answers of a problem that has a Hessian, diagonal or dense, and a :class:`qpsim.problem.noise.Noise`."""

    has_additive_noise = True

    def runs_by_coordinate(self: Any, method: Any) -> bool:
        """Whether the method's coordinates couple through the step size alone, after a rotation at most."""
        return self.is_diagonal or bool(method.equivariant)

    def lanes_are_independent(self: Any, method: Any) -> bool:
        """Whether no matrix product couples the replicates of a block."""
        return self.runs_by_coordinate(method) and self.noise.eigen_std(self) is not None

    def is_deterministic(self: Any) -> bool:
        """Whether gradients have no noise."""
        return self.noise.is_zero

    def records_moment_error(self: Any, method: Any) -> bool:
        """Whether the exact step's denominator has an error worth recording.

        It has on a dense Hessian, where it is a truncated series. On a diagonal one it is a quadrature, which resolves
        all rules of the package; a user's rule may turn more often than there is room for.
        """
        if method.closed_form is not None:
            return False
        return not (self.is_diagonal and method.rule.is_builtin)

    def check_simulation(self: Any, method: Any, policy: Any, batch_size: int) -> None:
        """Refuse or warn of what cannot be done exactly; see :mod:`qpsim.problem.quadratic_kernel`."""
        from qpsim.problem.quadratic_kernel import check_simulation

        check_simulation(self, method, policy, batch_size)

    def prepared(self: Any, method: Any, policy: Any, batch_size: int, tolerance: float) -> Any:
        """The arguments of the step loop."""
        from qpsim.problem.quadratic_kernel import prepared

        return prepared(self, method, policy, batch_size, tolerance)
