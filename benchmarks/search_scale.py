"""Measure how search grows with devices, and how long an archive takes to get the costs of new devices.

    python benchmarks/search_scale.py targets [--count 1000]        20,000 evaluations of ofa-mbv3-w1.2
    python benchmarks/search_scale.py recost [--count 1000000]      archived networks, costs of 30 devices

Synthetic devices are the shipped estimates with each block's cost changed by a lognormal factor of their own (0.3), so
that no two order networks alike; the 30 devices of an archive are the shipped estimates and the public Note 10 tables.
Each run is a process of its own: seconds of the call (models made before), its largest resident set, and exponents
against the next smaller count in ``results/search_scale.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

# Small matrix products: more threads only wait for each other. Must be set before numpy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import machine
import numpy as np
from note10 import default_data

from fleetfront.pipelines.importing.importers import import_ofa_lut
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.predictors.base import BlockCosts, covers_all
from fleetfront.predictors.table.calibrated import block_sum
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import LATENCY, Estimate, FloatArray, Metric, Tier
from fleetfront.search.archive import Archive
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.workspace import Workspace

SPACE, EVALUATIONS, DEVICES = "ofa-mbv3-w1.2", 20_000, 30
BARS = {"targets": {"s": 120.0, "most_mb": 2000}, "recost": {"s": 30.0, "most_mb": 2000}}
DEFAULT = {"targets": 1000, "recost": 10**6}


class Synthetic:
    """The sum of blocks that cost what they cost nowhere."""

    metric: Metric = LATENCY
    tier: Tier = Tier.ESTIMATED

    def __init__(self, space: SearchSpace, values: FloatArray) -> None:
        self._values, self._sum = values, block_sum(space, values)

    def predict(self, genotypes: Genotypes) -> Estimate:
        mean = self._sum(genotypes)
        return Estimate(mean, 0.1 * mean, self.tier)

    def block_values(self) -> FloatArray:
        return self._values

    def block_origins(self) -> tuple[str, ...]:
        return ("modelled",) * len(self._values)

    covers = staticmethod(covers_all)


def known_devices(space: SearchSpace, folder: Path) -> list[ProblemTarget]:
    workspace = Workspace(folder)
    with Store(workspace.store) as store:
        import_ofa_lut(default_data() / "ofa_mbv3" / "note10_lut_w12", "note10", store)
    found = device_models(["all"], space, workspace=workspace, store=workspace.store)
    return [ProblemTarget(device.name, device.model, str(device.target)) for device in found]


def search_for(count: int, folder: Path) -> dict[str, Any]:
    space = load_space(SPACE)
    tables = [one.cost.block_values() for one in known_devices(space, folder) if isinstance(one.cost, BlockCosts)]
    rng = np.random.default_rng(0)
    made = [tables[i % len(tables)] * rng.lognormal(0, 0.3, len(space.vocabulary)) for i in range(count)]
    targets = [ProblemTarget(f"device_{i:04d}", Synthetic(space, values)) for i, values in enumerate(made)]
    accuracy = load_accuracy("built-in", space)
    begun, cpu = time.perf_counter(), time.process_time()
    fronts = search_space(space, targets, accuracy, SearchOptions(evaluations=EVALUATIONS), out=folder / "fronts")
    spent = {"s": round(time.perf_counter() - begun, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    points = sum(len(device.points) for device in fronts.devices)
    size = sum(file.stat().st_size for file in (folder / "fronts").iterdir())
    return spent | {"evaluations": fronts.evaluations, "points": points, "written_mb": round(size / 1e6, 1)}


def recost(count: int, folder: Path) -> dict[str, Any]:
    space = load_space(SPACE)
    targets = known_devices(space, folder)[:DEVICES]
    rng, accuracy = np.random.default_rng(0), load_accuracy("built-in", space)
    archive = Archive(len(space.choices), ["elsewhere"])
    while len(archive) < count:
        rows = archive.unknown(space.sample(min(100_000, count - len(archive)), rng))
        known = accuracy.predict(rows)
        archive.add(rows, known.mean, known.std, np.ones((len(rows), 1)))
    problem = Problem(space, tuple(targets), accuracy, budget=1)
    begun, cpu = time.perf_counter(), time.process_time()
    problem.adopt(archive)
    points = sum(len(problem.front(column)) for column in range(len(targets)))
    spent = {"s": round(time.perf_counter() - begun, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    return spent | {"devices": len(targets), "adopted": problem.counter.adopted, "points": points}


def exponents(parts: dict[str, Any]) -> dict[str, Any]:
    """Power of the count by which CPU seconds and memory grew from each count to the next."""
    found: dict[str, Any] = {}
    for part in BARS:
        sizes = sorted((one["count"], one) for one in parts.values() if one["part"] == part)
        for (less, before), (more, after) in pairwise(sizes):
            grew = {what: math.log(after[what] / before[what]) / math.log(more / less) for what in ("cpu_s", "most_mb")}
            found[f"{part} {less} to {more}"] = {what: round(power, 2) for what, power in grew.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=tuple(BARS))
    parser.add_argument("--count", type=int)
    arguments = parser.parse_args()
    begun, count = machine.describe(), arguments.count or DEFAULT[arguments.part]
    with tempfile.TemporaryDirectory() as folder:
        measure = search_for if arguments.part == "targets" else recost
        found = {"part": arguments.part, "count": count, **measure(count, Path(folder))}
    found["most_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(found, BARS[arguments.part])
    path = machine.RESULTS / "search_scale.json"
    parts = json.loads(path.read_text()).get("parts", {}) if path.is_file() else {}
    parts[f"{arguments.part}_{count}"] = found | {"bars": BARS[arguments.part], "machine": begun}
    print(machine.write("search_scale", {"growth_exponents": exponents(parts), "parts": parts}, begun))


if __name__ == "__main__":
    main()
