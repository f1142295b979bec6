"""Keep the conditions around a visit: their layout once for all visits that share it, their numbers as bytes.

A layout is JSON, ``[before, after]``, with the place of each number in it: ``[{}, {"visit_ns": 0}]``; its format says
how many bytes the numbers take, in the letters of Python's ``struct``: i, q and d, little-endian. A visit then takes
about a hundred bytes in place of four hundred, and many of one layout are read as one array.
"""

from __future__ import annotations

import json
import re
import sqlite3
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

_FORMAT = re.compile(r"[iqd]*\Z")
_NUMPY = {"i": "i4", "q": "i8", "d": "f8"}
_MOST_OF = {"i": 2**31, "q": 2**63}


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The conditions of visits without their numbers.

    Attributes:
        before, after: conditions, with the place of each number.
        numbers: how they are packed.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    numbers: struct.Struct

    @staticmethod
    def parse(template: object, kinds: object) -> Layout:
        """The layout in two cells. Raises ValueError for what is none."""
        pair = from_json(str(template))
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, dict) for part in pair)):
            raise ValueError("conditions have no layout")
        if not _FORMAT.match(str(kinds)):
            raise ValueError("numbers have no format")
        _check_places(pair, len(str(kinds)))
        return Layout(pair[0], pair[1], struct.Struct(f"<{kinds}"))

    def table(self, numbers: Sequence[bytes]) -> NDArray[np.void] | None:
        """The numbers of n visits, a field for each place (``"0"``); None if those of one are more or fewer."""
        if set(map(len, numbers)) != {self.numbers.size}:
            return None
        kinds = self.numbers.format.removeprefix("<")
        fields = [(str(place), f"<{_NUMPY[kind]}") for place, kind in enumerate(kinds)]
        return np.frombuffer(b"".join(numbers), np.dtype(fields))

    def unpack(self, numbers: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        """Conditions before and after a visit. Raises struct.error if there are more or fewer numbers."""
        values = self.numbers.unpack(numbers)
        return _filled(self.before, values), _filled(self.after, values)


def pack_facts(value: Mapping[str, Any] | Sequence[str]) -> str | None:
    """Conditions or flags as compact JSON; None if there are none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if value else None


def pack_conditions(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, str, bytes] | None:
    """Template, format and numbers of conditions; None if there are none, or a number is beyond 64 bits."""
    if not before and not after:
        return None
    numbers: list[int | float] = []
    template = json.dumps([_split(before, numbers), _split(after, numbers)], separators=(",", ":"))
    kinds = "".join(
        "d" if isinstance(one, float) else next((k for k, most in _MOST_OF.items() if -most <= one < most), "?")
        for one in numbers
    )
    return None if "?" in kinds else (template, kinds, struct.pack(f"<{kinds}", *numbers))


class VisitWriter:
    """Writes the conditions of visits into the tables of a store, those of rows one after the other once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._layouts: dict[tuple[str, str], int] = {}
        self.begin()

    def begin(self) -> None:
        """Begin a transaction: its rows share conditions with each other alone."""
        self._told: tuple[object, object] | None = None
        self._cells: tuple[Any, ...] = (None, None)
        self._visit: int | None = None

    def number_of(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
        """The number under which a row's conditions are kept; None if there are none."""
        if self._told is None or self._told[0] is not before or self._told[1] is not after:
            known, self._told = self._cells, (before, after)
            self._cells = pack_conditions(before, after) or (pack_facts(before), pack_facts(after))
            if self._cells != known:
                self._visit = self._written(*self._cells)
        return self._visit

    def packed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[int, bytes]:
        """The number of the layout of conditions, and what fills it. Raises ValueError if they cannot be packed."""
        cells = pack_conditions(before, after)
        if cells is None:
            raise ValueError("conditions cannot be packed")
        return self._layout((cells[0], cells[1])), cells[2]

    def _written(self, *cells: Any) -> int | None:
        if cells == (None, None):
            return None
        columns = "before, after"
        if len(cells) == 3:
            columns, cells = "layout, numbers", (self._layout((cells[0], cells[1])), cells[2])
        return int(self._connection.execute(f"INSERT INTO visits ({columns}) VALUES (?, ?)", cells).lastrowid or 0)

    def _layout(self, cells: tuple[str, str]) -> int:
        if cells not in self._layouts:
            self._connection.execute("INSERT OR IGNORE INTO layouts (template, format) VALUES (?, ?)", cells)
            query = "SELECT id FROM layouts WHERE template = ? AND format = ?"
            (self._layouts[cells],) = self._connection.execute(query, cells).fetchone()
        return self._layouts[cells]


def read_layouts(connection: sqlite3.Connection) -> dict[int, Layout]:
    """Number -> layout, of those that can be read."""
    found = {}
    for number, template, kinds in connection.execute("SELECT id, template, format FROM layouts"):
        try:
            found[number] = Layout.parse(template, kinds)
        except (ValueError, RecursionError):
            continue
    return found


def _split(value: Any, numbers: list[int | float]) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        numbers.append(value)
        return len(numbers) - 1
    if isinstance(value, Mapping):
        return {key: _split(value[key], numbers) for key in sorted(value)}
    return [_split(one, numbers) for one in value] if isinstance(value, list | tuple) else value


def _filled(template: Any, values: tuple[Any, ...]) -> Any:
    kind = type(template)
    if kind is int:
        return values[template]
    if kind is dict:
        return {key: values[part] if type(part) is int else _filled(part, values) for key, part in template.items()}
    return [_filled(part, values) for part in template] if kind is list else template


def _check_places(template: Any, count: int) -> None:
    if isinstance(template, dict | list):
        for part in template.values() if isinstance(template, dict) else template:
            _check_places(part, count)
    elif isinstance(template, float) or (type(template) is int and not 0 <= template < count):
        raise ValueError("a number has no place")
