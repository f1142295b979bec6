"""Name what can go wrong between this machine and a phone, each with its remedy.

How it is noticed is written in the transports.
"""

from __future__ import annotations

import re

from fleetfront.errors import DeviceError

#: State of a device as an adb server names it -> what to do about it. ``device`` is the good one.
REMEDIES: dict[str, str] = {
    "device": "",
    "unauthorized": "Unlock the phone and accept the dialog 'Allow USB debugging?' on its screen; if none shows, turn "
    "'USB debugging' off and on in the developer options.",
    "authorizing": "Unlock the phone and accept the dialog 'Allow USB debugging?' on its screen.",
    "offline": "Unplug and replug the cable (network: reconnect), or turn 'USB debugging' off and on.",
    "connecting": "Wait a few seconds; if it stays like this, reconnect the device.",
    "recovery": "Leave the recovery system: choose 'Reboot system now' on the phone.",
    "sideload": "Leave the recovery system: choose 'Reboot system now' on the phone.",
    "rescue": "Leave the rescue mode: choose 'Reboot system now' on the phone.",
    "bootloader": "The phone is in its bootloader: choose 'Start' there, or hold the power button.",
    "detached": "Another program took the device from the adb server; end that program.",
    "no permissions": "Give yourself access to the USB device (on Debian: apt install "
    "android-sdk-platform-tools-common, then replug).",
    "absent": "Plug the device in, or connect it with HOST:PORT; `fleetfront devices` lists what is attached.",
}
_OTHER = "Replug the device; `fleetfront devices` shows its state."


class ConnectionLost(DeviceError):
    """The device, the cable or the adb server went away. What had arrived before stays valid."""

    def __init__(self, serial: str, how: str) -> None:
        super().__init__(
            f"The connection to {serial} was lost: {how}.",
            "Check cable, network and battery.",
        )


class DeviceSilent(ConnectionLost):
    """The other side still exists but has said nothing for too long."""

    def __init__(self, serial: str, seconds: float) -> None:
        super().__init__(serial, f"no sign of life for {seconds:.1f} s")


class ServerSilent(DeviceSilent):
    """The adb server holds its port and says nothing."""

    def __init__(self, address: str, seconds: float) -> None:
        DeviceError.__init__(
            self,
            f"The adb server at {address} does not answer (nothing within {seconds:.0f} s).",
            "Start it anew: adb kill-server && adb start-server; if that hangs too, end the process `adb` first.",
        )


class ServiceClosed(ConnectionLost):
    """The device closed one stream at once: it has no such service, or could not start it."""

    def __init__(self, serial: str) -> None:
        super().__init__(serial, "the device closed it")


class DeviceRefused(DeviceError):
    """The device is there but does not let us in."""


class DeviceReplaced(DeviceError):
    """Another device answers where the measured one was."""

    def __init__(self, before: str, now: str) -> None:
        super().__init__(
            f"Another device answers than the one that was measured: {now}, not {before}. Nothing of it was kept.",
            "Connect the first one again and run the same command, or profile the other under a name of its own; with "
            "--any-unit a unit of the same model goes on when you run the command again.",
        )


def remedy(state: str) -> str:
    """The remedy for a device in ``state``; empty if nothing is wrong with it."""
    known = "no permissions" if state.startswith("no permissions") else state
    return REMEDIES.get(known, _OTHER)


def refused(serial: str, state: str) -> DeviceRefused:
    """The error for a device that an adb server lists in any state but ``device``."""
    return DeviceRefused(f"The device {serial} is {state}.", remedy(state))


def explain_failure(serial: str, message: str) -> DeviceError:
    """The error for what an adb server answered after FAIL.

    The texts are those of AOSP's ``adb/transport.cpp`` and ``adb/services.cpp``; unknown ones are passed on.
    """
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    if "more than one device" in first:
        return DeviceRefused(
            "Several devices are attached.", "Say which one: --device adb:SERIAL; `fleetfront devices` lists them."
        )
    if re.search(r"not found|no devices", first):
        return DeviceRefused(f"The device {serial} is not attached ({first}).", REMEDIES["absent"])
    for state in ("unauthorized", "authorizing", "offline", "connecting", "no permissions"):
        if state in first:
            return refused(serial, state)
    if first in ("closed", "device closed"):
        return ServiceClosed(serial)
    return DeviceRefused(f"The adb server refused: {first}.", _OTHER)
