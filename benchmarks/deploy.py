"""Measure what handing networks out costs, and what int8 costs in accuracy.

Run: python benchmarks/deploy.py [write] [fleet] [int8] [--epochs 30] [--folds 5]

- write: subnets of ofa-mbv3-w1.2, both formats, in fp32: seconds for graph, files and proof, and how far from torch.
- fleet: 19 devices x 3 picks x 2 formats of that space into bundles, without measuring. Weights are random, as the
  files are the same size and the work is the same; picks are drawn from a pool, as neighbouring devices share networks.
- int8: ofa-mbv3-mini, five folds over all 1,797 digits: a supernet is trained on four fifths, networks of the smallest
  to the largest size are cut, recalibrated, quantised for both runtimes and judged on the fifth that they never saw.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import machine
import numpy as np

from fleetfront.datasets import Dataset, Split, load_images
from fleetfront.deploy.formats import parse_formats
from fleetfront.pipelines.deploy.deploy import Pick, Recipe, Weights, deploy_picks
from fleetfront.pipelines.deploy.network import write_network
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import largest, smallest
from fleetfront.spaces.supernet.training import TrainingSettings, train_supernet
from fleetfront.workspace import Workspace

SPACE = "ofa-mbv3-w1.2"
BOTH = parse_formats("onnx,tflite")
DEVICES, PICKS, FOLDS = 19, 3, 5
BARS = {
    "fp32 off from torch, share of what inputs change": 1e-4,
    "files refused": 0,
    "seconds for one subnet, both formats, median": 5.0,
    "seconds for the fleet": 180.0,
    "int8 drop, points, worst network and runtime": 0.5,
    "int8 top-1 agreement, %, worst network and runtime": 98.5,
}


def write_subnets(count: int) -> dict[str, Any]:
    space = load_space(SPACE)
    seconds, errors, halves, refused = [], [], [], []
    for number, genotype in enumerate(space.sample(count + 1, np.random.default_rng(0))):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            graph = replace(space.subnet_graphs(genotype)["network"][0], name="network")
            network = write_network(graph, Weights(), BOTH, Recipe(), Path(folder))
            took = time.perf_counter() - began
            half = write_network(graph, Weights(), BOTH, Recipe(("fp16",)), Path(folder))
        if number:  # the first one also imports the runtimes
            seconds.append(took)
        errors += [file.proof.relative_to_spread for file in network.files]
        halves += [file.proof.relative_to_spread for file in half.files]
        # Files that miss their proof cost no other, so that nothing else tells of them.
        refused += [str(error) for error in (*network.missed, *half.missed)]
    return {
        "subnets": len(seconds),
        "seconds_median": round(statistics.median(seconds), 2),
        "seconds_max": round(max(seconds), 2),
        "fp32_relative_to_spread_max": max(errors),
        "fp16_relative_to_spread_max": max(halves),
        "refused": refused,
    }


def write_fleet() -> dict[str, Any]:
    space, rng = load_space(SPACE), np.random.default_rng(1)
    pool = space.arch_ids(space.sample(DEVICES * PICKS, rng))
    drawn = rng.integers(0, len(pool), DEVICES * PICKS)
    picks = [Pick(f"device{n // PICKS}-{n % PICKS}", pool[row]) for n, row in enumerate(drawn)]
    # Bundles of the whole fleet are gigabytes: the folder must not be in memory.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        began = time.perf_counter()
        done = deploy_picks(picks, space, Weights(), BOTH, Path(folder))
        seconds = time.perf_counter() - began
        files = [path for path in Path(folder).rglob("network*") if path.is_file()]
        stored = {path.stat().st_ino: path.stat().st_size for path in files}
    assert all(one.error is None for one in done), [str(one.error) for one in done if one.error]
    return {
        "bundles": len(done),
        "distinct_networks": len({pick.arch for pick in picks}),
        "files": len(files),
        "distinct_files_on_disk": len(stored),
        "gigabytes_on_disk": round(sum(stored.values()) / 1e9, 2),
        "seconds": round(seconds, 1),
    }


def fold_of(images: Dataset, fold: int) -> Dataset:
    """The same digits with every fifth one, from ``fold`` on, held out for test; the rest is for training."""
    order = np.random.default_rng(0).permutation(len(images.images))
    test = np.sort(order[fold::FOLDS])
    rest = np.setdiff1d(np.arange(len(order)), test)
    calibration = np.sort(np.random.default_rng(fold).choice(rest, 256, replace=False))
    split = {Split.TRAIN: rest, Split.CALIBRATION: calibration, Split.VALIDATION: calibration, Split.TEST: test}
    return replace(images, split=MappingProxyType(split), content_hash=f"{images.content_hash} fold {fold}")


def int8_folds(epochs: int, folds: int) -> dict[str, Any]:
    space, images = ofa_mbv3_mini(), load_images("digits", 32)
    middle = space.sample(1, np.random.default_rng(0))[0]
    networks = {"smallest": smallest(space), "drawn": middle, "largest": largest(space)}
    archs = {name: space.arch_id(space.canonical(row[None])[0]) for name, row in networks.items()}
    right: dict[str, float] = {}
    agreeing: dict[str, float] = {}
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        for fold in range(folds):
            data = fold_of(images, fold)
            settings = TrainingSettings(epochs=epochs, threads=2)
            # Kept in the user's workspace, so that an interrupted run goes on where it was.
            trained = train_supernet(space, data, settings, workspace=Workspace.default())
            picks = [Pick(name, arch) for name, arch in archs.items()]
            recipe = Recipe(("fp32", "int8"), test_images=len(data.images))
            weights = Weights(trained.supernet, data)
            done = deploy_picks(picks, space, weights, BOTH, Path(folder) / f"out{fold}", recipe=recipe)
            for one in done:
                assert one.error is None, one.error
                for file in one.files:
                    key = f"{one.pick.name} {file.key}"
                    right[key] = right.get(key, 0) + file.accuracy * one.test_images
                    agreeing[key] = agreeing.get(key, 0) + 100 * file.proof.agreement * one.test_images
            count += done[0].test_images
            print(f"fold {fold + 1} of {folds}: {count} digits so far", flush=True)
    rows = []
    for name in archs:
        for runtime in ("onnx", "tflite"):
            full, small = f"{name} {runtime}", f"{name} {runtime}-int8"
            rows.append(
                {
                    "network": name,
                    "format": runtime,
                    "fp32": round(right[full] / count, 2),
                    "int8": round(right[small] / count, 2),
                    "drop": round((right[full] - right[small]) / count, 3),
                    "agreement": round(agreeing[small] / count, 2),
                }
            )
    return {"digits": count, "folds": folds, "epochs": epochs, "networks": archs, "rows": rows}


def missed(results: dict[str, Any]) -> list[str]:
    """The bars that were missed, of the parts that were run."""
    found: dict[str, float] = {}
    # A part that an earlier version wrote may be judged by another share; it is kept, and not judged again.
    if "fp32_relative_to_spread_max" in results.get("write", {}):
        found["fp32 off from torch, share of what inputs change"] = results["write"]["fp32_relative_to_spread_max"]
        if "refused" in results["write"]:
            found["files refused"] = len(results["write"]["refused"])
        found["seconds for one subnet, both formats, median"] = results["write"]["seconds_median"]
    if "fleet" in results:
        found["seconds for the fleet"] = results["fleet"]["seconds"]
    if "int8" in results:
        rows = results["int8"]["rows"]
        found["int8 drop, points, worst network and runtime"] = max(row["drop"] for row in rows)
        found["int8 top-1 agreement, %, worst network and runtime"] = min(row["agreement"] for row in rows)
    below = [name for name in found if "agreement" in name and found[name] < BARS[name]]
    above = [name for name in found if "agreement" not in name and found[name] > BARS[name]]
    for name, value in found.items():
        print(f"{name}: {value:.4g} (bar {BARS[name]:g}){'  MISSED' if name in (*below, *above) else ''}")
    return [*below, *above]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["write", "fleet", "int8"], help="write, fleet, int8")
    parser.add_argument("--subnets", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folds", type=int, default=FOLDS, help="the first of them, of int8")
    options = parser.parse_args()
    begun = machine.describe((*machine.PACKAGES, "ai-edge-quantizer"))
    parts = {
        "write": lambda: write_subnets(options.subnets),
        "fleet": write_fleet,
        "int8": lambda: int8_folds(options.epochs, options.folds),
    }
    results = _known_results()
    for name in parts:
        if name in options.parts:
            load = machine.describe()["load_average"]
            results[name] = {"load_average": load, **parts[name]()}
            print(json.dumps(results[name], indent=1), flush=True)
            print(machine.write("deploy", {"bars": BARS, "missed": missed(results), **results}, begun), flush=True)


def _known_results() -> dict[str, Any]:
    """Parts that were run before: each may be run alone, as int8 takes as long as five trainings."""
    path = machine.RESULTS / "deploy.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    return {name: known[name] for name in ("write", "fleet", "int8") if name in known}


if __name__ == "__main__":
    main()
