"""Reading a CSV of whole-network latencies: a column ``arch`` and one ``lat_<device>`` column a device, milliseconds.

Values are checked here, cell by cell with line numbers; architectures and devices mean nothing yet.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.quantities import NS_PER_MS

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

ARCH_COLUMN = "arch"
LATENCY_PREFIX = "lat_"

#: The largest public table of this kind has 4 MB; this is a hundred times that.
MAX_BYTES = 512 * 1024 * 1024

#: Twelve days. Beyond it lies a mistake, and far beyond it what nanoseconds in 64 bits cannot hold.
MOST_MS = 1e9
_NUMBER = "a positive number of milliseconds, up to 1e9"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that cannot be imported. ``line`` counts from 1; ``column`` is empty for a whole line."""

    line: int
    column: str
    text: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.column}" if self.column else "")
        return f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """A table of n networks on d devices.

    Attributes:
        arch_ids: as spelled in the file.
        lines: int64[n], where each network stands in the file.
        devices: the d column names without ``lat_``.
        ms: float64[n, d], NaN where a cell is empty or wrong.
        empty_cells: cells that hold nothing: not measured.
        problems: what is wrong, in the order of the file.
        sha256: of the file.
    """

    arch_ids: tuple[str, ...]
    lines: NDArray[np.int64]
    devices: tuple[str, ...]
    ms: FloatArray
    empty_cells: int
    problems: tuple[Problem, ...]
    sha256: str


def read_table(path: Path) -> LatencyTable:
    """Read and check a table.

    Raises:
        InputError: if the file cannot be read, is no UTF-8 CSV, or lacks the columns. Wrong cells and lines are
            ``problems`` instead.
    """
    data = _bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}).", "Save it as a UTF-8 CSV.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        arch_at, latency_at = _columns(path, header)
        rows, lines, problems = _rows(((reader.line_num, row) for row in reader), len(header))
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not CSV: {error}.", "Save it as a plain CSV.") from error
    if not rows:
        first = f" ({problems[0]})" if problems else ""
        raise InputError(f"{path} holds no network under its header{first}.", "Write one network a line.")
    ms = np.empty((len(rows), len(latency_at)))
    empty = 0
    for column, at in enumerate(latency_at):
        ms[:, column], missing, wrong = _milliseconds([row[at] for row in rows], lines, header[at])
        empty += missing
        problems.extend(wrong)
    return LatencyTable(
        tuple(row[arch_at].strip() for row in rows),
        np.asarray(lines, dtype=np.int64),
        tuple(header[at].removeprefix(LATENCY_PREFIX) for at in latency_at),
        ms,
        empty,
        tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))),
        hashlib.sha256(data).hexdigest(),
    )


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB.", "Split it into several tables.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", "Check path and rights.") from error


def _columns(path: Path, header: list[str]) -> tuple[int, list[int]]:
    header[:] = [name.strip() for name in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{path}: the column {twice[0]!r} occurs twice.", "Rename or remove one of the two.")
    if ARCH_COLUMN not in header:
        for separator, name in ((";", "semicolons"), ("\t", "tabs")):
            if any(separator in cell for cell in header):
                raise InputError(
                    f"The columns of {path} are separated by {name}.",
                    "Save it with commas between columns and a point in numbers.",
                )
        near = difflib.get_close_matches(ARCH_COLUMN, header, n=1, cutoff=0.5)
        hint = f"Rename the column {near[0]!r}." if near else f"Found: {', '.join(header[:8]) or 'nothing'}."
        raise InputError(f"{path} has no column {ARCH_COLUMN!r} in its first line.", hint)
    latency = [at for at, name in enumerate(header) if len(name) > 4 and name.startswith(LATENCY_PREFIX)]
    if not latency:
        raise InputError(
            f"{path} has no column {LATENCY_PREFIX}<device>.",
            f"Found: {', '.join(header[:8])}. Name each column of milliseconds after its device, "
            f"e.g. {LATENCY_PREFIX}pixel3.",
        )
    return header.index(ARCH_COLUMN), latency


def _rows(numbered: Iterable[tuple[int, list[str]]], width: int) -> tuple[list[list[str]], list[int], list[Problem]]:
    rows, lines, problems = [], [], []
    for line, row in numbered:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) == width:
            rows.append(row)
            lines.append(line)
        else:
            problems.append(Problem(line, "", f"{len(row)} cells where the header has {width}"))
    return rows, lines, problems


def is_latency(ms: FloatArray) -> NDArray[np.bool_]:
    """Which of the numbers can be a latency: at least a nanosecond, at most ``MOST_MS``."""
    good: NDArray[np.bool_] = (ms >= 1 / NS_PER_MS) & (ms <= MOST_MS)
    return good


def _milliseconds(cells: list[str], lines: list[int], column: str) -> tuple[FloatArray, int, list[Problem]]:
    """float64[n] with NaN for what is empty or wrong, the number of empty cells, and the wrong ones."""
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([_number(cell) for cell in cells])
    good = is_latency(values)
    empty, problems = 0, []
    for at in np.flatnonzero(~good):
        text = cells[at].strip()
        if text:
            problems.append(Problem(lines[at], column, f"{text!r} is not {_NUMBER}"))
        else:
            empty += 1
    values[~good] = np.nan
    return values, empty, problems


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
