"""Report on fronts from elsewhere: of other metrics, and damaged."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.quantities import ENERGY, PERPLEXITY, Estimate
from fleetfront.report.gather import gather_report
from fleetfront.report.markdown import render_markdown
from fleetfront.report.page.page import render_page
from fleetfront.search.fronts_file import load_fronts, write_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.testing.problems import BlockSums
from fleetfront.workspace import Workspace
from tests.report.fleet import NINETEEN, Made, SizeAccuracy


def test_energy_is_never_told_in_milliseconds(tmp_path: Path) -> None:
    space, workspace = NasBench201Space(), Workspace(tmp_path / "home")
    values = np.linspace(1, 9, len(space.vocabulary))
    targets = [
        ProblemTarget(name, BlockSums(space, values * scale, metric=ENERGY), f"{name}/litert/fp32/t1/b1")
        for name, scale in (("board", 1), ("phone", 3))
    ]
    search_space(space, targets, SizeAccuracy(space), SearchOptions("random", 60), out=tmp_path / "fronts")
    report = gather_report(workspace, fronts=[tmp_path / "fronts"], random_seeds=0)
    (group,) = report.views("fronts")
    assert group.metric == ENERGY
    text = render_markdown(report)
    page = re.sub(r"<script(?! type=.application/json).*?</script>", "", render_page(report), flags=re.DOTALL)
    for told in (text, page, json.dumps([figure.spec for figure in report.figures()])):
        assert re.search(r"\bms\b", told) is None
        assert "energy uJ" in told


def test_perplexity_is_never_told_in_percent_and_generators_stand_beside_searches(tmp_path: Path) -> None:
    space, workspace = NasBench201Space(), Workspace(tmp_path / "home")
    target = ProblemTarget("board", BlockSums(space, np.linspace(1, 9, len(space.vocabulary))))

    class Perplexity(SizeAccuracy):
        quality, lowest = PERPLEXITY, -60.0

        def predict(self, genotypes: Genotypes) -> Estimate:
            found = super().predict(genotypes)
            return Estimate(found.mean - 120, found.std, found.tier)

    search_space(space, [target], Perplexity(space), SearchOptions("random", 60), out=tmp_path / "fronts")
    told = json.loads((tmp_path / "fronts" / "fronts.json").read_text())
    (tmp_path / "generated.json").write_text(json.dumps(told | {"audit": {"trained_with": 60}}))
    report = gather_report(workspace, fronts=[tmp_path / "fronts", tmp_path / "generated.json"], random_seeds=0)
    (group,) = report.views("fronts")
    assert [front.label for front in group.fronts] == ["board", "board (generator)"]
    assert group.fronts[0].points == group.fronts[1].points
    perplexities = [point.accuracy for point in group.fronts[0].points]
    assert perplexities == sorted(perplexities, reverse=True)
    assert min(perplexities) > 0
    text = render_markdown(report)
    assert "| perplexity |" in text
    assert "accuracy %" not in text
    assert "perplexity" in render_page(report)


def test_a_damaged_front_costs_itself_alone(fleet: Made, tmp_path: Path) -> None:
    good = fleet.fronts[1]
    for number, spoil in enumerate(
        (
            lambda told: told["trace"][0]["hypervolume"].pop(),
            lambda told: told["devices"]["pixel3"].update(points={"arch": 1}),
            lambda told: told.update(devices=[]),
            lambda told: told.update(statement="\ud800"),
        )
    ):
        told = json.loads((good / "fronts.json").read_text())
        spoil(told)
        (tmp_path / f"{number}.json").write_text(json.dumps(told))
    (tmp_path / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    damaged = sorted(tmp_path.glob("*.json"))
    report = gather_report(fleet.workspace, fronts=[*damaged, good], random_seeds=0)
    assert len(report.notes) == len(damaged)
    assert all(path.name in note.text for path, note in zip(damaged, report.notes, strict=True))
    assert len(report.views("fronts")[0].fronts) == len(NINETEEN)
    with pytest.raises(InputError, match="nowhere"):
        gather_report(fleet.workspace, fronts=[good, tmp_path / "nowhere"])


def test_devices_without_a_front_are_said(fleet: Made, tmp_path: Path) -> None:
    fronts = load_fronts(fleet.fronts[0])
    write_fronts(replace(fronts, errors={"board <7>": "its table knows none of the networks."}), tmp_path)
    report = gather_report(fleet.workspace, fronts=[tmp_path], random_seeds=0)
    (summary,) = report.views("summary")
    assert "board <7> has no front: its table knows none of the networks." in summary.found
    assert "board &lt;7&gt; has no front" in render_page(report)
