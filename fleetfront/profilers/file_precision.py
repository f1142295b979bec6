"""Which number format a model file's weights have, read from its bytes alone: no runtime is loaded, nothing is run.

Field numbers are those of TensorFlow Lite's ``schema.fbs`` and of ONNX's ``onnx.proto``.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from fleetfront.errors import InputError

#: Types of tensors -> precision, and bytes of one number. Types without a word of their own are not counted.
_TFLITE_TYPES = {0: ("fp32", 4), 1: ("fp16", 2), 3: ("int8", 1), 9: ("int8", 1)}
_ONNX_TYPES = {1: "fp32", 2: "int8", 3: "int8", 10: "fp16"}

#: Scales, zero points and biases have one dimension or none, and other types than the weights that they belong to.
_FEWEST_DIMENSIONS = 2

_FLOATS = frozenset({"fp32", "fp16"})


def file_precision(path: Path, word: str | None = None, *, computes_in_either: bool = False) -> str:
    """The precision to name a ``.tflite`` or ``.onnx`` file's measurements by.

    Args:
        path: the file. One that is missing, damaged or of another kind tells nothing.
        word: what its user says; None takes what most of the weights have.
        computes_in_either: the runtime computes in the float type that it is asked for, whatever floats the file has.

    Returns:
        ``word`` if it is one of the file's or the file does not tell; without one, ``fp32`` then.

    Raises:
        InputError: the file has no weights of the precision ``word``.
    """
    weights = _weights(path)
    if not weights or word == "unknown":
        return word or "fp32"
    most = max(weights, key=lambda precision: weights[precision])
    held = set(weights)
    if computes_in_either and held & _FLOATS:
        held |= _FLOATS
        most = "fp32" if most in _FLOATS else most
    if word is not None and word not in held:
        raise InputError(
            f"The weights of {path} are {' and '.join(sorted(weights))}, not {word}.",
            f"Leave --precision out, or use --precision {most}.",
        )
    return word or most


def _weights(path: Path) -> Mapping[str, int]:
    """Precision -> how many of the file's weights have it; empty if it does not tell."""
    count = {".tflite": _tflite_weights, ".onnx": _onnx_weights}.get(path.suffix.lower())
    if count is None:
        return {}
    try:
        return count(memoryview(path.read_bytes()))
    except (OSError, struct.error, LookupError):
        # Whoever opens the file says what is wrong with it.
        return {}


def _tflite_weights(data: memoryview) -> Counter[str]:
    found: Counter[str] = Counter()
    (model,) = struct.unpack_from("<I", data)
    sizes = [_length(data, _field(data, buffer, 0)) for buffer in _tables(data, _field(data, model, 4))]
    for subgraph in _tables(data, _field(data, model, 2)):
        for tensor in _tables(data, _field(data, subgraph, 0)):
            kind, number = _field(data, tensor, 1), _field(data, tensor, 2)
            precision, size = _TFLITE_TYPES.get(0 if kind is None else data[kind], ("", 1))
            buffer = 0 if number is None else struct.unpack_from("<I", data, number)[0]
            if precision and sizes[buffer] and _length(data, _field(data, tensor, 0)) >= _FEWEST_DIMENSIONS:
                found[precision] += sizes[buffer] // size
    return found


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Where a flatbuffer's table has its field; None if it is left at its default."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset: int = struct.unpack_from("<H", data, vtable + slot)[0]
    return table + offset if offset else None


def _length(data: memoryview, vector: int | None) -> int:
    if vector is None:
        return 0
    count: int = struct.unpack_from("<I", data, vector + struct.unpack_from("<I", data, vector)[0])[0]
    return count


def _tables(data: memoryview, vector: int | None) -> Iterator[int]:
    if vector is None:
        return
    first = vector + struct.unpack_from("<I", data, vector)[0] + 4
    for place in range(first, first + 4 * _length(data, vector), 4):
        yield place + struct.unpack_from("<I", data, place)[0]


def _onnx_weights(data: memoryview) -> Counter[str]:
    found: Counter[str] = Counter()
    for graph in _messages(data, 7):
        for tensor in _messages(graph, 5):
            _count_onnx(tensor, found)
        for node in _messages(graph, 1):
            if any(bytes(name) == b"QuantizeLinear" for name in _messages(node, 4)):
                # Float weights may be meant to be rounded when the file is loaded: both words are right.
                found["int8"] += 1
            for attribute in _messages(node, 5):
                for tensor in _messages(attribute, 5):
                    _count_onnx(tensor, found)
    return found


def _count_onnx(tensor: memoryview, found: Counter[str]) -> None:
    dimensions, precision, numbers = 0, None, 1
    for number, value in _fields(tensor):
        if number == 1:
            for size in [value] if isinstance(value, int) else _varints(value):
                dimensions, numbers = dimensions + 1, numbers * size
        elif number == 2 and isinstance(value, int):
            precision = _ONNX_TYPES.get(value)
    if precision and dimensions >= _FEWEST_DIMENSIONS:
        found[precision] += numbers


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _fields(data):
        if number == wanted and not isinstance(value, int):
            yield value


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protobuf message: bytes as they are, all else as a number."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        wire = tag & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        size, place = _varint(data, place) if wire == 2 else ({1: 8, 5: 4}[wire], place)
        if place + size > len(data):
            raise IndexError("a field ends beyond its message")
        yield tag >> 3, data[place : place + size]
        place += size


def _varints(data: memoryview) -> Iterator[int]:
    place = 0
    while place < len(data):
        value, place = _varint(data, place)
        yield value


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while data[place] & 0x80:
        value |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if shift > 63:
            raise IndexError("a number does not end")
    return value | data[place] << shift, place + 1
