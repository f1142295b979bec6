"""The report's section of choices: bars that add up, differences with intervals, names from outside that stay text."""

import json
from pathlib import Path

import pytest

from fleetfront.quantities import ACCURACY, LATENCY, PERPLEXITY
from fleetfront.report.gather import gather_report
from fleetfront.report.markdown import render_markdown
from fleetfront.report.page.page import render_page
from fleetfront.report.section import Report
from fleetfront.report.sections.choices import ChoiceView, bargains, choice_figures, choice_table
from fleetfront.search.results import ChoiceEffect
from tests.report.fleet import Made

EFFECTS = (
    ChoiceEffect("kernel_1", "3", 0.75, 1, -2.0, -0.5, 0.1),
    ChoiceEffect("kernel_1", "7", 0.25, 3, 3.0, 0.25, 0.1),
    ChoiceEffect("depth_1", "2", 0.5, 2, -4.0, -0.4, 0.2),
    ChoiceEffect("depth_1", "4", 0.0, 4, None, None, None),
)


def view(quality=ACCURACY):
    return ChoiceView("my phone", "measured", LATENCY, quality, 4, EFFECTS)


def test_bars_of_a_gene_lie_side_by_side_and_leave_out_what_no_network_chose() -> None:
    bars, points = choice_figures(view())
    rows = [(row["gene"], row["value"], row["start"], row["end"]) for row in bars.spec["data"]["values"]]
    assert rows == [("kernel_1", "3", 0.0, 0.75), ("kernel_1", "7", 0.75, 1.0), ("depth_1", "2", 0.0, 0.5)]
    assert [row["choice"] for row in points.spec["data"]["values"]] == [
        "kernel_1 = 3",
        "kernel_1 = 7",
        "depth_1 = 2",
    ]
    low, high = (points.spec["data"]["values"][0][end] for end in ("low", "high"))
    assert (low, high) == pytest.approx((-0.5 - 0.1645, -0.5 + 0.1645))


def test_the_table_has_every_value_and_a_dash_for_what_nobody_knows() -> None:
    rows = choice_table(view()).rows
    assert rows[0] == ("kernel_1", "3", "75 %", "-2", "-0.50 ±0.10", "1")
    assert rows[3] == ("depth_1", "4", "0 %", "–", "–", "4")


def test_what_saves_most_for_its_accuracy_comes_first() -> None:
    assert [one.gene for one in bargains(view())] == ["depth_1", "kernel_1"]
    assert [one.gene for one in bargains(view(PERPLEXITY))] == ["kernel_1", "depth_1"]


def test_searched_fronts_are_shown(measured_report: Report) -> None:
    views = measured_report.views("choices")
    assert [one.label for one in views] == ["cpu-onnxruntime", "cpu-litert"]
    for one in views:
        by_gene: dict[str, float] = {}
        for effect in one.choices:
            by_gene[effect.gene] = by_gene.get(effect.gene, 0.0) + effect.share
        assert max(by_gene.values()) == pytest.approx(1.0)
        assert any(effect.accuracy is not None and effect.latency_ms is not None for effect in one.choices)


def test_names_from_a_file_stay_text(measured: Made, tmp_path: Path) -> None:
    data = json.loads((measured.fronts[0] / "fronts.json").read_text())
    for front in data["devices"].values():
        front["choices"][0] |= {"gene": "</script><b>gene", "value": "|`<i>`|"}
    (tmp_path / "fronts.json").write_text(json.dumps(data))
    report = gather_report(measured.workspace, fronts=[tmp_path], random_seeds=0)
    page = render_page(report)
    assert "</script><b>" not in page
    assert "<i>" not in page
    assert "<b>gene" not in render_markdown(report)
