"""Say what commands say: data on stdout, progress and hints on stderr; in a pipe, in CI and without colour.

Names in files reach the screen through here alone, with their control characters escaped.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, Any, Protocol

import click

from fleetfront.progress import SILENT, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

#: A cell that holds a number, perhaps with a unit, an uncertainty or bounds; or nothing.
_NUMBER = re.compile(r"(-|[+~<-]?\d[\d.,e+-]*( ?%| ms| MiB)?( ?\+-.*| ?\(.*)?)?\Z")

#: Terminals that cannot redraw a line, as rich has it: it would show nothing there.
_UNABLE = ("dumb", "unknown")

#: A terminal narrower than this has no room for the bar beside label, counts and times.
_BAR_FROM_COLUMNS = 80

#: Between two lines of progress where stderr is a file or a pipe.
LINE_EVERY_S = 10.0


#: What a terminal would act on: control characters but tab and line end, marks that turn the direction of text, and
#: separators of lines; but not the colours and weights that this program sets itself.
_CONTROL = re.compile(r"(\x1b\[(?:[012]|3[1-6])m)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with every character escaped (``\\x1b``) that a terminal would act on rather than show."""
    return _CONTROL.sub(lambda match: match[1] or ascii(match[0])[1:-1], text)


class Voice(Protocol):
    """Says in its own way what a command says, which is then one among several."""

    def say(self, text: str, *, err: bool) -> None:
        """A line, or several, on stdout or stderr."""

    def progress(self) -> Progress:
        """Takes the place of ``progress``."""


_VOICE: ContextVar[Voice | None] = ContextVar("voice", default=None)
_KEPT: ContextVar[list[str] | None] = ContextVar("kept", default=None)


def speak_through(voice: Voice | None) -> None:
    """From now on this thread speaks through ``voice``, with None for itself."""
    _VOICE.set(voice)


@contextmanager
def kept_output() -> Iterator[list[str]]:
    """Lines that this thread would print on stdout meanwhile, kept rather than printed."""
    lines: list[str] = []
    before = _KEPT.set(lines)
    try:
        yield lines
    finally:
        _KEPT.reset(before)


def echo(text: object = "", *, err: bool = False, color: bool | None = None) -> None:
    """A line on stdout or stderr."""
    line, kept, voice = printable(str(text)), _KEPT.get(), _VOICE.get()
    if kept is not None and not err:
        kept.append(line)
    elif voice is not None:
        voice.say(line, err=err)
    else:
        click.echo(line, err=err, color=color)


def write_to(stream: IO[str], text: str) -> None:
    """A line on a stream that was stdout or stderr when the program began. Raises OSError."""
    click.echo(printable(text), file=stream)


def print_json(value: Any) -> None:
    """Data for programs: one JSON document on stdout, with NaN refused rather than written."""
    echo(json.dumps(value, indent=2, allow_nan=False))


def hint(text: str) -> None:
    """A line for people, on stderr."""
    echo(text, err=True)


def next_command(text: str) -> None:
    """The next command to type, at the end of every verb."""
    hint(f"\nNext: {click.style(text, bold=True)}")


def warn(text: str) -> None:
    """A warning, on stderr."""
    hint(f"{click.style('Warning:', fg='yellow')} {text}")


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """An aligned table on stdout; columns of numbers to the right."""
    body = [[printable(cell) for cell in row] for row in rows]
    table = [list(headers), *body]
    widths = [max(len(row[i]) for row in table) for i in range(len(headers))]
    is_number = [all(_NUMBER.match(row[i]) for row in body) for i in range(len(headers))]
    for line, row in enumerate(table):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        text = "  ".join(cells).rstrip()
        echo(click.style(text, bold=True) if line == 0 else text)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Progress]:
    """The progress that suits stderr: a live bar on a terminal, a line now and then elsewhere, nothing if quiet."""
    voice = _VOICE.get()
    if quiet:
        yield SILENT
    elif voice is not None:
        shown = voice.progress()
        try:
            yield shown
        finally:
            shown.finish()
    elif can_redraw():
        bar = _Bar()
        try:
            yield bar
        finally:
            bar.finish()
    else:
        yield _Lines(hint)


def can_redraw() -> bool:
    """Tell whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in _UNABLE


class _Lines:
    """Progress for pipes and logs: a line when a task starts, every ten seconds, and when it ends."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._label = ""
        self._total: int | None = None
        self._done = 0
        self._begun = self._last = 0.0

    def start(self, label: str, total: int | None = None) -> None:
        self._label, self._total, self._done = label, total, 0
        self._begun = self._last = self._clock()
        self._write(f"{label} ...")

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self._done += steps
        now = self._clock()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        self._write(f"{self._label}: {self._state(now)} {detail}".rstrip())

    def finish(self) -> None:
        if self._label and self._clock() - self._begun > LINE_EVERY_S:
            self._write(f"{self._label}: done in {duration(self._clock() - self._begun)}")
        self._label = ""

    def note(self, text: str) -> None:
        self._write(text)

    def _state(self, now: float) -> str:
        elapsed = now - self._begun
        if not self._total:
            return f"{self._done}, {duration(elapsed)} so far."
        left = seconds_left(elapsed, self._done, self._total)
        return f"{self._done}/{self._total}, about {duration(left)} left."


def seconds_left(elapsed_s: float, done: int, total: int) -> float:
    """How long a task still takes that took ``elapsed_s`` for ``done`` of ``total`` steps."""
    return elapsed_s / max(done, 1) * max(total - done, 0)


class _Bar:
    """Progress for terminals."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, label: str, total: int | None = None) -> None:
        self.finish()
        self._rich = bars()
        self._rich.start()
        self._task = self._rich.add_task(printable(label), total=total, detail="")

    def advance(self, steps: int = 1, detail: str = "") -> None:
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, advance=steps, detail=printable(detail))

    def finish(self) -> None:
        if self._rich is not None:
            self._rich.stop()
        self._rich = self._task = None

    def note(self, text: str) -> None:
        if self._rich is not None:
            self._rich.console.print(printable(text), highlight=False, markup=False)
        else:
            hint(text)


def bars(stream: IO[str] | None = None) -> RichProgress:
    """A row a task for the terminal at stderr: label, bar, counts and times; each task has a field ``detail``.

    Where ``stream`` is that terminal, what is printed elsewhere is left alone.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    console = Console(stderr=True) if stream is None else Console(file=stream)
    is_wide = console.width >= _BAR_FROM_COLUMNS
    bar, detail = (BarColumn(bar_width=24),), (TextColumn("{task.fields[detail]}", style="dim", markup=False),)
    return Rich(
        TextColumn("{task.description}", markup=False),
        *(bar if is_wide else ()),
        MofNCompleteColumn(),
        *((TimeElapsedColumn(), TextColumn("left")) if is_wide else ()),
        TimeRemainingColumn(),
        *(detail if is_wide else ()),
        console=console,
        transient=True,
        redirect_stdout=stream is None,
        redirect_stderr=stream is None,
    )


def duration(seconds: float) -> str:
    """``format_duration``, imported late."""
    # Imported when something takes time: numpy comes with it, which a mere --help must not wait for.
    from fleetfront.quantities import format_duration

    return format_duration(seconds)


def shortened(name: str, longest: int = 48) -> str:
    """A name for a table: converters join those of many operators; the end tells them apart."""
    return name if len(name) <= longest else f"...{name[3 - longest :]}"
