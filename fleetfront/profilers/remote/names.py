"""Names of devices behind other hosts, ``ssh:HOST/DEVICE``, and the command that reaches a host."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

from fleetfront.errors import InputError

PREFIX = "ssh:"
#: Environment variables: the user's ssh program with its options, and the command that starts the agent on hosts.
SSH, AGENT = "FLEETFRONT_SSH", "FLEETFRONT_AGENT"
_SSH, DEFAULT_AGENT = "ssh", "fleetfront agent --stdio"
#: No question can be answered in a pipe; a host that does not answer for so long is not there.
_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
_HOST = re.compile(r"(?P<name>([A-Za-z0-9_][A-Za-z0-9_.\-]*@)?[A-Za-z0-9_][A-Za-z0-9_.\-]*)(:(?P<port>\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class FarName:
    """A device's name in its parts: the host, as users type it, and the device there."""

    host: str
    inner: str


def is_far(device: str) -> bool:
    """Tell whether a name means a device behind another host, rightly spelled or not."""
    return device.startswith(PREFIX)


def split_far(device: str) -> FarName | None:
    """The parts of the name of a device behind another host; None for other devices.

    Raises InputError for a host that ssh would not take for one, or without a device behind it.
    """
    if not is_far(device):
        return None
    host, _, inner = device.removeprefix(PREFIX).partition("/")
    check_host(host)
    if not inner or is_far(inner):
        raise InputError(
            f"{device} names no device of {host}.",
            f"Write {PREFIX}{host}/cpu, {PREFIX}{host}/cuda:0 or {PREFIX}{host}/adb:SERIAL; "
            f"`fleetfront devices --host {host}` lists them.",
        )
    return FarName(host, inner)


def check_host(host: str) -> None:
    """Raise InputError for what is no ``HOST``, ``USER@HOST`` or ``HOST:PORT``; an alias of ssh's own will do."""
    match = _HOST.fullmatch(host)
    if match is None or not 0 < int(match["port"] or 22) < 65536:
        raise InputError(
            f"{host[:100]!r} is no host that ssh could reach.",
            "Write HOST, USER@HOST or HOST:PORT in letters, digits and _ . -, or an alias of ~/.ssh/config.",
        )


def ssh_command(host: str) -> list[str]:
    """The arguments that start the agent on ``host``. Raises InputError for what is no host."""
    check_host(host)
    match = _HOST.fullmatch(host)
    name, port = (match["name"], match["port"]) if match else (host, None)
    try:
        program = shlex.split(os.environ.get(SSH) or _SSH)
    except ValueError as error:
        raise InputError(
            f"{SSH} is no command: {str(error).lower()}.", "Write the program and its options, e.g. 'ssh -i key'."
        ) from error
    ports = ("-p", port) if port else ()
    return [*program, *_OPTIONS, *ports, "--", name, os.environ.get(AGENT) or DEFAULT_AGENT]
