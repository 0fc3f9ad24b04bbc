"""Stores: finished cells, refusal of other sweeps, quarantine of other files."""

import json
import os

import pytest

import qpsim
from qpsim.errors import FileError, SweepError
from qpsim.files.archive import pack_arrays, unpack_arrays
from qpsim.sweep import Store, Sweep, run
from qpsim.sweep import store as room
from qpsim.sweep.cell import KIND, digest
from tests.sweep.examples import FIXED, data, small


@pytest.fixture
def finished(tmp_path):
    run(small(), tmp_path / "store", progress=False)
    return tmp_path / "store"


def again(store, sweep=None, **options):
    return run(sweep or small(), store, progress=False, **options)


def test_a_finished_store_is_read_in_the_sweeps_order(finished):
    store = Store(finished)
    assert [record.id for record in store] == [cell.id for cell in small()]
    assert store.status() == (6, 6, 0, [])
    assert store.status().left == 0 and len(store) == 6
    assert list(store.failures()) == [] and store.damaged() == []
    assert store.read(next(iter(store.sweep))).parameters["noise_std"] == 0.1


def test_a_second_run_computes_nothing_and_changes_nothing(finished):
    before = data(finished)
    report = again(finished)
    assert (report.computed, report.found, report.failed) == (0, 6, 0)
    assert data(finished) == before


def test_missing_cells_alone_are_computed(finished):
    before = data(finished)
    names = sorted(os.listdir(finished / "cells"))[:2]
    for name in names:
        (finished / "cells" / name).unlink()
    assert Store(finished).status() == (6, 4, 0, [])
    report = again(finished)
    assert (report.computed, report.found) == (2, 4)
    assert data(finished) == before


def damage_truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_empty(path):
    path.write_bytes(b"")


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_swap(path):
    other = next(p for p in path.parent.iterdir() if p != path)
    path.write_bytes(other.read_bytes())


def damage_pickle(path):
    import pickle

    path.write_bytes(pickle.dumps({"a": 1}))


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_empty, damage_flip, damage_swap, damage_pickle]
)
def test_a_damaged_cell_is_named_put_aside_and_computed_anew(finished, damage):
    before = data(finished)
    victim = sorted((finished / "cells").iterdir())[2]
    untouched = {p: p.stat().st_mtime_ns for p in (finished / "cells").iterdir() if p != victim}
    damage(victim)
    broken = victim.read_bytes()
    name = f"cells/{victim.name}"
    assert Store(finished).damaged() == [name]
    with pytest.raises(FileError, match=victim.name):
        list(Store(finished))
    report = again(finished)
    assert report.quarantined == [name] and report.computed == 1
    assert (finished / "quarantine" / victim.name).read_bytes() == broken
    assert data(finished) == before
    assert {p: p.stat().st_mtime_ns for p in untouched} == untouched


def test_foreign_files_are_named_and_put_aside_one_beside_the_other(finished):
    for round_number in range(2):
        (finished / "cells" / "notes.txt").write_text("mine")
        (finished / "cells" / f"{'0' * 32}.npz").write_bytes(b"PK")
        strangers = [f"cells/{'0' * 32}.npz", "cells/notes.txt"]
        assert Store(finished).status().strangers == strangers
        assert again(finished).quarantined == strangers
        suffix = ".1" if round_number else ""
        assert (finished / "quarantine" / f"notes.txt{suffix}").read_text() == "mine"


def test_what_a_killed_run_left_half_written_is_removed(finished):
    before = data(finished)
    part = finished / "cells" / f".{'a' * 32}.npz.0123abcd.part"
    part.write_bytes(b"half")
    assert Store(finished).status().strangers == []
    report = again(finished)
    assert report.quarantined == [] and not part.exists()
    assert data(finished) == before


def test_a_store_of_another_specification_is_refused_with_the_difference(finished):
    before = data(finished)
    with pytest.raises(SweepError, match="n_steps: 3 there, 4 here") as caught:
        again(finished, small(n_steps=4))
    assert "noise_std" not in str(caught.value)
    assert data(finished) == before


def as_if_written_by(version, store, change=lambda spec: spec):
    manifest = json.loads((store / "sweep.json").read_text())
    told = {"qpsim": version, "cells": manifest["cells"], "spec": change(manifest["spec"])}
    sealed = {**manifest, **told, "digest": digest(told)}
    (store / "sweep.json").write_text(json.dumps(sealed))


def test_a_store_of_another_version_is_read_but_not_gone_on_with(finished):
    rows = list(Store(finished).to_rows())
    as_if_written_by("0.0.1", finished)
    before = data(finished)
    with pytest.raises(SweepError, match=r"begun by qpsim 0\.0\.1.* can be read, but not gone on"):
        again(finished)
    assert data(finished) == before
    store = Store(finished)
    assert store.version == "0.0.1" and store.status() == (6, 6, 0, [])
    assert list(store.to_rows()) == rows and len(list(store)) == 6


def test_a_store_with_the_names_of_version_0_1_is_read_and_gone_on_with(finished):
    rows = list(Store(finished).to_rows())
    before = {"n_steps": "steps", "n_replicates": "replicates", "rng": "seed"}

    def old(table):
        return {before.get(name, name): value for name, value in table.items()}

    def change(spec):
        return {"fixed": old(spec["fixed"]), "grid": old(spec["grid"]), "cells": spec["cells"]}

    as_if_written_by(qpsim.__version__, finished, change)
    for path in (finished / "cells").iterdir():
        header, arrays = unpack_arrays(path.read_bytes(), path, KIND)
        header["parameters"] = old(header["parameters"])
        assert "steps" in header["parameters"]
        told = {name: header[name] for name in ("id", "parameters")}
        path.write_bytes(pack_arrays(KIND, told, arrays))
    assert list(Store(finished).to_rows()) == rows
    assert next(iter(Store(finished))).parameters["n_steps"] == 3
    report = again(finished)
    assert (report.found, report.computed, report.quarantined) == (6, 0, [])


