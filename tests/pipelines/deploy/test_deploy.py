import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import load_images
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.formats import FORMATS, parse_formats
from fleetfront.errors import BarMissed, InputError
from fleetfront.pipelines.deploy.deploy import Measuring, Pick, UserImages, Weights, deploy_picks
from fleetfront.pipelines.deploy.network import write_network
from fleetfront.pipelines.deploy.records import is_timed_on
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.runtimes.catalogue import runtime_for_file
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.subnets import untrained
from fleetfront.targets import Target

SPACE = load_space("ofa-mbv3-mini")
BOTH = parse_formats("onnx,tflite")


def archs(n: int) -> list[str]:
    return SPACE.arch_ids(SPACE.sample(n, np.random.default_rng(7)))


def test_random_weights_are_written_into_name_and_metadata(tmp_path: Path) -> None:
    (one,) = deploy_picks([Pick("small", archs(1)[0])], SPACE, Weights(), BOTH, tmp_path)
    assert one.error is None
    assert one.folder == tmp_path / "small-random-weights"
    manifest = read_manifest(one.folder)
    assert manifest["weights"]["random"] is True
    assert {file["path"] for file in manifest["files"]} == {
        "network-random-weights.onnx",
        "network-random-weights.tflite",
    }
    assert all(file["checks"]["passed"] for file in manifest["files"])
    assert all(file["checks"]["relative_to_range"] < 1e-4 for file in manifest["files"])
    onnx = __import__("onnx").load(one.folder / "network-random-weights.onnx")
    assert {prop.key: prop.value for prop in onnx.metadata_props}["weights"] == "random"


def test_the_files_of_a_supernet_agree_with_each_other_on_images(tmp_path: Path) -> None:
    digits = load_images("digits", 32)
    weights = Weights(untrained(SPACE, 0), digits)
    (one,) = deploy_picks([Pick("net", archs(1)[0])], SPACE, weights, BOTH, tmp_path)
    assert one.error is None
    assert one.folder is not None
    manifest = read_manifest(one.folder)
    assert manifest["weights"]["recalibrated_on"]["source"] == "digits"
    assert (one.folder / "labels.txt").read_text().split() == list(digits.class_names)
    image = digits.inputs("test")[:1]
    logits = []
    for file in manifest["files"]:
        path = one.folder / file["path"]
        session = runtime_for_file(path).open(path)
        fed = image if file["input"]["layout"] == "NCHW" else image.transpose(0, 2, 3, 1)
        assert list(fed.shape) == file["input"]["shape"]
        logits.append(session.run({file["input"]["name"]: np.ascontiguousarray(fed)})[file["output"]["name"]])
        session.close()
    assert np.allclose(logits[0], logits[1], atol=1e-4 * np.ptp(logits[0]))


def test_the_same_pick_gives_the_same_bytes(tmp_path: Path) -> None:
    for out in ("a", "b"):
        deploy_picks([Pick("net", archs(1)[0])], SPACE, Weights(untrained(SPACE, 0)), BOTH, tmp_path / out)
    files = [sorted(p for p in (tmp_path / out).rglob("*") if p.is_file()) for out in ("a", "b")]
    assert len(files[0]) > 3
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_two_processes_give_the_bytes_of_one(tmp_path: Path) -> None:
    weights = Weights(untrained(SPACE, 0), UserImages("digits"))
    picks = [*(Pick(f"net{n}", arch) for n, arch in enumerate(archs(2))), Pick("wrong", "k9_e9_d9_r9")]
    told = {}
    for count in (1, 2):
        out = tmp_path / str(count)
        deployed = deploy_picks(picks, SPACE, weights, parse_formats("onnx"), out, workers=count)
        told[count] = [(one.pick.name, str(one.error), one.proofs) for one in deployed]
    assert told[1] == told[2]
    files = [sorted(path for path in (tmp_path / out).rglob("*") if path.is_file()) for out in "12"]
    assert [path.relative_to(tmp_path / "1") for path in files[0]] == [p.relative_to(tmp_path / "2") for p in files[1]]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    assert len(files[0]) > 6


def test_a_failing_pick_costs_no_other(tmp_path: Path) -> None:
    picks = [Pick("wrong", "k9_e9_d9_r9"), Pick("right", archs(1)[0])]
    wrong, right = deploy_picks(picks, SPACE, Weights(), BOTH, tmp_path)
    assert isinstance(wrong.error, InputError)
    assert wrong.folder is None
    assert right.error is None
    assert [p.name for p in tmp_path.iterdir()] == ["right-random-weights"]


def test_a_file_that_misses_the_proof_is_not_handed_out(tmp_path: Path) -> None:
    wrong = replace(FORMATS["onnx"], write=lambda graph: FORMATS["onnx"].write(_negated(graph)))
    (one,) = deploy_picks([Pick("net", archs(1)[0])], SPACE, Weights(), [wrong], tmp_path)
    assert isinstance(one.error, BarMissed)
    assert "of what inputs change" in str(one.error)
    assert list(tmp_path.iterdir()) == []


def _negated(graph):
    name = next(name for name in graph.weights if name.endswith("classifier.weight"))
    return replace(graph, weights={**graph.weights, name: -graph.weights[name]})


