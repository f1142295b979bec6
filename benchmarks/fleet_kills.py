"""Kill agents, links and controllers at random while devices of several hosts are measured, and count rows afterwards.

Hosts are workspaces of this machine behind a pipe in ssh's place. Each device has a controller, a process of this
program that goes on with its campaign in the store that all share; a supervisor starts it again whenever it ends
before its work is done, as a user who repeats the command. Run by ``fleet_scale.py kills`` and, smaller, by a test.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetfront.errors import FleetfrontError
from fleetfront.profilers.campaign import Campaign, Limits, begin_campaign, find_unfinished
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import kind_of, open_device
from fleetfront.profilers.plan import RoundOptions, Task, TaskList
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.testing.pipe_ssh import HOSTS, LINKS
from fleetfront.testing.simulated_kind import TrueLatencies

SPACE = "kills"
UNLIMITED_S = 1e9
#: Seconds between two kills, at most; drawn evenly.
LONGEST_PEACE_S = 0.7
KINDS = ("agent", "link", "controller")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Who is measured, for how long, and how often somebody dies.

    Attributes:
        folder: of the store, the workspaces and the files.
        devices: names as users type them.
        models: files that are measured, several keys each.
        keys, rounds: visits of a device are their product.
        kills: processes to kill while there are devices at work.
        seed: of the draws.
    """

    folder: Path
    devices: tuple[str, ...]
    models: tuple[Path, ...]
    keys: int = 40
    rounds: int = 20
    kills: int = 100
    seed: int = 0

    @property
    def store(self) -> Path:
        return self.folder / "store.sqlite"


@dataclass(slots=True)
class Outcome:
    """How often what was killed, how often a device was set aside, and how controllers ended."""

    kills: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    exit_codes: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def measure(store_path: Path, device: str, models: Sequence[Path], keys: int, rounds: int) -> None:
    """Be a controller: begin or go on with the campaign of a device. Raises what campaigns raise."""
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in models]
    tasks = TaskList(tuple(Task(Role.BLOCK, f"key{n:03d}", hashes[n % len(hashes)]) for n in range(keys)))
    files = dict(zip(hashes, map(str, models), strict=True))
    target = kind_of(device).target(device)
    with Store(store_path) as store, closing(open_device(target, Choices(device=device))) as agent:
        identity = hashlib.sha256(str(target).encode()).hexdigest()
        row = find_unfinished(store, target, SPACE, identity, UNLIMITED_S)
        row = row or begin_campaign(store, target, SPACE, identity, tasks, agent.describe())
        options = RoundOptions(warm_runs=1, timed_runs=3)
        Campaign(store, agent, row, options, files, clock=Clock.WALL).run(Limits(UNLIMITED_S, rounds))


def run(experiment: Experiment) -> Outcome:
    """Let controllers work and kill processes until all devices are done."""
    draw = random.Random(experiment.seed)
    outcome, begun = Outcome(), time.monotonic()
    working = {device: _started(experiment, device) for device in experiment.devices}
    outcome.commands = len(working)
    next_kill = begun + 2.0
    try:
        while working:
            for device, process in list(working.items()):
                code = process.poll()
                if code is None:
                    continue
                outcome.exit_codes[code] += 1
                if code == 0:
                    del working[device]
                    continue
                if code not in (3, -signal.SIGKILL):
                    raise RuntimeError(f"the controller of {device} ended with {code}")
                working[device] = _started(experiment, device)
                outcome.commands += 1
            if time.monotonic() >= next_kill and sum(outcome.kills.values()) < experiment.kills:
                if victim := _victim(experiment, working, draw):
                    outcome.kills[victim] += 1
                next_kill = time.monotonic() + draw.uniform(0.0, LONGEST_PEACE_S)
            time.sleep(0.02)
    finally:
        for process in working.values():
            process.kill()
            process.wait()
    outcome.seconds = time.monotonic() - begun
    return outcome


