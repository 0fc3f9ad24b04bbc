"""A replicate's bits do not depend on workers or on the number of replicates."""

import numpy as np
import pytest

import qpsim
from qpsim.methods import method_names

POLICIES = {
    "optimal": "optimal",
    "bound": "bound",
    "line-search": "line-search",
    "constant": 0.03,
    "schedule": lambda t: 0.1 / t,
}
BASES = ("axis", "haar")
# Number of replicates and of workers.
RUNS = [(256, 4), (256, 1), (130, 2), (65, 1), (65, 2), (17, 1), (1, 1)]
FEW_RUNS = [(130, 2), (65, 1), (3, 1)]


def assert_own_bits(name, policy, basis, dtype, runs, dim=6, n_steps=4):
    problem = qpsim.random_problem("mild", dim, basis, 0.5, rng=1)
    method = qpsim.method(name)
    results = [
        qpsim.simulate(
            problem,
            method,
            POLICIES[policy],
            n_steps,
            n,
            rng=3,
            workers=workers,
            batch_size=4 if method.observes == "variance_estimate" else 1,
            dtype=dtype,
            record={"step_size": True, "theta": [n_steps]},
        )
        for n, workers in runs
    ]
    for (n, workers), other in zip(runs, results, strict=True):
        said = f"{n} replicates, {workers} workers"
        for array in ("excess_loss", "step_size", "theta", "moment_error"):
            most, found = getattr(results[0], array), getattr(other, array)
            assert (most is None) == (found is None)
            if found is not None:
                np.testing.assert_array_equal(found, most[:n], said)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize(
    ("name", "policy"),
    [("sgd", "optimal"), ("ssd", "bound"), ("m-ssd", "line-search"), ("adam", "constant")],
)
def test_a_replicates_bits_are_its_own(name, policy, basis):
    assert_own_bits(name, policy, basis, "float64", FEW_RUNS)


def test_a_replicates_bits_are_its_own_in_single_precision():
    assert_own_bits("m-sgd", "optimal", "haar", "float32", FEW_RUNS)
    assert_own_bits("ssd", "optimal", "axis", "float32", FEW_RUNS)


@pytest.mark.long
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", method_names())
def test_every_methods_replicates_have_bits_of_their_own(name, policy):
    equivariant = qpsim.method(name).equivariant
    for basis in BASES:
        for dtype in ("float64", "float32"):
            if dtype == "float64" or basis == "axis" or equivariant:
                assert_own_bits(name, policy, basis, dtype, RUNS)
    # Wider than a vector of lanes and a tile of rows.
    assert_own_bits(name, policy, "haar", "float64", FEW_RUNS, dim=37, n_steps=2)
