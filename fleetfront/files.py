"""Write files that appear whole or not at all, check folders before the work, and hold devices by lock files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from fleetfront.errors import DeviceBusy, FileError, InputError

#: What several threads would make at once is made by one.
_MAKING = threading.RLock()
_IN_USE = ".in-use"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes the place of ``path`` when the block ends.

    A reader sees the old file or the new one, also while two processes write at once. The folder is made if missing.
    After an exception nothing is left, after the death of this process at most a hidden file ``.partial-*``.

    Raises:
        OSError: the folder cannot be made or written, or its disk is full.
        FileError: ``path`` is a device or a pipe, such as /dev/null, which a file would take the place of for everyone.
    """
    check_regular(path)
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


def check_regular(path: Path) -> None:
    """Raise FileError for a pipe, a device or a folder: reading it would never end, or never begin. Absence is fine."""
    if path.exists() and not path.is_file():
        raise FileError(f"{path} is no regular file.", "Give the path of a file.")


def lasting_name(path: Path) -> str:
    """Eight hexadecimal digits, drawn once and kept at ``path``: a name that no other home, container or computer has.

    Raises InputError if it cannot be read or written.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(path.parent):
                if not path.exists():
                    write_whole(path, secrets.token_hex(4).encode())
        named = path.read_text().strip()
    except OSError as error:
        raise explained_os_error(error, path) from error
    return named if re.fullmatch(r"[0-9a-f]{8}", named) else hashlib.sha256(named.encode()).hexdigest()[:8]


@contextlib.contextmanager
def device_lock(folder: Path, device: str, identity: str = "") -> Iterator[None]:
    """Hold a device for this process, however it is spelled: two commands on one device would measure each other.

    The system lets go when the process ends, however it ends.

    Args:
        folder: of the lock files.
        device: name of the targets of the device.
        identity: what the device says that it is, where it may go by several names; empty holds the name alone.

    Raises:
        DeviceBusy: another process holds it, under this or another name.
        InputError: ``folder`` cannot be written.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(_lock(folder, device, f"{device} is"))
        if identity:
            held.enter_context(_lock(folder, f"device-{identity}", f"{device}, under another name, is"))
        yield


@contextlib.contextmanager
def _lock(folder: Path, name: str, subject: str) -> Iterator[None]:
    path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise explained_os_error(error, path) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise DeviceBusy(
                f"{subject} already being measured by process {holder}.",
                "Wait until it ends (or stop it), then run the same command again.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold ``folder`` alone, among threads and processes, as soon as the others that want it are done.

    On a disk that has no locks for folders, such as one of NFS, among the threads of this process alone. Raises OSError
    where there is no such folder.
    """
    with _MAKING:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def held_open(folder: Path) -> Iterator[None]:
    """Inside, what lies in ``folder``, which is made, is in use: ``unless_held`` says so to others.

    Raises OSError where nothing can be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def unless_held(folder: Path) -> Iterator[bool]:
    """Tell whether nobody here or elsewhere has ``folder`` in use. Who wants it waits until the block ends."""
    try:
        descriptor = os.open(folder / _IN_USE, os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    try:
        yield _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, how: int) -> bool:
    """Lock an open file or folder; whether nobody else holds it, which is so where the disk has no such locks."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
    return True


def explained_os_error(error: OSError, path: Path) -> InputError:
    """The InputError for a file or folder that the system does not let us write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path)
    return InputError(
        f"{path} cannot be written ({error.strerror or error}).",
        "Check its permissions, or set FLEETFRONT_HOME to a folder of yours.",
    )


def disk_full(path: Path) -> InputError:
    """The InputError for a full disk; what was measured before stays."""
    return InputError(
        f"No space is left for {path}.",
        "Free some disk space and run the same command again; everything measured so far is kept.",
    )
