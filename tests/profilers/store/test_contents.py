"""Count a store: visits once however many clocks they have, samples without their checksums, cut runs."""

from __future__ import annotations

from pathlib import Path

from fleetfront.profilers.store.contents import InterruptedRun, Machine, count_contents
from fleetfront.profilers.store.store import Source, Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured, older_store

CPU, BOARD = Target("cpu", "litert"), Target("board", "litert")


def test_everything_is_counted(store: Store, path: Path) -> None:
    for started_ns in (5, 6):
        store.append([measured(CPU, "a", clock, started_ns=started_ns) for clock in (Clock.WALL, Clock.THREAD_CPU)])
    store.append([measured(CPU, "b", samples=(), error="no such operator", started_ns=7)])
    store.append([measured(BOARD, key, samples=(1,)) for key in "abc"], Source("a paper", "MIT", sha256="ab"))
    for name in ("done", "killed", "interrupted"):
        store.add_campaign(name, CPU, "space", "identity", {}, {"cpu": "Abacus", "system": "Linux"})
        session = store.begin_session(name)
        if name != "killed":
            store.end_session(session, "target" if name == "done" else name, finished=name == "done")
    found = count_contents(path)
    counted = [(one.target, one.series, one.visits, one.rows, one.failed, one.samples) for one in found.targets]
    assert counted == [(str(BOARD), 3, 3, 3, 0, 3), (str(CPU), 3, 3, 5, 1, 12)]
    assert found.samples == 15
    assert found.bytes_a_sample == found.bytes / 15
    assert found.bytes >= path.stat().st_size
    assert found.machines == (Machine("cpu", "Abacus", "Linux"),)
    assert (found.campaigns, found.sources) == (3, 1)
    assert found.interrupted == (
        InterruptedRun("killed", str(CPU), "space", ""),
        InterruptedRun("interrupted", str(CPU), "space", "interrupted"),
    )


def test_stores_of_every_version_and_rows_that_nobody_can_name(path: Path) -> None:
    older_store(path, 1, measured(CPU, "a"), measured(CPU, "b", started_ns=12))
    found = count_contents(path)
    assert (found.version, found.samples, found.targets[0].visits, found.bytes_a_sample is None) == (1, 6, 2, False)
    with Store(path) as store:
        store._connection.execute("DROP TRIGGER series_no_update")
        store._connection.execute("UPDATE series SET target = 'no target' WHERE key = 'b'")
    assert [one.is_known for one in count_contents(path).targets] == [True, False]
