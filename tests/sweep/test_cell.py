"""The file of a cell: its bytes depend on the parameters only, and every changed byte is found."""

import io

import numpy as np
import pytest

import qpsim
from qpsim.errors import FileError
from qpsim.execution import stopping
from qpsim.files.archive import pack_arrays
from qpsim.simulation.block import Interrupted
from qpsim.sweep.cell import (
    KIND,
    QUANTILES,
    Cell,
    cell_of,
    digest,
    read_cell,
    summarise,
    work,
)
from tests.sweep.examples import FIXED


def cell(**settings):
    return Cell({**FIXED, **settings})


def test_the_bytes_depend_on_the_parameters_alone():
    first = cell().run()
    cell(basis=0.7, method="ssd").run()
    assert cell().run() == first
    assert cell(rng=1).run() != first
    assert work(cell().parameters).content == first


def test_the_summary_is_that_of_the_simulation_it_names():
    it = cell(basis=0.3, noise_std=2.0, n_replicates=70)
    problem_seed, noise_seed = np.random.SeedSequence(0).spawn(2)
    problem = qpsim.random_problem("mild", 4, 0.3, 2.0, rng=problem_seed)
    result = qpsim.simulate(problem, "sgd", n_steps=3, n_replicates=70, rng=noise_seed, workers=1)
    record = read_cell(it.run(), "file", it.id)
    np.testing.assert_allclose(record.quantiles, result.quantile(QUANTILES), rtol=1e-12)
    logs = np.log10(result.excess_loss)
    np.testing.assert_allclose(record.mean_log10_loss, logs.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(record.std_log10_loss, logs.std(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(record.final_loss, result.excess_loss[:, -1], rtol=1e-12)
    assert record.excess_loss is None and record.diverged == 0


def test_the_full_record_is_kept_when_asked_for():
    record = read_cell(cell(record="full").run(), "file")
    assert record.excess_loss.shape == (8, 4) and record.step_size.shape == (8, 3)
    np.testing.assert_array_equal(record.excess_loss[:, -1], record.final_loss)


def test_methods_of_one_seed_start_from_one_problem():
    losses = [read_cell(cell(method=m).run(), "file").quantiles[:, 0] for m in ("sgd", "ssd")]
    np.testing.assert_array_equal(*losses)


def test_divergence_is_counted_and_keeps_every_number_out_of_nan():
    record = read_cell(cell(step_size=1e6, n_steps=200).run(), "file")
    final = record.final()
    assert final["diverged"] == 8
    assert final["mean_log10_loss"] == 300.0 and final["loss_q50"] == np.inf
    assert not any(np.isnan(array).any() for array in record[2:6])


def test_losses_of_zero_and_infinity_have_bounded_logarithms():
    arrays = summarise(np.array([[1.0, 1.0], [0.0, np.inf]]))
    assert arrays["mean_log10_loss"].tolist() == [0.0, 0.0]
    assert arrays["std_log10_loss"].tolist() == [0.0, 300.0]
    assert arrays["quantiles"][[0, -1], 1].tolist() != [np.nan, np.nan]


@pytest.mark.parametrize("n", [1, 2, 3, 8, 101])
def test_quantiles_are_numpys(n):
    losses = np.random.default_rng(0).lognormal(0, 3, (4, n))
    expected = np.quantile(losses, QUANTILES, axis=1)
    np.testing.assert_allclose(summarise(losses)["quantiles"], expected, rtol=1e-12)


def test_numpy_reads_the_file_without_us():
    content = cell().run()
    with np.load(io.BytesIO(content)) as archive:
        assert archive["final_loss"].shape == (8,)


def test_any_changed_byte_is_found():
    content, name = cell().run(), cell().id
    for place in range(0, len(content), 97):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(FileError, match="here"):
            read_cell(bytes(changed), "here", name)
    for size in range(0, len(content), 211):
        with pytest.raises(FileError, match="here"):
            read_cell(content[:size], "here", name)
    with pytest.raises(FileError, match="here"):
        read_cell(content + b" ", "here", name)


def test_a_sealed_file_that_is_another_cells_is_found():
    with pytest.raises(FileError, match="another cell"):
        read_cell(cell(rng=1).run(), "here", cell().id)
    forged = pack_arrays(KIND, {"id": cell().id, "parameters": cell(rng=1).parameters}, {})
    with pytest.raises(FileError, match="another cell"):
        read_cell(forged, "here")


@pytest.mark.parametrize(
    "parameters", [None, 3, [], {"n_replicates": 8}, {"n_replicates": "x", "n_steps": 1}]
)
def test_a_sealed_file_without_a_cell_in_it_is_refused(parameters):
    arrays = {name: np.zeros(1) for name in ("quantiles", "mean_log10_loss", "final_loss")}
    header = {"id": digest(parameters), "parameters": parameters}
    for content in (
        pack_arrays(KIND, header, arrays),
        pack_arrays(KIND, header, {**arrays, "std_log10_loss": np.zeros(1)}),
        pack_arrays("result", header, arrays),
    ):
        with pytest.raises(FileError, match="here"):
            read_cell(content, "here")


def test_a_failure_comes_back_as_text():
    outcome = work({**cell().parameters, "method": {"name": "sgd", "b9": 1}})
    assert outcome.content is None
    assert outcome.failure["error"].startswith("MethodError: sgd has no hyper-parameters")
    assert "Traceback" in outcome.failure["traceback"]


def test_a_cell_gives_up_when_nobody_waits_for_it():
    it = cell(n_steps=2_000_000, n_replicates=64)
    runs = stopping.new_run()
    stopping.stop(runs)
    with pytest.raises(Interrupted):
        stopping.call(runs, None, it.run)
    stopping.forget(runs)


def test_parameters_make_the_cell_again():
    it = cell(method="ssd")
    assert cell_of(it.parameters).id == it.id


def test_a_cells_name_is_that_of_version_0_1():
    # Recorded with version 0.1, whose names of these parameters were steps, replicates and seed.
    settings = {"spectrum": "mild", "dim": 4, "n_steps": 3, "n_replicates": 8, "rng": 5}
    assert Cell(settings).id == "ac00e7de8233cf3ac7550a596c2d094c"
