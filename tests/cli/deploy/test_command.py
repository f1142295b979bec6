"""``fleetfront deploy`` as typed."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fleetfront.cli.main import main
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.pipelines.knowledge.remembered import remember_fronts
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.checkpoints import save_supernet
from fleetfront.spaces.supernet.subnets import largest, smallest, untrained
from fleetfront.workspace import Workspace

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
    assert deploy(front, "--per-device", "2", "--formats", "tflite", "--json") == 0
    assert bundles(front) == [f"pixel{n}-{rank}-random-weights" for n in (2, 3) for rank in (1, 2)]
    printed = json.loads(capsys.readouterr().out)
    assert [one["arch"] for one in printed] == [FAST, GOOD, FAST, GOOD]
    assert (front.parent / "out" / "pixel3-2-random-weights" / "front.svg").is_file()


def test_a_limit_of_one_device_that_nothing_meets_costs_that_pick_only(
    front: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(front, "--max-latency", "1.5", "--max-latency", "pixel3=5", "--formats", "onnx") == 1
    assert bundles(front) == ["pixel3-within-5ms-random-weights"]
    said = capsys.readouterr().err
    assert all(one in said for one in ("pixel2: the fastest takes 2 ms", "Nobody knows whether it keeps its limit"))


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
        (("--knee", "--batch", "1025"), "1024"),
        (("--knee", "--out", "/dev/null/bundles"), "Choose another --out"),
        (("--knee", "--formats", "onnx", "--measure", "cpu/onnxruntime/fp32/t1/b4"), "--batch 4"),
        (("--knee", "--formats", "trt", "--measure"), "Plans are not timed"),
        (("--shared",), "fleetfront search --share 3"),
        (("--knee", "--max-drop", "nan"), "'nan' is not a number"),
        (("--knee", "--device", "pixel2", "--max-latency", "pixel3=9"), "pixel3, which --device leaves out"),
        (("--max-latency", "9", "--max-latency", "8"), "Two limits are given for every device"),
        (("--arch", FAST, "--arch", FAST), "Choose each network once"),
        (("--knee", "--formats", "onnx", "--measure", "cpu/litert/fp32/t1/b1"), "No file is written"),
    ],
)
def test_bad_input_is_explained(
    front: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert deploy(front, *options) == 2
    assert message in capsys.readouterr().err


def test_a_reason_that_all_picks_share_is_said_once(front: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy(front, "--per-device", "2", "--formats", "onnx", "--images", "nowhere") == 2
    said = capsys.readouterr().err
    assert said.count("'nowhere' does not exist") == 1
    assert "pixel2-1, pixel2-2, pixel3-1 and 1 more" in said
    assert deploy(front, "--knee", "--device", "pixel2", "--formats", "onnx", "--images", "nowhere") == 2
    assert capsys.readouterr().err.count("'nowhere' does not exist") == 1
    assert deploy(front, "--max-latency", "0.5", "--knee", "--formats", "onnx", "--images", "nowhere") == 2
    said = capsys.readouterr().err
    assert said.count("'nowhere' does not exist") == 1
    assert "None of 4 picks was written" in said


def test_the_newest_front_is_read_for_what_only_a_front_has(
    front: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "home"))
    options = ["deploy", "--space", SPACE.name, "--arch", GOOD, "--random-weights", "--quiet", "--formats", "onnx"]
    out = ["--out", str(tmp_path / "an out; of 'names'")]
    assert main([*options, *out]) == 0
    assert f"ls {shlex.quote(f'{out[1]}/{GOOD}-random-weights')}" in capsys.readouterr().err
    assert main([*options, *out, "--knee", "--force"]) == 2
    assert "No front has been searched yet" in capsys.readouterr().err
    remember_fronts(front.parent, Workspace(tmp_path / "home"))
    assert main([*options, *out, "--knee", "--device", "pixel3", "--force"]) == 0
    assert (tmp_path / "an out; of 'names'" / "pixel3-knee-random-weights").is_dir()


def test_weights_of_a_search_that_are_gone_are_not_replaced_by_others(
    front: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "home"))
    save_supernet(untrained(SPACE, 0), Workspace(tmp_path / "home").weights / f"{SPACE.name}-1.safetensors")
    document = json.loads(front.read_text())
    document["accuracy"]["source"] = f"supernet:{tmp_path / 'mine.safetensors'}"
    front.write_text(json.dumps(document))
    assert main(["deploy", "--front", str(front), "--knee", "--no-recalibration", "--out", str(tmp_path / "out")]) == 2
    assert "mine.safetensors, are not there" in capsys.readouterr().err


def test_int8_is_calibrated_on_images_of_no_class(front: Path, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    options = ("--arch", FAST, "--formats", "onnx", "--precisions", "int8", "--images", str(folder))
    assert deploy(front, *options) == 2
    assert deploy(front, *options, "--unlabelled") == 0
    (bundle,) = bundles(front)
    assert [file["precision"] for file in read_manifest(front.parent / "out" / bundle)["files"]] == ["int8"]


def test_a_front_of_a_phone_makes_folders(front: Path) -> None:
    document = json.loads(front.read_text())
    document["devices"] = {"adb:192.168.1.7:5555": document["devices"]["pixel2"]}
    front.write_text(json.dumps(document))
    assert deploy(front, "--knee", "--formats", "onnx") == 0
    assert bundles(front) == ["adb-192.168.1.7-5555-knee-random-weights"]


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


@pytest.mark.parametrize("target", ["nokia", "pixel3/litert/fp32/t1/b1"])
def test_targets_that_cannot_be_reached_are_named(front: Path, capsys: pytest.CaptureFixture[str], target: str) -> None:
    assert deploy(front, "--knee", "--measure", target) == 3
    assert f"{target} cannot be reached" in capsys.readouterr().err
    assert not (front.parent / "out").exists()


@pytest.mark.usefixtures("no_adb_server")
def test_files_are_timed_on_a_phone(front: Path, phone: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Android's own daemon, whose benchmark program says 140.071 ms of every file."""
    device = f"adb:{phone.address}"
    document = json.loads(front.read_text())
    document["devices"] = {"phone": {**document["devices"]["pixel2"], "target": f"{device}/tflite-cpu/fp32/t1/b1"}}
    front.write_text(json.dumps(document))
    options = ("--max-latency", "100", "--measure", device, "--store", str(front.parent / "store.sqlite"), "--json")
    assert deploy(front, *options) == 1
    out, err = capsys.readouterr()
    (one,) = json.loads(out)
    (row,) = one["measured"]
    assert (row["target"], row["ms"]) == (f"{device}/tflite-cpu/fp32/t1/b1", pytest.approx(140.071))
    assert [row["target"] for row in one["predicted"]] == [row["target"]]
    assert "phone-within-100ms-random-weights" not in err
    assert "phone-within-100ms: measured 140 ms" in err


