"""``fleetfront deploy`` of a front whose networks are in several precisions."""

import json
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import largest, smallest

SPACE = ofa_mbv3_mini()
FAST, GOOD = SPACE.arch_id(smallest(SPACE)), SPACE.arch_id(largest(SPACE))


@pytest.fixture
def front(tmp_path: Path) -> Path:
    rows = ((f"{FAST}@fp32", "fp32", 1.0, 90.0, "predicted"), (f"{GOOD}@int8", "int8", 4.0, 95.0, "estimated"))
    points = [
        {
            "arch": arch,
            "latency_ms": ms,
            "latency_std_ms": 0.1,
            "accuracy": accuracy,
            "accuracy_std": 1.0,
            "precision": precision,
            "accuracy_tier": tier,
        }
        for arch, precision, ms, accuracy, tier in rows
    ]
    device = {"target": "pixel3/litert/fp32,int8/t1/b1", "tier": "measured", "hypervolume": 1.0}
    drop = {"points": 0.3, "std": 1.0, "tier": "estimated", "source": "others", "networks": 9}
    document = {
        "schema": "fleetfront.fronts/1",
        "space": f"{SPACE.name}@fp32,int8",
        "strategy": "random",
        "seed": 0,
        "evaluations": 2,
        "seconds": 1.0,
        "accuracy": {"source": "test", "tier": "predicted", "drops": {"int8": drop}},
        "devices": {"pixel3": {**device, "reference_point": [10.0, 50.0], "points": points}},
    }
    path = tmp_path / "fronts.json"
    path.write_text(json.dumps(document))
    return path


def deploy(front: Path, *options: str) -> int:
    out = front.parent / "out"
    words = ["--random-weights", "--quiet", "--formats", "tflite", "--out", str(out)]
    return main(["deploy", "--front", str(front), *words, *options])


def test_a_pick_is_written_in_its_own_precision(front: Path) -> None:
    assert deploy(front, "--max-latency", "2") == 0
    manifest = read_manifest(front.parent / "out" / "pixel3-within-2ms-random-weights")
    assert (manifest["arch"], manifest["space"]) == (FAST, SPACE.name)
    assert [file["precision"] for file in manifest["files"]] == ["fp32"]
    assert [row["target"] for row in manifest["latency"]] == ["pixel3/litert/fp32/t1/b1"]
    assert (manifest["accuracy"][0]["precision"], manifest["accuracy"][0]["tier"]) == ("fp32", "predicted")


def test_int8_asks_for_images_by_itself(front: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy(front, "--arch", f"{GOOD}@int8") != 0
    assert "--images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--knee", "--precisions", "fp32,int8"), "Leave --precisions out"),
        (("--arch", FAST), "its precision is missing"),
        (("--knee", "--space", SPACE.name), f"Use --space {SPACE.name}@fp32,int8"),
    ],
)
def test_what_contradicts_the_front_is_refused(
    front: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert deploy(front, *options) == 2
    assert message in capsys.readouterr().err
