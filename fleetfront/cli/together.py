"""Speak for several devices at once: each line is marked with its device, and there is one progress for all."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from fleetfront.cli.console import LINE_EVERY_S, bars, can_redraw, duration, printable, seconds_left, write_to

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class Together:
    """The voices of several devices. Each is used by its own thread, and by the main one when Ctrl-C is pressed."""

    def __init__(self, names: Sequence[str], *, keeps_output: bool) -> None:
        """With ``keeps_output`` nothing is printed on stdout: each voice has it."""
        # Whoever redirects output does so for all threads.
        self._streams = {False: sys.stdout, True: sys.stderr}
        self._lock = threading.RLock()
        self._bars: RichProgress | None = None
        self._can_redraw = can_redraw()
        self._last = time.monotonic()
        self.voices = {name: DeviceVoice(name, self, keeps_output) for name in names}

    def write(self, text: str, *, err: bool) -> None:
        """Write to the terminal, pipe or file that the program began with."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
            try:
                write_to(self._streams[err], text)
            except BrokenPipeError:
                # Our reader went away (`| head`), and measuring goes on.
                self._forget(self._streams[err])
            if self._bars is not None:
                self._bars.start()

    def show(self, voice: DeviceVoice) -> None:
        """Show where a device's task stands."""
        with self._lock:
            if self._can_redraw:
                self._draw(voice)
            elif voice.total and time.monotonic() - self._last >= LINE_EVERY_S and (line := self._line()):
                self._last = time.monotonic()
                self.write(line, err=True)

    def close(self) -> None:
        """End the progress, and give stdout and stderr back."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = None
        sys.stdout, sys.stderr = self._streams[False], self._streams[True]

    def _draw(self, voice: DeviceVoice) -> None:
        if self._bars is None:
            self._bars = bars(self._streams[True])
            self._bars.start()
        if voice.label and voice.bar is None:
            label = printable(f"{voice.name}: {voice.label}")
            voice.bar = self._bars.add_task(label, total=voice.total, detail="")
        if voice.bar is not None and voice.label:
            self._bars.update(voice.bar, completed=voice.done, detail=printable(voice.detail))
        elif voice.bar is not None:
            self._bars.remove_task(voice.bar)
            voice.bar = None

    def _line(self) -> str:
        """How long the running tasks still take; empty where none of them tells."""
        busy = [voice for voice in self.voices.values() if voice.label]
        told = [(left, voice) for voice in busy if (left := voice.left_s()) is not None]
        if not told:
            return ""
        left, last = max(told, key=lambda pair: pair[0])
        over = sum(voice.is_over for voice in self.voices.values())
        done = f", {over} of them done" if over else ""
        where = f"{last.name} {last.done}/{last.total} {last.detail}".rstrip()
        waiting = len(self.voices) - over - len(busy)
        then = f" of those that run; {waiting} wait" if waiting else ""
        return f"{len(self.voices)} devices{done}: about {duration(left)} left{then} ({where})."

    def _forget(self, stream: IO[str]) -> None:
        try:
            # Python would complain of what is still unwritten at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (OSError, ValueError):
            return


class DeviceVoice:
    """The voice of one device's command, and how far it is. A ``Voice`` and a ``Progress``."""

    def __init__(self, name: str, together: Together, keeps_output: bool) -> None:
        self.name = name
        self.printed: list[str] | None = [] if keeps_output else None
        self.is_over = False
        self.label, self.detail = "", ""
        self.done, self.total = 0, 0
        self.bar: TaskID | None = None
        self._begun = 0.0
        self._together = together

    def say(self, text: str, *, err: bool) -> None:
        if self.printed is not None and not err:
            self.printed.append(text)
            return
        marked = "\n".join(f"[{self.name}] {line}" for line in text.split("\n"))
        self._together.write(marked, err=err)

    def progress(self) -> DeviceVoice:
        return self

    def left_s(self) -> float | None:
        """Seconds that the running task still takes; None where nothing tells."""
        if not self.label or not self.total or not self.done:
            return None
        return seconds_left(time.monotonic() - self._begun, self.done, self.total)

    def start(self, label: str, total: int | None = None) -> None:
        self.finish()
        self.label, self.detail, self.done, self.total = label, "", 0, total or 0
        self._begun = time.monotonic()
        self.note(f"{label} ...")
        self._together.show(self)

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.done, self.detail = self.done + steps, detail
        self._together.show(self)

    def finish(self) -> None:
        if self.label and time.monotonic() - self._begun > LINE_EVERY_S:
            self.note(f"{self.label}: done in {duration(time.monotonic() - self._begun)}")
        self.label = ""
        self._together.show(self)

    def note(self, text: str) -> None:
        self.say(text, err=True)