@pytest.mark.usefixtures("no_adb_server")
def test_a_phone_that_is_not_there_is_named(front: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ("--store", str(front.parent / "store.sqlite"))
    assert deploy(front, "--knee", "--formats", "tflite", "--measure", "adb:127.0.0.1:1", *store) == 3
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert list((front.parent / "out").iterdir()) == []


def test_a_file_of_several_images_is_timed_as_such(front: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--arch", FAST, "--formats", "onnx", "--batch", "4", "--measure", "--json")
    assert deploy(front, *options, "--store", str(front.parent / "store.sqlite")) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert [row["target"] for row in one["measured"]] == ["cpu/onnxruntime/fp32/t1/b4"]


def test_only_a_damaged_model_of_what_is_timed_stops_timing(front: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fleetfront.predictors.table.fit_files import fit_path
    from fleetfront.quantities import Clock
    from fleetfront.targets import Target

    for target, code in ((Target("cpu", "litert"), 0), (Target("cpu", "onnxruntime"), 2)):
        path = fit_path(Workspace.default(), SPACE.name, target, Clock.THREAD_CPU)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{")
        options = ("--arch", FAST, "--formats", "onnx", "--measure", "--force")
        assert deploy(front, *options, "--store", str(front.parent / "store.sqlite")) == code
    assert path.name in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "clock"),
    [(("--precisions", "fp16", "--measure"), "thread-cpu"), (("--measure", "cpu/litert/fp32/t2/b1"), "wall")],
)
def test_files_are_timed_under_the_clock_of_what_was_promised(
    front: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], clock: str
) -> None:
    """Of another number format, too; but no thread's time tells what several threads take."""
    document = json.loads(front.read_text())
    document["devices"] = {"cpu": {**document["devices"]["pixel2"], "target": "cpu/litert/fp32/t1/b1"}}
    document["devices"]["cpu"]["clock"] = "thread-cpu"
    front.write_text(json.dumps(document))
    store = ("--store", str(front.parent / "store.sqlite"))
    assert deploy(front, "--max-latency", "2", "--formats", "tflite", "--json", *store, *options) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert [row["clock"] for row in one["measured"]] == [clock]
    assert one["measured"][0]["ms"] > 0


def test_a_file_that_is_slower_than_its_limit_is_named(front: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(front.read_text())
    fast = {**document["devices"]["pixel2"], "target": "cpu/onnxruntime/fp32/t1/b1"}
    for point in fast["points"]:
        point["latency_ms"] /= 1e6
    document["devices"] = {"cpu": fast}
    front.write_text(json.dumps(document))
    store = ("--store", str(front.parent / "store.sqlite"))
    assert deploy(front, "--max-latency", "cpu=0.000002", "--formats", "onnx", "--measure", *store) == 1
    assert "cpu-within-2e-06ms: measured" in capsys.readouterr().err


def test_a_supernet_is_not_cut_without_saying_what_to_do_about_its_statistics(
    front: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_supernet(untrained(SPACE, 0), front.parent / "mini.safetensors")
    command = ["deploy", "--front", str(front), "--arch", FAST, "--weights", str(front.parent / "mini.safetensors")]
    command += ["--formats", "onnx", "--quiet", "--out", str(front.parent / "out")]
    assert main(command) == 2
    assert "--no-recalibration" in capsys.readouterr().err
    assert main([*command, "--no-recalibration"]) == 0
    folder = front.parent / "out" / FAST
    assert read_manifest(folder)["weights"]["recalibrated_on"] is None
    assert "NOT recalibrated" in (folder / "model-card.md").read_text()


def test_a_folder_that_cannot_be_written_is_named(
    front: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fleetfront.pipelines.deploy.bundling.tempfile.mkdtemp", refuse)
    assert deploy(front, "--knee", "--formats", "onnx") == 2
    assert "Choose another --out" in capsys.readouterr().err


def shared(front: Path, **change: object) -> None:
    """Give the front a shared network; ``change`` replaces or, with None, removes parts of it."""
    row: dict[str, object] = {
        "arch": FAST,
        "accuracy": 90.0,
        "accuracy_std": 0.5,
        "latency_ms": {"pixel2": 2.0, "pixel3": 1.0},
        "latency_std_ms": {"pixel2": 0.1, "pixel3": 0.1},
    }
    row = {key: value for key, value in (row | change).items() if value is not None}
    document = json.loads(front.read_text())
    document["shared"] = {"networks": [row]}
    front.write_text(json.dumps(document))


def test_shared_networks_stand_on_a_front(front: Path) -> None:
    shared(front, latency_ms={"pixel2": 2, "pixel3": 1})
    assert deploy(front, "--shared", "--formats", "tflite") == 0
    (name,) = bundles(front)
    folder = front.parent / "out" / name
    assert [row["ms"] for row in read_manifest(folder)["latency"]] == [2.0, 1.0]
    assert "front.svg" in (folder / "model-card.md").read_text()
    assert "pixel2" in (folder / "front.svg").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": None}, "damaged"),
        ({"arch": "../../x"}, "not an architecture"),
        ({"accuracy": "high"}, "damaged"),
        ({"latency_ms": [1]}, "damaged"),
        ({"latency_std_ms": {"pixel2": 0.1}}, "not chosen for pixel3"),
    ],
)
def test_damaged_shared_networks_are_explained(
    front: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], message: str
) -> None:
    shared(front, **change)
    assert deploy(front, "--shared", "--formats", "onnx") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("key", "value"), [("clock", "sundial"), ("target", "../x y"), ("name", "x" * 300)])
