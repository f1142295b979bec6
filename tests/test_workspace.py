import pwd
from pathlib import Path

import pytest

from fleetfront.device_configs.loader import device_names
from fleetfront.errors import InputError
from fleetfront.workspace import Workspace, config_folder


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that has no home directory, such as a container's odd user."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "FLEETFRONT_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "FLEETFRONT_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_variable_to_set_is_named() -> None:
    with pytest.raises(InputError, match=r"no home directory.*Set FLEETFRONT_HOME"):
        Workspace.default()


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_shipped_devices_are_there_and_a_workspace_can_be_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "pixel3" in device_names()
    assert config_folder() is None
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path))
    assert Workspace.default().root == tmp_path


def test_a_home_that_does_not_exist_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", "~nobody-of-this-name/fleetfront")
    with pytest.raises(InputError, match="'~nobody-of-this-name/fleetfront', and there is no such home"):
        Workspace.default()
    monkeypatch.setenv("FLEETFRONT_DEVICES", "~nobody-of-this-name/x")
    with pytest.raises(InputError, match="which is not a folder"):
        device_names()


def test_folders_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FLEETFRONT_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert Workspace.default().store == tmp_path / "data" / "fleetfront" / "store.sqlite"
    assert config_folder() == tmp_path / "config" / "fleetfront"
