"""A pickle is a program; this machine runs the few instructions that build plain data.

Python's own unpickler calls whatever a file names, and even with a short list of allowed names it
hands NumPy shapes and states from the file unchecked. Here nothing can be called at all: names are
inert tokens, and the two constructions that arrays need (NumPy's ``_reconstruct`` and ``dtype``)
are carried out by this file, which checks an array's shape against the bytes that are there.

What comes out holds lists, dicts, tuples, str, bytes, integers and numeric arrays, nothing else.
Strings pickled by Python 2 come out as bytes, for it did not say which of the two it meant.
Reference: the instruction set is described in the standard library's module ``pickletools``.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from qpsim.errors import DataError

__all__ = ["unpickle"]

_NAMES = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("_codecs", "encode"): "encode",
}
_SCALARS = re.compile(r"[iu][1248]|f[248]|b1")
_MARK = object()
_MAX_DIMENSIONS = 8


class _Refused(Exception):
    """Carries the reason up to `unpickle`, which knows the file's name."""


class _Token:
    """A name from the file; it stands for a construction and can do nothing."""

    def __init__(self, meaning: str) -> None:
        self.meaning = meaning


class _Dtype:
    """A dtype under construction: its code is known, its byte order comes with the next state."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="


class _Array:
    """An array under construction, None until its shape and bytes have come."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None


def unpickle(data: bytes, source: str) -> Any:
    """The plain data in a pickle, of protocols 0 to 4, from Python 2 or 3.

    Parameters
    ----------
    data : bytes
        The whole pickle. Arrays in the result are read-only views of it.
    source : str
        The file's name, for the error sentences.

    Raises
    ------
    DataError
        The pickle is truncated or malformed, or wants to build anything but plain data.

    Examples
    --------
    >>> import pickle
    >>> unpickle(pickle.dumps({"labels": [3, 1]}), "batch")
    {'labels': [3, 1]}
    >>> unpickle(pickle.dumps(print), "batch")
    Traceback (most recent call last):
    qpsim.errors.DataError: batch: the pickle asks for builtins.print, which no plain data needs
    """
    try:
        result = _Machine(data).run()
        _check_plain(result)
    except _Refused as refusal:
        raise DataError(f"{source}: {refusal}") from None
    return result


def _text(value: Any) -> str:
    """A short string that the file may hold as str or, from Python 2, as bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise _Refused("the pickle has something else where a name belongs")


def _check_plain(result: Any) -> None:
    """Refuse names and unfinished arrays; a loop, as nesting may be deeper than Python's stack."""
    pending, seen = [result], set()
    while pending:
        value = pending.pop()
        if isinstance(value, (list, tuple, dict)):
            if id(value) in seen:
                continue
            seen.add(id(value))
            pending.extend(value.values() if isinstance(value, dict) else value)
        elif not isinstance(value, (str, bytes, int, np.ndarray)):
            raise _Refused("the pickle leaves something that is not plain data")


