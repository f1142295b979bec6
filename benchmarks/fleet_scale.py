"""Measure how long commands take on stores of many samples, and what devices of other hosts cost and lose.

    python benchmarks/fleet_scale.py campaign [--samples 1000000]     one campaign of one device: fit
    python benchmarks/fleet_scale.py store [--samples 10000000]       20 devices: fit of one, devices, open for resume
    python benchmarks/fleet_scale.py ssh                              a CPU through ssh to loopback, and directly
    python benchmarks/fleet_scale.py kills [--kills 100]              8 devices of 3 hosts while processes die
    python benchmarks/fleet_scale.py many                             one command for 8 devices, and 8 commands

Samples are made up (work of blocks and networks, lognormal noise, conditions as the agent of a CPU writes them); the
store, its rows and the commands are real, each run in a process of its own as a user does. Times are wall seconds and
CPU seconds of that process, its start included; memory is its largest resident set. Each run writes its own part of
``results/fleet_scale.json``, and the store is deleted.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import machine
import numpy as np

from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target

ROOT = Path(__file__).resolve().parents[1]
SPACE = "ofa-mbv3-w1.2"
CALIBRATION, VALIDATION, ANCHOR_EVERY = 20, 50, 8
DEVICES = 20
#: Timed runs of a visit: as profiles make them, and of the large store, which is to stay below a gigabyte.
RUNS, RUNS_OF_MANY = 6, 12
BARS = {
    "campaign": {"fit_s": 3.0},
    "store": {"fit_s": 3.0, "devices_s": 1.0, "resume_s": 0.5, "bytes_a_sample": 60},
    "ssh": {"median_off_percent": 1.0, "overhead_a_visit_ms": 20.0},
    "kills": {"lost": 0, "doubled": 0},
    "many": {},
}
NS = 1_700_000_000_000_000_000
#: Opens a campaign as a profile that goes on does: the campaigns of its target, the newest round, what of it is done.
RESUME = """
import sys, time
from pathlib import Path
from fleetfront.profilers.store.store import Store
from fleetfront.targets import Target
begun = time.perf_counter()
with Store(Path(sys.argv[1])) as store:
    row = store.campaigns(target=Target.parse(sys.argv[2]), space=sys.argv[3])[0]
    done = store.uuids(row.id, max(0, store.last_round(row.id)))
print(time.perf_counter() - begun, len(done), row.seconds)
"""


class Device:
    """The things of a campaign and what each visit of them takes."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        space = load_space(SPACE)
        blocks = space.vocabulary
        block_ms = 0.01 + space.block_macs(blocks) / 2e7 * rng.lognormal(0, 0.2, len(blocks))  # type: ignore[attr-defined]
        networks = space.sample(CALIBRATION + VALIDATION, rng)
        whole_ms = 1.1 * space.additive(block_ms)(networks) + 0.2  # type: ignore[attr-defined]
        archs = space.arch_ids(networks)
        self.roles = [Role.BLOCK] * len(blocks) + [Role.CALIBRATION] * CALIBRATION + [Role.VALIDATION] * VALIDATION
        self.keys = [block.key for block in blocks] + list(archs)
        self.ms = np.concatenate([block_ms, whole_ms])
        self.anchor = int(np.argsort(block_ms)[len(block_ms) // 2])


def fill(path: Path, devices: int, samples: int, runs: int) -> dict[str, int]:
    """Write a store of so many samples, half under each clock; the last session of each campaign was killed."""
    with Store(path):
        pass
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    visits = samples // devices // runs // 2
    written = 0
    for number in range(devices):
        written += _fill_campaign(path, connection, number, visits, runs)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return {"samples": written, "bytes": sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))}


def target_of(number: int) -> Target:
    return Target(f"board_{number:02d}", "onnxruntime")


