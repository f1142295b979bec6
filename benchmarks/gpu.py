"""How well block measurements and 20 whole networks predict held-out networks on a CUDA GPU, at batch 1 and 64.

Runs from a checkout with Python 3.11 or newer, torch 2.11 or newer and numpy; nothing else needs to be installed, since
machines with GPUs are often offline (with nvidia-ml-py, clocks and temperatures are recorded, too). Blocks are measured
at four resolutions of ofa-mbv3-w1.2 (362 of them), each batch in a campaign of its own, under CUDA graphs.

    python benchmarks/gpu.py                          # fp32, batch 1 and 64: results/gpu.json
    python benchmarks/gpu.py --precision fp16 --batch 1,32,64
    python benchmarks/gpu.py --rehearse               # a tiny walk through it all on the CPU; writes no result
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

# A checkout need not be installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from machine import describe, write

from fleetfront.errors import FleetfrontError
from fleetfront.pipelines.profile import Budget, profile_space
from fleetfront.predictors.calibrated_table import CalibratedTable
from fleetfront.predictors.fitting import fit_model, measured_networks
from fleetfront.predictors.scores import score
from fleetfront.profilers.gpu.agent import GpuAgent, GpuOptions
from fleetfront.profilers.gpu.opening import gpu_target, open_gpu_agent, rehearsal_agent
from fleetfront.profilers.gpu.stopwatch import CudaStopwatch, HostStopwatch, Stopwatch, Work
from fleetfront.profilers.gpu.torch_program import TorchOpener
from fleetfront.profilers.gpu.visit_timing import LAUNCH_BOUND, time_program
from fleetfront.profilers.observations import noise_floor, read_observations
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.records import Role
from fleetfront.profilers.store import Store
from fleetfront.quantities import Clock
from fleetfront.runtimes.cuda_device import cuda_index, open_cuda_device
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.batch import with_batch
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: No GPU, or no torch that sees one.
NOTHING_TO_MEASURE_ON = 4
BARS = {"within_10": 0.99, "overhead_percent": 2.0, "profile_seconds": 300}
#: Samples of each kind in the comparison with a bare loop.
OVERHEAD_SAMPLES = 200


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


def measure(space: SearchSpace, target: Target, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Profile one batch and judge the model of it on networks that it has not seen."""
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
        outcome = profile_space(
            space,
            target,
            store=store,
            budget=Budget("benchmark", 3600.0),
            rounds=options.rounds,
            options=plan,
            clock=Clock.DEVICE,
            workspace=workspace,
            open_agent=opened,
            progress=Lines(),
        )
        campaign = outcome.result.campaign
        fits = {clock.value: judged(store, target, space, clock, campaign) for clock in (Clock.DEVICE, Clock.WALL)}
        launches = launch_bound(store, campaign)
    seconds = outcome.observations.role_seconds
    held_out = seconds.get(Role.VALIDATION, 0.0)
    return {
        "target": str(target),
        "rounds": options.rounds,
        "things": {role.value: count for role, count in outcome.planned.items()},
        "errors": dict(outcome.observations.errors),
        "seconds": {
            "profile": outcome.result.seconds - held_out,
            "held_out_visits": held_out,
            "total": outcome.result.seconds,
        },
        "environment": dict(outcome.observations.environment),
        "fits": fits,
        "launches": launches,
    }


def judged(store: Store, target: Target, space: SearchSpace, clock: Clock, campaign: str) -> dict[str, Any]:
    """The error of ``a * block sum + b + c * params`` on held-out networks, beside the plain sum's and the floor."""
    seen = read_observations(store, target, space.name, clock, [campaign])
    fitted = fit_model(space, seen)
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
        "floor": {"mape": floor.mape, "within_10": floor.within_10},
        "calibration": {"a": calibration.a, "b_ms": calibration.b, "c_ms_per_param": calibration.c},
        "statistic": model.statistic,
        "discarded": dict(seen.discarded),
    }


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


