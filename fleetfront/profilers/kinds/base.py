"""A kind of device: what it can be asked, how its targets are spelled, and how an agent for one is opened."""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack, runtime_checkable

from fleetfront.errors import DeviceError, InputError
from fleetfront.files import device_lock
from fleetfront.progress import Progress
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.profilers.base import Agent, VisitBatch
    from fleetfront.profilers.records import Measurement
    from fleetfront.quantities import Clock
    from fleetfront.runtimes.operator_times import OperatorTimes


class Capability(enum.StrEnum):
    """Things that a kind of device can measure."""

    #: Blocks and networks of a space.
    BLOCKS = "blocks"
    #: A user's own model file, and the files of bundles.
    FILES = "files"
    #: A model from few networks, taught by other devices.
    FEW_SHOT = "few"
    #: The best of a front, while it is searched.
    VERIFY = "verify"
    #: A file without rest for minutes: what heat leaves of the speed.
    SUSTAINED = "sustained"
    ENERGY = "energy"
    MEMORY = "memory"
    #: Several batch sizes in one command.
    BATCHES = "batches"
    #: A file is fed what its user says, not only what the file's own sizes allow.
    INPUTS = "inputs"
    #: Single operators.
    OPERATORS = "operators"


@dataclass(frozen=True, slots=True)
class Choices:
    """Choices beside the target for opening a device.

    Attributes:
        device: as the user typed it, where a target cannot spell that; the target's name by default.
        workspace: where caches and locks are kept; the user's own by default.
        settings: by name, of those that ``DeviceKind.settings`` lists; what is left out is the kind's default.
    """

    device: str = ""
    workspace: Workspace | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Workspace:
        """The workspace, chosen or default."""
        return self.workspace or Workspace.default()


class Refine(TypedDict, total=False):
    """The parts of a target that a user says besides its device; ``file`` is the model file that is to be timed."""

    runtime: str | None
    precision: str | None
    threads: int
    batch: int | None
    file: Path | None


class DeviceKind(Protocol):
    """One kind of device. Making it loads nothing heavy and touches no device."""

    @property
    def name(self) -> str:
        """E.g. ``cpu``, ``cuda``, ``adb``."""

    @property
    def can(self) -> frozenset[Capability]:
        """Things that such devices can measure."""

    @property
    def settings(self) -> frozenset[str]:
        """Names of the ``Choices.settings`` that mean something here."""

    def matches(self, name: str) -> bool:
        """Tell whether a device's name, as users type it or as targets hold it, means one of this kind."""

    def target(self, name: str, **refine: Unpack[Refine]) -> Target:
        """The target of a device of this kind; what is left out is what ``file`` says of itself, or the usual.

        Raises InputError for what such devices do not have and what ``file`` contradicts, DeviceError if ``name``
        stands for no single device.
        """

    def open(self, target: Target, choices: Choices, progress: Progress) -> Agent:
        """An agent that holds the device for this process until it is closed, at the latest from its first batch on.

        Raises:
            DeviceError: the target is not of this kind, or the device is lost, refused, or measured by another process.
            InputError: unknown settings or runtime.
            MissingDependency: something is not installed.
        """

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """Facts for ``profile --dry-run``: those of the device, and what measuring would change on it. May be empty."""


@runtime_checkable
class DescribesAtHand(Protocol):
    """A kind whose devices can be described without opening one: a model can then be told to be of another machine."""

    def describe_now(self, target: Target) -> dict[str, Any]:
        """Facts of ``Agent.describe`` that cost nothing to know now."""


@runtime_checkable
class IsOfMachine(Protocol):
    """A kind whose devices' names, such as ``cpu``, mean another device on every machine."""

    is_of_machine: bool


@runtime_checkable
class TimesOperators(Protocol):
    """A kind whose devices tell times of a file's operators when they are asked, rather than with every visit."""

    def time_operators(
        self, target: Target, choices: Choices, path: Path, shapes: Mapping[str, tuple[int, ...]], arrays: Path | None
    ) -> OperatorTimes:
        """The operators of the file at ``path``, run on inputs of ``shapes`` or on ``arrays``, a ``.npz`` file.

        Raises InputError if the runtime tells none, or does not run the file so; what ``DeviceKind.open`` raises.
        """


def check_own(kind: DeviceKind, target: Target, choices: Choices) -> None:
    """Raise DeviceError for a target that is not of ``kind``, InputError for settings that it does not know."""
    if not kind.matches(target.device):
        raise DeviceError(
            f"{target} is not measured as a device of the kind {kind.name!r}.",
            "Its measurements would be another device's: name the device that is there.",
        )
    strange = sorted(set(choices.settings) - kind.settings)
    if strange:
        raise InputError(
            f"{target.device} has no setting {strange[0]!r}.",
            f"Known: {', '.join(sorted(kind.settings))}." if kind.settings else "Leave it out.",
        )


def refined(kind: str, target: Target, refine: Refine) -> Target:
    """``target`` with the precision and the batch that the user says, else those of the file, else fp32 and 1.

    Of a file that does not tell its batch, none is made up.

    Raises InputError if the file's weights have another precision than the user says.
    """
    precision, batch, file = refine.get("precision"), refine.get("batch"), refine.get("file")
    if file is None:
        batch = batch or 1
    else:
        from fleetfront.profilers.file_facts import file_batch, file_precision
        from fleetfront.runtimes.catalogue import places
        from fleetfront.runtimes.facts import Half

        place = places(kind).get(target.runtime)
        in_either = place is not None and place.half == Half.RUNTIME
        precision = file_precision(file, precision, computes_in_either=in_either)
        batch = batch or file_batch(file)
    return replace(target, precision=precision or "fp32", batch=batch)


class HeldAgent:
    """An ``Agent`` whose device no other process may measure until it is closed."""

    def __init__(self, choices: Choices, device: str, open_agent: Callable[[], Agent]) -> None:
        """Take the lock of ``device``, then open. Raises DeviceError if another process holds it."""
        with ExitStack() as held:
            held.enter_context(device_lock(choices.place.root / "locks", device))
            self._agent = open_agent()
            self._held = held.pop_all()

    @property
    def clocks(self) -> tuple[Clock, ...]:
        return self._agent.clocks

    def run(self, batch: VisitBatch) -> Generator[tuple[Measurement, ...], None, None]:
        return self._agent.run(batch)

    def describe(self) -> dict[str, Any]:
        return self._agent.describe()

    def close(self) -> None:
        """Close the agent, then let go of the device."""
        with self._held:
            self._agent.close()
