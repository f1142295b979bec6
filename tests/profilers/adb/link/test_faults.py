"""Faults while a campaign runs over ADB: what arrived is never lost, nothing hangs, the same command goes on."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.agent import AdbAgent
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceSilent
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.campaign import Campaign, Limits, begin_campaign
from fleetfront.profilers.plan import PlanOptions, Task, TaskList
from fleetfront.profilers.records import Measurement, Role, measurement_uuid
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock

#: Room for a busy machine on top of what is stated: reconnecting and the heartbeat.
SLACK_S = 20.0


class Recording:
    """An agent that passes everything on and calls ``after`` with the number of visits so far."""

    def __init__(self, agent: AdbAgent, after: Callable[[int], None]) -> None:
        self._agent = agent
        self._after = after
        self.count = 0

    def run(self, batch: VisitBatch) -> Any:
        for rows in self._agent.run(batch):
            self.count += 1
            yield rows
            self._after(self.count)

    def describe(self) -> dict[str, Any]:
        return self._agent.describe()

    def close(self) -> None:
        self._agent.close()


@pytest.fixture
def campaign(tmp_path: Path, models: dict[str, Path]) -> Callable[..., Any]:
    """Run (or go on with) one campaign of two rounds of ten things with an agent."""

    def run(agent: Any, *, runs: int = 3, rounds: int = 2) -> Any:
        files = {sha256: str(path) for sha256, path in models.items()}
        names = list(models)
        tasks = TaskList(
            tuple(Task(Role.BLOCK, f"block{i}", names[i % 3]) for i in range(10)),
            Task(Role.ANCHOR, "anchor", names[0]),
        )
        options = PlanOptions(warm_runs=1, timed_runs=runs)
        target = agent._agent.target if isinstance(agent, Recording) else agent.target
        store = Store(tmp_path / "store.sqlite")
        with closing(store):
            rows = store.campaigns(target=target, space="space")
            row = rows[0] if rows else begin_campaign(store, target, "space", "identity", tasks, agent.describe())
            with closing(agent):
                return Campaign(store, agent, row, options.rounds, files, clock=Clock.WALL).run(Limits(120.0, rounds))

    return run


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[], list[Measurement]]:
    """Everything in the campaign's store."""

    def read() -> list[Measurement]:
        store = Store(tmp_path / "store.sqlite")
        with closing(store):
            (target,) = {row.target for row in store.campaigns()}
            return list(store.measurements(target=target, space="space"))

    return read


def complete(measurements: list[Measurement]) -> bool:
    """Two rounds of ten things and three anchors, each once under each clock, all with samples."""
    wall = [m for m in measurements if m.clock == Clock.WALL]
    blocks = sorted((m.round, m.key) for m in wall if m.role == Role.BLOCK)
    expected = sorted((number, f"block{i}") for number in range(2) for i in range(10))
    return blocks == expected and len(wall) == 2 * 13 and all(m.samples and m.error is None for m in measurements)


def test_daemon_killed_mid_run_and_back(
    daemon: Any, open_agent: Callable[..., AdbAgent], campaign: Any, stored: Any
) -> None:
    def kill_in_the_next_visit(count: int) -> None:
        if count in (2, 17):
            daemon.kill()
            threading.Timer(0.5, daemon.start).start()

    campaign(Recording(open_agent(daemon.address), kill_in_the_next_visit), runs=50)
    assert complete(stored())
    assert daemon.is_free_of("session.sh")


def test_daemon_killed_mid_run_for_good_then_the_same_command(
    daemon: Any, open_agent: Callable[..., AdbAgent], campaign: Any, stored: Any
) -> None:
    begun = 0.0

    def kill(count: int) -> None:
        nonlocal begun
        if count == 4:
            daemon.kill()
            begun = time.monotonic()

    with pytest.raises(DeviceError) as caught:
        campaign(Recording(open_agent(daemon.address, reconnect_s=0.5), kill))
    assert time.monotonic() - begun < SLACK_S
    assert "Run the same command again to go on" in caught.value.remedy
    before = {m.uuid for m in stored()}
    assert len(before) >= 2 * 4
    daemon.start()
    campaign(open_agent(daemon.address))
    assert complete(stored())
    assert before <= {m.uuid for m in stored()}


def test_a_device_that_hangs_mid_run_then_the_same_command(
    daemon: Any, open_agent: Callable[..., AdbAgent], campaign: Any, stored: Any
) -> None:
    begun = 0.0

    def stall(count: int) -> None:
        nonlocal begun
        if count == 3:
            daemon.pause()
            begun = time.monotonic()

    agent = open_agent(daemon.address, reconnect_s=0.5)
    try:
        with pytest.raises(DeviceError, match="no sign of life"):
            campaign(Recording(agent, stall))
        assert time.monotonic() - begun < SLACK_S
    finally:
        daemon.resume()
    assert len(stored()) >= 2 * 3
    campaign(open_agent(daemon.address))
    assert complete(stored())


def test_the_same_through_an_adb_server(
    adb_server: int, daemon: Any, open_agent: Callable[..., AdbAgent], campaign: Any, stored: Any
) -> None:
    def kill(count: int) -> None:
        if count == 5:
            daemon.kill()
            threading.Timer(0.5, daemon.start).start()
        if count == 18:
            daemon.pause()
            threading.Timer(3.0, daemon.resume).start()

    campaign(Recording(open_agent(daemon.address), kill))
    assert complete(stored())


