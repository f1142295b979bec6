"""Bundles as they are received: right, wrong, older, damaged and hostile."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.deploy.bundle import received
from fleetfront.deploy.bundle.received import LatencyRow, read_received
from fleetfront.deploy.bundle.vectors import parse_tensor
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import FileError, InputError
from fleetfront.pipelines.deploy.deploy import Pick, Recipe, UserImages, Weights, deploy_picks
from fleetfront.pipelines.measure.company import NETWORKS
from fleetfront.pipelines.measure.files import FileLatency, FilesMeasured
from fleetfront.pipelines.verify import verify_bundle
from fleetfront.pipelines.verify_times import _judged, time_bundle
from fleetfront.profilers.reading.observations import Observations
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock, Tier
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

TARGET = Target("cpu", "onnxruntime")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle of fp32 and int8 under the contract that changes most."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    space = ofa_mbv3_mini()
    latency = {"target": str(TARGET), "ms": 1e6, "std_ms": 1.0, "tier": "measured", "clock": "wall"}
    pick = Pick("net", space.arch_id(smallest(space)), ({**latency, "is_prediction": True},))
    recipe = Recipe(("fp32", "int8"), InputContract("uint8", "bgr", True, "NHWC"), test_images=20)
    weights = Weights(None, UserImages("digits"))
    (one,) = deploy_picks(
        [pick], space, weights, parse_formats("onnx,tflite"), tmp_path_factory.mktemp("made"), recipe=recipe
    )
    assert one.error is None
    assert one.folder is not None
    return one.folder


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "net")


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_fresh_bundle_holds(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle), "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == "fleetfront.verify/1"
    assert said["passed"]
    assert [file["passed"] for file in said["files"]] == [True] * 4
    assert all(file["error"] <= file["tolerance"] for file in said["files"])
    assert said["unnamed_files"] == []


def test_the_vectors_are_one_picture_step_by_step(bundle: Path) -> None:
    """Picture, its pixels, the files' input and torch's probabilities, each made of the one before."""
    from PIL import Image

    from fleetfront.datasets import Preprocessing, cut_image

    manifest = json.loads((bundle / "manifest.json").read_text())
    described = manifest["files"][0]["input"]["preprocessing"]
    fed = Preprocessing(described["size"], crop_share=described["crop_share"])
    picture = np.asarray(Image.open(bundle / "test-vectors" / "picture.png"))
    assert picture.shape[0] != picture.shape[1]
    pixels = np.frombuffer((bundle / "test-vectors" / "picture.pixels.rgb").read_bytes(), np.uint8)
    pixels = pixels.reshape(fed.size, fed.size, 3)
    assert np.array_equal(cut_image(picture, fed).transpose(1, 2, 0), pixels)
    rows = [row for row in read_received(bundle).test_vectors if row.case == "picture"]
    tensors = {(row.file, row.role): parse_tensor((bundle / row.path).read_bytes(), row) for row in rows}
    for (_, role), tensor in tensors.items():
        if role == "input":
            assert np.array_equal(tensor[0], pixels[..., ::-1])
        else:
            assert tensor.sum() == pytest.approx(1, abs=0.02)
    page = (bundle / "test-vectors" / "README.md").read_text()
    assert str(int(tensors["network-random-weights.onnx", "torch"].argmax())) in page


def test_a_file_of_another_network_fails_with_1(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its hash is right, as it would be of a file that was exchanged before it was packed."""
    import hashlib

    import onnx

    model = onnx.load(bundle / "network-random-weights.onnx")
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    array = onnx.numpy_helper.to_array(weight).copy()
    array[0] = 0
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    data = model.SerializeToString()
    (bundle / "network-random-weights.onnx").write_bytes(data)

    def follow(manifest: dict[str, Any]) -> None:
        manifest["files"][0].update(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))

    rewrite(bundle, follow)
    assert main(["verify", str(bundle), "--quiet"]) == 1
    told = capsys.readouterr()
    assert "FAILED" in told.out
    assert "network-random-weights.onnx: off by" in told.err


def test_what_nobody_vouches_for_is_named(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "snippets" / "setup.sh").write_text("rm -rf /")
    assert main(["verify", str(bundle), "--quiet"]) == 0
    assert "snippets/setup.sh" in capsys.readouterr().err


