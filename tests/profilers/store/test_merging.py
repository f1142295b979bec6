"""Stores of several machines in one: nothing lost, nothing doubled, nothing mistaken for another machine's."""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.store import merging
from fleetfront.profilers.store.merging import Merged, described_differently, devices_in, merge_store
from fleetfront.profilers.store.store import Source, Store
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured, older_store
from tests.profilers.store.test_store import locked, needs_posix

PHONE = Target("R5CT10", "tflite-cpu")


def as_lab(device: str) -> str:
    return f"lab-{device}" if device == "cpu" else device


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another machine's store: its CPU, a phone, an import, a finished campaign and one that was killed."""
    path, cpu = tmp_path / "other.sqlite", Target("cpu", "onnxruntime")
    with Store(path) as store:
        store.append([measured(cpu, "a", campaign="done"), measured(cpu, "b", samples=(), error="no such operator")])
        warm = {"before": {"load_1m": 1.5}, "after": {"visit_ns": 8}}
        store.append([measured(PHONE, "a", **warm), measured(PHONE, "a", metric="energy", unit="uJ", **warm)])
        store.append([measured(Target("board", "litert"), "a")], Source("a paper", "MIT", "https://x.org", "ab12"))
        for name in ("done", "killed"):
            store.add_campaign(name, cpu, "space", "identity", {"tasks": {}}, {"cpu": "Abacus"})
            session = store.begin_session(name)
            if name == "done":
                store.end_session(session, "budget", finished=True, seconds=3.0)
    return path


def test_all_of_it_arrives_and_machines_stay_apart(tmp_path: Path, other: Path) -> None:
    path, cpu = tmp_path / "own.sqlite", Target("cpu", "onnxruntime")
    with Store(path) as store:
        store.append([measured(cpu, "a", samples=(9,), before={"load_1m": 7})])
    assert devices_in(other) == ["R5CT10", "board", "cpu"]
    found = merge_store(path, other, as_lab)
    assert found == Merged(("R5CT10", "board", "lab-cpu"), rows=5, known=0, left_out=0, campaigns=2)
    with Store(path, read_only=True) as store, Store(other, read_only=True) as before:
        assert [m.samples for m in store.measurements(target=cpu)] == [(9,)]
        lab = replace(cpu, device="lab-cpu")
        moved = {m.uuid: m for m in store.measurements(metric=None) if m.samples != (9,)}
        assert moved == {
            m.uuid: replace(m, target=lab) if m.target == cpu else m for m in before.measurements(metric=None)
        }
        assert store.sources(Target("board", "litert")) == before.sources()
        assert store.campaigns(target=lab) == [replace(c, target=lab) for c in before.campaigns()]
        assert [c.is_finished for c in store.campaigns()] == [False, True]


def test_a_large_store_arrives_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "own.sqlite", tmp_path / "other.sqlite"
    rows = [measured(PHONE, str(number)) for number in range(25)]
    with Store(other) as store:
        store.append(rows)
        store._connection.execute("DROP TRIGGER measurements_no_update")
        store._connection.execute("UPDATE measurements SET id = -7 WHERE id = 1")
    monkeypatch.setattr(merging, "_AT_ONCE", 4)
    assert merge_store(path, other, as_lab).rows == 25
    assert merge_store(path, other, as_lab).known == 25
    with Store(path, read_only=True) as store:
        assert list(store.measurements()) == rows


