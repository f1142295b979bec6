"""Measure the same blocks on this CPU directly and through ssh to a real sshd on loopback, batch by batch in turn.

Run by ``fleet_scale.py ssh``. The root of the repository must be the parent of this folder: sshd is started by tests.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.profilers.base import Agent, Visit, VisitBatch
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import open_device
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.records import Role
from fleetfront.quantities import Clock
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_w10
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
#: As many visits of a batch as a campaign's with its anchor.
BATCH = 9
LOCAL, FAR = Target("cpu", "litert"), Target("ssh:desk/cpu", "litert")


@contextlib.contextmanager
def desk(folder: Path) -> Iterator[None]:
    """A host behind a real sshd on loopback, under ``ssh:desk/``."""
    sys.path.insert(0, str(ROOT))
    from tests.far_hosts.sshd import Sshd, why_not

    if reason := why_not():
        sys.exit(reason)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    sshd = Sshd(folder / "desk", {"FLEETFRONT_HOME": str(folder / "desk" / "home"), "PYTHONPATH": path})
    os.environ["FLEETFRONT_SSH"] = sshd.ssh
    os.environ["FLEETFRONT_AGENT"] = f"{sys.executable} -m fleetfront agent --stdio"
    try:
        yield
    finally:
        sshd.stop()


def compare(blocks: int = 45, rounds: int = 20) -> dict[str, Any]:
    """Blocks of once-for-all's width 1.0 at 224 pixels, ``rounds`` visits each way."""
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        held.enter_context(desk(folder))
        cache, keys = FileCache(folder / "files", ".tflite"), []
        space = ofa_mbv3_w10()
        known = [int(index) for index in space.blocks_at(224)]
        for index in np.linspace(0, len(known) - 1, min(blocks, len(known))).astype(int):
            block = space.vocabulary[known[index]]
            keys.append((block.key, cache.put(write_tflite(space.block_graph(block)))))
        choices = Choices(workspace=Workspace(folder / "home"))
        agents: dict[Target, Agent] = {
            target: held.enter_context(closing(open_device(target, choices))) for target in (LOCAL, FAR)
        }
        ns: dict[tuple[Target, Clock, str], list[int]] = defaultdict(list)
        beside_ms: dict[Target, list[float]] = defaultdict(list)
        for number in range(rounds + 1):
            # The first round opens files for the first time, and brings them to the host.
            kept = ns if number else defaultdict(list)
            for start in range(0, len(keys), BATCH):
                chunk = keys[start : start + BATCH]
                for target in (LOCAL, FAR) if (number + start // BATCH) % 2 else (FAR, LOCAL):
                    files = {sha256: str(cache.path(sha256)) for _, sha256 in chunk}
                    took = _visited(agents[target], target, chunk, files, number, kept)
                    if number:
                        beside_ms[target].append(took)
    return _summary(ns, beside_ms, [key for key, _ in keys], rounds)


def _visited(
    agent: Agent,
    target: Target,
    chunk: list[tuple[str, str]],
    files: dict[str, str],
    number: int,
    ns: dict[tuple[Target, Clock, str], list[int]],
) -> float:
    """Visit a batch; milliseconds a visit beyond what the visits themselves took, as the worker tells."""
    visits = tuple(Visit(uuid.uuid4().hex, Role.BLOCK, key, sha256) for key, sha256 in chunk)
    begun, inside_ns = time.perf_counter_ns(), 0
    for rows in agent.run(VisitBatch(target, "links", "links", number, visits, files)):
        for row in rows:
            if row.error is not None:
                sys.exit(f"{row.key} failed on {target}: {row.error}")
            ns[target, row.clock, row.key].append(min(row.samples))
        inside_ns += int(rows[0].after["visit_ns"])
    return (time.perf_counter_ns() - begun - inside_ns) / 1e6 / len(visits)


def _summary(
    ns: dict[tuple[Target, Clock, str], list[int]], beside_ms: dict[Target, list[float]], keys: list[str], rounds: int
) -> dict[str, Any]:
    found: dict[str, Any] = {"blocks": len(keys), "visits_of_each": rounds}
    for clock in (Clock.THREAD_CPU, Clock.WALL):
        ratios = [statistics.median(ns[FAR, clock, key]) / statistics.median(ns[LOCAL, clock, key]) for key in keys]
        found[clock.value] = {
            "median_ratio": statistics.median(ratios),
            "median_off_percent": statistics.median(abs(ratio - 1) * 100 for ratio in ratios),
            "p90_off_percent": float(np.quantile([abs(ratio - 1) * 100 for ratio in ratios], 0.9)),
        }
    local, far = (statistics.median(beside_ms[target]) for target in (LOCAL, FAR))
    found["beside_a_visit_ms"] = {"local": local, "ssh": far}
    found["overhead_a_visit_ms"] = far - local
    return found
