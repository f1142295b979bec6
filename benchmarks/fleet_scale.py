"""Measure what devices of other hosts cost and lose.

    python benchmarks/fleet_scale.py ssh                              a CPU through ssh to loopback, and directly
    python benchmarks/fleet_scale.py kills [--kills 100]              8 devices of 3 hosts while processes die
    python benchmarks/fleet_scale.py many                             one command for 8 devices, and 8 commands

Each run writes its own part of ``results/fleet_scale.json``. Stores of many samples are measured by ``store_scale.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).resolve().parents[1]
BARS = {
    "ssh": {"median_off_percent": 1.0, "overhead_a_visit_ms": 20.0},
    "kills": {"lost": 0, "doubled": 0},
    "many": {},
}


def kill(kills: int) -> dict[str, Any]:
    """Measure six simulated devices and two of Android's own daemons behind three hosts while processes are killed."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "adbd")]
    import daemon as adbd
    import fleet_kills

    from fleetfront.deploy.writers.tflite.writer import write_tflite
    from fleetfront.graphs.graph import GraphBuilder
    from tests.far_hosts.fixtures import install_simulated

    if reason := adbd.why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install_simulated(folder / "site")
        os.environ.update(fleet_kills.environment(folder, folder / "site"))
        os.environ["ANDROID_ADB_SERVER_PORT"] = str(adbd.free_port())
        sys.path.insert(0, str(folder / "site"))
        builder = GraphBuilder("sum")
        one = builder.input("x", (1, 64))
        model = folder / "sum.tflite"
        model.write_bytes(write_tflite(builder.build([builder.add("add", [one, one], "sum")])))
        root = adbd.build()
        phones = [adbd.Daemon(root, folder / f"phone{number}").start() for number in range(2)]
        try:
            devices = [f"ssh:host{number}/adb:{phone.address}" for number, phone in enumerate(phones)]
            devices += [f"ssh:host{number % 3}/simulated:{number}" for number in range(6)]
            experiment = fleet_kills.Experiment(folder, tuple(devices), (model,), rounds=50, kills=kills)
            return fleet_kills.as_json(experiment, fleet_kills.run(experiment))
        finally:
            for phone in phones:
                phone.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=tuple(BARS))
    parser.add_argument("--kills", type=int, default=100)
    arguments = parser.parse_args()
    begun = machine.describe()
    if arguments.part == "ssh":
        from fleet_links import compare

        found = compare()
    elif arguments.part == "many":
        from fleet_many import compare as compare_commands

        found = compare_commands()
    else:
        found = kill(arguments.kills)
    found |= {"bars": BARS[arguments.part]}
    for name, value in found.items():
        print(name, value)
    path = machine.RESULTS / "fleet_scale.json"
    kept = json.loads(path.read_text()).get("parts", {}) if path.is_file() else {}
    kept[arguments.part] = found | {"machine": begun}
    print(machine.write("fleet_scale", {"parts": kept}, begun))


if __name__ == "__main__":
    main()
