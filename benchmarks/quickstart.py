"""Run `fleetfront quickstart` in a fresh workspace, time it, and look at its fronts and promises.

Writes benchmarks/results/quickstart.json. `--installed SECONDS` adds what the rest of README's command took.

    python benchmarks/quickstart.py /tmp/story            # four minutes on two idle cores
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from machine import describe, write

from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.results import DeviceFront

#: Seconds with the installation, points of a front, and its latencies' factor.
BARS = {"seconds": 300, "points": 8, "factor": 3, "from_ms": 1.0}
Z90 = 1.6448536


def look_at(front: DeviceFront) -> dict[str, object]:
    """A front's points, and whether its ends differ by more than the error of both."""
    ms = [point.latency_ms for point in front.points]
    held_out = [point.held_out_accuracy for point in front.points]
    errors = [point.held_out_std for point in front.points]
    first, last = held_out[0] or 0.0, held_out[-1] or 0.0
    apart = (last - first) / ((errors[0] or 0.0) ** 2 + (errors[-1] or 0.0) ** 2) ** 0.5
    return {
        "points": len(ms),
        "ms": [round(value, 4) for value in ms],
        "held_out_accuracy": held_out,
        "held_out_std": errors,
        "factor": max(ms) / min(ms),
        "from_1_ms": sum(value >= BARS["from_ms"] for value in ms),
        "ends_apart_in_std": apart,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--installed", type=float, default=0.0, help="seconds that installing took")
    options = parser.parse_args()
    machine, folder = describe(), options.folder.resolve()
    environment = {**os.environ, "FLEETFRONT_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "fleetfront", "quickstart", "--out", str(folder / "out"), "--json"]
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    seconds = time.perf_counter() - begun
    story = json.loads(told)
    fronts = {front.name: look_at(front) for front in load_fronts(folder / "out" / "fronts").devices}
    today = [
        abs(file["measured_ms"] - file["sitting_ms"]) <= Z90 * file["sitting_std_ms"]
        for file in story["files"]
        if file["sitting_std_ms"] is not None
    ]
    ever = [
        abs(file["measured_ms"] - file["predicted_ms"]) <= Z90 * file["predicted_std_ms"]
        for file in story["files"]
        if file["predicted_std_ms"] is not None
    ]
    result = {
        "bars": BARS,
        "story_seconds": seconds,
        "installing_seconds": options.installed,
        "training_seconds": story["training_seconds"],
        "fronts": fronts,
        "hypervolume": story["hypervolume"],
        "promised_today": [sum(today), len(today)],
        "promised_ever": [sum(ever), len(ever)],
        "files": [file | {"path": str(Path(file["path"]).relative_to(folder / "out"))} for file in story["files"]],
    }
    print(f"{seconds:.0f} s, with installing {seconds + options.installed:.0f} s (bar {BARS['seconds']})")
    for name, front in fronts.items():
        print(f"{name}: {json.dumps(front)}")
    print(f"inside the interval of today {sum(today)} of {len(today)}, of any sitting {sum(ever)} of {len(ever)}")
    print(write("quickstart", result, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
