from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.model_files import FileCache


def test_the_same_bytes_are_one_file(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "files", ".onnx")
    sha256 = cache.put(b"model")
    assert cache.put(b"model") == sha256
    assert cache.has(sha256)
    assert not cache.has("0" * 64)
    assert cache.path(sha256).read_bytes() == b"model"
    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == [f"{sha256}.onnx"]


def test_the_files_used_longest_ago_go_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, ".onnx")
    hashes = [cache.put(bytes([number]) * 100) for number in range(4)]
    for age, sha256 in enumerate(hashes):
        os.utime(cache.path(sha256), (1000 - age, 1000 - age))
    cache.put(bytes([3]) * 100)
    assert cache.prune(kept_bytes=250) == 200
    assert [cache.has(sha256) for sha256 in hashes] == [True, False, False, True]


def test_files_that_another_device_uses_stay(tmp_path: Path) -> None:
    """The first of several devices that is done removes what was written first: the files of the others."""
    mine, others = FileCache(tmp_path, ".onnx"), FileCache(tmp_path, ".onnx")
    sha256 = mine.put(b"model")
    with mine.in_use():
        assert others.prune(kept_bytes=0) == 0
        assert mine.has(sha256)
    assert others.prune(kept_bytes=0) == len(b"model")
    assert not mine.has(sha256)


def test_a_full_disk_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, destination: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", destination)

    cache = FileCache(tmp_path, ".onnx")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space is left"):
        cache.put(b"model")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
