"""Rows that a host measured and no controller has confirmed yet: kept on its disk, so that a broken link loses none."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fleetfront.errors import FileError
from fleetfront.files import explained_os_error, write_whole
from fleetfront.plain import read_record, to_plain
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.records import Measurement
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Beyond this a visit is made again: the device may have another mood, and nobody waits for those rows.
KEPT_S = 600.0
_FOLDER = "outbox"


@dataclass(frozen=True, slots=True)
class _Kept:
    target: Target
    space: str
    campaign: str
    round: int
    visit: Visit
    rows: tuple[Measurement, ...]


class Outbox:
    """The rows of one target that were measured for one controller, a file a visit.

    Beside them lies how often this program ended, and nobody had asked it to, while a visit was made.
    """

    def __init__(self, workspace: Workspace, controller: str, target: Target) -> None:
        """Rows that nobody fetched within ``KEPT_S`` go. Raises InputError if the folder cannot be read."""
        self._folder = workspace.root / _FOLDER / f"{controller}-{target.file_stem}"
        self._making: str | None = None
        now = time.time()
        try:
            for path in (workspace.root / _FOLDER).glob("*/*.*"):
                with suppress(FileNotFoundError):
                    if not 0 <= now - path.stat().st_mtime <= KEPT_S:
                        path.unlink()
        except OSError as error:
            raise explained_os_error(error, self._folder) from error

    def put(self, batch: VisitBatch, visit: Visit, rows: tuple[Measurement, ...]) -> None:
        """Keep the rows of a visit. Raises InputError if the disk is full."""
        kept = _Kept(batch.target, batch.space, batch.campaign, batch.round, visit, rows)
        path = self._path(visit.uuid)
        try:
            write_whole(path, json.dumps(to_plain(kept), separators=(",", ":")).encode())
        except OSError as error:
            raise explained_os_error(error, path) from error

    def find(self, batch: VisitBatch, visit: Visit) -> tuple[Measurement, ...] | None:
        """The rows of a visit that was made before, of this very file in this very way; None if there are none."""
        path = self._path(visit.uuid)
        if not path.is_file():
            return None
        try:
            kept = read_record(path, _Kept, "rows of a visit", "It is measured again.")
        except FileError:
            return None
        is_same = (kept.target, kept.space, kept.campaign, kept.round, kept.visit) == (
            batch.target,
            batch.space,
            batch.campaign,
            batch.round,
            visit,
        )
        return kept.rows if is_same else None

    def forget(self, visit: str) -> None:
        """The rows of a visit are safe elsewhere."""
        for path in (self._path(visit), self._mark(visit)):
            with suppress(OSError):
                path.unlink()

    def ended_in(self, visit: str) -> int:
        """How often this program ended while the visit was made."""
        try:
            return len(self._mark(visit).read_bytes())
        except OSError:
            return 0

    @contextmanager
    def making(self, visit: str) -> Iterator[None]:
        """Inside, the visit is made: if this program ends there, ``ended_in`` counts one more.

        Raises InputError if the disk is full.
        """
        self._making = visit
        path = self._mark(visit)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(b"1")
        except OSError as error:
            raise explained_os_error(error, path) from error
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """This program ends, or goes on, for reasons of its own: the visit that is made did not end it."""
        visit, self._making = self._making, None
        if visit is not None:
            with suppress(OSError):
                self._mark(visit).unlink()

    def _path(self, visit: str) -> Path:
        # A visit's name comes from outside.
        return self._folder / f"{hashlib.sha256(visit.encode()).hexdigest()[:40]}.json"

    def _mark(self, visit: str) -> Path:
        return self._path(visit).with_suffix(".making")
