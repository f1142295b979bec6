"""Fronts of ofa-mbv3-w1.2 for every device of which anything is known, in one run: how long, and how good.

    python benchmarks/fleet.py [--seeds 5] [--evaluations 20000]

Devices: the shipped estimates of 30 settings (all 19 of the literature among them) and the public Note 10 tables,
imported first. Seconds are those of the whole call: making the latency models, searching, writing fronts.json. The
true fronts are not known, so hypervolume shares and recall are against the fronts of all runs together.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

# Small matrix products: more threads only wait for each other. Must be set before numpy is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import describe, write
from note10 import default_data

from fleetfront.pipelines.importing.importers import import_ofa_lut
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.profilers.store.store import Store
from fleetfront.search.front import FULL, hypervolume, target_front
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.workspace import Workspace

LITERATURE = {
    *("1080ti_1", "1080ti_32", "1080ti_256", "titanx_1", "titanx_32", "titanx_256", "titan_rtx_256", "silver_4114"),
    *("silver_4210r", "titanxp_1", "gold_6240", "samsung_a50", "samsung_s7", "pixel2", "pixel3", "essential_ph_1"),
    *("raspi4", "fpga", "eyeriss"),
}
BAR_SECONDS = 30.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=10)
    parser.add_argument("--evaluations", type=int, default=20_000)
    parser.add_argument("--share", type=int, default=5)
    arguments = parser.parse_args()
    machine = describe()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        with Store(workspace.store) as store:
            import_ofa_lut(default_data() / "ofa_mbv3" / "note10_lut_w12", "note10", store)
        runs = []
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            runs.append(one_run(workspace, arguments, seed))
            print(f"seed {seed}: {len(runs[-1][1].devices)} devices, {runs[-1][0]['seconds']:.1f} s", flush=True)
        judge(runs)
    rows = [row for row, _ in runs]
    result = {
        "space": "ofa-mbv3-w1.2",
        "evaluations": arguments.evaluations,
        "devices": rows[0]["devices"],
        "bar_seconds": BAR_SECONDS,
        "seconds_median": round(float(np.median([row["seconds"] for row in rows])), 2),
        "cpu_seconds_median": round(float(np.median([row["cpu_seconds"] for row in rows])), 2),
        "hypervolume_share_mean": round(float(np.mean([row["hypervolume_share_mean"] for row in rows])), 4),
        "hypervolume_share_worst": min(row["hypervolume_share_worst"] for row in rows),
        "recall_of_best_known_mean": round(float(np.mean([row["recall_mean"] for row in rows])), 4),
        "runs": rows,
    }
    for key in list(result)[2:9]:
        print(key, result[key])
    write("fleet", result, machine)


def one_run(workspace, arguments, seed):
    start, cpu = time.perf_counter(), time.process_time()
    space = load_space("ofa-mbv3-w1.2")
    found = device_models(["all"], space, workspace=workspace, store=workspace.store)
    lacking = LITERATURE - {device.name for device in found}
    if lacking:
        raise SystemExit(f"no latency model of {', '.join(sorted(lacking))}")
    targets = [ProblemTarget(device.name, device.model, str(device.target)) for device in found]
    options = SearchOptions(evaluations=arguments.evaluations, seed=seed, share=arguments.share)
    fronts = search_space(
        space, targets, load_accuracy("built-in", space), options, out=workspace.root / f"fronts-{seed}"
    )
    row = {
        "seed": seed,
        "devices": len(found),
        "tiers": {tier: sum(d.model.tier.value == tier for d in found) for tier in ("measured", "estimated")},
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "evaluations": fronts.evaluations,
        f"{arguments.share}_networks_keep": round(fronts.shared["mean_hypervolume_share"], 4),
    }
    return row, fronts


def judge(runs):
    """Add each run's share of the hypervolume and of the members of the fronts of all runs together."""
    shares, recalls = [[] for _ in runs], [[] for _ in runs]
    for device in runs[0][1].devices:
        fronts = [fronts.device(device.name) for _, fronts in runs]
        points = [point for front in fronts for point in front.points]
        cost = np.array([point.latency_ms for point in points])
        accuracy = np.array([point.accuracy for point in points])
        best = {points[i].arch for i in target_front(cost, accuracy)}
        reference = tuple(max(front.reference_point[axis] for front in fronts) for axis in (0, 1))
        whole = hypervolume(np.stack([cost, FULL - accuracy], axis=1), reference)
        for i, front in enumerate(fronts):
            own = np.array([[point.latency_ms, FULL - point.accuracy] for point in front.points])
            shares[i].append(hypervolume(own, reference) / whole)
            recalls[i].append(len(best & {point.arch for point in front.points}) / len(best))
    for (row, _), share, recall in zip(runs, shares, recalls, strict=True):
        row["hypervolume_share_mean"] = round(float(np.mean(share)), 5)
        row["hypervolume_share_worst"] = round(float(np.min(share)), 5)
        row["recall_mean"] = round(float(np.mean(recall)), 4)


if __name__ == "__main__":
    main()