def bare_ns(watch: Stopwatch, replay: Work, count: int) -> list[int]:
    """What anybody would write: an event before and after each replay, read at the end."""
    if not isinstance(watch, CudaStopwatch):
        laps = []
        for _ in range(count):
            begun = time.perf_counter_ns()
            replay()
            laps.append(time.perf_counter_ns() - begun)
        return laps
    import torch

    cuda: Any = torch.cuda
    events = [[cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
    with cuda.stream(watch.stream):
        for begin, end in events:
            begin.record(watch.stream)
            replay()
            end.record(watch.stream)
    watch.stream.synchronize()
    return [round(begin.elapsed_time(end) * 1e6) for begin, end in events]


def overhead(space: SearchSpace, target: Target, rehearse: bool, folder: Path) -> dict[str, Any]:
    """What a timed visit says of one network, against a bare loop of events around replays of its graph.

    Both take turns, so that both meet the same clocks.
    """
    device = "cpu" if rehearse else target.device
    watch: Stopwatch = HostStopwatch() if rehearse else CudaStopwatch(cuda_index(target.device))
    graph = next(iter(space.subnet_graphs(space.sample(1, np.random.default_rng(0))[0]).values()))[0]
    path = folder / "overhead.graph"
    path.write_bytes(with_batch(graph, target.batch).to_bytes())
    opener = TorchOpener(device, target.precision)
    program = opener.open(path, 4)
    samples = 4 if rehearse else OVERHEAD_SAMPLES // 10
    timed: list[int] = []
    bare: list[int] = []
    try:
        for _ in range(2 if rehearse else 10):
            timing = time_program(program, watch, warm_runs=3, timed_runs=samples, is_block=False)
            timed += timing.device_ns
            replay = watch.capture(lambda: program.enqueue(0))
            bare += bare_ns(watch, replay, samples + 1)[1:]
    finally:
        program.close()
        opener.close()
    percent = 100 * (float(np.median(timed)) / float(np.median(bare)) - 1)
    return {"percent": percent, "timed_ms": float(np.median(timed)) / 1e6, "bare_ms": float(np.median(bare)) / 1e6}


def misses(result: dict[str, Any]) -> list[str]:
    """Which bars a batch misses."""
    met = {
        "within_10": result["fits"]["device"]["held_out"]["within_10"] >= BARS["within_10"],
        "overhead_percent": abs(result["overhead"]["percent"]) <= BARS["overhead_percent"],
        "profile_seconds": result["seconds"]["profile"] <= BARS["profile_seconds"],
    }
    return [name for name, is_met in met.items() if not is_met]


def show(result: dict[str, Any], is_rehearsal: bool) -> None:
    if is_rehearsal:
        things = ", ".join(f"{count} {role}" for role, count in result["things"].items())
        print(f"rehearsed {result['target']}: {things}; clocks fitted: {', '.join(result['fits'])}")
        return
    print(f"\n{result['target']}: profile {result['seconds']['profile']:.0f} s, bar {BARS['profile_seconds']} s")
    for clock, fit in result["fits"].items():
        scores, floor = fit["held_out"], fit["floor"]
        print(
            f"  {clock:7} {scores['networks']} held out: MAPE {scores['mape']:.2f} %, floor {floor['mape']:.2f} %; "
            f"within 5/10 % {100 * scores['within_5']:.0f}/{100 * scores['within_10']:.0f} %; "
            f"Spearman {scores['spearman'] or float('nan'):.4f}; plain sum {fit['plain_sum_mape']:.1f} %"
        )
    print(f"  overhead of timing {result['overhead']['percent']:+.2f} %; launches: {result['launches']}")
    print(f"  bars missed: {', '.join(misses(result)) or 'none'}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "fp16"))
    parser.add_argument("--batch", default="1,64", help="one or several")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calibration", type=int, default=20)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--space", default="ofa-mbv3-w1.2")
    parser.add_argument("--keep", type=Path, help="folder for the measurements; resumed if it exists")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU, nothing written")
    options = parser.parse_args()
    if options.rehearse:
        options.space, options.rounds, options.calibration, options.held_out = "ofa-mbv3-mini", 1, 4, 3
        options.batch = "1,2"
    return options


def main() -> int:
    options = parsed()
    machine = describe()
    gpu: dict[str, Any] = {"name": "none: rehearsed on the CPU"}
    if not options.rehearse:
        try:
            gpu = open_cuda_device(options.device).to_json()
        except FleetfrontError as error:
            print(f"There is nothing to measure on: {error}", file=sys.stderr)
            return NOTHING_TO_MEASURE_ON
    space = load_space(options.space)
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        base = gpu_target(options.device, "torch", options.precision, 1)
        for batch in (int(part) for part in options.batch.split(",")):
            target = replace(base, batch=batch)
            result = measure(space, target, options, folder)
            result["overhead"] = overhead(space, target, options.rehearse, folder)
            result["missed"] = misses(result)
            results.append(result)
            show(result, options.rehearse)
    if options.rehearse:
        print("A rehearsal on the CPU: its numbers would mean nothing, so none is shown or written.")
        return 0
    name = "gpu" if options.precision == "fp32" else f"gpu_{options.precision}"
    print(write(name, {"gpu": gpu, "space": space.name, "bars": BARS, "results": results}, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
