"""Head and nodes give a pair's integral at the end of every class, and no class has more nodes than needed."""

import math

import numpy as np
import pytest
from scipy.special import erf

from qpsim.kernels import sign_rules, sign_table, signs
from tests import naive

DIM = 40


def alike(r, a, b):
    """The form of a problem whose pairs all have |q_ij| = q_ii = 1 and r_ij = r: value, truth, truth at 0.

    Less what independent signs would give. In lane l half of the coordinates have the mean a[l], the
    others b[l].
    """
    hessian, correlation = np.full((2, DIM, DIM), np.reshape([math.copysign(1, r), r], (2, 1, 1)))
    np.fill_diagonal(hessian, 1.0)
    np.fill_diagonal(correlation, 1.0)
    half = DIM // 2
    means = np.repeat(np.stack([a, b]), half, axis=0)
    out = np.empty(len(a))
    table = sign_table.pair_table(hessian, correlation)
    signs.sign_integrals(table, means, np.ones_like(means), out)

    def integral(x, y):
        product = math.erf(x / 2**0.5) * math.erf(y / 2**0.5)
        return math.copysign(1, r) * (naive.sign_product(x, y, r) - product)

    truth = [
        half * (half - 1) * (integral(x, x) + integral(y, y)) + 2 * half**2 * integral(x, y)
        for x, y in zip(a.tolist(), b.tolist(), strict=True)
    ]
    at_0 = DIM + DIM * (DIM - 1) * integral(0.0, 0.0)
    return out, np.array(truth), at_0


