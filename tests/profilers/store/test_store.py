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
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.profilers.campaign import find_unfinished
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.reading.verdict import judge
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.schema import VERSION
from fleetfront.profilers.store.store import Source, Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        yield opened


def measured(target: Target, key: str = "k", clock: Clock = Clock.WALL, **changes: object) -> Measurement:
    whole = Measurement(target, "space", Role.BLOCK, key, clock, (5, 2**46, 7), "campaign", 0, 11)
    return replace(whole, **changes)  # type: ignore[arg-type]


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
    with pytest.raises(InputError, match="not a readable store"), Store(path) as store:
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
connection.execute("INSERT INTO measurements VALUES (1, 'u', 1, 'c', 0, 11, x'', NULL, NULL, NULL, NULL, NULL)")
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


def spoil(path: Path, statement: str, *values: object) -> None:
    """Change an append-only store behind its back, as a failing disk does."""
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("samples", b"odd"),
        ("samples", "text"),
        ("samples", (-5).to_bytes(8, "little", signed=True)),
        ("samples", (2**60).to_bytes(8, "little")),
        ("before", "{"),
        ("after", "[1]"),
        ("after", "[" * 100_000),
        ("flags", "7"),
        ("round", "first"),
        ("started_ns", b"\xff"),
        ("error", b"\xff\xfe"),
    ],
)
def test_a_damaged_cell_costs_its_own_row(path: Path, target: Target, column: str, value: object) -> None:
    with Store(path) as store:
        store.append([measured(target), measured(target, "spoilt", campaign="other")])
        assert store.find_damage() == []
    spoil(path, f"UPDATE measurements SET {column} = ? WHERE campaign = 'other'", value)
    with Store(path, read_only=True) as store:
        good, bad = sorted(store.measurements(), key=lambda row: row.key != "k")
        assert (good.samples, good.error) == ((5, 2**46, 7), None)
        assert bad.key == "spoilt"
        assert bad.error
        if column != "error":
            assert bad.samples == ()
            assert "1 rows are damaged" in store.find_damage()[0]
        assert store.holdings()
        assert store.campaigns() == []


def test_a_bit_that_flips_inside_samples_is_seen(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.append([measured(target)])
    blob = bytearray(sqlite3.connect(path).execute("SELECT samples FROM measurements").fetchone()[0])
    blob[3] ^= 4
    spoil(path, "UPDATE measurements SET samples = ?", bytes(blob))
    with Store(path) as store:
        (row,) = store.measurements()
    assert row.samples == ()
    assert "do not match their checksum" in str(row.error)


def test_samples_of_older_stores_have_no_checksum(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.append([measured(target)])
    spoil(path, "UPDATE measurements SET samples = substr(samples, 1, 24)")
    spoil(path, "PRAGMA user_version = 1")
    for read_only in (True, False):
        with Store(path, read_only=read_only) as store:
            (row,) = store.measurements()
            assert row.samples == (5, 2**46, 7)


@pytest.mark.parametrize(("column", "value"), [("role", "wizard"), ("clock", "sundial"), ("target", "nonsense")])
def test_words_that_nobody_knows_stop_nothing_else(path: Path, target: Target, column: str, value: str) -> None:
    with Store(path) as store:
        store.append([measured(target), measured(target, "strange")])
    spoil(path, f"UPDATE series SET {column} = ? WHERE key = 'strange'", value)
    with Store(path, read_only=True) as store:
        assert [row.key for row in store.measurements()] == ["k"]
        assert [holding.keys for holding in store.holdings()] == [1]
        (sentence,) = store.find_damage()
        assert repr(value) in sentence


def test_a_damaged_campaign_is_not_gone_on_with(path: Path, target: Target) -> None:
    with Store(path) as store:
        store.add_campaign("c", target, "space", "identity", {"tasks": {}, "anchor": None}, {})
    spoil(path, "UPDATE campaigns SET plan = '{\"tasks\": 7', environment = '[]'")
    with Store(path) as store:
        (row,) = store.campaigns()
        assert (row.plan, row.environment) == ({}, {})
        assert find_unfinished(store, target, "space", "identity", 60.0) is None


def test_a_view_in_place_of_a_table_is_refused(path: Path) -> None:
    Store(path).close()
    spoil(path, "DROP TABLE measurements")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"
    spoil(path, f"CREATE VIEW measurements AS {endless}")
    for read_only in (True, False):
        with pytest.raises(InputError, match="'measurements' is not a table"):
            Store(path, read_only=read_only)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for read_only in (True, False):
        with pytest.raises(InputError, match="is no file"):
            Store(tmp_path / "pipe", read_only=read_only)


def test_a_writer_waits_for_a_long_import(path: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetfront.profilers.store.schema._BUSY_S", 0.05)
    with Store(path) as store:
        importing = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        importing.execute("BEGIN IMMEDIATE")
        threading.Timer(0.5, importing.execute, ("COMMIT",)).start()
        assert store.append([measured(target)]) == 1
        importing.close()


HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize("jump_ns", [-HOUR_NS, HOUR_NS])
def test_a_clock_that_is_set_changes_no_sum(store: Store, target: Target, jump_ns: int) -> None:
    store.add_campaign("c", target, "space", "identity", {}, {})
    first = store.begin_session("c", 10 * HOUR_NS)
    store.end_session(first, "interrupted", finished=False, seconds=5.0)
    store.begin_session("c", 11 * HOUR_NS)
    visits = [
        measured(target, str(number), campaign="c", started_ns=11 * HOUR_NS + number, after={"visit_ns": 10**9})
        for number in range(20)
    ]
    late = measured(target, campaign="c", started_ns=11 * HOUR_NS + jump_ns, after={"visit_ns": 10**9})
    store.append([*visits, late])
    (row,) = store.campaigns()
    assert 5.0 + 16.0 <= row.seconds <= 5.0 + 2 * 16.0 + 60.0
    assert not row.is_finished


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12))
def test_bytes_that_are_damaged_are_refused_or_cost_their_rows(
    tmp_path: Path, target: Target, damage: list[tuple[float, int]]
) -> None:
    whole = tmp_path / "whole.sqlite"
    if not whole.exists():
        with Store(whole) as store:
            store.add_campaign("campaign", target, "space", "identity", {"tasks": {}, "anchor": None}, {"cpu": "x"})
            store.end_session(store.begin_session("campaign"), "budget", finished=True)
            facts = {"throttles": 1, "visit_ns": 5, "frequency_khz": 7}
            store.append(measured(target, str(number), before=facts, after=facts) for number in range(40))
        with sqlite3.connect(whole) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
    data = bytearray(whole.read_bytes())
    written = [place for place, byte in enumerate(data) if byte]
    for share, byte in damage:
        data[written[int(share * len(written))]] = byte
    path = tmp_path / "damaged.sqlite"
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    path.write_bytes(data)
    for read in (
        lambda store: store.holdings(),
        lambda store: store.campaigns(),
        lambda store: store.sources(),
        lambda store: store.find_damage(),
        lambda store: find_unfinished(store, target, "space", "identity", 60.0),
        lambda store: judge(read_observations(store, target, "space", Clock.WALL)).to_json(),
    ):
        with suppress(InputError), Store(path, read_only=True) as store:
            read(store)
