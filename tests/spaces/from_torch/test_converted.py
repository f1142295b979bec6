"""Nothing is converted twice, and nothing else is taken for what was converted."""

from pathlib import Path

import pytest

from fleetfront.spaces.from_torch import converted
from fleetfront.spaces.from_torch.converted import convert_once


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path))
    return tmp_path / "cache" / "converted"


def fail() -> bytes:
    raise AssertionError("converted again")


def test_what_was_converted_is_kept(own_folder: Path) -> None:
    assert convert_once(b"network", "whole", lambda: b"file") == b"file"
    assert convert_once(b"network", "whole", fail) == b"file"
    assert convert_once(b"network", "inside", lambda: b"other") == b"other"
    assert convert_once(b"another", "whole", lambda: b"third") == b"third"
    assert len(list(own_folder.iterdir())) == 3


def test_another_version_of_a_converter_converts_anew(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert_once(b"network", "whole", lambda: b"file")
    monkeypatch.setattr(converted, "_version", lambda name: "another")
    assert convert_once(b"network", "whole", lambda: b"newer") == b"newer"


@pytest.mark.parametrize("damaged", [b"", b"short", bytes(32) + b"file"])
def test_a_damaged_file_is_converted_again(damaged: bytes, own_folder: Path) -> None:
    convert_once(b"network", "whole", lambda: b"file")
    (path,) = own_folder.iterdir()
    path.write_bytes(damaged)
    assert convert_once(b"network", "whole", lambda: b"again") == b"again"
    assert convert_once(b"network", "whole", fail) == b"again"


def test_those_used_longest_ago_make_room(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converted, "KEPT_BYTES", 3 * (converted._DIGEST_BYTES + 10))
    for number in range(5):
        convert_once(bytes([number]), "whole", lambda: bytes(10))
        convert_once(bytes([0]), "whole", lambda: bytes(10))
    assert len(list(own_folder.iterdir())) == 3
    assert convert_once(bytes([0]), "whole", fail) == convert_once(bytes([4]), "whole", fail) == bytes(10)


def test_a_home_that_cannot_be_written_keeps_nothing(own_folder: Path) -> None:
    own_folder.parent.mkdir()
    own_folder.write_bytes(b"a file in its place")
    assert convert_once(b"network", "whole", lambda: b"file") == b"file"
