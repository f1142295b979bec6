"""Writing results: files that appear whole or not at all, and folders that can be written before the work is done."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from fleetfront.errors import InputError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes the place of ``path`` when the block ends.

    A reader sees the old file or the new one, also while two processes write at once. The folder is made if missing.
    After an exception nothing is left, after the death of this process at most a hidden file ``.partial-*``.

    Raises OSError: the folder cannot be made or written, or its disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp, whose files nobody but their owner may read.
    unfinished = path.with_name(f".partial-{uuid.uuid4().hex}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write_whole(path: Path, data: bytes, *, outlives_power: bool = False) -> None:
    """Put ``data`` into ``path`` as ``files`` does; with ``outlives_power`` it is on the disk before it counts.

    Raises OSError.
    """
    with whole_file(path) as unfinished, unfinished.open("xb") as file:
        file.write(data)
        if outlives_power:
            file.flush()
            os.fsync(file.fileno())


def check_folder(folder: Path, out: Path) -> None:
    """Make a folder of results. Raises InputError, naming ``--out OUT``, if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"Cannot write results into {out} ({error.strerror or error}).", "Choose another folder with --out."
        ) from error
