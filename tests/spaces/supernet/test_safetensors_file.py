from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.spaces.supernet.safetensors_file import read_safetensors, write_safetensors

torch = pytest.importorskip("torch")


def test_what_was_written_is_read_back_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "step": torch.tensor(3.0, requires_grad=True)}
    path = tmp_path / "new" / "w.safetensors"
    write_safetensors(tensors, path, {"epoch": "4"})
    write_safetensors(tensors, path, {"epoch": "5"})
    found, metadata = read_safetensors(path)
    assert metadata == {"epoch": "5"}
    assert torch.equal(found["a"], tensors["a"])
    assert float(found["step"]) == 3.0
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    with pytest.raises(InputError, match=r"Cannot write .*Not a directory.*FLEETFRONT_HOME"):
        write_safetensors({"a": torch.zeros(1)}, occupied / "weights" / "w.safetensors", {})


def test_a_full_disk_is_explained_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors({"a": torch.zeros(1)}, path, {})

    def full(*_: object) -> None:
        from safetensors import SafetensorError

        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match=r"No space left on device.*Free some space"):
        write_safetensors({"a": torch.ones(1)}, path, {})
    assert float(read_safetensors(path)[0]["a"]) == 0.0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kept", [0, 40])
def test_a_damaged_file_is_a_value_error(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors({"a": torch.zeros(100)}, path, {})
    (tmp_path / "cut").write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError):  # noqa: PT011 (the library's own text)
        read_safetensors(tmp_path / "cut")