def test_damaged_fronts_are_explained(front: Path, capsys: pytest.CaptureFixture[str], key: str, value: str) -> None:
    document = json.loads(front.read_text())
    if key == "name":
        document["devices"] = {value: document["devices"]["pixel2"]}
    else:
        document["devices"]["pixel2"][key] = value
    front.write_text(json.dumps(document))
    assert deploy(front, "--knee", "--formats", "onnx", "--measure") == 2
    assert capsys.readouterr().err.startswith("Error:")


def test_accuracy_that_is_not_judged_is_said(front: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / "photos" / name / f"{number}.png")
    options = ("--arch", FAST, "--formats", "onnx", "--images", str(tmp_path / "photos"))
    assert deploy(front, *options) == 0
    assert "accuracy is not judged" in capsys.readouterr().err


def test_labels_as_editors_write_them(front: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_bytes(b"\xef\xbb\xbf" + "".join(f"class {n}\r\n" for n in range(10)).encode() + b"\r\n\r\n")
    assert deploy(front, "--arch", FAST, "--formats", "onnx", "--labels", str(labels)) == 0
    (name,) = bundles(front)
    assert read_manifest(front.parent / "out" / name)["labels"] == [f"class {n}" for n in range(10)]


def test_a_run_that_is_killed_leaves_no_bundle(front: Path) -> None:
    """Killed outright at a random moment of writing: what has a bundle's name is whole."""
    out = front.parent / "out"
    options = ["deploy", "--front", str(front), "--random-weights", "--per-device", "2", "--out", str(out), "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "fleetfront.cli.main", *options], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob(".deploying-*/0/*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    for folder in out.glob("[!.]*"):
        read_manifest(folder)
    assert deploy(front, "--per-device", "2", "--force") == 0


def test_without_measuring_no_store_is_needed(front: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = str(tmp_path / "file" / "store.sqlite")
    assert deploy(front, "--knee", "--formats", "onnx", "--store", store) == 0
    assert deploy(front, "--knee", "--formats", "onnx", "--force", "--measure", "--store", store) == 2
