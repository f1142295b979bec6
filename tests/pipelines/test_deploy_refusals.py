"""See what `deploy` refuses before any work, and what it knows of fetched weights."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.bundling import _with_times_of
from fleetfront.pipelines.deploy.deploy import Pick, Weights, deploy_picks
from fleetfront.pipelines.deploy.weights import recorded_provenance
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest

BOTH = parse_formats("onnx,tflite")


def arch() -> str:
    space = ofa_mbv3_mini()
    return space.arch_id(smallest(space))


def test_an_existing_bundle_stops_everything_before_any_work(tmp_path: Path) -> None:
    space = ofa_mbv3_mini()
    other = space.arch_id(space.sample(1, np.random.default_rng(0))[0])
    picks = [Pick("a", arch()), Pick("b", arch())]
    deploy_picks([Pick("b", other)], ofa_mbv3_mini(), Weights(), BOTH, tmp_path)
    with pytest.raises(InputError, match="--force"):
        deploy_picks(picks, ofa_mbv3_mini(), Weights(), BOTH, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["b-random-weights"]
    done = deploy_picks(picks, ofa_mbv3_mini(), Weights(), BOTH, tmp_path, force=True)
    assert all(one.error is None for one in done)


@pytest.mark.parametrize("name", ["../up", "a/b", "/root", "", "a\\b"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        deploy_picks([Pick(name, arch())], ofa_mbv3_mini(), Weights(), BOTH, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_was_recorded_beside_fetched_weights_is_known(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    assert recorded_provenance(weights) is None
    (tmp_path / "w.pth.json").write_text('{"source": "https://example.org", "licence": "MIT", "sha256": "0"}')
    provenance = recorded_provenance(weights)
    assert provenance is not None
    assert (provenance.source, provenance.licence) == ("https://example.org", "MIT")
    (tmp_path / "w.pth.json").write_text("[]")
    with pytest.raises(InputError, match="not a record"):
        recorded_provenance(weights)


def test_times_of_int8_files_are_handed_out_with_int8_files_alone(tmp_path: Path) -> None:
    times = {"target": "cpu/litert/int8/t1/b1", "ms": 1.0, "std_ms": 0.1, "tier": "measured", "clock": "wall"}
    with pytest.raises(InputError, match="times of int8 files") as caught:
        deploy_picks([Pick("a", arch(), latency=(times,))], ofa_mbv3_mini(), Weights(), BOTH, tmp_path / "out")
    assert "--precisions int8" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("known", "files"), [("int8", "float"), ("fp32", "int8")])
def test_times_without_their_files_are_left_out(known: str, files: str) -> None:
    row = {"target": f"cpu/litert/{known}/t1/b1", "ms": 1.0, "std_ms": 0.1, "tier": "measured", "clock": "wall"}
    other = {**row, "target": f"cpu/litert/{'fp32' if known == 'int8' else 'int8'}/t1/b1"}
    file = SimpleNamespace(precision="int8" if files == "int8" else "fp32")
    pick, left_out = _with_times_of(Pick("a", arch(), latency=(row, other)), [file])  # type: ignore[list-item]
    assert [one["target"] for one in pick.latency] == [other["target"]]
    assert left_out == (row["target"],)