def test_merging_again_brings_what_is_new_alone(tmp_path: Path, other: Path) -> None:
    path = tmp_path / "own.sqlite"
    merge_store(path, other, as_lab)
    assert merge_store(path, other, lambda device: f"desk-{device}").held_as == ("R5CT10", "board", "lab-cpu")
    assert merge_store(path, other, as_lab) == Merged(("R5CT10", "board", "lab-cpu"), 0, 5, 0, 0)
    with Store(other) as store:
        store.append([measured(PHONE, "c")])
        store.begin_session("killed")
    assert merge_store(path, other, as_lab).rows == 1
    counts = [
        sqlite3.connect(file)
        .execute("SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM endings)")
        .fetchone()
        for file in (path, other)
    ]
    assert counts == [(3, 1), (3, 1)]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_store_of_an_older_program_is_merged(tmp_path: Path, version: int) -> None:
    path, other = tmp_path / "own.sqlite", tmp_path / "older.sqlite"
    rows = [measured(PHONE, key, before={"load_1m": 2}) for key in ("a", "b")]
    older_store(other, version, *rows)
    with Store(path) as store:
        store.append([measured(PHONE, "own", after={"visit_ns": 8})])
    assert merge_store(path, other, as_lab).rows == 2
    with Store(path, read_only=True) as store:
        assert list(store.measurements())[1:] == rows


def test_layouts_of_both_are_kept_apart(tmp_path: Path) -> None:
    path, other = tmp_path / "own.sqlite", tmp_path / "other.sqlite"
    own = [measured(PHONE, "a", before={"load_1m": 2.5}), measured(PHONE, "b", after={"visit_ns": 8})]
    with Store(path) as store:
        store.append(own)
    theirs = [measured(PHONE, "c", after={"visit_ns": 9}), measured(PHONE, "d", after={"battery": {"percent": 7}})]
    with Store(other) as store:
        store.append(theirs)
    assert merge_store(path, other, as_lab).rows == 2
    with Store(path, read_only=True) as store:
        assert list(store.measurements()) == [*own, *theirs]


def test_an_older_profile_of_the_same_phone_does_not_hide_one_s_own(tmp_path: Path) -> None:
    path, other = tmp_path / "own.sqlite", tmp_path / "other.sqlite"
    for file, names in ((path, ("first",)), (other, ("older", "old")), (path, ("own",)), (other, ("newest",))):
        with Store(file) as store:
            for name in names:
                store.add_campaign(name, PHONE, "space", "identity", {}, {})
    merge_store(path, other, as_lab)
    merge_store(path, other, as_lab)
    with Store(path) as store:
        found = [campaign.id for campaign in store.campaigns(target=PHONE)]
    assert found == ["newest", "own", "first", "old", "older"]


def test_rows_that_nobody_can_name_are_counted(tmp_path: Path, other: Path) -> None:
    broken = sqlite3.connect(other)
    broken.execute("DROP TRIGGER series_no_update")
    broken.execute("UPDATE series SET target = 'gibberish' WHERE target LIKE 'board%'")
    broken.commit()
    broken.close()
    found = merge_store(tmp_path / "own.sqlite", other, as_lab)
    assert (found.rows, found.left_out, found.devices) == (4, 1, ("R5CT10", "lab-cpu"))


def test_what_is_no_store_is_refused_and_nothing_is_written(tmp_path: Path, other: Path) -> None:
    path, text = tmp_path / "own.sqlite", tmp_path / "notes.txt"
    text.write_text("not a database, though it is long enough to be looked at as one" * 20)
    merge_store(path, other, as_lab)
    held = path.read_bytes()
    for wrong, words in (
        (text, "not a readable store"),
        (tmp_path / "none", "does not exist"),
        (path, "this very store"),
    ):
        with pytest.raises(InputError, match=words):
            merge_store(path, wrong, as_lab)
    assert path.read_bytes() == held


def test_an_interruption_in_the_middle_is_one_and_changes_nothing(tmp_path: Path, other: Path) -> None:
    path, asked = tmp_path / "own.sqlite", devices_in(other)

    def interrupted(device: str) -> str:
        if not asked:
            raise KeyboardInterrupt
        asked.pop()
        return device

    with pytest.raises(KeyboardInterrupt):
        merge_store(path, other, interrupted)
    assert devices_in(path) == []
    assert merge_store(path, other, as_lab).rows == 5


