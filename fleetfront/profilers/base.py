"""Agent: the protocol of whoever measures. An agent may sit in another process or on another machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleetfront.profilers.records import Measurement, Role
from fleetfront.targets import Target


@dataclass(frozen=True, slots=True)
class Visit:
    """Open one file, warm it up, time it. ``file`` is the SHA-256 of the bytes, found in ``VisitBatch.files``."""

    uuid: str
    role: Role
    key: str
    file: str
    warm_runs: int = 2
    timed_runs: int = 6


@dataclass(frozen=True, slots=True)
class VisitBatch:
    """Visits in the order to be made. A batch is JSON plus file bytes by hash and idempotent by UUID.

    ``files`` maps a hash to the path of the file on the coordinator's disk.
    """

    target: Target
    space: str
    campaign: str
    round: int
    visits: tuple[Visit, ...]
    files: Mapping[str, str] = field(default_factory=dict)


class Agent(Protocol):
    """Measures batches on one device."""

    def run(self, batch: VisitBatch) -> Iterator[Measurement]:
        """Yield the measurements of each visit as soon as it is done, one a clock. A failed visit yields its error as a value.

        Raises DeviceError only if the device itself is gone; what was yielded before stays valid.
        """

    def describe(self) -> dict[str, Any]:
        """Facts of the device that decide whether old numbers still hold: hardware, system, runtime version."""

    def close(self) -> None:
        """Leave the device as it was found."""