def test_an_older_bundle_has_its_hashes_checked(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(bundle, lambda manifest: [manifest.pop(key) for key in ("test_vectors", "beside")])
    assert main(["verify", str(bundle), "--quiet"]) == 0
    assert "no test vectors" in capsys.readouterr().err


def test_a_missing_runtime_is_4(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fleetfront.errors import missing
    from fleetfront.pipelines import verify

    def none(name: str) -> object:
        raise missing(name, "cpu", "Running files")

    monkeypatch.setattr(verify, "load_runtime", none)
    assert main(["verify", str(bundle), "--quiet"]) == 4
    assert "not run" in capsys.readouterr().out


DAMAGE: dict[str, Callable[[Path], object]] = {
    "has changed": lambda folder: (folder / "labels.txt").write_text("other\n"),
    "missing": lambda folder: (folder / "network-random-weights.tflite").unlink(),
    "is no whole manifest": lambda folder: (folder / "manifest.json").write_text("{"),
    "no regular file": lambda folder: _replace(folder / "labels.txt", os.mkfifo),
    "link out": lambda folder: _replace(folder / "labels.txt", lambda path: path.symlink_to("/etc/hostname")),
    "leaves its folder": lambda folder: rewrite(folder, lambda m: m["beside"][0].update(path="../secret")),
    "names 'labels.txt' twice": lambda folder: rewrite(folder, lambda m: m["beside"].append(m["beside"][0])),
    "no model file": lambda folder: rewrite(folder, lambda m: m.update(files=[])),
    "which has no hash": lambda folder: rewrite(folder, lambda m: m["test_vectors"][0].update(path="elsewhere.bin")),
    "does not have": lambda folder: rewrite(folder, lambda m: m["test_vectors"][0].update(shape=[9, 9])),
    "no type of numbers": lambda folder: rewrite(folder, lambda m: m["test_vectors"][0].update(dtype="object")),
    "greater than or equal": lambda folder: rewrite(folder, lambda m: m["test_vectors"][0].update(shape=[-1, 4])),
    "no number": lambda folder: rewrite(folder, lambda m: m["latency"][0].update(ms=float("nan"))),
    "bytes": lambda folder: rewrite(folder, lambda m: m["files"][0].update(bytes="many")),
}


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


@pytest.mark.parametrize("message", DAMAGE)
def test_damaged_and_hostile_bundles_are_refused(
    message: str, bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fleetfront.pipelines import verify

    # No model file of such a bundle is run.
    monkeypatch.setattr(verify, "run_apart", lambda *_: pytest.fail("a file was run"))
    DAMAGE[message](bundle)
    assert main(["verify", str(bundle), "--quiet"]) == 2
    assert message in capsys.readouterr().err


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="missing"):
        verify_bundle(tmp_path)


def test_files_are_timed_again(bundle: Path) -> None:
    found = time_bundle(verify_bundle(bundle), "cpu")
    assert [one.path for one in found] == ["network-random-weights.onnx"]
    assert found[0].latency.ms is not None
    assert found[0].interval == pytest.approx((1e6 - 1.645, 1e6 + 1.645), abs=0.01)
    assert (found[0].passed, found[0].note.split()[0]) == (True, "faster")


def test_files_are_timed_in_the_company_that_the_profile_gave_them(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fleetfront.pipelines import verify_times

    asked: list[tuple[Any, ...]] = []
    beside: list[object] = []
    company = object()

    def find(_: Store, *what: Any, networks: int) -> object:
        asked.append((*what, networks))
        return company

    def measure(files: dict[str, Path], target: Target, *_: Any, **more: Any) -> FilesMeasured:
        beside.append(more["company"])
        seen = Observations(target, "", Clock.WALL, {})
        return FilesMeasured("c", seen, {name: measured(11.0) for name in files}, dict.fromkeys(files, "0"))

    monkeypatch.setattr(verify_times, "find_company", find)
    monkeypatch.setattr(verify_times, "measure_files", measure)
    assert main(["verify", str(bundle), "--measure", "--json", "--quiet"]) == 0
    assert [one["is_alone"] for one in json.loads(capsys.readouterr().out)["latency"]] == [True]
    assert main(["verify", str(bundle), "--measure", "--quiet"]) == 0
    assert "network-random-weights.onnx: timed alone, as no profile of ofa-mbv3-mini is here" in capsys.readouterr().err
    assert (asked, beside) == ([], [None, None])
    place = Workspace.default()
    Store(place.store).close()
    assert main(["verify", str(bundle), "--measure", "--json", "--quiet"]) == 0
    assert [one["is_alone"] for one in json.loads(capsys.readouterr().out)["latency"]] == [False]
    assert beside[-1] is company
    assert asked == [("ofa-mbv3-mini", TARGET, Clock.WALL, place.cache, ".onnx", NETWORKS)]


def test_files_that_missed_their_proof_are_not_timed(bundle: Path) -> None:
    found = verify_bundle(bundle)
    failed = replace(found, files=tuple(replace(file, passed=False) for file in found.files))
    with pytest.raises(InputError, match="No file of"):
        time_bundle(failed, "cpu")


def test_a_target_of_files_that_are_not_there_is_passed_over(bundle: Path) -> None:
    found = verify_bundle(bundle)
    strange = replace(row(10.0, 1.0, True), target="cpu/onnxruntime/fp16/t1/b1")
    found = replace(found, bundle=replace(found.bundle, latency=(strange,)))
    assert {one.latency.target.precision for one in time_bundle(found, "cpu")} == {
        file.precision for file in found.bundle.files
    }


def test_vectors_beyond_any_bundles_are_not_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "MOST_BYTES", 1000)
    with pytest.raises(FileError, match="more than any bundle's"):
        read_received(bundle)
    (bundle / "manifest.json").write_bytes(b" " * (17 << 20))
    with pytest.raises(FileError, match="more than any manifest"):
        read_received(bundle)


def test_a_bar_without_a_measurement_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path), "--within", "5"]) == 2
    assert "Add --measure" in capsys.readouterr().err


