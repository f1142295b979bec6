"""Skim an ONNX file: its bytes without the data of large constants, which are passed over on disk.

A protobuf message is a row of fields, each a key (number and wire type) and a payload
(https://protobuf.dev/programming-guides/encoding). Of a tensor the dimensions and type stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

#: Field number -> what to do in it: skim its own fields, or leave it out (None). Others are copied.
_Rules: TypeAlias = "Mapping[int, _Rules | None]"

#: TensorProto: float, int32, int64, raw, double and uint64 data.
_TENSOR: _Rules = dict.fromkeys((4, 5, 7, 9, 10, 11))
#: ModelProto.graph, GraphProto.node and initializer, NodeProto.attribute, AttributeProto.t.
_MODEL: _Rules = {7: {1: {5: {5: _TENSOR}}, 5: _TENSOR}}

#: Fields of fewer bytes are copied: their constants may be asked for.
_SMALL = 1 << 16
#: A graph without its weights is never larger.
_MOST_BYTES = 1 << 28
#: Bytes of a key and a length, both as long as they can be.
_HEAD = 20
_LONGEST_VARINT = 10


def skim_onnx(path: Path) -> bytes:
    """The file's bytes without the data of constants of more than 64 KiB.

    Raises:
        ValueError: the file is no whole protobuf message, or holds more than a network without its weights.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _Skimmer(file.fileno()).copied(0, os.fstat(file.fileno()).st_size, _MODEL)


class _Skimmer:
    """Reads pieces of one file, and counts what it keeps."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept = 0

    def copied(self, start: int, end: int, rules: _Rules) -> bytes:
        """The message between two places of the file, skimmed."""
        parts = []
        for number, begin, body, stop in self._fields(start, end):
            if stop - begin <= _SMALL or number not in rules:
                parts.append(self._kept_bytes(begin, stop))
                continue
            inner = rules[number]
            if inner is not None:
                message = self.copied(body, stop, inner)
                parts += [_varint(number << 3 | 2), _varint(len(message)), message]
        return b"".join(parts)

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Number, begin, begin of the payload and end of each field."""
        while start < end:
            head = os.pread(self._descriptor, min(_HEAD, end - start), start)
            key, used = _read_varint(head, 0)
            body = start + used
            match key & 7:
                case 2:
                    length, used = _read_varint(head, used)
                    body = start + used
                    stop = body + length
                case 0:
                    stop = start + _read_varint(head, used)[1]
                case 1:
                    stop = body + 8
                case 5:
                    stop = body + 4
                case other:
                    raise ValueError(f"a field of wire type {other}")
            if stop > end:
                raise ValueError("it ends too early")
            yield key >> 3, start, body, stop
            start = stop

    def _kept_bytes(self, begin: int, stop: int) -> bytes:
        self._kept += stop - begin
        if self._kept > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES >> 20} MiB of it are no weights of the main graph")
        return os.pread(self._descriptor, stop - begin, begin)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = 0
    for count, byte in enumerate(data[place : place + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value, place + count + 1
    raise ValueError("a number without end")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
