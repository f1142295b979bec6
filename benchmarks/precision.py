"""Measure how well int8 and w8 are predicted beside fp32 on this machine's CPU, and where they are slower.

Each precision of ofa-mbv3-w1.0 is profiled as a user would, one campaign after the other: the held-out networks of
all are the same, so that each has its ratios of measured times and of predicted ones.

    python benchmarks/precision.py --work DIR --stage profile --runtime litert    # about seven minutes
    python benchmarks/precision.py --work DIR --stage profile --runtime onnxruntime --precision w8    # about two
    python benchmarks/precision.py --work DIR --stage judge
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import write

from fleetfront.cli.console import progress
from fleetfront.pipelines.fit.fit import fit_report, fit_target
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import measured_networks
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.reading.observations import Observations, read_observations, summaries
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SPACE = "ofa-mbv3-w1.0"
RUNTIMES = ("onnxruntime", "litert")
PRECISIONS = ("fp32", "int8", "w8")
NARROW = PRECISIONS[1:]
MAPE, WITHIN_10, COVERAGE_90, SECONDS = 3.0, 0.98, (0.85, 0.95), 120.0
BARS = {"mape": MAPE, "within_10": WITHIN_10, "coverage_90": COVERAGE_90, "seconds": SECONDS}


def profile(runtime: str, precisions: Sequence[str], folder: Path, seconds: float, held_out: int, seed: int) -> None:
    """Profile precisions of one runtime, ``seconds`` each."""
    space, workspace = load_space(SPACE), Workspace(folder)
    with Store(workspace.store) as store, progress() as shown:
        for precision in precisions:
            profile_space(
                space,
                Target("cpu", runtime, precision),
                store=store,
                budget=Budget("benchmark", seconds),
                options=PlanOptions(seed=seed, validation=held_out),
                workspace=workspace,
                progress=shown,
            )


def fits(runtime: str, folder: Path) -> dict[str, Any]:
    """Fit all precisions from what was measured; by precision, the report."""
    space, workspace, reports = load_space(SPACE), Workspace(folder), {}
    with Store(workspace.store) as store:
        for precision in PRECISIONS:
            target = Target("cpu", runtime, precision)
            report = fit_report(fit_target(store, target, space, workspace=workspace))
            for fit in (report, *report["other_clocks"]):
                del fit["path"]
            campaign = store.campaigns(target=target, space=SPACE)[0]
            reports[precision] = {
                "seconds": campaign.seconds,
                "rounds": _rounds(_newest(store, target)),
                "beside": str(_newest(store, target).others),
                "fit": report,
            }
    return reports


def ratios(runtime: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Each narrow precision over fp32: of held-out networks' times, measured and predicted, of blocks by kernel."""
    space, workspace = load_space(SPACE), Workspace(folder)
    with Store(workspace.store) as store:
        seen = {name: _newest(store, Target("cpu", runtime, name)) for name in PRECISIONS}
        tables = {
            name: fit_target(store, Target("cpu", runtime, name), space, workspace=workspace).chosen.table.model
            for name in PRECISIONS
        }
    statistic = {name: tables[name].statistic for name in PRECISIONS}
    networks = {name: measured_networks(seen[name], space, Role.VALIDATION, statistic[name]) for name in PRECISIONS}
    return {name: _ratio(name, space, tables, networks, seen, statistic) for name in NARROW}


