"""Architectures a second of the calibrated table, from int8 genotypes to mean and standard deviation, on one core.

The table is fitted to made-up latencies: what they are changes nothing about the speed.
"""

import argparse
import os
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
from machine import describe, write  # noqa: E402

from fleetfront.predictors.table.calibrated import CalibratedTable  # noqa: E402
from fleetfront.predictors.table.fitting import fit_model  # noqa: E402
from fleetfront.profilers.reading.observations import Observations  # noqa: E402
from fleetfront.profilers.records import Role  # noqa: E402
from fleetfront.quantities import Clock  # noqa: E402
from fleetfront.spaces.catalogue import load_space  # noqa: E402
from fleetfront.targets import Target  # noqa: E402

BAR = 1_000_000


def made_up(space, calibration: int, whim: float) -> Observations:
    """Blocks that cost their MACs, networks that cost 1.1 times their sum; high resolutions are dearer by ``whim``."""
    macs = space.block_macs(space.vocabulary) / 2e7 + 0.01
    blocks = {block.key: np.full(2, ms) for block, ms in zip(space.vocabulary, macs, strict=True)}
    genotypes = space.sample(calibration, np.random.default_rng(0))
    ms = 1.1 * space.additive(macs)(genotypes) * (1 + whim * (genotypes[:, -1] > len(space.resolutions) / 2))
    networks = {arch: np.full(2, value) for arch, value in zip(space.arch_ids(genotypes), ms, strict=True)}
    target = Target("made-up", "litert")
    return Observations(target, space.name, Clock.WALL, {Role.BLOCK: blocks, Role.CALIBRATION: networks})


def speeds(table: CalibratedTable, genotypes: np.ndarray, repetitions: int) -> list[float]:
    """Architectures a second of each of several passes over all genotypes."""
    table.predict(genotypes[:1000])
    found = []
    for _ in range(repetitions):
        began = time.perf_counter()
        table.predict(genotypes)
        found.append(len(genotypes) / (time.perf_counter() - began))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="architectures a pass")
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    machine = describe()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = []
    for name in ("ofa-mbv3-w1.0", "ofa-mbv3-w1.2"):
        space = load_space(name)
        for label, calibration, whim in (("calibrated table", 20, 0.0), ("with XGBoost on the residual", 80, 0.2)):
            model = fit_model(space, made_up(space, calibration, whim)).model
            is_boosted = model.residual is not None
            assert is_boosted == (whim > 0), "the made-up data no longer lead to the model that is to be timed"
            n = options.n // 10 if is_boosted else options.n
            genotypes = space.sample(n, np.random.default_rng(1))
            passes = speeds(CalibratedTable(space, model), genotypes, options.repetitions)
            row = {"space": name, "model": label, "n": n, "median": float(np.median(passes)), "passes": passes}
            rows.append(row)
            print(f"{name:14} {label:30} {row['median'] / 1e6:6.2f} M/s (slowest pass {min(passes) / 1e6:.2f})")
    print(write("predict_speed", {"unit": "architectures/s, one core", "bar": BAR, "results": rows}, machine))


if __name__ == "__main__":
    main()
