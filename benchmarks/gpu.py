"""Measure how well block measurements and 20 whole networks predict held-out networks on a CUDA GPU, at batch 1 and 64.

Runs from a checkout with Python 3.11 or newer, torch 2.11 or newer and numpy; nothing else needs to be installed, since
machines with GPUs are often offline (with nvidia-ml-py, clocks and temperatures are recorded, too). Blocks are measured
at four resolutions of ofa-mbv3-w1.2 (362 of them), each batch in a campaign of its own, under CUDA graphs. Results are
written after every batch, beside those of batches that ran before.

    python benchmarks/gpu.py                          # fp32, batch 1 and 64: results/gpu.json
    python benchmarks/gpu.py --precision fp16 --batch 1,32,64
    python benchmarks/gpu.py --runtime onnxruntime    # its CUDA provider, under the host's clock: the same file
    python benchmarks/gpu.py --batch 1 --seconds 540 --out DIR   # on a machine that ends programs after ten minutes
    python benchmarks/gpu.py --rehearse               # a tiny walk through it all on the CPU; writes no result
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

# A checkout need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from gpu_energy import energy
from gpu_overhead import overhead
from machine import RESULTS, describe, write

from fleetfront.errors import FleetfrontError
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.predictors.scores import score
from fleetfront.predictors.table.block_model import block_model, linear_block_model
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fitting import fit_model, measured_networks
from fleetfront.profilers.campaign import CampaignInterrupted
from fleetfront.profilers.gpu.agent import GpuAgent, GpuOptions
from fleetfront.profilers.gpu.open_agent import gpu_target, open_gpu_agent, rehearsal_agent
from fleetfront.profilers.gpu.visit_timing import LAUNCH_BOUND
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.reading.observations import noise_floor, read_observations
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import place_of
from fleetfront.runtimes.cuda_device import open_cuda_device
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: No GPU, or no torch that sees one.
NOTHING_TO_MEASURE_ON = 4
INTERRUPTED = 130
BARS = {"mape": 5.0, "within_10": 0.95, "overhead_percent": 2.0, "profile_seconds": 300}
#: Fitting, judging and writing one batch; files of the next are written on its own time.
SECONDS_TO_JUDGE = 15.0


class Lines:
    """Progress on stderr, a line every ten seconds."""

    def __init__(self) -> None:
        self._label, self._done, self._last = "", 0, 0.0
        self._total: int | None = None

    def start(self, label: str, total: int | None = None) -> None:
        self._label, self._total, self._done, self._last = label, total, 0, time.monotonic()
        self.note(f"{label} ...")

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self._done += steps
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            self.note(f"{self._label}: {self._done}/{self._total} {detail}")

    def finish(self) -> None:
        self._label = ""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


@dataclass
class Allowance:
    """Seconds for all batches together; ``is_ended`` once somebody ended the program."""

    deadline: float
    batches: int
    is_ended: bool = False

    def share_s(self) -> float:
        """What one of the batches that are left may take, with some kept for judging it."""
        return max(20.0, (self.deadline - time.monotonic()) / max(1, self.batches) - SECONDS_TO_JUDGE)


def measure(
    space: SearchSpace, target: Target, options: argparse.Namespace, folder: Path, allowance: Allowance
) -> dict[str, Any]:
    """Profile one batch and judge the model of it on networks that it has not seen.

    What was measured is judged, too, if the time is up or somebody ends the program.
    """
    plan = PlanOptions(
        seed=options.seed,
        calibration=options.calibration,
        validation=options.held_out,
        blocks="ends" if options.rehearse else "four",
        warm_runs=1 if options.rehearse else 3,
        timed_runs=2 if options.rehearse else 10,
    )
    # Energy has its own seconds for each network; here the seconds of a profile are what is judged.
    settings = GpuOptions(energy_s=0.0)

    def opened(wanted: Target) -> GpuAgent:
        if options.rehearse:
            return rehearsal_agent(wanted, settings)
        return open_gpu_agent(wanted, folder, options=settings, progress=Lines())

    workspace = Workspace(folder)
    with Store(workspace.store) as store:
        try:
            outcome = profile_space(
                space,
                target,
                store=store,
                budget=Budget("benchmark", allowance.share_s()),
                rounds=options.rounds,
                options=plan,
                clock=clocks_of(target)[0],
                workspace=workspace,
                open_agent=opened,
                progress=Lines(),
            )
            ended_by = outcome.result.ended_by
        except CampaignInterrupted:
            allowance.is_ended, ended_by = True, "interrupted"
        return {"ended_by": ended_by, **found_out(store, target, space)}


def judge(space: SearchSpace, target: Target, folder: Path) -> dict[str, Any]:
    """The fits of the newest campaign of ``target``, by clock."""
    with Store(Workspace(folder).store, must_exist=True) as store:
        campaign = store.campaigns(target=target, space=space.name)[0].id
        return {clock.value: judged(store, target, space, clock, campaign) for clock in clocks_of(target)}


def clocks_of(target: Target) -> tuple[Clock, ...]:
    """What its runtime can tell on a GPU; the first is the one that is fitted and judged."""
    return place_of("cuda", target.runtime).clocks


def found_out(store: Store, target: Target, space: SearchSpace) -> dict[str, Any]:
    """What the newest campaign of ``target`` says, whether it is complete or not."""
    row = store.campaigns(target=target, space=space.name)[0]
    seen = read_observations(store, target, space.name, clocks_of(target)[0], [row.id])
    held_out = seen.role_seconds.get(Role.VALIDATION, 0.0)
    return {
        "rounds_begun": 1 + store.last_round(row.id),
        "things": {role.value: len(visits) for role, visits in seen.visits.items()},
        "errors": dict(seen.errors),
        "seconds": {"profile": seen.seconds - held_out, "held_out_visits": held_out, "total": seen.seconds},
        "environment": dict(seen.environment),
        "conditions": conditions(store, row.id, clocks_of(target)[0]),
        "launches": launch_bound(store, row.id),
    }


def conditions(store: Store, campaign: str, clock: Clock) -> dict[str, Any]:
    """Lowest, median and highest of what NVML said after the visits, and how often clocks were held down for what."""
    rows = list(store.measurements(campaigns=[campaign], clock=clock))
    found: dict[str, Any] = {"visits": len(rows)}
    for name in ("frequency_khz", "memory_mhz", "power_w", "temperature_c"):
        known = [float(row.after[name]) for row in rows if name in row.after]
        if known:
            found[name] = [min(known), float(np.median(known)), max(known)]
    found["clock_reasons"] = Counter(reason for row in rows for reason in row.after.get("clock_reasons", ()))
    found["not_steady"] = sum(not row.after.get("is_steady", True) for row in rows)
    return found


def judged(store: Store, target: Target, space: SearchSpace, clock: Clock, campaign: str) -> dict[str, Any]:
    """The error of ``a * block sum + b + c * params`` on held-out networks, beside the plain sum's and the floor."""
    seen = read_observations(store, target, space.name, clock, [campaign])
    # Blocks that failed or had no time are filled in; machines with GPUs may lack what does that best.
    fill = block_model if has_xgboost() else linear_block_model
    fitted = fit_model(space, seen, fill=fill)
    table, model = CalibratedTable(space, fitted.model), fitted.model
    held_out = measured_networks(seen, space, Role.VALIDATION, model.statistic)
    estimate = table.predict(held_out.genotypes)
    scores = score(estimate.mean, held_out.ms, estimate.std)
    floor = noise_floor(seen, Role.VALIDATION, model.statistic)
    calibration = model.calibration
    return {
        "held_out": {
            "networks": int(held_out.ms.size),
            "mape": scores.mape,
            "within_5": scores.within_5,
            "within_10": scores.within_10,
            "spearman": scores.spearman,
            "coverage_90": scores.coverage_90,
            "ms": [float(held_out.ms.min()), float(held_out.ms.max())],
        },
        "plain_sum_mape": score(table.lookup_ms(held_out.genotypes), held_out.ms).mape,
        # With one visit each there is no floor, and JSON has no NaN.
        "floor": {"mape": floor.mape, "within_10": floor.within_10} if floor.networks else None,
        "calibration": {"a": calibration.a, "b_ms": calibration.b, "c_ms_per_param": calibration.c},
        "statistic": model.statistic,
        "filling": "block_model" if fill is block_model else "linear_block_model",
        "discarded": dict(seen.discarded),
    }


