"""Finite data: enumeration of all minibatches, the three orders, short batches, held-out rows, bad input."""

import itertools

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import ProblemError

X = np.array([[1.0, 0.5], [-0.3, 2.0], [0.7, -1.0], [0.2, 0.1], [1.5, -0.4]])
Y = np.array([1.0, 0.2, -0.5, 0.3, 2.0])
Q = np.array([[2.0, 0.5], [0.5, 1.0]])
THETA = np.array([0.4, -0.8])


def table(**keywords):
    return qpsim.DataProblem(X, Y, **keywords)


def sample(**keywords):
    return qpsim.DataProblem(X, hessian=Q, **keywords)


def losses(kind, rows, labels, theta):
    """The loss of every row, written out."""
    if kind is table:
        return [0.5 * (x @ theta - y) ** 2 for x, y in zip(rows, labels, strict=True)]
    return [0.5 * (theta - x) @ Q @ (theta - x) for x in rows]


def gradients(kind, theta):
    if kind is table:
        return np.array([x * (x @ theta - y) for x, y in zip(X, Y, strict=True)])
    return np.array([Q @ (theta - x) for x in X])


@pytest.mark.parametrize("kind", [table, sample])
def test_loss_optimum_and_gradients_are_means_over_the_rows(kind):
    p = kind(held_out=(X[:2], Y[:2]) if kind is table else X[:2])
    mean = np.mean(losses(kind, X, Y, THETA))
    assert p.excess_loss(THETA) + p.minimum == pytest.approx(mean, rel=1e-12)
    np.testing.assert_allclose(
        p.row_gradients(THETA), gradients(kind, THETA), rtol=1e-10, atol=1e-14
    )
    np.testing.assert_allclose(
        p.gradient(THETA), gradients(kind, THETA).mean(axis=0), rtol=1e-10, atol=1e-14
    )
    np.testing.assert_allclose(p.gradient(p.optimum), 0.0, atol=1e-14)
    held = np.mean(losses(kind, X[:2], Y[:2], THETA))
    assert p.held_out_loss(THETA) == pytest.approx(held, rel=1e-12)
    many = np.stack([THETA, p.optimum, 2.0 * THETA]).reshape(3, 1, 2)
    assert p.held_out_loss(many).shape == (3, 1)


@pytest.mark.parametrize("kind", [table, sample])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_sgds_exact_step_is_the_mean_over_all_minibatches(kind, batch_size):
    p, own = kind(), gradients(kind, THETA)
    batches = [own[list(b)].mean(axis=0) for b in itertools.product(range(5), repeat=batch_size)]
    form = np.mean([g @ p.hessian @ g for g in batches])
    h = p.gradient(THETA)
    run = qpsim.simulate(
        p, "sgd", n_steps=1, n_replicates=2, theta0=THETA, rng=0, workers=1, batch_size=batch_size
    )
    np.testing.assert_allclose(run.step_size, h @ h / form, rtol=1e-10)


def test_signs_exact_step_is_a_sum_over_the_rows():
    p, signs = table(), np.sign(gradients(table, THETA))
    h = p.gradient(THETA)
    step = h @ signs.mean(axis=0) / np.mean([s @ p.hessian @ s for s in signs])
    run = qpsim.simulate(p, "ssd", n_steps=1, n_replicates=2, theta0=THETA, rng=0, workers=1)
    np.testing.assert_allclose(run.step_size, step, rtol=1e-10)
    assert theory.optimal_step_size(p, "ssd", THETA) == pytest.approx(step, rel=1e-10)


def walked(p, step, n_steps, n, batch_size, rng=0):
    """theta after every step of SGD, shape (n, n_steps + 1, d)."""
    run = qpsim.simulate(
        p,
        "sgd",
        step,
        n_steps,
        n,
        THETA,
        rng=rng,
        workers=1,
        batch_size=batch_size,
        record=("theta",),
    )
    return run.theta


def batches_of(path, kind, step, sizes):
    """Which rows each step took: the only subset of that size whose mean gradient is the move."""
    taken = []
    for t, size in enumerate(sizes):
        moved = (path[t] - path[t + 1]) / step
        own = gradients(kind, path[t])
        fits = [
            set(rows)
            for rows in itertools.combinations(range(5), size)
            if np.allclose(own[list(rows)].mean(axis=0), moved, rtol=1e-8, atol=1e-10)
        ]
        assert len(fits) == 1
        taken.append(fits[0])
    return taken


@pytest.mark.parametrize("kind", [table, sample])
def test_a_fixed_order_repeats_the_table(kind):
    kept, step = walked(kind(order="fixed", drop_last=False), 0.1, 6, 1, 2)[0], 0.1
    assert batches_of(kept, kind, step, [2, 2, 1] * 2) == [{0, 1}, {2, 3}, {4}] * 2
    dropped = walked(kind(order="fixed", drop_last=True), 0.1, 4, 1, 2)[0]
    assert batches_of(dropped, kind, step, [2] * 4) == [{0, 1}, {2, 3}] * 2


def test_a_reshuffled_epoch_takes_every_row_once_and_all_orders_alike():
    n = 400
    paths = walked(table(order="reshuffled", drop_last=False), 0.1, 6, n, 2)
    first, orders = np.zeros(5), set()
    for path in paths:
        taken = batches_of(path, table, 0.1, [2, 2, 1] * 2)
        assert set.union(*taken[:3]) == set.union(*taken[3:]) == set(range(5))
        orders.add(str(taken[:3] == taken[3:]))
        for row in taken[0]:
            first[row] += 1
    # Each row is in the first minibatch of two with probability 2/5.
    assert (np.abs(first / n - 0.4) < 4.0 * (0.4 * 0.6 / n) ** 0.5).all()
    assert "False" in orders


