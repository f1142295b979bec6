"""Read numbers as they are printed and tables as people save them; what only Python takes for a number is none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetfront.errors import FileError, InputError
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
        ("a;b\n1;2\n", "utf-8", "semicolons"),
        ("a\tb\n1\t2\n", "utf-8", "tabs"),
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


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(data)
        file.flush()
        try:
            found = read_csv(Path(file.name))
        except InputError:
            return
        assert np.all([len(row) == len(found.header) for row in found.rows])
