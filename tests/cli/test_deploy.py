"""``fleetfront deploy`` and ``fleetfront export`` as typed."""

import json
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.deploy.bundle import read_manifest
from fleetfront.spaces.ofa_mbv3 import ofa_mbv3_mini
from fleetfront.spaces.supernet import largest, smallest

SPACE = ofa_mbv3_mini()
FAST, GOOD = SPACE.arch_id(smallest(SPACE)), SPACE.arch_id(largest(SPACE))


@pytest.fixture
def front(tmp_path: Path) -> Path:
    def device(name: str, factor: float) -> dict[str, object]:
        points = [
            {"arch": FAST, "latency_ms": 1.0 * factor, "latency_std_ms": 0.1, "accuracy": 90.0},
            {"arch": GOOD, "latency_ms": 4.0 * factor, "latency_std_ms": 0.2, "accuracy": 95.0},
        ]
        return {
            "target": f"{name}/litert/fp32/t1/b1",
            "tier": "measured",
            "hypervolume": 1.0,
            "reference_point": [10.0, 50.0],
            "points": points,
        }

    document = {
        "schema": "fleetfront.fronts/1",
        "space": SPACE.name,
        "strategy": "random",
        "seed": 0,
        "evaluations": 2,
        "seconds": 1.0,
        "accuracy": {"source": "test", "tier": "predicted"},
        "devices": {"pixel2": device("pixel2", 2), "pixel3": device("pixel3", 1)},
    }
    path = tmp_path / "fronts.json"
    path.write_text(json.dumps(document))
    return path


def deploy(front: Path, *options: str) -> int:
    out = front.parent / "out"
    return main(["deploy", "--front", str(front), "--random-weights", "--quiet", "--out", str(out), *options])


def bundles(front: Path) -> list[str]:
    return sorted(path.name for path in (front.parent / "out").iterdir())


def test_picks_of_all_devices(front: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy(front, "--per-device", "2", "--formats", "onnx", "--json") == 0
    assert bundles(front) == [f"pixel{n}-{rank}-random-weights" for n in (2, 3) for rank in (1, 2)]
    printed = json.loads(capsys.readouterr().out)
    assert [one["arch"] for one in printed] == [FAST, GOOD, FAST, GOOD]
    assert (front.parent / "out" / "pixel3-2-random-weights" / "front.svg").is_file()


def test_a_limit_of_one_device_that_nothing_meets_costs_that_pick_only(
    front: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = ("--max-latency", "1.5", "--max-latency", "pixel3=5")
    assert deploy(front, *limits, "--formats", "onnx") == 1
    assert bundles(front) == ["pixel3-within-5ms-random-weights"]
    assert "pixel2: the fastest takes 2 ms" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-latency", "0.1"), "too long"),
        (("--max-latency", "fast"), "not a limit"),
        (("--max-latency", "pixel4=3"), "pixel4"),
        (("--knee", "--precisions", "fp8"), "fp8"),
        (("--knee", "--formats", "onxx"), "onnx"),
        (("--knee", "--batch", "some"), "dynamic"),
        (("--knee", "--precisions", "int8"), "--images"),
        (("--knee", "--labels", "nowhere.txt"), "nowhere.txt"),
    ],
)
def test_bad_input_is_explained(
    front: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert deploy(front, *options) == 2
    assert message in capsys.readouterr().err


def test_the_contract_reaches_the_files(front: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"class {n}\n" for n in range(10)))
    options = "--input uint8 --channels bgr --layout nhwc --batch dynamic --softmax --formats onnx".split()  # noqa: SIM905
    assert deploy(front, "--arch", FAST, "--device", "pixel3", "--labels", str(labels), *options) == 0
    (name,) = bundles(front)
    manifest = read_manifest(front.parent / "out" / name)
    (file,) = manifest["files"]
    assert file["input"]["dtype"] == "uint8"
    assert file["input"]["shape"] == ["batch", 32, 32, 3]
    assert file["output"]["name"] == "probabilities"
    assert file["contract"] == {"input": "uint8", "channels": "bgr", "softmax": True, "batch": "batch"}
    assert manifest["labels"][9] == "class 9"


def test_names_of_a_front_file_cannot_leave_the_folder(front: Path) -> None:
    document = json.loads(front.read_text())
    document["devices"] = {"../../evil": document["devices"]["pixel2"]}
    front.write_text(json.dumps(document))
    assert deploy(front, "--knee", "--formats", "onnx") == 2
    assert not (front.parent.parent / "evil-knee-random-weights").exists()


def test_export_explains_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--torch", str(tmp_path / "no.py:make"), "--quiet"]) == 2
    assert "no.py" in capsys.readouterr().err
    assert main(["export", "--torch", "a.py:make", "--mean", "1,2", "--quiet"]) == 2
    assert "for each channel" in capsys.readouterr().err
