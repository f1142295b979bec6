"""Judge predictions of model files on this CPU: 60 networks that nothing was fitted to, and real files.

Stages, each kept in the folder given, so that they can be run one by one on a quiet machine:
  python benchmarks/any_model.py FOLDER --stage files      write the networks as .onnx, and as .tflite where possible
  python benchmarks/any_model.py FOLDER --stage build --runtime onnxruntime     measure what operators cost
  python benchmarks/any_model.py FOLDER --stage measure    time all files, interleaved
  python benchmarks/any_model.py FOLDER --stage judge      compare, and write results/any_model.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write

from fleetfront.errors import FleetfrontError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.readers.file import read_graph
from fleetfront.pipelines.measure.file_operators import told_groups
from fleetfront.pipelines.measure.files import measure_files
from fleetfront.pipelines.measure.operators import profile_operators
from fleetfront.predictors.operators.cost_files import (
    costs_path,
    load_costs,
    save_costs,
)
from fleetfront.predictors.operators.costs import OperatorCosts
from fleetfront.predictors.operators.estimates import GraphEstimate
from fleetfront.predictors.operators.samples import random_array
from fleetfront.profilers.cpu.file_operators import time_file_operators
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

RUNTIMES = {"onnxruntime": ".onnx", "litert": ".tflite"}
#: Networks whose operators are not those of convolutional classifiers.
OTHERS = (
    "deit",
    "vit",
    "swin",
    "mixer",
    "lstm",
    "gru",
    "words",
    "sounds",
    "unet",
    "super",
    "generator",
)
MODEL_FILES = Path(__file__).resolve().parents[2] / "shared" / "data" / "model_files"
RESULT = Path(__file__).with_name("results") / "any_model.json"
ROUNDS, TOP = 5, 5
#: Families that exporters spell Gelu with.
SPELLING = ("elementwise", "add", "multiply")


def make_files(folder: Path) -> None:
    """The networks as .onnx; the same read and written as .tflite with random weights where the writer can."""
    from any_model_networks import NETWORKS
    from any_model_networks import write as write_network

    from fleetfront.deploy.writers.tflite.writer import write_tflite

    refused = {}
    for name in NETWORKS:
        path = write_network(name, folder / "files")
        try:
            graph = with_weights(fold_batch_norm(read_graph(path)))
            (folder / "files" / f"{name}.tflite").write_bytes(write_tflite(graph))
        except FleetfrontError as error:
            refused[name] = error.message
    (folder / "not_tflite.json").write_text(json.dumps(refused, indent=1))


def with_weights(graph: Graph) -> Graph:
    """The graph with random float weights in place of its placeholders: equal ones would be written once."""
    count = 0

    def drawn(_: str, array: Any) -> Any:
        nonlocal count
        count += 1
        return random_array(array.shape, count) if array.dtype == np.float32 else np.zeros(array.shape, array.dtype)

    return replace(graph.rewrite(weights=drawn), has_placeholders=False)


def files_of(folder: Path, runtime: str, model_files: Path) -> dict[str, Path]:
    suffix = RUNTIMES[runtime]
    found = {path.stem: path for path in sorted((folder / "files").glob(f"*{suffix}"))}
    return found | {f"real/{path.stem}": path for path in sorted(model_files.glob(f"*{suffix}"))}


def build(folder: Path, runtime: str, seconds: float) -> None:
    began = describe()
    place = Workspace(folder / "home")
    with Store(folder / "home" / "store.sqlite") as store:
        costs = profile_operators(Target("cpu", runtime), store=store, seconds=seconds, workspace=place)
    save_costs(costs, place)
    (folder / f"build_{runtime}.json").write_text(json.dumps({"seconds": costs.seconds, "machine": began}))
    print(runtime, f"{costs.seconds:.0f} s, rms {costs.scales.rms:.3f}")


def measure(folder: Path, runtime: str, model_files: Path, rounds: int) -> None:
    began = describe()
    files = files_of(folder, runtime, model_files)
    with Store(folder / "home" / "store.sqlite") as store:
        found = measure_files(
            files,
            Target("cpu", runtime),
            store,
            rounds=rounds,
            workspace=Workspace(folder / "home"),
        )
    rows = {name: {"ms": one.ms, "std_ms": one.std_ms, "error": one.error} for name, one in found.latencies.items()}
    (folder / f"measured_{runtime}.json").write_text(json.dumps({"machine": began, "files": rows}, indent=1))


def judge(
    folder: Path, runtime: str, model_files: Path, with_shares: bool, others: Sequence[Path] = ()
) -> dict[str, Any]:
    """``others``: folders of other sittings on this machine, whose measurements the same intervals must hold, too."""
    costs = load_costs(costs_path(Workspace(folder / "home"), Target("cpu", runtime), Clock.THREAD_CPU))
    measured = json.loads((folder / f"measured_{runtime}.json").read_text())
    rows = []
    for name, path in files_of(folder, runtime, model_files).items():
        row: dict[str, Any] = {
            "name": name,
            "measured_ms": measured["files"].get(name, {}).get("ms"),
        }
        began = time.perf_counter()
        try:
            estimate = costs.estimate(fold_batch_norm(read_graph(path)))
            row |= {
                "ms": estimate.mean_ms,
                "std_ms": estimate.std_ms,
                "known_share": estimate.known_share,
                "seconds": time.perf_counter() - began,
            }
            if with_shares:
                row["top"] = top_agreement(path, runtime, estimate)
        except FleetfrontError as error:
            row["refused"] = f"{error.message} {error.remedy}"
        rows.append(row)
    return {
        "build": json.loads((folder / f"build_{runtime}.json").read_text()),
        "measured_on": measured["machine"],
        "kinds": {kind: {"samples": one.samples, "mape": one.mape} for kind, one in costs.kinds.items()},
        "family_left_out_rms": costs.scales.rms,
        "summary": summary(rows, costs),
        "other_sittings": [in_another_sitting(rows, other / f"measured_{runtime}.json") for other in others],
        "files": rows,
    }


def in_another_sitting(rows: Sequence[Mapping[str, Any]], measured: Path) -> dict[str, Any]:
    """The same predictions against what the files took in another sitting, and how far that is from this one."""
    found = json.loads(measured.read_text())
    there = {name: one["ms"] for name, one in found["files"].items() if one["ms"]}
    both = [
        row for row in rows if row["name"] in there and row.get("measured_ms") and row.get("known_share", 0.0) >= 0.7
    ]
    moved = [there[row["name"]] / row["measured_ms"] - 1 for row in both]
    told = errors([{**row, "measured_ms": there[row["name"]]} for row in both])
    return {**told, "measured_on": found["machine"], "sittings_differ": float(100 * np.mean(np.abs(moved)))}


def top_agreement(path: Path, runtime: str, estimate: GraphEstimate) -> dict[str, float] | None:
    """Share of the five heaviest groups of operators of the runtime's own profile that are among the five predicted,
    and as a floor that of one profile in another one of the same file; None of files of fewer groups.

    A group is what either side takes as one: the runtime fuses some operators, the prediction others. Groups as heavy
    as the fifth, within a tenth, count as among the five: equal layers tie.
    """
    profiles = [time_file_operators(load_runtime(runtime), path) for _ in range(2)]
    times, graph = profiles[0], read_graph(path)
    told = told_groups(graph, times)
    heads = {name: part.name for part in estimate.parts for name in (part.name, *part.fused)}
    owner = {name: name for name in (*heads, *(operator.outputs[0] for operator in graph.operators))}

    def group(name: str) -> str:
        while owner[name] != name:
            name = owner[name]
        return name

    for same in (told, heads):
        first: dict[Any, str] = {}
        for name, key in same.items():
            if name in owner:
                owner[group(name)] = group(first.setdefault(key, name))
    # What spells one predicted operator has parts of its own only in the profile: they lead to its last.
    readers = {name: operator.outputs[0] for operator in reversed(graph.operators) for name in operator.inputs}
    for operator in reversed(graph.operators):
        name = operator.outputs[0]
        if name in told and name not in heads and name in readers and operator.family in SPELLING:
            owner[group(name)] = group(readers[name])
    profiled, again, predicted = (defaultdict[str, float](float) for _ in range(3))
    for profile, found in zip(profiles, (profiled, again), strict=True):
        firsts = {place: name for name, place in reversed(told_groups(graph, profile).items())}
        for place, name in firsts.items():
            found[group(name)] += profile.operators[place].ms
    for part in estimate.parts:
        predicted[group(part.name)] += part.ms
    if len(profiled) < TOP:
        return None
    return {"predicted": overlap(profiled, predicted), "again": overlap(profiled, again)}


def overlap(profiled: Mapping[str, float], told: Mapping[str, float]) -> float:
    heaviest = sorted(profiled, key=lambda name: -profiled[name])[:TOP]
    fifth = sorted(told.values())[-min(TOP, len(told))]
    return float(np.mean([told.get(name, 0.0) >= 0.9 * fifth for name in heaviest]))


def summary(rows: Sequence[Mapping[str, Any]], costs: OperatorCosts) -> dict[str, Any]:
    said = [row for row in rows if row.get("measured_ms") and "ms" in row and row["known_share"] >= 0.7]
    groups = {
        "all": said,
        "cnns": [row for row in said if not row["name"].startswith((*OTHERS, "real/"))],
        "others": [row for row in said if row["name"].startswith(OTHERS)],
        "real": [row for row in said if row["name"].startswith("real/")],
    }
    told = {name: errors(group) for name, group in groups.items() if group}
    refused = [row["name"] for row in rows if "refused" in row or row.get("known_share", 0.0) < 0.7]
    tops = [row["top"] for row in rows if row.get("top") is not None]
    agreed, again = ([one[side] for one in tops] for side in ("predicted", "again"))
    return {
        **told,
        "files": len(rows),
        "refused_or_little_known": refused,
        "slowest_prediction_s": max((row["seconds"] for row in rows if "seconds" in row), default=None),
        "top5_all_agree": float(np.mean([one == 1.0 for one in agreed])) if agreed else None,
        "top5_mean_overlap": float(np.mean(agreed)) if agreed else None,
        "top5_all_agree_of_two_profiles": float(np.mean([one == 1.0 for one in again])) if again else None,
        "target": str(costs.target),
    }


def errors(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    ratio = np.array([row["ms"] / row["measured_ms"] for row in rows])
    reach = np.array([abs(row["ms"] - row["measured_ms"]) / (1.645 * row["std_ms"]) for row in rows])
    return {
        "files": len(rows),
        "mape": float(100 * np.mean(np.abs(ratio - 1))),
        "median_ape": float(100 * np.median(np.abs(ratio - 1))),
        "bias": float(100 * np.mean(ratio - 1)),
        "within_10": float(np.mean(np.abs(ratio - 1) <= 0.1)),
        "coverage_90": float(np.mean(reach <= 1)),
    }


def public_files(costs: OperatorCosts) -> dict[str, Any]:
    """Every ``.onnx`` and ``.tflite`` file of the installed packages: predicted, or refused with a reason."""
    import sysconfig

    site = Path(sysconfig.get_paths()["purelib"])
    told: dict[str, Any] = {
        "files": 0,
        "predicted": 0,
        "little_known": 0,
        "refused": 0,
        "tracebacks": [],
    }
    for path in sorted([*site.rglob("*.onnx"), *site.rglob("*.tflite")]):
        told["files"] += 1
        try:
            known = costs.estimate(fold_batch_norm(read_graph(path))).known_share
            told["predicted" if known >= 0.7 else "little_known"] += 1
        except FleetfrontError:
            told["refused"] += 1
        except Exception as error:
            told["tracebacks"].append(f"{path.relative_to(site)}: {error!r}"[:200])
    return told


def whole_prediction(folder: Path) -> dict[str, Any]:
    """``ff.predict`` of the largest file, and of a torch module, everything included."""
    import torch

    import fleetfront as ff

    largest = max((folder / "files").glob("*.onnx"), key=lambda path: path.stat().st_size)
    place = Workspace(folder / "home")
    began = time.perf_counter()
    ff.predict(
        largest,
        devices="cpu/onnxruntime",
        least_known=0.0,
        workspace=place,
        store=folder / "none.sqlite",
    )
    file_s = time.perf_counter() - began
    module = torch.nn.Sequential(*[torch.nn.Conv2d(64, 64, 3, padding=1) for _ in range(50)])
    image = torch.empty(1, 64, 56, 56)
    ff.predict(
        module,
        image,
        devices="cpu/onnxruntime",
        workspace=place,
        store=folder / "none.sqlite",
    )
    began = time.perf_counter()
    ff.predict(
        module,
        image,
        devices="cpu/onnxruntime",
        workspace=place,
        store=folder / "none.sqlite",
    )
    return {
        "file": largest.name,
        "file_mb": largest.stat().st_size / 1e6,
        "file_s": file_s,
        "torch_module_s": time.perf_counter() - began,
        "torch_start_s": torch_start(),
    }


def torch_start() -> dict[str, float]:
    """Seconds that a process spends before its first module: importing torch, then what fake tensors import."""
    program = (
        "import time; a = time.perf_counter(); import torch; b = time.perf_counter()\n"
        "from torch._subclasses.fake_tensor import FakeTensorMode\n"
        "FakeTensorMode(); print(b - a, time.perf_counter() - b)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    return {"import": float(told[0]), "fake_tensors": float(told[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stage", choices=["files", "build", "measure", "judge"], required=True)
    parser.add_argument("--runtime", choices=list(RUNTIMES))
    parser.add_argument("--seconds", type=float, default=225.0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--no-shares", action="store_true", help="leave the runtime's own profiles out")
    parser.add_argument("--other", type=Path, action="append", default=[], help="folder of another sitting, to judge")
    parser.add_argument("--model-files", type=Path, default=MODEL_FILES)
    arguments = parser.parse_args()
    runtimes = [arguments.runtime] if arguments.runtime else list(RUNTIMES)
    if arguments.stage == "files":
        make_files(arguments.folder)
        return
    # What a runtime was judged at keeps its own record of machine and day.
    result: dict[str, Any] = json.loads(RESULT.read_text()) if arguments.runtime and RESULT.exists() else {}
    for runtime in runtimes:
        if arguments.stage == "build":
            build(arguments.folder, runtime, arguments.seconds)
        elif arguments.stage == "measure":
            measure(arguments.folder, runtime, arguments.model_files, arguments.rounds)
        else:
            result[runtime] = judge(
                arguments.folder,
                runtime,
                arguments.model_files,
                runtime == "onnxruntime" and not arguments.no_shares,
                arguments.other,
            )
            print(json.dumps(result[runtime]["summary"], indent=1))
            keep(result)
    if arguments.stage == "judge":
        from any_model_tables import foreign_tables

        place = costs_path(Workspace(arguments.folder / "home"), Target("cpu", runtimes[0]), Clock.THREAD_CPU)
        parts: dict[str, Callable[[], Any]] = {
            "foreign": lambda: foreign_tables(arguments.model_files.parent),
            "prediction_time": lambda: whole_prediction(arguments.folder),
            "public_files": lambda: public_files(load_costs(place)),
        }
        for name, found in parts.items():
            result[name] = found()
            print(name, json.dumps(result[name])[:1500])
            keep(result)


def keep(result: dict[str, Any]) -> None:
    """Write what is judged so far, with this machine in place of the one before."""
    result.pop("machine", None)
    write("any_model", result)


if __name__ == "__main__":
    main()
