"""A new device from ten chosen measurements: every public NAS-Bench-201 device in turn is the unknown one.

Nothing is fitted to the device that is left out: prior, basis, trials and candidates see only the other devices and the
ten latencies. ``siblings`` also leaves out the settings of the same hardware: other batch sizes, the other Xeon Silver,
the other Samsung phone.

    python benchmarks/transfer.py [--seeds 5] [--k 10] [--space nasbench201|ofa-mbv3-w1.0] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np
from note10 import default_data
from scipy.stats import spearmanr

from fleetfront.device_configs.loader import load_device
from fleetfront.predictors.few_shot.model import KnownTable, Teacher
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.predictors.scores import Z90
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target

PI5 = "pi5_torchmobile"
FAMILIES = ("1080ti", "2080ti", "titanxp", "titanx", "v100", "silver", "samsung")


TABLES = {"nasbench201": "nb201/nb201.csv", "ofa-mbv3-w1.0": "ofa_mbv3/latency_gpus.csv"}


def read_tables(data: Path, space: SearchSpace) -> list[KnownTable]:
    """The (connected) networks of the public table on each of its devices, with the facts of the device configs."""
    with (data / TABLES[space.name]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    genotypes = space.parse([row["arch"] for row in rows])
    kept = ~space.disconnected(genotypes) if hasattr(space, "disconnected") else np.ones(len(rows), bool)
    tables = []
    for column in rows[0]:
        if column.startswith("lat_"):
            name = load_device(column.removeprefix("lat_")).name
            facts = {key: fact.value for key, fact in load_device(name).facts.items()}
            ms = np.array([float(row[column]) for row in rows])
            tables.append(KnownTable(name, genotypes[kept], ms[kept], facts))
    return [*tables, read_pi5(data, space)] if space.name == "nasbench201" else tables


def read_pi5(data: Path, space: SearchSpace) -> KnownTable:
    """The Raspberry Pi 5 under PyTorch Mobile, which merges equal operators: of cells that compute the same, the table
    repeats the number of one, so each counts once."""
    with (data / "nb201/pi5_torchmobile.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["index"] == row["rep_index"]]
    genotypes = space.parse([row["arch"] for row in rows])
    ms = np.array([float(row["lat_pi5_torchmobile_cifar100"]) for row in rows])
    kept = ~space.disconnected(genotypes)
    return KnownTable(PI5, genotypes[kept], ms[kept])


def target_of(name: str) -> Target:
    return Target(PI5, "torch-mobile") if name == PI5 else load_device(name).target


def family(name: str) -> str:
    return next((known for known in FAMILIES if name.startswith(known)), name)


def leave_one_out(
    space: SearchSpace, work: NetworkWork, tables: list[KnownTable], k: int, seed: int, how: str, trees: bool
) -> list[dict[str, Any]]:
    found = []
    for at, table in enumerate(tables):
        without_family = [t for t in tables if family(t.name) != family(table.name)]
        known = without_family if how == "siblings" else [t for t in tables if t.name != table.name]
        teacher = Teacher(space, known, work=work, seed=seed)
        rng = np.random.default_rng([seed, at])
        drawn = rng.permutation(len(table.ms))[:k]
        few = table.genotypes[drawn] if how == "random" else teacher.choose(k, rng, table.genotypes)
        rows = [int(np.flatnonzero((table.genotypes == genotype).all(axis=1))[0]) for genotype in few]
        fit = teacher.fit(target_of(table.name), few, table.ms[rows], second_opinion=trees)
        rest = np.setdiff1d(np.arange(len(table.ms)), rows)
        estimate = fit.model.predict(table.genotypes[rest])
        error = np.abs(estimate.mean / table.ms[rest] - 1)
        found.append(
            {
                "device": table.name,
                "spearman": float(spearmanr(estimate.mean, table.ms[rest])[0]),
                "within_10": float((error <= 0.1).mean()),
                "mape": float(100 * error.mean()),
                "coverage_90": float((np.abs(estimate.mean - table.ms[rest]) <= Z90 * estimate.std).mean()),
                "expected_mape": fit.report.error,
                "real_over_expected": float(100 * error.mean() / fit.report.error),
                "serves": fit.report.serves,
                "mode": fit.report.mode,
                "cross_validated_mape": fit.report.mape,
                "other_opinion_mape": fit.report.other_mape,
                "interval_factor": fit.report.interval_factor,
            }
        )
    return found


def ceiling(teacher: Teacher) -> list[dict[str, Any]]:
    """What the same linear model reaches when it is fitted to all of a device's networks: noise keeps it from more."""
    found = []
    for table, device in zip(teacher.known, teacher.devices, strict=True):
        mean = teacher.coordinates(table.genotypes)[device.mode] @ device.shares * table.ms.mean()
        error = np.abs(mean / table.ms - 1)
        row = {"device": table.name, "spearman": float(spearmanr(mean, table.ms)[0])}
        found.append(row | {"within_10": float((error <= 0.1).mean()), "mape": float(100 * error.mean())})
    return found


