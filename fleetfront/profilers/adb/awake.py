"""Keeping a phone awake while it measures, and leaving it as it was found, even if the cable is pulled in between."""

from __future__ import annotations

import re
import shlex

from fleetfront.profilers.adb.facts.device import Device
from fleetfront.profilers.adb.facts.thermal import parse_wakefulness
from fleetfront.profilers.adb.link.connection import Connection

_SETTING = "global stay_on_while_plugged_in"
#: On any charger, cable or wireless: https://developer.android.com/reference/android/provider/Settings.Global#STAY_ON_WHILE_PLUGGED_IN
_ALWAYS = 7
_KEY_SLEEP, _KEY_WAKE_UP = 223, 224
_RESTORE = "restore.sh"


def can_be_kept_awake(device: Device) -> bool:
    """Whether it is a phone with a screen that falls asleep, and the programs to prevent that."""
    return {"settings", "input", "dumpsys"} <= device.tools


def keep_awake(connection: Connection, device: Device, folder: str) -> str | None:
    """Stop the phone from falling asleep; the screen's state as it was found, None where there is no screen.

    How to undo it is written into ``folder`` first, so that a later session can, if this one is cut off. A file that is
    there already holds the older, true state and is kept.
    """
    if not can_be_kept_awake(device):
        return None
    found = parse_wakefulness(connection.shell("dumpsys power | grep -m 1 mWakefulness=").out)
    before = connection.shell(f"settings get {_SETTING}").out.strip()
    if not re.fullmatch(r"\d+|null", before):
        return found
    undo = f"settings delete {_SETTING}" if before == "null" else f"settings put {_SETTING} {before}"
    if found is not None and found != "Awake":
        undo += f"; input keyevent {_KEY_SLEEP}"
    place = shlex.quote(f"{folder}/{_RESTORE}")
    connection.shell(f"[ -e {place} ] || echo {shlex.quote(undo)} > {place}")
    wake = f"settings put {_SETTING} {_ALWAYS}"
    if found is not None and found != "Awake":
        wake += f"; input keyevent {_KEY_WAKE_UP}"
    connection.shell(wake)
    return found


def restore(connection: Connection, folder: str) -> None:
    """Undo ``keep_awake``, of this or an earlier session."""
    place = shlex.quote(f"{folder}/{_RESTORE}")
    connection.shell(f"[ -e {place} ] && sh {place}; rm -f {place}")