def has_xgboost() -> bool:
    """Whether it can be imported, which takes a second."""
    try:
        import_module("xgboost")
    except ImportError:
        return False
    return True


def launch_bound(store: Store, campaign: str) -> dict[str, Any]:
    """Networks whose eager wall time is far above their time on the device."""
    rows = [
        row
        for row in store.measurements(campaigns=[campaign], clock=Clock.WALL)
        if row.role in (Role.CALIBRATION, Role.VALIDATION) and "eager_ratio" in row.after
    ]
    ratios = [float(row.after["eager_ratio"]) for row in rows]
    return {
        "networks": len({row.key for row in rows}),
        "launch_bound": len({row.key for row in rows if LAUNCH_BOUND in row.flags}),
        "median_eager_ratio": float(np.median(ratios)) if ratios else None,
    }


def one_batch(
    space: SearchSpace, target: Target, options: argparse.Namespace, folder: Path, allowance: Allowance
) -> dict[str, Any]:
    """All that is to be found out about a batch. What fails is told at length and kept beside what did not.

    The comparison with a bare loop comes first: it takes seconds, and what is wrong with a GPU shows there.
    """
    result: dict[str, Any] = {"target": str(target), "rounds": options.rounds}
    parts: dict[str, Callable[[], dict[str, Any]]] = {}
    if target.runtime == "torch":
        parts["overhead"] = lambda: {"overhead": overhead(space, target, options.rehearse, folder)}
        parts["energy"] = lambda: {} if options.rehearse else {"energy": energy(space, target, options.uuid, folder)}
    parts |= {
        "measurements": lambda: measure(space, target, options, folder, allowance),
        "fits": lambda: {"fits": judge(space, target, folder)},
    }
    for name, part in parts.items():
        try:
            result |= part()
        # It ends this part alone, and is shown and written down as it is.
        except Exception as error:
            traceback.print_exc()
            result.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"
        if name in ("overhead", "energy") and not options.rehearse:
            print(f"{target}: {result.get(name)}", file=sys.stderr, flush=True)
    result["missed"] = misses(result)
    return result


