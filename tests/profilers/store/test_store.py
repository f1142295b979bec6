from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.schema import VERSION
from fleetfront.profilers.store.store import Source, Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured


def test_what_is_written_is_read_back_equal(path: Path, target: Target) -> None:
    rows = [
        measured(target, before={"load_1m": 0.5}, after={"throttles": 1}, flags=("throttled",)),
        measured(target, "other", Clock.THREAD_CPU, samples=(), error="no such operator", started_ns=12),
        measured(Target("pixel3", "litert", "int8", 4, 2, "xnnpack"), metric="peak_memory", unit="bytes"),
    ]
    with Store(path) as store:
        assert store.append(rows) == 3
    with Store(path, must_exist=True) as store:
        assert set(map(repr, store.measurements(metric=None))) == set(map(repr, rows))
        assert [m.key for m in store.measurements(target=target, clock=Clock.THREAD_CPU)] == ["other"]
        assert [m.key for m in store.measurements(target=target, campaigns=["another"])] == []


def test_samples_are_compact(store: Store, target: Target, path: Path) -> None:
    store.append([measured(target)])
    (blob,) = sqlite3.connect(path).execute("SELECT samples FROM measurements").fetchone()
    assert blob[:-4] == b"".join(value.to_bytes(8, "little") for value in (5, 2**46, 7))


def test_writing_again_changes_nothing(store: Store, target: Target) -> None:
    row = measured(target)
    assert store.append([row, measured(target)]) == 2
    assert store.append([row, replace(row, samples=(1,))]) == 0
    assert next(store.measurements()).samples == row.samples


def test_a_visit_is_written_whole_or_not_at_all(store: Store, target: Target) -> None:
    def breaking() -> Iterator[Measurement]:
        yield measured(target, "new series")
        raise RuntimeError("the agent died")

    with pytest.raises(RuntimeError):
        store.append(breaking())
    assert list(store.measurements()) == []
    # The series of the rolled-back row must not be remembered.
    assert store.append([measured(target, "new series")]) == 1
    assert [m.key for m in store.measurements()] == ["new series"]


@pytest.mark.parametrize("statement", ["UPDATE measurements SET error = 'x'", "DELETE FROM measurements"])
def test_the_store_is_append_only(store: Store, target: Target, path: Path, statement: str) -> None:
    store.append([measured(target)])
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite3.connect(path).execute(statement)


def test_a_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    path.write_bytes(b"hello, I am somebody's diary" * 100)
    with pytest.raises(InputError, match="not a readable store") as caught:
        Store(path)
    assert caught.value.remedy
    assert path.read_bytes().startswith(b"hello")


