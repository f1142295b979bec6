"""Profiling over ADB against Android's own daemon on loopback: faults noticed, overhead, a whole profile, agreement.

The device is this machine behind the daemon of ``tests/adbd`` (root and Debian packages mmdebstrap, adb, gcc needed),
so the same blocks can be measured over ADB and locally, in turn, on the same core.

    python benchmarks/adb.py
    python benchmarks/adb.py --rounds 1 --agreement-blocks 4 --agreement-visits 2    # a minute and a half; not written

Bars: closed peer <= 1 s, silent peer <= 5 s, <= 30 ms a block visit beside its runs, 372 blocks and 20 networks in
3 rounds <= 240 s, medians over ADB and locally within 5 %.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import machine
import numpy as np

from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.link.faults import ConnectionLost
from fleetfront.profilers.adb.open_agent import adb_target, connect, open_adb_agent
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.campaign import Campaign, Limits, begin_campaign
from fleetfront.profilers.cpu.agent import LocalCpuAgent
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.plan import PlanOptions, Task, TaskList
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w10
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "adbd"))
import daemon as adbd

BARS = {"closed_s": 1.0, "silent_s": 5.0, "overhead_ms": 30.0, "profile_s": 240.0, "agreement_percent": 5.0}

RESOLUTIONS = (128, 160, 192, 224)
NETWORKS = 20
CORE = 1


@contextlib.contextmanager
def adb_server(folder: Path) -> Iterator[None]:
    """A real adb server on a port of its own, which every connection below then goes through."""
    before = os.environ.get("ANDROID_ADB_SERVER_PORT")
    port = adbd.free_port()
    process = subprocess.Popen(
        [str(shutil.which("adb")), "-P", str(port), "nodaemon", "server"],
        env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(port)
    try:
        while not adbd.is_listening(port):
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()
        if before is None:
            del os.environ["ANDROID_ADB_SERVER_PORT"]
        else:
            os.environ["ANDROID_ADB_SERVER_PORT"] = before


def noticed_s(device: Any, fault: Callable[[], None], repair: Callable[[], object], trials: int) -> list[float]:
    """Seconds from a fault, in the middle of a command, to the error."""
    seconds = []
    for _ in range(trials):
        connection = connect(f"adb:{device.address}")
        process = connection.start("echo ready; sleep 60")
        connection.wait_for(process)
        begun = time.monotonic()
        fault()
        try:
            connection.wait_for(process)
        except ConnectionLost:
            seconds.append(time.monotonic() - begun)
        connection.close()
        repair()
    return seconds


def faults(device: Any, folder: Path) -> dict[str, Any]:
    def run() -> dict[str, list[float]]:
        return {
            "closed_s": noticed_s(device, device.kill, device.start, 10),
            "silent_s": noticed_s(device, device.pause, device.resume, 5),
        }

    direct = run()
    with adb_server(folder):
        through = run()
    return {"direct": direct, "adb server": through}


def planned(folder: Path, tasks_cache: FileCache) -> TaskList:
    """372 blocks (four resolutions of the once-for-all space of width 1.0) and 20 networks."""
    space = ofa_mbv3_w10()
    chosen = sorted({int(i) for resolution in RESOLUTIONS for i in space.blocks_at(resolution)})
    tasks = []
    for index in chosen:
        block = space.vocabulary[index]
        tasks.append(Task(Role.BLOCK, block.key, tasks_cache.put(write_tflite(space.block_graph(block)))))
    for genotype in space.sample(NETWORKS, np.random.default_rng(0)):
        ((graph, _),) = space.subnet_graphs(genotype).values()
        tasks.append(Task(Role.CALIBRATION, space.arch_id(genotype), tasks_cache.put(write_tflite(graph))))
    blocks = [task for task in tasks if task.role == Role.BLOCK]
    anchor = blocks[len(blocks) // 2]
    return TaskList(tuple(tasks), Task(Role.ANCHOR, anchor.key, anchor.file))


def profile(agent: AdbAgent, tasks: TaskList, cache: FileCache, rounds: int, folder: Path) -> dict[str, Any]:
    """A whole campaign, as ``fleetfront profile`` runs it once the files are written."""
    options = PlanOptions()
    files = {task.file: str(cache.path(task.file)) for task in (*tasks.tasks, tasks.anchor)}
    with closing(Store(folder / f"{uuid.uuid4().hex}.sqlite")) as store:
        begun = time.monotonic()
        row = begin_campaign(store, agent.target, "ofa-mbv3-w1.0", "benchmark", tasks, agent.describe())
        result = Campaign(store, agent, row, options.rounds, files, clock=Clock.WALL).run(Limits(1e9, rounds))
        seconds = time.monotonic() - begun
        rows = [m for m in store.measurements(target=agent.target) if m.clock == Clock.WALL]
    good = [m for m in rows if m.error is None]
    blocks = [m for m in good if m.role in (Role.BLOCK, Role.ANCHOR)]
    mean_run = [statistics.fmean(m.samples) for m in blocks]
    # Warm runs are runs too; the first is told, the others take about as long as the timed ones.
    runs_ns = [
        sum(m.samples) + m.after["first_ns"] + (options.warm_runs - 1) * mean
        for m, mean in zip(blocks, mean_run, strict=True)
    ]
    beside_ms = [(m.after["visit_ns"] - runs) / 1e6 for m, runs in zip(blocks, runs_ns, strict=True)]
    opening_ms = [m.after["open_ns"] / 1e6 for m in blocks]
    return {
        "blocks": sum(task.role == Role.BLOCK for task in tasks.tasks),
        "networks": sum(task.role == Role.CALIBRATION for task in tasks.tasks),
        "rounds": result.rounds,
        "visits": len(rows),
        "errors": len(rows) - len(good),
        "seconds": seconds,
        "overhead_ms": {
            "median": statistics.median(beside_ms),
            "p90": float(np.quantile(beside_ms, 0.9)),
            "mean": statistics.fmean(beside_ms),
            "of_which_opening_the_file_median": statistics.median(opening_ms),
        },
    }


def agreement(agent: AdbAgent, tasks: TaskList, cache: FileCache, count: int, rounds: int) -> dict[str, Any]:
    """The same blocks over ADB and locally, visit by visit in turn on one core."""
    local_target = Target("cpu", "litert")
    blocks = [task for task in tasks.tasks if task.role == Role.BLOCK]
    chosen = [blocks[i] for i in np.linspace(0, len(blocks) - 1, count).astype(int)]
    files = {task.file: str(cache.path(task.file)) for task in chosen}
    ns: dict[tuple[str, Clock, str], list[int]] = defaultdict(list)
    with closing(LocalCpuAgent(local_target, cores=(CORE,))) as local:
        for number in range(rounds):
            for task in chosen:
                visit = Visit(uuid.uuid4().hex, Role.BLOCK, task.key, task.file, 2, 6)
                for name, who, target in (("adb", agent, agent.target), ("local", local, local_target)):
                    batch = VisitBatch(target, "ofa-mbv3-w1.0", "agreement", number, (visit,), files)
                    for rows in who.run(batch):
                        for row in rows:
                            if row.error is None:
                                ns[name, row.clock, task.key].append(min(row.samples))
    result: dict[str, Any] = {"blocks": count, "visits_of_each": rounds}
    for clock in (Clock.THREAD_CPU, Clock.WALL):
        ratios = [
            statistics.median(ns["adb", clock, task.key]) / statistics.median(ns["local", clock, task.key])
            for task in chosen
        ]
        off = [abs(ratio - 1) * 100 for ratio in ratios]
        result[clock.value] = {
            "median_ratio": statistics.median(ratios),
            "median_off_percent": statistics.median(off),
            "p90_off_percent": float(np.quantile(off, 0.9)),
            "within_5_percent": sum(value <= 5 for value in off) / len(off),
        }
    return result


def whole_profiles(device: Any, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Profiles by both ways, then the agreement with a local profile."""
    workspace = Workspace(folder)
    cache = FileCache(workspace.cache / "files", ".tflite")
    tasks = planned(folder, cache)

    def opened() -> AdbAgent:
        name = f"adb:{device.address}"
        return open_adb_agent(
            name, adb_target(name), cores=f"{1 << CORE:x}", workspace=workspace, options=AgentOptions()
        )

    found: dict[str, Any] = {}
    with closing(opened()) as agent:
        found["direct"] = profile(agent, tasks, cache, options.rounds, folder)
        found["agreement"] = agreement(agent, tasks, cache, options.agreement_blocks, options.agreement_visits)
    with adb_server(folder), closing(opened()) as agent:
        found["adb server"] = profile(agent, tasks, cache, options.rounds, folder)
    return found


