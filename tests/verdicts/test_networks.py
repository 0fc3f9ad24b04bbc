"""The verdicts on Sections 4.2 and D.1: the right runs compared, by the stated rules."""

import json

import numpy as np
import pytest

from qpsim.figures import figure3, figure6, figure7
from qpsim.figures.data import Data
from qpsim.figures.networks import Options
from qpsim.verdicts import networks
from qpsim.verdicts.networks import CLEARLY_LOWER, EQUAL, LOWER, NO_GAIN, compare, judge

# Losses that make every sentence true: problem -> method -> mean.
TRUE = {
    "digits-mlp": {"m-sgd": 1.2, "m-svag": 1.1, "m-ssd": 1.01, "adam": 1.0},
    "digits-cnn": {
        "m-sgd": 1.2, "m-svag": 1.19, "m-ssd": 1.01, "adam": 1.0,
        "adam*": 0.99, "adam*-mb": 1.0, "m-svag-mb": 1.2,
    },
    "digits-whitened": {
        "m-sgd": 0.12, "m-svag": 0.11, "m-ssd": 0.3, "adam": 0.2,
        "adam*": 0.201, "adam*-mb": 0.199, "m-svag-mb": 0.11,
    },
}  # fmt: skip


def made_up(losses, spread=(0.02, 0.005)):
    """Data of the three figures with these mean losses; spread: sd of Adam's and others' accuracy."""
    found = []
    for figure, name in ((figure3, "3"), (figure6, "6"), (figure7, "7")):
        # Seeds differ by much more than methods: only a paired comparison can tell.
        seeds = np.linspace(0.8, 1.2, 10)
        noise = np.random.default_rng(0).normal(0, 0.002, 10)
        grid = [
            [losses[p][m] * seeds * (1 + noise) for m in figure.METHODS] for p in figure.PROBLEMS
        ]
        accuracy = [
            [0.9 + (spread[0] if m == "adam" else spread[1]) * (seeds - 1) for m in figure.METHODS]
            for _ in figure.PROBLEMS
        ]
        arrays = {
            "mean_loss": np.array(grid),
            "early_loss": 2 * np.array(grid),
            "test_accuracy": np.array(accuracy),
            "step_size": np.ones((len(figure.PROBLEMS), len(figure.METHODS))),
        }
        labels = {"problem": list(figure.PROBLEMS), "method": list(figure.METHODS)}
        found.append(Data(name, Options(), arrays, labels=labels))
    return found


def outcomes(data):
    return {verdict.name: verdict.holds for verdict in judge(data)}


def changed(problem, method, loss):
    return {**TRUE, problem: {**TRUE[problem], method: loss}}


def test_losses_as_the_paper_says_fulfil_every_statement():
    assert all(outcomes(made_up(TRUE)).values())
    assert len(outcomes(made_up(TRUE))) == 11


@pytest.mark.parametrize(
    ("problem", "method", "loss", "fallen"),
    [
        ("digits-mlp", "adam", 1.19, {"mnist-adam", "mnist-sign", "mnist-m-svag"}),
        ("digits-mlp", "m-ssd", 1.15, {"mnist-sign", "mnist-m-svag"}),
        ("digits-mlp", "m-svag", 1.18, {"mnist-m-svag"}),
        ("digits-cnn", "m-ssd", 1.3, {"cifar10-sign", "cifar10-adaptation"}),
        ("digits-cnn", "m-svag", 1.05, {"cifar10-adaptation", "minibatch"}),
        ("digits-cnn", "adam*", 1.2, {"adam-star", "minibatch"}),
        ("digits-whitened", "m-sgd", 0.25, {"cifar100-sgd"}),
        ("digits-whitened", "m-ssd", 0.15, {"cifar100-adaptation"}),
        ("digits-whitened", "m-svag", 0.13, {"cifar100-adaptation", "cifar100-early", "minibatch"}),
        ("digits-whitened", "adam*-mb", 0.22, {"adam-star", "minibatch"}),
        ("digits-whitened", "m-svag-mb", np.inf, {"minibatch"}),
    ],
)
def test_a_changed_method_makes_its_own_statements_fall(problem, method, loss, fallen):
    found = outcomes(made_up(changed(problem, method, loss)))
    assert {name for name, holds in found.items() if not holds} == fallen


def test_stability_compares_spreads():
    assert outcomes(made_up(TRUE, spread=(0.02, 0.005)))["cifar100-stability"]
    assert not outcomes(made_up(TRUE, spread=(0.006, 0.005)))["cifar100-stability"]
    assert not outcomes(made_up(TRUE, spread=(0.005, 0.02)))["cifar100-stability"]


def test_the_interval_is_students_on_paired_ratios():
    rng = np.random.default_rng(1)
    below = rng.uniform(1, 2, 10)
    above = below * (1 + rng.normal(0.1, 0.02, 10))
    value, (low, high) = compare(above, below)
    ratio = 100 * (above / below - 1)
    # 2.262157 is Student's 97.5 % quantile at 9 degrees of freedom.
    half = 2.262157 * ratio.std(ddof=1) / np.sqrt(10)
    assert value == pytest.approx(ratio.mean())
    assert (low, high) == pytest.approx((ratio.mean() - half, ratio.mean() + half))


def test_the_rules_do_not_contradict_each_other():
    for interval in [(-20.0, -6.0), (-6.0, -4.0), (-1.0, 1.0), (4.0, 6.0), (-np.inf, np.inf)]:
        assert not (CLEARLY_LOWER.contain(interval) and EQUAL.contain(interval))
        assert not (CLEARLY_LOWER.contain(interval) and NO_GAIN.contain(interval))
        assert LOWER.contain(interval) or not CLEARLY_LOWER.contain(interval)
    assert not EQUAL.contain((-np.inf, np.inf))


def test_one_replicate_decides_nothing():
    assert compare(np.array([0.5]), np.array([1.0]))[1] == (-np.inf, np.inf)


def test_the_report_says_on_what_it_was_measured(tmp_path):
    report = networks.measure(
        networks.Options(n_replicates=2, n_steps=10, cache=str(tmp_path)), workers=1
    )
    json.dumps(report.to_dict(), allow_nan=False)
    assert len(report.verdicts) == 11
    assert "here digits-mlp" in report.verdicts[0].statement
    assert str(tmp_path) not in json.dumps(report.to_dict())
    assert report.verdicts[0].notes["step_sizes"]["digits-mlp"]["adam"] > 0
