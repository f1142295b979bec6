"""A new device from few chosen measurements: every public NAS-Bench-201 device in turn is the unknown one.

Nothing is fitted to the device that is left out: prior, basis, trials and candidates see only the other devices and the
few latencies. ``siblings`` also leaves out the settings of the same hardware: other batch sizes, the other Xeon Silver,
the other Samsung phone. What others cannot teach (``PriorSettings``) is chosen on half of the devices and reported on
the other half, both ways; so is how errors are told. Devices of a seed that are done are kept in the folder
``--pieces``: the same call goes on after the last one.

    python benchmarks/transfer.py [--seeds 10] [--fewer 3] [--space nasbench201|ofa-mbv3-w1.0] [--pieces FOLDER]
        [--trees]
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
import numpy as np
from note10 import default_data
from scipy.stats import spearmanr

from fleetfront.device_configs.loader import load_device
from fleetfront.pipelines.fit.teachers import own_estimates
from fleetfront.predictors.few_shot.expected_error import Trial, calibrate
from fleetfront.predictors.few_shot.model import KnownTable, Teacher
from fleetfront.predictors.few_shot.prior import PriorSettings
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


def read_pi5(data: Path, space: SearchSpace, column: str = "lat") -> KnownTable:
    """The Raspberry Pi 5 under PyTorch Mobile, which merges equal operators: of cells that compute the same, the table
    repeats the number of one, so each counts once. ``column`` is ``lat`` (ms) or ``energy_mj``."""
    with (data / "nb201/pi5_torchmobile.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["index"] == row["rep_index"]]
    genotypes = space.parse([row["arch"] for row in rows])
    ms = np.array([float(row[f"{column}_pi5_torchmobile_cifar100"]) for row in rows])
    kept = ~space.disconnected(genotypes)
    return KnownTable(PI5, genotypes[kept], ms[kept])


def target_of(name: str) -> Target:
    return Target(PI5, "torch-mobile") if name == PI5 else load_device(name).target


def family(name: str) -> str:
    return next((known for known in FAMILIES if name.startswith(known)), name)


SPOILERS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "a fifth doubled": lambda ms, rng: (
        ms * np.where(np.isin(np.arange(len(ms)), rng.permutation(len(ms))[: len(ms) // 5]), 2.0, 1.0)
    ),
    "in steps of 5 ms": lambda ms, rng: 5.0 * np.maximum(np.round(ms / 5), 1.0),
    "all equal": lambda ms, rng: np.full(len(ms), np.median(ms)),
    "in wrong order": lambda ms, rng: np.roll(ms, 3),
    "drifting by 40 %": lambda ms, rng: ms * np.linspace(0.8, 1.2, len(ms)),
}
#: What is tried: (row, k, how the networks are chosen, who teaches, what spoils the measurements).
TRIED = [
    ("chosen 10", 10, "chosen", "others", None),
    ("drawn at random 10", 10, "random", "others", None),
    ("without settings of the same hardware 10", 10, "chosen", "siblings", None),
    ("chosen 3", 3, "chosen", "others", None),
    ("chosen 5", 5, "chosen", "others", None),
    ("chosen 20", 20, "chosen", "others", None),
    ("chosen 50", 50, "chosen", "others", None),
    *((f"a fifth doubled {k}", k, "chosen", "others", "a fifth doubled") for k in (10, 20, 50)),
    *((f"{how} 10", 10, "chosen", "others", how) for how in list(SPOILERS)[1:]),
    ("own estimate and 1", 1, "chosen", "estimate", None),
    ("own estimate and 3", 3, "chosen", "estimate", None),
]
#: Groups of rows that a bar is on.
MAIN = ((10, "chosen", "others"), (3, "chosen", "others"))
#: Rows of spaces other than NAS-Bench-201.
SHORT = ("chosen 10", "chosen 3", "chosen 20", "own estimate and 3")
GRID = [PriorSettings(*values) for values in itertools.product((0.1, 0.3, 0.6), (0.5,), (0.1, 0.2, 0.4))]
KEYS = (
    "spearman",
    "within_10",
    "mape",
    "coverage_90",
    "expected_mape",
    "real_over_expected",
    "said",
    "said_beside_steps",
)


#: (name of a piece, what makes it) -> the piece, made at most once.
Kept = Callable[[str, Callable[[], Any]], Any]


Group = tuple[int, str, str]
Everybody = Callable[[int], tuple[Teacher, dict[str, KnownTable]]]


def grouped(space: SearchSpace) -> dict[Group, list[tuple[str, str | None]]]:
    """(k, how, who) -> rows with what spoils each: rows of one group learn from the same trials."""
    groups: dict[Group, list[tuple[str, str | None]]] = {}
    for name, k, how, who, spoiler in TRIED:
        if space.name == "nasbench201" or name in SHORT:
            groups.setdefault((k, how, who), []).append((name, spoiler))
    return groups


def run_group(
    group: Group,
    rows: list[tuple[str, str | None]],
    tables: list[KnownTable],
    seed: int,
    of_seed: Everybody,
    kept: Kept,
) -> dict[str, list[dict[str, Any]]]:
    """Rows of every device, each in turn the unknown one; none where a device or space lacks such teachers."""
    k, how, who = group

    def tried(at: int) -> dict[str, dict[str, Any]]:
        everybody, estimates = of_seed(seed)
        table = tables[at]
        like = [t.name for t in tables if family(t.name) == family(table.name)]
        if who == "siblings" and len({family(t.name) for t in tables}) <= 4:
            return {}
        if who == "estimate" and table.name not in estimates:
            return {}
        without = like if who == "siblings" else [table.name]
        teacher = everybody.without(without, device=table.name if who == "estimate" else "")
        return {name: _one(teacher, table, k, how, SPOILERS.get(spoiler or ""), [seed, at]) for name, spoiler in rows}

    found: dict[str, list[dict[str, Any]]] = {}
    for at, table in enumerate(tables):
        of_device = kept(f"{seed}-{table.name}-{k}-{how}-{who}", lambda at=at: tried(at))
        for name, row in of_device.items():
            found.setdefault(name, []).append(row)
    return found


def _one(teacher: Teacher, table: KnownTable, k: int, how: str, spoiler: Any, seed: list[int]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(table.ms))[:k]
    few = table.genotypes[drawn] if how == "random" else teacher.choose(k, rng, table.genotypes)
    rows = [int(np.flatnonzero((table.genotypes == genotype).all(axis=1))[0]) for genotype in few]
    # Steps of 5 ms, where half of the networks take less than 12.5.
    truth = table.ms * (12.5 / np.median(table.ms)) if spoiler is SPOILERS["in steps of 5 ms"] else table.ms
    measured = truth[rows] if spoiler is None else spoiler(truth[rows], rng)
    is_chosen = how != "random"
    fit = teacher.fit(target_of(table.name), few, measured, second_opinion=False, are_chosen=is_chosen)
    rest = np.setdiff1d(np.arange(len(truth)), rows)
    estimate = fit.model.predict(table.genotypes[rest])
    error = np.abs(estimate.mean / truth[rest] - 1)
    return {
        "device": table.name,
        "spearman": float(spearmanr(estimate.mean, truth[rest])[0]) if np.ptp(estimate.mean) else 0.0,
        "within_10": float((error <= 0.1).mean()),
        "mape": float(100 * error.mean()),
        "coverage_90": float((np.abs(estimate.mean - truth[rest]) <= Z90 * estimate.std).mean()),
        "expected_mape": fit.report.error,
        "real_over_expected": float(100 * error.mean() / fit.report.error),
        "said": float(bool(fit.report.warnings)),
        "said_beside_steps": float(any("steps of" not in text for text in fit.report.warnings)),
        "mode": fit.report.mode,
        "interval_factor": fit.report.interval_factor,
    }


def ceiling(teacher: Teacher) -> list[dict[str, Any]]:
    """What the same linear model reaches when it is fitted to all of a device's networks: noise keeps it from more."""
    found = []
    for table, device in zip(teacher.known, teacher.devices, strict=True):
        mean = teacher.coordinates(table.genotypes)[device.mode] @ device.shares * table.ms.mean()
        error = np.abs(mean / table.ms - 1)
        row = {"device": table.name, "spearman": float(spearmanr(mean, table.ms)[0])}
        found.append(row | {"within_10": float((error <= 0.1).mean()), "mape": float(100 * error.mean())})
    return found


