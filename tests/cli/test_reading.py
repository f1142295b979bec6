"""Commands that only read measurements leave whatever file they are given as it is."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

SPACE = load_space("nasbench201")
(ARCH,) = SPACE.arch_ids(SPACE.sample(1, np.random.default_rng(0)))


@pytest.mark.parametrize(
    "command",
    [
        ["devices"],
        ["predict", "--space", SPACE.name, "--device", "pixel3", "--accuracy", "none", ARCH],
        ["report", "--random-seeds", "0"],
        ["search", "--device", "pixel3", "--evaluations", "10"],
        ["fit", "--space", SPACE.name],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("is_named", [True, False], ids=["named", "default"])
def test_an_empty_file_stays_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    is_named: bool,
) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("named.sqlite" if is_named else "home/store.sqlite")
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert main([*command, *(["--store", str(path)] if is_named else [])]) == 2
    assert f"{path} is empty: it is no store of measurements." in " ".join(capsys.readouterr().err.split())
    assert path.read_bytes() == b""
    assert list(tmp_path.rglob(f"{path.name}-*")) == []


def test_a_space_whose_plug_in_is_gone_stops_no_list_of_devices(capsys: pytest.CaptureFixture[str]) -> None:
    with Store(Workspace.default().store) as store:
        target = Target("cpu", "litert")
        row = Measurement(target, "their\x1b[31mspace", Role.BLOCK, "k", Clock.WALL, (5,), "", 0, 1)
        store.append([row])
    assert main(["devices", "--known"]) == 0
    printed = capsys.readouterr()
    assert "space" in printed.out
    assert "\x1b" not in printed.out + printed.err
    assert "Next: fleetfront profile --device cpu" in printed.err