def test_a_store_that_this_version_does_not_understand_says_so(finished):
    as_if_written_by("9.0", finished, lambda spec: {**spec, "fixed": {"wind": 3}})
    before = data(finished)
    for use in (Store, again):
        with pytest.raises(
            SweepError, match=r"qpsim 9\.0, .*cannot read it: Unknown parameter 'wind'"
        ):
            use(finished)
    assert data(finished) == before


STRANGE = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "link to a file": lambda path: os.symlink("/etc/hostname", path),
    "link to a device": lambda path: os.symlink("/dev/zero", path),
    "link to nothing": lambda path: os.symlink("nowhere", path),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_regular_file_is_never_opened_and_put_aside(finished, kind):
    before = data(finished)
    victim = sorted((finished / "cells").iterdir())[2]
    victim.unlink()
    STRANGE[kind](victim)
    STRANGE[kind](finished / "failed" / victim.with_suffix(".json").name)
    (finished / "index.jsonl").unlink()
    STRANGE[kind](finished / "index.jsonl")
    store = Store(finished)
    assert store.status() == (6, 5, 0, [f"cells/{victim.name}"])
    assert store.damaged() == [f"cells/{victim.name}"]
    assert list(store.failures()) == [] and len(list(store.to_rows())) == 5
    report = again(finished)
    assert report.quarantined == [
        f"cells/{victim.name}",
        f"failed/{victim.stem}.json",
        "index.jsonl",
    ]
    assert report.computed == 1 and data(finished) == before


@pytest.mark.parametrize("kind", STRANGE)
def test_a_manifest_that_is_no_regular_file_is_put_aside(finished, kind):
    before = data(finished)
    (finished / "sweep.json").unlink()
    STRANGE[kind](finished / "sweep.json")
    with pytest.raises(FileError, match=r"Cannot read .*sweep\.json"):
        Store(finished)
    assert again(finished).quarantined == ["sweep.json"]
    assert data(finished) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": "qpsim"}', b"null"])
def test_a_damaged_manifest_is_put_aside_and_written_anew(finished, content):
    before = data(finished)
    (finished / "sweep.json").write_bytes(content)
    with pytest.raises(FileError, match=r"sweep\.json"):
        Store(finished)
    report = again(finished)
    assert report.quarantined == ["sweep.json"] and report.computed == 0
    assert data(finished) == before


def test_a_changed_specification_in_the_manifest_is_noticed(finished):
    text = (finished / "sweep.json").read_text()
    (finished / "sweep.json").write_text(text.replace('"n_replicates": 8', '"n_replicates": 9'))
    with pytest.raises(FileError, match="does not match its digest"):
        Store(finished)


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(SweepError, match=r"thesis\.tex"):
        again(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_place_without_a_sweep_is_named(tmp_path):
    with pytest.raises(FileError, match=r"sweep\.json"):
        Store(tmp_path)
    with pytest.raises(FileError, match="nowhere"):
        Store(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file"):
        again(tmp_path / "file")


@pytest.mark.parametrize("content", [None, b"", b"{}\n", b'{"id": "x"}\n', b"\xff", b"[]\n"])
def test_the_index_is_rebuilt_from_the_files(finished, content):
    before = data(finished)
    rows = list(Store(finished).to_rows())
    if content is None:
        (finished / "index.jsonl").unlink()
    else:
        (finished / "index.jsonl").write_bytes(content)
    assert list(Store(finished).to_rows()) == rows
    again(finished)
    assert data(finished) == before


def test_a_table_does_not_trust_an_index_that_misses_a_cell(finished):
    lines = (finished / "index.jsonl").read_text().splitlines(keepends=True)
    (finished / "index.jsonl").write_text("".join(lines[1:]))
    assert len(list(Store(finished).to_rows())) == 6


def test_a_digit_that_flipped_in_the_index_reaches_no_table(finished):
    rows = list(Store(finished).to_rows())
    content = (finished / "index.jsonl").read_bytes()
    place = content.index(b'"loss_q50": ') + 14
    changed = b"%s%d%s" % (content[:place], (content[place] - 47) % 10, content[place + 1 :])
    (finished / "index.jsonl").write_bytes(changed)
    assert list(Store(finished).to_rows()) == rows


def test_infinite_losses_pass_through_the_index(tmp_path):
    sweep = Sweep({**FIXED, "n_steps": 200}, {"step_size": [1e6]})
    store = again(tmp_path / "store", sweep).store
    (row,) = store.to_rows()
    assert row["loss_q50"] == float("inf") and row["diverged"] == 8
    lines = (tmp_path / "store" / "index.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["final"]["loss_q50"] == "inf"


def test_quarantine_that_cannot_be_made_is_an_error_and_moves_nothing(finished):
    (finished / "quarantine").write_text("a file in the way")
    (finished / "cells" / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match=r"notes\.txt"):
        again(finished)
    assert (finished / "cells" / "notes.txt").exists()


def test_nothing_of_the_store_is_a_pickle(finished):
    for folder, _, names in os.walk(finished):
        for name in names:
            content = (room.Path(folder) / name).read_bytes()
            assert not content.startswith(b"\x80")
            assert b"descr': '|O'" not in content
