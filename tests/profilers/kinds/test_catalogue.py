"""Find the kind that a device's name means, and see that a kind opens nothing but its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.files import device_lock
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.kinds.base import Capability, Choices
from fleetfront.profilers.kinds.catalogue import find_kind, kind_names, kind_of, open_device
from fleetfront.progress import SILENT
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

MODULE = """
from fleetfront.profilers.kinds.base import Capability, HeldAgent, check_own
from fleetfront.quantities import Clock
from fleetfront.targets import Target

class Board:
    clocks = (Clock.WALL,)
    def run(self, batch):
        yield ()
    def describe(self):
        return {"board": "mine"}
    def close(self):
        pass

class BoardKind:
    name = "board"
    can = frozenset({Capability.BLOCKS})
    settings = frozenset({"volts"})
    def matches(self, name):
        return name.startswith("board-")
    def target(self, name, **refine):
        return Target(name, "mine")
    def open(self, target, choices, progress):
        check_own(self, target, choices)
        return HeldAgent(choices, target.device, Board)
    def preview(self, target, choices, progress):
        return {}

def empty():
    return object()
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "strangers_board.py").write_text(MODULE)
    _offer(tmp_path, "board = strangers_board:BoardKind")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("strangers_board", None)


def _offer(folder: Path, entries: str) -> None:
    info = folder / "strangers_board-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers-board\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fleetfront.devices]\n{entries}\n")


@pytest.mark.parametrize(
    ("device", "kind"),
    [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda"), ("adb", "adb"), ("adb:RF8M (2)", "adb")],
)
def test_names_mean_kinds(device: str, kind: str) -> None:
    assert kind_of(device).name == kind
    assert Capability.BLOCKS in kind_of(device).can


@pytest.mark.parametrize("device", ["pixel3", "cpu0", "CPU", "adbx", "cudax", ""])
def test_no_kind_takes_what_is_not_its_own(device: str) -> None:
    assert find_kind(device) is None
    with pytest.raises(DeviceError, match="cannot be measured from here"):
        kind_of(device)


@pytest.mark.parametrize("kind", ["cpu", "cuda", "adb"])
def test_a_kind_refuses_another_devices_target(kind: str) -> None:
    with pytest.raises(DeviceError, match="pixel3/onnxruntime"):
        kind_of(kind).open(Target("pixel3", "onnxruntime"), Choices(), SILENT)


def test_targets_are_spelled_by_their_kind(tmp_path: Path) -> None:
    assert kind_of("cpu").target("cpu", threads=2) == Target("cpu", "litert", threads=2)
    assert kind_of("cpu").target("cpu", file=tmp_path / "net.onnx").runtime == "onnxruntime"
    assert kind_of("cuda").target("cuda").device == "cuda:0"
    assert kind_of("adb:A B").target("adb:A B").device == "adb:A-B"


def test_the_device_is_held_until_the_agent_is_closed(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    choices = Choices(workspace=Workspace(tmp_path))
    with closing(open_device(Target("cpu", "onnxruntime"), choices)) as agent:
        assert agent.clocks == (Clock.THREAD_CPU, Clock.WALL)
        with pytest.raises(DeviceError, match="already being measured"):
            open_device(Target("cpu", "litert"), choices)
    with device_lock(tmp_path / "locks", "cpu"):
        pass


def test_a_device_that_does_not_open_is_not_held(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="onnxruntim"):
        open_device(Target("cpu", "onnxruntim"), Choices(workspace=Workspace(tmp_path)))
    with device_lock(tmp_path / "locks", "cpu"):
        pass


@pytest.mark.usefixtures("installed")
def test_a_package_brings_a_kind(tmp_path: Path) -> None:
    assert kind_names() == ("cpu", "cuda", "adb", "board")
    target = kind_of("board-7").target("board-7")
    with closing(open_device(target, Choices(workspace=Workspace(tmp_path)))) as agent:
        assert agent.describe() == {"board": "mine"}
        assert list(agent.run(VisitBatch(target, "", "c", 0, ()))) == [()]
        with pytest.raises(DeviceError, match="board-7 is already"):
            open_device(target, Choices(workspace=Workspace(tmp_path)))
    with pytest.raises(InputError, match="no setting 'amperes'") as caught:
        open_device(target, Choices(settings={"amperes": 1}))
    assert "volts" in caught.value.remedy
    assert find_kind("pixel3") is None


def test_a_broken_package_is_named_and_leaves_own_kinds_alone(installed: Path) -> None:
    _offer(installed, "board = strangers_board:empty")
    with pytest.raises(InputError, match=r"strangers-board.*lacks can, matches"):
        find_kind("pixel3")
    assert kind_of("cpu").name == "cpu"
