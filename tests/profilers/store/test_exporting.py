"""A store as a table: every row that can be named with every sample, in two formats, over no file of others."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from fleetfront.errors import InputError, MissingDependency
from fleetfront.profilers.store.exporting import COLUMNS, export_store, format_of
from fleetfront.profilers.store.store import Source, Store
from fleetfront.progress import Silent
from fleetfront.targets import Target
from tests.profilers.store.conftest import measured

CPU, BOARD = Target("cpu", "litert", threads=2), Target("board", "litert", "int8", delegate="npu")
ROWS = [
    measured(CPU, "a,\n\"b'", before={"load_1m": 1.5}, after={"visit_ns": 8}, flags=("throttled",)),
    measured(CPU, "c", samples=(), error="no such operator"),
    measured(BOARD, "a", samples=(2**62, 1), metric="energy", unit="uJ"),
]


@pytest.fixture
def filled(store: Store) -> Store:
    store.append(ROWS)
    store.append([measured(BOARD, "z", flags=("imported",))], Source("a paper", "MIT", sha256="ab"))
    return store


def read_back(path: Path) -> list[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_a_csv_holds_every_row_and_sample(filled: Store, tmp_path: Path, name: str) -> None:
    done = export_store(filled, tmp_path / name, "csv")
    assert (done.rows, done.samples, done.left_out) == (4, 8, 0)
    read = {row["uuid"]: row for row in read_back(tmp_path / name)}
    assert tuple(read[ROWS[0].uuid]) == COLUMNS
    for row in ROWS:
        cells = read[row.uuid]
        assert tuple(map(int, cells["samples"].split())) == row.samples
        assert (cells["target"], cells["key"], cells["error"]) == (str(row.target), row.key, row.error or "")
        assert json.loads(cells["before"] or "{}") == row.before
        assert json.loads(cells["after"] or "{}") == row.after
        assert (cells["threads"], cells["delegate"]) == (str(row.target.threads), row.target.delegate)
        assert (cells["metric"], cells["unit"], cells["started_ns"]) == (row.metric, row.unit, "11")
    assert sorted(row["source"] for row in read.values()) == ["", "", "", "a paper (MIT)"]


def test_a_parquet_file_holds_lists_of_samples(filled: Store, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    done = export_store(filled, tmp_path / "rows.parquet", "parquet")
    read = {row["uuid"]: row for row in parquet.read_table(tmp_path / "rows.parquet").to_pylist()}
    assert (done.rows, len(read)) == (4, 4)
    for row in ROWS:
        cells = read[row.uuid]
        assert tuple(cells["samples"]) == row.samples
        assert (cells["key"], cells["error"], cells["round"]) == (row.key, row.error, 0)


def test_parquet_without_its_package_is_refused_and_leaves_nothing(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"pyarrow.*fleetfront\[parquet\]"):
        export_store(filled, tmp_path / "out" / "rows.parquet", "parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_some_devices_alone(filled: Store, tmp_path: Path) -> None:
    assert export_store(filled, tmp_path / "rows.csv", "csv", devices=["board"]).rows == 2
    assert {row["device"] for row in read_back(tmp_path / "rows.csv")} == {"board"}
    with pytest.raises(InputError, match="Did you mean 'board'"):
        export_store(filled, tmp_path / "rows.csv", "csv", devices=["boart"])


def test_files_of_others_stay(filled: Store, tmp_path: Path) -> None:
    foreign = tmp_path / "mine.csv"
    foreign.write_text("arch,lat_cpu\n")
    with pytest.raises(InputError, match="is no export"):
        export_store(filled, foreign, "csv")
    assert foreign.read_text() == "arch,lat_cpu\n"
    assert export_store(filled, foreign, "csv", force=True).rows == 4
    assert export_store(filled, foreign, "csv").rows == 4, "an export is replaced by the next"
    with pytest.raises(InputError, match="is the store itself"):
        export_store(filled, filled.path, "csv", force=True)


def test_damaged_rows_are_told_and_nameless_ones_left_out(filled: Store, path: Path, tmp_path: Path) -> None:
    connection = filled._connection
    connection.execute("DROP TRIGGER measurements_no_update")
    connection.execute("UPDATE measurements SET samples = x'0102' WHERE uuid = ?", (ROWS[0].uuid,))
    connection.execute("DROP TRIGGER series_no_update")
    connection.execute("UPDATE series SET role = 'pilot' WHERE key = 'z'")
    done = export_store(filled, tmp_path / "rows.csv", "csv")
    assert (done.rows, done.left_out) == (3, 1)
    read = {row["uuid"]: row for row in read_back(tmp_path / "rows.csv")}
    assert read[ROWS[0].uuid]["samples"] == ""
    assert "the store's row is damaged" in read[ROWS[0].uuid]["error"]


def test_names_say_their_format() -> None:
    names = ["a.parquet", "a.CSV", "a.csv.gz", "a.txt"]
    assert [format_of(Path(name)) for name in names] == ["parquet", "csv", "csv", None]


def test_rows_that_are_written_meanwhile_are_left_for_the_next_time(filled: Store, tmp_path: Path) -> None:
    class Writing(Silent):
        def start(self, label: str, total: int | None = None) -> None:
            with Store(filled.path) as other:
                other.append([measured(ROWS[0].target, f"new {number}") for number in range(5)])

    with Store(filled.path, read_only=True) as reader:
        done = export_store(reader, tmp_path / "rows.csv", "csv", progress=Writing())
        assert (done.rows, done.left_out) == (4, 0)
        assert export_store(reader, tmp_path / "rows.csv", "csv").rows == 9
