"""Target: what a latency belongs to. It keys the store, fits, fronts and manifests."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from fleetfront.errors import InputError, unknown

#: Numeric formats that files can be written in; ``tf32`` is a GPU execution mode of fp32 files, ``w8`` and ``w4`` are
#: of files whose weights alone are narrow, and ``unknown`` marks imported numbers whose source does not say.
PRECISIONS = ("fp32", "tf32", "fp16", "int8", "w8", "w4", "unknown")

#: Of a file whose inputs do not tell how many things it works on at once; spelled ``b?``.
UNKNOWN_BATCH = 0

#: More than any machine has, and than any that is here would run; beyond is a slip of the keyboard.
MOST_THREADS, MOST_BATCH = 4096, 1_000_000

_WEIGHT_BYTES = {"fp16": 2, "int8": 1, "w8": 1, "w4": 1}

#: Formats in which networks answer as the floats do that they were trained in, to far within what images tell.
FLOATS = ("fp32", "tf32", "fp16", "unknown", "")

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]*\Z")
#: ``adb:SERIAL@usb:3-4`` is one of two with one serial number, ``adb:SERIAL@HOST`` is behind another host,
#: ``ssh:HOST/cpu`` a device of one, whose user may be said: ``me@HOST``.
_DEVICE = re.compile(
    r"(ssh:([A-Za-z0-9_][A-Za-z0-9_.\-]*@)?[A-Za-z0-9_][A-Za-z0-9_.\-]*(:\d{1,5})?/)?"
    r"[A-Za-z0-9][A-Za-z0-9_.:\-]*(@usb:[A-Za-z0-9_.:\-]+)?(@[A-Za-z0-9][A-Za-z0-9_.:\-]*)?\Z"
)
_SPELLED = re.compile(r"(ssh:[^/]+/[^/]+|[^/]+)/([^/]+)/([^/]+)/t(\d{1,9})/b([1-9]\d{0,8}|\?)(?:/([^/]+))?", re.A)
#: The part of a spelled target, or of a narrowed device, that is the device.
_FIRST = re.compile(r"ssh:[^/]*/[^/]*|[^/]*")


def weight_bytes_of(precision: str) -> int:
    """Bytes that a weight takes in files of a precision, of convolutions in w4; of an unknown one, as in fp32."""
    return _WEIGHT_BYTES.get(precision, 4)


def running_bytes_of(precision: str) -> int:
    """The most bytes that a weight takes while a network runs: runtimes may widen what is narrow alone at opening."""
    return 4 if precision in ("w8", "w4") else weight_bytes_of(precision)


def split_spelled(spelled: str) -> list[str]:
    """The device, and the parts behind it, of a spelled target or a narrowed device such as ``cpu/litert/int8``.

    The device of another host holds a ``/`` itself: ``ssh:pi/cpu``.
    """
    device = _FIRST.match(spelled)
    first = "" if device is None else device[0]
    return [first, *spelled[len(first) :].split("/")[1:]]


def precision_in(spelled: str) -> str:
    """The precision in a spelled target, which need not be one that can be run; empty if there is none."""
    parts = split_spelled(spelled)
    return parts[2] if len(parts) > 2 else ""


def narrow_precision(precision: str) -> str:
    """The precision, if files in it answer otherwise than the network in float; else empty."""
    return precision if precision in PRECISIONS and precision not in FLOATS else ""


def with_precision(spelled: str, precision: str) -> str:
    """A spelled target with another precision, which may be several: ``cpu/litert/fp32,int8/t1/b1``."""
    parts = split_spelled(spelled)
    return "/".join([*parts[:2], precision, *parts[3:]]) if len(parts) > 2 else spelled


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Device, runtime and the conditions under which a network runs there.

    Spelled ``device/runtime/precision/tTHREADS/bBATCH`` with an optional ``/delegate``, e.g. ``cpu/litert/fp32/t1/b1``.
    ``batch`` may be ``UNKNOWN_BATCH``.
    """

    device: str
    runtime: str
    precision: str = "fp32"
    threads: int = 1
    batch: int = 1
    delegate: str = ""

    def __post_init__(self) -> None:
        for name, form in (("device", _DEVICE), ("runtime", _PART)):
            if not form.match(getattr(self, name)):
                raise InputError(
                    f"Target {name} {getattr(self, name)!r} holds characters that a target cannot have.",
                    "Use letters, digits and _ . : - only.",
                )
        if self.delegate and not _PART.match(self.delegate):
            raise InputError(f"Target delegate {self.delegate!r} is not a name.", "Use letters, digits, _ . : -.")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        for name, least, most in (("threads", 1, MOST_THREADS), ("batch", UNKNOWN_BATCH, MOST_BATCH)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"Target {name} is {str(value)[:20]}.", f"Use {name} from 1 to {most}.")

    def __str__(self) -> str:
        batch = "?" if self.batch == UNKNOWN_BATCH else self.batch
        text = f"{self.device}/{self.runtime}/{self.precision}/t{self.threads}/b{batch}"
        return f"{text}/{self.delegate}" if self.delegate else text

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read the spelled form back. Raises InputError on anything else."""
        match = re.fullmatch(
            r"(ssh:[^/]+/[^/]+|[^/]+)/([^/]+)/([^/]+)/t(\d{1,9})/b([1-9]\d{0,8}|\?)(?:/([^/]+))?", text, re.A
        )
        if match is None:
            raise InputError(
                f"{text!r} is not a target.",
                "Spell it device/runtime/precision/tTHREADS/bBATCH, e.g. cpu/litert/fp32/t1/b1.",
            )
        device, runtime, precision, threads, batch, delegate = match.groups()
        return cls(
            device, runtime, precision, int(threads), UNKNOWN_BATCH if batch == "?" else int(batch), delegate or ""
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """In files a target is its spelled form."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            _parse_spelled,
            core_schema.str_schema(max_length=300),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @property
    def options(self) -> str:
        """The options of ``profile`` and ``fit`` that name it, on one thread at batch 1."""
        precision = "" if self.precision in ("fp32", "unknown") else f" --precision {self.precision}"
        return f"--device {self.device} --runtime {self.runtime}{precision}"

    @property
    def search_options(self) -> str:
        """The options of ``search`` that name it; a device that says its precision is narrowed to it."""
        if self.precision in FLOATS:
            return f"--device {self.device} --runtime {self.runtime}"
        return f"--device {self.device}/{self.runtime}/{self.precision}"

    @property
    def file_stem(self) -> str:
        """The target as one path component, which no other target has.

        Behind ``~`` are digits of the device's SHA-256 where hosts and users are in its name: a host may be called like
        a user and a host.
        """
        device = _as_component(self.device)
        told = hashlib.sha256(self.device.encode()).hexdigest()[:8]
        mark = f"~{told}" if re.search("[@/]", self.device) else ""
        return f"{device}{mark}{self.unmarked_file_stem[len(device) :]}"

    @property
    def unmarked_file_stem(self) -> str:
        """``file_stem`` as earlier versions wrote it, which several devices of other hosts may share."""
        return _as_component(str(self))


def _as_component(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]", "_", text)


def _parse_spelled(text: str) -> Target:
    """``Target.parse`` with the error that readers of files expect."""
    try:
        return Target.parse(text)
    except InputError as error:
        raise ValueError(error.message) from error
