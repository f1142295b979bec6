"""Operator times of one model file, as its runtime tells them: the records, and the protocol of runtimes that can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """One operator, or fused group, as a runtime executes it.

    Attributes:
        name, kind: as the runtime calls it.
        ms: the median over its runs.
        is_fused: it does the work of several operators of the file, or of another than the file names.
    """

    name: str
    kind: str
    ms: float
    is_fused: bool = False


@dataclass(frozen=True, slots=True)
class OperatorTimes:
    """All operators of a file in the order of execution.

    Attributes:
        total_ms: of a run while it is profiled, which takes longer than undisturbed; 0 where it is not told.
        how: what told the times, in words.
        taken_in: operators of the file that have no time of their own: others do their work, or nobody needs to.
    """

    operators: tuple[OperatorTime, ...]
    total_ms: float
    how: str
    taken_in: tuple[str, ...] = ()


@runtime_checkable
class TellsOperatorTimes(Protocol):
    """A runtime on this machine that tells how long each operator of a file takes."""

    def operator_times(
        self, path: Path, feeds: Mapping[str, NDArray[Any]], *, threads: int = 1, runs: int = 30
    ) -> OperatorTimes:
        """Run a file ``runs`` times and say what each operator took.

        Raises InputError if the file is not one, or holds nothing that can be told.
        """
