"""Random files and specifications: an error or a right result, and no other file changed.

Long mode (-m long) runs ten times as many cases.
"""

import contextlib
import functools
import io
import os
import string
import tomllib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qpsim
from qpsim.errors import QpsimError
from qpsim.files.archive import pack_arrays
from qpsim.sweep import Cell, Store, Sweep, run
from qpsim.sweep.cell import KIND, read_cell
from qpsim.sweep.parameters import DEFAULTS, OPTIONAL
from tests.sweep.examples import data, small

CASES = 100
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


def modes(body, *arguments, **named):
    """A test twice: in the default mode, always the same cases; in the long one, others each time."""

    def fuzzed(count):
        limits = settings(
            max_examples=count,
            deadline=None,
            suppress_health_check=QUIET,
            derandomize=count == CASES,
        )
        return limits(given(*arguments, **named)(body))

    return fuzzed(CASES), pytest.mark.long(fuzzed(8 * CASES))


numbers = st.one_of(
    st.integers(-3, 200), st.floats(), st.just(10**400), st.sampled_from([0.5, 1.0, 0.1])
)
words = st.one_of(
    st.sampled_from(["sgd", "ssd", "adam", "mild", "axis", "haar", "power-law", "optimal", "full"]),
    st.text(string.printable, max_size=8),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, words)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["name", "b1", "log", "linear", "n"]), inner, max_size=3),
    ),
    max_leaves=6,
)
names = st.one_of(st.sampled_from([*DEFAULTS, *OPTIONAL, "hyper", "hyper.b1"]), words)
tables = st.dictionaries(names, values, max_size=4)
specs = st.fixed_dictionaries(
    {},
    optional={
        "fixed": st.one_of(tables, values),
        "grid": st.one_of(st.dictionaries(names, st.lists(values, max_size=3), max_size=3), values),
        "cells": st.one_of(st.lists(tables, max_size=3), values),
        "nothing": values,
    },
)


def sweep_or_sentence(make):
    """The sweep, or None after one clear sentence."""
    try:
        return make()
    except QpsimError as error:
        assert str(error).strip()
        return None


def _specs(spec):
    sweep = sweep_or_sentence(lambda: Sweep.from_spec(spec))
    if sweep is not None:
        again = Sweep.from_spec(sweep.spec)
        assert [cell.id for cell in again] == [cell.id for cell in sweep]
        assert len(sweep.ids) == len(sweep) == sum(1 for _ in sweep)


def _files(content):
    path = "fuzzed.toml"
    with open(path, "wb") as stream:
        stream.write(content)
    sweep = sweep_or_sentence(lambda: Sweep.from_toml(path))
    if sweep is not None:
        assert set(tomllib.loads(content.decode())) <= {"fixed", "grid", "cells"}


@functools.cache
def whole():
    """A finished cell's file. Made when a test asks, because a kernel is compiled for it."""
    return next(iter(small())).run()


@st.composite
def mutations(draw):
    """What may happen to a file: replaced, cut, flipped, spliced, prolonged, put together anew."""
    kind = draw(st.sampled_from(["replace", "cut", "flip", "splice", "append", "turn"]))
    part = draw(st.floats(0.0, 1.0, exclude_max=True))
    piece = draw(st.binary(min_size=1, max_size=200))

    def mutate(content):
        place = int(part * len(content))
        if kind == "flip" and content:
            changed = bytearray(content)
            changed[place] ^= 1 << (piece[0] % 8)
            return bytes(changed)
        return {
            "cut": content[:place],
            "splice": content[:place] + piece + content[place:],
            "append": content + piece,
            "turn": content[place:] + content[:place],
        }.get(kind, piece)

    return mutate


def _cells(mutate):
    content = mutate(whole())
    with pytest.raises(QpsimError) if content != whole() else contextlib.nullcontext():
        read_cell(content, "file", next(iter(small())).id)


headers = st.dictionaries(
    st.sampled_from(["id", "parameters", "kind", "format", "version", "else"]), values, max_size=4
)


def _sealed(header, kind, with_arrays):
    """Files sealed as they should be, around a header that is nonsense."""
    names = ("quantiles", "mean_log10_loss", "std_log10_loss", "final_loss")
    arrays = {name: np.zeros((2, 2)) for name in names} if with_arrays else {}
    try:
        content = pack_arrays(kind, header, arrays)
    except ValueError:
        return
    with pytest.raises(QpsimError):
        read_cell(content, "file")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    place = tmp_path_factory.mktemp("fuzz") / "store"
    run(small(), place, progress=False)
    return place, data(place)


def _stores(stored, where, which, mutate, stranger):
    store, before = stored
    if where == "cells":
        path = sorted((store / "cells").iterdir())[which]
    elif where == "failed":
        path = store / "failed" / sorted(cell.id + ".json" for cell in small())[which]
    elif where == "stranger":
        path = store / "cells" / stranger
    else:
        path = store / where
    old = path.read_bytes() if path.is_file() else b"{}"
    path.write_bytes(mutate(old))
    for look in (lambda s: s.status(), lambda s: s.damaged(), lambda s: list(s.failures()), list):
        with contextlib.suppress(QpsimError):
            look(Store(store))
    report = run(small(), store, progress=False, retry_failed=True)
    assert report.failed == 0
    assert data(store) == before


RESULT = None


def result_bytes():
    problem = qpsim.random_problem("mild", dim=3, basis=0.5, rng=0)
    made = qpsim.simulate(problem, "sgd", n_steps=2, n_replicates=2, rng=0, workers=1)
    stream = io.BytesIO()
    made.save("result.npz")
    with open("result.npz", "rb") as file:
        stream.write(file.read())
    return stream.getvalue()


def _results(mutate):
    global RESULT
    RESULT = RESULT or result_bytes()
    with open("fuzzed.npz", "wb") as stream:
        stream.write(mutate(RESULT))
    with contextlib.suppress(QpsimError):
        qpsim.load("fuzzed.npz")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_cell_of_any_parameters_runs_or_says_why():
    for name, default in DEFAULTS.items():
        assert Cell({name: default} if default is not None else {}).id
    assert os.listdir() == []


test_specs, test_specs_long = modes(_specs, specs)
test_files, test_files_long = modes(
    _files, st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode))
)
test_cells, test_cells_long = modes(_cells, mutations())
test_sealed, test_sealed_long = modes(
    _sealed, headers, st.sampled_from([KIND, "result", "checkpoint"]), st.booleans()
)
test_stores, test_stores_long = modes(
    _stores,
    where=st.sampled_from(["cells", "sweep.json", "index.jsonl", "failed", "lock", "stranger"]),
    which=st.integers(0, 5),
    mutate=mutations(),
    stranger=st.text("abc.", min_size=3, max_size=9),
)
test_results, test_results_long = modes(_results, mutations())