def _fill_campaign(path: Path, connection: sqlite3.Connection, number: int, visits: int, runs: int) -> int:
    device, target, campaign = Device(number), target_of(number), f"{number:012x}-1"
    tasks = {role.value: [[key, "0" * 64] for key, of in zip(device.keys, device.roles, strict=True) if of is role]
             for role in (Role.BLOCK, Role.CALIBRATION, Role.VALIDATION)}  # fmt: skip
    plan = {"anchor": [device.keys[device.anchor], "0" * 64], "tasks": tasks}
    with Store(path) as store:
        store.add_campaign(campaign, target, SPACE, campaign, plan, {"cpu": "made up", "cores": 2})
        store.begin_session(campaign, NS)
    connection.execute("BEGIN")
    series = _add_series(connection, str(target), device)
    rows = _rows(device, series, number, campaign, visits, runs)
    while piece := list(islice(rows, 20_000)):
        (visit,) = connection.execute("SELECT coalesce(max(id), 0) FROM visits").fetchone()
        told = dict.fromkeys(row[-2:] for row in piece)
        numbers = {conditions: visit + place for place, conditions in enumerate(told, 1)}
        connection.executemany("INSERT INTO visits VALUES (?, ?, ?)", ((numbers[two], *two) for two in told))
        connection.executemany(
            "INSERT INTO measurements (uuid, series, campaign, round, started_ns, samples, visit)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((*row[:-2], numbers[row[-2:]]) for row in piece),
        )
    connection.execute("COMMIT")
    return 2 * visits * runs


def _add_series(connection: sqlite3.Connection, target: str, device: Device) -> dict[tuple[int, bool], list[int]]:
    """(thing, whether it is the anchor) -> its series under both clocks."""
    insert = "INSERT INTO series (target, space, role, key, metric, unit, clock) VALUES (?, ?, ?, ?, ?, ?, ?)"
    found = {}
    for thing, is_anchor in [*((i, False) for i in range(len(device.keys))), (device.anchor, True)]:
        role = Role.ANCHOR if is_anchor else device.roles[thing]
        cells = (target, SPACE, role.value, device.keys[thing], "latency", "ns")
        found[thing, is_anchor] = [
            int(connection.execute(insert, (*cells, clock.value)).lastrowid or 0)
            for clock in (Clock.THREAD_CPU, Clock.WALL)
        ]
    return found