def test_a_damaged_store_is_refused(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.append([measured(target, f"k{number}") for number in range(500)])
    data = bytearray(path.read_bytes())
    data[4096:-4096] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged|not a readable store"), Store(path) as store:
        list(store.measurements())


def test_a_foreign_database_is_refused_and_kept(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE recipes (name)")
    foreign.commit()
    before = path.read_bytes()
    with pytest.raises(InputError, match="another program"):
        Store(path)
    assert path.read_bytes() == before


def test_a_newer_store_is_refused(path: Path) -> None:
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(InputError, match="newer fleetfront"):
        Store(path)


def test_a_missing_store_says_how_to_begin(path: Path) -> None:
    with pytest.raises(InputError, match="fleetfront profile"):
        Store(path, must_exist=True)
    assert not path.exists()


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        Store(tmp_path / "file" / "store.sqlite")


def test_a_full_disk_loses_nothing_written_before(store: Store, target: Target) -> None:
    store.append([measured(target)])
    # SQLite itself reports "database or disk is full" when the file may not grow.
    store._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(InputError, match="No space is left") as caught:
        store.append([measured(target, "x" * 10_000) for _ in range(50)])
    assert "kept" in caught.value.remedy
    assert [m.key for m in store.measurements()] == ["k"]


def test_imported_rows_know_their_source(store: Store, target: Target) -> None:
    source = Source("somebody's table", "MIT", "https://example.org", "ab" * 32)
    rows = [measured(target, f"k{i}", Clock.UNKNOWN, role=Role.NETWORK, flags=("imported",)) for i in range(3)]
    assert store.append(rows, source) == 3
    assert store.append([measured(target, "k9", Clock.UNKNOWN, role=Role.NETWORK)], source) == 1
    store.append([measured(target)])
    assert store.sources(target, "space") == [source]
    assert store.sources(space="other") == []
    holdings = {(h.role, h.is_imported): (h.keys, h.visits) for h in store.holdings()}
    assert holdings == {(Role.NETWORK, True): (4, 4), (Role.BLOCK, False): (1, 1)}


def test_sessions_add_up_and_a_killed_one_ends_with_its_last_visit(store: Store, target: Target) -> None:
    store.add_campaign("c", target, "space", "identity", {"anchor": "a"}, {"cpu": "x"})
    now = time.time_ns()
    killed = store.begin_session("c", now - 100 * 10**9)
    store.append([measured(target, campaign="c", started_ns=now - 90 * 10**9)])
    (row,) = store.campaigns(target=target, space="space")
    assert row.seconds == pytest.approx(10)
    assert (row.is_finished, row.reason, row.plan, row.environment) == (False, "", {"anchor": "a"}, {"cpu": "x"})
    session = store.begin_session("c", now - 5 * 10**9)
    store.append([measured(target, campaign="c", started_ns=now, round=4)])
    store.end_session(session, "target", finished=True)
    (row,) = store.campaigns()
    assert row.seconds == pytest.approx(15, abs=1)
    assert (row.is_finished, row.reason) == (True, "target")
    assert store.last_round("c") == 4
    assert killed != session


def test_a_reader_sees_what_a_killed_writer_committed(path: Path, target: Target) -> None:
    program = f"""
import sys, time
from fleetfront.profilers.store.store import Store
from fleetfront.profilers.records import Measurement, Role
from fleetfront.quantities import Clock
from fleetfront.targets import Target
store = Store(__import__("pathlib").Path({str(path)!r}))
for number in range(100000):
    target = Target.parse({str(target)!r})
    store.append([Measurement(target, "s", Role.BLOCK, f"k{{number}}", Clock.WALL, (1, 2), "c", 0, number)])
    print(number, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    last = -1
    for line in writer.stdout:
        last = int(line)
        if last == 50:
            writer.send_signal(signal.SIGKILL)
    writer.wait()
    with Store(path, must_exist=True) as store:
        written = list(store.measurements())
    assert len(written) in (last + 1, last + 2)
    assert all(m.samples == (1, 2) for m in written)


def test_several_commands_may_make_the_store_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def make(path: Path) -> None:
        together.wait()
        Store(path).close()

    with ThreadPoolExecutor(6) as pool:
        for number in range(12):
            list(pool.map(make, [tmp_path / f"{number}.sqlite"] * 6))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_reading_leaves_the_folder_as_it_was(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.append([measured(target)])
    before = contents(path.parent)
    with Store(path, read_only=True) as store:
        assert [m.key for m in store.measurements()] == ["k"]
        with pytest.raises(InputError):
            store.append([measured(target, "another")])
    assert contents(path.parent) == before


def test_an_empty_file_is_no_store_to_read_and_stays_empty(path: Path) -> None:
    path.touch()
    with pytest.raises(InputError, match="is empty: it is no store") as caught:
        Store(path, read_only=True)
    assert "fleetfront profile" in caught.value.remedy
    assert contents(path.parent) == {path.name: b""}
    with Store(path) as store:
        assert store.holdings() == []


def test_what_is_not_there_foreign_or_newer_is_not_read(path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Store(path / "store.sqlite", read_only=True)
    assert not path.exists()
    Store(path).close()
    for pragma, said in ((f"user_version = {VERSION + 1}", "newer fleetfront"), ("application_id = 7", "another")):
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA {pragma}")
        connection.close()
        with pytest.raises(InputError, match=said):
            Store(path, read_only=True)


@pytest.fixture
def shelf() -> Iterator[Path]:
    # Not tmp_path: whoever is not its owner may not even look into it.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder).chmod(0o755)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While this lasts, the folder can be read and not written; not by root either, who becomes nobody."""
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            (folder / "probe").touch()
        yield
    finally:
        os.seteuid(user)


needs_posix = pytest.mark.skipif(os.name != "posix", reason="folders are made read-only by their mode")


@needs_posix
def test_a_store_is_read_in_a_folder_that_cannot_be_written(shelf: Path, target: Target) -> None:
    path = shelf / "a store #1?.sqlite"
    with Store(path) as store:
        store.append([measured(target)])
    before = contents(shelf)
    with locked(shelf):
        with Store(path, read_only=True) as store:
            assert [m.key for m in store.measurements()] == ["k"]
            with pytest.raises(InputError):
                store.append([measured(target, "another")])
        with pytest.raises(InputError, match="cannot be opened for writing"):
            Store(path)
    assert contents(shelf) == before


@needs_posix
def test_what_a_writer_has_not_put_into_the_file_yet_is_not_left_out(shelf: Path, target: Target) -> None:
    path = shelf / "store.sqlite"
    Store(path).close()
    program = f"""
import sqlite3
connection = sqlite3.connect({str(path)!r})
connection.execute("INSERT INTO series VALUES (1, {str(target)!r}, 'space', 'block', 'k', 'latency', 'ns', 'wall')")
connection.execute("INSERT INTO measurements (id, uuid, series, campaign, round, started_ns, samples)"
    " VALUES (1, 'u', 1, 'c', 0, 11, x'')")
connection.commit()
print("written", flush=True)
input()
"""
    writer = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"

    def keys() -> list[str]:
        with locked(shelf), Store(path, read_only=True) as store:
            return [m.key for m in store.measurements()]

    assert keys() == ["k"]
    writer.kill()
    writer.communicate()
    assert keys() == ["k"]
    shelf.chmod(0o755)
    # As a copy may have it: the log without its index.
    (shelf / f"{path.name}-shm").unlink()
    with pytest.raises(InputError, match=r"newest rows are in store\.sqlite-wal"):
        keys()


@needs_posix
def test_a_store_that_its_reader_may_not_read_is_explained(shelf: Path) -> None:
    path = shelf / "store.sqlite"
    Store(path).close()
    path.chmod(0)
    with locked(shelf), pytest.raises(InputError, match="cannot be read") as caught:
        Store(path, read_only=True)
    assert "permissions" in caught.value.remedy


def test_what_is_held_of_one_target_is_told_without_looking_at_others(path: Path) -> None:
    """A report asks for every device of a fleet: looking at all for each made it grow as their square."""
    targets = [Target(f"board{number}", "litert") for number in range(3)]
    with Store(path) as store:
        for number, one in enumerate(targets):
            rows = [measured(one, role=Role.NETWORK, clock=Clock.UNKNOWN, uuid=f"{number}"), measured(one, "own")]
            store.append(rows[:1], Source(f"table {number % 2}", "own"))
            store.append(rows[1:])
        everything = store.holdings()
        assert len(everything) == 6
        for number, one in enumerate(targets):
            mine = [held for held in everything if held.target == one]
            assert store.holdings(one) == store.holdings(one, mine[0].space) == mine
            assert [source.name for source in store.sources(one, mine[0].space)] == [f"table {number % 2}"]
            assert store.holdings(one, "another") == store.sources(one, "another") == []
        assert [source.name for source in store.sources()] == ["table 0", "table 1"]
        plans: list[str] = []
        for query in ("holdings", "sources"):
            asked: list[str] = []
            store._connection.set_trace_callback(asked.append)
            getattr(store, query)(targets[0], mine[0].space)
            store._connection.set_trace_callback(None)
            plans += [str(row[3]) for row in store._connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
        assert not [step for step in plans if step.startswith(("SCAN s", "SCAN m"))], plans


def test_an_older_store_gets_its_indices_from_the_next_writer(path: Path, target: Target) -> None:
    """Stores of this version were made without; what they hold is told the same with and without."""
    with Store(path) as store:
        store.append([measured(target), measured(target, "other", error="no", samples=())])
        told = store.holdings()
    with sqlite3.connect(path) as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'measurements%'"
        made = {name for (name,) in connection.execute(names)}
        assert {"measurements_held", "measurements_begun"} < made
        connection.execute("DROP INDEX measurements_held")
        connection.execute("DROP INDEX measurements_begun")
    connection.close()
    with Store(path, read_only=True) as store:
        assert store.holdings() == told
    with Store(path) as store:
        assert store.holdings() == told
        assert {name for (name,) in sqlite3.connect(path).execute(names)} == made


def test_rows_come_in_the_order_taken_whatever_their_series(store: Store, target: Target) -> None:
    keys = ["b", "a", "c", "a", "b", "c"]
    store.append([measured(target, key, round=i) for i, key in enumerate(keys)])
    assert [row.key for row in store.measurements()] == keys
    assert [row.round for row in store.measurements(campaigns=["campaign"])] == list(range(6))
