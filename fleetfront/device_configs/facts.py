"""List what a device config may state about hardware: the keys, their units and the range a value can plausibly have.

Light on purpose: cost models read these records without loading a YAML or validation library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fleetfront.errors import unknown
from fleetfront.targets import Target

#: What sort of thing a device is.
KINDS = ("cpu", "gpu", "phone", "board", "accelerator")


@dataclass(frozen=True, slots=True)
class FactKind:
    """One thing that a config may state: its unit, the plausible range and what exactly is meant."""

    unit: str
    low: float
    high: float
    meaning: str


#: Key -> what it means. The unit is part of the key, so that a file cannot be read wrongly.
FACT_KINDS: Mapping[str, FactKind] = MappingProxyType(
    {
        "cores": FactKind(
            "cores",
            1,
            100_000,
            "cores that run at clock_ghz: CUDA cores of a GPU, the fast cluster of a phone, processing elements of "
            "an accelerator",
        ),
        "clock_ghz": FactKind("GHz", 0.01, 8, "boost clock of a GPU, base clock of a server CPU, else maximum clock"),
        "peak_fp32_gflops": FactKind("GFLOP/s", 0.1, 1e6, "cores x clock x FLOPs per cycle, a fused multiply-add is 2"),
        "peak_int16_gops": FactKind("GOP/s", 0.1, 1e6, "16-bit fixed-point operations, a multiply-accumulate is 2"),
        "memory_bandwidth_gb_per_s": FactKind("GB/s", 0.1, 20_000, "theoretical bandwidth of the main memory"),
        "memory_gib": FactKind("GiB", 0.001, 4096, "main memory, of the board itself for a GPU"),
        "last_level_cache_mib": FactKind("MiB", 0.001, 2048, "last cache before main memory"),
        "dsp_slices": FactKind("slices", 1, 100_000, "multiply-accumulate slices of an FPGA"),
        "year": FactKind("year", 1990, 2100, "year in which the part came to market"),
    }
)


@dataclass(frozen=True, slots=True)
class Fact:
    """A value in the unit that its key names, and the public source that says so (or how it was computed)."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A device setting: what it is, how it is measured by default, and sourced facts on its hardware.

    Attributes:
        name: the file's stem; what users type and tables use as suffix.
        title: for people.
        kind: one of ``KINDS``.
        target: what a latency of this setting belongs to unless a user refines it; ``runtime`` or ``precision``
            ``unknown`` marks a public table that does not say.
        setting: who measured the public tables of this setting and how, empty for generic devices.
        facts: key of ``FACT_KINDS`` -> value and source.
        aliases: other names of the same setting in public tables.
        timing_resolution_ms: step in which the public tables of this setting were logged, None if finer than noise.
        notes: what a reader of numbers of this setting should know.
        path: the file that this was read from.
    """

    name: str
    title: str
    kind: str
    target: Target
    setting: str
    facts: Mapping[str, Fact]
    aliases: tuple[str, ...] = ()
    timing_resolution_ms: float | None = None
    notes: str = ""
    path: str = ""

    def fact(self, key: str) -> float | None:
        """The value of one fact, None if this device's is not known. Raises InputError if there is no such key."""
        if key not in FACT_KINDS:
            raise unknown("fact", key, FACT_KINDS)
        fact = self.facts.get(key)
        return None if fact is None else fact.value
