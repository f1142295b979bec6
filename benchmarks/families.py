"""Measure how well families of a user's file are predicted on this machine's CPU, and how long they take.

Each example of ``examples/families`` is profiled and searched by the two commands that a user types, in a fresh home.
Spaces that fleetfront brings are profiled on a runtime; the same command again goes on with its rounds.

    python benchmarks/families.py --work DIR --family audio    # about two minutes; of each family
    python benchmarks/families.py --work DIR --family convolutional --accuracy-seconds 1    # of a larger family
    python benchmarks/families.py --work DIR --family convolutional --runtime litert --budget 6m
    python benchmarks/families.py --work DIR --space ofa-resnet50 --runtime litert --budget 4m
    python benchmarks/families.py --work DIR --judge

TFLite files of torch modules are written by litert-torch, so such a run is that of an environment which has it.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, write

from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.from_torch.family_file import FamilyFile, read_family
from fleetfront.spaces.from_torch.space import TorchFamily, make_family
from fleetfront.spaces.from_torch.tracing import Tracer

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "families"
FAMILIES = ("convolutional", "transformer", "audio")
SPACES = ("ofa-proxyless", "ofa-resnet50", "vit-tiny", "gpt-mini")
BARS = {
    "mape": 3.0,
    "within_10": 0.97,
    "coverage_90": [0.85, 0.95],
    "two_commands_s": 360.0,
    "trace_ms": 50.0,
    "architectures_per_s": 1e5,
    "relative_error": 1e-5,
}
TRACED, COSTED = 12, 1_000_000


#: Choices of the examples with so many values that 100 evaluations are a part of their networks.
MANY = {
    "convolutional": {"width": [16, 20, 24, 28, 32], "depth": [1, 2, 3], "kernel": [3, 5], "side": [48, 64, 80, 96]},
    "transformer": {
        "patch": [4, 8],
        "depth": [2, 3, 4, 5],
        "heads": [1, 2, 4],
        "ratio": [1, 2, 3, 4],
        "side": [32, 48],
    },
    "audio": {
        "width": [8, 12, 16, 20, 24],
        "depth": [2, 3, 4],
        "kernel": [5, 7, 9, 15],
        "rate": [8000, 12000, 16000],
    },
}


def slowed(name: str, work: Path, seconds: float) -> Path:
    """An example of more networks whose accuracies take some seconds each, as those of a trained network may."""
    if not seconds:
        return EXAMPLES / f"{name}.py"
    waits = f"import time\nat_once = accuracy\n\n\ndef accuracy(**genes):\n    time.sleep({seconds})\n"
    path = work / f"{name}_slowed.py"
    more = f"{waits}    return at_once(**genes)\n\n\nchoices = {MANY[name]!r}\n"
    path.write_text(f"{(EXAMPLES / f'{name}.py').read_text()}\n{more}")
    return path


def commands(path: Path, work: Path, budget: str) -> dict[str, Any]:
    """What the two commands take and say of a user's file, in a home where nothing is known."""
    home = work / path.stem
    file, environment = str(path), {**os.environ, "FLEETFRONT_HOME": str(home)}
    run = (sys.executable, "-m", "fleetfront")
    device = ("--device", "cpu", "--space", file, "--json")
    seconds, answers = {}, {}
    for verb, options in (
        ("profile", ("--budget", budget)),
        ("search", ("--evaluations", "100", "--out", str(home / "fronts"))),
    ):
        began = time.perf_counter()
        done = subprocess.run(
            [*run, verb, *device, *options], env=environment, capture_output=True, text=True, check=True
        )
        seconds[verb], answers[verb] = time.perf_counter() - began, json.loads(done.stdout)
    front = answers["search"]["devices"]["cpu"]["points"]
    return {
        "seconds": {verb: round(value, 1) for verb, value in seconds.items()},
        "budget": budget,
        "fit": {
            key: answers["profile"]["fit"][key]
            for key in ("held_out", "floor", "model")
            if key in answers["profile"]["fit"]
        },
        "measured": answers["profile"]["measured"],
        "verdict": answers["profile"]["verdict"],
        "front_points": len(front),
        "evaluations": answers["search"]["evaluations"],
    }


