"""A user's family goes all the way: profiled, fitted, searched by its own accuracy, handed out and proven."""

import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.deploy.results import report
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import ALL_FORMATS, parse_formats
from fleetfront.errors import BarMissed, FileError, InputError, MissingDependency
from fleetfront.pipelines.compare import compare_results
from fleetfront.pipelines.deploy.own_family import deploy_family
from fleetfront.pipelines.deploy.records import Measuring, Pick, Recipe
from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.pipelines.search import SearchOptions, search, search_space
from fleetfront.pipelines.verify import verify_bundle
from fleetfront.pipelines.verify_times import time_bundle
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.profilers.plan import PlanOptions
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.report.sections.deployed import calls_table, deployed_files
from fleetfront.report.sections.provenance import _paths
from fleetfront.report.sources import open_sources
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.from_torch.remembered import open_family
from fleetfront.spaces.from_torch.space import TorchFamily
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.spaces.from_torch.conftest import FAMILY
from tests.spaces.from_torch.test_parts import TRANSLATOR

TARGET = Target("cpu", "onnxruntime")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TorchFamily:
    folder = tmp_path_factory.mktemp("own")
    (folder / "steps.py").write_text(FAMILY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETFRONT_HOME", str(folder / "home"))
        yield open_family(folder / "steps.py")


def test_from_a_file_to_a_front(family: TorchFamily, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with Store(workspace.store) as store:
        options = PlanOptions(calibration=20, validation=50)
        outcome = profile_space(
            family, TARGET, store=store, budget=Budget("test", 60.0), rounds=2, options=options, workspace=workspace
        )
        assert outcome.observations.errors == {}
        # Of twenty networks, half calibrate: all of both roles would leave none to the other.
        assert {role.value: count for role, count in outcome.planned.items()} == {
            "block": len(family.vocabulary),
            "calibration": 10,
            "validation": 10,
        }
        model = fit_target(store, TARGET, family, workspace=workspace).chosen.fitted.model
    accuracy = load_accuracy("built-in", family)
    target = ProblemTarget("cpu", CalibratedTable(family, model), str(TARGET))
    fronts = search_space(family, [target], accuracy, SearchOptions("surrogate", 12), out=tmp_path / "fronts")
    best = max(fronts.fronts["cpu"].points, key=lambda point: point.accuracy)
    assert best.arch == "width=8,depth=3,second=relu,drop=0.0" or best.accuracy == 73.0
    assert json.loads((tmp_path / "fronts" / "fronts.json").read_text())["space"] == family.name


def test_bundles_hold_proven_files_and_what_is_known_of_them(family: TorchFamily, tmp_path: Path) -> None:
    row = {"target": str(TARGET), "ms": 0.1, "std_ms": 0.01, "tier": "measured", "clock": "thread-cpu"}
    arch = "width=8,depth=3,second=tanh,drop=0.0"
    pick = Pick(arch, arch, latency=(row,), accuracy=({"value": 73.0},))
    (done,) = deploy_family([pick], family, parse_formats("onnx,ort"), tmp_path)
    assert done.error is None
    assert done.folder == tmp_path / "width-8-depth-3-second-tanh-drop-0.0"
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert (manifest["arch"], manifest["space"]) == (pick.arch, family.name)
    assert manifest["latency"][0]["ms"] == 0.1
    assert [file["format"] for file in manifest["files"]] == ["onnx", "ort"]
    assert all(proof.passed for proof in done.proofs.values())
    assert verify_bundle(done.folder).failed == ()


def test_a_file_that_computes_something_else_is_not_handed_out(
    family: TorchFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = family.subnet_graphs(family.parse(["width=8,depth=2,second=tanh,drop=0.0"])[0])
    monkeypatch.setattr(TorchFamily, "subnet_graphs", lambda *_: other)
    picks = [Pick("wrong", "width=8,depth=3,second=tanh,drop=0.0")]
    (done,) = deploy_family(picks, family, (ALL_FORMATS["onnx"],), tmp_path)
    assert isinstance(done.error, BarMissed)
    assert "differs from torch" in done.error.message
    assert not (tmp_path / "wrong").exists()


SEVERAL = """
import torch
from torch import nn
choices = {"width": [4, 8]}
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.cells, self.head = nn.LSTM(3, width, batch_first=True), nn.Linear(width, 2)
    def forward(self, x):
        steps, (state, _) = self.cells(x)
        return self.head(steps[:, -1]), (state, steps)
def make(width):
    net = Net(width)
    if width == 4:
        net.head.weight.data *= torch.nan
    return net
def inputs(width):
    return torch.randn(1, 5, 3)
"""


def test_several_outputs_are_proven_and_one_that_fails_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "several.py").write_text(SEVERAL)
    family = open_family(tmp_path / "several.py")
    picks = [Pick("good", "width=8"), Pick("bad", "width=4")]
    good, bad = deploy_family(picks, family, parse_formats("onnx"), tmp_path / "out")
    assert (good.error, good.folder) == (None, tmp_path / "out" / "good")
    manifest = json.loads((tmp_path / "out" / "good" / "manifest.json").read_text())
    assert [port["name"] for port in manifest["files"][0]["outputs"]] == ["output_0", "output_1_0", "output_1_1"]
    assert isinstance(bad.error, InputError)
    assert "NaN" in bad.error.message


@pytest.mark.parametrize(
    ("formats", "recipe", "said"),
    [
        ("trt", Recipe(), "not written as trt"),
        ("onnx", Recipe(precisions=("fp32", "int8")), "does not say which values"),
        ("onnx", Recipe(precisions=("fp16",)), "not handed out in fp16"),
        ("onnx", Recipe(max_drop=1.0), "judges no file"),
        ("onnx", Recipe(contract=InputContract(softmax=True)), "nothing else before or behind"),
    ],
)
def test_what_such_networks_do_not_have_is_refused(
    formats: str, recipe: Recipe, said: str, family: TorchFamily, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        deploy_family([Pick("one", "")], family, parse_formats(formats), tmp_path, recipe=recipe)


def test_no_time_of_int8_stands_beside_a_float_file(family: TorchFamily, tmp_path: Path) -> None:
    pick = Pick("one", "", latency=({"target": "cpu/onnxruntime/int8/t1/b1", "ms": 1.0},))
    with pytest.raises(InputError, match="none would be written"):
        deploy_family([pick], family, parse_formats("onnx"), tmp_path)
    with pytest.raises(InputError, match="does not say which values") as refused:
        deploy_family([Pick("one", "", precision="int8")], family, parse_formats("onnx"), tmp_path)
    assert refused.value.remedy.startswith("Add calibration(**genes) to steps.py: 16 to 512 inputs")


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> TorchFamily:
    """The example of raw audio, one choice of most genes: fewer networks to trace."""
    text = (Path(__file__).parents[3] / "examples" / "families" / "audio.py").read_text()
    for before, after in (("[8, 16, 24]", "[8, 24]"), ("[2, 3, 4]", "[4]"), ("[5, 9, 15]", "[9]"), (", 16000]", "]")):
        assert before in text
        text = text.replace(before, after)
    path = tmp_path_factory.mktemp("audio") / "audio.py"
    path.write_text(text + JUDGE)
    return open_family(path)


#: Tells how often the sign of the first answer is that of the network, and counts what calls it.
JUDGE = """
accuracy_unit = "fraction"
called = []

def judge(run, **genes):
    called.append(getattr(run, "__name__", "module"))
    network, heard = make(**genes).eval(), list(calibration(**genes))[:10]
    return sum(bool((run(one) * network(one))[0, 0] > 0) for one in heard) / 10 - 0.01 * (called[-1] == "run")
"""


SOUND = "width=24,depth=4,kernel=9,rate=8000"


def test_int8_is_calibrated_on_inputs_of_the_file_and_proven_on_others(audio: TorchFamily, tmp_path: Path) -> None:
    picks = [Pick("both", SOUND), Pick("chosen", SOUND, precision="int8")]
    recipe = Recipe(precisions=("fp32", "int8"))
    both, chosen = deploy_family(picks, audio, parse_formats("onnx"), tmp_path, recipe=recipe)
    assert (both.error, chosen.error) == (None, None)
    files = json.loads((both.folder / "manifest.json").read_text())["files"]
    assert [(file["path"], file["precision"]) for file in files] == [
        ("network.onnx", "fp32"),
        ("network-int8.onnx", "int8"),
    ]
    checks = files[1]["checks"]
    assert (checks["judged_by"], checks["limit"], checks["samples"]) == ("explained", 0.9, 8)
    assert checks["explained"] >= 0.9
    assert files[1]["bytes"] < 0.6 * files[0]["bytes"]
    assert verify_bundle(both.folder).failed == ()
    assert [file.name for file in chosen.files] == ["network-int8.onnx"]
    # The file's judge was asked of the network in torch and of each file.
    assert both.torch_accuracy == 100
    assert [file["accuracy"] for file in files] == [pytest.approx({"value": 99, "drop": 1}), files[1]["accuracy"]]
    assert 49 <= files[1]["accuracy"]["value"] <= 99
    rows = json.loads((both.folder / "manifest.json").read_text())["accuracy"]
    assert [(row["precision"], row["in"], row["source"]) for row in rows] == [
        ("fp32", "torch", "judge of audio.py"),
        ("fp32", "onnx", "judge of audio.py"),
        ("int8", "onnx", "judge of audio.py"),
    ]


def test_a_file_that_loses_more_than_it_may_is_not_handed_out(audio: TorchFamily, tmp_path: Path) -> None:
    (done,) = deploy_family([Pick("one", SOUND)], audio, parse_formats("onnx"), tmp_path, recipe=Recipe(max_drop=0.5))
    assert isinstance(done.error, BarMissed)
    assert "loses 1.00 points of accuracy" in done.error.message
    assert not (tmp_path / "one").exists()


def test_tflite_goes_through_litert_torch_or_names_it(audio: TorchFamily, tmp_path: Path) -> None:
    row = {"target": "cpu/litert/fp32/t1/b1", "ms": 0.1, "std_ms": 0.01, "tier": "measured", "clock": "wall"}
    pick = Pick("one", SOUND, latency=(row,))
    (done,) = deploy_family([pick], audio, parse_formats("tflite"), tmp_path)
    if importlib.util.find_spec("litert_torch") is None:
        assert isinstance(done.error, MissingDependency)
        assert "export-tflite" in done.error.remedy
        assert not (tmp_path / "one").exists()
    else:
        assert done.error is None
        assert done.proofs["tflite"].relative_to_range < 1e-5
        assert done.without_files == ()
    (other,) = deploy_family([pick], audio, parse_formats("onnx"), tmp_path / "onnx")
    assert other.without_files == ("cpu/litert/fp32/t1/b1",)
    assert json.loads((other.folder / "manifest.json").read_text())["latency"] == []


def test_an_int8_file_that_follows_other_inputs_alone_is_not_handed_out(audio: TorchFamily, tmp_path: Path) -> None:
    right = ALL_FORMATS["onnx"]
    faint = replace(
        right, quantise=lambda data, feeds: right.quantise(data, [{"input": 1e-3 * fed["input"]} for fed in feeds])
    )
    recipe = Recipe(precisions=("int8",))
    (done,) = deploy_family([Pick("faint", SOUND)], audio, [faint], tmp_path, recipe=recipe)
    assert isinstance(done.error, BarMissed)
    assert "of what inputs of calibration(**genes) change" in done.error.message
    assert not (tmp_path / "faint").exists()


def test_accuracy_is_asked_by_genes(family: TorchFamily) -> None:
    model = load_accuracy("built-in", family)
    rows = family.parse(["width=8,depth=2,second=relu,drop=0.5"])
    np.testing.assert_array_equal(model.predict(rows).mean, [63.0])
    # The same function by its spelling; any other is asked by the network's id.
    spelled = load_accuracy(f"call:{family.own_file}:accuracy", family)
    np.testing.assert_array_equal(spelled.predict(rows).mean, [63.0])


@pytest.mark.parametrize("in_parts", [False, True])
def test_what_a_killed_command_finished_is_kept(
    in_parts: bool, family: TorchFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = ["width=8,depth=1,second=relu,drop=0.0", "width=8,depth=2,second=relu,drop=0.0"]
    if in_parts:
        monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "home"))
        (tmp_path / "translator.py").write_text(TRANSLATOR)
        family = open_family(tmp_path / "translator.py")
        archs = ["width=4,layers=1,words=3", "width=4,layers=1,words=5"]
    first, second = Pick("first", archs[0]), Pick("second", archs[1])
    formats = parse_formats("onnx")
    deploy_family([first], family, formats, tmp_path / "out")
    (model,) = (tmp_path / "out" / "first").glob("[ns]*.onnx")
    written = model.stat().st_mtime_ns
    with pytest.raises(InputError, match="first exists"):
        deploy_family([replace(first, arch=archs[1]), second], family, formats, tmp_path / "out")
    done = deploy_family([first, second], family, formats, tmp_path / "out")
    assert [(one.error, one.folder) for one in done] == [(None, tmp_path / "out" / n) for n in ("first", "second")]
    assert model.stat().st_mtime_ns == written
    with pytest.raises(InputError, match="first exists"):
        deploy_family([first, second], family, formats, tmp_path / "out")
    model.write_bytes(b"another")
    with pytest.raises(InputError, match="first exists"):
        deploy_family([first, Pick("third", archs[1])], family, formats, tmp_path / "out")


def _check_verified_parts(folder: Path, calls: dict[str, int]) -> None:
    """A folder of parts proves itself again, is timed call by call, and tells what is wrong with it."""
    found = verify_bundle(folder)
    assert (found.failed, found.strangers) == ((), ())
    assert all(file.passed for file in found.files)
    assert found.bundle.calls == {f"{name}.{kind}": count for name, count in calls.items() for kind in ("onnx", "ort")}
    *each, whole = time_bundle(found, "cpu")
    assert {one.path: one.note for one in each} == {f"{n}.onnx": f"one call of {c}" for n, c in calls.items()}
    assert whole.path == "all calls"
    assert whole.latency.ms == pytest.approx(sum(calls[one.path[:-5]] * one.latency.ms for one in each))
    assert whole.interval == pytest.approx((0.3 - 0.01645, 0.3 + 0.01645), abs=1e-4)
    assert whole.was_ms is not None
    (late,) = [one for one in time_bundle(found, "cpu", within=0.0) if one.path == "all calls"]
    assert late.passed is (late.latency.ms <= 0.3)
    vector = next((folder / "test-vectors").glob("step.torch.*.bin"))
    kept = vector.read_bytes()
    vector.write_bytes(bytes(len(kept)))
    with pytest.raises(FileError, match="has changed since it was proven"):
        verify_bundle(folder)
    said = json.loads((folder / "parts.json").read_text())
    next(one for one in said["beside"] if one["path"].endswith(vector.name))["sha256"] = hashlib.sha256(
        vector.read_bytes()
    ).hexdigest()
    before = (folder / "parts.json").read_bytes()
    (folder / "parts.json").write_text(json.dumps(said))
    assert [file.path for file in verify_bundle(folder).files if file.passed is False] == ["step.onnx", "step.ort"]
    vector.write_bytes(kept)
    (folder / "parts.json").write_bytes(before)


def _check_told_parts(folder: Path, ms: float, each: dict[str, float], workspace: Workspace) -> None:
    """Comparisons and reports tell of all calls of an inference, and of one call of each part."""
    rows = compare_results(folder, folder.parent)
    assert {row.subject.partition(" on ")[0]: row.before for row in rows} == {
        "both": pytest.approx(ms),
        "both/encoder": each["encoder"],
        "both/step": each["step"],
    }
    assert all(row.noise > 0 and row.change == 0 for row in rows)
    sources = open_sources(workspace, workspace.store, [], [folder.parent])
    (file,) = deployed_files(sources)
    assert (file.bundle, file.format, file.measured_ms) == ("both", "2 parts, onnx", pytest.approx(ms))
    assert (file.predicted_ms, file.problem) == (pytest.approx(0.3), "")
    (first, second) = calls_table([file]).rows
    assert (first[1], second[1], second[3]) == ("encoder", "step", "5")
    assert any(path == folder / "parts.json" for _, path in _paths(sources))
    said = json.loads((folder / "parts.json").read_text())
    for part in said["parts"].values():
        part["latency"] = []
    (folder.parent / "bare").mkdir()
    (folder.parent / "bare" / "parts.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="No part in "):
        compare_results(folder.parent / "bare", folder)


def test_a_family_in_parts_gets_a_file_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "home"))
    (tmp_path / "translator.py").write_text(TRANSLATOR)
    family = open_family(tmp_path / "translator.py")
    arch = "width=8,layers=2,words=5"
    rows = ({"target": str(TARGET), "ms": 0.3, "std_ms": 0.01, "tier": "measured", "clock": "thread-cpu"},)
    with Store(tmp_path / "store") as store:
        options = PlanOptions(calibration=2, validation=2)
        budget = Budget("test", 60.0)
        profile_space(
            family, TARGET, store=store, budget=budget, rounds=2, options=options, workspace=Workspace.default()
        )
        fit_target(store, TARGET, family, workspace=Workspace.default())
        timing = Measuring(store, (TARGET,), Clock.THREAD_CPU)
        picks = [Pick("both", arch, latency=rows)]
        (done,) = deploy_family(picks, family, parse_formats("onnx,ort"), tmp_path / "out", measuring=timing)
    assert done.error is None
    names = {"encoder.onnx", "encoder.ort", "step.onnx", "step.ort", "parts.json", "test-vectors"}
    assert {path.name for path in done.folder.iterdir()} == names
    said = json.loads((done.folder / "parts.json").read_text())
    assert {name: part["calls"] for name, part in said["parts"].items()} == {"encoder": 1, "step": 5}
    assert all(file["checks"]["passed"] for part in said["parts"].values() for file in part["files"])
    (promised,) = said["promised"]
    assert sum(promised["parts"].values()) == pytest.approx(0.3)
    each = {name: part["latency"][0]["ms"] for name, part in said["parts"].items()}
    assert done.measured[0].ms == pytest.approx(each["encoder"] + 5 * each["step"])
    assert said["latency_ms"] == {str(TARGET): pytest.approx(done.measured[0].ms)}
    step = done.parts["step"]
    assert step.calls == 5
    assert step.measured[0].ms == each["step"]
    assert step.predicted_ms[str(TARGET)] == pytest.approx(promised["parts"]["step"] / 5)
    report([done], as_json=False)
    shown = [line for line in capsys.readouterr().out.splitlines() if str(TARGET) in line]
    for ms, line in zip((*each.values(), done.measured[0].ms), shown, strict=True):
        assert f"{ms:.4g}" in line.split()
    assert "a call of 5" in shown[1]
    assert "all calls" in shown[2]
    _check_verified_parts(done.folder, {"encoder": 1, "step": 5})
    _check_told_parts(done.folder, done.measured[0].ms, each, Workspace.default())
    with pytest.raises(InputError, match="not handed out in int8"):
        search(family, ["cpu"], "macs", precisions=("fp32", "int8"))
    with pytest.raises(InputError, match="both exists"):
        deploy_family(picks, family, parse_formats("onnx"), tmp_path / "out")
    with pytest.raises(InputError, match="not handed out in int8"):
        deploy_family(picks, family, parse_formats("onnx"), tmp_path, recipe=Recipe(precisions=("int8",)))