def cross_fit(
    space: SearchSpace, work: NetworkWork, tables: list[KnownTable], kept: Kept, k: int = 10
) -> list[dict[str, Any]]:
    """Settings chosen, and how errors are told learnt, on every other device; reported on the rest, and both ways."""
    names = [table.name for table in tables]

    def tried(settings: PriorSettings) -> list[dict[str, Any]]:
        found = Teacher(space, tables, work=work, settings=settings).trials(k, second_opinion=False)
        return [asdict(trial) | {"ratios": trial.ratios.round(4).tolist()} for trial in found]

    trials = {}
    for s in GRID:
        name = f"trials-{k}-{s.shrinkage}-{s.share_of_like}-{s.likeness}"
        trials[s] = [Trial(**row | {"ratios": np.array(row["ratios"])}) for row in kept(name, lambda s=s: tried(s))]

    def mape(settings: PriorSettings, half: set[str]) -> float:
        return float(np.mean([t.transfer_mape for t in trials[settings] if t.device in half]))

    found = []
    for start in (0, 1):
        chosen_on, reported_on = set(names[start::2]), set(names[1 - start :: 2])
        best = min(GRID, key=lambda settings: mape(settings, chosen_on))
        told = calibrate([t for t in trials[best] if t.device in chosen_on])
        others = [t for t in trials[best] if t.device in reported_on]
        ratios = [t.transfer_mape / told.error(t.implied_mape, t.shown_mape) for t in others]
        coverage = [float(np.mean(t.ratios <= Z90 * told.stretch(t.surprise))) for t in others]
        found.append(
            {
                "chosen_on": sorted(chosen_on),
                "settings": asdict(best),
                "mape_there": mape(best, chosen_on),
                "mape_there_of_shipped_settings": mape(PriorSettings(), chosen_on),
                "mape_on_the_other_half": mape(best, reported_on),
                "mape_of_shipped_settings": mape(PriorSettings(), reported_on),
                "calibration": asdict(told),
                "coverage_90": float(np.mean(coverage)),
                "share_of_runs_expected_well": float(np.mean([0.6 <= ratio <= 1.6 for ratio in ratios])),
            }
        )
    return found


