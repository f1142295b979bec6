"""The example of two heads is searched by what both are good at, and handed out with both outputs proven."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.own_family import deploy_family
from fleetfront.pipelines.deploy.picks import pick_knee
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.pipelines.verify import verify_bundle
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.from_torch.remembered import open_family
from fleetfront.spaces.from_torch.space import TorchFamily
from fleetfront.testing.problems import synthetic_latencies

EXAMPLE = Path(__file__).parents[2] / "examples" / "families" / "two_heads.py"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TorchFamily:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETFRONT_HOME", str(tmp_path_factory.mktemp("home")))
        yield open_family(EXAMPLE)


@pytest.fixture(scope="module")
def out(family: TorchFamily, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fronts")
    targets = [ProblemTarget("d", synthetic_latencies(family, 1)[0])]
    search_space(family, targets, load_accuracy("built-in", family), SearchOptions("random", 30), out=folder)
    return folder


def told(genes: dict) -> dict[str, float]:
    early, width, depth = genes["shared"] == "early", genes["width"], genes["depth"]
    digit = 80 + 3 * depth + width / 4 + genes["side"] / 16 - early
    return {"digit": digit, "parity": 84 + depth + width / 8 + 3 * early}


def test_networks_count_by_the_task_they_are_worse_at_and_tell_both(family: TorchFamily, out: Path) -> None:
    points = load_fronts(out).devices[0].points
    assert len(points) > 2
    for point in points:
        parts = told(family.genes(family.parse([point.arch])[0]))
        assert point.accuracy == pytest.approx(min(parts.values()))
        assert {name: point.more[f"accuracy_of_{name}"] for name in parts} == pytest.approx(parts)
    assert {point.more["accuracy_of_digit"] < point.more["accuracy_of_parity"] for point in points} == {True, False}


def test_both_are_read_back_from_the_table_of_calls(family: TorchFamily, out: Path) -> None:
    with (out / "calls.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    model = load_accuracy("built-in", family)
    model.keep_calls(out)
    asked = family.parse([row["arch"] for row in rows[:4]])
    assert model.predict(asked).mean.tolist() == [float(row["accuracy"]) for row in rows[:4]]
    expected = [told(family.genes(row)) for row in asked]
    assert model.parts(asked) == {name: [one[name] for one in expected] for name in ("digit", "parity")}
    assert model.parts(np.concatenate([asked, family.sample(30, np.random.default_rng(9))])) == {}


def test_a_pick_is_handed_out_with_both_outputs_proven(family: TorchFamily, out: Path, tmp_path: Path) -> None:
    fronts = load_fronts(out)
    pick = pick_knee(fronts, "d")
    (done,) = deploy_family([pick], family, parse_formats("onnx"), tmp_path)
    assert done.error is None
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert [port["shape"] for port in manifest["files"][0]["outputs"]] == [[1, 10], [1, 2]]
    (row,) = manifest["accuracy"]
    assert set(row["parts"]) == {"digit", "parity"}
    assert row["value"] == pytest.approx(min(row["parts"].values()))
    assert verify_bundle(done.folder).failed == ()


@pytest.mark.parametrize(
    ("answer", "combines", "found"),
    [
        ("{'a': 60, 'b': 80.0}", "mean", 70.0),
        ("{'a': 60, 'b': 80.0}", "worst", 60.0),
        ("{}", "mean", "gave {}"),
        ("{'a b': 1}", "mean", "gave {'a b'"),
        ("{'a': 60, 'b': 101}", "mean", "101.0 for .*no accuracy"),
        ("{'a': 60, 'b': 80}", "best", "combines = best"),
    ],
)
def test_several_answers_are_combined_as_said(
    answer: str, combines: str, found: float | str, family: TorchFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(f"def judge(arch):\n    return {answer}\n")
    spelled, row = f"call:mine.py:judge,retries=0,combines={combines}", family.sample(1, np.random.default_rng(0))
    if isinstance(found, float):
        assert load_accuracy(spelled, family).predict(row).mean.tolist() == [found]
        return
    with pytest.raises(InputError, match=found):
        load_accuracy(spelled, family).predict(row)
