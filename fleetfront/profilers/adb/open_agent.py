"""Find devices and open agents for them.

A running adb server owns the USB devices, so it is used where one answers; otherwise the device is spoken to directly.
"""

from __future__ import annotations

import importlib
import re
import shlex
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TypedDict, Unpack

from fleetfront.errors import DeviceError, InputError, MissingDependency, missing, unknown
from fleetfront.files import device_lock, lasting_name
from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.facts.device import Device, read_device
from fleetfront.profilers.adb.link.connection import Connection, Heartbeat
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceRefused, DeviceSilent, ServerSilent, remedy
from fleetfront.profilers.adb.link.server import AdbServer, ServerTransport, is_address, split_host
from fleetfront.profilers.adb.link.transport import AUTHORIZE_S, Transport
from fleetfront.profilers.adb.runners.base import Runner
from fleetfront.profilers.adb.runners.benchmark_model import BenchmarkModelRunner, find_benchmark_model
from fleetfront.profilers.adb.runners.native import LiteRtRunner, build_runner
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.catalogue import places
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: How users spell a device over ADB: ``adb:SERIAL`` or ``adb:HOST:PORT``; with ``@HOST`` behind it, on another host.
PREFIX = "adb:"
#: The only device attached.
ANY = "adb"

_RETRY_S = 0.3
#: The state of a device that can be used.
_READY = "device"


@dataclass(frozen=True, slots=True)
class AdbDevice:
    """One attached device: what to type as ``--device``, its state, and what to do if that is not ``device``."""

    name: str
    serial: str
    state: str
    model: str
    route: str
    remedy: str

    @property
    def is_ready(self) -> bool:
        """True if it can be profiled now."""
        return self.state == _READY


def list_adb_devices() -> list[AdbDevice]:
    """List what the adb server knows, or what is plugged in by USB if none runs. Nothing is started or connected.

    Raises:
        DeviceError: an adb server holds its port and does not answer.
        InputError: the environment names an adb server in a way that is none.
    """
    server = AdbServer.configured()
    if server.is_running():
        # A comma would part the names of several devices.
        typed = [(f"transport_id:{d.id}" if "," in d.name and d.id else d.name, d) for d in server.devices()]
        return [
            AdbDevice(PREFIX + name, d.serial, d.state, d.model, f"adb server at {server.address}", d.remedy)
            for name, d in typed
        ]
    try:
        serials, closed = _direct().usb_devices()
    except MissingDependency:
        return []
    listed = [AdbDevice(PREFIX + serial, serial, "device", "", "direct USB", "") for serial in serials]
    # What may not be opened does not tell its serial number either.
    forbidden = "no permissions"
    return [*listed, *[AdbDevice(ANY, "", forbidden, "", "direct USB", remedy(forbidden))] * closed]


def why_none_attached() -> str:
    """Where was looked when ``list_adb_devices`` found nothing, and what to do, in a sentence or two.

    Raises:
        InputError: the environment names an adb server in a way that is none.
    """
    server = AdbServer.configured()
    network = "A phone in the network need not be listed: --device adb:HOST:PORT."
    plug = "plug a phone in and turn on 'USB debugging' in its developer options."
    if server.is_running():
        return f"The adb server at {server.address} knows no phone: {plug} {network}"
    try:
        _direct().usb_devices()
    except MissingDependency as error:
        return f"No adb server runs, so phones on USB cannot be seen. {error.remedy} {network}"
    return f"No phone is attached by USB: {plug} {network}"


def full_name(device: str) -> str:
    """``adb:SERIAL`` for ``adb``, the only device attached, and for ``adb:transport_id:N``; other names as they are.
    The adb server of another host is asked for ``adb:@HOST``, and the host stays in the name.

    Raises:
        DeviceError: there is none, or there are several.
        MissingDependency: no adb server runs, and USB needs a package.
    """
    device, host = split_host(device)
    server = AdbServer.at(host)
    by_id = device.removeprefix(f"{PREFIX}transport_id:")
    if by_id != device and server.is_running():
        named = [PREFIX + listed.name + host for listed in server.devices() if listed.id == by_id]
        if not named:
            raise DeviceError(
                f"No device has the transport id {by_id}.", "`fleetfront devices` lists what is attached."
            )
        return named[0]
    if device not in (ANY, PREFIX):
        return device + host
    if not host and not server.is_running():
        return PREFIX + _only(serials := _usb_serials(), serials)
    listed = server.devices()
    return PREFIX + _only([d.name + host for d in listed], [d.name + host for d in listed if d.state == _READY])