def show(result: dict[str, Any], rounds: int) -> list[str]:
    """Print a table; the names of the bars that were missed."""
    profiles = {way: result["profile"][way] for way in ("direct", "adb server")}

    def worst(value: Callable[[dict[str, Any]], float]) -> float:
        return max(value(one) for one in profiles.values())

    near = result["profile"]["agreement"][Clock.THREAD_CPU.value]
    fault_ways = result["faults"].values()
    lines = (
        ("closed_s", "closed peer noticed, slowest of 20, s", max(max(way["closed_s"]) for way in fault_ways)),
        ("silent_s", "silent peer noticed, slowest of 10, s", max(max(way["silent_s"]) for way in fault_ways)),
        ("overhead_ms", "beside the runs of a block visit, median, ms", worst(lambda p: p["overhead_ms"]["median"])),
        ("profile_s", f"372 blocks + 20 networks, {rounds} rounds, s", worst(lambda p: p["seconds"])),
        ("agreement_percent", "ADB against local, thread-CPU medians off, median, %", near["median_off_percent"]),
    )
    missed = []
    for name, label, value in lines:
        verdict = "ok" if value <= BARS[name] else "MISSED"
        missed += [name] if verdict == "MISSED" else []
        print(f"{label:<56} {value:9.3f}  <= {BARS[name]:g}  {verdict}")
    for way, one in profiles.items():
        print(f"{way}: {one['seconds']:.0f} s, {one['visits']} visits, {one['errors']} errors, {one['overhead_ms']}")
    print(f"agreement: {result['profile']['agreement']}")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--agreement-blocks", type=int, default=40)
    parser.add_argument("--agreement-visits", type=int, default=7)
    options = parser.parse_args()
    reason = adbd.why_not()
    if reason:
        raise SystemExit(reason)
    begun = machine.describe()
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(adbd.free_port())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        device = adbd.Daemon(adbd.build(), folder / "device").start()
        try:
            result = {"faults": faults(device, folder), "profile": whole_profiles(device, folder, options)}
        finally:
            device.stop()
    missed = show(result, options.rounds)
    if vars(options) != vars(parser.parse_args([])):
        print("not written: only the run with the default options is kept")
        return 1 if missed else 0
    path = machine.write("adb", {"bars": BARS, "missed": missed, **result}, begun)
    print(f"written to {path}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