def test_a_damaged_store_leaves_one_s_own_as_it_was(tmp_path: Path, other: Path) -> None:
    path = tmp_path / "own.sqlite"
    merge_store(path, other, as_lab)
    with Store(other) as store:
        store.append([measured(PHONE, f"block {index}", samples=tuple(range(1, 200))) for index in range(400)])
    data = bytearray(other.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40_000] = bytes(40_000)
    other.write_bytes(data)
    with Store(path) as store:
        before = len(list(store.measurements(metric=None)))
    with pytest.raises(InputError):
        merge_store(path, other, as_lab)
    with Store(path) as store:
        assert len(list(store.measurements(metric=None))) == before


@pytest.mark.parametrize(("cell", "value"), [("samples", b"\x00\x01"), ("flags", "no list")])
def test_damaged_rows_are_left_to_a_sound_copy(tmp_path: Path, other: Path, cell: str, value: object) -> None:
    path, copy = tmp_path / "own.sqlite", tmp_path / "copy.sqlite"
    copy.write_bytes(other.read_bytes())
    with Store(copy) as store:
        store._connection.execute("DROP TRIGGER measurements_no_update")
        store._connection.execute(f"UPDATE measurements SET {cell} = ? WHERE id = 3", (value,))
        (bad,) = store._connection.execute("SELECT uuid FROM measurements WHERE id = 3").fetchone()
    for known in (0, 4):
        found = merge_store(path, copy, as_lab)
        assert (found.rows, found.known, found.left_out, found.damaged) == (4 - known, known, 0, 1)
    found = merge_store(path, other, as_lab)
    assert (found.rows, found.known, found.damaged) == (1, 4, 0)
    # What is here already is not missed in a damaged copy.
    assert merge_store(path, copy, as_lab).damaged == 0
    with Store(path, read_only=True) as store, Store(other, read_only=True) as sound:
        mine, theirs = ({m.uuid: m for m in one.measurements(metric=None)} for one in (store, sound))
        assert mine[bad] == theirs[bad]
        assert store.find_damage() == []


@needs_posix
def test_a_store_is_taken_in_from_a_folder_that_cannot_be_written() -> None:
    # Not tmp_path: whoever is not its owner may not even look into it.
    with tempfile.TemporaryDirectory() as theirs, tempfile.TemporaryDirectory() as own:
        path, other = Path(own) / "own.sqlite", Path(theirs) / "a store #1?.sqlite"
        with Store(other) as store:
            store.append([measured(PHONE, "a")])
        Path(own).chmod(0o777)
        with locked(other.parent):
            assert merge_store(path, other, as_lab).rows == 1
            assert merge_store(path, other, as_lab).known == 1
        assert [file.name for file in other.parent.iterdir()] == [other.name]
        other.parent.chmod(0o755)


def test_a_full_disk_is_the_one_that_is_written_to(
    tmp_path: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(merging, "_copy", full)
    with pytest.raises(InputError, match="own") as caught:
        merge_store(tmp_path / "own.sqlite", other, as_lab)
    assert str(other) not in str(caught.value)


def test_phones_known_by_rows_without_a_run_are_told_apart(tmp_path: Path) -> None:
    """Sustained runs are of no campaign: their rows alone say what they were measured on."""
    here, there, phone = tmp_path / "here.sqlite", tmp_path / "there.sqlite", Target("adb:desk:5555", "tflite-cpu")
    for path, model in ((here, "Pixel 7"), (there, "Galaxy S9")):
        with Store(path) as store:
            store.append([measured(phone, campaign=f"sustained-{model[:3]}", uuid=model, before={"model": model})])
            store.append([measured(PHONE, campaign="imported", uuid=f"{model}2")], Source("HELP", "MIT"))
    told = described_differently(here, there, str)
    assert told == {"adb:desk:5555": "adb:desk:5555 is Pixel 7 here, and Galaxy S9"}
    assert described_differently(here, here, str) == {}
