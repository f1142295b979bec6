"""The archive finds what it holds, holds each network once and survives the disk."""

import io
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fleetfront.arrays import write_arrays
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
        total = archive.genotypes.sum(axis=1)
        for column, wanted in (
            (archive.accuracy, total),
            (archive.accuracy_std, total / 10),
            (archive.cost[:, 1], total),
        ):
            assert np.array_equal(column, wanted)


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


def _holding(accuracy=50.0, std=1.0, cost=2.0, genes=None, names=("a",)):
    """Writes an archive whose last row is odd."""

    def write(path):
        rows = np.eye(GENES, dtype=np.int8) if genes is None else genes
        values = np.tile([50.0, 1.0, 2.0], (len(rows), 1))
        values[-1] = accuracy, std, cost
        about = np.zeros((0, 2), "<U1")
        arrays = {"targets": np.array(names), "extras": np.zeros(0, "<U1"), "genotypes": rows, "values": values}
        write_arrays(path, {"schema": "fleetfront.archive/1", "about": about, **arrays})

    return write


def _rezipped(flags=0, method=0, repeat=1):
    """Writes an archive whose parts have other flags or methods in the zip's list."""

    def write(path):
        _holding()(path)
        data = bytearray(path.read_bytes())
        start = data.find(b"PK\x01\x02")
        while start >= 0:
            data[start + 8] |= flags
            data[start + 10] = method
            start = data.find(b"PK\x01\x02", start + 1)
        path.write_bytes(bytes(data))

    return write


def _bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("genotypes.npy", bytes(200 << 20))


def _endless_header(path):
    """An array that promises far more than it holds."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("values.npy", file.getvalue() + bytes(64))


def _pickled(path):
    with path.open("wb") as file:
        np.savez(file, schema=np.array([{}], dtype=object))


def _twice():
    return np.zeros((2, GENES), np.int8)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, r"Cannot read the search archive .* \(No such file or directory\)"),
        (_cut_short, "is not a whole search archive"),
        (lambda path: path.write_text('{"schema": "fleetfront.fronts/1"}'), "is not a whole search archive"),
        (_single_array, "is not a whole search archive"),
        (_holding(accuracy=np.nan), "that is not a number"),
        (_holding(cost=np.inf), "that is not a number"),
        (_holding(accuracy=1e6), r"an accuracy of 1e\+06 %"),
        (_holding(accuracy=-1), "an accuracy of -1 %"),
        (_holding(std=-1), r"a negative deviation or cost \(-1\)"),
        (_holding(genes=-np.eye(GENES, dtype=np.int8)), "genes below 0"),
        (_holding(genes=_twice()), "a network twice"),
        (_holding(genes=np.eye(GENES)), "float64 genes"),
        (_holding(names=("a", "b")), r"\(5, 3\) values"),
        (_rezipped(flags=1), "encrypted"),
        (_rezipped(method=99), "is not a whole search archive"),
        (_bomb, "would unpack to"),
        (_endless_header, "has 64 bytes"),
        (_pickled, "holds object"),
        (os.mkfifo, "no file"),
    ],
)
def test_what_is_no_archive_is_refused_with_the_callers_remedy(tmp_path, write, message):
    path = tmp_path / "archive.npz"
    write(path)
    with pytest.raises(InputError, match=message) as raised:
        Archive.load(path, {}, "Give another.")
    assert raised.value.remedy == "Give another."


def test_networks_outside_a_space_are_refused(tmp_path, mini):
    path = tmp_path / "archive.npz"
    rows = mini.sample(4, np.random.default_rng(0))
    archive = Archive(rows.shape[1], [])
    archive.add(rows, np.full(4, 50.0), np.zeros(4), np.zeros((4, 0)))
    archive.save(path, {})
    assert len(Archive.load(path, {}, space=mini)) == 4
    for gene, value in ((0, 100), (mini.gene_names.index("depth_1"), 0)):
        odd = rows.copy()
        odd[:, gene] = value
        if value == 0:
            # Genes of blocks that are not there are 0 in what a search writes.
            odd[:, ~mini.active(odd)[0]] = 1
        wrong = Archive(rows.shape[1], [])
        wrong.add(wrong.unknown(odd)[:1], np.full(1, 50.0), np.zeros(1), np.zeros((1, 0)))
        wrong.save(path, {})
        with pytest.raises(InputError, match="networks outside ofa-mbv3-mini"):
            Archive.load(path, {}, space=mini)
