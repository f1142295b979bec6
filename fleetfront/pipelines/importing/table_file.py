"""Read a CSV of whole-network costs: a column ``arch`` and one column a device, ``lat_<device>`` in milliseconds.

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
from fleetfront.files import check_regular
from fleetfront.quantities import LATENCY, SAMPLES_IN, Metric

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

ARCH_COLUMN = "arch"
#: How the columns of each metric begin.
PREFIXES = {"latency": "lat_", "energy": "energy_", "peak_memory": "memory_"}
#: For each metric, how many of its own unit one of a user's unit is.
UNITS: dict[str, dict[str, float]] = {
    "latency": {"ms": 1.0, "s": 1e3, "us": 1e-3, "ns": 1e-6},
    "energy": {"uJ": 1.0, "mJ": 1e3, "J": 1e6, "nJ": 1e-3},
    "peak_memory": {"bytes": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "kB": 1e3, "MB": 1e6},
}

#: The largest public table of this kind has 4 MB; this is a hundred times that.
MAX_BYTES = 512 * 1024 * 1024

#: Twelve days, a megajoule, a petabyte. Beyond lies a mistake, and far beyond what samples of 64 bits cannot hold.
MOST = {"latency": 1e9, "energy": 1e12, "peak_memory": 1e15}
MOST_MS = MOST["latency"]
_WORDS = {"latency": "milliseconds", "energy": "microjoules", "peak_memory": "bytes"}


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
class CostTable:
    """One metric of n networks on d devices.

    Attributes:
        arch_ids: as spelled in the file.
        lines: int64[n], where each network stands in the file.
        devices: the d column names without what tells their metric.
        values: float64[n, d] in the metric's unit, NaN where a cell is empty or wrong.
        empty_cells: cells that hold nothing: not measured.
        problems: what is wrong, in the order of the file.
        sha256: of the file.
    """

    arch_ids: tuple[str, ...]
    lines: NDArray[np.int64]
    devices: tuple[str, ...]
    values: FloatArray
    empty_cells: int
    problems: tuple[Problem, ...]
    sha256: str
    metric: Metric = LATENCY


def factor_of(metric: Metric, unit: str) -> float:
    """How many of the metric's unit one ``unit`` is. Empty is milliseconds for latency, where tables have no other.

    Raises InputError for another unit, or none where the metric has no usual one.
    """
    units = UNITS[metric.name]
    if not unit and metric.name == LATENCY.name:
        return 1.0
    if unit not in units:
        raise InputError(
            f"{unit!r} is not a unit of {metric.name}." if unit else f"The unit of {metric.name} is not given.",
            f"Give --unit, one of {', '.join(units)}.",
        )
    return units[unit]


def read_table(path: Path, metric: Metric = LATENCY, unit: str = "") -> CostTable:
    """Read and check a table whose numbers are in ``unit`` (milliseconds by default, for latency).

    Raises:
        InputError: if the file cannot be read, is no UTF-8 CSV, or lacks the columns, or on a wrong unit. Wrong cells
            and lines are
            ``problems`` instead.
    """
    factor = factor_of(metric, unit)
    data = _bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}).", "Save it as a UTF-8 CSV.") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        arch_at, device_at = _columns(path, header, metric)
        rows, lines, problems = _rows(((reader.line_num, row) for row in reader), len(header))
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not CSV: {error}.", "Save it as a plain CSV.") from error
    if not rows:
        first = f" ({problems[0]})" if problems else ""
        raise InputError(f"{path} holds no network under its header{first}.", "Write one network a line.")
    values = np.empty((len(rows), len(device_at)))
    empty = 0
    for column, at in enumerate(device_at):
        values[:, column], missing, wrong = _numbers([row[at] for row in rows], lines, header[at], metric, factor)
        empty += missing
        problems.extend(wrong)
    return CostTable(
        tuple(row[arch_at].strip() for row in rows),
        np.asarray(lines, dtype=np.int64),
        tuple(header[at].removeprefix(PREFIXES[metric.name]) for at in device_at),
        values,
        empty,
        tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))),
        hashlib.sha256(data).hexdigest(),
        metric,
    )


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than {MAX_BYTES >> 20} MiB.", "Split it into several tables.")
        check_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", "Check path and rights.") from error


def _columns(path: Path, header: list[str], metric: Metric) -> tuple[int, list[int]]:
    prefix = PREFIXES[metric.name]
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
    found = [at for at, name in enumerate(header) if len(name) > len(prefix) and name.startswith(prefix)]
    if not found:
        raise InputError(
            f"{path} has no column {prefix}<device>.",
            f"Found: {', '.join(header[:8])}. Name each column of {metric.name} after its device, e.g. {prefix}pixel3.",
        )
    return header.index(ARCH_COLUMN), found


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


def is_possible(values: FloatArray, metric: Metric = LATENCY) -> NDArray[np.bool_]:
    """Which of the numbers can be a cost: at least what is kept of its unit (a nanosecond), at most ``MOST`` of it."""
    least = 1 / metric.divisor(SAMPLES_IN[metric.name])
    good: NDArray[np.bool_] = (values >= least) & (values <= MOST[metric.name])
    return good


def _numbers(
    cells: list[str], lines: list[int], column: str, metric: Metric, factor: float
) -> tuple[FloatArray, int, list[Problem]]:
    """float64[n] with NaN for what is empty or wrong, the number of empty cells, and the wrong ones."""
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([_number(cell) for cell in cells])
    values = values * factor
    good = is_possible(values, metric)
    empty, problems = 0, []
    for at in np.flatnonzero(~good):
        text = cells[at].strip()
        if text:
            problems.append(Problem(lines[at], column, f"{text!r} is not {number_of(metric)}"))
        else:
            empty += 1
    values[~good] = np.nan
    return values, empty, problems


def number_of(metric: Metric) -> str:
    """What a value of a metric must be, in words."""
    return f"a positive number of {_WORDS[metric.name]}, up to {MOST[metric.name]:g}"


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return np.nan
