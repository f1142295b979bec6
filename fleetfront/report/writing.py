"""Write reports whole, and over nothing but reports."""

from __future__ import annotations

import zlib
from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.files import write_whole

#: What a report of each format has near its beginning, and hardly any other file.
_SIGNS = (
    b'<meta name="generator" content="fleetfront">',
    # Pages that were written before they said so.
    b'<p class="product">fleetfront</p>',
    b" UTC with fleetfront ",
    b"<!-- fleetfront -->",
    b"Software\0fleetfront",
)
_LOOKED_AT = 65_536
#: Bytes of a PNG before its first chunk that may be inserted: its signature and its header.
_PNG_HEADER = 8 + 25


def write_report(path: Path, content: bytes, *, force: bool = False) -> Path:
    """Put a report into a file, whole or not at all, and return its path.

    Raises:
        InputError: it cannot be written, or a file is there that is no report, and ``force`` does not let it go.
    """
    try:
        if not force and path.exists() and not _is_report(path):
            raise InputError(f"{path} is there and is no report.", "Choose another --out, or replace it with --force.")
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror or error}).", "Choose another --out.") from error
    return path


def sign_svg(svg: str) -> bytes:
    """An SVG document that says what wrote it."""
    opening, end, rest = svg.partition(">")
    return f"{opening}{end}<!-- fleetfront -->{rest}".encode()


def sign_png(png: bytes) -> bytes:
    """A PNG with a text chunk that says what wrote it (PNG specification, 11.3.3)."""
    chunk = b"tEXtSoftware\0fleetfront"
    length, checksum = len(chunk) - 4, zlib.crc32(chunk)
    return png[:_PNG_HEADER] + length.to_bytes(4) + chunk + checksum.to_bytes(4) + png[_PNG_HEADER:]


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(_LOOKED_AT)
    # What an earlier version was killed at is empty.
    return not beginning or any(sign in beginning for sign in _SIGNS)
