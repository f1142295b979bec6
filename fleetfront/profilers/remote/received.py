"""Files that controllers brought to this host, by their SHA-256 in its workspace's cache: each travels once."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from fleetfront.errors import FileError
from fleetfront.files import explained_os_error, held_open
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.remote.messages import OfferedFile, Part
from fleetfront.workspace import Workspace

_FOLDER = "received"
_AGAIN = "Run the same command again."


class ReceivedFiles:
    """Offered files, those that are here and those that arrive."""

    def __init__(self, workspace: Workspace) -> None:
        """Room is made first: the files used longest ago go, beyond what any cache of files may take, unless another
        agent of this host has some in use.
        """
        self._folder = workspace.cache / _FOLDER
        self._offered: dict[str, OfferedFile] = {}
        self._arriving: tuple[str, Path, IO[bytes]] | None = None
        FileCache(self._folder, "").prune()
        self._in_use = ExitStack()
        # Whoever cannot write there says so when a file comes.
        with suppress(OSError):
            self._in_use.enter_context(held_open(self._folder))

    def path(self, sha256: str, suffix: str) -> Path:
        """Where a file is, if it is here."""
        return FileCache(self._folder, suffix).path(sha256)

    def lacking(self, files: tuple[OfferedFile, ...]) -> tuple[str, ...]:
        """Those of the offered files that are not here; the others count as used now."""
        missing = []
        for file in files:
            path = self.path(file.sha256, file.suffix)
            if path.is_file() and path.stat().st_size == file.size:
                os.utime(path)
            else:
                self._offered[file.sha256] = file
                missing.append(file.sha256)
        return tuple(dict.fromkeys(missing))

    def take(self, part: Part) -> None:
        """Add the next bytes of an offered file; with the last it is here, under its hash.

        Raises FileError for bytes that are not those offered, InputError if they cannot be written.
        """
        file = self._offered.get(part.sha256)
        if file is None:
            raise FileError(f"A file {part.sha256[:12]} came that nobody offered.", _AGAIN)
        try:
            data = base64.b64decode(part.data, validate=True)
        except binascii.Error as error:
            raise FileError(f"The bytes of a file {part.sha256[:12]} are damaged ({error}).", _AGAIN) from error
        path = self.path(file.sha256, file.suffix)
        try:
            self._append(file, path, data)
            if part.is_last:
                self._finish(file, path)
        except OSError as error:
            self.drop()
            raise explained_os_error(error, path) from error

    def drop(self) -> None:
        """Forget a file that arrived in part."""
        if self._arriving is not None:
            _, unfinished, stream = self._arriving
            stream.close()
            unfinished.unlink(missing_ok=True)
            self._arriving = None

    def _append(self, file: OfferedFile, path: Path, data: bytes) -> None:
        if self._arriving is None or self._arriving[0] != file.sha256:
            self.drop()
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".partial-{uuid.uuid4().hex}")
            self._arriving = (file.sha256, unfinished, unfinished.open("xb"))
        stream = self._arriving[2]
        if stream.tell() + len(data) > file.size:
            self.drop()
            raise FileError(f"A file {file.sha256[:12]} is longer than the {file.size:,} bytes offered.", _AGAIN)
        stream.write(data)

    def _finish(self, file: OfferedFile, path: Path) -> None:
        if self._arriving is None:
            return
        _, unfinished, stream = self._arriving
        stream.close()
        with unfinished.open("rb") as whole:
            sha256 = hashlib.file_digest(whole, "sha256").hexdigest()
        if sha256 != file.sha256:
            self.drop()
            raise FileError(f"A file {file.sha256[:12]} did not arrive as it was sent: it is {sha256[:12]}.", _AGAIN)
        os.replace(unfinished, path)
        self._arriving = None
        del self._offered[file.sha256]
