"""Kinds of devices by the names of devices: fleetfront's own, and users' own from installed packages.

A package offers a kind through an entry point of the group ``fleetfront.devices``: its name is the kind's, its value a
class or function without arguments that makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fleetfront.errors import DeviceError, InputError
from fleetfront.plugins import load_plugin, plugin_names
from fleetfront.profilers.adb.kind import AdbKind
from fleetfront.profilers.cpu.kind import CpuKind
from fleetfront.profilers.gpu.kind import CudaKind
from fleetfront.profilers.kinds.base import Capability, Choices, DeviceKind, IsOfMachine
from fleetfront.profilers.remote.kind import remote_kind
from fleetfront.profilers.remote.names import is_far, split_far
from fleetfront.progress import SILENT, Progress
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.profilers.base import Agent

GROUP = "fleetfront.devices"

_OWN: tuple[DeviceKind, ...] = (CpuKind(), CudaKind(), AdbKind())


def kind_names() -> tuple[str, ...]:
    """Every kind there is, fleetfront's own first. Plug-ins are listed without being imported."""
    own = tuple(kind.name for kind in _OWN)
    return (*own, *(name for name in plugin_names(GROUP) if name not in own))


def find_kind(device: str) -> DeviceKind | None:
    """The kind that a device's name means, None if no kind here knows it. Own kinds come before plug-ins.

    Raises InputError on a plug-in that does not load, where no kind before it matches.
    """
    if is_far(device):
        try:
            far = split_far(device)
        except InputError:
            return None
        inner = None if far is None else find_kind(far.inner)
        return None if inner is None else remote_kind(inner)
    for kind in _OWN:
        if kind.matches(device):
            return kind
    for name in kind_names()[len(_OWN) :]:
        plugin = load_plugin(GROUP, name, "kind of devices")
        offered: DeviceKind | None = None if plugin is None else plugin.make(DeviceKind, "kind")
        if offered is not None and offered.matches(device):
            return offered
    return None


def check_far(device: str) -> None:
    """Raise InputError for ``ssh:`` before what is no host, or no device of one; other names are fine."""
    far = split_far(device)
    if far is not None and find_kind(far.inner) is None:
        raise InputError(
            f"{far.inner!r} is no device that could be measured on {far.host}.",
            f"`fleetfront devices --host {far.host}` lists those that can.",
        )


def kind_of(device: str) -> DeviceKind:
    """The kind that a device's name means.

    Raises DeviceError if nothing here can measure it, and what ``find_kind`` and ``check_far`` raise.
    """
    kind = find_kind(device)
    if kind is None:
        check_far(device)
        raise DeviceError(
            f"The device {device!r} cannot be measured from here.",
            "Profile this machine with --device cpu, or bring measurements in with `fleetfront import`.",
        )
    return kind


def cores_of(device: str) -> str | None:
    """The machine whose own cores are timed, or time, when a device is measured, so that devices of one disturb each
    other: "" is this machine, otherwise a host's name. None for devices with cores of their own, such as phones.

    Raises what ``find_kind`` raises.
    """
    far = split_far(device) if is_far(device) else None
    if not isinstance(find_kind(device if far is None else far.inner), IsOfMachine):
        return None
    return "" if far is None else far.host.rpartition("@")[2]


#: Makes an agent of a target.
OpenAgent = Callable[[Target], "Agent"]


def kinds_that(can: Capability) -> tuple[str, ...]:
    """Names of fleetfront's own kinds of devices that something can be measured on."""
    return tuple(kind.name for kind in _OWN if can in kind.can)


def open_device(target: Target, choices: Choices | None = None, progress: Progress = SILENT) -> Agent:
    """The agent of ``target``, whose device is held until it is closed. Raises what ``DeviceKind.open`` raises."""
    return kind_of(target.device).open(target, choices or Choices(), progress)