class _Machine:
    """The stack, the memo and the position in the program."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.encoded = 0

    def run(self) -> Any:
        while True:
            code = self.read(1)
            if code == b".":
                return self.pop()
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise _Refused(
                    f"the pickle's instruction {code!r} at byte {self.position - 1} "
                    "is none of those that build plain data"
                )
            instruction(self)

    # Reading the program.

    def read(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise _Refused(
                f"the pickle is truncated: {end} bytes are expected but {len(self.data)} found"
            )
        start, self.position = self.position, end
        return self.data[start:end]

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise _Refused(f"the pickle is truncated: it ends in a line, at byte {len(self.data)}")
        start, self.position = self.position, end + 1
        return self.data[start:end]

    def number(self, layout: str) -> int:
        value: int = struct.unpack("<" + layout, self.read(struct.calcsize(layout)))[0]
        return value

    def counted(self, layout: str) -> bytes:
        size = self.number(layout)
        if size < 0:
            raise _Refused("the pickle holds a string of negative length")
        return self.read(size)

    def decimal(self) -> int:
        digits = self.line().removesuffix(b"L")
        if not re.fullmatch(rb"-?[0-9]{1,20}", digits):
            raise _Refused("the pickle holds a malformed integer")
        return int(digits)

    # The stack.

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise _Refused("the pickle takes more from its stack than it put there")
        return self.stack.pop()

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise _Refused(f"the pickle adds to a {kind.__name__} where there is none")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                items = self.stack[start + 1 :]
                del self.stack[start:]
                return items
        raise _Refused("the pickle closes a group that it never opened")

    # Instructions with more to them than one line.

    def string(self) -> None:
        """A Python 2 string literal; only the escapes that Python 2's repr writes."""
        quoted = self.line()
        if len(quoted) < 2 or quoted[0] != quoted[-1] or quoted[:1] not in b"'\"":
            raise _Refused("the pickle holds a string without its quotes")
        literal = quoted[1:-1]
        if re.search(rb"\\(?!x[0-9a-fA-F]{2}|[nrt'\"])", literal.replace(rb"\\", b"  ")):
            raise _Refused("the pickle holds a string with an unknown escape")
        self.push(codecs.escape_decode(literal)[0])

    def unicode(self, raw: bytes, encoding: str = "utf-8") -> None:
        errors = "surrogatepass" if encoding == "utf-8" else "strict"
        try:
            self.push(raw.decode(encoding, errors))
        except UnicodeDecodeError:
            raise _Refused(f"the pickle holds text that is not {encoding}") from None

    def long(self) -> None:
        raw = self.counted("B")
        if len(raw) > 16:
            raise _Refused("the pickle holds an integer of more than 128 bits")
        self.push(int.from_bytes(raw, "little", signed=True))

    def tuple_of(self, size: int) -> None:
        items = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(items)))

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def update(self, items: list[Any]) -> None:
        mapping = self.top(dict)
        if len(items) % 2:
            raise _Refused("the pickle holds a dict with a key that has no value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Strings only: their hash is salted and flat, while a crafted integer or a deep tuple
            # could keep Python busy for hours, or overflow its C stack.
            if not isinstance(key, (str, bytes)):
                raise _Refused("the pickle holds a dict with a key that is not a string")
            mapping[key] = value

    def dictionary(self) -> None:
        items = self.since_mark()
        self.push({})
        self.update(items)

    def remember(self, index: int) -> None:
        if not self.stack or self.stack[-1] is _MARK:
            raise _Refused("the pickle wants to remember a value that is not there")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise _Refused("the pickle recalls a value that it never remembered")
        value = self.memo[index]
        built = isinstance(value, _Array) and value.value is not None
        self.push(value.value if built else value)

    def name(self, module: str, attribute: str) -> None:
        meaning = _NAMES.get((module, attribute))
        if meaning is None:
            asked = f"{module}.{attribute}"
            raise _Refused(f"the pickle asks for {asked[:80]}, which no plain data needs")
        self.push(_Token(meaning))

    def stack_name(self) -> None:
        attribute, module = _text(self.pop()), _text(self.pop())
        self.name(module, attribute)

    def reduce(self) -> None:
        """What would be a call: one of three known constructions, or a refusal.

        Constants stand inside their type, as ``int(0)``: an array must not be compared with them.
        """
        arguments, token = self.pop(), self.pop()
        meaning = token.meaning if isinstance(token, _Token) else None
        match meaning, arguments:
            case "reconstruct", (_Token(meaning="ndarray"), (int(0),), bytes() | str()):
                self.push(_Array())
            case "dtype", (bytes() | str() as code, _, _):
                if not _SCALARS.fullmatch(_text(code)):
                    raise _Refused("the pickle holds an array of something that is not a number")
                self.push(_Dtype(_text(code)))
            case "encode", (str(text), str("latin1" | "latin-1")):
                # How protocols 0 to 2 of Python 3 write bytes. A genuine pickle encodes every text
                # once; one that recalls a long text over and over would fill the memory.
                self.encoded += len(text)
                if self.encoded > len(self.data):
                    raise _Refused("the pickle encodes the same text again and again")
                try:
                    self.push(text.encode("latin-1"))
                except UnicodeEncodeError:
                    raise _Refused("the pickle holds bytes outside 0 to 255") from None
            case _:
                raise _Refused("the pickle asks for a call that builds no plain data")

    def build(self) -> None:
        state = self.pop()
        target = self.pop()
        match target, state:
            case _Dtype(), (
                int(),
                bytes() | str() as order,
                None,
                None,
                None,
                int(-1),
                int(-1),
                int(0),
            ):
                if _text(order) not in "<>|=" or len(order) != 1:
                    raise _Refused("the pickle holds an array of unknown byte order")
                target.order = _text(order)
                self.push(target)
            case _Array(value=None), (int(), tuple(shape), _Dtype() as dtype, columns_first, raw):
                if not isinstance(raw, bytes):
                    raise _Refused("the pickle holds an array whose content is not bytes")
                target.value = _array(shape, dtype, bool(columns_first), raw)
                self.push(target.value)
            case _:
                raise _Refused("the pickle sets the state of something that is no array")


def _array(shape: tuple[Any, ...], dtype: _Dtype, columns_first: bool, raw: bytes) -> np.ndarray:
    """The array over `raw`, once its shape is known to need exactly the bytes that are there."""
    sizes_are_sane = all(type(size) is int and 0 <= size <= 2**40 for size in shape)
    if len(shape) > _MAX_DIMENSIONS or not sizes_are_sane:
        raise _Refused("the pickle holds an array of impossible shape")
    scalar = np.dtype(dtype.code).newbyteorder(dtype.order)  # type: ignore[arg-type]
    expected = math.prod(shape) * scalar.itemsize
    if expected != len(raw):
        raise _Refused(
            f"the pickle holds an array of shape {shape} that needs {expected} bytes "
            f"but has {len(raw)}"
        )
    if expected == 0:
        raise _Refused("the pickle holds an empty array")
    return np.ndarray(shape, scalar, buffer=raw, order="F" if columns_first else "C")


_Instruction = Callable[[_Machine], object]

_INSTRUCTIONS: dict[bytes, _Instruction] = {
    b"\x80": lambda m: m.read(1),  # the protocol's number; instructions say all there is to know
    b"\x95": lambda m: m.read(8),  # the length of a frame, a hint for reading ahead
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.since_mark(),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": lambda m: m.push(m.decimal()),
    b"L": lambda m: m.push(m.decimal()),
    b"J": lambda m: m.push(m.number("i")),
    b"K": lambda m: m.push(m.number("B")),
    b"M": lambda m: m.push(m.number("H")),
    b"\x8a": _Machine.long,
    b"S": _Machine.string,
    b"T": lambda m: m.push(m.counted("i")),
    b"U": lambda m: m.push(m.counted("B")),
    b"B": lambda m: m.push(m.counted("I")),
    b"C": lambda m: m.push(m.counted("B")),
    b"\x8e": lambda m: m.push(m.counted("Q")),
    b"V": lambda m: m.unicode(m.line(), "raw-unicode-escape"),
    b"X": lambda m: m.unicode(m.counted("I")),
    b"\x8c": lambda m: m.unicode(m.counted("B")),
    b"\x8d": lambda m: m.unicode(m.counted("Q")),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.since_mark()),
    b"}": lambda m: m.push({}),
    b"d": _Machine.dictionary,
    b"s": lambda m: m.update([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.update(m.since_mark()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"p": lambda m: m.remember(m.decimal()),
    b"q": lambda m: m.remember(m.number("B")),
    b"r": lambda m: m.remember(m.number("I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: m.recall(m.decimal()),
    b"h": lambda m: m.recall(m.number("B")),
    b"j": lambda m: m.recall(m.number("I")),
    b"c": lambda m: m.name(m.line().decode("latin-1"), m.line().decode("latin-1")),
    b"\x93": _Machine.stack_name,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
}
