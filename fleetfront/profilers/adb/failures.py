"""Explain visits that all fail alike: the program's own words, and the remedy that goes with them."""

from __future__ import annotations

import re

from fleetfront.errors import DeviceError

#: Equal failures in a row after which the cause is taken to be one for all files.
MOST_EQUAL_FAILURES = 3

_OTHER_PROGRAM = (
    "Run: fleetfront doctor --fetch-benchmark-model (downloads Google's build for the phone), or give "
    "--benchmark-model PATH."
)
_WITHOUT_END = re.compile(r"took longer than|printed more than")
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
    (re.compile(r"did not know the flag|threads"), _OTHER_PROGRAM),
    (
        _WITHOUT_END,
        "The program hangs or is none that measures: restart the device, choose another --runtime, or "
        + _OTHER_PROGRAM[0].lower()
        + _OTHER_PROGRAM[1:],
    ),
    (
        re.compile(r"not understood|no timings|printed nothing|cut off|no inference time"),
        "That is not what benchmark_model prints. " + _OTHER_PROGRAM,
    ),
)
_OTHERWISE = "Check a file with `fleetfront profile --device cpu --file FILE`, or choose another --runtime."


def is_without_end(error: str) -> bool:
    """Whether a visit had to be ended: such failures cost minutes each."""
    return bool(_WITHOUT_END.search(error))


def explain_failures(device: str, error: str) -> DeviceError:
    """The error for a device on which visits failed in a row with the same ``error``."""
    remedy = next((remedy for pattern, remedy in _REMEDIES if pattern.search(error)), _OTHERWISE)
    return DeviceError(f"{MOST_EQUAL_FAILURES} visits in a row failed alike on {device}: {error}.", remedy)
