"""Measure what an inference costs a CUDA GPU in energy, how far repeats differ, and whether longer runs say the same.

Part of ``gpu.py``, which runs it for every batch in torch.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.errors import FleetfrontError
from fleetfront.graphs.batch import with_batch
from fleetfront.profilers.gpu.energy import EnergyReading, measure_energy
from fleetfront.profilers.gpu.nvml import Nvml
from fleetfront.profilers.gpu.programs.torch import TorchOpener
from fleetfront.profilers.gpu.stopwatch import CudaStopwatch
from fleetfront.runtimes.cuda_device import cuda_index
from fleetfront.spaces.base import SearchSpace
from fleetfront.targets import Target

NETWORKS, REPEATS = 4, 3
#: What a profile takes for each network, and four times that.
SECONDS, LONG_SECONDS = 0.5, 2.0
#: Without work, before the first network.
IDLE_SECONDS = 2.0


def energy(space: SearchSpace, target: Target, uuid: str, folder: Path) -> dict[str, Any]:
    """Microjoules of one inference of each network, from the counter of the whole board.

    Repeats take turns over the networks, and each opens its network anew, as two campaigns would.
    """
    try:
        nvml = Nvml(uuid, cuda_index(target.device))
    except FleetfrontError as error:
        return {"absent": error.message}
    if nvml.energy_mj() is None:
        return {"absent": "NVML tells no energy of this GPU."}
    paths = []
    for number, genotype in enumerate(space.sample(NETWORKS, np.random.default_rng(1))):
        graph = next(iter(space.subnet_graphs(genotype).values()))[0]
        paths.append(folder / f"energy{number}.graph")
        paths[-1].write_bytes(with_batch(graph, target.batch).to_bytes())
    idle_w = idle_watts(nvml.energy_mj, IDLE_SECONDS)
    watch, opener = CudaStopwatch(cuda_index(target.device)), TorchOpener(target.device, target.precision)

    def read(path: Path, seconds: float) -> EnergyReading | None:
        program = opener.open(path, 4)
        try:
            return measure_energy(program, watch, nvml.energy_mj, seconds)
        finally:
            program.close()

    try:
        read(paths[0], SECONDS)
        short = [[read(path, SECONDS) for path in paths] for _ in range(REPEATS)]
        long = [read(path, LONG_SECONDS) for path in paths]
    finally:
        opener.close()
    return {"idle_w": idle_w, "seconds": [SECONDS, LONG_SECONDS], **summary(short, long)}


def idle_watts(counter_mj: Callable[[], int | None], seconds: float) -> float | None:
    """Mean power of the board between two steps of its counter, without work; None if it does not step."""
    marks: list[tuple[float, int]] = []
    deadline = time.monotonic() + 3 * seconds
    before = counter_mj()
    while before is not None and time.monotonic() < deadline:
        time.sleep(0.002)
        now = counter_mj()
        if now is not None and now != before:
            before = now
            marks.append((time.monotonic(), now))
            if marks[-1][0] - marks[0][0] >= seconds:
                return (marks[-1][1] - marks[0][1]) / 1000 / (marks[-1][0] - marks[0][0])
    return None


def summary(short: list[list[EnergyReading | None]], long: list[EnergyReading | None]) -> dict[str, Any]:
    """Millijoules by network, the spread of repeats, and the long run over their mean, both in percent."""
    table = np.array([[np.nan if one is None else one.microjoules / 1000 for one in row] for row in short])
    longer = np.array([np.nan if one is None else one.microjoules / 1000 for one in long])
    mean = table.mean(axis=0)
    told = np.isfinite(mean) & np.isfinite(longer)
    if not told.any():
        return {"absent": "The counter did not step as a reading needs."}
    spread = table[:, told].std(axis=0, ddof=1) / mean[told]
    watts = [one.microjoules * one.inferences / one.seconds / 1e6 for one in long if one is not None]
    return {
        "networks": int(told.sum()),
        "repeats": len(short),
        "mj": [[round(float(value), 4) for value in column] for column in table[:, told].T],
        "long_mj": [round(float(value), 4) for value in longer[told]],
        "watts": [round(value, 1) for value in watts],
        "repeat_percent": float(100 * np.sqrt(np.mean(spread**2))),
        "long_over_short_percent": [round(float(100 * (ratio - 1)), 2) for ratio in longer[told] / mean[told]],
    }