def misses(result: dict[str, Any]) -> list[str]:
    """Which bars a batch misses, or was not measured for."""

    held_out = next(iter(result.get("fits", {}).values()), {}).get("held_out", {})
    met: dict[str, Callable[[], bool]] = {
        "mape": lambda: held_out["mape"] <= BARS["mape"],
        "within_10": lambda: held_out["within_10"] >= BARS["within_10"],
        "overhead_percent": lambda: abs(result["overhead"]["percent"]) <= BARS["overhead_percent"],
        "profile_seconds": lambda: result["seconds"]["profile"] <= BARS["profile_seconds"],
    }
    part = {"mape": "fits", "within_10": "fits", "overhead_percent": "overhead", "profile_seconds": "seconds"}
    if "/torch/" not in result["target"]:
        del met["overhead_percent"]
    return [name for name, is_met in met.items() if part[name] not in result or not is_met()]


def show(result: dict[str, Any], is_rehearsal: bool) -> None:
    for part, said in result.get("failed", {}).items():
        print(f"\n{result['target']}: the {part} failed: {said}", flush=True)
    if "fits" not in result:
        return
    if is_rehearsal:
        things = ", ".join(f"{count} {role}" for role, count in result["things"].items())
        print(f"rehearsed {result['target']}: {things}; clocks fitted: {', '.join(result['fits'])}")
        return
    print(
        f"\n{result['target']}: profile {result['seconds']['profile']:.0f} s, bar {BARS['profile_seconds']} s; "
        f"{result['rounds_begun']} rounds, ended by {result['ended_by']}; {len(result['errors'])} things failed"
    )
    for clock, fit in result["fits"].items():
        scores, floor = fit["held_out"], fit["floor"] or {"mape": float("nan")}
        print(
            f"  {clock:7} {scores['networks']} held out: MAPE {scores['mape']:.2f} %, floor {floor['mape']:.2f} %; "
            f"within 5/10 % {100 * scores['within_5']:.0f}/{100 * scores['within_10']:.0f} %; "
            f"Spearman {scores['spearman'] or float('nan'):.4f}; plain sum {fit['plain_sum_mape']:.1f} %"
        )
    percent = result["overhead"]["percent"] if "overhead" in result else float("nan")
    print(f"  overhead of timing {percent:+.2f} %; launches: {result['launches']}")
    print(f"  {result['conditions']}")
    print(f"  bars missed: {', '.join(misses(result)) or 'none'}", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--runtime", default="torch", choices=("torch", "onnxruntime"))
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "fp16"))
    parser.add_argument("--batch", default="1,64", help="one or several")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calibration", type=int, default=20)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--space", default="ofa-mbv3-w1.2")
    parser.add_argument("--keep", type=Path, help="folder for the measurements; resumed if it exists")
    parser.add_argument(
        "--seconds",
        type=float,
        default=1200.0,
        help="for all batches together: what is measured by then is judged (default: %(default)g)",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for gpu.json (default: benchmarks/results)")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU, nothing written")
    options = parser.parse_args()
    if options.rehearse:
        options.space, options.rounds, options.calibration, options.held_out = "ofa-mbv3-mini", 1, 4, 3
        options.batch = "1,2"
    return options


