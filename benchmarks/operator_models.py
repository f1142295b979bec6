"""Fit the shipped operator models to the public FBNet tables, and check them on spaces that they never saw.

Writes ``fleetfront/predictors/operators/models/*.json`` (with ``--ship``) and ``results/operator_models.json``. Half of
the FBNet networks are fitted, the other half is the first check; the tables of NAS-Bench-201 (connected cells) and of
once-for-all are the others. ``ceiling`` is the rank correlation of boosted trees that were trained on the checked table
itself (five-fold): what noise leaves. ``no_samples`` holds intervals of each piece of hardware, made from how
far off the others were, against the tables of other spaces.

    python benchmarks/operator_models.py [--ship] [--keep] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
import xgboost
from fbnet_networks import read_fbnet
from note10 import default_data
from operator_fit import Start, fit_operators
from scipy.stats import norm, spearmanr

from fleetfront.device_configs.facts import DeviceConfig
from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.predictors.operators import model as operator_model
from fleetfront.predictors.operators.model import Check, OperatorModel, operator_models
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.quantities import Z90
from fleetfront.spaces.catalogue import load_space

SOURCE = "FBNet latency tables of HELP (Lee et al., NeurIPS 2021, MIT, https://github.com/HayeonLee/HELP)"
STRENGTH = 0.02
#: Shares of the data sheet's peak that convolutions and memory traffic typically reach; only where a fit starts.
RATE_SHARE, BANDWIDTH_SHARE = 0.3, 0.5


@functools.cache
def hardware_of(setting: str) -> str:
    """GPU settings are named after hardware and batch."""
    config = load_device(setting)
    return config.name.rpartition("_")[0] if config.kind == "gpu" else config.name


def start_of(config: DeviceConfig) -> Start:
    peak = config.fact("peak_fp32_gflops") or config.fact("peak_int16_gops")
    bandwidth = config.fact("memory_bandwidth_gb_per_s")
    ms_per_mmac = 2.0 / (RATE_SHARE * peak) if peak else 0.05
    ms_per_melement = 4.0 / (BANDWIDTH_SHARE * bandwidth) if bandwidth else 2 * ms_per_mmac
    is_gpu = config.kind == "gpu"
    return Start(0.04 if is_gpu else 0.02, ms_per_mmac, ms_per_melement, is_gpu)


def read_space(path: Path, name: str) -> tuple[np.ndarray, dict[Mode, np.ndarray], dict[str, np.ndarray]]:
    """Genotypes, work in each mode and latencies of a public table of one of our spaces."""
    space = load_space(name)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    genotypes = space.parse([row["arch"] for row in rows])
    kept = ~space.disconnected(genotypes) if hasattr(space, "disconnected") else np.ones(len(rows), bool)
    work = NetworkWork(space)
    columns = [column for column in rows[0] if column.startswith("lat_")]
    ms = {c.removeprefix("lat_"): np.array([float(row[c]) for row in rows])[kept] for c in columns}
    return genotypes[kept], {mode: work(genotypes[kept], mode) for mode in work.modes}, ms


def check(model: OperatorModel, space: str, setting: str, work: np.ndarray, ms: np.ndarray) -> Check:
    ratio = model.latency_ms(work, load_device(setting).target.batch) / ms
    level, apart = levelled(ratio)
    return Check(
        space,
        load_device(setting).name,
        len(ms),
        round(float(spearmanr(ratio * ms, ms)[0]), 4),
        round(float(100 * np.mean(np.abs(ratio - 1))), 2),
        round(float(np.sqrt(np.mean((ratio - 1) ** 2))), 4),
        level=round(level, 4),
        rank=round(float(np.quantile(np.abs(apart), 0.9)) / Z90, 4),
    )


def levelled(ratio: np.ndarray) -> tuple[float, np.ndarray]:
    """By how much n estimates are off together, and each beside that: logarithms of measured over estimated."""
    logs = -np.log(ratio)
    level = float(np.median(logs))
    return level, logs - level


def no_samples(shipped: dict[str, OperatorModel], tables: list[tuple[str, np.ndarray]]) -> dict[str, Any]:
    """Coverage of 90 % intervals on tables of other spaces (setting, estimated over measured), hardware by hardware
    from what was seen of the others (levels: of those that work off queues, or of those that do not): of latencies, and
    of latencies among each other (with the level taken off).
    """
    checks = {hardware_of(name): shipped[name].foreign_checks for name, _ in tables}
    is_queue = {hardware_of(name): shipped[name].is_queue for name, _ in tables}
    rows = []
    for setting, ratio in tables:
        own = hardware_of(setting)
        others = [name for name in checks if name != own]
        level_std = _rms_over("level", [checks[name] for name in others if is_queue[name] == is_queue[own]])
        rank_std = _rms_over("rank", [checks[name] for name in others])
        level, apart = levelled(ratio)
        whole = np.abs(level + apart) <= Z90 * np.hypot(level_std, rank_std)
        row = {"setting": setting, "level": level, "level_std": level_std, "rank_std": rank_std}
        rows.append(
            row | {"coverage_90": float(whole.mean()), "of_rank": float((np.abs(apart) <= Z90 * rank_std).mean())}
        )
        print(
            f"{setting:14s} level {level:+.2f}  covered {whole.mean():.0%}, among each other {rows[-1]['of_rank']:.0%}"
        )
    shares = {
        f"share_of_settings_{key}": float(np.mean([0.8 <= row[key] <= 0.98 for row in rows]))
        for key in ("coverage_90", "of_rank")
    }
    shares |= {"share_covered_80": float(np.mean([row["coverage_90"] >= 0.8 for row in rows]))}
    shares |= {"coverage_of_all": float(np.mean([row["coverage_90"] for row in rows]))}
    right = [right_intervals(row["level_std"], row["rank_std"]) for row in rows]
    shares |= {key: float(np.mean([one[key] for one in right])) for key in right[0]}
    print(shares)
    return shares | {"settings": rows}


def _rms_over(key: str, checks: list[tuple[Check, ...]]) -> float:
    """Root mean square of a field over pieces of hardware, each of which counts once."""
    return float(np.sqrt(np.mean([np.mean([getattr(check, key) ** 2 for check in own]) for own in checks])))


def right_intervals(level_std: float, rank_std: float) -> dict[str, float]:
    """Of what share of devices normal errors of these two sizes, a level a device and a rank a network, leave 80 to
    98 % of networks inside: of right 90 % intervals, and of those whose width makes it most.
    """
    levels = np.abs(np.random.default_rng(0).normal(0, level_std, 20_000))

    def share_within(half_width: float) -> float:
        inside = norm.cdf((half_width - levels) / rank_std) - norm.cdf((-half_width - levels) / rank_std)
        return float(np.mean((inside >= 0.8) & (inside <= 0.98)))

    right = Z90 * float(np.hypot(level_std, rank_std))
    return {
        "inside_by_right_intervals": share_within(right),
        "inside_by_best_width": max(map(share_within, np.linspace(0.01, 2 * right, 200))),
    }


def ceiling(features: np.ndarray, ms: np.ndarray) -> float:
    folds = np.random.default_rng(0).permutation(len(ms)) % 5
    guess = np.empty(len(ms))
    for fold in range(5):
        trees = xgboost.XGBRegressor(n_estimators=300, max_depth=5, learning_rate=0.05, subsample=0.7, n_jobs=2)
        trees.fit(features[folds != fold], np.log(ms[folds != fold]))
        guess[folds == fold] = trees.predict(features[folds == fold])
    return round(float(spearmanr(guess, ms)[0]), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="check the shipped coefficients, fit none")
    parser.add_argument("--ship", action="store_true", help="write the files that the package ships")
    parser.add_argument("--data", type=Path, default=default_data())
    arguments = parser.parse_args()
    begun = machine.describe()
    work, latencies = read_fbnet(arguments.data / "fbnet" / "latency.csv")
    _, cell_work, cell_ms = read_space(arguments.data / "nb201" / "nb201.csv", "nasbench201")
    subnets, subnet_work, subnet_ms = read_space(arguments.data / "ofa_mbv3" / "latency_gpus.csv", "ofa-mbv3-w1.0")
    ceilings = {name: ceiling(np.hstack([subnets, subnet_work[Mode.LIVE]]), ms) for name, ms in subnet_ms.items()}
    macs = subnet_work[Mode.LIVE][:, 1::4].sum(axis=1)
    flops = {name: round(float(spearmanr(macs, ms)[0]), 4) for name, ms in subnet_ms.items()}
    order = np.random.default_rng(0).permutation(len(work))
    fitted, held_out = order[: len(order) // 2], order[len(order) // 2 :]
    groups: dict[str, list[str]] = {}
    for setting in latencies:
        groups.setdefault(hardware_of(setting), []).append(setting)
    results: dict[str, Any] = {}
    shipped = operator_models()
    judged: list[tuple[str, np.ndarray]] = []
    folder = Path(operator_model.__file__).parent / "models"
    for hardware, settings in sorted(groups.items()):
        config = load_device(settings[0])
        covered = tuple(name for name in device_names() if hardware_of(name) == hardware)
        model = (
            shipped[config.name]
            if arguments.keep
            else fit_operators(
                work[fitted],
                {load_device(setting).target.batch: latencies[setting][fitted] for setting in settings},
                start_of(config),
                hardware=hardware,
                settings=covered,
                mode=Mode.NEEDED if config.target.runtime == "tflite" else Mode.ALL,
                fitted_on=SOURCE,
                fitted_space="fbnet",
                strength=STRENGTH,
            )
        )
        checks = [check(model, "fbnet", setting, work[held_out], latencies[setting][held_out]) for setting in settings]
        foreign = [(setting, ms, cell_work[model.mode]) for setting, ms in cell_ms.items()]
        for setting, ms, of_networks in (*foreign, *((s, ms, subnet_work[Mode.LIVE]) for s, ms in subnet_ms.items())):
            if hardware_of(setting) == hardware:
                estimated = model.latency_ms(of_networks, load_device(setting).target.batch)
                judged.append((load_device(setting).name, estimated / ms))
        for setting, ms in cell_ms.items():
            if hardware_of(setting) == hardware:
                checks.append(check(model, "nasbench201", setting, cell_work[model.mode], ms))
        for setting, ms in subnet_ms.items():
            if hardware_of(setting) == hardware:
                found = check(model, "ofa-mbv3-w1.0", setting, subnet_work[Mode.LIVE], ms)
                checks.append(replace(found, ceiling=ceilings[setting]))
        model = replace(model, checks=tuple(checks))
        shipped |= {name: model for name in covered}
        results[hardware] = {"exponent": model.exponent, "checks": model.to_json()["checks"]}
        for row in checks:
            limit = f"  (trees trained on it: {row.ceiling:.3f})" if row.ceiling is not None else ""
            figures = f"Spearman {row.spearman:.3f}  MAPE {row.mape:.1f} %{limit}"
            print(f"{hardware:14s} {row.space:14s} {row.setting:14s} {figures}")
        if arguments.ship:
            folder.mkdir(exist_ok=True)
            (folder / f"{hardware}.json").write_text(json.dumps(model.to_json(), indent=1) + "\n", encoding="utf-8")
    of_none = no_samples(shipped, judged)
    payload = {
        "strength": STRENGTH,
        "hardware": results,
        "no_samples": of_none,
        "ofa_ceilings": ceilings,
        "ofa_flops_spearman": flops,
    }
    print(f"written to {machine.write('operator_models', payload, machine=begun)}")


if __name__ == "__main__":
    main()
