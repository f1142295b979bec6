"""Model files by content: written once, found again by their SHA-256. What goes into them is for spaces and writers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fleetfront.files import explained_os_error, held_open, unless_held, write_whole

#: Networks of one campaign take a gigabyte and are written again in 0.1 s each, so little is kept beyond a campaign.
KEPT_BYTES = 1 << 30


class FileCache:
    """A folder of files named by their SHA-256."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix

    def path(self, sha256: str) -> Path:
        """Where a file is, if it is there."""
        return self.folder / sha256[:2] / f"{sha256}{self.suffix}"

    def has(self, sha256: str) -> bool:
        """Tell whether the file is there."""
        return self.path(sha256).is_file()

    def put(self, data: bytes) -> str:
        """Keep ``data``; returns its SHA-256. Raises InputError if the disk is full or the folder cannot be written."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.path(sha256)
        try:
            if path.is_file():
                os.utime(path)
                return sha256
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        except OSError as error:
            raise explained_os_error(error, path) from error
        return sha256

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the files stay. Raises InputError where nothing can be written to the folder."""
        with ExitStack() as held:
            try:
                held.enter_context(held_open(self.folder))
            except OSError as error:
                raise explained_os_error(error, self.folder) from error
            yield

    def prune(self, kept_bytes: int = KEPT_BYTES) -> int:
        """Remove the files used longest ago until the rest fits; returns the bytes freed.

        Nothing while some are in use, by another device or command: whoever is the last of them removes more.
        """
        with unless_held(self.folder) as is_free:
            return self._removed(kept_bytes) if is_free else 0

    def _removed(self, kept_bytes: int) -> int:
        # A file that another process removes meanwhile is as good as removed here.
        entries = []
        for path in self.folder.glob(f"??/*{self.suffix}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        freed = 0
        for _, size, path in sorted(entries):
            if total - freed <= kept_bytes:
                break
            path.unlink(missing_ok=True)
            freed += size
        return freed
