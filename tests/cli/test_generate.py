"""``generate`` answers from what ``search`` left, for a device that the search did not know."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.pipelines.search import search
from fleetfront.workspace import Workspace

Told = Callable[..., tuple[int, str, str]]
SHORT = "modnas:steps=2,round_steps=1,fit_steps=20"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home, out = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("gen")
    search("ofa-mbv3-w1.2", ["pixel3"], strategy=SHORT, budget=16, out=out, workspace=Workspace(home))
    return out


def test_generate_answers_for_another_device(told: Told, trained: Path, tmp_path: Path) -> None:
    asked = ("generate", "--generator", str(trained), "--device", "raspi4", "--quiet")
    code, text, err = told(*asked, "--front", "--out", str(tmp_path / "front"), "--json")
    assert code == 0, err
    fronts = json.loads(text)
    points = fronts["devices"]["raspi4"]["points"]
    assert json.loads((tmp_path / "front" / "fronts.json").read_text())["devices"]["raspi4"]["points"] == points
    limit = points[len(points) // 2]["latency_ms"]
    code, text, _ = told(*asked, "--max-latency", f"{limit:.6g}", "--json")
    (point,) = json.loads(text)["devices"]["raspi4"]["points"]
    assert code == 0
    assert point["latency_ms"] <= float(f"{limit:.6g}")
    code, text, err = told(*asked, "--preference", "0.3")
    assert (code, "raspi4" in text, "Answered in" in err) == (0, True, True)


def test_generate_refuses_what_cannot_be_answered(told: Told, trained: Path) -> None:
    asked = ("generate", "--generator", str(trained), "--quiet")
    code, _, err = told(*asked, "--device", "raspi4", "--max-latency", "0.001")
    assert (code, "Raise the limit to" in err) == (2, True)
    code, _, err = told(*asked, "--device", "nothing-known")
    assert (code, "'nothing-known'" in err) == (2, True)
    code, _, err = told(*asked, "--device", "raspi4", "--front", "--preference", "0.5")
    assert (code, "Ask for one of the three" in err) == (2, True)
    code, _, err = told("generate", "--generator", str(trained / "archive.npz"), "--device", "raspi4")
    assert (code, "no safetensors file" in err) == (2, True)


def test_generate_needs_torch(told: Told, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    code, _, err = told("generate", "--generator", str(trained), "--device", "raspi4")
    assert (code, "pip install 'fleetfront[torch]'" in err) == (4, True)
    code, _, err = told("search", "--device", "pixel3", "--strategy", "modnas", "--out", str(trained))
    assert (code, "pip install 'fleetfront[torch]'" in err) == (4, True)