def _rows(
    device: Device, series: dict[tuple[int, bool], list[int]], number: int, campaign: str, visits: int, runs: int
) -> Iterator[tuple[Any, ...]]:
    """Two rows a visit, in the order taken, rounds in random order with the anchor among them."""
    rng, at, when = np.random.default_rng(number), 0, NS
    for round_ in range(visits):
        order = rng.permutation(len(device.keys)).tolist()
        for start in range(0, len(order), ANCHOR_EVERY):
            order[start + start // ANCHOR_EVERY : start + start // ANCHOR_EVERY] = [-1]
        ms = device.ms[[device.anchor if thing < 0 else thing for thing in order]]
        walls = (1e6 * ms[:, None] * rng.lognormal(0.02, 0.02, (len(order), runs))).astype("<i8")
        for thing, wall in zip(order[: visits - at], walls, strict=False):
            visit_ns = int(2 * wall.sum()) + 5_000_000
            told = (
                f'"load_1m":0.54,"online_cores":2,"others_ns":{when // 50},"resident_bytes":83700000,'
                f'"stolen_ticks":3648,"suspended_ns":-732,'
            )
            before = f'{{"clock_ns":{when},"cores":[1],{told}"waited_ns":{at * 400_000}}}'
            cost = '"clock_cost_ns":{"thread-cpu":1072,"wall":120}'
            after = f'{{{cost},"clock_ns":{when},{told}"visit_ns":{visit_ns},"waited_ns":{(at + 1) * 400_000}}}'
            places = series[(device.anchor, True) if thing < 0 else (thing, False)]
            for place, values in zip(places, (wall - wall // 100, wall), strict=True):
                data = values.tobytes()
                blob = data + zlib.crc32(data).to_bytes(4, "little")
                yield f"{place:016x}{when:016x}", place, campaign, round_, when, blob, before, after
            when, at = when + visit_ns, at + 1
        if at >= visits:
            return


def run(home: Path, *command: str) -> dict[str, float]:
    """Seconds, CPU seconds and megabytes of one command in a process of its own."""
    begun = time.perf_counter()
    environment = os.environ | {"FLEETFRONT_HOME": str(home)}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    cpu = used.ru_utime + used.ru_stime
    return {"s": round(seconds, 2), "cpu_s": round(cpu, 2), "most_mb": round(used.ru_maxrss / 1024, 1)}


def resume(store: Path, target: Target) -> float:
    """Seconds that opening a store and finding where its campaign stands take, imports left out."""
    command = [sys.executable, "-c", RESUME, str(store), str(target), SPACE]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return round(float(told[0]), 3)


def measure(part: str, samples: int) -> dict[str, Any]:
    """Make the store of a part, run its commands on it, delete it."""
    devices, runs = (1, RUNS) if part == "campaign" else (DEVICES, RUNS_OF_MANY)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        begun = time.perf_counter()
        made = fill(home / "store.sqlite", devices, samples, runs)
        print(
            f"wrote {made['samples']:,} samples, {made['bytes'] / 1e6:.0f} MB, in {time.perf_counter() - begun:.0f} s"
        )
        program = [sys.executable, "-m", "fleetfront"]
        target = target_of(devices // 2)
        device = ["--device", target.device, "--runtime", target.runtime, "--space", SPACE]
        found: dict[str, Any] = {"boards": devices, "runs_a_visit": runs, **made}
        found["bytes_a_sample"] = round(made["bytes"] / made["samples"], 1)
        found["start"] = run(home, *program, "--version")
        found["devices"] = run(home, *program, "devices", "--known", "--json")
        found["fit"] = run(home, *program, "fit", *device, "--json")
        found["resume_s"] = resume(home / "store.sqlite", target)
    return found


def kill(kills: int) -> dict[str, Any]:
    """Measure six simulated devices and two of Android's own daemons behind three hosts while processes are killed."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "adbd")]
    import daemon as adbd
    import fleet_kills

    from fleetfront.deploy.writers.tflite.writer import write_tflite
    from fleetfront.graphs.graph import GraphBuilder
    from tests.far_hosts.fixtures import install_simulated

    if reason := adbd.why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install_simulated(folder / "site")
        os.environ.update(fleet_kills.environment(folder, folder / "site"))
        os.environ["ANDROID_ADB_SERVER_PORT"] = str(adbd.free_port())
        sys.path.insert(0, str(folder / "site"))
        builder = GraphBuilder("sum")
        one = builder.input("x", (1, 64))
        model = folder / "sum.tflite"
        model.write_bytes(write_tflite(builder.build([builder.add("add", [one, one], "sum")])))
        root = adbd.build()
        phones = [adbd.Daemon(root, folder / f"phone{number}").start() for number in range(2)]
        try:
            devices = [f"ssh:host{number}/adb:{phone.address}" for number, phone in enumerate(phones)]
            devices += [f"ssh:host{number % 3}/simulated:{number}" for number in range(6)]
            experiment = fleet_kills.Experiment(folder, tuple(devices), (model,), rounds=50, kills=kills)
            return fleet_kills.as_json(experiment, fleet_kills.run(experiment))
        finally:
            for phone in phones:
                phone.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=tuple(BARS))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--kills", type=int, default=100)
    arguments = parser.parse_args()
    begun = machine.describe()
    if arguments.part == "ssh":
        from fleet_links import compare

        found = compare()
    elif arguments.part == "many":
        from fleet_many import compare as compare_commands

        found = compare_commands()
    elif arguments.part == "kills":
        found = kill(arguments.kills)
    else:
        found = measure(arguments.part, arguments.samples or {"campaign": 10**6, "store": 10**7}[arguments.part])
    found |= {"bars": BARS[arguments.part]}
    for name, value in found.items():
        print(name, value)
    path = machine.RESULTS / "fleet_scale.json"
    kept = json.loads(path.read_text()).get("parts", {}) if path.is_file() else {}
    kept[arguments.part] = found | {"machine": begun}
    print(machine.write("fleet_scale", {"parts": kept}, begun))


if __name__ == "__main__":
    main()