def gently(_signal: int, _frame: object) -> None:
    """Being told to end is as good as Ctrl-C: the visit in flight is finished, and what there is is judged."""
    os.kill(os.getpid(), signal.SIGINT)


def earlier(path: Path, gpu: dict[str, Any], targets: Sequence[str]) -> list[dict[str, Any]]:
    """Results of other targets that an earlier run left for this GPU and driver, so that batches can be run apart."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if any(kept.get("gpu", {}).get(name) != gpu.get(name) for name in ("name", "driver")):
        return []
    return [result for result in kept.get("results", []) if result.get("target") not in targets]


def main() -> int:
    options = parsed()
    machine = describe()
    gpu: dict[str, Any] = {"name": "none: rehearsed on the CPU"}
    if not options.rehearse:
        try:
            device = open_cuda_device(options.device)
            gpu, options.uuid = device.to_json(), device.uuid
        except FleetfrontError as error:
            print(f"There is nothing to measure on: {error}", file=sys.stderr)
            return NOTHING_TO_MEASURE_ON
        signal.signal(signal.SIGTERM, gently)
    space = load_space(options.space)
    name = "gpu" if options.precision == "fp32" else f"gpu_{options.precision}"
    base = gpu_target(options.device, options.runtime, options.precision, 1)
    targets = [replace(base, batch=int(batch)) for batch in options.batch.split(",")]
    results = earlier(options.out / f"{name}.json", gpu, [str(target) for target in targets])
    failed, allowance = 0, Allowance(time.monotonic() + options.seconds, len(targets))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for target in targets:
            result = {**one_batch(space, target, options, folder, allowance), "date": machine["date"]}
            allowance.batches -= 1
            failed += "failed" in result
            results.append(result)
            show(result, options.rehearse)
            if not options.rehearse:
                # After every batch: whoever lends the machine may end the program at any time.
                content = {"gpu": gpu, "space": space.name, "bars": BARS, "results": results}
                print(write(name, content, machine, options.out), flush=True)
            if allowance.is_ended:
                return INTERRUPTED
    if options.rehearse:
        print("A rehearsal on the CPU: its numbers would mean nothing, so none is shown or written.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
