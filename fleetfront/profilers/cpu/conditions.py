"""The state of the local machine around a visit, and which cores to measure on. Rules on these facts are in
``observations``.

Everything here is read from small files of the kernel, 5 microseconds each; what a system does not tell is left out.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fleetfront.errors import InputError

_CPU = Path("/sys/devices/system/cpu")

#: Fields of a core in /proc/stat in which it computed: user, nice, system, irq and softirq, guests being part of user.
#: Not idleness, waiting for a disk, and what the hypervisor took: proc(5).
_WORKING = (0, 1, 2, 5, 6)


class Conditions:
    """Reads the conditions that matter to work on ``cores``; an instance keeps which files there are."""

    def __init__(self, cores: Sequence[int]) -> None:
        self._cores = tuple(cores)
        self._parent = os.getppid()
        self._frequencies = _existing(_CPU / f"cpu{core}/cpufreq/scaling_cur_freq" for core in cores)
        self._throttles = _existing(
            _CPU / f"cpu{core}/thermal_throttle/{kind}_throttle_count" for core in cores for kind in ("core", "package")
        )

    def read(self) -> dict[str, Any]:
        """Facts of this instant, for the calling thread where they are a thread's.

        ``load_1m`` (runnable threads), ``frequency_khz`` (slowest of the cores), ``resident_bytes`` (this process),
        ``online_cores`` (of the machine);
        counters: ``throttles`` (thermal events), ``waited_ns`` (this thread was ready but not running),
        ``stolen_ticks`` (the hypervisor ran somebody else on our cores), ``others_ns`` (what all cores computed for
        other programs than this process and its parent; to a tick of 10 ms), ``suspended_ns`` (how long the machine
        slept since it was started); and ``clock_ns``, the time of day at its start, which changes with the clock.
        """
        facts: dict[str, Any] = {}
        load = _text("/proc/loadavg")
        if load:
            facts["load_1m"] = float(load.split()[0])
        frequencies = [int(text) for path in self._frequencies if (text := _text(path)).strip().isdigit()]
        if frequencies:
            facts["frequency_khz"] = min(frequencies)
        if self._throttles:
            facts["throttles"] = sum(int(_text(path) or 0) for path in self._throttles)
        schedule = _text("/proc/thread-self/schedstat").split()
        if len(schedule) == 3:
            facts["waited_ns"] = int(schedule[1])
        ticks = _core_ticks()
        stolen = [fields[7] for core, fields in ticks.items() if core in self._cores and len(fields) > 7]
        if stolen:
            facts["stolen_ticks"] = sum(stolen)
        if ticks:
            ours_ns = time.process_time_ns() + _computed_ns(self._parent)
            facts["online_cores"] = len(ticks)
            facts["others_ns"] = sum(fields[i] for fields in ticks.values() for i in _WORKING) * _tick_ns() - ours_ns
        facts["resident_bytes"] = resident_bytes()
        if sys.platform == "linux":
            since_start = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            facts["suspended_ns"] = since_start - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            facts["clock_ns"] = time.time_ns() - since_start
        return facts


def resident_bytes() -> int:
    """Memory of this process that is in RAM; 0 where the system does not tell."""
    pages = _text("/proc/self/statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0


def peak_resident_bytes() -> int:
    """The most memory this process had in RAM since its start or the last ``reset_peak``; 0 if not told."""
    for line in _text("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak() -> bool:
    """Start counting ``peak_resident_bytes`` anew; False where the system cannot."""
    try:
        # 5 resets the peak: https://www.kernel.org/doc/html/latest/filesystems/proc.html, clear_refs
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def choose_cores(count: int, watch_s: float = 0.2) -> tuple[int, ...]:
    """``count`` cores for as many threads: fast kinds first, one a physical core while they last, then idle ones.

    Watches the cores for ``watch_s`` seconds. Empty where the system does not let a process choose its cores.

    Raises:
        InputError: if this process may use fewer than ``count`` cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise InputError(
            f"{count} threads were asked for, but this process may use {len(allowed)} cores.",
            f"Use --threads {len(allowed)} or fewer.",
        )
    busy = _busy_ticks(watch_s)
    siblings_taken: set[str] = set()
    ranked: list[tuple[bool, int, int]] = []
    for core in sorted(allowed, key=lambda core: (-_speed(core), busy.get(core, 0), -core)):
        siblings = _text(_CPU / f"cpu{core}/topology/thread_siblings_list").strip() or str(core)
        ranked.append((siblings in siblings_taken, len(ranked), core))
        siblings_taken.add(siblings)
    return tuple(sorted(core for _, _, core in sorted(ranked)[:count]))


def describe_machine() -> dict[str, Any]:
    """Describe what of this machine decides whether old numbers still hold."""
    model = ""
    for line in _text("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Hardware", "cpu model"):
            model = value.strip()
            break
    limits = {
        name: text.strip()
        for name, path in (("clock_limit_khz", "cpu0/cpufreq/scaling_max_freq"), ("boost", "cpufreq/boost"))
        if (text := _text(_CPU / path))
    }
    return {
        **limits,
        "cpu": model or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 0,
        "governor": _text(_CPU / "cpu0/cpufreq/scaling_governor").strip(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _speed(core: int) -> int:
    """Larger for cores of a faster kind: capacity on ARM, top frequency elsewhere, 0 if all look alike."""
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        text = _text(_CPU / f"cpu{core}/{name}").strip()
        if text.isdigit():
            return int(text)
    return 0


def _busy_ticks(watch_s: float) -> dict[int, int]:
    before = _core_ticks()
    time.sleep(watch_s)
    after = _core_ticks()
    # What the hypervisor takes from a core is lost to us, too: field 7, after user, nice, ... softirq.
    used = [(core, [i for i in (*_WORKING, 7) if i < len(fields)]) for core, fields in after.items() if core in before]
    return {core: sum(after[core][i] - before[core][i] for i in counted) for core, counted in used}


def _computed_ns(process: int) -> int:
    """CPU time of a process and its threads, to a tick; 0 where the system does not tell."""
    # Behind the name, which may hold anything: state is the third field, user and system time the 14th and 15th.
    _, _, fields = _text(f"/proc/{process}/stat").rpartition(")")
    numbers = fields.split()
    return (int(numbers[11]) + int(numbers[12])) * _tick_ns() if len(numbers) > 12 else 0


def _tick_ns() -> int:
    """The unit in which /proc counts CPU time; asked only where there is a /proc."""
    return 10**9 // os.sysconf("SC_CLK_TCK")


def _core_ticks() -> dict[int, list[int]]:
    """Counters of each core in /proc/stat; [7] is stolen time after user, nice, system, idle, iowait, irq, softirq."""
    ticks = {}
    for line in _text("/proc/stat").splitlines():
        if not line.startswith("cpu"):
            break
        name, *fields = line.split()
        if name != "cpu":
            ticks[int(name[3:])] = [int(field) for field in fields]
    return ticks


def _existing(paths: Iterable[Path]) -> tuple[str, ...]:
    return tuple(str(path) for path in paths if os.access(path, os.R_OK))


def _text(path: str | Path) -> str:
    # Twice as fast as a file object, and this runs a dozen times a visit.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        parts = []
        while part := os.read(descriptor, 1 << 16):
            parts.append(part)
        return b"".join(parts).decode("ascii", errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
