"""A user's function may tell another quality than accuracy: its name, unit and direction go from search to report."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.compare import compare_results, parse_bars
from fleetfront.pipelines.predict.architectures import predict_archs
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.predictors.base import quality_of
from fleetfront.quantities import Quality
from fleetfront.report.gather import gather_report
from fleetfront.report.markdown import render_markdown
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.from_torch.family_file import read_family
from fleetfront.testing.problems import synthetic_latencies
from fleetfront.workspace import Workspace
from tests.spaces.from_torch.conftest import FAMILY

MINI = load_space("ofa-mbv3-mini")
FILE = """
def loss(arch):
    return 300 - len(arch.replace("0", "")) * 5 - sum(map(int, filter(str.isdigit, arch))) / 10

def flat(arch):
    return "much"

def wide(arch):
    return 1e30

def fails(arch):
    raise RuntimeError("no")
"""
SPELLED = "call:mine.py:loss,name=bits a word,unit=bits,better=lower"
BITS = Quality("bits a word", "bits", False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path


def searched(out: Path, strategy: str = "random"):
    targets = [ProblemTarget("d", synthetic_latencies(MINI, 1)[0])]
    return search_space(MINI, targets, load_accuracy(SPELLED, MINI), SearchOptions(strategy, 40), out=out)


@pytest.mark.parametrize("strategy", ["random", "surrogate", "lamoo"])
def test_lower_is_better_from_the_search_to_the_report(folder: Path, strategy: str) -> None:
    fronts = searched(folder / "fronts", strategy)
    assert fronts.quality == BITS
    points = fronts.devices[0].points
    values = [point.accuracy for point in points]
    assert len(values) > 2
    assert values == sorted(values, reverse=True), "the slower, the fewer bits"
    assert 100 < min(values) < max(values) < 300
    assert fronts.devices[0].hypervolume > 0
    told = json.loads((folder / "fronts" / "fronts.json").read_text())
    assert told["accuracy"]["quality"] == "bits a word"
    assert (told["accuracy"]["quality_unit"], told["accuracy"]["higher_is_better"]) == ("bits", False)
    again = load_fronts(folder / "fronts")
    assert again.quality == BITS
    assert again.devices == fronts.devices
    report = gather_report(Workspace(folder / "home"), fronts=[folder / "fronts"], random_seeds=0)
    text = render_markdown(report)
    assert "bits a word bits" in text
    assert "accuracy %" not in text


def test_calls_are_kept_as_they_were_answered(folder: Path) -> None:
    searched(folder / "fronts")
    rows = (folder / "fronts" / "calls.csv").read_text().splitlines()[1:]
    assert all(100 < float(row.split(",")[1]) < 300 for row in rows)
    model = load_accuracy(SPELLED, MINI)
    model.keep_calls(folder / "fronts")
    (arch, shown), *_ = [row.split(",")[:2] for row in rows]
    assert model.predict(MINI.parse([arch])).mean.tolist() == [-float(shown)]


def test_predictions_show_it_with_its_name(folder: Path) -> None:
    arch = MINI.arch_ids(MINI.sample(1, np.random.default_rng(0)))
    (row,) = predict_archs(MINI, arch, {"d": synthetic_latencies(MINI, 1)[0]}, load_accuracy(SPELLED, MINI))
    assert row["accuracy_of"] == "bits a word bits"
    assert 100 < row["accuracy"] < 300


def test_results_are_compared_where_lower_is_better(folder: Path) -> None:
    searched(folder / "fronts")
    better = folder / "better"
    better.mkdir()
    told = json.loads((folder / "fronts" / "fronts.json").read_text())
    for point in told["devices"]["d"]["points"]:
        point["accuracy"] -= 1
    (better / "fronts.json").write_text(json.dumps(told))
    rows = {r.quantity: r for r in compare_results(folder / "fronts", better, parse_bars("loss:+0.5,latency:+0%"))}
    assert rows["loss"].change == pytest.approx(-1)
    assert rows["latency"].change is not None
    assert rows["latency"].change <= 0
    assert not any(row.missed for row in rows.values())
    (back,) = [r for r in compare_results(better, folder / "fronts", parse_bars("loss:+0.5")) if r.quantity == "loss"]
    assert back.missed


@pytest.mark.parametrize(
    ("spelled", "why"),
    [
        ("loss,better=lower", "without a name"),
        ("loss,unit=bits", "unit = bits"),
        ("loss,name=perplexity", "perplexity is already perplexity, the lower the better"),
        ("loss,name=accuracy,unit=bits", r"accuracy is already accuracy %"),
        (f"loss,name={'x' * 60}", "cannot name"),
        ("flat,name=loss", "failed"),
        ("wide,name=loss", "1e.30.* no loss"),
    ],
)
def test_slips_are_refused(folder: Path, spelled: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        load_accuracy(f"call:mine.py:{spelled},retries=0", MINI).predict(MINI.sample(3, np.random.default_rng(0)))


def test_a_function_that_fails_for_the_smallest_network_ends_the_search(folder: Path) -> None:
    targets = [ProblemTarget("d", synthetic_latencies(MINI, 1)[0])]
    model = load_accuracy("call:mine.py:fails,name=loss,better=lower,retries=0", MINI)
    with pytest.raises(InputError, match="failed for the smallest network"):
        search_space(MINI, targets, model, SearchOptions("random", 5), out=folder / "fronts")


def test_a_familys_file_names_its_own(tmp_path: Path) -> None:
    path = tmp_path / "words.py"
    path.write_text(f"{FAMILY}\naccuracy_name, higher_is_better = 'perplexity', False\n")
    file = read_family(path)
    assert (file.quality, file.unit, file.is_higher_better) == ("perplexity", "", False)
    path.write_text(f"{FAMILY}\nhigher_is_better = False\n")
    with pytest.raises(InputError, match="does not say of what"):
        read_family(path)


def test_a_family_is_judged_by_its_own_quality(shared_words) -> None:
    model = load_accuracy("built-in", shared_words)
    assert quality_of(model) == Quality("perplexity", "", False)
    rows = shared_words.sample(2, np.random.default_rng(0))
    genes = [shared_words.genes(row) for row in rows]
    shown = [50 + g["width"] + 5 * g["depth"] - 10 * g["drop"] for g in genes]
    assert quality_of(model).shown(model.predict(rows).mean).tolist() == shown


@pytest.fixture
def shared_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from fleetfront.spaces.from_torch.remembered import open_family

    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path / "home"))
    text = FAMILY.replace('"width": [4, 8], "depth": [1, 2, 3]', '"width": [4], "depth": [1, 2]')
    (tmp_path / "words.py").write_text(f"{text}\naccuracy_name, higher_is_better = 'perplexity', False\n")
    return open_family(tmp_path / "words.py")
