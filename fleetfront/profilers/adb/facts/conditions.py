"""Describe a device around a visit in plain values, and tell when it is too hot to be trusted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetfront.profilers.adb.facts.cores import Clocks, Core, parse_clocks
from fleetfront.profilers.adb.facts.thermal import Battery, Thermal, parse_battery, parse_screen, parse_thermal

_TICK_NS = 10**7

#: Flag of a row that was taken while the device slowed itself down; statistics leave such rows out.
THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class Cooling:
    """When to wait and how long.

    Attributes:
        pause_s: rest between rounds.
        max_temp_c: the hottest sensor (see ``Thermal.hottest``) must be below this; None asks for no such thing.
        limit_s: the longest wait for the device to cool down before it is measured hot, and flagged.
        poll_s: seconds between two looks.
        repeats: how often a throttled visit is repeated before it is kept as it is.
    """

    pause_s: float = 0.0
    max_temp_c: float | None = None
    limit_s: float = 300.0
    poll_s: float = 5.0
    repeats: int = 2


@dataclass(frozen=True, slots=True)
class State:
    """One look at the device."""

    thermal: Thermal
    clocks: Clocks
    battery: Battery
    is_screen_on: bool | None

    def reason_to_wait(self, cooling: Cooling) -> str | None:
        """Why measuring should wait, in a few words; None if it need not."""
        hottest = self.thermal.hottest()
        if self.thermal.is_throttled:
            return f"it slows itself down (thermal status {self.thermal.status or 0})"
        if cooling.max_temp_c is not None and hottest is not None and hottest.celsius > cooling.max_temp_c:
            return f"{hottest.name} has {hottest.celsius:.1f} C"
        return None

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        hottest = self.thermal.hottest()
        facts: dict[str, Any] = {}
        if self.thermal.status is not None:
            facts["thermal_status"] = self.thermal.status
        if hottest is not None:
            facts["hottest_c"] = round(hottest.celsius, 1)
            facts["hottest"] = hottest.name
        battery = self.battery
        rest = {
            "battery_percent": battery.percent,
            "battery_c": battery.celsius,
            "is_charging": battery.is_charging,
            "charge_uah": battery.charge_uah,
            "battery_mv": battery.millivolts,
            "is_screen_on": self.is_screen_on,
        }
        return {**facts, **{name: value for name, value in rest.items() if value is not None}}


def read_state(text: str, clocks: str) -> State:
    """From the texts of ``Session.check``."""
    return State(parse_thermal(text), parse_clocks(clocks), parse_battery(text), parse_screen(text))


def load_facts(words: str, cores: Sequence[Core]) -> dict[str, Any]:
    """``others_ns``, what all cores computed but for our runners, and ``online_cores``; empty where nobody tells.

    ``words`` are those that ``script`` prints: ticks of 10 ms, which every kernel shows users, and what a shell's
    ``times`` says of its children.
    """
    told = re.search(r"\bload=(\d{1,15})/(\d{1,9})m(\d{1,2}[.,]?\d*)s/(\d{1,9})m(\d{1,2}[.,]?\d*)s", words)
    if told is None or not cores:
        return {}
    ours_s = sum(60 * int(m) + float(s.replace(",", ".")) for m, s in (told.group(2, 3), told.group(4, 5)))
    return {"others_ns": int(told.group(1)) * _TICK_NS - int(1e9 * ours_s), "online_cores": len(cores)}


def clock_facts(clocks: str, cores: Sequence[Core], mask: int) -> dict[str, Any]:
    """Clocks of the measured cores, slowest first to be told; empty where the kernel does not tell."""
    seen = parse_clocks(clocks)
    measured = [core.number for core in cores if not mask or mask >> core.number & 1]
    facts: dict[str, Any] = {}
    current = [seen.current[number] for number in measured if number in seen.current]
    if current:
        facts["clocks_khz"] = current
    if seen.is_capped(cores, mask or -1):
        facts["capped_khz"] = min(seen.allowed[number] for number in measured if number in seen.allowed)
    return facts
