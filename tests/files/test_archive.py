"""Archives: written atomically, and checked when read."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import qpsim
from qpsim.errors import FileError
from qpsim.files import archive as files


def saved(folder):
    p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], [1.0, -2.0])
    r = qpsim.simulate(p, "sgd", 0.1, n_steps=2, n_replicates=2, rng=0, workers=1)
    return r.save(folder / "r.npz").read_bytes()


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "d.npz"


def refused(place, content):
    place.write_bytes(content)
    with pytest.raises(FileError) as error:
        qpsim.load(place)
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message and str(place) in message
    return message


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_truncated_file_is_refused(content, place, data):
    refused(place, content[: data.draw(st.integers(0, len(content) - 1))])


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_a_flipped_bit_is_refused_or_has_changed_nothing(content, place, data):
    position = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    place.write_bytes(content)
    intact = qpsim.load(place)
    place.write_bytes(damaged)
    try:
        again = qpsim.load(place)
    except FileError as error:
        assert "\n" not in str(error)
        return
    # Dates and the like in the archive's directory may change; what is read may not.
    assert again.spec == intact.spec and again.provenance == intact.provenance
    np.testing.assert_array_equal(again.excess_loss, intact.excess_loss)
    np.testing.assert_array_equal(again.step_size, intact.step_size)
    np.testing.assert_array_equal(again.problem.hessian, intact.problem.hessian)


@given(st.binary(max_size=300))
@example(b"")
@example(b"PK\x03\x04")
@example(b"\x93NUMPY")
@settings(deadline=None)
def test_any_other_bytes_are_refused(place, content):
    refused(place, content)


def as_bytes(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


class Boom:
    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


def headed(header):
    data = np.frombuffer(json.dumps(header).encode(), np.uint8)
    return as_bytes(lambda s: np.savez(s, header=data))


FOREIGN = {
    "npy": as_bytes(lambda s: np.save(s, np.eye(2))),
    "npz": as_bytes(lambda s: np.savez(s, a=np.eye(2))),
    "pickle": pickle.dumps(Boom()),
    "object array": as_bytes(lambda s: np.savez(s, header=np.array([Boom()], object))),
    "object npy": as_bytes(lambda s: np.save(s, np.array([Boom()], object))),
    "text": b"excess_loss\n1.0\n",
    "zip": as_bytes(lambda s: zipfile.ZipFile(s, "w").writestr("a.txt", "b")),
    "other program": headed({"format": "other", "kind": "result"}),
    "list": headed([1, 2]),
    "number header": as_bytes(lambda s: np.savez(s, header=np.float64(1.5))),
    "text header": as_bytes(lambda s: np.savez(s, header=np.array("header"))),
    "deep": as_bytes(lambda s: np.savez(s, header=np.frombuffer(b"[" * 200_000, np.uint8))),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_and_no_pickle_is_executed(place, kind):
    refused(place, FOREIGN[kind])


def test_messages_tell_foreign_from_other_kinds(place, content):
    assert "is not a qpsim file" in refused(place, FOREIGN["npy"])
    assert "is not a qpsim file" in refused(place, FOREIGN["npz"])
    assert "another program" in refused(place, FOREIGN["other program"])
    files.write_arrays(place, "figure", {}, {})
    with pytest.raises(FileError, match="holds a qpsim figure, not a result"):
        qpsim.load(place)
    place.unlink()
    with pytest.raises(FileError, match=r"Cannot read .*No such file"):
        qpsim.load(place)
    with pytest.raises(FileError, match="Cannot read"):
        qpsim.load(place.parent)


def test_arrays_and_header_come_back_as_they_were(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([], np.int32)}
    place = files.write_arrays(tmp_path / "x", "thing", {"n": [1, "two"]}, arrays)
    header, again = files.read_arrays(place, "thing")
    assert header["n"] == [1, "two"]
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype
