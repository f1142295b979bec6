"""Profile both precisions of a space that is searched in them, and judge what int8 costs in accuracy and in time.

On handwritten digits, with a supernet of ofa-mbv3-mini trained before and a profile of this machine's CPU in both
precisions, one campaign after the other. ``precision_joint.py`` searches with them.

- drops: the drop learnt from networks of one draw against that of the int8 files of other networks, on the images that
  it was learnt on and on held-out ones.
- files: pairs of float and int8 model files, predicted by operator costs and timed.

    python benchmarks/precision_search.py --work DIR --weights digits.safetensors --stage profile --runtime litert
    python benchmarks/precision_search.py --work DIR --weights digits.safetensors --stage drops     # repeat until done
    python benchmarks/precision_search.py --work DIR --stage files --models FOLDER
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, write

from fleetfront.cli.console import progress
from fleetfront.datasets import Dataset, Split, load_images
from fleetfront.deploy.formats import FORMATS
from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.pipelines.precision_drops import NETWORKS, draw_networks, judge_files
from fleetfront.predictors.accuracy.precisions import Drop
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Z90, Clock, Tier
from fleetfront.spaces.base import SupernetSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.checkpoints import load_supernet
from fleetfront.spaces.supernet.subnets import Supernet
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SPACE, SIDE = "ofa-mbv3-mini", 32
RUNTIMES = {"onnxruntime": "onnx", "litert": "tflite"}
PRECISIONS = ("fp32", "int8")
#: Networks whose int8 files nothing was learnt from, and the seed of their draw.
HELD_OUT, SEED = 25, 1
#: Coverage is told of intervals of fewer images.
_MOST_IMAGES = 5
#: Visits of each file.
ROUNDS = 20
#: Float and int8 file of one model each.
PAIRS = (
    ("ad01_fp32.tflite", "ad01_int8.tflite"),
    ("kws_ref_model_float32.tflite", "kws_ref_model.tflite"),
    ("pretrainedResnet.tflite", "pretrainedResnet_quant.tflite"),
    ("vww_96_float.tflite", "vww_96_int8.tflite"),
)
BARS = {
    "drops within their interval": (0.85, 0.95),
    "predicted over measured ratio of latencies, worst pair": 0.15,
}


def profile(folder: Path, runtime: str, seconds: float) -> None:
    """Profile and fit both precisions of one runtime, ``seconds`` each."""
    space, workspace = load_space(SPACE), Workspace(folder)
    with Store(workspace.store) as store, progress() as shown:
        for precision in PRECISIONS:
            target = Target("cpu", runtime, precision)
            budget, plan = Budget("benchmark", seconds), PlanOptions(validation=30)
            profile_space(space, target, store=store, budget=budget, options=plan, workspace=workspace, progress=shown)
            fit_target(store, target, space, workspace=workspace)


def drops(folder: Path, supernet: Supernet, images: Dataset) -> dict[str, Any]:
    """Learn the drop from one draw and hold it against another."""
    workspace, kinds = Workspace(folder), [FORMATS[name] for name in RUNTIMES.values()]
    draws = {"learnt": draw_networks(supernet, images, NETWORKS, 0)}
    draws["held out"] = draw_networks(supernet, images, HELD_OUT, SEED)
    judged = {}
    with progress() as shown:
        for name, networks, split in (
            ("learnt", draws["learnt"], Split.VALIDATION),
            ("other networks", draws["held out"], Split.VALIDATION),
            ("other networks and images", draws["held out"], Split.TEST),
        ):
            judged[name] = judge_files(
                supernet, images, networks, "int8", kinds, split=split, workspace=workspace, progress=shown
            )
    drop = Drop.learn([one.drop for one in judged["learnt"]], Tier.PREDICTED, "")
    return {
        "drop": {"points": drop.points, "std": drop.std, "files": drop.networks},
        "judged": {
            name: {
                "files": len(files),
                "images": files[0].images,
                "within": float(np.mean([abs(one.drop - drop.points) <= Z90 * drop.std for one in files])),
                # Drops are whole images, so that an interval covers in steps.
                "interval_in_images": Z90 * drop.std * files[0].images / 100,
                "within_images": {
                    str(most): float(np.mean([abs(one.correct_in_float - one.correct) <= most for one in files]))
                    for most in range(_MOST_IMAGES)
                },
                **_spread([one.drop for one in files]),
                "median_by_format": {
                    kind.name: float(np.median([one.drop for one in files if one.format == kind.name]))
                    for kind in kinds
                },
                "rows": [asdict(one) for one in files],
            }
            for name, files in judged.items()
        },
    }


def files(folder: Path, costs: Path, models: Path) -> dict[str, Any]:
    """Ratio of int8 to float latency of each pair on LiteRT, predicted from operator costs and timed now."""
    from fleetfront.pipelines.measure.files import measure_files
    from fleetfront.pipelines.predict.files import LEAST_KNOWN, predict

    measured, rows = {}, []
    with Store(folder / "files.sqlite") as store:
        for at, precision in enumerate(PRECISIONS):
            paths = {pair[at]: models / pair[at] for pair in PAIRS}
            target = Target("cpu", "litert", precision)
            found = measure_files(
                paths, target, store, clock=Clock.THREAD_CPU, rounds=ROUNDS, workspace=Workspace(folder)
            )
            measured |= found.latencies
    for pair in PAIRS:
        predicted, known = [], []
        for name in pair:
            row = predict(models / name, devices=["cpu/litert"], workspace=Workspace(costs), least_known=0.0)[0]
            if row.tier != Tier.ESTIMATED:
                raise SystemExit(f"{name} is {row.tier} in {costs}: give a workspace with operator costs alone.")
            predicted.append(row.latency_ms)
            known.append(row.known_share)
        fastest = [measured[name].ms for name in pair]
        rows.append(
            {
                "pair": list(pair),
                "predicted_ms": predicted,
                "known": known,
                "measured_ms": fastest,
                "predicted_ratio": predicted[1] / predicted[0],
                "measured_ratio": fastest[1] / fastest[0],
                "off": predicted[1] / predicted[0] / (fastest[1] / fastest[0]) - 1,
                # Of such files a user is told that too little of them is known.
                "is_refused": min(known) < LEAST_KNOWN,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    told = [abs(row["off"]) for row in rows if not row["is_refused"]]
    return {"rows": rows, "told": len(told), "worst": max(told)}


def _spread(values: Any) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {"p5": float(low), "median": float(middle), "p95": float(high)}


def missed(results: dict[str, Any]) -> list[str]:
    """The bars that the stages so far miss, in words."""
    found = {}
    if "drops" in results:
        low, high = BARS["drops within their interval"]  # type: ignore[misc]
        for name, one in results["drops"]["judged"].items():
            if name != "learnt":
                found[f"{one['within']:.0%} of drops of {name} within"] = not low <= one["within"] <= high
    if "files" in results:
        worst = results["files"]["worst"]
        found[f"ratio of latencies {worst:.0%} off"] = worst > 0.15
    return [words for words, is_missed in found.items() if is_missed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where profiles and answers are kept")
    parser.add_argument("--weights", type=Path, help="of `fleetfront train digits`")
    parser.add_argument("--stage", choices=["profile", "drops", "files"], required=True)
    parser.add_argument("--runtime", choices=list(RUNTIMES))
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--models", type=Path, help="folder of model files")
    parser.add_argument("--costs", type=Path, help="workspace with operator costs")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.stage == "profile":
        for runtime in [options.runtime] if options.runtime else RUNTIMES:
            profile(options.work, runtime, options.seconds)
        return
    if options.stage == "files":
        found = files(options.work, options.costs or options.work, options.models)
    else:
        space = load_space(SPACE)
        assert isinstance(space, SupernetSpace)
        supernet, images = load_supernet(options.weights, space), load_images("digits", SIDE)
        found = drops(options.work, supernet, images)
    path = RESULTS / "precision_search.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    results = {name: before[name] for name in ("drops", "files") if name in before} | {options.stage: found}
    print(", ".join(missed(results)) or "all bars met so far")
    write("precision_search", {"space": SPACE, "bars": BARS, "missed": missed(results), **results})


if __name__ == "__main__":
    main()