def ends():
    """The largest |r| that gets along with 0, 1, 2, ... nodes, in the problem above."""
    alone = np.full(sign_rules.bin_ends().size, 99)
    largest = {}
    for r in sign_rules.bin_ends():
        size = np.full(DIM * (DIM - 1) // 2, r)
        at_0 = DIM + DIM * (DIM - 1) * 2 / math.pi * math.asin(r)
        split = sign_rules.cheapest_split(size, np.ones_like(size), DIM, at_0, alone)
        if split is None:  # no rule reaches so far
            break
        largest[int(split.nodes[sign_rules.bins_of(size[:1])[0]])] = float(r)
    return largest


def largest_error(r):
    a = np.array([0.0, 0.0, 0.3, 0.8, 1.0, 1.5, 2.5, 0.5, 4.0])
    b = np.array([0.0, 0.7, 0.3, -0.8, 2.0, 1.5, 2.5, -3.0, 4.0])
    value, truth, at_0 = alike(r, a, b)
    return np.max(np.abs(value - truth)) / at_0


@pytest.fixture
def only(monkeypatch):
    """Make every table take one head, whatever it costs, in double precision."""

    def choose(head):
        monkeypatch.setattr(sign_rules, "HEADS", (head,))
        monkeypatch.setattr(sign_rules, "LONGEST_HEADS", (head,))
        monkeypatch.setattr(sign_rules, "_NODE_COST", 1e9)
        monkeypatch.setattr(sign_rules, "_SINGLE_TOLERANCE", 0.0)

    return choose


@pytest.mark.parametrize("head", [4, 10, 18, 30])
def test_at_the_end_of_a_class_its_nodes_are_enough_and_one_fewer_is_not(head, only, monkeypatch):
    only(head)
    classes = ends()
    assert set(range(sign_rules.MOST_NODES + 1)) <= set(classes)
    chosen = sign_rules._heads_and_nodes
    for n in range(sign_rules.MOST_NODES + 1):
        if n < sign_table._nodes_alone(np.array([classes[n]]))[0]:
            assert largest_error(classes[n]) < 3e-10
            assert largest_error(-classes[n]) < 3e-10
            if n > 0:

                def fewer(*arguments):
                    heads, nodes = chosen(*arguments)
                    return heads, nodes - 1

                monkeypatch.setattr(sign_rules, "_heads_and_nodes", fewer)
                assert largest_error(classes[n]) > 6e-10
                monkeypatch.setattr(sign_rules, "_heads_and_nodes", chosen)


@pytest.mark.parametrize("r", [0.1, 0.25, 0.4])
def test_a_head_of_its_own_is_enough_and_one_term_fewer_is_not(r, monkeypatch):
    """Without nodes, at the end of a bin."""
    r = float(np.ceil(256 * r) / 256)
    monkeypatch.setattr(sign_rules, "_NODE_COST", 1e9)
    monkeypatch.setattr(sign_rules, "_SINGLE_TOLERANCE", 0.0)
    chosen = sign_rules._heads_and_nodes
    assert largest_error(r) < 2e-10
    assert largest_error(-r) < 2e-10

    def shorter(*arguments):
        heads, nodes = chosen(*arguments)
        # an even term is 0 where errors are largest
        return heads - 2, nodes

    monkeypatch.setattr(sign_rules, "_heads_and_nodes", shorter)
    assert largest_error(r) > 3e-10


@pytest.mark.parametrize("head", [4, 12, 24])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_a_rule_is_gauss_for_its_weight(head, n):
    """The integral of u^power p(u) for every polynomial of degree up to 2 n - 1, and not beyond."""
    u, v = sign_rules.rule(head, n)
    power = sign_rules.rule_power(head, n)
    assert np.all((u > 0) & (u < 1) & (v > 0))
    moments = [np.sum(v * u ** (power + k)) * (power + k + 1) for k in range(2 * n + 1)]
    assert moments[:-1] == pytest.approx([1.0] * (2 * n), rel=1e-12)
    assert n > 3 or abs(moments[-1] - 1.0) > 1e-9


def test_the_factors_of_a_head_are_what_its_rule_leaves():
    factors = sign_rules.head_factors(12)
    assert np.all(factors[:, 0] == 1.0)
    u, v = sign_rules.rule(12, 1)
    for n in (1, 5, 12, 13):
        assert factors[n, 1] == pytest.approx(1.0 - n * v[0] * u[0] ** (n - 1), abs=1e-14)
    # a positive rest within the head: nothing that the rule gives has to be taken back
    assert np.all((factors[1:13, 1:] > 0) & (factors[1:13, 1:] < 1))


def test_the_largest_squares_bound_every_term():
    largest = sign_rules._largest_squares()
    x = np.linspace(0, 12, 2401)
    b, previous = 2 * np.exp(-x * x / 2) / math.sqrt(2 * math.pi), np.zeros_like(x)
    left = 1 - erf(x / math.sqrt(2)) ** 2  # the sum of all squares
    for n in range(1, 200):
        assert np.max(b * b) <= largest[n] * (1 + 1e-4)
        left -= b * b
        b, previous = (x * b - (n - 1) / math.sqrt(n) * previous) / math.sqrt(n + 1), b
    assert -1e-12 < left.min() and left.max() < 0.05


def test_bins_include_their_upper_end():
    ends_ = sign_rules.bin_ends()
    assert sign_rules.bins_of(ends_).tolist() == list(range(ends_.size))
    assert sign_rules.bins_of(np.array([0.0, 1e-9, ends_[3] + 1e-12])).tolist() == [0, 0, 4]


def test_the_head_grows_with_the_correlations_and_a_cheap_node_needs_none(monkeypatch):
    alone = sign_table._nodes_alone(sign_rules.bin_ends())
    rng = np.random.default_rng(0)
    heads = []
    for size in (0.05, 0.2, 0.4, 0.6):
        r = size * rng.random(4950)
        heads.append(sign_rules.cheapest_split(r, r, 100, 1000.0, alone).longest)
    assert heads == sorted(heads) and heads[0] < heads[-1]
    monkeypatch.setattr(sign_rules, "_NODE_COST", 0.01)
    assert sign_rules.cheapest_split(r, r, 100, 1000.0, alone) is None
