"""Time `deploy --workers`: networks written and proven by one process, by two of this machine and by two of Dask.

Each makes the same bundles in turn with the others: networks of the published size with random weights, as ONNX and
TFLite, proven on images, in fp32 and in fp32 and int8. Told are seconds from the command to the last bundle, with the
start of the processes (a cluster's are there before), and whether bundles are equal, byte for byte. Writes
benchmarks/results/deploy_workers.json.

    python benchmarks/deploy_workers.py                              # about six minutes on two idle cores
    python benchmarks/deploy_workers.py --turns 1 --cases 2:fp32     # a look
"""

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe, write

from fleetfront.deploy.formats import parse_formats
from fleetfront.pipelines.deploy.deploy import Pick, Recipe, UserImages, Weights, deploy_picks
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import load_space

PROCESSES = 2
SIDE = 160
IMAGES = 200
CASES = "8:fp32 32:fp32 8:fp32,int8"


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of some bundles."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def picks_of(space: SearchSpace, count: int) -> list[Pick]:
    genotypes = space.sample(count, np.random.default_rng(0))
    gene = space.gene_names.index("resolution")
    genotypes[:, gene] = space.choices[gene].index(SIDE)
    return [Pick(f"net{number}", arch) for number, arch in enumerate(space.arch_ids(space.canonical(genotypes)))]


def timed(space: SearchSpace, case: str, workers: int | str, out: Path) -> float:
    """Seconds of a deploy with nothing decoded yet."""
    count, _, precisions = case.partition(":")
    weights = Weights(None, UserImages("digits", limit=IMAGES, is_labelled=False), labelled=False)
    picks, recipe = picks_of(space, int(count)), Recipe(precisions=tuple(precisions.split(",")))
    begun = time.perf_counter()
    done = deploy_picks(picks, space, weights, parse_formats("onnx,tflite"), out, recipe=recipe, workers=workers)
    taken = time.perf_counter() - begun
    failed = [str(one.error) for one in done if one.error is not None]
    if failed:
        print(f"{case}: {len(failed)} of {count} without some file: {failed[0]}", file=sys.stderr)
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES, help="networks:precisions, ...")
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    from distributed import LocalCluster

    machine = describe()
    space = load_space("ofa-mbv3-w1.0")
    seconds: dict[str, dict[str, list[float]]] = {}
    is_same: dict[str, bool] = {}
    place = {"host": "127.0.0.1", "dashboard_address": ":0"}
    with tempfile.TemporaryDirectory() as temporary:
        timed(space, "1:fp32", 1, Path(temporary) / "first")
        for turn in range(options.turns):
            for case in options.cases.split():
                folders = {name: Path(temporary) / f"{turn}-{case}-{name}" for name in ("one", "processes", "dask")}
                with LocalCluster(n_workers=PROCESSES, threads_per_worker=1, **place) as cluster:
                    far = cluster.scheduler_address.replace("tcp://", "dask://")
                    for name, workers in (("one", 1), ("processes", PROCESSES), ("dask", far)):
                        taken = timed(space, case, workers, folders[name])
                        seconds.setdefault(case, {}).setdefault(name, []).append(taken)
                        print(f"turn {turn} {case} {name:10} {taken:.1f} s", file=sys.stderr, flush=True)
                found = [contents(folder) for folder in folders.values()]
                is_same[case] = is_same.get(case, True) and all(files == found[0] for files in found) and bool(found[0])
    medians = {case: {name: float(np.median(taken)) for name, taken in each.items()} for case, each in seconds.items()}
    speedups = {
        case: {name: each["one"] / taken for name, taken in each.items() if name != "one"}
        for case, each in medians.items()
    }
    content = {
        "images": IMAGES,
        "side": SIDE,
        "processes": PROCESSES,
        "seconds": seconds,
        "speedups": speedups,
        "same_bytes": is_same,
    }
    for case, each in speedups.items():
        told = ", ".join(f"{name} {taken:.1f} s" for name, taken in medians[case].items())
        print(f"{case}: {told}; speedups {each}; equal bytes: {is_same[case]}")
    print(write("deploy_workers", content, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
