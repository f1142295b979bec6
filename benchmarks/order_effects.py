"""Measure how a file's time depends on what ran before it: alone, in rounds among others, after a large or small file.

Four files of 10 microseconds to some milliseconds a runtime, timed on one core by the agent that profiles use: opened
once and run back to back; opened anew for each visit with nothing in between; visited among 5, 40 and 300 others as a
profile does; after a large network each time; after a small block each time. Settings take turns, so that a drift of
the machine is in all of them. Each number is told against the visits among 300.

    python benchmarks/order_effects.py             # two minutes on a quiet machine
    python benchmarks/order_effects.py --turns 2   # a look; nothing is written
"""

from __future__ import annotations

import argparse
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write

from fleetfront.deploy.formats import writer_of
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.cpu.agent import LocalCpuAgent
from fleetfront.profilers.cpu.conditions import choose_cores
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.reading.columns import collect_visits
from fleetfront.profilers.reading.other_programs import find_other_programs
from fleetfront.profilers.reading.rows import without_clock_cost
from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import NS_PER_MS, Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target

RUNTIMES = {"onnxruntime": "onnx", "litert": "tflite"}
#: What every other number is told against: how networks of a profile are visited.
REFERENCE = "among 300"
AMONG = {"among 5": 5, "among 40": 40, REFERENCE: 300}
SETTINGS = ("alone, one opening", "alone, opened anew", "after a large one", "after a small one", *AMONG)
#: Runs of one opening, and visits in a row of the settings that are not rounds.
HOT_RUNS, VISITS = 60, 4