def test_with_replacement_every_minibatch_is_as_likely():
    n = 5000
    paths = walked(table(), 0.1, 2, n, 2)
    for t in range(2):
        moved = (paths[:, t] - paths[:, t + 1]) / 0.1
        own = gradients(table, THETA)
        if t == 0:
            mean, spread = own.mean(axis=0), own.var(axis=0) / 2.0
            assert (np.abs(moved.mean(axis=0) - mean) < 4.0 * (spread / n) ** 0.5).all()
            counts = len(np.unique(moved.round(9), axis=0))
            assert counts == 15


def test_estimates_of_a_minibatch_are_unbiased():
    p, n, b = table(), 4000, 2
    run = qpsim.simulate(
        p, "m-svag-mb", 1.0, 1, n, THETA, rng=0, workers=1, batch_size=b, record=("theta",)
    )
    moved = THETA - run.theta[:, -1]
    # By enumeration: z = g / (1 + shat / g^2), shat the unbiased estimate of the mean's variance.
    own, expected = gradients(table, THETA), []
    for rows in itertools.product(range(5), repeat=b):
        g = own[list(rows)].mean(axis=0)
        shat = ((own[list(rows)] ** 2).mean(axis=0) - g**2) / (b - 1)
        expected.append(g / (1.0 + shat / g**2))
    expected = np.array(expected)
    error = expected.std(axis=0) / n**0.5
    assert (np.abs(moved.mean(axis=0) - expected.mean(axis=0)) < 4.0 * error).all()


def test_fewer_rows_than_coordinates_have_a_singular_hessian_and_a_shortest_optimum():
    rows = np.random.default_rng(0).normal(size=(3, 6))
    p = qpsim.DataProblem(rows, [1.0, 2.0, 3.0])
    assert np.linalg.matrix_rank(p.hessian) == 3 and p.minimum == pytest.approx(0.0, abs=1e-25)
    np.testing.assert_allclose(p.optimum, np.linalg.pinv(rows) @ [1.0, 2.0, 3.0], rtol=1e-9)
    run = qpsim.simulate(p, "sgd", n_steps=50, n_replicates=2, rng=0, workers=1)
    assert (run.excess_loss[:, -1] < 0.1 * run.excess_loss[:, 0]).all()


def test_theory_of_one_row_at_a_time():
    p, own = table(), gradients(table, THETA)
    mean, quadratic = theory.direction_moments(p, "sgd", THETA)
    np.testing.assert_allclose(mean, own.mean(axis=0), rtol=1e-10)
    assert quadratic == pytest.approx(np.mean([g @ p.hessian @ g for g in own]), rel=1e-12)


BAD = {
    "labels": (lambda: qpsim.DataProblem(X, Y[:3]), "one label for each of the 5 rows"),
    "labels nan": (lambda: qpsim.DataProblem(X, [np.nan] * 5), "y holds NaN"),
    "rows": (lambda: qpsim.DataProblem(Y, Y), r"table \(n, d\)"),
    "no rows": (lambda: qpsim.DataProblem(np.zeros((0, 2)), []), r"table \(n, d\)"),
    "neither": (lambda: qpsim.DataProblem(X), "labels y, .* or a hessian"),
    "both": (lambda: qpsim.DataProblem(X, Y, hessian=Q), "and not both"),
    "order": (lambda: table(order="shuffled"), "did you mean 'reshuffled'"),
    "drop_last": (lambda: table(drop_last="yes"), "drop_last must be True or False"),
    "hessian": (lambda: qpsim.DataProblem(X, hessian=[1.0]), "1 coordinates, but X 2 columns"),
    "indefinite": (lambda: qpsim.DataProblem(X, hessian=[1.0, -1.0]), "eigenvalue is -1"),
    "held out": (lambda: table(held_out=X), r"must be a pair \(X, y\)"),
    "held-out shape": (lambda: table(held_out=(X[:, :1], Y)), r"table \(m, 2\)"),
    "held-out labels": (lambda: table(held_out=(X, Y[:2])), "one label for each of the 5 rows"),
    "held-out number": (lambda: table(held_out=(1.0, Y)), "held-out X"),
    "none held out": (lambda: table().held_out_loss(THETA), "no held-out rows"),
    "theta": (lambda: table().excess_loss([1.0]), "2 entries"),
    "several thetas": (
        lambda: theory.direction_moments(table(), "sgd", [THETA, THETA]),
        r"On a DataProblem theta is one point of shape \(2,\)",
    ),
    "batch": (
        lambda: qpsim.simulate(table(order="fixed"), "sgd", 0.1, 1, 1, batch_size=6),
        "minibatch of 6 does not fit into 5 rows without replacement",
    ),
    "large rows": (
        lambda: qpsim.DataProblem(1e30 * X, Y),
        "largest entry of X is .* 1e-25 and 1e.25",
    ),
    "small rows": (lambda: qpsim.DataProblem(1e-30 * X, Y), "largest entry of X is"),
    "large labels": (lambda: qpsim.DataProblem(X, 1e60 * Y), "y has an entry of size"),
    "bound": (lambda: qpsim.simulate(table(), "ssd", "bound", 1, 1), "'bound' is not offered"),
    "order's step": (
        lambda: qpsim.simulate(table(order="fixed"), "sgd", n_steps=1, batch_size=2),
        "has no exact step; take order='replacement', step_size='line-search' or given steps",
    ),
    "rule's step": (
        lambda: qpsim.simulate(table(), "ssd", n_steps=1, batch_size=2),
        "exact step on data at batch_size=1 only",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_gets_its_own_sentence(kind):
    make, sentence = BAD[kind]
    with pytest.raises(ProblemError, match=sentence) as error:
        make()
    assert "\n" not in str(error.value)
