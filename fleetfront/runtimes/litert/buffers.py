"""Read what a TFLite file keeps in a buffer, inside its flatbuffer or, as newer quantisers write it, behind it."""

from __future__ import annotations

from typing import Any

from fleetfront.errors import InputError

#: Offsets up to this are the schema's way to say that there is none.
_NO_OFFSET = 1


def buffer_content(buffer: Any, data: bytes) -> bytes:
    """The bytes of one of the schema's ``BufferT`` of the file ``data``; empty for a buffer without content.

    Raises InputError if the buffer lies outside the file.
    """
    if buffer.data is not None and len(buffer.data) > 0:
        return bytes(buffer.data)
    offset, size = int(buffer.offset or 0), int(buffer.size or 0)
    if offset <= _NO_OFFSET:
        return b""
    if offset + size > len(data):
        raise InputError(
            f"A constant lies at bytes {offset} to {offset + size} of a file of {len(data)} bytes.",
            "Check that it is a whole .tflite file.",
        )
    return data[offset : offset + size]
