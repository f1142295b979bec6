"""The example of two heads is searched for both accuracies, and handed out with both outputs proven."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.own_family import deploy_family
from fleetfront.pipelines.deploy.picks import pick_knee, pick_within, with_least
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.pipelines.verify import verify_bundle
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.quantities import LATENCY, Estimate, Tier
from fleetfront.report.sections.front_views import front_groups
from fleetfront.report.sections.fronts import front_figures, front_table
from fleetfront.report.sources import open_sources
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.from_torch.remembered import open_family
from fleetfront.spaces.from_torch.space import TorchFamily
from fleetfront.workspace import Workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "families" / "two_heads.py"


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TorchFamily:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETFRONT_HOME", str(tmp_path_factory.mktemp("home")))
        yield open_family(EXAMPLE)


@pytest.fixture(scope="module")
def out(family: TorchFamily, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fronts")
    targets = [ProblemTarget("d", Latency(family))]
    accuracy = load_accuracy("built-in", family)
    search_space(family, targets, accuracy, SearchOptions("surrogate", 24, share=2), out=folder)
    return folder


class Latency:
    """Milliseconds, of which an early branch costs one. A CostModel."""

    metric, tier = LATENCY, Tier.MEASURED

    def __init__(self, space: TorchFamily) -> None:
        self.space = space

    def predict(self, genotypes: np.ndarray) -> Estimate:
        genes = [self.space.genes(row) for row in genotypes]
        ms = [1 + g["width"] / 8 * g["depth"] * g["side"] / 32 + (g["shared"] == "early") for g in genes]
        return Estimate(np.array(ms), np.zeros(len(ms)), self.tier)


def told(genes: dict) -> dict[str, float]:
    early, width, depth = genes["shared"] == "early", genes["width"], genes["depth"]
    digit = 80 + 3 * depth + width / 4 + genes["side"] / 16 - early
    return {"digit": digit, "parity": 84 + depth + width / 8 + 3 * early}


def test_the_front_trades_latency_and_both_tasks(family: TorchFamily, out: Path) -> None:
    fronts = load_fronts(out)
    (front,) = fronts.devices
    assert fronts.evaluations == 24
    assert front.objectives == ("accuracy_of_parity",)
    assert [task.title for task in fronts.tasks] == ["digit %", "parity %"]
    for point in front.points:
        parts = told(family.genes(family.parse([point.arch])[0]))
        assert point.accuracy == parts["digit"]
        assert {name: point.more[f"accuracy_of_{name}"] for name in parts} == pytest.approx(parts)
    values = np.array([[p.latency_ms, -p.accuracy, -p.more["accuracy_of_parity"]] for p in front.points])
    dominated = np.all(values[:, None] >= values[None], axis=2) & np.any(values[:, None] > values[None], axis=2)
    assert not dominated.any()
    # Some are there for the second task alone: others are faster and better at the first.
    beaten = np.all(values[:, None, :2] >= values[None, :, :2], axis=2) & np.any(
        values[:, None, :2] > values[None, :, :2], axis=2
    )
    assert beaten.any()


def test_two_thirds_of_the_networks_find_the_front_of_three_objectives(family: TorchFamily, out: Path) -> None:
    target = ProblemTarget("d", Latency(family))
    every = search_space(family, [target], load_accuracy("built-in", family), SearchOptions("random", 100))
    assert every.evaluations <= 36
    found, whole = load_fronts(out).devices[0], every.devices[0]
    assert 0.995 * whole.hypervolume < found.hypervolume <= whole.hypervolume
    assert found.points[0].latency_ms == whole.points[0].latency_ms


def test_a_search_for_both_is_repeated_from_what_it_asked_for(family: TorchFamily, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "again")
    targets = [ProblemTarget("d", Latency(family))]
    options = SearchOptions("surrogate", 24, share=2)
    found = search_space(family, targets, load_accuracy("built-in", family), options, out=tmp_path / "again")
    assert found.audit["recalled"] == 24
    assert found.devices[0].points == load_fronts(out).devices[0].points
    joined = replace(options, start_from=out / "archive.npz", evaluations=2)
    more = search_space(family, targets, load_accuracy("built-in", family), joined)
    assert more.audit["adopted"] == 24
    assert more.devices[0].hypervolume >= found.devices[0].hypervolume


def test_picks_keep_the_least_of_a_task(family: TorchFamily, out: Path) -> None:
    fronts = load_fronts(out)
    points = fronts.devices[0].points
    limit, wanted = points[-1].latency_ms, sorted(p.more["accuracy_of_parity"] for p in points)[-2]
    good = with_least(fronts, {"parity": wanted})
    kept = good.devices[0].points
    assert {p.arch for p in kept} == {p.arch for p in points if p.more["accuracy_of_parity"] >= wanted}
    assert pick_within(good, "d", limit).accuracy[0]["value"] == max(p.accuracy for p in kept)
    assert pick_within(good, "d", limit).arch != pick_within(fronts, "d", limit).arch
    with pytest.raises(InputError, match="The best has 9"):
        with_least(fronts, {"parity": 99.0})
    with pytest.raises(InputError, match="task of this front"):
        with_least(fronts, {"party": 90.0})


def test_the_report_tells_both_tasks(out: Path, tmp_path: Path) -> None:
    (group,) = front_groups(open_sources(Workspace(tmp_path), tmp_path / "none.sqlite", [out]))
    table = front_table(group)
    assert table.headers[3:6] == ("accuracy % (digit)", "accuracy tier", "parity %")
    shown = {(row[3].split()[0], row[5]) for row in table.rows}
    assert all(
        any(float(d) == pytest.approx(p.accuracy) for d, _ in shown) for p in load_fronts(out).devices[0].points[:1]
    )
    assert [figure.title for figure in front_figures(group)][-1].endswith(": parity")


def test_both_are_read_back_from_the_table_of_calls(family: TorchFamily, out: Path) -> None:
    with (out / "calls.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    model = load_accuracy("built-in", family)
    model.keep_calls(out)
    asked = family.parse([row["arch"] for row in rows[:4]])
    assert model.predict(asked).mean.tolist() == [float(row["accuracy"]) for row in rows[:4]]
    assert model.task_scores(asked).tolist() == [list(told(family.genes(row)).values()) for row in asked]
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
    assert row["value"] == row["parts"]["digit"]
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


@pytest.mark.parametrize(
    ("objectives", "answer", "found"),
    [
        ("a:higher/b:lower cm", "{'a': 60, 'b': 1200.5}", [60.0, -1200.5]),
        ("a:lower/b:higher", "{'b': 60, 'a': 3}", [-3.0, 60.0]),
        ("a:higher/b:lower", "{'a': 60}", "Return a dict of a, b"),
        ("a:higher/b:lower", "70", "Return a dict of a, b"),
        ("a:higher/b:lower", "{'a': 101, 'b': 1}", "no accuracy in percent"),
        ("a:higher/b:lower", "{'a': 60, 'b': 1e12}", "which is no b"),
        ("a:higher", "{'a': 60}", "objectives are 1 tasks"),
        ("a:higher/a:lower", "{'a': 60}", "objectives are 2 tasks"),
        ("a:up/b:lower", "{'a': 60}", "objectives cannot be"),
        ("a:higher/b:lower,combines=mean", "{'a': 60}", "Leave those out"),
    ],
)
def test_several_answers_count_each_as_declared(
    objectives: str,
    answer: str,
    found: list[float] | str,
    family: TorchFamily,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(f"def judge(arch):\n    return {answer}\n")
    spelled, row = f"call:mine.py:judge,retries=0,objectives={objectives}", family.sample(1, np.random.default_rng(0))
    if isinstance(found, list):
        model = load_accuracy(spelled, family)
        assert model.predict(row).mean.tolist() == found[:1]
        assert model.task_scores(row).tolist() == [found]
        return
    with pytest.raises(InputError, match=found):
        load_accuracy(spelled, family).predict(row)


def test_a_task_that_is_better_lower_is_searched_and_read_back(
    family: TorchFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "def judge(arch):\n    width = int(arch.split(',')[0].split('=')[1])\n"
        "    return {'drift': 5000 / width, 'digit': 90 - width / 8}\n"
    )
    accuracy = load_accuracy("call:mine.py:judge,objectives=drift:lower cm/digit:higher", family)
    targets = [ProblemTarget("d", Latency(family))]
    written = search_space(family, targets, accuracy, SearchOptions("surrogate", 12), out=tmp_path / "out")
    front = load_fronts(tmp_path / "out").devices[0]
    assert front.quality.title == "drift cm"
    assert front.hypervolume == pytest.approx(written.devices[0].hypervolume)
    assert front.hypervolume > 0
    assert {point.accuracy for point in front.points} == {5000 / 8, 5000 / 16, 5000 / 24}
    assert front.reference_words()[1:] == ("drift 688.5", "100")


def test_what_knows_one_accuracy_is_refused(family: TorchFamily) -> None:
    targets = [ProblemTarget("d", Latency(family))]
    with pytest.raises(InputError, match="knows one accuracy"):
        search_space(family, targets, load_accuracy("built-in", family), SearchOptions("pnag", 12, is_chosen=True))
