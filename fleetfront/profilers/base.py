"""Agent: the protocol of whoever measures, and the batches it is given. An agent may sit in another process or host."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleetfront.plain import to_plain
from fleetfront.profilers.records import Measurement, Role, from_agent, measurement_uuid
from fleetfront.quantities import Clock
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class Visit:
    """Open one file, warm it up, time it.

    Attributes:
        file: SHA-256 of the bytes, found in ``VisitBatch.files``.
        warm_runs, timed_runs: how often the file runs.
        timed_s: where it is above 0, an agent of this machine's CPU goes on for about so long beyond ``timed_runs``.
        is_cold: the same agent takes a fresh process, and tells of loading, the first run and memory, too.
    """

    uuid: str
    role: Role
    key: str
    file: str
    warm_runs: int = 2
    timed_runs: int = 6
    timed_s: float = 0.0
    is_cold: bool = False


@dataclass(frozen=True, slots=True)
class FileInputs:
    """The user's word on the inputs of the files of a batch; an agent draws the rest.

    Attributes:
        shapes: input and shape; the name is empty for the only input.
        arrays: SHA-256 of a ``.npz`` file of arrays by input, found in ``VisitBatch.files``; empty for none.
        may_steer: nothing but its shape tells whether an input that is drawn decides how much the file computes.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    arrays: str = ""
    may_steer: bool = False


@dataclass(frozen=True, slots=True)
class VisitBatch:
    """Visits in the order to be made. A batch is JSON plus file bytes by hash and idempotent by UUID.

    Attributes:
        files: hash -> path of the file on the coordinator's disk.
        seconds_left: of the budget when the batch is handed over, beyond which an agent should not wait for a device
            to cool down; None if nothing limits it. Agents that do not wait, or do not know of it, ignore it.
        inputs: of this machine's CPU alone; other agents run files as they are.
    """

    target: Target
    space: str
    campaign: str
    round: int
    visits: tuple[Visit, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    seconds_left: float | None = None
    inputs: FileInputs = field(default_factory=FileInputs)

    def row(
        self,
        visit: Visit,
        clock: Clock,
        samples: Sequence[int],
        *,
        started_ns: int,
        metric: str = "latency",
        unit: str = "ns",
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        flags: Sequence[str] = (),
        error: str | None = None,
    ) -> Measurement:
        """The row of one of its visits under one clock; ``Measurement`` says what the rest means.

        Its identity is that of the visit: written twice, it is there once.
        """
        return Measurement(
            target=self.target,
            space=self.space,
            role=visit.role,
            key=visit.key,
            clock=clock,
            samples=tuple(samples),
            campaign=self.campaign,
            round=self.round,
            started_ns=started_ns,
            metric=metric,
            unit=unit,
            before=before or {},
            after=after or {},
            flags=tuple(flags),
            error=error,
            uuid=measurement_uuid(visit.uuid, clock, metric),
        )


class Agent(Protocol):
    """Measures batches on one device."""

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """The clocks that its measurements come in, the one to fit models under first: the steadiest that tells all."""

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        """Yield the measurements of each visit as soon as it is done: one a clock, together what is committed at once.

        A failed visit yields its error as a value. Raises DeviceError only if the device itself is gone; what was
        yielded before stays valid. Closing the iterator early abandons the rest of the batch.
        """

    def describe(self) -> dict[str, Any]:
        """Facts of the device that decide whether old numbers still hold: hardware, system, runtime version."""

    def close(self) -> None:
        """Leave the device as it was found."""


def batch_to_json(batch: VisitBatch) -> dict[str, Any]:
    """Plain values that ``batch_from_json`` reads back equal."""
    plain: dict[str, Any] = to_plain(batch)
    return plain


def batch_from_json(data: Mapping[str, Any]) -> VisitBatch:
    """The batch of ``batch_to_json``. Raises InputError on anything else."""
    return from_agent(VisitBatch, data)