def measured(ms: float | None, machine: str = "here") -> FileLatency:
    return FileLatency(TARGET, Clock.WALL, "p25", ms, 0.1, 12, "it crashed" if ms is None else None, machine=machine)


def row(ms: float, std_ms: float | None, is_prediction: bool, machine: str = "") -> LatencyRow:
    return LatencyRow(str(TARGET), Tier.MEASURED, Clock.WALL, ms, std_ms, "p25", is_prediction, machine)


@pytest.mark.parametrize(
    ("ms", "promise", "was", "within", "passed", "note"),
    [
        (11.0, (10, 1), None, None, True, ""),
        (11.7, (10, 1), None, None, False, "slower than the promised 8.355 to 11.64 ms"),
        (8.0, (10, 1), None, None, True, "faster than the promised"),
        (11.7, (10, 1), (10.0, "there"), None, None, "of another machine (there; this is here)"),
        (11.7, (10, 1), (10.0, "here"), None, False, "slower"),
        (11.7, (10, 1), (10.0, "there"), 20, True, "+17.0 % against 10 ms"),
        (12.1, (10, 1), None, 20, False, "+21.0 %"),
        (30.0, None, (10.0, "here"), None, None, "--within PERCENT sets a bar"),
        (11.0, None, (10.0, "here"), 5, False, "+10.0 % against 10 ms"),
        (11.0, None, None, 5, None, "no latency of this target"),
        (11.0, None, None, None, None, "tells nothing"),
        (None, (10, 1), None, None, False, "it crashed"),
    ],
)
def test_latency_is_held_against_what_was_promised(
    ms: float | None,
    promise: tuple[float, float] | None,
    was: tuple[float, str] | None,
    within: float | None,
    passed: bool | None,
    note: str,
) -> None:
    promised = None if promise is None else row(*promise, True)
    before = None if was is None else row(was[0], None, False, was[1])
    found = _judged("net.onnx", measured(ms), promised, before, within)
    assert found.passed is passed
    assert note in found.note


def test_a_prediction_without_a_promise_is_not_judged() -> None:
    silent = replace(row(10.0, None, True), not_promised="known from one sitting alone")
    found = _judged("net.onnx", measured(30.0), silent, row(10.0, None, False, "here"), None)
    assert (found.interval, found.passed) == (None, None)
    assert "nothing was promised for when it is run (known from one sitting alone)" in found.note
    assert "--within PERCENT" in found.note
