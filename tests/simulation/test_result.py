"""Results: immutable, with named axes, saved and loaded."""

import dataclasses
import json
import sys
import types

import numpy as np
import pytest

import qpsim
from qpsim.errors import FileError, SimulationError
from qpsim.files import archive as files


@pytest.fixture(scope="module")
def result():
    p = qpsim.random_problem("structured", 6, noise_std=0.3, rng=1)
    return qpsim.simulate(
        p,
        qpsim.method("m-ssd", momentum=0.8),
        "bound",
        n_steps=4,
        n_replicates=5,
        rng=2,
        workers=1,
        batch_size=3,
        record={"step_size": True, "theta": [0, 4]},
    )


def test_a_result_is_frozen_and_says_what_it_is(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.excess_loss = None
    for array in (result.excess_loss, result.step_size, result.theta):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0.0
    assert (
        repr(result)
        == "<Result m-ssd(momentum=0.8), bound step size, 5 replicates x 4 steps, dim=6>"
    )
    assert result.axes == {
        "excess_loss": ("replicate", "step"),
        "step_size": ("replicate", "step"),
        "theta": ("replicate", "kept_step", "coordinate"),
    }
    for name, axes in result.axes.items():
        assert getattr(result, name).ndim == len(axes)
    assert (result.n_steps, result.n_replicates, result.theta_steps) == (4, 5, (0, 4))


def test_the_record_is_of_one_piece(result):
    np.testing.assert_array_equal(result.theta[:, 0], np.zeros((5, 6)))
    losses = result.problem.excess_loss(result.theta)
    np.testing.assert_allclose(result.excess_loss[:, [0, 4]], losses, rtol=1e-12)


def test_specification_and_provenance_are_plain_json(result):
    spec = json.loads(json.dumps(result.spec, allow_nan=False))
    assert spec == result.spec
    assert spec["method"] == {"name": "m-ssd", "hyper": {"momentum": 0.8}}
    assert (spec["step_size"], spec["batch_size"], spec["n_steps"]) == ("bound", 3, 4)
    provenance = json.loads(json.dumps(result.provenance, allow_nan=False))
    assert provenance == result.provenance
    assert {
        "qpsim",
        "git_revision",
        "python",
        "libraries",
        "cpu",
        "seed_entropy",
        "block_size",
        "wall_seconds",
        "workers",
        "bit_generator",
    } <= provenance.keys()
    assert provenance["seed_entropy"] == 2 and provenance["qpsim"] == qpsim.__version__
    assert provenance["libraries"]["numpy"] == np.__version__


@pytest.mark.parametrize("entropy", [[1, 2], (3, 4), np.array([5, 6], np.uint32), 2**100, None])
def test_any_seed_can_be_saved_and_run_again(entropy, tmp_path):
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 3.0])
    seed = np.random.SeedSequence(entropy, spawn_key=(np.uint32(7),))
    r = qpsim.simulate(p, "sgd", n_steps=2, n_replicates=2, rng=seed, workers=1)
    again = qpsim.rerun(qpsim.load(r.save(tmp_path / "r.npz")), workers=1)
    np.testing.assert_array_equal(again.excess_loss, r.excess_loss)


@pytest.mark.parametrize("basis", ["axis", "haar"])
@pytest.mark.parametrize("policy", ["optimal", "bound", "line-search", 0.1, lambda t: 1.0 / t])
def test_a_loaded_result_equals_the_saved_one(basis, policy, tmp_path):
    p = qpsim.random_problem("mild", 4, basis, 0.2, rng=3)
    start = np.random.Generator(np.random.PCG64(0)).normal(size=(3, 4))
    r = qpsim.simulate(
        p, "ssd", policy, n_steps=3, n_replicates=3, theta0=start, rng=1, workers=1, record=()
    )
    place = r.save(str(tmp_path / "no-suffix"))
    again = qpsim.load(place)
    assert again.spec == r.spec and again.provenance == r.provenance
    assert again.step_size is None and again.theta is None
    assert again.method == r.method and repr(again) == repr(r)
    np.testing.assert_array_equal(again.excess_loss, r.excess_loss)
    for name in ("hessian", "eigenvalues", "optimum"):
        np.testing.assert_array_equal(getattr(again.problem, name), getattr(p, name))
    np.testing.assert_array_equal(again.plan.theta0, start)
    np.testing.assert_array_equal(qpsim.rerun(again, workers=1).excess_loss, r.excess_loss)
    assert [path.name for path in tmp_path.iterdir()] == ["no-suffix"]


def test_saving_twice_gives_the_same_bytes(result, tmp_path):
    first, second = (result.save(tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    result, tmp_path, monkeypatch
):
    place = result.save(tmp_path / "r.npz")
    before = place.read_bytes()
    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()):

        def half_written(stream, failure=failure, **content):
            stream.write(b"half")
            raise failure

        monkeypatch.setattr(files.np, "savez_compressed", half_written)
        expected = FileError if isinstance(failure, OSError) else type(failure)
        with pytest.raises(expected):
            result.save(place)
        monkeypatch.undo()
        assert place.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["r.npz"]


def test_a_place_that_cannot_be_written_is_one_sentence(result, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "missing" / "r.npz", tmp_path, tmp_path / "file" / "r.npz"):
        with pytest.raises(FileError, match="Cannot write") as error:
            result.save(place)
        assert "\n" not in str(error.value)


