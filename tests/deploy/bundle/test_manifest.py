import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetfront.deploy.bundle.manifest import (
    BundleFile,
    Manifest,
    PortDescription,
    read_manifest,
    safe_name,
    write_bundle,
)
from fleetfront.errors import FileError, InputError

PORT = PortDescription("input", (1, 3, 8, 8), "float32", "NCHW", {"scale": 1 / 255})


def manifest(path: str = "model.onnx") -> Manifest:
    file = BundleFile(path, "onnx", "fp32", PORT, PORT, {"runtime": "onnxruntime"}, "onnxruntime 1.20")
    return Manifest("k3", "toy", {"id": "abc"}, (file,))


def test_a_bundle_says_the_hash_and_size_of_its_files(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "out" / "net", manifest(), {"model.onnx": b"bytes", "labels.txt": b"cat\n"})
    read = read_manifest(folder)
    assert read["files"][0]["sha256"] == hashlib.sha256(b"bytes").hexdigest()
    assert read["files"][0]["bytes"] == 5
    assert (folder / "labels.txt").read_bytes() == b"cat\n"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["net"]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "a", manifest(), {"model.onnx": b"bytes"})
    second = write_bundle(tmp_path / "b", manifest(), {"model.onnx": b"bytes"})
    assert (first / "manifest.json").read_bytes() == (second / "manifest.json").read_bytes()


def test_an_existing_bundle_is_replaced_only_by_force(tmp_path: Path) -> None:
    write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"old"})
    with pytest.raises(InputError, match="--force"):
        write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"new"})
    assert (tmp_path / "net" / "model.onnx").read_bytes() == b"old"
    write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"new"}, force=True)
    assert (tmp_path / "net" / "model.onnx").read_bytes() == b"new"


def test_force_never_replaces_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="not a bundle"):
        write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"new"}, force=True)
    assert (tmp_path / "net" / "thesis.txt").exists()


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leaves its folder"):
        write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"x", "../evil": b"x"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a\\b"])
def test_a_manifest_cannot_point_outside(tmp_path: Path, path: str) -> None:
    folder = write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"x"})
    document = json.loads((folder / "manifest.json").read_text())
    document["files"][0]["path"] = path
    (folder / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(InputError):
        read_manifest(folder)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"x"})
    (folder / "model.onnx").write_bytes(b"y")
    with pytest.raises(InputError, match="has changed"):
        read_manifest(folder)


def test_foreign_manifests_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema": "other/1"}')
    with pytest.raises(InputError, match=r"fleetfront\.bundle/1"):
        read_manifest(tmp_path)


def test_names_stay_one_path_component() -> None:
    assert safe_name("|nor_conv_3x3~0|+|skip~0|none~1|") == "nor_conv_3x3-0-skip-0-none-1"
    assert safe_name("k353_e346_d2_r160") == "k353_e346_d2_r160"
    assert safe_name("width=16,depth=3") == "width-16-depth-3"
    assert safe_name("adb:192.168.1.7:5555-knee") == "adb-192.168.1.7-5555-knee"
    for bad in ("../x", "a/b", "", "a\\b", ".hidden", "|", "|.", "|.hidden"):
        with pytest.raises(InputError):
            safe_name(bad)


def test_names_that_no_file_system_holds_are_refused() -> None:
    assert safe_name("x" * 200) == "x" * 200
    with pytest.raises(InputError, match="201 characters"):
        safe_name("x" * 201)


@pytest.mark.parametrize("files", ["none", [{"path": "model.onnx"}], [5], None])
def test_damaged_manifests_are_refused(tmp_path: Path, files: object) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": "fleetfront.bundle/1", "files": files}))
    with pytest.raises(InputError, match="damaged"):
        read_manifest(tmp_path)


def test_a_file_that_links_out_of_its_bundle_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"x"})
    (tmp_path / "elsewhere").write_bytes(b"x")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="link out"):
        read_manifest(folder)