def connect(
    device: str,
    *,
    key: Path | None = None,
    authorize_s: float = AUTHORIZE_S,
    heartbeat: Heartbeat | None = None,
    progress: Progress = SILENT,
) -> Connection:
    """Connect to ``adb:SERIAL``, ``adb:HOST:PORT`` or, if one device alone is attached, ``adb``; with ``@HOST`` or
    ``@HOST:PORT`` behind it through the adb server that answers there, and in no other way.

    Args:
        device: as the user typed it.
        key: the ADB key for direct connections, ``~/.android/adbkey`` by default.
        authorize_s: how long to wait for the person at the device to accept the key.
        heartbeat: when a device counts as silent.
        progress: told when the person at the device must act.

    Raises:
        DeviceError: not attached, not ready or refused; the remedy says what to do.
        InputError: a serial number or a port that cannot be.
        MissingDependency: a direct connection needs a package.
    """
    try:
        return _connected(device, key, authorize_s, heartbeat, progress)
    except DeviceSilent:
        raise
    except ConnectionLost:
        # A daemon that is just dropping an older connection may drop the next one with it.
        time.sleep(_RETRY_S)
        return _connected(device, key, authorize_s, heartbeat, progress)


def _connected(
    device: str, key: Path | None, authorize_s: float, heartbeat: Heartbeat | None, progress: Progress
) -> Connection:
    name, host = split_host(full_name(device))
    serial = name.removeprefix(PREFIX)
    if not serial.isprintable():
        raise InputError(f"{serial!r} is no serial number.", "`fleetfront devices` lists what is attached.")
    address = re.fullmatch(r"(?P<host>.+):(?P<port>\d+)", serial) if is_address(serial) else None
    if address and not (len(address.group("port")) < 6 and 0 < int(address.group("port")) < 65536):
        raise InputError(
            f"{device} names the port {address.group('port')}, which cannot be.",
            "Ports are 1 to 65535; adb's own is 5555, and Android shows another under 'Wireless debugging'.",
        )
    server = AdbServer.at(host)
    if host:
        return Connection(ServerTransport(server, serial), heartbeat)
    try:
        is_served = server.is_running()
    except ServerSilent:
        if address is None:  # it holds the phones on USB, and none in the network that it was not told of
            raise
        is_served = False
    if is_served:
        return Connection(ServerTransport(server, serial), heartbeat)
    transport: Transport
    if address:
        host, port = address.group("host").strip("[]"), int(address.group("port"))
        transport = _direct().open_tcp(host, port, key, authorize_s, progress)
    else:
        transport = _direct().open_usb(serial, key, authorize_s, progress)
    return Connection(transport, heartbeat)


def _direct() -> ModuleType:
    """``link.direct``, which needs adb-shell. Raises MissingDependency."""
    try:
        return importlib.import_module("fleetfront.profilers.adb.link.direct")
    except ImportError as error:
        raise missing("adb-shell", "mobile", "Reaching a device without an adb server") from error


def _usb_serials() -> list[str]:
    """Serial numbers of what is plugged in. Raises MissingDependency, and DeviceRefused if none may be opened."""
    serials: list[str]
    serials, closed = _direct().usb_devices()
    if closed and not serials:
        raise DeviceRefused("A USB device with debugging is attached, but may not be opened.", remedy("no permissions"))
    return serials


def describe_adb_device(device: str, *, progress: Progress = SILENT) -> Device:
    """Ask a device what it is, e.g. which ABI to fetch a program for. Raises what ``connect`` raises."""
    connection = connect(device, progress=progress)
    try:
        return read_device(connection)
    finally:
        connection.close()


def adb_target(
    device: str, *, runtime: str | None = None, precision: str = "fp32", threads: int = 1, batch: int = 1
) -> Target:
    """The target of a device over ADB. Raises InputError for a runtime that such a device does not have."""
    known = places("adb")
    runtime = runtime or next(iter(known))
    if runtime not in known:
        raise unknown("runtime of a device over ADB", runtime, known)
    # Serial numbers of devices found by mDNS hold characters that a target cannot have.
    serial, host = split_host(device.removeprefix(PREFIX))
    serial, at, place = serial.partition("@usb:")
    spelled = [re.sub(r"[^A-Za-z0-9_.:\-]+", "-", part).strip("-") for part in (serial, place)]
    name = PREFIX + at.join(spelled if at else spelled[:1]) + host
    return Target(name, runtime, precision, threads, batch)


