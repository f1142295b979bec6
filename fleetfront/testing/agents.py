"""Check that an agent keeps the promises of ``Agent``: every visit answered, errors as values, nothing made up."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from fleetfront.profilers.base import Agent, Visit, VisitBatch, batch_from_json, batch_to_json
from fleetfront.profilers.records import Measurement, Role, measurement_from_json, measurement_to_json, measurement_uuid
from fleetfront.targets import Target
from fleetfront.testing.checks import Fault, expect, with_fault

Rows = tuple[Measurement, ...]


@dataclass(frozen=True, slots=True)
class AgentCase:
    """An agent to be tried.

    Attributes:
        open: a fresh agent of ``target``.
        files: key -> path of a model file that it can measure; at least one. A simulated device needs no file there.
        damaged: path of a file that is no model.
        timed_runs: of each visit.
        is_real: whether samples pass on this machine's clock, as a simulated device's do not.
    """

    open: Callable[[], Agent]
    target: Target
    files: Mapping[str, str]
    damaged: str
    timed_runs: int = 4
    is_real: bool = True

    def batch(self, keys: Sequence[str]) -> VisitBatch:
        """A batch of visits of ``keys`` in this order; a key that is not in ``files`` is that of the damaged file."""
        paths = {key: self.files.get(key, self.damaged) for key in keys}
        hashes = {key: _hash_of(path) for key, path in paths.items()}
        visits = tuple(Visit(uuid.uuid4().hex, Role.BLOCK, key, hashes[key], 1, self.timed_runs) for key in keys)
        files = {hashes[key]: path for key, path in paths.items()}
        return VisitBatch(self.target, "conformance", "campaign", 1, visits, files)


def check_visits(case: AgentCase) -> None:
    """Every visit is answered in its order, under its own name, once for each clock."""
    batch = case.batch([*case.files] * 2)
    with closing(case.open()) as agent:
        began = time.monotonic_ns()
        answers = list(agent.run(batch))
        took_ns = time.monotonic_ns() - began
        clocks = agent.clocks
    expect(clocks, "an agent has at least one clock")
    expect(len(answers) == len(batch.visits), f"{len(batch.visits)} visits got {len(answers)} answers")
    for visit, rows in zip(batch.visits, answers, strict=True):
        for row in rows:
            expect(row.error is None, f"{visit.key} can be measured: {row.error}")
            _expect_identity(batch, visit, row)
            expect(all(type(n) is int and n > 0 for n in row.samples), f"samples are positive integers: {row.samples}")
        timed = [row for row in rows if row.metric == "latency"]
        for row in timed:
            expect(
                len(row.samples) == case.timed_runs, f"{case.timed_runs} runs were asked for, not {len(row.samples)}"
            )
            fits = not case.is_real or sum(row.samples) <= took_ns
            expect(fits, f"runs fit into the {took_ns} ns of the batch: {row.samples}")
        expect({row.clock for row in timed} == set(clocks), f"a visit comes under every clock of {clocks}")
    starts = [rows[0].started_ns for rows in answers]
    expect(starts == sorted(starts), "visits begin one after the other")


def check_errors_are_values(case: AgentCase) -> None:
    """A visit of a damaged file is an error in its own row; the visits after it are measured."""
    key = next(iter(case.files))
    batch = case.batch([key, "damaged", key])
    with closing(case.open()) as agent:
        first, failed, last = list(agent.run(batch))
    expect(failed and all(row.error for row in failed), "a visit of a damaged file has an error")
    for row in failed:
        _expect_identity(batch, batch.visits[1], row)
        expect(not row.samples, f"a failed visit has no samples, not even {row.samples}")
    expect(not any(row.error for row in (*first, *last)), "the visits around a failed one are measured")


def check_identity(case: AgentCase) -> None:
    """Running a batch again, or after a way through JSON, gives rows of the same identity, which a store keeps once."""
    batch = case.batch([*case.files])
    with closing(case.open()) as agent:
        once = _uuids(agent.run(batch))
        again = _uuids(agent.run(batch_from_json(json.loads(json.dumps(batch_to_json(batch))))))
    expect(len(set(once)) == len(once), "rows of a batch have different identities")
    expect(once == again, "the same batch gives rows of the same identity")


def check_description(case: AgentCase) -> None:
    """The description is not empty, plain JSON, and the same before and after measuring."""
    with closing(case.open()) as agent:
        before = json.dumps(agent.describe(), sort_keys=True)
        list(agent.run(case.batch([*case.files])))
        after = json.dumps(agent.describe(), sort_keys=True)
    expect(before != "{}", "an agent describes its device")
    expect(before == after, f"the description stays the same: {before}, then {after}")


def check_leaving_early(case: AgentCase) -> None:
    """A batch may be abandoned after a visit, an agent opened again, and closed without having measured."""
    key = next(iter(case.files))
    with closing(case.open()) as agent:
        with closing(agent.run(case.batch([key] * 3))) as answers:
            next(answers)
        expect(len(list(agent.run(case.batch([key])))) == 1, "after an abandoned batch, the next one is measured")
    case.open().close()
    with closing(case.open()) as agent:
        expect(list(agent.run(case.batch([]))) == [], "no visits give no answers")


AGENT_CHECKS: tuple[Callable[[AgentCase], None], ...] = (
    check_visits,
    check_errors_are_values,
    check_identity,
    check_description,
    check_leaving_early,
)


def _hash_of(path: str) -> str:
    """Of the bytes, of the name where a simulated device needs no file: an agent on another host may check it."""
    file = Path(path)
    return sha256(file.read_bytes() if file.is_file() else path.encode()).hexdigest()


def _uuids(answers: Generator[Rows, None, None]) -> list[str]:
    return [row.uuid for rows in answers for row in rows]


def _expect_identity(batch: VisitBatch, visit: Visit, row: Measurement) -> None:
    wanted = (batch.target, batch.space, batch.campaign, batch.round, visit.role, visit.key)
    found = (row.target, row.space, row.campaign, row.round, row.role, row.key)
    expect(found == wanted, f"a row says what it is of: {found} for {wanted}")
    expect(row.uuid == measurement_uuid(visit.uuid, row.clock, row.metric), "a row's identity is that of its visit")
    again = measurement_from_json(json.loads(json.dumps(measurement_to_json(row))))
    expect(again == row, "a row survives JSON")


def _each(change: Callable[[Measurement], Measurement]) -> dict[str, Fault]:
    def run(healthy: Callable[[VisitBatch], Generator[Rows, None, None]], batch: VisitBatch) -> Generator[Rows]:
        for rows in healthy(batch):
            yield tuple(map(change, rows))

    return {"run": run}


def _losing(healthy: Callable[[VisitBatch], Generator[Rows, None, None]], batch: VisitBatch) -> Generator[Rows]:
    yield from itertools.islice(healthy(batch), len(batch.visits) - 1)


def _raising(healthy: Callable[[VisitBatch], Generator[Rows, None, None]], batch: VisitBatch) -> Generator[Rows]:
    for rows in healthy(batch):
        if rows[0].error:
            raise RuntimeError(rows[0].error)
        yield rows


#: Faults by the promise that they break; ``faulty_agent`` puts one in.
_FAULTS: dict[str, dict[str, Fault]] = {
    "a visit is lost": {"run": _losing},
    "a failed run took 0 ns": _each(lambda row: replace(row, samples=(0,) * 4, error=None) if row.error else row),
    "runs take no time": _each(lambda row: replace(row, samples=tuple(0 for _ in row.samples))),
    "an error is raised": {"run": _raising},
    "rows have new identities": _each(lambda row: replace(row, uuid=uuid.uuid4().hex)),
    "a run is left out": _each(lambda row: replace(row, samples=row.samples[1:])),
    "rows are of another device": _each(lambda row: replace(row, target=replace(row.target, device="other"))),
    "the description tells the time": {"describe": lambda facts: facts() | {"now": time.monotonic_ns()}},
}
AGENT_FAULTS = tuple(_FAULTS)


def faulty_agent(case: AgentCase, fault: str) -> AgentCase:
    """The case with one of ``AGENT_FAULTS`` put into its agents. Raises KeyError on others."""
    return replace(case, open=lambda: with_fault(case.open(), **_FAULTS[fault]))