def summary(runs: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Means over seeds; of devices apart, and of each device's mean ratio of true to told errors."""
    ratios = np.array([[row["real_over_expected"] for row in run] for run in runs])
    means = np.array([[np.mean([row[key] for row in run]) for key in KEYS] for run in runs])
    devices = [
        {"device": rows[0]["device"], **{key: float(np.mean([row[key] for row in rows])) for key in KEYS}}
        for rows in zip(*runs, strict=True)
    ]
    return {
        "seeds": len(runs),
        **{key: float(means[:, i].mean()) for i, key in enumerate(KEYS)},
        "worst_device_coverage_90": min(device["coverage_90"] for device in devices),
        "share_of_devices_expected_well": float(np.mean([0.6 <= d["real_over_expected"] <= 1.6 for d in devices])),
        "share_of_runs_expected_well": float(np.mean((ratios >= 0.6) & (ratios <= 1.6))),
        "worst_seed": {key: float((np.max if key == "mape" else np.min)(means[:, i])) for i, key in enumerate(KEYS)},
        "devices": devices,
    }


def energies(space: SearchSpace, work: NetworkWork, tables: list[KnownTable], data: Path) -> dict[str, Any]:
    """Ten energies of the Pi 5, learnt from the latencies of all other devices: means of three draws."""
    table = read_pi5(data, space, "energy_mj")
    teacher = Teacher(space, [known for known in tables if known.name != PI5], work=work)
    rows = [_one(teacher, table, 10, "chosen", None, [seed]) for seed in range(3)]
    return {key: float(np.mean([row[key] for row in rows])) for key in KEYS}


def second_opinion(everybody: Teacher, k: int = 10) -> dict[str, Any]:
    """Operator costs against boosted trees, each known device left out in turn."""
    trials = [trial for trial in everybody.trials(k) if trial.trees_mape is not None]
    return {
        "k": k,
        "mape_of_trees": float(np.mean([t.trees_mape for t in trials if t.trees_mape is not None])),
        "mape_of_transfer": float(np.mean([trial.transfer_mape for trial in trials])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--fewer", type=int, help="seeds of what no bar is on (as many by default)")
    parser.add_argument("--space", choices=TABLES, default="nasbench201")
    parser.add_argument("--trees", action="store_true", help="try boosted trees, too (minutes)")
    parser.add_argument("--pieces", type=Path, help="folder of seeds that are done; a fresh one by default")
    parser.add_argument("--data", type=Path, default=default_data())
    arguments = parser.parse_args()
    begun, started = machine.describe(), time.perf_counter()
    space = load_space(arguments.space)
    work, tables = NetworkWork(space), read_tables(arguments.data, space)
    pieces = arguments.pieces or Path(tempfile.mkdtemp())
    pieces.mkdir(parents=True, exist_ok=True)

    def kept(name: str, make: Callable[[], Any]) -> Any:
        piece = pieces / f"{space.name}-{name}.json"
        if not piece.exists():
            piece.write_text(json.dumps(make()))
            print(f"{name} after {time.perf_counter() - started:.0f} s", flush=True)
        return json.loads(piece.read_text())

    @functools.cache
    def of_seed(seed: int) -> tuple[Teacher, dict[str, KnownTable]]:
        estimates = own_estimates(work, tables[0].genotypes, [table.name for table in tables])
        return Teacher(space, tables, work=work, seed=seed, estimates=estimates), estimates

    results: dict[str, Any] = {}
    for group, rows in grouped(space).items():
        seeds = arguments.seeds if arguments.fewer is None or group in MAIN else arguments.fewer
        runs = [run_group(group, rows, tables, seed, of_seed, kept) for seed in range(seeds)]
        for name in runs[0]:
            k, how, who = group
            results[name] = summary([run[name] for run in runs]) | {"k": k, "how": how, "teachers": who}
            _show(name, results[name])
    if len(tables) > 8:
        results["cross-fitted"] = {str(k): cross_fit(space, work, tables, kept, k) for k in (3, 10)}
        print(json.dumps(results["cross-fitted"], indent=1))
        results["energies 10"] = kept("energies", lambda: energies(space, work, tables, arguments.data))
        print(results["energies 10"])
    everybody = Teacher(space, tables, work=work)
    if arguments.trees:
        results["second opinion 10"] = kept("trees", lambda: second_opinion(everybody))
    results["all networks known (ceiling)"] = ceiling(everybody)
    path = machine.write(
        "transfer" if arguments.space == "nasbench201" else f"transfer_{arguments.space}",
        {"seconds": round(time.perf_counter() - started, 1), "results": results},
        machine=begun,
    )
    print(f"written to {path}")


def _show(name: str, r: dict[str, Any]) -> None:
    print(
        f"{name:42s} Spearman {r['spearman']:.4f}  MAPE {r['mape']:.2f} %  within 10 % {100 * r['within_10']:.1f} %"
        f"  coverage {100 * r['coverage_90']:.1f} % (worst {100 * r['worst_device_coverage_90']:.0f} %)  told well: "
        f"{100 * r['share_of_devices_expected_well']:.0f} % of devices, {100 * r['share_of_runs_expected_well']:.0f} % "
        f"of runs  warned {100 * r['said']:.0f} %",
        flush=True,
    )


if __name__ == "__main__":
    main()
