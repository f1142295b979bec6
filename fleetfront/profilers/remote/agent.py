"""Measure on a device of another host: hand visits to the agent there, and mend the link as long as that makes sense.

Transport is at least once: after a broken link the visits that were not answered are sent again. Rows are exactly
once: a visit's identity is that of its rows, and the host answers what it has made already from its outbox.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleetfront.errors import DeviceBusy, DeviceError, InputError
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.records import Measurement
from fleetfront.profilers.remote.faults import FaultWindow, Patience
from fleetfront.profilers.remote.lines import LinkEnded
from fleetfront.profilers.remote.link import Link
from fleetfront.profilers.remote.messages import (
    AGENT_ENDED,
    LEAVING_S,
    MOST_FILE_BYTES,
    PART_BYTES,
    SILENCE_S,
    Abandon,
    Done,
    Keep,
    Lacking,
    Measure,
    Offer,
    OfferedFile,
    Open,
    Operators,
    Part,
    Ready,
    Rows,
    TimeOperators,
)
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Clock, format_duration
from fleetfront.runtimes.operator_times import OperatorTimes
from fleetfront.side_by_side import pause
from fleetfront.targets import Target

#: An agent whose controller was just killed needs a moment to let go of the device; one that was cut off, its silence.
_BUSY_S, _BUSY_AFTER_LOSS_S = 5.0, SILENCE_S + LEAVING_S + 5.0
_ASK_AGAIN_S = 0.5
#: Clocks that differ by less are the same for all that rows are used for; a board without a battery begins in 1970.
_SAME_CLOCK_NS = 1_000_000_000


class RemoteAgent:
    """An ``Agent`` whose device is another host's. Used by one thread."""

    def __init__(
        self,
        connect: Callable[[bool], Link],
        target: Target,
        opening: Open,
        *,
        patience: Patience | None = None,
        progress: Progress = SILENT,
        sleep: Callable[[float], None] = pause,
    ) -> None:
        """Connect and open the device.

        Args:
            connect: makes a link to the host; told whether it was reached before. Raises what ``Link`` raises.
            target: what rows belong to; its device is that of ``opening`` behind the host.
            opening: what the host is asked to open.
            patience: with broken links.
            progress: told of broken links, and what the host notes.
            sleep: waits for seconds.

        Raises what opening the device on its host raises, and DeviceError for a host that cannot be reached.
        """
        self._connect, self._target, self._opening = connect, target, opening
        self._patience = patience or Patience()
        self._faults = FaultWindow(self._patience)
        self._progress, self._sleep = progress, sleep
        self._link: Link | None = None
        self._there: set[str] = set()
        self._number = 0
        self._was_lost = False
        self._is_working = False
        self._ready: Ready | None = None
        try:
            self._linked()
        except BaseException:
            self.close()
            raise

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """See ``Agent``, here and below."""
        return self._ready.clocks if self._ready else ()

    def describe(self) -> dict[str, Any]:
        """Facts of the device on its host, and of the host: ``remote_host``, ``remote_fleetfront``."""
        return dict(self._ready.facts) if self._ready else {}

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        if batch.target != self._target:
            raise InputError(f"This agent measures {self._target}, not {batch.target}.", "Open an agent for it.")
        left = list(batch.visits)
        busy_until = time.monotonic() + _BUSY_AFTER_LOSS_S
        while left:
            try:
                link = self._linked()
                far = self._brought(link, batch)
                self._number += 1
                link.say(Measure(self._number, replace(far, visits=tuple(left))))
                yield from self._answers(link, left)
                return
            except LinkEnded as end:
                self._mend(end)
            except DeviceBusy:
                # Kinds that hold their device from the first batch on.
                if not self._was_lost or time.monotonic() > busy_until:
                    raise
                self._sleep(_ASK_AGAIN_S)

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _answers(self, link: Link, left: list[Visit]) -> Generator[tuple[Measurement, ...], None, None]:
        while True:
            match link.hear():
                case Rows(number, visit, rows) if number == self._number:
                    if not left or visit != left[0].uuid:
                        raise LinkEnded("it answered a visit that was not asked for")
                    del left[0]
                    self._faults.forgive(max((int(row.after.get(AGENT_ENDED, 0)) for row in rows), default=0))
                    try:
                        yield tuple(self._ours(row, link.ahead_ns) for row in rows)
                    except GeneratorExit:
                        # Handed over is as good as kept; what the host still has to do of the batch must not run on.
                        with contextlib.suppress(LinkEnded, DeviceError):
                            link.say(Keep(visit))
                            link.say(Abandon(number))
                        raise
                    link.say(Keep(visit))
                case Done(number) if number == self._number:
                    return
                case Rows() | Done():
                    continue
                case message:
                    raise LinkEnded(f"it sent a {message.kind} out of its turn")

    def _ours(self, row: Measurement, ahead_ns: int) -> Measurement:
        started_ns = row.started_ns + (ahead_ns if abs(ahead_ns) > _SAME_CLOCK_NS else 0)
        return replace(row, target=self._target, started_ns=started_ns)

    def _brought(self, link: Link, batch: VisitBatch) -> VisitBatch:
        """The batch as the host knows it, once its files are there. A file that is missing here is missing there."""
        paths = {sha256: Path(path) for sha256, path in batch.files.items()}
        bring_files(link, {sha256: path for sha256, path in paths.items() if sha256 not in self._there})
        self._there |= paths.keys()
        ends = {sha256: path.suffix.lower() for sha256, path in paths.items()}
        return replace(batch, target=self._opening.target, files=ends)

    def _linked(self) -> Link:
        """The link, made anew if it broke, with the device open."""
        while self._link is None:
            try:
                self._link = self._connect(self._ready is not None)
                self._there.clear()
                self._opened(self._link)
            except LinkEnded as end:
                self._mend(end)
            except BaseException:
                self.close()
                raise
        return self._link

    def _opened(self, link: Link) -> None:
        until = time.monotonic() + (_BUSY_AFTER_LOSS_S if self._was_lost else _BUSY_S)
        while True:
            try:
                ready = asked(link, self._opening)
                break
            except DeviceBusy:
                if time.monotonic() > until:
                    raise
                self._sleep(_ASK_AGAIN_S)
        if self._ready is not None and self._ready.facts != ready.facts:
            raise DeviceError(
                f"{self._target.device} is not what it was: {_changed(self._ready.facts, ready.facts)}.",
                "What is measured from now on is another device's or another system's: run the same command again.",
            )
        self._ready, self._is_working = ready, True

    def _mend(self, end: LinkEnded) -> None:
        """Wait before the next try. Raises DeviceError if the unit is to be set aside."""
        link, self._link = self._link, None
        if link is not None:
            link.drop()
        was_working, self._is_working, self._was_lost = self._is_working, False, True
        now, device, patience = time.monotonic(), self._target.device, self._patience
        was_reached = self._ready is not None
        wait_s = self._faults.broke(now) if was_working else self._faults.missed(now, was_reached=was_reached)
        if wait_s is not None:
            self._progress.note(f"The link to {device} broke ({end}); it is tried again in {wait_s:g} s.")
            self._sleep(wait_s)
            return
        if was_working:
            why = f"its link broke {patience.most_faults} times in {format_duration(patience.within_s)}"
        elif was_reached:
            why = f"its host was away for {format_duration(patience.away_s)}"
        else:
            why = f"its host was not reached in {patience.most_faults} tries"
        raise DeviceError(
            f"{device} is set aside, for {why}; the last time: {end}.",
            "Look at the host and its network; other devices go on, and the same command goes on with this one.",
        )


