"""How well block measurements and 20 whole networks predict 100 networks that were never seen, on this machine's CPU.

Blocks are measured at a few resolutions of ofa-mbv3-w1.0 (the lowest, the middle and the highest), the held-out
networks are drawn over all 25, so most of their resolutions were never measured as blocks. Held-out networks are
visited in the same rounds as everything else, so that all see the same machine; the time of the profile leaves their
visits out.

    python benchmarks/latency_model.py            # about four minutes
    python benchmarks/latency_model.py --quick    # a look: fewer rounds and networks, nothing written
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write

from fleetfront.cli.console import progress
from fleetfront.pipelines.fit import fit_report, fit_target
from fleetfront.pipelines.profile import Budget, profile_space
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.records import Role
from fleetfront.profilers.store import Store
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SPACE = "ofa-mbv3-w1.0"
RUNTIMES = ("onnxruntime", "litert")
BARS = {
    "clock": "thread-cpu",
    "within_10": 0.99,
    "mape": 2.5,
    "coverage_90": [0.85, 0.95],
    "profile_seconds": 90,
}


def measure(runtime: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Profile and fit one runtime; the report of the fit with the time that its profile took."""
    space, target = load_space(SPACE), Target("cpu", runtime)
    workspace = Workspace(folder)
    plan = PlanOptions(
        seed=options.seed, calibration=options.calibration, validation=options.held_out, blocks=options.blocks
    )
    with Store(workspace.store) as store:
        if not options.refit:
            with progress() as shown:
                profile_space(
                    space,
                    target,
                    store=store,
                    budget=Budget("benchmark", 1800.0),
                    rounds=options.rounds,
                    options=plan,
                    workspace=workspace,
                    progress=shown,
                )
        outcome = fit_target(store, target, space, workspace=workspace)
        campaign = store.campaigns(target=target, space=space.name)[0]
        seconds = role_seconds(store, campaign.id)
        blocks = len(campaign.plan["tasks"][Role.BLOCK.value])
    report = fit_report(outcome)
    held_out = seconds.get(Role.VALIDATION.value, 0.0)
    return {
        "runtime": runtime,
        "rounds": options.rounds,
        "blocks": {"plan": options.blocks, "measured": blocks},
        "seconds": {
            # Writing the held-out networks' files is still in it, so it is an upper bound.
            "profile": campaign.seconds - held_out,
            "held_out_visits": held_out,
            "total": campaign.seconds,
            "by_role": seconds,
        },
        "fit": report,
    }


def role_seconds(store: Store, campaign: str) -> dict[str, float]:
    """Seconds spent in the visits of each role, files opened and closed."""
    seconds: dict[str, float] = {}
    for measurement in store.measurements(campaigns=[campaign]):
        if measurement.clock == "wall":
            spent = measurement.after.get("visit_ns", 0) / 1e9
            seconds[measurement.role.value] = seconds.get(measurement.role.value, 0.0) + spent
    return seconds


def show(result: dict[str, Any]) -> None:
    report, seconds = result["fit"], result["seconds"]
    print(f"\n{result['runtime']}: profile {seconds['profile']:.0f} s ({result['rounds']} rounds), bar 90 s")
    for fit in (report, *report["other_clocks"]):
        scores, floor, plain = fit["held_out"], fit["floor"], fit["plain_sum"]
        low, high = scores["intervals"]["mape"]
        print(
            f"  {fit['clock']:10} MAPE {scores['mape']:.2f} % ({low:.2f}-{high:.2f}), floor {floor['mape']:.2f} %; "
            f"within 5/10 % {100 * scores['within_5']:.0f}/{100 * scores['within_10']:.0f} %; "
            f"Spearman {scores['spearman']:.4f}; 90 % intervals cover {100 * scores['coverage_90']:.0f} %; "
            f"plain sum {plain['mape']:.1f} %; {fit['statistic']}; {fit['calibration']['formula']}"
        )


def misses(result: dict[str, Any]) -> list[str]:
    """Which bars the thread-CPU clock misses."""
    scores = result["fit"]["held_out"]
    low, high = BARS["coverage_90"]
    found = {
        "within_10": scores["within_10"] >= BARS["within_10"],
        "mape": scores["mape"] <= BARS["mape"],
        "coverage_90": low <= scores["coverage_90"] <= high,
        "profile_seconds": result["seconds"]["profile"] <= BARS["profile_seconds"],
    }
    return [name for name, is_met in found.items() if not is_met]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=RUNTIMES, action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calibration", type=int, default=20)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--blocks", default="spread", help="which resolutions' blocks are measured, see PlanOptions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="3 rounds, 30 held-out networks; nothing is written")
    parser.add_argument("--keep", type=Path, help="folder for store and models; resumed if it exists")
    parser.add_argument("--refit", action="store_true", help="measure nothing, fit what --keep holds")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.held_out = 3, 30
    machine = describe()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        results = [measure(runtime, options, folder) for runtime in options.runtime or RUNTIMES]
    for result in results:
        show(result)
        print(f"  bars missed: {', '.join(misses(result)) or 'none'}")
    mean = np.mean([result["fit"]["held_out"]["mape"] for result in results])
    print(f"\nmean MAPE {mean:.2f} %")
    if not (options.quick or options.refit):
        missed = {result["runtime"]: misses(result) for result in results}
        print(write("latency_model", {"space": SPACE, "bars": BARS, "missed": missed, "results": results}, machine))


if __name__ == "__main__":
    main()