def _ratio(
    narrow: str,
    space: Any,
    tables: dict[str, Any],
    networks: dict[str, Any],
    seen: dict[str, Observations],
    statistic: dict[str, str],
) -> dict[str, Any]:
    """One narrow precision over fp32."""
    names = ("fp32", narrow)
    keys = {name: space.arch_ids(networks[name].genotypes) for name in names}
    both = sorted(set(keys["fp32"]) & set(keys[narrow]))
    at = {name: [keys[name].index(key) for key in both] for name in names}
    ms = {name: networks[name].ms[at[name]] for name in names}
    genotypes = networks["fp32"].genotypes[at["fp32"]]
    predicted = {name: CalibratedTable(space, tables[name]).predict(genotypes).mean for name in names}
    measured_ratio, predicted_ratio = ms[narrow] / ms["fp32"], predicted[narrow] / predicted["fp32"]
    error = np.abs(predicted_ratio / measured_ratio - 1)
    return {
        "networks": len(both),
        "measured": _spread(measured_ratio),
        "is_faster_on": float((measured_ratio < 1).mean()),
        "predicted_over_measured_mape": 100 * float(error.mean()),
        "told_which_is_faster": float(((predicted_ratio < 1) == (measured_ratio < 1)).mean()),
        "blocks_by_kernel": _by_kernel(narrow, seen, statistic),
    }


def _newest(store: Store, target: Target) -> Observations:
    campaign = store.campaigns(target=target, space=SPACE)[0]
    return read_observations(store, target, SPACE, Clock.THREAD_CPU, [campaign.id])


def _rounds(seen: Observations) -> int:
    """Visits of the networks that were visited least."""
    return min(len(values) for values in seen.visits[Role.VALIDATION].values())


def _by_kernel(narrow: str, seen: dict[str, Observations], statistic: dict[str, str]) -> dict[str, Any]:
    """Kernel size of depthwise convolutions -> the spread of a precision over fp32 among blocks of it."""
    ms = {name: summaries(seen[name], Role.BLOCK, statistic[name]) for name in ("fp32", narrow)}
    found: dict[str, list[float]] = defaultdict(list)
    for key in set(ms["fp32"]) & set(ms[narrow]):
        match = re.match(r"(\w+)\(.*\bk=(\d+)", key)
        name = f"{match[1]} {match[2]}x{match[2]}" if match else key.split("(")[0]
        found[name].append(ms[narrow][key] / ms["fp32"][key])
    return {name: {"blocks": len(values), **_spread(np.array(values))} for name, values in sorted(found.items())}


def _spread(values: Any) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {"p5": float(low), "median": float(middle), "p95": float(high)}


def misses(one: dict[str, Any]) -> list[str]:
    """The bars that one precision's fit misses, in words."""
    scores, (low, high) = one["fit"]["held_out"], COVERAGE_90
    found = {
        f"MAPE {scores['mape']:.2f} %": scores["mape"] > MAPE,
        f"{scores['within_10']:.0%} within 10 %": scores["within_10"] < WITHIN_10,
        f"coverage {scores['coverage_90']:.0%}": not low <= scores["coverage_90"] <= high,
        # The visit in which a budget ends takes some milliseconds more.
        f"{one['seconds']:.0f} s": round(one["seconds"], 1) > SECONDS,
    }
    return [words for words, is_missed in found.items() if is_missed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where profiles are kept between the stages")
    parser.add_argument("--stage", choices=["profile", "judge"], required=True)
    parser.add_argument("--runtime", choices=RUNTIMES)
    parser.add_argument("--precision", choices=PRECISIONS, help="profile this one alone")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--held-out", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for runtime in [options.runtime] if options.runtime else RUNTIMES:
        if options.stage == "profile":
            precisions = [options.precision] if options.precision else PRECISIONS
            profile(runtime, precisions, options.work, options.seconds, options.held_out, options.seed)
    if options.stage == "judge":
        results = {}
        for runtime in RUNTIMES:
            reports = fits(runtime, options.work)
            for precision, one in reports.items():
                one["missed"] = misses(one)
                print(runtime, precision, f"{one['rounds']} rounds;", ", ".join(one["missed"]) or "all bars met")
            results[runtime] = {"precisions": reports, "over_fp32": ratios(runtime, options.work)}
        write("precision", {"space": SPACE, "bars": BARS, "runtimes": results})
        print(json.dumps({name: one["over_fp32"] for name, one in results.items()}, indent=1))


if __name__ == "__main__":
    main()
