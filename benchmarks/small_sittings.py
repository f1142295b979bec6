"""Measure six small networks of two families again and again, and say how far a later sitting lies from an earlier one.

Each sitting opens its files in a process of its own. An earlier sitting is of twenty seconds, as the quickstart's
profiles are; a later one begins a minute after or more. Writes benchmarks/results/small_sittings.json.

    python benchmarks/small_sittings.py /tmp/sittings --seconds 150      # on a quiet machine
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from machine import describe, write

from fleetfront.pipelines.measure.profile import measure_networks
from fleetfront.predictors.table.intervals import TYPICAL_SPREAD, moving_share
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.training import drawn_evenly
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SPACES = ("ofa-resnet-mini", "ofa-mbv3-mini64")
RUNTIMES = ("onnxruntime", "litert")
NETWORKS, ROUNDS = 6, 5
PROFILE_S, LATER_S = 20, 60


def measure(folder: Path, seconds: float) -> None:
    """Add a line a sitting to ``rows.jsonl``."""
    place, end, sitting = Workspace(folder), time.time() + seconds, 0
    drawn = {}
    for name in SPACES:
        space = load_space(name)
        genotypes = drawn_evenly(space, NETWORKS, np.random.default_rng(5))
        drawn[name] = space, space.arch_ids(genotypes), (space.params(genotypes) * 4 / 2**20).tolist()
    with Store(place.store) as store, (folder / "rows.jsonl").open("a") as rows:
        while time.time() < end:
            for name, (space, archs, mib) in drawn.items():
                for runtime in RUNTIMES:
                    target = Target("cpu", runtime)
                    options = {"store": store, "rounds": ROUNDS, "seed": sitting, "workspace": place}
                    seen = measure_networks(space, target, archs, **options).observations
                    p25 = [float(np.percentile(seen.visits[Role.CALIBRATION][arch], 25)) for arch in archs]
                    is_busy = bool(seen.others and seen.others.is_much)
                    row = {"t": time.time(), "space": name, "runtime": runtime, "mib": mib, "busy": is_busy, "p25": p25}
                    rows.write(json.dumps(row) + "\n")
            sitting += 1


def judge(rows: list[dict]) -> dict[str, object]:
    """Root mean square and 90th percentile in percent of how far each network lies from twenty earlier seconds."""
    at = np.array([row["t"] for row in rows])
    log = np.log(np.array([row["p25"] for row in rows]))
    moves = []
    for begun in at:
        earlier, later = (at >= begun) & (at < begun + PROFILE_S), at > begun + LATER_S
        if earlier.sum() > 1:
            moves.append((log[later] - np.percentile(log[earlier], 25, axis=0)).ravel())
    found = 100 * np.concatenate(moves)
    common = (log - log.mean(axis=0)).mean(axis=1)
    return {
        "sittings": len(rows),
        "mib": [min(rows[0]["mib"]), max(rows[0]["mib"])],
        "common_std": 100 * float(common.std(ddof=1)),
        "move_rms": float(np.sqrt(np.mean(found**2))),
        "move_p90": float(np.percentile(np.abs(found), 90)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=150.0, help="0 judges what the folder holds")
    options = parser.parse_args()
    machine = describe()
    options.folder.mkdir(parents=True, exist_ok=True)
    measure(options.folder, options.seconds)
    rows = [json.loads(line) for line in (options.folder / "rows.jsonl").read_text().splitlines()]
    quiet = [row for row in rows if not row["busy"]]
    found = {}
    for space in SPACES:
        for runtime in RUNTIMES:
            of = [row for row in quiet if (row["space"], row["runtime"]) == (space, runtime)]
            found[f"{space} {runtime}"] = judge(of)
            print(f"{space} {runtime}: {json.dumps(found[f'{space} {runtime}'])}")
    stated = 100 * TYPICAL_SPREAD.relative * float(moving_share(np.zeros(1))[0])
    print(f"stated of networks of up to 2 MiB: {stated:.2f} %")
    print(write("small_sittings", {"stated_percent": stated, "measured": found}, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
