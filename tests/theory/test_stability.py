"""Thresholds of stability beside the rules themselves, with their lengths held, and beside exact risks."""

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import DivergenceWarning, MethodError, ProblemError, StepSizeError

Q = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
# Which of their state are lengths; all of it is held, but for the average of gradients.
ADAMS = {
    "adam": ["v"],
    "adamw": ["v"],
    "adamax": ["u"],
    "amsgrad": ["v", "largest"],
    "radam": ["v"],
    "adabelief": ["s"],
    "yogi": ["v"],
    "nadam": ["v", "product"],
    "rmsprop": ["v"],
    "adagrad": ["total"],
}


@pytest.mark.parametrize("b1", [0.0, 0.5, 0.95])
def test_the_published_thresholds(b1):
    a = np.array([0.1, 3.0])

    def threshold(name, **hyper):
        return theory.largest_stable_curvature(qpsim.method(name, **hyper), a)

    np.testing.assert_allclose(threshold("sgd"), 2.0 / a)
    np.testing.assert_allclose(threshold("m-sgd", momentum=b1), (2.0 + 2.0 * b1) / a)
    np.testing.assert_allclose(
        threshold("nesterov", momentum=b1), (2.0 + 2.0 * b1) / ((1.0 + 2.0 * b1) * a)
    )
    np.testing.assert_allclose(threshold("adam", b1=b1), (2.0 + 2.0 * b1) / ((1.0 - b1) * a))
    assert isinstance(theory.largest_stable_curvature("adam", 0.1), float)


def grown(name, share, b1=0.8):
    """By what the offset's size changed under the rule itself, its lengths held, at a share of the threshold."""
    # Lengths forget nothing within a step.
    forgets = {"rmsprop": {"decay": 1.0 - 1e-9}, "adagrad": {}}
    method = qpsim.method(name, **forgets.get(name, {"b1": b1, "b2": 1.0 - 1e-9}))
    length, step, t = 2.0, 0.1, 1e12
    state = {n: length if name == "adamax" else length**2 for n in ADAMS[name]}
    if name == "nadam":
        state["product"] = 1.0
    limit = theory.largest_stable_curvature(method, step)
    # Gradients so small beside the lengths that these hold.
    theta, m, path = 1e-9, 0.0, []
    for _ in range(3000):
        held = [m if n == "m" else state[n] for n in method.state_names]
        answer = method.rule.function(share * limit * length * theta, *held, t, *method.hyper)
        if "m" in method.state_names:
            m = answer[1 + method.state_names.index("m")]
        theta -= step * answer[0]
        path.append(abs(theta))
    return max(path[-50:]) / max(path[:50])


@pytest.mark.parametrize("name", ADAMS)
def test_adam_like_rules_with_their_lengths_held(name):
    assert grown(name, 0.98) < 1e-2
    assert grown(name, 1.02) > 1e2


def test_adam_without_noise_comes_to_rest_around_the_threshold():
    # Its lengths shrink with the gradient until the step is unstable, and grow while it is.
    rule, step = qpsim.method("adam"), 0.01
    theta, m, v, found = 1.0, 0.0, 0.0, []
    for t in range(1, 20_001):
        z, m, v = rule.rule.function(theta, m, v, float(t), *rule.hyper)
        theta -= step * z
        found.append(1.0 / (np.sqrt(v) + 1e-8))
    limit = theory.largest_stable_curvature("adam", step)
    low, middle, high = np.quantile(found[10_000:], [0.05, 0.5, 0.95])
    assert low < limit < high and 0.5 < middle / limit < 1.2


@pytest.mark.parametrize(
    "method",
    ["sgd", "m-sgd", "nesterov", qpsim.method("damped-m-sgd", momentum=0.7, dampening=0.3)],
)
def test_an_exact_risk_settles_below_and_grows_above(method):
    p = qpsim.QuadraticProblem(Q, [1.0, -2.0, 0.5], noise_std=0.1)
    limit = theory.largest_stable_step_size(p, method)
    below = theory.expected_excess_loss(p, method, np.zeros(3), 0.97 * limit, 4000)
    assert below[-1] == pytest.approx(below[-500], rel=1e-6) and below[-1] < below.max()
    with pytest.warns(DivergenceWarning):
        above = theory.expected_excess_loss(p, method, np.zeros(3), 1.05 * limit, 40_000)
    assert above[-1] == np.inf
    assert limit * p.eigenvalues.max() == pytest.approx(
        theory.largest_stable_curvature(method, 1.0)
    )


@pytest.mark.parametrize("dense", [False, True])
def test_a_preconditioner_counts_with_the_hessian(dense):
    p = qpsim.QuadraticProblem(Q if dense else np.diagonal(Q).copy(), noise_std=0.0)
    lengths = np.array([0.5, 4.0, 1.0])
    matrix = Q if dense else np.diag(np.diagonal(Q))
    largest = np.linalg.eigvals(matrix / lengths[:, None]).real.max()
    found = theory.largest_stable_step_size(p, "adam", 1.0 / lengths)
    assert found == pytest.approx(38.0 / largest)
    assert theory.largest_stable_step_size(p, "sgd", -1.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("call", "error_class", "sentence"),
    [
        (lambda p: theory.largest_stable_step_size(p, "adam"), MethodError, "frozen lengths only"),
        (lambda p: theory.largest_stable_step_size(p, "ssd", 1.0), MethodError, "not for ssd"),
        (
            lambda p: theory.largest_stable_step_size(p, "sgd", [1.0, -1.0, 1.0]),
            ProblemError,
            "positive",
        ),
        (lambda p: theory.largest_stable_curvature("lion", 1.0), MethodError, "not for lion"),
        (lambda p: theory.largest_stable_curvature("sgd", [1.0, 0.0]), StepSizeError, "above 0"),
    ],
)
def test_a_bad_question_gets_its_own_sentence(call, error_class, sentence):
    with pytest.raises(error_class, match=sentence) as error:
        call(qpsim.QuadraticProblem(Q))
    assert "\n" not in str(error.value)
