"""This machine as a new device: ten chosen networks of ofa-mbv3-mini, 50 held out, teachers that are all estimates.

What ``fleetfront profile --few 10 --validation 50`` does, in a workspace that knows nothing else. The transfer between
public tables is in ``transfer.py``. How wrong estimates are made to be was chosen with blocks of this kind of machine
in view (see ``pipelines/fit/teachers.py``), so this is no test on a foreign device.

    python benchmarks/few.py [--few 10] [--seeds 3]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from machine import describe, write

from fleetfront.pipelines.measure.few_shot import profile_few_shot
from fleetfront.profilers.store.store import Store
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SPACE = "ofa-mbv3-mini"
RUNTIMES = ("litert", "onnxruntime")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=10)
    parser.add_argument("--validation", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    machine, rows = describe(), []
    for runtime in RUNTIMES:
        for seed in range(arguments.seeds):
            rows.append(one_run(runtime, seed, arguments))
            print(*(f"{key} {value}" for key, value in rows[-1].items()), sep="  ", flush=True)
    summary = {
        runtime: {
            name: round(float(np.mean([row[name] for row in rows if row["runtime"] == runtime])), 3)
            for name in ("mape", "expected_mape", "within_10", "spearman", "coverage_90")
        }
        for runtime in RUNTIMES
    }
    print(summary)
    write("few", {"space": SPACE, "few": arguments.few, "summary": summary, "runs": rows}, machine)


def one_run(runtime, seed, arguments):
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store.sqlite") as store:
        outcome = profile_few_shot(
            load_space(SPACE),
            Target("cpu", runtime),
            arguments.few,
            store=store,
            workspace=Workspace(Path(folder)),
            validation=arguments.validation,
            seed=seed,
        )
    found, report = outcome.result.held_out, outcome.result.fit.report
    return {
        "runtime": runtime,
        "seed": seed,
        "clock": outcome.result.clock.value,
        "serves": report.serves,
        "mape": round(found.mape, 2),
        "expected_mape": round(report.error, 2),
        "within_10": found.within_10,
        "spearman": round(found.spearman, 4),
        "coverage_90": found.coverage_90,
        "seconds_of_measuring": round(outcome.profile.result.seconds, 1),
    }


if __name__ == "__main__":
    main()
