import collections
import fractions
import io
import os
import pickle
import struct
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from qpsim.errors import DataError
from qpsim.nn.data.unpickle import unpickle

plain = st.recursive(
    st.integers(-(2**100), 2**100) | st.text() | st.binary(min_size=1) | st.booleans(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.binary(min_size=1), inner)
        | st.tuples(inner, inner)
        | st.just(())
    ),
)


@settings(deadline=None)
@given(value=plain, protocol=st.integers(0, 5))
def test_reads_plain_data_like_pickle(value, protocol):
    data = pickle.dumps(value, protocol)
    if protocol < 2:  # there integers are text; ours stop at 20 digits, far beyond any file's
        try:
            assert unpickle(data, "x") == value
        except DataError as error:
            assert "malformed integer" in str(error)
    else:
        assert unpickle(data, "x") == value


arrays = stn.arrays(
    st.sampled_from(["u1", "i1", "<i4", ">i8", "<f4", ">f8", "?", "<f2"]),
    stn.array_shapes(min_dims=0, max_dims=4, max_side=4),
)


@settings(deadline=None)
@given(array=arrays, protocol=st.integers(0, 4), fortran=st.booleans())
def test_reads_arrays_like_pickle(array, protocol, fortran):
    array = np.asfortranarray(array) if fortran else array
    found = unpickle(pickle.dumps({"a": array}, protocol), "x")["a"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_shared_values_stay_shared():
    inner = np.arange(3)
    first, second = unpickle(pickle.dumps([inner, inner], 2), "x")
    assert first is second


def test_list_that_holds_itself():
    loop = []
    loop.append(loop)
    found = unpickle(pickle.dumps(loop, 2), "x")
    assert found[0] is found


class Call:
    """Pickles to a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Slots:
    pass


def marker(tmp_path):
    return tmp_path / "executed"


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("function", [os.system, subprocess.check_call, eval, exec, print])
def test_call_is_refused_and_does_not_happen(tmp_path, function, protocol):
    if function in (eval, exec):
        argument = f"open({str(marker(tmp_path))!r}, 'w')"
    else:
        argument = f"touch {marker(tmp_path)}"
    attack = pickle.dumps({"data": Call(function, argument)}, protocol)
    with pytest.raises(DataError, match="asks for"):
        unpickle(attack, "data_batch_1")
    assert not marker(tmp_path).exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"

HAND_WRITTEN = {
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'true'\no.",
    "global alone": b"cos\nsystem\n.",
    "stack global": b"\x8c\x02os\x8c\x06system\x93.",
    "global by attribute path": b"\x8c\x08builtins\x8c\x11__import__('os')\x93.",
    "newobj": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "newobj_ex": b"\x80\x04cnumpy\nndarray\n)}\x92.",
    "persistent id": b"Psecret\n.",
    "binary persistent id": b"U\x03abcQ.",
    "extension registry": b"\x82\x01.",
    "extension registry, 4 bytes": b"\x84\x01\0\0\0.",
    "ndarray called outright": b"cnumpy\nndarray\n((I1000000\nI1000000\ntt\x85R.",
    "ndarray left in the data": b"cnumpy\nndarray\n.",
    "dtype left in the data": b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR.",
    "dtype of objects": b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR.",
    "dtype of a comma string": b"cnumpy\ndtype\n(U\x05u1,u1K\x00K\x01tR.",
    "reconstruct of another class": RECONSTRUCT + b"(cnumpy\ndtype\n(K\x00tU\x01btR.",
    "reconstruct of a large array": RECONSTRUCT + b"(cnumpy\nndarray\n(I9999999999\ntU\x01btR.",
    "array never built": RECONSTRUCT + b"(cnumpy\nndarray\n(K\x00tU\x01btR.",
    "state set on a name": b"cnumpy\nndarray\n}U\x01aU\x01bsb.",
    "state set on a dict": b"}}U\x01aU\x01bsb.",
    "state set on a call": b"c_codecs\nencode\n(X\x01\0\0\0aX\x06\0\0\0latin1tR}b.",
    "codec with effects": b"c_codecs\nencode\n(X\x01\0\0\0aX\x03\0\0\0ziptR.",
    "call of a list": b"](tR.",
    "set": b"\x8f.",
    "frozenset": b"(\x91.",
    "float": b"G\0\0\0\0\0\0\0\0.",
    "none": b"N.",
    "empty stack": b".",
    "mark on the stack": b"(.",
    "pop of nothing": b"0.",
    "tuple over a mark": b"(\x85.",
    "append to a tuple": b")K\x01a.",
    "append nothing": b"]a.",
    "items on a list": b"](K\x01K\x02u.",
    "odd items": b"}(U\x01au.",
    "odd dict": b"(U\x01ad.",
    "unhashable key": b"}]K\x01s.",
    "no mark": b"t.",
    "memo never set": b"h\x05.",
    "memo of nothing": b"q\x05.",
    "negative length": b"T\xff\xff\xff\xff.",
    "length beyond the file": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "text of four gigabytes": b"X\xff\xff\xff\xffabc.",
    "bytearray": b"\x96\x01\0\0\0\0\0\0\0a.",
    "long of 2 gigabytes": b"\x8b\xff\xff\xff\x7f.",
    "digits without end": b"I" + b"9" * 100_000 + b"\n.",
    "no digits": b"I1_0\n.",
    "string without quotes": b"Sabc\n.",
    "single quote": b"S'\n.",
    "unknown escape": b"S'\\q'\n.",
    "broken escape": b"S'\\x4'\n.",
    "broken escape in two": b"S'\\x4\\\\1'\n.",
    "not utf-8": b"X\x01\0\0\0\xff.",
    "broken unicode escape": b"V\\u12\n.",
    "no end": b"K\x01",
    "nothing": b"",
}


@pytest.mark.parametrize("attack", HAND_WRITTEN.values(), ids=HAND_WRITTEN.keys())
def test_hand_written_attack_is_refused(attack):
    with pytest.raises(DataError, match=r"^data_batch_1: the pickle\b"):
        unpickle(attack, "data_batch_1")


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        1.5,
        None,
        [None],
        Slots(),
        Slots,
        collections.OrderedDict(a=1),
        fractions.Fraction(1, 2),
        np.dtype("u1"),
        np.float32(1),
        np.array([Slots()], dtype=object),
        np.zeros(2, dtype=[("a", "u1")]),
        np.ma.masked_array([1]),
        np.array(["text"]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        bytearray(b"a"),
        {(1, 2): 3},
        {1: 2},
        range(3),
        io.BytesIO(b"x"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_everything_else_is_refused(value, protocol):
    if protocol == 0 and isinstance(value, io.BytesIO):
        pytest.skip("protocol 0 cannot pickle a stream at all")
    with pytest.raises(DataError):
        unpickle(pickle.dumps(value, protocol), "x")


def array_pickle(shape, raw, code=b"u1", order=b"|"):
    """An array whose claimed shape has nothing to do with its bytes."""
    sizes = b"".join(b"I%d\n" % size for size in shape)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01("
        + sizes
        + b"tcnumpy\ndtype\n(U"
        + bytes([len(code)])
        + code
        + b"K\x00K\x01tR(K\x03U\x01"
        + order
        + b"NNNI-1\nI-1\nK\x00tbI00\nT"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb."
    )


def test_array_pickle_helper():
    assert unpickle(array_pickle((2, 3), b"abcdef"), "x").tolist() == [
        [97, 98, 99],
        [100, 101, 102],
    ]


ARRAY = array_pickle((2,), b"ab")[:-1]


@pytest.mark.parametrize(
    "attack",
    [
        b"c_codecs\nencode\n(X\x01\0\0\0a" + ARRAY + b"tR.",
        RECONSTRUCT + b"(cnumpy\nndarray\n(" + ARRAY + b"tU\x01btR.",
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + ARRAY + b"I-1\nK\x00tb.",
        b"cnumpy\ndtype\n(" + ARRAY + b"K\x00K\x01tR.",
        ARRAY + b")R.",
        ARRAY + ARRAY + b"b.",
    ],
)
def test_array_where_something_else_belongs(attack):
    with pytest.raises(DataError):
        unpickle(attack, "x")


@pytest.mark.parametrize(
    ("shape", "raw", "sentence"),
    [
        ((10**9, 10**9), b"abc", "needs 1000000000000000000 bytes but has 3"),
        ((10**15,), b"abc", "impossible shape"),
        ((-1, -3), b"abc", "impossible shape"),
        ((1,) * 9, b"a", "impossible shape"),
        ((2**40,) * 8, b"a", "bytes but has 1"),
        ((4,), b"abc", "needs 4 bytes but has 3"),
        ((0, 10**9), b"", "empty"),
    ],
)
def test_array_of_another_size_than_its_bytes(shape, raw, sentence):
    with pytest.raises(DataError, match=sentence):
        unpickle(array_pickle(shape, raw), "x")


def test_unknown_byte_order():
    with pytest.raises(DataError, match="byte order"):
        unpickle(array_pickle((1,), b"a", order=b"?"), "x")


def test_deep_nesting_neither_overflows_the_stack_nor_hangs():
    depth = 200_000
    found = unpickle(b"]" + b"]" * depth + b"a" * depth + b".", "x")
    assert isinstance(found, list)
    # As a key, a deep tuple would be hashed recursively, in C.
    with pytest.raises(DataError, match="key that is not a string"):
        unpickle(b"})" + b"\x85" * depth + b"K\x01s.", "x")


def test_repeated_encoding_cannot_fill_the_memory():
    text = b"X" + struct.pack("<I", 10**5) + b"a" * 10**5
    function = b"c_codecs\nencode\nq\x000"
    arguments = b"(" + text + b"X\x06\0\0\0latin1tq\x010"
    attack = b"]q\x02(" + function + arguments + b"h\x00h\x01R" * 10**4 + b"e."
    with pytest.raises(DataError, match="again and again"):
        unpickle(attack, "x")


def test_latin1_bytes_of_python3_low_protocols():
    assert unpickle(pickle.dumps(bytes(range(256)), 0), "x") == bytes(range(256))
    with pytest.raises(DataError, match="outside 0 to 255"):
        unpickle(b"c_codecs\nencode\n(X\x03\0\0\0\xe2\x82\xacX\x06\0\0\0latin1tR.", "x")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_plain(content):
    try:
        unpickle(content, "x")
    except DataError as error:
        assert str(error).startswith("x: the pickle")


WHOLE = pickle.dumps({"data": np.arange(8, dtype=np.uint8), "labels": [1, 2], "n": ("a", b"b")}, 2)


@settings(max_examples=300, deadline=None)
@given(
    cut=st.integers(0, len(WHOLE)),
    at=st.integers(0, len(WHOLE)),
    junk=st.binary(max_size=6),
)
def test_damaged_pickle_is_refused_or_plain(cut, at, junk):
    try:
        unpickle((WHOLE[:at] + junk + WHOLE[at + len(junk) :])[:cut], "x")
    except DataError as error:
        assert str(error).startswith("x: the pickle")


FRAGMENTS = st.sampled_from(
    [
        *(bytes([k]) for k in b"(]}).0stauedlRbN\x85\x86\x87\x88\x89\x93\x94"),
        b"K\x01",
        b"U\x01a",
        b"X\x01\0\0\0a",
        b"q\x00",
        b"h\x00",
        b"cnumpy\nndarray\n",
        b"cnumpy\ndtype\n",
        RECONSTRUCT,
        ARRAY,
        b"c_codecs\nencode\n",
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR",
    ]
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(FRAGMENTS, max_size=30).map(b"".join))
def test_random_programs_are_refused_or_plain(program):
    try:
        unpickle(program + b".", "x")
    except DataError as error:
        assert str(error).startswith("x: the pickle")