def test_measured_files_stand_beside_what_was_promised(tmp_path: Path) -> None:
    target = Target("cpu", "onnxruntime")
    promised = {"target": str(target), "ms": 1.0, "std_ms": 0.1, "tier": "measured", "clock": "wall"}
    with Store(tmp_path / "store.sqlite") as store:
        (one,) = deploy_picks(
            [Pick("net", archs(1)[0], latency=(promised,), max_latency_ms=1e-6)],
            SPACE,
            Weights(),
            BOTH,
            tmp_path / "out",
            measuring=Measuring(store, (target,), Clock.WALL),
        )
        assert len(list(store.measurements(campaigns=[next(iter(store.measurements(target=target))).campaign]))) > 0
    assert isinstance(one.error, BarMissed)
    assert one.folder is not None
    rows = json.loads((one.folder / "manifest.json").read_text())["latency"]
    assert rows[0] == promised
    assert rows[1]["target"] == str(target)
    assert rows[1]["ms"] > 0


def test_a_limit_that_could_not_be_measured_is_not_kept(tmp_path: Path) -> None:
    pick = Pick("net", archs(1)[0], max_latency_ms=1e6)
    with Store(tmp_path / "store.sqlite") as store:
        # No CPU has a clock of its own, so no visit counts.
        measuring = Measuring(store, (Target("cpu", "onnxruntime"),), Clock.DEVICE)
        (one,) = deploy_picks([pick], SPACE, Weights(), BOTH, tmp_path / "out", measuring=measuring)
    assert one.folder is not None
    assert isinstance(one.error, BarMissed)
    assert "net: could not be measured" in str(one.error)
    manifest = read_manifest(one.folder)
    assert "accepted" in manifest["latency"][0]["error"]
    assert {"torch", "onnx", "onnxruntime", "numpy"} <= manifest["made_with"].keys()


def test_a_limit_on_one_device_is_not_for_another(tmp_path: Path) -> None:
    promised = {"target": "pixel3/litert/fp32/t1/b1", "ms": 1.0, "std_ms": 0.1, "tier": "measured", "clock": "wall"}
    pick = Pick("net", archs(1)[0], latency=(promised,), max_latency_ms=1e-6)
    with Store(tmp_path / "store.sqlite") as store:
        measuring = Measuring(store, (Target("cpu", "onnxruntime"),), Clock.WALL)
        (one,) = deploy_picks([pick], SPACE, Weights(), BOTH, tmp_path / "out", measuring=measuring)
    assert one.error is None
    assert one.measured[0].ms is not None


def test_a_target_without_a_file_is_refused(tmp_path: Path) -> None:
    for formats, target in (("tflite", "onnxruntime"), ("onnx", "litert")):
        picks, kinds = [Pick("net", archs(1)[0])], parse_formats(formats)
        with Store(tmp_path / "store.sqlite") as store:
            measuring = Measuring(store, (Target("cpu", target),), Clock.WALL)
            with pytest.raises(InputError, match="No file is written"):
                deploy_picks(picks, SPACE, Weights(), kinds, tmp_path / "out", measuring=measuring)
    assert not (tmp_path / "out").exists()  # said before any work


def test_ort_files_are_timed_unless_their_twin_is(tmp_path: Path) -> None:
    assert [is_timed_on(Target("cpu", "onnxruntime"), kind, "fp32", parse_formats("ort,onnx")) for kind in BOTH] == [
        True,
        False,
    ]
    (ort,) = parse_formats("ort")
    assert not is_timed_on(Target("cpu", "onnxruntime"), ort, "fp32", parse_formats("onnx,ort"))
    assert is_timed_on(Target("pixel3", "tflite-gpu"), parse_formats("tflite")[0], "fp32")
    with Store(tmp_path / "store.sqlite") as store:
        measuring = Measuring(store, (Target("cpu", "onnxruntime"),), Clock.WALL)
        (one,) = deploy_picks(
            [Pick("net", archs(1)[0])], SPACE, Weights(), [ort], tmp_path / "out", measuring=measuring
        )
    assert one.error is None
    assert [latency.ms is not None for latency in one.measured] == [True]


def test_names_must_differ_and_formats_be_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Two picks"):
        deploy_picks([Pick("a", archs(1)[0])] * 2, SPACE, Weights(), BOTH, tmp_path)
    with pytest.raises(InputError, match="'onnx'"):
        parse_formats("onxx")
    with pytest.raises(InputError, match="No format"):
        parse_formats(",")


def test_a_command_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picks = [Pick(name, arch) for name, arch in zip("abc", archs(3), strict=True)]

    class Killed(BaseException):
        pass

    def write(*given: object, **named: object) -> object:
        if len(list(tmp_path.glob("[abc]-*"))) == 1:
            raise Killed
        return write_network(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("fleetfront.pipelines.deploy.spread.write_network", write)
    with pytest.raises(Killed):
        deploy_picks(picks, SPACE, Weights(), BOTH, tmp_path)
    monkeypatch.undo()
    (first,) = tmp_path.glob("a-*")
    written = (first / "manifest.json").stat().st_mtime_ns
    with pytest.raises(InputError, match="exists"):
        deploy_picks(picks, SPACE, Weights(), parse_formats("onnx"), tmp_path)
    done = deploy_picks(picks, SPACE, Weights(), BOTH, tmp_path)
    assert [one.error for one in done] == [None] * 3
    assert [one.folder.name[0] for one in done if one.folder is not None] == ["a", "b", "c"]
    assert (first / "manifest.json").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="exists"):
        deploy_picks(picks, SPACE, Weights(), BOTH, tmp_path)
