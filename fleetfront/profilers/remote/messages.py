"""Messages between a controller and the agent on another host: their version, their bounds, and how lines hold them.

Each message is one line of JSON, read through the typed door of ``plain``. A controller greets, opens a device, brings
the files that the host lacks, and has visits measured; the host answers, and keeps what it measured until it is told
that the rows are safe. Both sides say that they live, every ``BEAT_S``.

    -> Greeting            <- Hello, or Refused
    -> Open                <- Ready, or Refused
    -> Offer               <- Lacking;  -> Part ... for each file that is lacking
    -> Measure             <- Rows for each visit, then Done; -> Keep for each visit whose rows are safe
    -> Abandon             <- Done, after the visit in flight
    -> (end of the pipe)   <- Note, if the device cannot be left as it was found
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from annotated_types import Ge, Le, MaxLen
from pydantic import Field

from fleetfront.plain import from_plain, to_plain
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.records import Measurement
from fleetfront.quantities import Clock
from fleetfront.runtimes.operator_times import OperatorTimes
from fleetfront.targets import Target

#: Version of these messages. One that a side does not speak is refused; keys may be added within one.
PROTOCOL = 1
#: Bytes of a line: a part of a file in base64, or the samples of a visit of minutes.
MOST_LINE_BYTES = 16 << 20
#: Bytes of a file that travel in one message.
PART_BYTES = 1 << 20
#: Bytes of a file; runtimes on the hosts of a fleet load no larger ones.
MOST_FILE_BYTES = 4 << 30
#: Seconds between two signs of life.
BEAT_S = 5.0
#: A side that was not heard for so long is gone: six beats, a suspended laptop or a pulled cable.
SILENCE_S = 30.0
#: Seconds in which a host that lost its controller leaves its device as it was found; then it ends all the same.
LEAVING_S = 10.0
#: An agent that ended so often while it made a visit is not asked for it again: what is measured ends it. The third
#: break would set the unit aside.
MOST_ENDS = 2
#: In ``after`` of the row that such a visit gets: how often.
AGENT_ENDED = "agent_ended"

Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Suffix: TypeAlias = Annotated[str, Field(pattern=r"^(\.[a-z0-9]{1,12})?$")]
Text: TypeAlias = Annotated[str, MaxLen(20_000)]
Size: TypeAlias = Annotated[int, Ge(0), Le(MOST_FILE_BYTES)]
#: What a setting of a device can be; a path is one of the host.
Setting: TypeAlias = bool | int | float | str | None

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first word of a controller.

    Attributes:
        protocol: the version that it speaks.
        fleetfront: its own version, for sentences.
        controller: name of its workspace, the same in every process; rows that were kept for it are handed to it.
        lists_devices: asks for the devices of the host, which may take seconds.
    """

    protocol: int
    fleetfront: Annotated[str, MaxLen(100)]
    controller: Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")]
    lists_devices: bool = False
    kind: Literal["greeting"] = "greeting"


@dataclass(frozen=True, slots=True)
class Open:
    """Hold a device of the host, or say what measuring would change on it if ``is_preview``.

    Attributes:
        device: as the user typed it behind the host.
        settings: see ``Choices``; those in ``paths`` are paths of the host.
    """

    target: Target
    device: Annotated[str, MaxLen(300)]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    is_preview: bool = False
    kind: Literal["open"] = "open"


@dataclass(frozen=True, slots=True)
class OfferedFile:
    """A file that visits will need."""

    sha256: Sha256
    suffix: Suffix
    size: Size


@dataclass(frozen=True, slots=True)
class Offer:
    """Files that the next visits need, for the host to say which it lacks."""

    files: tuple[OfferedFile, ...]
    kind: Literal["offer"] = "offer"


@dataclass(frozen=True, slots=True)
class Part:
    """The next bytes of an offered file, in base64."""

    sha256: Sha256
    data: str
    is_last: bool
    kind: Literal["part"] = "part"


@dataclass(frozen=True, slots=True)
class Measure:
    """Make visits. The files of ``batch`` are suffixes by hash; ``number`` tells its answers from older ones."""

    number: int
    batch: VisitBatch
    kind: Literal["measure"] = "measure"


@dataclass(frozen=True, slots=True)
class Keep:
    """The rows of a visit are safe: the host may forget them."""

    visit: Annotated[str, MaxLen(100)]
    kind: Literal["keep"] = "keep"


@dataclass(frozen=True, slots=True)
class Abandon:
    """Make no visit of the batch ``number`` after the one in flight."""

    number: int
    kind: Literal["abandon"] = "abandon"


@dataclass(frozen=True, slots=True)
class TimeOperators:
    """Tell the times of the operators of a file that was offered; ``arrays`` is another, of its inputs, or empty."""

    target: Target
    sha256: Sha256
    suffix: Suffix
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    arrays: str = ""
    kind: Literal["time-operators"] = "time-operators"


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life, from either side."""

    kind: Literal["beat"] = "beat"


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device of a host: what to type behind its name, and its state in words."""

    name: Text
    state: Text
    model: Text = ""
    remedy: Text = ""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first word of a host: what it is, and its devices if they were asked for. ``now_ns`` is since 1970."""

    protocol: int
    fleetfront: Annotated[str, MaxLen(100)]
    python: Annotated[str, MaxLen(100)]
    host: Annotated[str, MaxLen(300)]
    now_ns: int
    devices: tuple[HostDevice, ...] = ()
    kind: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True)
class Ready:
    """A device is open: the agent's clocks and its description; of a preview, what that says."""

    clocks: tuple[Clock, ...]
    facts: Mapping[str, Any]
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class Lacking:
    """The offered files that are not in the host's cache."""

    sha256s: tuple[Sha256, ...]
    kind: Literal["lacking"] = "lacking"


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one visit of the batch ``number``, of the host's own target."""

    number: int
    visit: Annotated[str, MaxLen(100)]
    rows: tuple[Measurement, ...]
    kind: Literal["rows"] = "rows"


@dataclass(frozen=True, slots=True)
class Done:
    """The batch ``number`` is over."""

    number: int
    kind: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class Operators:
    """The answer to ``TimeOperators``."""

    times: OperatorTimes
    kind: Literal["operators"] = "operators"


@dataclass(frozen=True, slots=True)
class Note:
    """Words for the person at the controller."""

    text: Text
    kind: Literal["note"] = "note"


@dataclass(frozen=True, slots=True)
class Refused:
    """An error of the host, by the name of its class."""

    error: Annotated[str, MaxLen(100)]
    message: Text
    remedy: Text = ""
    kind: Literal["refused"] = "refused"


FromController: TypeAlias = Greeting | Open | Offer | Part | Measure | Keep | Abandon | TimeOperators | Beat
FromHost: TypeAlias = Hello | Ready | Lacking | Rows | Done | Operators | Note | Refused | Beat


@dataclass(frozen=True, slots=True)
class ControllerLine:
    """A line of a controller."""

    message: Annotated[FromController, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class HostLine:
    """A line of a host."""

    message: Annotated[FromHost, Field(discriminator="kind")]


def to_line(line: ControllerLine | HostLine) -> bytes:
    """The line's bytes, its end included."""
    return json.dumps(to_plain(line), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def from_controller(line: bytes) -> FromController:
    """The message in a line of a controller. Raises ValueError on anything else."""
    return from_plain(ControllerLine, line).message


def from_host(line: bytes) -> FromHost:
    """The message in a line of a host. Raises ValueError on anything else."""
    return from_plain(HostLine, line).message
