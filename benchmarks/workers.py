"""Time a supernet's accuracies judged by one process, by two of this machine and by a local Dask cluster of two.

Each is asked for batches of eight networks in turn with the others, after its first batch, in which workers load torch,
weights and images. Beside it: how much more two processes of plain matrix products do than one, which is all that this
machine's cores give. Writes benchmarks/results/workers.json.

    python benchmarks/workers.py                # about four minutes on two idle cores
    python benchmarks/workers.py --batches 2    # a look
"""

import argparse
import sys
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from machine import describe, write

from fleetfront.pipelines.accuracy_workers import open_workers
from fleetfront.pipelines.supernet_accuracy import supernet_loader
from fleetfront.spaces.base import HasSupernet
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.checkpoints import save_supernet
from fleetfront.spaces.supernet.subnets import untrained
from fleetfront.workspace import Workspace

BATCH, PROCESSES = 8, 2
BARS = {"processes": 1.7, "dask": 1.6}


def multiply(_: int = 0) -> float:
    """Seconds of a fixed amount of single-threaded work."""
    from threadpoolctl import threadpool_limits

    matrix = np.random.default_rng(0).normal(size=(384, 384)).astype(np.float32)
    begun = time.perf_counter()
    with threadpool_limits(1):
        for _turn in range(150):
            matrix @ matrix
    return time.perf_counter() - begun


def machine_speedup(pool: Executor) -> float:
    """How much more ``PROCESSES`` processes do at once than one alone."""
    together = list(pool.map(multiply, range(PROCESSES)))
    return PROCESSES * pool.submit(multiply).result() / max(together)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=6)
    options = parser.parse_args()
    from distributed import LocalCluster

    machine = describe()
    space = load_space("ofa-mbv3-mini")
    assert isinstance(space, HasSupernet)
    networks = space.sample(BATCH * (1 + options.batches), np.random.default_rng(0))
    batches = np.split(networks, 1 + options.batches)
    seconds: dict[str, list[float]] = {}
    answers: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as opened:
        weights = Path(temporary) / "w.safetensors"
        save_supernet(untrained(space, 0), weights)
        cluster = opened.enter_context(
            LocalCluster(n_workers=PROCESSES, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
        )
        spelled = {"one": 1, "processes": PROCESSES, "dask": cluster.scheduler_address.replace("tcp://", "dask://")}
        models, ceilings = {}, []
        pool = opened.enter_context(ProcessPoolExecutor(PROCESSES, get_context("spawn")))
        machine_speedup(pool)
        for name, workers in spelled.items():
            judges = opened.enter_context(open_workers(workers))
            loader = supernet_loader("digits", Workspace(Path(temporary) / name), workers=judges)
            models[name] = loader(str(weights), space)
        for batch in batches:
            ceilings.append(machine_speedup(pool))
            for name, model in models.items():
                begun = time.perf_counter()
                found = model.predict(batch).mean
                seconds.setdefault(name, []).append(time.perf_counter() - begun)
                answers.setdefault(name, []).extend(map(float, found))
                print(f"{name:10} {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    medians = {name: float(np.median(taken[1:])) for name, taken in seconds.items()}
    speedups = {name: medians["one"] / medians[name] for name in BARS}
    content = {
        "batch": BATCH,
        "first_batch_seconds": {name: taken[0] for name, taken in seconds.items()},
        "seconds": {name: taken[1:] for name, taken in seconds.items()},
        "speedups": speedups,
        "speedup_of_matrix_products": {"median": float(np.median(ceilings)), "each": ceilings},
        "same_answers": all(found == answers["one"] for found in answers.values()),
        "bars": BARS,
        "missed": [name for name, bar in BARS.items() if speedups[name] < bar],
    }
    print(f"{speedups}, products {np.median(ceilings):.2f}; same answers: {content['same_answers']}")
    print(write("workers", content, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
