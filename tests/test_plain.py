import enum
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from annotated_types import Ge, Le
from hypothesis import given
from hypothesis import strategies as st

from fleetfront.errors import FileError
from fleetfront.plain import from_plain, parse_finite_json, read_record, to_plain
from fleetfront.quantities import FloatArray
from fleetfront.targets import Target


class Colour(enum.StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    share: Annotated[float, Ge(0), Le(1)]
    colour: Colour = Colour.RED


@dataclass(frozen=True, slots=True)
class Record:
    target: Target
    values: FloatArray
    inner: tuple[Inner, ...]
    counts: Mapping[str, int]
    note: str | None = None


RECORD = Record(Target("cpu", "litert"), np.array([1.0, 2.5]), (Inner(0.5),), {"a": 3})
PLAIN = {
    "target": "cpu/litert/fp32/t1/b1",
    "values": [1.0, 2.5],
    "inner": [{"share": 0.5, "colour": "red"}],
    "counts": {"a": 3},
    "note": None,
}


def test_a_record_becomes_plain_values_and_is_read_back_equal() -> None:
    assert to_plain(RECORD) == PLAIN
    read = from_plain(Record, json.dumps(PLAIN))
    assert read.values.tolist() == [1.0, 2.5]
    assert (read.target, read.inner, read.counts) == (RECORD.target, RECORD.inner, RECORD.counts)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"target": "cpu"}, "target"),
        ({"target": 3}, "target"),
        ({"values": [1.0, "2"]}, "values"),
        ({"values": [[1.0], [2.0, 3.0]]}, "values"),
        ({"values": [True]}, "values"),
        ({"inner": [{"share": 1.5}]}, "inner.0.share"),
        ({"inner": [{"share": "0.5"}]}, "inner.0.share"),
        ({"inner": [{"share": 0.5, "colour": "blue"}]}, "inner.0.colour"),
        ({"inner": {}}, "inner"),
        ({"counts": {"a": 1.5}}, "counts.a"),
        ({"note": 7}, "note"),
    ],
)
def test_a_wrong_value_is_refused_and_named(change: dict[str, object], where: str) -> None:
    with pytest.raises(ValueError, match=rf"^{where}"):
        from_plain(Record, json.dumps(PLAIN | change))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999}', "1e999"),
        ('{"a": ' + "9" * 400 + "}", "400 digits"),
        ('{"a": ' + "9" * 1_000_000 + "}", "1000000 digits"),
        ("[" * 100_000 + "]" * 100_000, "nested"),
        (r'{"a": "\ud800"}', "surrogate"),
        (r'{"\udfff": 1}', "surrogate"),
        ("{", "Expecting"),
        (b"\xff\xfe", "utf-8"),
    ],
)
def test_what_no_file_of_ours_holds_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_finite_json(text)
    with pytest.raises(ValueError, match=reason):
        from_plain(Record, text)


def test_whole_characters_beyond_the_basic_plane_are_kept() -> None:
    assert parse_finite_json(r'"\ud83d\ude00"') == "\U0001f600"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        from_plain(Record, data)


def test_files_that_hold_no_record_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(PLAIN))
    assert read_record(path, Record, "record", "Make it again.").counts == {"a": 3}
    path.write_text("[]")
    with pytest.raises(FileError, match=r"no whole record: .* Make it again\."):
        read_record(path, Record, "record", "Make it again.")
    with pytest.raises(FileError, match="missing"):
        read_record(tmp_path / "other.json", Record, "record", "Make it again.")
    with pytest.raises(FileError, match="no regular file"):
        read_record(tmp_path, Record, "record", "Make it again.")


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="no regular file"):
        read_record(tmp_path / "pipe", Record, "record", "Give a file.")
