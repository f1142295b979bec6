"""Measure how long writing a file takes, and that it is the right file: every block of a space, and a few whole
networks.

Run: python benchmarks/writers.py [--space ofa-mbv3-w1.0] [--blocks 0]
The bar is a median of at most 5 ms a block file in each format. Building the graph is not counted, and shown.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import machine
import numpy as np

from fleetfront.deploy.proof import prove
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.graphs.graph import Graph
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.catalogue import load_space

BAR_MS = 5.0
FORMATS: dict[str, tuple[str, Callable[[Graph], bytes]]] = {
    "onnx": ("onnxruntime", write_onnx),
    "tflite": ("litert", write_tflite),
}


def timed_ms(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter_ns()
    result = work()
    return (time.perf_counter_ns() - started) / 1e6, result


def row(what: str, samples_ms: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(samples_ms)
    return {
        "what": what,
        "files": len(ordered),
        "median_ms": round(statistics.median(ordered), 3),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
        "max_ms": round(ordered[-1], 3),
    }


def measure(label: str, graphs: Sequence[Callable[[], Graph]], proofs: int) -> list[dict[str, Any]]:
    """Times of building, writing and opening, one sample a graph; every ``len / proofs``-th file is proven."""
    times: dict[str, list[float]] = {"graph": []}
    errors: dict[str, list[float]] = {name: [] for name in FORMATS}
    step = max(1, len(graphs) // max(1, proofs))
    for index, build in enumerate(graphs):
        built_ms, graph = timed_ms(build)
        times["graph"].append(built_ms)
        for name, (runtime, write) in FORMATS.items():
            written_ms, data = timed_ms(lambda write=write, graph=graph: write(graph))
            opened_ms, session = timed_ms(lambda runtime=runtime, data=data: load_runtime(runtime).open(data))
            session.close()
            times.setdefault(f"write {name}", []).append(written_ms)
            times.setdefault(f"open {name}", []).append(opened_ms)
            if index % step == 0:
                errors[name].append(prove(graph, data, runtime, 1).relative_to_range)
    rows = [row(f"{label}: {what}", samples) for what, samples in times.items()]
    for name, relative in errors.items():
        worst = {"proven": len(relative), "worst_relative_to_range": float(f"{max(relative):.2g}")}
        next(r for r in rows if r["what"].endswith(f"write {name}")).update(worst)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="ofa-mbv3-w1.0")
    parser.add_argument("--blocks", type=int, default=0, help="how many blocks, drawn at random (0: all)")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--name", default="writers", help="name of the result file")
    arguments = parser.parse_args()
    before = machine.describe()
    space = load_space(arguments.space)
    rng = np.random.default_rng(0)
    blocks = list(space.vocabulary)
    if arguments.blocks:
        blocks = [blocks[i] for i in rng.permutation(len(blocks))[: arguments.blocks]]
    networks = space.sample(arguments.networks, rng)
    for _, write in FORMATS.values():  # imports are paid once a process, not once a file
        write(space.block_graph(blocks[0]))
    rows = measure("block", [lambda block=block: space.block_graph(block) for block in blocks], 60)
    rows += measure("network", [lambda g=g: space.subnet_graphs(g)["network"][0] for g in networks], 3)
    print(f"{'what':<24}{'files':>7}{'median':>10}{'p95':>10}{'max':>10}  ms;  error / range of logits")
    for r in rows:
        worst = f"{r['worst_relative_to_range']:.1e} ({r['proven']})" if "proven" in r else ""
        print(f"{r['what']:<24}{r['files']:>7}{r['median_ms']:>10}{r['p95_ms']:>10}{r['max_ms']:>10}  {worst}")
    medians = {r["what"]: r["median_ms"] for r in rows}
    verdict = {name: medians[f"block: write {name}"] <= BAR_MS for name in FORMATS}
    print("; ".join(f"{name}: bar of {BAR_MS} ms {'met' if met else 'MISSED'}" for name, met in verdict.items()))
    payload = {"space": space.name, "bar_ms": BAR_MS, "bar_met": verdict, "rows": rows}
    print(machine.write(arguments.name, payload, before))


if __name__ == "__main__":
    main()