def count_rows(experiment: Experiment) -> dict[str, int]:
    """Rows in the store against those that must be there: one a visit and clock, of the device's true time."""
    found = dict.fromkeys(("expected", "rows", "lost", "doubled", "failed", "wrong", "campaigns"), 0)
    with Store(experiment.store, read_only=True) as store:
        for device in experiment.devices:
            target = kind_of(device).target(device)
            campaigns = list(store.campaigns(target=target, space=SPACE))
            found["campaigns"] += len(campaigns)
            rows = list(store.measurements(target=target, space=SPACE))
            counts = Counter((row.campaign, row.round, row.key, row.clock) for row in rows)
            clocks = {row.clock for row in rows if row.error is None}
            expected = experiment.keys * experiment.rounds * len(clocks)
            found["expected"] += expected
            found["rows"] += len(rows)
            found["lost"] += expected - len(counts)
            found["doubled"] += sum(count - 1 for count in counts.values())
            found["failed"] += sum(row.error is not None for row in rows)
            inner = device.partition("/")[2]
            if inner.startswith("simulated:"):
                true = TrueLatencies(inner)
                found["wrong"] += sum(set(row.samples) != {round(true[row.key] * 1e6)} for row in rows)
    return found


def environment(folder: Path, site: Path) -> dict[str, str]:
    """What processes need for the pipe in ssh's place, and for simulated devices, which ``site`` offers."""
    path = os.pathsep.join([str(site), *(entry for entry in sys.path if entry)])
    return {
        "PYTHONPATH": path,
        "FLEETFRONT_HOME": str(folder / "home"),
        "FLEETFRONT_SSH": f"{sys.executable} -m fleetfront.testing.pipe_ssh",
        "FLEETFRONT_AGENT": f"{sys.executable} -m fleetfront agent --stdio",
        HOSTS: str(folder / "hosts"),
    }


def _started(experiment: Experiment, device: str) -> subprocess.Popen[bytes]:
    words = (experiment.store, device, experiment.keys, experiment.rounds, *experiment.models)
    with (experiment.folder / "controllers.log").open("ab") as log:
        return subprocess.Popen([sys.executable, __file__, *map(str, words)], stdin=subprocess.DEVNULL, stderr=log)


def _victim(experiment: Experiment, working: Mapping[str, subprocess.Popen[bytes]], draw: random.Random) -> str | None:
    """Kill a process of a kind drawn at random; its kind, None if none of that kind lives."""
    kind = draw.choice(KINDS)
    links = list(_links(experiment))
    alive = {
        "controller": [one.pid for one in working.values() if one.poll() is None],
        "link": [link for link, _ in links],
        "agent": [agent for _, agent in links],
    }[kind]
    if not alive:
        return None
    try:
        os.kill(draw.choice(sorted(alive)), signal.SIGKILL)
    except ProcessLookupError:
        return None
    return kind


def _links(experiment: Experiment) -> Iterator[tuple[int, int]]:
    """Living links and the agents behind them."""
    for path in (experiment.folder / "hosts").glob(f"*/{LINKS}/*"):
        try:
            link, agent = int(path.name), int(path.read_text() or 0)
        except (FileNotFoundError, ValueError):
            continue
        if agent and _is_alive(link) and _is_alive(agent):
            yield link, agent
        elif not _is_alive(link):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def as_json(experiment: Experiment, outcome: Outcome) -> dict[str, Any]:
    """Plain values for ``results``."""
    return {
        "devices": list(experiment.devices),
        "visits_a_device": experiment.keys * experiment.rounds,
        "kills": dict(outcome.kills),
        "commands": outcome.commands,
        "set_aside": outcome.exit_codes[3],
        "seconds": round(outcome.seconds, 1),
        **count_rows(experiment),
    }


def main() -> int:
    """Be the controller of one device."""
    store, device, keys, rounds, *models = sys.argv[1:]
    try:
        measure(Path(store), device, [Path(model) for model in models], int(keys), int(rounds))
    except FleetfrontError as error:
        print(f"{device}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
