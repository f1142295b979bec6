"""Read the operator profile that ``benchmark_model --enable_op_profiling=true`` prints after its summary."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fleetfront.profilers.adb.runners.benchmark_model_output import strip_prefix

#: The profile of the measured runs; that of loading the file, which comes before it, is another.
_HEADING = re.compile(r"Operator-wise Profiling Info for Regular Benchmark Runs:?")
_RUN_ORDER = re.compile(r"=+ Run Order =+")
#: Columns of a row, however they are separated: kind, start, first, average in ms, shares, memory, calls, name.
_COLUMNS = 9
_AVERAGE, _CALLS, _NAME = 3, 7, 8
#: No operator takes longer.
_MOST_MS = 1e9


@dataclass(frozen=True, slots=True)
class ProfiledOperator:
    """One row: what the program calls an operator, or a delegate's part, and its mean time in ms."""

    name: str
    kind: str
    ms: float


def parse_operators(text: str) -> tuple[ProfiledOperator, ...]:
    """The operators of the measured runs in the order of execution; empty if the text holds no such table.

    A table that ends in the middle gives the rows that are whole: whoever asks compares their sum with the total.
    """
    lines = [strip_prefix(line) for line in text.splitlines()]
    begin = next((place for place, line in enumerate(lines) if _HEADING.fullmatch(line)), None)
    return () if begin is None else tuple(_rows(lines[begin + 1 :]))


def _rows(lines: Iterable[str]) -> Iterable[ProfiledOperator]:
    is_in_table = False
    for line in lines:
        if _RUN_ORDER.fullmatch(line):
            is_in_table = True
        elif is_in_table and line.startswith("="):
            return
        elif is_in_table and (row := _row(line)) is not None:
            yield row


def _row(line: str) -> ProfiledOperator | None:
    separator = "\t" if "\t" in line else ","
    cells = [cell.strip() for cell in line.split(separator, _COLUMNS - 1)]
    if len(cells) != _COLUMNS:
        return None
    try:
        ms, calls = float(cells[_AVERAGE]), int(cells[_CALLS])
    except ValueError:  # the heading
        return None
    return ProfiledOperator(cells[_NAME], cells[0], ms * calls) if 0 <= ms < _MOST_MS and calls >= 1 else None
