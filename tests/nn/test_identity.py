"""What a run depends on: the same description for the same numbers, another for any other."""

import functools
import json
import math
import types

import numpy as np
import pytest

from qpsim import nn
from qpsim.errors import TrainingError
from qpsim.nn.identity import describe, source_digest

CONSTANT = 1.0
settings = types.ModuleType("settings_of_a_user")
settings.factor = 1.0


def helper(x):
    return CONSTANT * x


def reads_a_helper(x):
    return helper(x)


def reads_a_module(x):
    return settings.factor * x


def closes_over(value):
    def inside(x):
        return value * x

    return inside


class Holder:
    def __init__(self, value):
        self.value = value

    def doubled(self):
        return CONSTANT * 2 * self.value


class Below(Holder):
    pass


def test_plain_values_stay_what_they_are():
    value = {"a": (1, 2.5, None), "b": [True, "text"], 3: math.inf}
    assert describe(value) == {"a": [1, 2.5, None], "b": [True, "text"], "3": "inf"}


def test_everything_described_is_json():
    values = [nn.Plain(), nn.Dense(3), nn.Conv2D(4, 3), nn.constant(0.1), np.arange(3), Holder(2),
              closes_over(np.ones(2)), np.float32(1), b"bytes", {1, 2}, functools.partial(helper, 2),
              Holder(1).doubled, math.tanh, np.exp, Below, nn.CifarAugmentation()]  # fmt: skip
    described = [json.dumps(describe(value)) for value in values]
    assert len(set(described)) == len(values)
    assert described == [json.dumps(describe(value)) for value in values]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Holder(1), Holder(2)),
        (Holder(1), Below(1)),
        (Holder(np.zeros(3)), Holder(np.array([0.0, 0.0, 1e-300]))),
        (Holder(np.zeros(3)), Holder(np.zeros(3, np.float32))),
        (Holder(np.zeros((2, 3))), Holder(np.zeros((3, 2)))),
        (closes_over(1), closes_over(2)),
        (closes_over(np.zeros(2)), closes_over(np.ones(2))),
        (functools.partial(helper, 1), functools.partial(helper, 2)),
        (lambda x: x + 1, lambda x: x + 2),
        (nn.PixelNoise(0.5), nn.PixelNoise(0.25)),
        (nn.Dense(3), nn.Dense(3, weight=nn.he_normal)),
        (nn.constant(0.1), nn.constant(0.2)),
    ],
)
def test_what_leads_to_other_numbers_is_described_otherwise(one, other):
    assert describe(one) != describe(other)


@pytest.mark.parametrize("value", [helper, reads_a_helper, Holder(1), Below(1), Holder(1).doubled])
def test_a_constant_that_is_read_somewhere_below_counts(value, monkeypatch):
    before = describe(value)
    monkeypatch.setitem(globals(), "CONSTANT", 2.0)
    assert describe(value) != before


def test_an_attribute_of_a_users_module_counts(monkeypatch):
    before = describe(reads_a_module)
    monkeypatch.setattr(settings, "unrelated", 1.0, raising=False)
    assert describe(reads_a_module) == before
    monkeypatch.setattr(settings, "factor", 2.0)
    assert describe(reads_a_module) != before


def test_a_function_without_a_file_is_known_by_its_code():
    def made(text):
        space = {}
        exec(text, space)
        return space["f"]

    assert describe(made("def f(x): return x + 1")) == describe(made("def f(x): return x + 1"))
    assert describe(made("def f(x): return x + 1")) != describe(made("def f(x): return x + 2"))


def test_a_compiled_function_is_its_python():
    import numba

    assert describe(numba.njit(helper)) == describe(helper)
    assert source_digest(helper) == source_digest(numba.njit(helper).py_func)


def test_cycles_end():
    one = Holder(None)
    one.value = [one]
    assert "contains itself" in json.dumps(describe(one))


def test_what_cannot_be_described_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as stream:
        with pytest.raises(TrainingError, match=r"cannot depend on .*TextIOWrapper"):
            describe(Holder(stream))
