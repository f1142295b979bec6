"""Read numbers as they are printed and tables as people save them; what only Python takes for a number is none."""

from __future__ import annotations

import gzip
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetfront.errors import FileError, InputError, MissingDependency
from fleetfront.text_tables import parse_number, parse_numbers, read_csv, what_is_wrong


@pytest.mark.parametrize(
    ("text", "value"), [("12", 12), (" +1.5 ", 1.5), (".5", 0.5), ("7.", 7), ("-3e-2", -0.03), ("1E+06", 1e6)]
)
def test_printed_numbers(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1_0", "underscores"),
        ("\uff11\uff10", "other digits"),
        ("\u0663", "other digits"),
        ("1,234.5", "thousands separators"),
        ("1.234,5", "comma"),
        ("12,5", "comma"),
        ("1 234.5", "thousands separators"),
        ("1'234", "thousands separators"),
        ("0x10", "hexadecimal"),
        ("inf", "not finite"),
        ("-Infinity", "not finite"),
        ("NaN", "not finite"),
        ("12 ms", "unit"),
        ("93.1%", "unit"),
        ("1e999", "beyond all numbers"),
        ("9" * 400, "beyond all numbers"),
        ("", "no number"),
        ("--1", "no number"),
    ],
)
def test_what_only_looks_like_a_number(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_number(text)
    assert math.isnan(parse_numbers(["1", text])[1])
    assert said in what_is_wrong(text)


@given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(repr), st.text(max_size=12))))
def test_many_are_read_as_one_is(cells: list[str]) -> None:
    found = parse_numbers(cells)
    assert found.shape == (len(cells),)
    for cell, value in zip(cells, found.tolist(), strict=True):
        assert bool(what_is_wrong(cell)) == math.isnan(value)
        if not math.isnan(value):
            assert parse_number(cell) == value


def saved(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a,b\n1,2\n3,4\n", [2, 3]),
        ("\ufeffa,b\r\n1,2\r\n3,4\r\n", [2, 3]),
        ("sep=,\r\na,b\r\n1,2\r\n3,4\r\n", [3, 4]),
        ('"sep=;"\na;b\n1;2\n3;4\n', [3, 4]),
        ("sep=\\t\na\tb\n1\t2\n3\t4\n", [3, 4]),
        ("# mine, 2024\n\n a , b\n1,2\n  # a pause\n\n3,4\n", [4, 7]),
    ],
)
def test_tables_as_people_save_them(text: str, lines: list[int], tmp_path: Path) -> None:
    found = read_csv(saved(tmp_path / "t.csv", text))
    assert (found.header, list(found.rows), list(found.lines)) == (("a", "b"), [["1", "2"], ["3", "4"]], lines)
    assert found.uneven == ()


def test_uneven_lines_are_told(tmp_path: Path) -> None:
    found = read_csv(saved(tmp_path / "t.csv", "a,b\n1\n1,2\n1,2,3\n"))
    assert (list(found.rows), found.uneven) == ([["1", "2"]], ((2, 1), (4, 3)))


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        ("a,a\n1,2\n", "utf-8", "occurs twice"),
        ("a;b,c\n1;2,3\n", "utf-8", "semicolons"),
        ("a\tb,c\n1\t2,3\n", "utf-8", "tabs"),
        ("a,b\n1,2\n", "utf-16", "not UTF-8"),
        ("a,b\n\0,2\n", "utf-8", "not UTF-8"),
        ('a,b\n"1,2\n', "utf-8", "not CSV"),
    ],
)
def test_other_tables_are_refused(text: str, encoding: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_csv(saved(tmp_path / "t.csv", text, encoding))
    with pytest.raises(FileError, match="cannot be read"):
        read_csv(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("a;b\n1,5;x\n-2,25;1,125\n", ["1.5", "x", "-2.25", "1.125"]),
        ("# note\na;b\n0,125;3\n", ["0.125", "3"]),
        ("a\tb\n1,5e-3\t,5\n", ["1.5e-3", ".5"]),
        ('a,b\n"12,5",7\n', ["12,5", "7"]),
        # One comma that may group thousands, or a point elsewhere: nobody can tell.
        ("a;b\n1,234;x\n", ["1,234", "x"]),
        ("a;b\n1,5;2.5\n", ["1,5", "2.5"]),
        ("a;b\nwidth=1,5;2,5,3\n", ["width=1,5", "2,5,3"]),
    ],
)
def test_decimal_commas_are_read_where_nothing_else_can_be_meant(text: str, cells: list[str], tmp_path: Path) -> None:
    found = read_csv(saved(tmp_path / "t.csv", text, "utf-8"))
    assert [cell for row in found.rows for cell in row] == cells


def test_gzipped_tables_are_read_and_damaged_ones_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, packed = tmp_path / "t.csv.gz", gzip.compress(b"a,b\n1,2\n")
    path.write_bytes(packed)
    found = read_csv(path)
    assert (found.header, list(map(list, found.rows))) == (("a", "b"), [["1", "2"]])
    assert found.sha256 == hashlib.sha256(packed).hexdigest()
    path.write_bytes(packed[:-9])
    with pytest.raises(FileError, match="damaged gzip"):
        read_csv(path)
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 500))
    monkeypatch.setattr("fleetfront.text_tables.MAX_BYTES", 1000)
    with pytest.raises(FileError, match="unpacks to more"):
        read_csv(path)


def test_parquet_files_are_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    path = tmp_path / "t.parquet"
    table = pyarrow.table({"arch": ["x", "y"], " ms": [0.1, None], "n": [1, 2]})
    parquet.write_table(table, path)
    found = read_csv(path)
    assert found.header == ("arch", "ms", "n")
    assert list(found.rows) == [("x", "0.1", "1"), ("y", "", "2")]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match="no Parquet file"):
        read_csv(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(data)
        file.flush()
        try:
            found = read_csv(Path(file.name))
        except (InputError, MissingDependency):
            return
        assert np.all([len(row) == len(found.header) for row in found.rows])


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_damaged_parquet_file_is_called_one(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet, table

    path = tmp_path / f"t.{suffix}"
    parquet.write_table(table({"arch": ["a"], "lat_x": [1.5]}), path)
    whole = path.read_bytes()
    texts = [b"arch,lat_x\na,1\n", b""] if suffix == "parquet" else []
    for damaged in (whole[:-4] + b"XXXX", whole[: len(whole) // 2], b"XXXX" + whole[40:], *texts):
        path.write_bytes(damaged)
        with pytest.raises(FileError, match="no Parquet file"):
            read_csv(path)
