"""Find the remedy that goes with a program's own words, and tell when a device is not worth further visits."""

from __future__ import annotations

import re

from fleetfront.errors import DeviceError

#: Visits in a row that had to be ended, each of which may cost minutes, after which no more are made.
MOST_ENDLESS = 3

_OTHER_PROGRAM = (
    "Run: fleetfront doctor --fetch-benchmark-model (downloads Google's build for the phone), or give "
    "--benchmark-model PATH."
)
_ENDLESS = re.compile(r"took longer than|printed more than")
#: What a program, a linker or a shell says of one cause -> what to do.
_REMEDIES = (
    (
        re.compile(r"affinity|CPU mask|taskset", re.IGNORECASE),
        "The system does not give those cores: use --cores all, or another mask.",
    ),
    (
        re.compile(
            r"CANNOT LINK|cannot locate symbol|shared librar|shared object|library \".*\" not found|dlopen",
            re.IGNORECASE,
        ),
        "The program needs a library that the device does not have, or cannot load. " + _OTHER_PROGRAM,
    ),
    (re.compile(r"not executable|exec format|wrong ELF", re.IGNORECASE), "It is no program for it. " + _OTHER_PROGRAM),
    (
        re.compile(r"delegate|NNAPI|NN API", re.IGNORECASE),
        "The delegate does not take such a network: choose another --runtime, e.g. tflite-cpu.",
    ),
    (re.compile(r"did not know the flag|used \d+ threads"), _OTHER_PROGRAM),
    (
        _ENDLESS,
        "The program hangs or is none that measures: restart the device, choose another --runtime, or "
        + _OTHER_PROGRAM[0].lower()
        + _OTHER_PROGRAM[1:],
    ),
    (
        re.compile(r"not understood|no timings|printed nothing|cut off|no inference time"),
        "That is not what benchmark_model prints. " + _OTHER_PROGRAM,
    ),
)


def remedy_of(error: str) -> str:
    """The remedy for the words of a program, a linker or a shell; empty if nothing is known of them."""
    return next((remedy for pattern, remedy in _REMEDIES if pattern.search(error)), "")


def is_endless(error: str | None) -> bool:
    """Tell whether a visit had to be ended."""
    return bool(error and _ENDLESS.search(error))


def explain_endless(device: str, error: str) -> DeviceError:
    """The error for a device on which visits in a row had to be ended."""
    return DeviceError(f"{MOST_ENDLESS} visits in a row had to be ended on {device}: {error}.", remedy_of(error))