def test_manifests_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"x"})
    written = json.loads((folder / "manifest.json").read_text())
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(folder / "model.onnx")
    with pytest.raises(InputError, match="missing"):
        read_manifest(folder)
    (folder / "manifest.json").write_text(json.dumps({**written, "files": written["files"] * 2}))
    with pytest.raises(InputError, match="names a file twice"):
        read_manifest(folder)
    written["files"][0]["path"] = "x" * 5000
    (folder / "manifest.json").write_text(json.dumps(written))
    with pytest.raises(InputError, match="missing"):
        read_manifest(folder)
    (folder / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(FileError, match="nested too deeply"):
        read_manifest(folder)


def test_an_interrupt_between_two_moves_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"old"})
    move = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if target == tmp_path / "net" and ".old-" not in str(source):
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"new"}, force=True)
    assert (tmp_path / "net" / "model.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_replacement_that_is_killed_leaves_no_part_of_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """At each step of replacing a bundle: what lies under its name is the old one, the new one, or nothing."""

    class Killed(BaseException):
        pass

    write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"old"})
    steps = 0

    def dying(function: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*given: object, **named: object) -> object:
            nonlocal steps
            steps += 1
            if steps >= step:
                raise Killed
            return function(*given, **named)

        return wrapped

    monkeypatch.setattr("os.replace", dying(os.replace))
    monkeypatch.setattr("shutil.rmtree", dying(shutil.rmtree))
    with pytest.raises(Killed):
        write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"new"}, force=True)
    monkeypatch.undo()
    if (tmp_path / "net").exists():
        read_manifest(tmp_path / "net")
        assert {path.name for path in (tmp_path / "net").iterdir()} == {"model.onnx", "manifest.json"}
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] in ([], ["net"])


def test_a_bundle_that_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"old"})
    move = os.replace

    def failing(source: Path, target: Path) -> None:
        if target == tmp_path / "net" and ".old-" not in str(source):
            raise OSError("disk gone")
        move(source, target)

    monkeypatch.setattr("os.replace", failing)
    with pytest.raises(InputError, match="disk gone"):
        write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"new"}, force=True)
    assert (tmp_path / "net" / "model.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("latency", 0, "ms"), "NaN"),
        (("latency", 0, "ms"), "0.0"),
        (("latency", 0, "ms"), "-1.5"),
        (("latency", 0, "ms"), "1" + "0" * 400),
        (("latency", 0, "ms"), '"fast"'),
        (("latency", 0, "target"), "7"),
        (("accuracy", 0, "value"), "1000000.0"),
        (("accuracy", 0, "value"), "-Infinity"),
        (("accuracy", 0), "null"),
        (("arch",), '"\\ud800"'),
        (("weights",), "[]"),
        (("files", 0, "sha256"), '"abc"'),
        (("files", 0, "input", "shape"), '["a", 1.5]'),
        (("files", 0, "accuracy"), '{"top1": 200.0}'),
        (("files", 0, "bytes"), "-1"),
        (("labels",), "[" * 100_000 + "]" * 100_000),
    ],
)
def test_no_manifest_is_believed_that_cannot_be(place: tuple[str | int, ...], value: str, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "net", manifest(), {"model.onnx": b"x"})
    written = json.loads((folder / "manifest.json").read_text())
    written["latency"] = [{"target": "cpu/litert/fp32/t1/b1", "ms": 1.5, "std_ms": 0.1}]
    written["accuracy"] = [{"value": 70.0, "std": 0.1, "tier": "measured"}]
    (folder / "manifest.json").write_text(json.dumps(written))
    assert read_manifest(folder)["latency"][0]["ms"] == 1.5
    at = written
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = "PLACE"
    (folder / "manifest.json").write_text(json.dumps(written).replace('"PLACE"', value))
    with pytest.raises(FileError) as caught:
        read_manifest(folder)
    assert len(str(caught.value)) < 500 + len(str(folder))