def asked(link: Link, opening: Open) -> Ready:
    """The answer to ``opening``. Raises LinkEnded, and what the host refuses with."""
    link.say(opening)
    answer = link.hear()
    if not isinstance(answer, Ready):
        raise LinkEnded(f"it sent a {answer.kind} in place of a device")
    return answer


def bring_files(link: Link, paths: Mapping[str, Path]) -> None:
    """Send the files, by SHA-256, that the host lacks; those that are not here are passed over.

    Raises LinkEnded, and InputError for a file that is too large.
    """
    offered = []
    for sha256, path in paths.items():
        if not path.is_file():
            continue
        size = path.stat().st_size
        if size > MOST_FILE_BYTES:
            raise InputError(
                f"{path} has {size:,} bytes; at most {MOST_FILE_BYTES:,} are sent to a host.", "Measure it there."
            )
        offered.append(OfferedFile(sha256, path.suffix.lower(), size))
    if not offered:
        return
    link.say(Offer(tuple(offered)))
    answer = link.hear()
    if not isinstance(answer, Lacking):
        raise LinkEnded(f"it sent a {answer.kind} in place of what it lacks")
    for sha256 in answer.sha256s:
        _send(link, sha256, paths[sha256])


def time_operators_there(
    link: Link, target: Target, path: Path, shapes: Mapping[str, tuple[int, ...]], arrays: Path | None
) -> OperatorTimes:
    """Have the host time the operators of a file. ``target`` is as the host knows it.

    Raises LinkEnded, and what the host refuses with.
    """
    hashes = {hashlib.sha256(one.read_bytes()).hexdigest(): one for one in (path, arrays) if one is not None}
    bring_files(link, hashes)
    of_file, of_arrays = [*hashes, ""][:2]
    link.say(TimeOperators(target, of_file, path.suffix.lower(), shapes, of_arrays))
    answer = link.hear()
    if not isinstance(answer, Operators):
        raise LinkEnded(f"it sent a {answer.kind} in place of operators")
    return answer.times


def _send(link: Link, sha256: str, path: Path) -> None:
    with path.open("rb") as file:
        data = file.read(PART_BYTES)
        while True:
            following = file.read(PART_BYTES)
            link.say(Part(sha256, base64.b64encode(data).decode(), is_last=not following))
            if not following:
                return
            data = following


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    names: Sequence[str] = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return ", ".join(f"{name} was {before.get(name)} and is {after.get(name)}" for name in sorted(names)[:3])