def _big_files(folder: Path, models: Mapping[str, Path]) -> dict[str, Path]:
    """The models again, each with a megabyte behind it that the flatbuffer ignores."""
    found = {}
    for path in models.values():
        data = path.read_bytes() + os.urandom(8_000_000)
        sha256 = hashlib.sha256(data).hexdigest()
        found[sha256] = folder / f"{sha256}.tflite"
        found[sha256].write_bytes(data)
    return found


def test_daemon_killed_mid_push(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], models: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    files = _big_files(tmp_path, models)
    agent = open_agent(daemon.address)
    names = list(files)
    batch = make_batch(agent.target, 3)
    visits = tuple(
        type(visit)(visit.uuid, visit.role, visit.key, names[i], 1, 3) for i, visit in enumerate(batch.visits)
    )
    batch = VisitBatch(agent.target, "space", "campaign", 0, visits, {k: str(v) for k, v in files.items()})
    folder = daemon.data / "local" / "tmp"

    def kill_when_half_there() -> None:
        for _ in range(2000):
            sizes = [path.stat().st_size for path in folder.glob("fleetfront-*/models/*")]
            if sizes and max(sizes) > 100_000:
                daemon.kill()
                time.sleep(0.3)
                daemon.start()
                return
            time.sleep(0.005)

    killer = threading.Thread(target=kill_when_half_there)
    killer.start()
    rows = list(agent.run(batch))
    killer.join()
    assert [row.error for row, _ in rows] == [None] * 3
    for sha256 in names:
        (path,) = folder.glob(f"fleetfront-*/models/{sha256}.tflite")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def test_a_device_that_hangs_mid_push_then_the_same_command(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], models: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    files = _big_files(tmp_path, models)
    agent = open_agent(daemon.address, reconnect_s=0.5)
    visits = tuple(
        type(visit)(visit.uuid, visit.role, visit.key, sha256, 1, 3)
        for visit, sha256 in zip(make_batch(agent.target, 3).visits, files, strict=True)
    )
    batch = VisitBatch(agent.target, "space", "campaign", 0, visits, {k: str(v) for k, v in files.items()})
    folder = daemon.data / "local" / "tmp"

    def stall_when_something_is_there() -> None:
        while not [path for path in folder.glob("fleetfront-*/models/*") if path.stat().st_size > 100_000]:
            time.sleep(0.005)
        daemon.pause()

    stalling = threading.Thread(target=stall_when_something_is_there)
    stalling.start()
    begun = time.monotonic()
    try:
        with pytest.raises(DeviceError, match="no sign of life"):
            list(agent.run(batch))
        assert time.monotonic() - begun < SLACK_S
    finally:
        stalling.join()
        daemon.resume()
    agent.close()
    assert [rows[0].error for rows in open_agent(daemon.address).run(batch)] == [None] * 3


def test_disk_full_then_the_same_command(
    make_daemon: Callable[..., Any], open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch],
    models: dict[str, Path], tmp_path: Path,
) -> None:  # fmt: skip
    small = make_daemon(data_bytes=24_000_000)
    files = _big_files(tmp_path, models)
    batch = make_batch(open_agent(small.address).target, 3)
    names = list(files)
    visits = tuple(type(v)(v.uuid, v.role, v.key, names[i], 1, 3) for i, v in enumerate(batch.visits))
    batch = VisitBatch(batch.target, "space", "campaign", 0, visits, {k: str(v) for k, v in files.items()})
    agent = open_agent(small.address)
    with pytest.raises(DeviceError, match="no space left") as caught:
        list(agent.run(batch))
    assert "Free some space on the device" in caught.value.remedy
    agent.close()
    few = VisitBatch(batch.target, "space", "campaign", 0, visits[:1], batch.files)
    assert [rows[0].error for rows in open_agent(small.address).run(few)] == [None]


def test_a_runner_that_disappears_is_put_back(
    daemon: Any, open_agent: Callable[..., AdbAgent], campaign: Any, stored: Any
) -> None:
    def remove(count: int) -> None:
        if count == 4:
            for path in (daemon.data / "local" / "tmp").glob("fleetfront-*/fleetfront-runner"):
                path.unlink()

    campaign(Recording(open_agent(daemon.address), remove))
    assert complete(stored())


def test_a_device_that_is_silent_is_told_from_one_that_is_gone(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(daemon.address, reconnect_s=0.2)
    running = agent.run(make_batch(agent.target, 200))
    next(running)
    daemon.pause()
    try:
        with pytest.raises(DeviceSilent):
            list(running)
    finally:
        daemon.resume()
    agent.close()
    agent = open_agent(daemon.address, reconnect_s=0.2)
    batch = make_batch(agent.target, 200)
    running = agent.run(batch)
    arrived = [next(running)[0].uuid]
    daemon.kill()
    with pytest.raises(ConnectionLost) as caught:
        arrived.extend(rows[0].uuid for rows in running)
    assert not isinstance(caught.value, DeviceSilent)
    # Rows that were on their way when it died still came, in order and once.
    assert arrived == [measurement_uuid(visit.uuid, Clock.WALL) for visit in batch.visits][: len(arrived)]