def summary(runs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    keys = ("spearman", "within_10", "mape", "coverage_90", "expected_mape", "real_over_expected")
    ratios = np.array([[row["real_over_expected"] for row in run] for run in runs])
    means = np.array([[np.mean([row[key] for row in run]) for key in keys] for run in runs])
    return {
        "seeds": len(runs),
        **{key: float(means[:, i].mean()) for i, key in enumerate(keys)},
        # Of every other device, of those between, and of all runs.
        "share_of_devices_expected_well": [
            float(np.mean(np.abs(np.log(ratios.mean(axis=0)[half::2])) <= np.log(1.6))) for half in (0, 1)
        ],
        "share_of_runs_expected_well": float(np.mean((ratios >= 0.6) & (ratios <= 1.6))),
        "worst_seed": {key: float((np.max if key == "mape" else np.min)(means[:, i])) for i, key in enumerate(keys)},
        "devices": [
            {"device": rows[0]["device"], **{key: float(np.mean([row[key] for row in rows])) for key in keys}}
            for rows in zip(*runs, strict=True)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--space", choices=TABLES, default="nasbench201")
    parser.add_argument("--quick", action="store_true", help="only the chosen networks")
    parser.add_argument("--data", type=Path, default=default_data())
    arguments = parser.parse_args()
    begun, started = machine.describe(), time.perf_counter()
    space = load_space(arguments.space)
    work, tables = NetworkWork(space), read_tables(arguments.data, space)
    results: dict[str, Any] = {}

    def report(name: str, k: int, how: str, seeds: int, trees: bool = False) -> None:
        runs = [leave_one_out(space, work, tables, k, seed, how, trees) for seed in range(seeds)]
        results[name] = summary(runs) | {"k": k, "how": how}
        if trees:
            results[name]["second_opinion"] = {
                "served": sum(row["serves"] == "trees" for run in runs for row in run),
                "cross_validated_mape": float(np.mean([row["other_opinion_mape"] for run in runs for row in run])),
                "mape_of_transfer": float(np.mean([row["cross_validated_mape"] for run in runs for row in run])),
            }
        r = results[name]
        print(
            f"{name:34s} Spearman {r['spearman']:.4f}  within 10 % {100 * r['within_10']:.1f} %  MAPE {r['mape']:.2f} %"
            f"  90 % intervals cover {100 * r['coverage_90']:.1f} %  (worst seed {r['worst_seed']['spearman']:.4f},"
            f" {100 * r['worst_seed']['within_10']:.1f} %)  real / expected error within 0.6 to 1.6:"
            f" {100 * r['share_of_runs_expected_well']:.0f} % of runs, devices {r['share_of_devices_expected_well']}",
            flush=True,
        )

    seeds = arguments.seeds
    report(f"chosen {arguments.k}", arguments.k, "chosen", seeds)
    for row in results[f"chosen {arguments.k}"]["devices"]:
        print(
            f"    {row['device']:16s} {row['spearman']:.4f}  {100 * row['within_10']:5.1f} %  {row['mape']:5.2f} %"
            f"  {100 * row['coverage_90']:.1f} %  expected {row['expected_mape']:.1f} %, real / expected"
            f" {row['real_over_expected']:.2f}"
        )
    if arguments.quick:
        return
    report(f"drawn at random {arguments.k}", arguments.k, "random", seeds)
    if len({family(table.name) for table in tables}) > 4:
        report(f"without settings of the same hardware {arguments.k}", arguments.k, "siblings", seeds)
    for k in (3, 5, 20):
        report(f"chosen {k}", k, "chosen", max(1, seeds // 2))
    report(f"with second opinion {arguments.k}", arguments.k, "chosen", 1, trees=True)
    results["all networks known (ceiling)"] = ceiling(Teacher(space, tables, work=work))
    path = machine.write(
        "transfer" if arguments.space == "nasbench201" else f"transfer_{arguments.space}",
        {"seconds": round(time.perf_counter() - started, 1), "results": results},
        machine=begun,
    )
    print(f"written to {path}")


if __name__ == "__main__":
    main()
