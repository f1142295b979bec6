"""Of a store with damaged pages every row that can still be read is saved as it was, and nothing that was not there."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.profilers.records import Measurement
from fleetfront.profilers.store.rescuing import rescue_store
from fleetfront.profilers.store.store import Source, Store
from tests.profilers.store.conftest import older_store
from tests.profilers.store.test_compacting import CPU, read, rows_of

PAGE = 4096


def stored(path: Path, rows: list[Measurement]) -> None:
    with Store(path) as store:
        store.add_campaign("campaign", CPU, "space", "identity", {}, {})
        session = store.begin_session("campaign", 5)
        store.append(rows)
        store.end_session(session, "budget", finished=True, seconds=2.0)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def pages_of(path: Path, name: str) -> list[int]:
    """Numbers of a table's pages that hold rows."""
    connection = sqlite3.connect(path)
    try:
        found = connection.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (name,)).fetchall()
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no dbstat")
    finally:
        connection.close()
    return [number for (number,) in found]


def damage(path: Path, pages: list[int]) -> None:
    content, noise = bytearray(path.read_bytes()), random.Random(0)
    for number in pages:
        content[(number - 1) * PAGE : number * PAGE] = noise.randbytes(PAGE)
    path.write_bytes(content)


@pytest.mark.parametrize("table", ["measurements", "visits", "sqlite_autoindex_measurements_1"])
def test_all_rows_on_other_pages_are_saved_as_they_were(path: Path, tmp_path: Path, table: str) -> None:
    rows, saved = rows_of(1500), tmp_path / "saved.sqlite"
    stored(path, rows)
    pages = pages_of(path, table)
    assert len(pages) > 8
    damage(path, [pages[0], pages[3], pages[4], pages[-1]])
    before = path.read_bytes()
    done = rescue_store(path, saved)
    found, known = read(saved), {row.uuid: row for row in rows}
    assert path.read_bytes() == before
    assert done.rows == len(found)
    assert all(row == known[row.uuid] for row in found)
    if table.startswith("sqlite"):
        assert (done.rows, done.without_rest, done.holes) == (len(rows), 0, 0)
        return
    # Four pages of many, and no more than lay on them.
    assert len(rows) * (1 - 6 / len(pages)) < done.rows < len(rows)
    assert 1 <= done.holes <= 4
    assert (done.without_rest > 0) == (table == "visits")
    with Store(saved) as store:
        assert [(row.id, row.seconds, row.is_finished) for row in store.campaigns()] == [("campaign", 2.0, True)]
        assert store.append(rows) == len(rows) - done.rows


def test_rows_whose_names_are_lost_are_not_saved(path: Path, tmp_path: Path) -> None:
    rows = rows_of(3)
    stored(path, rows)
    damage(path, pages_of(path, "series"))
    done = rescue_store(path, tmp_path / "saved.sqlite")
    assert (done.rows, done.without_rest) == (0, len(rows))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_stores_of_older_versions_are_saved_whole(path: Path, tmp_path: Path, version: int) -> None:
    rows, saved = rows_of(20), tmp_path / "saved.sqlite"
    older_store(path, version, *rows)
    assert rescue_store(path, saved).rows == len(rows)
    assert read(saved) == rows


def test_sources_come_along(path: Path, tmp_path: Path) -> None:
    with Store(path) as store:
        store.append(rows_of(2), Source("HELP", "MIT", sha256="a"))
    rescue_store(path, tmp_path / "saved.sqlite")
    connection = sqlite3.connect(tmp_path / "saved.sqlite")
    told = connection.execute("SELECT DISTINCT s.name, s.licence FROM measurements m JOIN sources s ON s.id = m.source")
    assert told.fetchall() == [("HELP", "MIT")]
    connection.close()


def test_a_damaged_first_page_and_a_file_that_exists_are_refused(path: Path, tmp_path: Path) -> None:
    stored(path, rows_of(3))
    with pytest.raises(InputError, match="exists"):
        rescue_store(path, path)
    damage(path, [1])
    with pytest.raises(InputError, match="not a readable store"):
        rescue_store(path, tmp_path / "saved.sqlite")
    assert not list(tmp_path.glob("saved*"))


def test_the_command_that_a_damaged_store_names_saves_it(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(path, rows_of(1500))
    damage(path, pages_of(path, "measurements")[3:5])
    assert main(["store", "compact", "--store", str(path)]) == 2
    assert "fleetfront store rescue" in capsys.readouterr().err
    assert main(["store", "rescue", "--store", str(path), "--out", str(tmp_path / "saved.sqlite")]) == 0
    told = capsys.readouterr()
    assert "rows saved; 0 more have lost what they belong to" in told.out
    assert "lay in 1 places" in told.err
