"""Measure how long commands take on stores of many samples, what a sample takes on the disk, and how both grow.

    python benchmarks/store_scale.py campaign                          10^6 samples of one campaign: fit
    python benchmarks/store_scale.py store [--samples 10000000]        20 devices: fit of one, devices, open for resume

Filling a store takes minutes: with ``--home FOLDER`` it is kept, and an interrupted run goes on with the next device.

Samples are made up (work of blocks and networks, lognormal noise, conditions as the agent of a CPU writes them), six
runs a visit as profiles make them, and go through ``Store.append``, as a campaign's do, a round at a time; the commands
run each in a process of its own. Times are wall seconds and CPU seconds of that process, its start included; memory is
its largest resident set. Each run writes its own part of ``results/store_scale.json``, growth with it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import machine
import numpy as np

from fleetfront.profilers.records import Measurement, Role, measurement_uuid
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target

SPACE = "ofa-mbv3-w1.2"
CALIBRATION, VALIDATION, ANCHOR_EVERY = 20, 50, 8
DEVICES, RUNS = 20, 6
BARS = {
    "campaign": {"fit_s": 3.0},
    "store": {"fit_s": 3.0, "devices_s": 1.0, "resume_s": 0.5, "bytes_a_sample": 60},
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


def fill(path: Path, devices: int, samples: int) -> dict[str, int]:
    """Write a store of so many samples, half under each clock; the last session of each campaign was killed."""
    visits = samples // devices // RUNS // 2
    with Store(path) as store:
        for number in range(devices):
            target = target_of(number)
            if sum(held.visits for held in store.holdings(target)) == 2 * visits:
                continue
            device, campaign = Device(number), f"{number:012x}-1"
            tasks: dict[str, list[list[str]]] = {}
            for key, role in zip(device.keys, device.roles, strict=True):
                tasks.setdefault(role.value, []).append([key, "0" * 64])
            plan = {"anchor": [device.keys[device.anchor], "0" * 64], "tasks": tasks}
            store.add_campaign(campaign, target, SPACE, campaign, plan, {"cpu": "made up", "cores": 2})
            store.begin_session(campaign, NS)
            for rows in _rounds(device, target, number, campaign, visits):
                store.append(rows)
    return {
        "samples": 2 * RUNS * visits * devices,
        "bytes": sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")),
    }


def target_of(number: int) -> Target:
    return Target(f"board_{number:02d}", "onnxruntime")


def _rounds(device: Device, target: Target, number: int, campaign: str, visits: int) -> Iterator[Iterator[Measurement]]:
    """The rows of one round after the other, which is in random order with the anchor among its things."""
    rng, at, when = np.random.default_rng(number), 0, NS
    round_ = 0
    while at < visits:
        order = rng.permutation(len(device.keys)).tolist()
        for start in range(0, len(order), ANCHOR_EVERY):
            order[start + start // ANCHOR_EVERY : start + start // ANCHOR_EVERY] = [-1]
        order = order[: visits - at]
        ms = device.ms[[device.anchor if thing < 0 else thing for thing in order]]
        walls = (1e6 * ms[:, None] * rng.lognormal(0.02, 0.02, (len(order), RUNS))).astype(np.int64)
        begun = when + np.concatenate([[0], np.cumsum(2 * walls.sum(axis=1) + 5_000_000)])
        yield _rows(device, target, campaign, round_, order, walls, begun.tolist(), at)
        when, at, round_ = int(begun[-1]), at + len(order), round_ + 1


def _rows(
    device: Device,
    target: Target,
    campaign: str,
    round_: int,
    order: list[int],
    walls: np.ndarray[Any, np.dtype[np.int64]],
    begun: list[int],
    at: int,
) -> Iterator[Measurement]:
    """Two rows a visit, with conditions that change as much from visit to visit as those of a real CPU did."""
    cost = {"thread-cpu": 1072, "wall": 120}
    noise = np.random.default_rng(at).integers(0, 10**7, (len(order), 2)).tolist()
    for place, (thing, wall, (jitter, other)) in enumerate(zip(order, walls, noise, strict=True)):
        when, ended, waited = begun[place], begun[place + 1], 608_423 + (at + place) * 11_368
        told = {
            "load_1m": 0.5 + (at + place) // 40 % 90 / 100,
            "online_cores": 2,
            "resident_bytes": 82_223_104 + 4096 * ((at + place) // 7),
            "stolen_ticks": 9831 + (at + place) // 60,
        }
        others, waited_after = when // 50 + other, waited + 11_368
        before = {
            "clock_ns": when + jitter,
            "cores": [1],
            **told,
            "others_ns": others,
            "suspended_ns": -190 - jitter % 97,
            "waited_ns": waited,
        }
        after = {
            "clock_cost_ns": cost,
            "clock_ns": when + jitter + 80,
            **told,
            "others_ns": others + jitter,
            "suspended_ns": -190 - other % 97,
            "visit_ns": ended - when,
            "waited_ns": waited_after,
        }
        role, key = (
            (Role.ANCHOR, device.keys[device.anchor]) if thing < 0 else (device.roles[thing], device.keys[thing])
        )
        visit = f"{campaign}/{round_}/{place}"
        for clock, values in ((Clock.THREAD_CPU, wall - wall // 100), (Clock.WALL, wall)):
            yield Measurement(
                target, SPACE, role, key, clock, tuple(values.tolist()), campaign, round_, when,
                before=before, after=after, uuid=measurement_uuid(visit, clock),
            )  # fmt: skip


def run(home: Path, *command: str) -> dict[str, float]:
    """Seconds, CPU seconds and megabytes of one command in a process of its own."""
    begun = time.perf_counter()
    environment = os.environ | {"FLEETFRONT_HOME": str(home)}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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


def measure(devices: int, samples: int, kept: Path | None) -> dict[str, Any]:
    """Make a store, or go on with the one that is kept, and run commands on it."""
    with tempfile.TemporaryDirectory() as folder:
        home = kept or Path(folder) / "home"
        home.mkdir(exist_ok=True)
        begun = time.perf_counter()
        found: dict[str, Any] = {
            "boards": devices,
            "runs_a_visit": RUNS,
            **fill(home / "store.sqlite", devices, samples),
        }
        print(f"filled in {time.perf_counter() - begun:.0f} s")
        found["bytes_a_sample"] = round(found["bytes"] / found["samples"], 1)
        print(found, flush=True)
        program = [sys.executable, "-m", "fleetfront"]
        target = target_of(devices // 2)
        device = ["--device", target.device, "--runtime", target.runtime, "--space", SPACE]
        found["start"] = run(home, *program, "--version")
        found["devices"] = run(home, *program, "devices", "--known", "--json")
        found["fit"] = run(home, *program, "fit", *device, "--json")
        found["resume_s"] = resume(home / "store.sqlite", target)
        found["info"] = run(home, *program, "store", "info", "--json")
        found["export_one_csv"] = run(
            home, *program, "export", "store", "--device", target.device, "--out", f"{folder}/rows.csv.gz"
        )
    return found


def exponents(parts: dict[str, Any]) -> dict[str, Any]:
    """Power of the number of samples by which seconds and memory grew from a tenth to each size."""
    sizes = sorted((part["samples"], part) for name, part in parts.items() if name.startswith("store"))
    found = {}
    for (less, before), (more, after) in pairwise(sizes):
        power = {}
        for name in ("devices", "fit", "info"):
            for what in ("cpu_s", "most_mb"):
                power[f"{name}_{what}"] = round(
                    math.log(after[name][what] / before[name][what]) / math.log(more / less), 2
                )
        found[f"{less:.0e} to {more:.0e}"] = power | {
            "bytes": round(math.log(after["bytes"] / before["bytes"]) / math.log(more / less), 2)
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=tuple(BARS))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    begun = machine.describe()
    path = machine.RESULTS / "store_scale.json"
    parts = json.loads(path.read_text()).get("parts", {}) if path.is_file() else {}
    samples = arguments.samples or {"campaign": 10**6, "store": 10**7}[arguments.part]
    found = measure(1 if arguments.part == "campaign" else DEVICES, samples, arguments.home)
    for name, value in found.items():
        print(name, value)
    parts[f"{arguments.part}_{samples}"] = found | {"bars": BARS[arguments.part], "machine": begun}
    print(machine.write("store_scale", {"growth_exponents": exponents(parts), "parts": parts}, begun))


if __name__ == "__main__":
    main()
