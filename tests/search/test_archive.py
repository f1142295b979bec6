"""The archive finds what it holds, holds each network once, takes columns later and survives the disk."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fleetfront.errors import InputError
from fleetfront.search.archive import Archive

GENES = 5


def fill(archive, genotypes):
    fresh = archive.unknown(genotypes)
    value = fresh.sum(axis=1).astype(float)
    archive.add(fresh, value, value / 10, np.repeat(value[:, None], len(archive.targets), axis=1))
    return fresh


@settings(max_examples=40, deadline=None)
@given(st.lists(arrays(np.int8, st.tuples(st.integers(0, 30), st.just(GENES)), elements=st.integers(0, 2)), max_size=5))
def test_every_network_is_held_once_and_found(batches):
    archive = Archive(GENES, ["a", "b"])
    seen = {}
    for batch in batches:
        fresh = fill(archive, batch)
        for row in fresh:
            assert seen.setdefault(bytes(row), len(seen)) == len(seen) - 1  # Each is new, in order of appearance.
        assert {bytes(row) for row in batch} <= set(seen)
    assert len(archive) == len(seen)
    every = np.stack(np.meshgrid(*[np.arange(3)] * GENES), -1).reshape(-1, GENES).astype(np.int8)
    assert archive.find(every).tolist() == [seen.get(bytes(row), -1) for row in every]
    if len(archive):
        assert np.array_equal(archive.cost[:, 1], archive.genotypes.sum(axis=1))


def test_a_device_may_join_later_and_rows_added_after_it_have_its_column():
    archive = Archive(GENES, ["a"])
    rows = np.eye(GENES, dtype=np.int8)
    archive.add(rows[:2], np.ones(2), np.zeros(2), np.array([[1.0], [2.0]]))
    archive.add_target("b", np.array([3.0, 4.0]))
    archive.add(rows[2:3], np.ones(1), np.zeros(1), np.array([[5.0, 6.0]]))
    assert archive.cost.tolist() == [[1, 3], [2, 4], [5, 6]]
    with pytest.raises(InputError, match="'b' already"):
        archive.add_target("b", np.zeros(3))


def test_a_saved_archive_comes_back_and_another_search_refuses_it(tmp_path):
    archive = Archive(GENES, ["a", "b"], ["macs"])
    rows = np.eye(GENES, dtype=np.int8)
    archive.add(rows, np.arange(5.0), np.full(5, 0.5), np.ones((5, 2)), np.arange(5.0)[:, None])
    path = tmp_path / "archive.npz"
    archive.save(path, {"space": "s", "accuracy": "csv:x"})
    again = Archive.load(path, {"space": "s"})
    assert again.targets == ("a", "b")
    assert np.array_equal(again.extras, archive.extras)
    assert np.array_equal(again.genotypes, rows)
    assert np.array_equal(again.accuracy, archive.accuracy)
    with pytest.raises(InputError, match="belongs to another search: its space is 's', not 't'"):
        Archive.load(path, {"space": "t"})
    # What an older archive did not say of itself cannot differ.
    assert len(Archive.load(path, {"space": "s", "content": "c0ffee"})) == GENES


def _cut_short(path):
    path.write_bytes(b"PK\x03\x04 cut short")


def _single_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _not_a_number(path):
    archive = Archive(GENES, ["a"])
    archive.add(np.eye(GENES, dtype=np.int8), np.full(5, np.nan), np.zeros(5), np.ones((5, 1)))
    archive.save(path, {})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, r"Cannot read the search archive .* \(No such file or directory\)"),
        (_cut_short, "is not a whole search archive"),
        (lambda path: path.write_text('{"schema": "fleetfront.fronts/1"}'), "is not a whole search archive"),
        (_single_array, "is not a whole search archive"),
        (_not_a_number, "an accuracy that is not a number"),
    ],
)
def test_what_is_no_archive_is_refused_with_the_callers_remedy(tmp_path, write, message):
    path = tmp_path / "archive.npz"
    write(path)
    with pytest.raises(InputError, match=message) as raised:
        Archive.load(path, {}, "Give another.")
    assert raised.value.remedy == "Give another."