class Programs(TypedDict, total=False):
    """The programs that time files on a device.

    ``runner``: ``benchmark-model``, ``native`` (Linux targets), or ``auto``, the default: native on plain Linux if no
    ``benchmark_model`` is given, else benchmark-model. ``benchmark_model``: the program to use instead of looking for
    one. ``litert_wheel``: where the native runner takes its library from, if not from the installed package.
    ``npu_libraries``: folder on the device with the vendor's dispatch library. ``with_operators``: have benchmark_model
    profile operators, which disturbs what it times.
    """

    runner: str
    benchmark_model: Path | None
    litert_wheel: Path | None
    npu_libraries: str
    with_operators: bool


def open_adb_agent(
    device: str,
    target: Target,
    *,
    cores: str = "big",
    key: Path | None = None,
    authorize_s: float = AUTHORIZE_S,
    heartbeat: Heartbeat | None = None,
    options: AgentOptions | None = None,
    workspace: Workspace | None = None,
    progress: Progress = SILENT,
    **programs: Unpack[Programs],
) -> AdbAgent:
    """Connect to a device and make an agent for it. Close the agent to leave the device as it was found.

    Args:
        device: see ``connect``.
        target: of ``adb_target``.
        cores: ``big``, ``little``, ``all`` or a hexadecimal mask.
        key: see ``connect``.
        authorize_s: see ``connect``.
        heartbeat: see ``connect``.
        options: see ``AgentOptions``.
        workspace: where programs are kept.
        progress: told of what takes long and what the user should know.
        programs: what times the files.

    Raises:
        DeviceError: not attached, not ready, refused.
        InputError: wrong cores, runtime or program.
        MissingDependency: a package or compiler is missing.
    """
    place = workspace or Workspace.default()
    connected = partial(connect, device, key=key, authorize_s=authorize_s, heartbeat=heartbeat, progress=progress)
    # The same for every command with this workspace, so that a later one finds and cleans what was left on a device.
    name = lasting_name(place.root / "adb-name")
    connection = connected()
    try:
        facts = read_device(connection)
        return AdbAgent(
            connected,
            connection,
            facts,
            _runner(connection, facts, target, place.cache, programs),
            target,
            cores=cores,
            lock=partial(device_lock, place.root / "locks", target.device, facts.identity),
            folder=f"{facts.folder}/fleetfront-{name}",
            owner=re.sub(r"[^A-Za-z0-9.\-]+", "-", f"{socket.gethostname()}-{name}"),
            options=options,
            progress=progress,
        )
    except BaseException:
        connection.close()
        raise


def _runner(connection: Connection, device: Device, target: Target, cache: Path, programs: Programs) -> Runner:
    name, benchmark_model = programs.get("runner", "auto"), programs.get("benchmark_model")
    with_operators = programs.get("with_operators", False)
    if name not in ("auto", "benchmark-model", "native"):
        raise unknown("runner", name, ("auto", "benchmark-model", "native"))
    is_native = name == "native" or (name == "auto" and benchmark_model is None and not device.is_android)
    if not is_native:
        found = find_benchmark_model(connection, device, cache, benchmark_model)
        folder = programs.get("npu_libraries") or ""
        return BenchmarkModelRunner(found, npu_libraries=folder, with_operators=with_operators)
    if with_operators:
        raise InputError("Our own runner tells no times of operators.", "Use --runner benchmark-model.")
    if device.is_android:
        raise InputError(
            f"Our own runner needs plain Linux; {device.model} runs {device.system.split(' (')[0]}.",
            "Use --runner benchmark-model.",
        )
    runner = LiteRtRunner(build_runner(device.abis[0], cache / "native_runner", programs.get("litert_wheel")))
    runner.command(target, 0)
    return runner


def _only(serials: Sequence[str], ready: Sequence[str]) -> str:
    """The one serial number there is. Raises DeviceError otherwise, with those to type that are ``ready``."""
    if len(serials) == 1:
        return serials[0]
    if not serials:
        raise DeviceError("No device is attached.", "Plug one in and turn on 'USB debugging', or name HOST:PORT.")
    names = [PREFIX + serial for serial in ready or serials]
    several = f", or several: --devices {shlex.quote(','.join(names))}" if len(names) > 1 else ""
    raise DeviceError(
        f"Several devices are attached: {', '.join(serials)}.", f"Say which: --device {shlex.quote(names[0])}{several}"
    )
