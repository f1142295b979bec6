import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetfront.errors import FileError, FleetfrontError
from fleetfront.files import (
    check_regular,
    held_open,
    lasting_name,
    one_at_a_time,
    unless_held,
    whole_file,
    write_whole,
)
from fleetfront.pipelines.importing.lookup_yaml import read_lookup_folder
from fleetfront.profilers.file_facts import file_precision
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_w12
from fleetfront.spaces.supernet.checkpoints import load_supernet


def test_a_file_appears_with_the_permissions_of_any_other(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    path = tmp_path / "new folder" / "file"
    write_whole(path, b"first")
    write_whole(path, b"second", outlives_power=True)
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode == usual.stat().st_mode
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with whole_file(path) as unfinished:
            unfinished.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(FileError, match="no regular file"):
            check_regular(path)


def test_no_file_takes_the_place_of_a_pipe_or_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(os.devnull)
    for name in ("pipe", "link"):
        with pytest.raises(FileError, match="no regular file"):
            write_whole(tmp_path / name, b"content")
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()
    check_regular(tmp_path / "nothing")


PIPES: dict[str, Callable[[Path], object]] = {
    "model.onnx": file_precision,
    "model.tflite": file_precision,
    "weights.pth": lambda path: load_supernet(path, ofa_mbv3_mini()),
    "weights.safetensors": lambda path: load_supernet(path, ofa_mbv3_mini()),
    "224_lookup_table.yaml": lambda path: read_lookup_folder(path.parent, ofa_mbv3_w12(), 1.0),
}


@pytest.mark.parametrize("name", list(PIPES))
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(FleetfrontError, match="is no regular file"):
        PIPES[name](tmp_path / name)


def test_several_who_draw_a_lasting_name_at_once_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device's folder and a host's kept rows are found again by it: one that is replaced loses them."""
    both, drawn = threading.Barrier(2), iter(["aaaaaaaa", "bbbbbbbb"])

    def draw(_: int) -> str:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)
        return next(drawn)

    monkeypatch.setattr("fleetfront.files.secrets.token_hex", draw)
    with ThreadPoolExecutor(2) as pool:
        names = list(pool.map(lasting_name, [tmp_path / "home" / "name"] * 2))
    assert names == ["aaaaaaaa"] * 2
    assert lasting_name(tmp_path / "home" / "name") == "aaaaaaaa"


def test_one_works_at_a_time_where_disks_lock_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("fleetfront.files.fcntl.flock", refuse)
    both, inside, most = threading.Barrier(2), [], []

    def work(_: int) -> None:
        both.wait(timeout=10)
        with one_at_a_time(tmp_path):
            inside.append(0)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert most == [1, 1]


def test_a_folder_in_use_is_said_to_be(tmp_path: Path) -> None:
    with unless_held(tmp_path) as is_free:
        assert is_free
    with held_open(tmp_path), held_open(tmp_path), unless_held(tmp_path) as is_free:
        assert not is_free
    with unless_held(tmp_path) as is_free:
        assert is_free
