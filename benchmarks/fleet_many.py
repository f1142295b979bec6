"""Profile a space on several simulated devices by one command, and by a command for each: what starting costs.

Hosts are workspaces of this machine behind a pipe in ssh's place. Run by ``fleet_scale.py many``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fleet_kills import environment

from fleetfront.errors import FleetfrontError
from fleetfront.profilers.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
SPACE, BUDGET = "ofa-mbv3-mini", "40s"
SMALL = ("--calibration", "5", "--validation", "5", "--no-fit", "-q")
#: Between two looks at the processes and at the store.
LOOK_S = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")


def compare(devices: int = 8) -> dict[str, Any]:
    """Both ways, one after the other, each with a store, a cache of files and hosts of its own."""
    names = [f"ssh:host{number}/simulated:{number}" for number in range(devices)]
    return {
        "devices": devices,
        "one_command": _measured([names]),
        "a_command_each": _measured([[name] for name in names]),
    }


def _measured(commands: Sequence[Sequence[str]]) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT))
    from tests.far_hosts.fixtures import install_simulated

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install_simulated(folder / "site")
        environ = {**os.environ, **environment(folder, folder / "site")}
        begun = time.monotonic()
        command = [sys.executable, "-m", "fleetfront", "profile", "--space", SPACE, "--budget", BUDGET, *SMALL]
        with (folder / "said").open("wb") as said:
            processes = [
                subprocess.Popen([*command, "--devices", ",".join(names)], env=environ, stdout=said, stderr=said)
                for names in commands
            ]
        store, wanted = folder / "home" / "store.sqlite", sum(map(len, commands))
        all_began_s, most_pss, cpu_s = None, 0, dict.fromkeys((one.pid for one in processes), 0.0)
        while any(one.poll() is None for one in processes):
            time.sleep(LOOK_S)
            living = [one.pid for one in processes if one.poll() is None]
            with contextlib.suppress(OSError, IndexError):
                most_pss = max(most_pss, sum(map(_pss, living)))
                cpu_s |= {pid: _cpu_s(pid) for pid in living}
            if all_began_s is None and _measured_devices(store) == wanted:
                all_began_s = time.monotonic() - begun
        if failed := [one.returncode for one in processes if one.returncode]:
            sys.exit(f"commands ended with {failed}: {(folder / 'said').read_text()}")
        return {
            "s": round(time.monotonic() - begun, 1),
            "until_all_are_measured_s": all_began_s and round(all_began_s, 1),
            "controllers_cpu_s": round(sum(cpu_s.values()), 1),
            "controllers_most_mb": round(most_pss / 1e6),
            "rows": _rows(store),
        }


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _measured_devices(path: Path) -> int:
    try:
        with Store(path, read_only=True) as store:
            return len({held.target.device for held in store.holdings()})
    except FleetfrontError:
        return 0


def _rows(path: Path) -> int:
    with Store(path, read_only=True) as store:
        return sum(1 for _ in store.measurements())