def profiled(space: str, runtime: str, work: Path, budget: str, networks: tuple[int, int]) -> dict[str, Any]:
    """How well a profile of a space predicts networks that were held out; ``networks`` calibrate, and are held out."""
    environment = {**os.environ, "FLEETFRONT_HOME": str(work / f"{Path(space).stem}-{runtime}")}
    options = ("--device", "cpu", "--runtime", runtime, "--space", space, "--budget", budget, "--json")
    options += ("--calibration", str(networks[0]), "--validation", str(networks[1]))
    run = (sys.executable, "-m", "fleetfront", "profile", *options)
    began = time.perf_counter()
    told = json.loads(subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout)
    fit = told["fit"]
    fits = {fit["clock"]: fit, **{one["clock"]: one for one in fit.get("other_clocks", ())}}
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "budget": budget,
        "held_out": {clock: one.get("held_out") for clock, one in fits.items()},
        "floor": {clock: one.get("floor") for clock, one in fits.items()},
        "measured": told["measured"],
        "verdict": told["verdict"],
    }


def speeds(file: FamilyFile, family: TorchFamily) -> dict[str, float]:
    """Milliseconds of tracing a network, the middle of a dozen, and architectures summed a second."""
    rng, tracer, took = np.random.default_rng(0), Tracer(file, family.parts.decisions), []
    for row in family.sample(TRACED, rng):
        began = time.perf_counter()
        tracer.trace(family.genes(row))
        took.append(time.perf_counter() - began)
    rows = family.sample(COSTED, rng)
    costs = family.additive(rng.random(len(family.vocabulary)))
    began = time.perf_counter()
    costs(rows)
    return {
        "trace_ms": round(1e3 * float(np.median(took)), 1),
        "architectures_per_s": round(COSTED / (time.perf_counter() - began)),
    }


def worst_error(family: TorchFamily, folder: Path) -> float:
    """The largest difference of any part's file from torch, as a share of the range of its outputs."""
    import torch

    runtime, worst = load_runtime("onnxruntime"), 0.0
    for signature, part in family.parts.described.items():
        module, sample = family._capture(part.genes)[part.place]
        fed = [torch.randn_like(one) if one.is_floating_point() else one for one in sample]
        path = folder / f"{signature}.onnx"
        graph = family.block_graph(next(b for b in family.vocabulary if b.parameter("part") == signature))
        path.write_bytes(graph.exported("onnx") or b"")
        session = runtime.open(path)
        found = session.run({port.name: one.numpy() for port, one in zip(session.inputs, fed, strict=True)})
        session.close()
        with torch.no_grad():
            wanted = module(*fed).numpy()
        worst = max(worst, float(np.abs(next(iter(found.values())) - wanted).max() / np.ptp(wanted)))
    return worst


def main() -> None:
    """Measure one family, or gather what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--space", choices=SPACES)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--calibration", type=int, default=20, help="networks of a profile alone")
    parser.add_argument("--validation", type=int, default=50, help="networks of a profile alone")
    parser.add_argument("--accuracy-seconds", type=float, default=0.0, help="let each accuracy take as long")
    parser.add_argument("--judge", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.judge:
        found = {path.stem: json.loads(path.read_text()) for path in sorted(given.work.glob("*.json"))}
        print(write("families", {"bars": BARS, "families": found}))
        return
    begun = describe()
    if given.space or given.runtime != "onnxruntime":
        space = given.space or str(EXAMPLES / f"{given.family}.py")
        networks = (given.calibration, given.validation)
        facts = profiled(space, given.runtime, given.work, given.budget, networks)
        facts["machine"] = {**begun, "load_average_at_end": describe()["load_average"]}
        (given.work / f"{Path(space).stem} on {given.runtime}.json").write_text(json.dumps(facts, indent=1))
        print(json.dumps(facts["held_out"], indent=1))
        return
    path = slowed(given.family, given.work, given.accuracy_seconds)
    said = {"accuracy_seconds": given.accuracy_seconds, **commands(path, given.work, given.budget)}
    said["two_commands_s"] = round(sum(said["seconds"].values()), 1)
    if given.accuracy_seconds:
        said["networks_of_the_family"] = math.prod(map(len, read_family(path).choices.values()))
        said["machine"] = {**begun, "load_average_at_end": describe()["load_average"]}
        (given.work / f"{path.stem}.json").write_text(json.dumps(said, indent=1))
        print(
            json.dumps({key: said[key] for key in ("seconds", "two_commands_s", "front_points", "evaluations", "fit")})
        )
        return
    file = read_family(EXAMPLES / f"{given.family}.py")
    family = make_family(file)
    facts = {**said, **speeds(file, family), "parts": len(family.vocabulary)}
    facts["relative_error"] = worst_error(family, given.work / given.family)
    facts["machine"] = {**begun, "load_average_at_end": describe()["load_average"]}
    (given.work / f"{given.family}.json").write_text(json.dumps(facts, indent=1))
    print(json.dumps({key: facts[key] for key in facts if key not in ("fit", "machine", "verdict")}, indent=1))


if __name__ == "__main__":
    main()
