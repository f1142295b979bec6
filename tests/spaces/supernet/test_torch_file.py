import os
import zipfile
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.importing.help_folder import _load
from fleetfront.predictors.accuracy.ofa_mlp import _read_state
from fleetfront.spaces.supernet.torch_file import read_torch_file

torch = pytest.importorskip("torch")


def test_values_are_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "b": [1, "x"]}, tmp_path / "file.pt")
    found = read_torch_file(tmp_path / "file.pt", "a file", "Reading", "Get it again.")
    assert found["a"].tolist() == [1, 1]
    assert found["b"] == [1, "x"]


@pytest.mark.parametrize(
    "content", [b"", b"text\n", b"\x80\x02.", b"\x80\x02K", b"PK\x03\x04", b"(lp0\n.", bytes(range(256))]
)
@pytest.mark.parametrize("read", [_load, _read_state])
def test_whatever_else_it_is_costs_one_sentence(tmp_path: Path, content: bytes, read) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a") as caught:
        read(path)
    assert caught.value.remedy


def test_a_zip_of_something_else_and_values_that_run_code_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as file:
        file.writestr("x/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
        file.writestr("x/version", b"3\n")
    torch.save({"path": Path("here")}, tmp_path / "path.pt")
    for name in ("zip.pt", "path.pt"):
        with pytest.raises(InputError) as caught:
            read_torch_file(tmp_path / name, "a file", "Reading", "Get it again.")
        assert "weights_only" not in caught.value.message


def test_what_unpacks_to_far_more_than_it_holds_is_not_unpacked(tmp_path):
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"w": torch.zeros(20 * 2**20)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    with pytest.raises(InputError, match="would unpack to"):
        read_torch_file(packed, "weights", "Reading", "Give weights.")
    assert set(read_torch_file(plain, "weights", "Reading", "Give weights.")) == {"w"}


def test_a_file_that_is_not_there_is_no_file_that_holds_too_much(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_torch_file(tmp_path / "weights_only.pth", "weights", "Reading", "Give weights.")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="it is no file"):
        read_torch_file(tmp_path / "pipe.pth", "weights", "Reading", "Give weights.")
