"""The diagonal's share of a Hessian, and the chain of Section 2.1."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim import theory
from qpsim.errors import TheoryError

Q = np.array([[2.0, 0.8, -0.5], [0.8, 1.5, 0.3], [-0.5, 0.3, 3.0]])


def test_diagonal_mass_and_the_chain():
    p = qpsim.QuadraticProblem(Q)
    assert theory.diagonal_mass(p) == theory.diagonal_mass(Q) == pytest.approx(6.5 / 9.7)
    assert theory.diagonal_mass(np.stack([Q, np.eye(3)])).tolist() == [theory.diagonal_mass(Q), 1.0]
    values, vectors = np.linalg.eigh(Q)
    chain = theory.mass_inequality(p)
    assert chain.trace == pytest.approx(6.5) and chain.entries == pytest.approx(9.7)
    by_hand = sum(v * np.abs(vectors[:, k]).sum() ** 2 for k, v in enumerate(values))
    assert chain.eigenvectors == pytest.approx(by_hand)
    assert chain.trace < chain.entries < chain.eigenvectors < chain.worst == pytest.approx(19.5)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_chain_is_ordered(seed, dim):
    chain = theory.mass_inequality(qpsim.random_problem("mild", dim=dim, rng=seed))
    for low, high in pairwise(chain):
        assert low <= high * (1 + 1e-12)


@pytest.mark.parametrize(
    ("matrix", "sentence"),
    [(np.zeros((2, 2)), "zeros"), (np.ones((2, 3)), "shape"), ([[np.nan]], "NaN")],
)
def test_what_has_no_share_is_refused(matrix, sentence):
    with pytest.raises(TheoryError, match=sentence):
        theory.diagonal_mass(matrix)
