"""Keep files that a slow converter made, so that nothing is converted twice: what a profile began goes on where it was
stopped, and a deploy takes what the profile timed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fleetfront.files import write_whole
from fleetfront.workspace import Workspace

#: Files of one profile take up to a gigabyte. Beyond this those go that were used longest ago.
KEPT_BYTES = 2 << 30
#: Packages whose other version may write other bytes.
_WRITERS = ("fleetfront", "torch", "litert-torch", "litert-converter", "ai-edge-litert")
_DIGEST_BYTES = 32


def convert_once(computed: bytes, how: str, convert: Callable[[], bytes]) -> bytes:
    """Take what ``convert`` made before of a network that is ``computed`` the same, or let it make that now.

    ``computed`` tells operators, weights, names and shapes, as another file of the network does; ``how`` is whatever
    else decides the bytes. What cannot be kept, or was damaged, is converted again.
    """
    told = "\n".join([how, *(f"{name} {_version(name)}" for name in _WRITERS)])
    key = hashlib.sha256(told.encode() + b"\n" + computed).hexdigest()
    path = Workspace.default().cache / "converted" / key
    with contextlib.suppress(OSError):
        kept = path.read_bytes()
        digest, data = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() == digest:
            _touch(path)
            return data
    data = convert()
    with contextlib.suppress(OSError):
        write_whole(path, hashlib.sha256(data).digest() + data)
        _touch(path)
        _prune([one for one in path.parent.iterdir() if one != path], KEPT_BYTES - _DIGEST_BYTES - len(data))
    return data


def _touch(path: Path) -> None:
    """Say that a file was used now; the system's own clock of files ticks too slowly to tell two apart."""
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


def _prune(paths: Sequence[Path], kept_bytes: int) -> None:
    """Remove the files used longest ago until the rest fits."""
    entries = sorted(((one.stat().st_mtime_ns, one.stat().st_size, one) for one in paths), reverse=True)
    total = 0
    for _, size, path in entries:
        total += size
        if total > kept_bytes:
            path.unlink(missing_ok=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
