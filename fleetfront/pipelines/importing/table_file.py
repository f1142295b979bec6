"""Read a CSV of whole-network costs: a column ``arch`` and one column a device, ``lat_<device>`` in milliseconds.

Values are checked here, cell by cell with line numbers; architectures and devices mean nothing yet.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.foreign_text import recognise
from fleetfront.pipelines.importing.units import factor_of
from fleetfront.predictors.few_shot.basis import count_once
from fleetfront.predictors.few_shot.posterior import found_step
from fleetfront.quantities import LATENCY, SAMPLES_IN, Metric
from fleetfront.text_tables import parse_numbers, quote_cell, read_csv, what_is_wrong

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

ARCH_COLUMN = "arch"
#: Problems that an error names.
_SHOWN = 5
#: How the columns of each metric begin.
PREFIXES = {"latency": "lat_", "energy": "energy_", "peak_memory": "memory_"}
#: How columns end that say how far numbers of another one scatter.
_SPREAD = re.compile(
    r"[ _.-]?\(?(std|stdev|stddev|std_?dev|sd|sem|var|variance|ci|ci95|err|error|cv)\)?$", re.IGNORECASE
)
#: Twelve days, a megajoule, a petabyte. Beyond lies a mistake, and far beyond what samples of 64 bits cannot hold.
MOST = {"latency": 1e9, "energy": 1e12, "peak_memory": 1e15}
MOST_MS = MOST["latency"]
#: Repeated measurements of one network that differ by more are of two networks, devices or units.
_FAR_APART = 5.0
#: Tables of so few networks are stored in their own order.
MOST_IN_ORDER = 1000
#: Of many networks drawn at random, more differ in what they take.
_LEAST_DIFFERENT = 0.5
#: Half a step that is a larger share of a typical number is said.
_COARSE = 0.01
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


def read_table(path: Path, metric: Metric = LATENCY, unit: str = "") -> CostTable:
    """Read and check a table whose numbers are in ``unit`` (milliseconds by default, for latency).

    Raises:
        InputError: if the file cannot be read, is no UTF-8 CSV, or lacks the columns, or on a wrong unit. Wrong cells
            and lines are
            ``problems`` instead.
    """
    factor = factor_of(metric, unit)
    table = read_csv(path)
    arch_at, device_at = _columns(path, table.header, metric)
    width = len(table.header)
    problems = [Problem(line, "", f"{cells} cells where the header has {width}") for line, cells in table.uneven]
    if not table.rows:
        first = f" ({problems[0]})" if problems else ""
        raise InputError(f"{path} holds no network under its header{first}.", "Write one network a line.")
    values = np.empty((len(table.rows), len(device_at)))
    empty = 0
    for column, at in enumerate(device_at):
        cells = [row[at] for row in table.rows]
        values[:, column], missing, wrong = _numbers(cells, table.lines, table.header[at], metric, factor)
        empty += missing
        problems.extend(wrong)
    return CostTable(
        tuple(row[arch_at].strip() for row in table.rows),
        np.asarray(table.lines, dtype=np.int64),
        tuple(table.header[at].removeprefix(PREFIXES[metric.name]) for at in device_at),
        values,
        empty,
        tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))),
        table.sha256,
        metric,
    )


def _columns(path: Path, header: Sequence[str], metric: Metric) -> tuple[int, list[int]]:
    prefix = PREFIXES[metric.name]
    if ARCH_COLUMN not in header and (printed := recognise(path)):
        raise InputError(
            f"{path} is {printed}, no table of networks.",
            "Time the model itself: fleetfront profile --file MODEL. Tables have columns arch and lat_<device>.",
        )
    if ARCH_COLUMN not in header:
        near = difflib.get_close_matches(ARCH_COLUMN, header, n=1, cutoff=0.5)
        hint = f"Rename the column {near[0]!r}." if near else f"Found: {', '.join(header[:8]) or 'nothing'}."
        raise InputError(f"{path} has no column {ARCH_COLUMN!r} in its first line.", hint)
    found = [at for at, name in enumerate(header) if len(name) > len(prefix) and name.startswith(prefix)]
    spreads = [at for at in found if _SPREAD.sub("", header[at]) in {header[one] for one in found if one != at}]
    if spreads:
        raise InputError(
            f"{path} has the column {header[spreads[0]]} beside {_SPREAD.sub('', header[spreads[0]])}: a spread is no "
            f"{metric.name}, and would be kept as that of another device.",
            "Delete such columns, or name a device otherwise.",
        )
    if not found:
        raise InputError(
            f"{path} has no column {prefix}<device>.",
            f"Found: {', '.join(header[:8])}. Name each column of {metric.name} after its device, e.g. {prefix}pixel3.",
        )
    return header.index(ARCH_COLUMN), found


def is_possible(values: FloatArray, metric: Metric = LATENCY) -> NDArray[np.bool_]:
    """Which of the numbers can be a cost: at least what is kept of its unit (a nanosecond), at most ``MOST`` of it."""
    least = 1 / metric.divisor(SAMPLES_IN[metric.name])
    good: NDArray[np.bool_] = (values >= least) & (values <= MOST[metric.name])
    return good


def _numbers(
    cells: Sequence[str], lines: Sequence[int], column: str, metric: Metric, factor: float
) -> tuple[FloatArray, int, list[Problem]]:
    """float64[n] with NaN for what is empty or wrong, the number of empty cells, and the wrong ones."""
    values = parse_numbers(cells) * factor
    good = is_possible(values, metric)
    empty, problems = 0, []
    for at in np.flatnonzero(~good):
        text = cells[int(at)].strip()
        if text:
            look = what_is_wrong(text)
            problems.append(
                Problem(lines[int(at)], column, f"{quote_cell(text)} is not {number_of(metric)}{look and f' ({look})'}")
            )
        else:
            empty += 1
    values[~good] = np.nan
    return values, empty, problems


def number_of(metric: Metric) -> str:
    """The demand on a value of a metric, in words."""
    return f"a positive number of {_WORDS[metric.name]}, up to {MOST[metric.name]:g}"


def find_far_apart(table: CostTable, arch_ids: Sequence[str], rows: NDArray[np.intp]) -> list[Problem]:
    """Find lines that give an architecture a number far from one that it has already.

    ``rows`` int[m] of the table are looked at; ``arch_ids`` are their networks, spelled alike where they are the same.
    """
    problems, keys = [], np.asarray(arch_ids)
    order = np.argsort(keys, kind="stable")
    repeats = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
    firsts = np.searchsorted(keys[order], keys[order][repeats])
    for column, device in enumerate(table.devices):
        values = table.values[rows[order], column]
        ratio = values[repeats] / values[firsts]
        for at in np.flatnonzero((ratio > _FAR_APART) | (ratio < 1 / _FAR_APART)):
            line, first = (int(table.lines[rows[order[place]]]) for place in (repeats[at], firsts[at]))
            said = f"{values[repeats[at]]:g} for the architecture that line {first} gives {values[firsts[at]]:g}"
            problems.append(Problem(line, f"{PREFIXES[table.metric.name]}{device}", said))
    return problems


def say_repeats(name: str, values: FloatArray) -> list[str]:
    """A warning if a column of n numbers repeats those that were measured for networks that compute the same."""
    measured, different = len(count_once(values)), len(np.unique(values))
    if measured == len(values):
        if different > _LEAST_DIFFERENT * len(values) or found_step(values):
            return []
        return [
            f"{name} has only {different} different values for {len(values)} networks: was each of them measured, with "
            "a clock that is fine enough?"
        ]
    return [
        f"{name} has {measured} different values for {len(values)} networks, to the last digit: networks that compute "
        "the same were measured once, and count once where a device is learnt."
    ]


def say_steps(name: str, values: FloatArray, metric: Metric) -> list[str]:
    """A warning if n numbers come in steps that are coarse beside a typical one."""
    step, typical = found_step(values), float(np.median(values))
    if step / 2 <= _COARSE * typical:
        return []
    is_whole = metric == LATENCY and math.isclose(step, 1.0)
    steps = "is in whole milliseconds" if is_whole else f"comes in steps of {step:.4g} {metric.unit}"
    return [
        f"{name} {steps}: rounding alone is up to {50 * step / typical:.1f} % of a typical "
        f"{metric.title}, and small differences mean nothing."
    ]


def refusal(path: Path, problems: tuple[Problem, ...]) -> InputError:
    """The error of a file with problems; the first few are named."""
    shown = "; ".join(str(problem) for problem in problems[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return InputError(
        f"{path} was not imported: {shown}{more}.", "Correct these lines, or leave them out with --skip-invalid."
    )
