"""Make rows of a visit on a device over ADB, with the conditions around it and the flag of heat.

When visits are made and repeated is decided in ``machine``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fleetfront.profilers.adb.facts.conditions import THROTTLED, State, clock_facts, load_facts
from fleetfront.profilers.adb.facts.cores import Core, parse_clocks
from fleetfront.profilers.adb.failures import remedy_of
from fleetfront.profilers.adb.runners.base import Runner, Timings
from fleetfront.profilers.adb.runners.session import Visited
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.reading.columns import REPEATED
from fleetfront.profilers.records import Measurement, Role, measurement_uuid
from fleetfront.quantities import PEAK_MEMORY, Clock
from fleetfront.targets import Target

#: Of what an agent says of itself, what every row repeats.
_TOLD_WITH_ROWS = ("model", "unit", "soc", "system", "cores", "runner", "runner_sha256")

#: One a clock.
Rows = tuple[Measurement, ...]


class VisitRows:
    """Makes the rows of one agent."""

    def __init__(
        self,
        runner: Runner,
        target: Target,
        cores: Sequence[Core],
        mask: int,
        reason: Callable[[State], str | None],
    ) -> None:
        """Args: what reads the runner's words, whose rows they are, all cores, those used, and why a state is hot."""
        self._runner = runner
        self.target = target
        self._cores = cores
        self._mask = mask
        self._reason = reason
        #: What every row repeats, of ``describe_around``.
        self.around: Mapping[str, Any] = {}

    def of(self, batch: VisitBatch, visit: Visit, visited: Visited, opening: State, closing: State | None) -> Rows:
        """The rows of a visit between two looks at the device; ``closing`` is None if the second was not had."""
        timings = (
            Timings(error=visited.error)
            if visited.error
            else self._runner.read(visited.text, visited.exit_code, self.target)
        )
        before = {**self.around, **opening.facts(), **self._read_clocks(visited.clocks_before)}
        after = {
            "visit_ns": max(visited.elapsed_ns, _told_ns(timings)),
            **(closing.facts() if closing else {}),
            **self._read_clocks(visited.clocks_after),
            **timings.facts,
        }
        if timings.error and (remedy := remedy_of(timings.error)):
            after["remedy"] = remedy
        is_hot = self._is_hot(visited, opening, closing)
        row = partial(
            batch.row,
            visit,
            started_ns=visited.started_ns,
            before=before,
            after=after,
            flags=(*timings.flags, THROTTLED) if is_hot else timings.flags,
            error=timings.error,
        )
        if timings.error is not None:
            return (row(Clock.WALL, ()),)
        rows = [row(clock, values) for clock, values in timings.samples_ns.items()]
        if timings.peak_bytes and visit.role == Role.FILE:
            rows.append(row(Clock.UNKNOWN, (timings.peak_bytes,), metric=PEAK_MEMORY.name, unit=PEAK_MEMORY.unit))
        return tuple(rows)

    def _read_clocks(self, words: str) -> dict[str, Any]:
        return clock_facts(words, self._cores, self._mask) | load_facts(words, self._cores)

    def _is_hot(self, visited: Visited, opening: State, closing: State | None) -> bool:
        looks = [state for state in (opening, closing) if state is not None]
        # Clocks are read around every visit, the rest around a stretch of them.
        looks += [
            replace(opening, clocks=parse_clocks(words)) for words in (visited.clocks_before, visited.clocks_after)
        ]
        return any(self._reason(state) for state in looks)


def _told_ns(timings: Timings) -> int:
    """The least that a visit took: where this computer takes the words of two at once, the second took no time here."""
    runs = timings.samples_ns.get(Clock.WALL, ())
    return sum(runs) + sum(int(timings.facts.get(name, 0)) for name in ("open_ns", "first_ns"))


def describe_around(
    description: Mapping[str, Any], cores: Sequence[Core], route: str, screen: str | None
) -> dict[str, Any]:
    """Describe what rows repeat: facts of the agent, the way to the device, and how its screen was found."""
    # Rows of single files belong to no campaign that would tell what measured them.
    facts = {name: fact for name, fact in description.items() if name in _TOLD_WITH_ROWS} | {"route": route}
    governors = sorted({core.governor for core in cores if core.governor})
    if governors:
        facts["governor"] = ",".join(governors)
    if screen is not None:
        facts["screen_found"] = screen
    return facts


def as_try(rows: Rows, visit: Visit, number: int) -> Iterator[Measurement]:
    """Rows of a visit that will be repeated: kept, but under an identity of their own."""
    for row in rows:
        identity = measurement_uuid(f"{visit.uuid}:throttled:{number}", row.clock, row.metric)
        yield replace(row, uuid=identity, flags=(*row.flags, REPEATED))
