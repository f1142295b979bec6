"""Choose the cores to measure on: clusters, masks and clocks, from the kernel's small files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleetfront.errors import InputError

#: Masks are 64 bits wide: no phone or board has more cores.
MAX_CORES = 64


@dataclass(frozen=True, slots=True)
class Core:
    """One online core. ``capacity`` is the kernel's relative speed (0: unknown), frequencies in kHz (0: unknown)."""

    number: int
    capacity: int = 0
    max_khz: int = 0
    governor: str = ""

    @property
    def speed(self) -> int:
        """The speed that clusters are told apart by: the capacity where the kernel knows it, else the top frequency."""
        return self.capacity or self.max_khz


@dataclass(frozen=True, slots=True)
class Clocks:
    """Frequencies of one instant in kHz, by core: what it runs at, and the most that is allowed right now."""

    current: Mapping[int, int]
    allowed: Mapping[int, int]

    def is_capped(self, cores: Sequence[Core], mask: int) -> bool:
        """Tell whether a core in ``mask`` may not run as fast as its hardware can."""
        return any(
            self.allowed.get(core.number, core.max_khz) < core.max_khz for core in cores if mask >> core.number & 1
        )


def parse_cores(text: str) -> tuple[Core, ...]:
    """Read lines ``cpuN capacity=C max=KHZ governor=G`` as ``script.FACTS`` prints them; empty values are unknown."""
    cores = []
    for match in re.finditer(r"^cpu(\d{1,3}) capacity=(\d{0,9}) max=(\d{0,12}) governor=(\S*)\s*$", text, re.MULTILINE):
        number = int(match.group(1))
        if number < MAX_CORES:
            cores.append(Core(number, int(match.group(2) or 0), int(match.group(3) or 0), match.group(4)))
    return tuple(sorted(cores, key=lambda core: core.number))


def parse_clocks(text: str) -> Clocks:
    """Read words ``N:CURRENT:ALLOWED`` in kHz as ``script`` prints them before and after a visit."""
    current, allowed = {}, {}
    for number, now, most in re.findall(r"\b(\d{1,3}):(\d{0,12}):(\d{0,12})\b", text):
        if now:
            current[int(number)] = int(now)
        if most:
            allowed[int(number)] = int(most)
    return Clocks(current, allowed)


def clusters(cores: Sequence[Core]) -> tuple[tuple[int, ...], ...]:
    """Core numbers of equal speed, slowest cluster first."""
    speeds = sorted({core.speed for core in cores})
    return tuple(tuple(core.number for core in cores if core.speed == speed) for speed in speeds)


def core_mask(choice: str, cores: Sequence[Core], threads: int) -> int:
    """The CPU mask for ``--cores``; 0 leaves the placement to the device.

    Args:
        choice: ``big`` (the fastest cluster, with the next slower ones until there is a core for each thread),
            ``little`` (the slowest cluster, likewise upwards), ``all``, or a hexadecimal mask.
        cores: the online cores.
        threads: threads of the measured network.

    Raises:
        InputError: for another word, a mask without online cores, or fewer cores than threads.
    """
    if choice == "all":
        return 0
    if not cores:
        raise InputError("The device does not tell which cores it has.", "Use --cores all.")
    online = sum(1 << core.number for core in cores)
    if choice in ("big", "little"):
        mask = _cluster_mask(choice, cores, threads)
    elif re.fullmatch(r"(0x)?[0-9a-fA-F]{1,16}", choice):
        mask = int(choice, 16)
        if mask == 0:
            raise InputError(f"The mask {choice} names no core.", f"Online: {online:x}; or use big, little or all.")
        if mask & ~online:
            raise InputError(
                f"The mask {choice} names cores that are not online (online: {online:x}).",
                "Use --cores big, little, all or a hexadecimal mask of online cores.",
            )
    else:
        near = difflib.get_close_matches(choice.lower(), ("big", "little", "all"), n=1)
        raise InputError(
            f"{choice!r} is not a choice of cores.",
            f"Did you mean {near[0]!r}?" if near else "Use big, little, all or a hexadecimal mask, e.g. f0.",
        )
    if mask.bit_count() < threads:
        raise InputError(
            f"{threads} threads were asked for on {mask.bit_count()} cores (mask {mask:x}).",
            f"Use --threads {max(mask.bit_count(), 1)} or other cores.",
        )
    return mask


def _cluster_mask(choice: str, cores: Sequence[Core], threads: int) -> int:
    ordered = clusters(cores)
    mask = 0
    for cluster in reversed(ordered) if choice == "big" else ordered:
        mask |= sum(1 << number for number in cluster)
        if mask.bit_count() >= threads:
            break
    return mask
