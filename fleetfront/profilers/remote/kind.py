"""Devices of other hosts as a kind of device: that of the host, reached through ssh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fleetfront.errors import DeviceError, InputError
from fleetfront.files import lasting_name
from fleetfront.profilers.kinds.base import (
    Capability,
    Choices,
    DeviceKind,
    Refine,
    TimesOperators,
    check_own,
)
from fleetfront.profilers.remote.names import PREFIX, FarName, split_far, ssh_command
from fleetfront.progress import SILENT, Progress
from fleetfront.side_by_side import aside
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.base import Agent
    from fleetfront.profilers.remote.link import Link
    from fleetfront.profilers.remote.messages import HostDevice, Open
    from fleetfront.runtimes.operator_times import OperatorTimes
    from fleetfront.workspace import Workspace

#: A record, which no message spells.
_UNSPELLED = frozenset({"options"})


class RemoteKind:
    """``ssh:HOST/DEVICE``: what a device of the kind ``inner`` can, on another host. A ``DeviceKind``.

    Its name is that of the inner kind, whose runtimes and files are the same there.
    """

    def __init__(self, inner: DeviceKind) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def can(self) -> frozenset[Capability]:
        return self._inner.can

    @property
    def settings(self) -> frozenset[str]:
        """Those of the inner kind; paths among them are the host's."""
        return self._inner.settings - _UNSPELLED

    def matches(self, name: str) -> bool:
        """``ssh:HOST/`` and a device of the inner kind."""
        far = split_far(name)
        return far is not None and self._inner.matches(far.inner)

    def target(self, name: str, **refine: Unpack[Refine]) -> Target:
        far = _far(name)
        inner = self._inner.target(far.inner, **refine)
        return replace(inner, device=f"{PREFIX}{far.host}/{inner.device}")

    def open(self, target: Target, choices: Choices, progress: Progress) -> Agent:
        """An agent that holds the device on its host: there, and as long as the link or this process lives."""
        from fleetfront.profilers.remote.agent import RemoteAgent

        check_own(self, target, choices)
        far, place = _far(target.device), choices.place
        with aside():
            return RemoteAgent(
                lambda was_reached: connect(far.host, place, was_reached=was_reached, progress=progress),
                target,
                _opening(target, far, choices),
                progress=progress,
            )

    def preview(self, target: Target, choices: Choices, progress: Progress) -> dict[str, Any]:
        """The host and what the inner kind says there."""
        from fleetfront.profilers.remote.agent import asked

        check_own(self, target, choices)
        far = _far(target.device)
        with _asking(far.host, choices.place, progress) as link:
            opening = replace(_opening(target, far, choices), is_preview=True)
            return {**asked(link, opening).facts, "host": link.hello.host}


class RemoteTimesOperators(RemoteKind):
    """The same where the inner kind times operators. ``TimesOperators``."""

    def time_operators(
        self,
        target: Target,
        choices: Choices,
        path: Path,
        shapes: Mapping[str, tuple[int, ...]],
        arrays: Path | None,
    ) -> OperatorTimes:
        from fleetfront.profilers.remote.agent import time_operators_there

        far = _far(target.device)
        with _asking(far.host, choices.place, SILENT) as link:
            return time_operators_there(link, replace(target, device=far.inner), path, shapes, arrays)


def remote_kind(inner: DeviceKind) -> DeviceKind:
    """The kind of devices of the kind ``inner`` on other hosts."""
    return RemoteTimesOperators(inner) if isinstance(inner, TimesOperators) else RemoteKind(inner)


def host_devices(host: str, place: Workspace) -> tuple[HostDevice, ...]:
    """The devices that ``host`` has. Raises InputError for what is no host, DeviceError if it cannot be reached."""
    with _asking(host, place, SILENT, lists_devices=True) as link:
        return link.hello.devices


def connect(
    host: str, place: Workspace, *, was_reached: bool, lists_devices: bool = False, progress: Progress = SILENT
) -> Link:
    """A link to ``host``. Raises what ``Link`` raises."""
    from fleetfront.profilers.remote.link import Link

    return Link(
        host,
        ssh_command(host),
        lasting_name(place.root / "controller-name"),
        was_reached=was_reached,
        lists_devices=lists_devices,
        progress=progress,
    )


@contextmanager
def _asking(host: str, place: Workspace, progress: Progress, *, lists_devices: bool = False) -> Iterator[Link]:
    """A link for one question, which is asked once. Raises DeviceError if it breaks."""
    from fleetfront.profilers.remote.lines import LinkEnded

    try:
        link = connect(host, place, was_reached=False, lists_devices=lists_devices, progress=progress)
        with closing(link), aside():
            yield link
    except LinkEnded as end:
        raise DeviceError(
            f"The link to {host} broke: {end}.",
            f"`ssh {host} true` must work without a question; then run the same command again.",
        ) from end


def _far(name: str) -> FarName:
    far = split_far(name)
    if far is None:
        raise InputError(f"{name} is no device behind another host.", f"Write {PREFIX}HOST/cpu.")
    return far


def _opening(target: Target, far: FarName, choices: Choices) -> Open:
    from fleetfront.profilers.remote.messages import Open

    typed = split_far(choices.device) if choices.device else None
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in choices.settings.items()}
    paths = tuple(name for name, value in choices.settings.items() if isinstance(value, Path))
    return Open(replace(target, device=far.inner), typed.inner if typed else far.inner, settings, paths)
