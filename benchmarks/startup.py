"""Measure how long the door takes: `fleetfront --help` and `import fleetfront`, each as a whole process.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

from machine import describe, write

RUNS = 15
BAR_S = 0.4
COMMANDS = {
    "fleetfront --help": [sys.executable, "-m", "fleetfront", "--help"],
    "import fleetfront": [sys.executable, "-c", "import fleetfront"],
    "python alone": [sys.executable, "-c", "pass"],
}


def seconds(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    machine = describe()
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(RUNS + 1):
        for name, command in COMMANDS.items():
            found = seconds(command)
            if run:  # the first fills the disk's cache
                taken[name].append(found)
    rows = {name: {"median_s": statistics.median(v), "max_s": max(v), "runs": len(v)} for name, v in taken.items()}
    for name, row in rows.items():
        print(f"{name:20} median {row['median_s']:.3f} s, max {row['max_s']:.3f} s")
    missed = [name for name, row in rows.items() if row["median_s"] > BAR_S]
    print(f"bar {BAR_S} s; missed: {missed or 'none'}")
    print(write("startup", {"bar_s": BAR_S, "missed": missed, "results": rows}, machine))


if __name__ == "__main__":
    main()