def test_quantiles_are_those_of_the_replicates(result):
    q = [0.0, 0.3, 1.0]
    expected = np.quantile(result.excess_loss, q, axis=0)
    np.testing.assert_allclose(result.quantile(q), expected, rtol=1e-14)
    assert result.quantile(0.5).shape == (5,)
    assert result.quantile([[0.5, 0.1]]).shape == (1, 2, 5)
    for bad in (-0.1, 1.1, np.nan, [0.5, 2.0]):
        with pytest.raises(SimulationError, match="probabilities in"):
            result.quantile(bad)


def test_quantiles_of_diverged_replicates_are_infinite_and_never_nan():
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 3.0], 0.1)
    with pytest.warns(qpsim.errors.DivergenceWarning):
        r = qpsim.simulate(p, "sgd", 1e30, n_steps=30, n_replicates=3, rng=1, workers=1)
    values = r.quantile([0.1, 0.5, 0.9])
    assert not np.isnan(values).any() and np.isinf(values[:, -1]).all()
    assert r.summary()["diverged"] == 3


def test_the_summary_is_read_off_the_record(result):
    summary = result.summary()
    assert summary["final_loss"]["median"] == np.median(result.excess_loss[:, -1])
    assert summary["diverged"] == 0 and summary["method"] == "m-ssd(momentum=0.8)"


def test_xarray_has_named_dimensions(result):
    pytest.importorskip("xarray")
    data = result.to_xarray()
    assert data.excess_loss.dims == ("replicate", "step")
    assert data.theta.dims == ("replicate", "kept_step", "coordinate")
    np.testing.assert_array_equal(data.excess_loss.sel(step=4), result.excess_loss[:, 4])
    np.testing.assert_array_equal(data.theta.sel(kept_step=4), result.theta[:, 1])
    np.testing.assert_array_equal(data.step_size.sel(taken_step=1), result.step_size[:, 0])


def test_without_xarray_one_sentence_says_how_to_get_it(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(SimulationError, match="pip install"):
        result.to_xarray()


RULE = """
from qpsim import rule

@rule(name="ssd", closed_form="linear", equivariant=True)
def mine(gradient, t, factor=1.0):
    return factor * gradient
"""


def test_a_users_rule_is_found_again_and_not_taken_for_another_of_its_name(tmp_path, monkeypatch):
    module = types.ModuleType("users_rules")
    monkeypatch.setitem(sys.modules, "users_rules", module)
    exec(RULE, module.__dict__)
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 3.0])
    r = qpsim.simulate(p, module.mine(factor=2.0), n_steps=3, n_replicates=2, rng=1, workers=1)
    place = r.save(tmp_path / "r.npz")
    again = qpsim.load(place)
    assert again.method == r.method and again.method.rule is module.mine
    np.testing.assert_array_equal(qpsim.rerun(again, workers=1).excess_loss, r.excess_loss)
    place = edited(place, lambda header, arrays: header["rule"].update(attribute="other"))
    with pytest.raises(FileError, match=r"users_rules\.other is not defined in this process"):
        qpsim.load(place)


def edited(place, change):
    """A file whose parts are intact but do not fit together."""
    header, arrays = files.read_arrays(place, "result")
    header = {key: header[key] for key in ("spec", "rule", "axes", "provenance")}
    change(header, arrays)
    return files.write_arrays(place, "result", header, arrays)


CHANGES = {
    "no seed": lambda header, arrays: header["spec"].pop("seed"),
    "no losses": lambda header, arrays: arrays.pop("excess_loss"),
    "fewer losses": lambda header, arrays: arrays.update(excess_loss=arrays["excess_loss"][1:]),
    "text": lambda header, arrays: arrays.update(excess_loss=np.full((5, 5), "a")),
    "steps": lambda header, arrays: arrays.update(step_size=np.zeros(3)),
    "theta": lambda header, arrays: arrays.update(theta=np.zeros(3)),
    "given": lambda header, arrays: arrays.update(given=np.zeros(3)),
    "theta0": lambda header, arrays: arrays.update(theta0=np.zeros(3)),
    "optimum": lambda header, arrays: arrays.update(optimum=np.zeros(3)),
    "hessian": lambda header, arrays: arrays.update(hessian=np.eye(6)),
    "no rule": lambda header, arrays: header.pop("rule"),
    "no provenance": lambda header, arrays: header.pop("provenance"),
    "hyper": lambda header, arrays: header["spec"]["method"].update(hyper={"momentum": 2.0}),
    "code": lambda header, arrays: header["spec"].update(step_size_code=9),
    "count": lambda header, arrays: header["spec"].update(n_steps="many"),
    "negative": lambda header, arrays: header["spec"].update(block_size=0),
    "spec": lambda header, arrays: header.update(spec=[]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_parts_that_do_not_fit_are_refused(result, tmp_path, change):
    place = edited(result.save(tmp_path / "r.npz"), CHANGES[change])
    with pytest.raises(FileError) as error:
        qpsim.load(place)
    assert "\n" not in str(error.value)


def test_quantiles_in_pieces_are_those_at_once(monkeypatch):
    p = qpsim.random_problem("mild", 5, "axis", rng=0)
    r = qpsim.simulate(p, "sgd", 0.01, n_steps=7, n_replicates=9, rng=0, workers=1)
    whole = r.quantile([0.1, 0.5, 0.9])
    monkeypatch.setattr("qpsim.simulation.result._SORTED_ELEMENTS", 20)
    np.testing.assert_array_equal(r.quantile([0.1, 0.5, 0.9]), whole)
    np.testing.assert_array_equal(r.quantile(0.5), whole[1])
    assert r.quantile(np.full((2, 3), 0.5)).shape == (2, 3, 8)
    assert r.summary()["final_loss"]["90%"] == whole[2, -1]
