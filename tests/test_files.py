import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.errors import FileError, FleetfrontError
from fleetfront.files import check_regular, whole_file, write_whole
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
