"""Networks of an encoder and a decoder step as one proven, timed file a part."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetfront.deploy.formats import FORMATS
from fleetfront.errors import BarMissed, InputError
from fleetfront.pipelines.deploy import parts as deploying
from fleetfront.pipelines.deploy.deploy import Measuring, Pick, Weights, deploy_picks
from fleetfront.pipelines.deploy.parts import deploy_parts
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target
from fleetfront.testing.simulated_device import SimulatedDevice
from tests.profilers.test_parts import Translators

SPACE: Any = Translators()
(ARCH,) = SPACE.arch_ids(SPACE.canonical(SPACE.sample(1, np.random.default_rng(0))))


def test_each_part_is_proven_and_timed_and_the_calls_add_up(tmp_path: Path) -> None:
    target = Target("cpu", "onnxruntime")
    ms: dict[str, float] = {}

    def device(_: Target) -> SimulatedDevice:
        for path in (next(tmp_path.glob(".deploying-*"))).glob("*.onnx"):
            ms[hashlib.sha256(path.read_bytes()).hexdigest()] = 5.0 if path.name.startswith("encoder") else 0.5
        return SimulatedDevice(ms, clocks=(Clock.WALL,))

    with Store(tmp_path / "store.sqlite") as store:
        measuring = Measuring(store, (target,), Clock.WALL, open_agent=device)
        found = deploy_parts(SPACE, ARCH, tuple(FORMATS.values()), tmp_path / "out", measuring=measuring)
    assert {name: part.calls for name, part in found.parts.items()} == {"encoder": 1, "step": 7}
    assert all(file.proof.passed and file.path.is_file() for part in found.parts.values() for file in part.files)
    said = json.loads((tmp_path / "out" / "parts.json").read_text())
    assert said["latency_ms"] == {str(target): pytest.approx(5.0 + 7 * 0.5, rel=1e-3)}
    assert said["parts"]["step"]["latency"][0]["ms"] == pytest.approx(0.5, rel=1e-3)
    for part in said["parts"].values():
        assert {file["format"] for file in part["files"]} == {"onnx", "tflite"}
        for file in part["files"]:
            assert hashlib.sha256((tmp_path / "out" / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    with pytest.raises(InputError, match="exists"):
        deploy_parts(SPACE, ARCH, tuple(FORMATS.values()), tmp_path / "out")


def test_a_part_that_misses_its_proof_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploying, "SPREAD_LIMITS", {"fp32": 1e-30})
    with pytest.raises(BarMissed, match=r"encoder.*no part is handed out"):
        deploy_parts(SPACE, ARCH, (FORMATS["onnx"],), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="not written in int8"):
        deploy_parts(SPACE, ARCH, (FORMATS["onnx"],), tmp_path / "out", precisions=("int8",))


def test_bundles_of_several_parts_are_refused_with_the_way_to_write_them(tmp_path: Path) -> None:
    (done,) = deploy_picks([Pick("pick", ARCH)], SPACE, Weights(), (FORMATS["onnx"],), tmp_path)
    assert done.folder is None
    assert done.error is not None
    assert "2 part(s) (encoder x 1, step x 7)" in done.error.message
    assert "deploy_parts(space, arch, formats, out)" in done.error.remedy
