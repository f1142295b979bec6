"""A family is found by its name once its file was opened, and only as long as the file is the same."""

import json
from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.from_torch import remembered, traces
from fleetfront.spaces.from_torch.space import TorchFamily


@pytest.fixture
def copy(family: TorchFamily, tmp_path: Path) -> TorchFamily:
    path = tmp_path / "copied.py"
    path.write_text(family.file.path.read_text() + "\n# a family of its own\n")
    load_space.cache_clear()
    return remembered.open_family(path)


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another command begins."""
    monkeypatch.setattr(remembered, "_OPENED", {})
    load_space.cache_clear()


def test_another_command_finds_it_and_traces_nothing(copy: TorchFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    _forget(monkeypatch)
    monkeypatch.setattr(traces, "_traced", None)
    found = load_space(copy.name)
    assert found is not copy
    assert [block.key for block in found.vocabulary] == [block.key for block in copy.vocabulary]


def test_a_changed_file_is_another_family(copy: TorchFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copy.file.path
    path.write_text(path.read_text().replace("[4, 8]", "[4, 12]"))
    _forget(monkeypatch)
    with pytest.raises(InputError, match=r"copied\.py has changed since") as caught:
        load_space(copy.name)
    assert f"--space {path}" in caught.value.remedy
    path.unlink()
    with pytest.raises(InputError, match="is gone"):
        load_space(copy.name)


def test_files_beside_it_belong_to_it(tmp_path: Path, family: TorchFamily) -> None:
    (tmp_path / "beside_family.py").write_text("WIDTHS = [4, 8]\n")
    path = tmp_path / "parted.py"
    path.write_text(family.file.path.read_text().replace("[4, 8]", "__import__('beside_family').WIDTHS"))
    before = remembered.open_family(path).name
    (tmp_path / "beside_family.py").write_text("WIDTHS = [4, 8]  # said otherwise\n")
    __import__("sys").modules.pop("beside_family")
    assert remembered.open_family(path).name != before


@pytest.mark.parametrize("name", ["evil.py", "/tmp/evil.py", "../evil-12345678", "evil-12345678"])
def test_no_name_in_a_file_of_others_runs_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match=r"is a file, not the name|Unknown search space"):
        load_space(name)
    assert not (tmp_path / "ran").exists()


def test_damaged_records_and_caches_are_made_anew(
    copy: TorchFamily, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_home / "families" / f"{copy.name}.json").write_text(json.dumps({"path": 3}))
    kept = own_home / "cache" / "families" / f"{copy.file.digest}.json"
    kept.write_text(kept.read_text()[:-40])
    _forget(monkeypatch)
    with pytest.raises(InputError, match="Unknown search space"):
        load_space(copy.name)
    assert remembered.open_family(copy.file.path).vocabulary == copy.vocabulary