def write_files(cache: FileCache, suffix: str) -> tuple[dict[str, str], list[str]]:
    """SHA-256 of the four files by name, and of 300 others: blocks and, one in ten, networks."""
    space, mini = load_space("ofa-mbv3-w1.0"), load_space("ofa-mbv3-mini")
    rng = np.random.default_rng(0)

    def put(graph: Any) -> str:
        return cache.put(writer_of(suffix)(graph))

    def network(family: Any, genotype: Any) -> str:
        (graph, _), *_ = family.subnet_graphs(genotype).values()
        return put(graph)

    by_work = sorted(mini.vocabulary, key=lambda block: (sum(np.prod(shape) for shape in block.inputs), block.key))
    sizes = space.macs(drawn := space.sample(40, rng))
    files = {
        "small block": put(mini.block_graph(by_work[0])),
        "small network": network(mini, mini.sample(1, rng)[0]),
        "median network": network(space, drawn[np.argsort(sizes)[len(sizes) // 2]]),
        "large network": network(space, drawn[np.argmax(sizes)]),
    }
    blocks = [space.vocabulary[i] for i in rng.choice(len(space.vocabulary), 270, replace=False)]
    others = [put(space.block_graph(block)) for block in blocks]
    others += [network(space, genotype) for genotype in space.sample(30, rng)]
    return files, [sha for sha in dict.fromkeys(others) if sha not in files.values()]


class Bench:
    """Visits files with one agent, and keeps what it told of those that are looked at."""

    def __init__(self, agent: LocalCpuAgent, paths: Mapping[str, str], files: Mapping[str, str]) -> None:
        self._agent, self._paths = agent, paths
        self._names = {sha: name for name, sha in files.items()}
        self.rows: list[Measurement] = []
        #: (setting, file, clock) -> ms, one number a visit.
        self.ms: dict[tuple[str, str, Clock], list[float]] = defaultdict(list)

    def visit(self, setting: str, order: Sequence[str], *, timed_runs: int = 6, told: Sequence[str]) -> None:
        """Visit ``order`` (SHA-256 of files) and keep the least of each visit to a file that is ``told``."""
        visits = tuple(Visit(uuid.uuid4().hex, Role.FILE, sha, sha, 2, timed_runs) for sha in order)
        for rows in self._agent.run(VisitBatch(self._agent.target, "", "order", 0, visits, self._paths)):
            for row in map(without_clock_cost, rows):
                if row.error is not None:
                    raise SystemExit(row.error)
                if row.clock is Clock.WALL:
                    self.rows.append(row)
                if row.key in told:
                    self.ms[setting, self._names[row.key], row.clock].append(min(row.samples) / NS_PER_MS)


def turn(bench: Bench, files: Mapping[str, str], others: Sequence[str], rng: np.random.Generator) -> None:
    """All settings once, in random order."""
    told = list(files.values())
    for setting in rng.permutation(SETTINGS):
        if setting in AMONG:
            for among in rounds_of(others, AMONG[setting], rng):
                order = [*among, *told]
                bench.visit(setting, [order[i] for i in rng.permutation(len(order))], told=told)
            continue
        for sha in told:
            if setting == "alone, one opening":
                bench.visit(setting, [sha], timed_runs=HOT_RUNS, told=[sha])
                continue
            neighbour = {"after a large one": files["large network"], "after a small one": files["small block"]}
            order = [one for _ in range(VISITS) for one in (neighbour.get(setting, sha), sha)]
            # Its own neighbour is the file itself: opened anew with nothing in between.
            bench.visit(setting, order, told=[sha])


def rounds_of(others: Sequence[str], count: int, rng: np.random.Generator) -> Iterator[list[str]]:
    """``VISITS`` rounds of few others, or one of many, which takes as long."""
    for _ in range(VISITS if count < 100 else 1):
        yield [others[i] for i in rng.choice(len(others), min(count, len(others)), replace=False)]


def measure(runtime: str, turns: int, folder: Path) -> dict[str, Any]:
    """Every file under every setting: ms, and percent against visits among 300 with a standard error over turns."""
    cache = FileCache(folder / "files", f".{RUNTIMES[runtime]}")
    files, others = write_files(cache, RUNTIMES[runtime])
    paths = {sha: str(cache.path(sha)) for sha in (*files.values(), *others)}
    rng = np.random.default_rng(1)
    with closing(LocalCpuAgent(Target("cpu", runtime), cores=choose_cores(1))) as agent:
        bench = Bench(agent, paths, files)
        for _ in range(turns):
            turn(bench, files, others, rng)
    rows = []
    for clock in (Clock.THREAD_CPU, Clock.WALL):
        for name in files:
            reference = np.array(bench.ms[REFERENCE, name, clock])
            for setting in SETTINGS:
                ms = np.array(bench.ms[setting, name, clock])
                ratio = np.log(ms / np.median(reference))
                rows.append(
                    {
                        "file": name,
                        "clock": clock.value,
                        "setting": setting,
                        "ms": float(np.median(ms)),
                        "percent": float(100 * np.expm1(np.median(ratio))),
                        # Of a median of normal errors: 1.25 times that of a mean.
                        "standard_error": float(125 * ratio.std(ddof=1) / np.sqrt(ms.size)),
                        "visits": int(ms.size),
                    }
                )
    beside = find_other_programs(collect_visits(bench.rows))
    return {"runtime": runtime, "other_programs": beside and beside.to_json(), "rows": rows}


def show(result: Mapping[str, Any]) -> None:
    """A table: a line a setting, a column a file, thread-CPU clock."""
    rows = [row for row in result["rows"] if row["clock"] == Clock.THREAD_CPU.value]
    names = list(dict.fromkeys(row["file"] for row in rows))
    reference = {row["file"]: row["ms"] for row in rows if row["setting"] == REFERENCE}
    print(f"\n{result['runtime']}: percent against visits among 300 others (beside: {result['other_programs']})")
    print(f"{'':20}" + "".join(f"{name:>22}" for name in names))
    print(f"{REFERENCE + ', ms':20}" + "".join(f"{reference[name]:22.4f}" for name in names))
    for setting in SETTINGS:
        of_setting = {row["file"]: row for row in rows if row["setting"] == setting}
        cells = (f"{of_setting[name]['percent']:+.1f} +- {of_setting[name]['standard_error']:.1f}" for name in names)
        print(f"{setting:20}" + "".join(f"{cell:>22}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=6, help="of every setting; other numbers write nothing")
    options = parser.parse_args()
    began = describe()
    results = []
    for runtime in RUNTIMES:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(runtime, options.turns, Path(folder)))
        show(results[-1])
    if options.turns == parser.get_default("turns"):
        print(write("order_effects", {"turns": options.turns, "reference": REFERENCE, "results": results}, began))


if __name__ == "__main__":
    main()
