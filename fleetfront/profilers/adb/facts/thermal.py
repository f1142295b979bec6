"""Read heat, battery and screen of a phone from the texts of ``dumpsys``.

Clocks and cores are in ``cores``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: ``TemperatureType`` of Android's thermal HAL: https://source.android.com/docs/core/power/thermal-mitigation
SENSOR_TYPES = {
    -1: "unknown",
    0: "cpu",
    1: "gpu",
    2: "battery",
    3: "skin",
    4: "usb_port",
    5: "power_amplifier",
    6: "bcl_voltage",
    7: "bcl_current",
    8: "bcl_percentage",
    9: "npu",
    10: "tpu",
    11: "display",
    12: "modem",
    13: "soc",
    14: "wifi",
    15: "camera",
    16: "flashlight",
    17: "speaker",
    18: "ambient",
    19: "pogo",
}
#: Sensors that do not measure degrees.
_NOT_DEGREES = ("bcl_voltage", "bcl_current", "bcl_percentage")

_STATUS = re.compile(r"^\s*Thermal Status:\s*(\d{1,3})\s*$", re.MULTILINE)
_CURRENT = re.compile(r"^\s*Current temperatures from HAL:\s*$", re.MULTILINE)
_READING = re.compile(
    r"\s*Temperature\{mValue=(?P<value>[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|NaN), "
    r"mType=(?P<type>-?\d{1,3}), mName=(?P<name>.*), "
    r"mStatus=(?P<status>\d{1,3})\}\s*"
)
_BATTERY = re.compile(r"^\s*(?P<name>[A-Za-z ]+): (?P<value>\S+)\s*$", re.MULTILINE)
_SCREEN = re.compile(r"^screen (true|false)\s*$", re.MULTILINE)
_AWAKE = re.compile(r"mWakefulness=(\w+)")


@dataclass(frozen=True, slots=True)
class Reading:
    """One temperature sensor: degrees Celsius and the throttling level that the sensor alone asks for."""

    name: str
    kind: str
    celsius: float
    status: int


@dataclass(frozen=True, slots=True)
class Thermal:
    """Heat as ``dumpsys thermalservice`` tells it now. ``status`` is None where it does not say."""

    status: int | None
    readings: tuple[Reading, ...]

    @property
    def is_throttled(self) -> bool:
        """True if the system already slows itself, or one sensor asks for it."""
        return max((self.status or 0, *(reading.status for reading in self.readings))) >= 1

    def hottest(self) -> Reading | None:
        """The reading that decides when to cool down: the hottest skin sensor if there is one, else the hottest."""
        degrees = [reading for reading in self.readings if reading.kind not in _NOT_DEGREES]
        skin = [reading for reading in degrees if reading.kind == "skin"]
        return max(skin or degrees, key=lambda reading: reading.celsius, default=None)


@dataclass(frozen=True, slots=True)
class Battery:
    """Battery as ``dumpsys battery`` tells it. None where it does not say.

    Attributes:
        charge_uah: what is left in it, microampere-hours by its own gauge.
        millivolts: at its poles.
    """

    percent: int | None
    celsius: float | None
    is_charging: bool | None
    charge_uah: int | None = None
    millivolts: int | None = None


def parse_thermal(text: str) -> Thermal:
    """Read ``dumpsys thermalservice``. The cached temperatures of the text are stale and are left out.

    A text without the *current* block has no readings; nothing is guessed.
    """
    status = _STATUS.search(text)
    begin = _CURRENT.search(text)
    readings: list[Reading] = []
    for line in text[begin.end() :].lstrip("\r\n").splitlines() if begin else ():
        match = _READING.fullmatch(line)
        if match is None:
            break
        celsius = float(match.group("value"))
        # Absent sensors report NaN or absurd values; -273 C is where no sensor can be.
        if -100 < celsius < 300:
            kind = SENSOR_TYPES.get(int(match.group("type")), "unknown")
            readings.append(Reading(match.group("name"), kind, celsius, int(match.group("status"))))
    return Thermal(int(status.group(1)) if status else None, tuple(readings))


def parse_battery(text: str) -> Battery:
    """Read ``dumpsys battery``; its temperature is in tenths of a degree, 0 where it is not measured."""
    facts = {match.group("name").strip(): match.group("value") for match in _BATTERY.finditer(text)}
    level, tenths = _whole(facts.get("level")), _whole(facts.get("temperature"))
    charge, voltage = _whole(facts.get("Charge counter")), _whole(facts.get("voltage"))
    powered = [facts[name] for name in facts if name.endswith(" powered")]
    return Battery(
        percent=level if level is not None and 0 <= level <= 100 else None,
        celsius=tenths / 10 if tenths else None,
        is_charging="true" in powered if powered else None,
        # Where nothing counts it is 0; some systems tell the voltage in other units.
        charge_uah=charge if charge is not None and charge > 0 else None,
        millivolts=voltage if voltage is not None and 2000 <= voltage <= 20_000 else None,
    )


def parse_screen(text: str) -> bool | None:
    """Tell whether the screen is on, from the line ``screen true`` that a check prints; None if not told."""
    match = _SCREEN.search(text)
    return match.group(1) == "true" if match else None


def parse_wakefulness(text: str) -> str | None:
    """The screen's state in ``dumpsys power``: ``Awake``, ``Asleep``, ``Dozing``, ``Dreaming``; None if not told."""
    match = _AWAKE.search(text)
    return match.group(1) if match else None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text) else None
