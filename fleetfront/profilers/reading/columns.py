"""Keep visits in columns: what is read of a long campaign are arrays, not a record and two tables for each visit."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetfront.profilers.reading.plain_rows import PlainRows, read_plain
from fleetfront.profilers.records import CLOCK_COST, Measurement, Role
from fleetfront.profilers.store.conditions import Layout
from fleetfront.profilers.store.queries import Piece
from fleetfront.quantities import Clock, FloatArray

#: Flag of a row whose visit was made once more because the device was throttled: whatever is left, it never counts.
REPEATED = "repeated"
THROTTLED = "throttled"

#: Conditions that readers ask for.
_BEFORE = ("suspended_ns", "clock_ns", "waited_ns", "throttles", "others_ns")
_AFTER = (*_BEFORE, "visit_ns", "frequency_khz", "online_cores")
_CLOCKS = tuple(clock.value for clock in Clock)
_PLACES = {name: place for place, name in enumerate((*(f"before {name}" for name in _BEFORE), *_AFTER, *_CLOCKS))}
#: No counter reaches it in this world.
_BEYOND = 2.0**63
_PLAIN = {int, float}
_UNFLAGGED = (False, False)


class Series(NamedTuple):
    """Whose samples a row has, under which clock."""

    role: Role
    key: str
    clock: Clock
    unit: str


@dataclass(frozen=True, slots=True)
class Visits:
    """n rows in the order taken, each of one visit under one clock.

    Attributes:
        series: [s], ``of`` int[n] names one for each row.
        campaigns: [c], ``campaign`` int[n] names one for each row.
        round, started_ns: int64[n].
        samples: int64[m] of all rows one after the other, ``count`` int[n] of each.
        facts: float64[v, f], conditions of visits; NaN for what is not told, infinite for what is damaged. ``visit``
            int[n] names that of each row.
        is_throttled, is_repeated: bool[n], by the rows' flags.
        has_error: bool[n]; ``errors`` object[n] are the texts, None for rows without one.
    """

    series: tuple[Series, ...]
    of: NDArray[np.intp]
    campaigns: tuple[str, ...]
    campaign: NDArray[np.intp]
    round: NDArray[np.int64]
    started_ns: NDArray[np.int64]
    samples: NDArray[np.int64]
    count: NDArray[np.intp]
    facts: FloatArray
    visit: NDArray[np.intp]
    is_throttled: NDArray[np.bool_]
    is_repeated: NDArray[np.bool_]
    has_error: NDArray[np.bool_]
    errors: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.of)

    @property
    def is_good(self) -> NDArray[np.bool_]:
        """bool[n]: rows with samples and without an error."""
        return ~self.has_error & (self.count > 0)

    def are(self, how: Callable[[Series], bool]) -> NDArray[np.bool_]:
        """bool[n]: what holds of each row's series."""
        return self.by_series(how).astype(np.bool_)

    def by_series(self, how: Callable[[Series], float]) -> FloatArray:
        """float64[n]: a number of each row's series."""
        used, place = np.unique(self.of, return_inverse=True)
        return np.array([how(self.series[one]) for one in used], dtype=np.float64)[place]

    def before(self, name: str) -> FloatArray:
        """float64[n]: a condition before each visit; 0 for one that is not told or damaged."""
        return self.after(f"before {name}")

    def after(self, name: str, default: float = 0.0) -> FloatArray:
        """float64[n]: a condition after each visit; ``default`` for one that is not told or damaged."""
        column = self.facts[self.visit, _PLACES[name]]
        return np.where(np.isfinite(column), column, default)

    def grown(self, counter: str) -> FloatArray:
        """float64[n]: by how much a counter grew meanwhile."""
        return self.after(counter) - self.before(counter)

    def tells(self, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Bool[n] before and after each visit: whether the device told a condition at all."""
        before, after = (self.facts[self.visit, _PLACES[place]] for place in (f"before {name}", name))
        return ~np.isnan(before), ~np.isnan(after)

    def reduced(self, how: np.ufunc) -> NDArray[np.int64]:
        """int64[n]: each row's samples reduced to one; every row must have some."""
        begins = np.concatenate([[0], np.cumsum(self.count)[:-1]]).astype(np.intp)
        return how.reduceat(self.samples, begins) if len(self) else np.empty(0, np.int64)

    def rows(self, chosen: NDArray[np.bool_]) -> Visits:
        """Those rows that ``chosen`` bool[n] names."""
        kept = replace(self, samples=self.samples[np.repeat(chosen, self.count)])
        return replace(
            kept,
            of=self.of[chosen],
            campaign=self.campaign[chosen],
            round=self.round[chosen],
            started_ns=self.started_ns[chosen],
            count=self.count[chosen],
            visit=self.visit[chosen],
            is_throttled=self.is_throttled[chosen],
            is_repeated=self.is_repeated[chosen],
            has_error=self.has_error[chosen],
            errors=self.errors[chosen],
        )

    def with_runs(self, kept: NDArray[np.bool_]) -> Visits:
        """All rows with those of their samples that ``kept`` bool[m] names."""
        row = np.repeat(np.arange(len(self)), self.count)
        count = np.bincount(row[kept], minlength=len(self)).astype(np.intp)
        return replace(self, samples=self.samples[kept], count=count)


def collect_visits(measurements: Iterable[Measurement]) -> Visits:
    """Put measurements into columns."""
    return collect_rows(
        (m.target, m.space, m.role, m.key, m.clock, m.samples, m.campaign, m.round, m.started_ns, m.metric, m.unit,
         m.before, m.after, m.flags, m.error, m.uuid)
        for m in measurements
    )  # fmt: skip


def collect_rows(rows: Iterable[tuple[Any, ...]]) -> Visits:
    """Put rows, as ``Store.rows`` gives them, into columns, and let go of each."""
    columns = _Columns()
    columns.add(rows)
    return columns.finished()


def collect_pieces(pieces: Iterable[Piece]) -> Visits:
    """Put rows, as ``Store.pieces`` gives them, into columns: plain ones many at once, others one by one."""
    columns = _Columns()
    for piece in pieces:
        plain = read_plain(piece)
        if plain is None:
            columns.add(piece.cells())
        else:
            columns.add_plain(plain)
    return columns.finished()


class _Columns:
    """Columns that grow."""

    def __init__(self) -> None:
        self._series: dict[tuple[Any, ...], int] = {}
        self._campaigns: dict[str, int] = {}
        self._visits = 0
        # Blocks of rows: int64[n, 6], samples int64[m], facts float64[v, f], flags bool[n, 2], errors.
        self._numbers: list[NDArray[np.int64]] = []
        self._samples: list[NDArray[np.int64]] = []
        self._facts: list[FloatArray] = []
        self._flags: list[NDArray[np.bool_]] = []
        self._errors: list[str | None] = []

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take in rows one by one."""
        numbers, samples, facts = array("q"), array("q"), array("d")
        flagged: list[tuple[bool, bool]] = []
        told: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
        for _, _, role, key, clock, runs, campaign, round_, started_ns, _, unit, before, after, flags, error, _ in rows:
            # Rows of one visit share its conditions.
            if told is None or before is not told[0] or after is not told[1]:
                told, self._visits = (before, after), self._visits + 1
                facts.extend(_facts(before, after))
            of = self._series.setdefault((role, key, clock, unit), len(self._series))
            named = self._campaigns.setdefault(campaign, len(self._campaigns))
            numbers.extend((of, named, round_, started_ns, len(runs), self._visits - 1))
            samples.extend(runs)
            flagged.append((THROTTLED in flags, REPEATED in flags) if flags else _UNFLAGGED)
            self._errors.append(error)
        self._numbers.append(np.array(numbers, dtype=np.int64).reshape(-1, 6))
        self._samples.append(np.array(samples, dtype=np.int64))
        self._facts.append(np.array(facts, dtype=np.float64).reshape(-1, len(_PLACES)))
        self._flags.append(np.array(flagged, dtype=np.bool_).reshape(-1, 2))

    def add_plain(self, plain: PlainRows) -> None:
        """Take in rows that are columns already."""
        series = [self._series.setdefault(one, len(self._series)) for one in plain.series]
        campaigns = [self._campaigns.setdefault(one, len(self._campaigns)) for one in plain.campaigns]
        self._numbers.append(
            np.stack(
                [
                    np.array(series)[plain.of],
                    np.array(campaigns)[plain.campaign],
                    plain.round,
                    plain.started_ns,
                    plain.count,
                    plain.visit + self._visits,
                ],
                axis=1,
            )
        )
        facts = np.full((plain.visits, len(_PLACES)), math.nan)
        for layout, rows, values in plain.conditions:
            for place, told in enumerate(_facts_of(layout)):
                facts[rows, place] = values[told] if isinstance(told, str) else told
        self._facts.append(facts)
        self._visits += len(facts)
        self._samples.append(plain.samples)
        self._flags.append(np.zeros((len(plain.of), 2), dtype=np.bool_))
        self._errors += [None] * len(plain.of)

    def finished(self) -> Visits:
        """All of it."""
        numbers = np.concatenate([np.empty((0, 6), np.int64), *self._numbers]).T
        table = np.concatenate([np.empty((0, len(_PLACES))), *self._facts])
        table[np.abs(table) >= _BEYOND] = math.inf
        flags = np.concatenate([np.empty((0, 2), np.bool_), *self._flags])
        return Visits(
            series=tuple(Series(*one) for one in self._series),
            of=numbers[0].astype(np.intp),
            campaigns=tuple(self._campaigns),
            campaign=numbers[1].astype(np.intp),
            round=numbers[2].copy(),
            started_ns=numbers[3].copy(),
            samples=np.concatenate([np.empty(0, np.int64), *self._samples]),
            count=numbers[4].astype(np.intp),
            facts=table,
            visit=numbers[5].astype(np.intp),
            is_throttled=flags[:, 0],
            is_repeated=flags[:, 1],
            has_error=np.array([error is not None for error in self._errors], dtype=np.bool_),
            errors=np.array(self._errors, dtype=object),
        )


def _facts_of(layout: Layout) -> list[str | float]:
    """For each condition that readers ask for, where a layout has its number, or what it is in all of its visits."""
    told = [layout.before.get(name, math.nan) for name in _BEFORE] + [
        layout.after.get(name, math.nan) for name in _AFTER
    ]
    cost = layout.after.get(CLOCK_COST)
    told += [(cost if isinstance(cost, dict) else {}).get(clock, math.nan) for clock in _CLOCKS]
    # Integers of a layout are places of numbers.
    return [str(one) if type(one) is int else _number(one) for one in told]


def _facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[float]:
    cost = after.get(CLOCK_COST)
    costs: Mapping[str, Any] = cost if isinstance(cost, dict) else {}
    found = [before.get(name, math.nan) for name in _BEFORE] + [after.get(name, math.nan) for name in _AFTER]
    found += [costs.get(clock, math.nan) for clock in _CLOCKS]
    if set(map(type, found)) <= _PLAIN:
        try:
            return [float(value) for value in found]
        except OverflowError:
            pass
    return [_number(value) for value in found]


def _number(value: object) -> float:
    """A number as it is, NaN for what is not told, infinity for what is no number that a counter can have."""
    if isinstance(value, float) and math.isnan(value):
        return value
    return float(value) if isinstance(value, int | float) and abs(value) < _BEYOND else math.inf
