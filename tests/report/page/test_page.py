"""The page as a text: whole, closed against text from outside, small."""

import json
import re
from dataclasses import replace

import pytest

from fleetfront.report.markdown import render_markdown, table_lines
from fleetfront.report.page.page import render_page
from fleetfront.report.section import Part, Report, Section, Words
from fleetfront.report.sections.front_views import FrontGroup
from fleetfront.report.tables import Table
from tests.report.strangers import EVIL, with_evil_names, with_views

SECTIONS = (
    *("summary", "fronts", "devices", "predictions", "baselines", "heat-maps", "operators"),
    *("relations", "deployed", "own-phone", "provenance"),
)


def data_of(page: str) -> dict:
    text = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert text is not None
    return json.loads(text.group(1))


@pytest.mark.parametrize("which", ["fleet_report", "measured_report", "public_report", "empty_report"])
def test_all_sections_are_there_and_every_figure_has_its_data(which: str, request: pytest.FixtureRequest) -> None:
    page = render_page(request.getfixturevalue(which))
    assert [name for name in SECTIONS if f'<section id="{name}"' not in page] == []
    asked = set(re.findall(r'data-figure="([^"]*)"', page))
    assert asked == set(data_of(page)["figures"])
    assert len(page) < 3_000_000


def test_nothing_is_fetched(fleet_report: Report) -> None:
    page = render_page(fleet_report)
    assert "default-src 'none'" in page
    without_library = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!#|data:,")[^"]*"', without_library) == []


def test_names_cannot_leave_their_place(fleet_report: Report, measured_report: Report) -> None:
    for report in (fleet_report, measured_report):
        page = render_page(with_evil_names(report))
        assert page.count("<script") == 3
        assert EVIL not in page
        without_scripts = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
        assert "<img" not in without_scripts
        assert "<!--" not in without_scripts
        data = data_of(page)
        # Inside the data the names are whole: nothing was dropped to be safe.
        assert all(arch.endswith(EVIL) for group in data["fronts"] for arch in group["archs"])


def test_thirty_devices_and_long_fronts_stay_small(fleet_report: Report) -> None:
    (group,) = fleet_report.views("fronts")
    front = group.fronts[0]
    points = tuple(replace(front.points[0], arch=i, cost=1 + i / 7, accuracy=70 + i / 31) for i in range(200))
    many = tuple(replace(front, label=f"device {i}", points=points, knee=50) for i in range(30))
    wide: FrontGroup = replace(
        group,
        fronts=many,
        archs=tuple(f"k{i:060d}" for i in range(200)),
        networks=((((0, 1),) * 23),) * 200,
        cells=(),
    )
    page = render_page(with_views(fleet_report, fronts=(wide,)))
    assert len(page) < 10_000_000
    assert len(data_of(page)["fronts"][0]["devices"]) == 30


def test_a_section_of_ones_own_is_one_object(empty_report: Report) -> None:
    table = Table("Colours", ("what", "colour"), (("sky", "blue"),))
    own: Section[str] = Section(
        *("colours", "colours", "What colour it is", "Colours"),
        lambda sources: (),
        words=lambda view: Words(view),
        tables=lambda _: (table,),
        brief=lambda _: table_lines(table),
        are_tables_folded=False,
    )
    report = replace(empty_report, parts=(*empty_report.parts, Part(own, 10, ("sky",))))
    page = render_page(report)
    assert "10. What colour it is" in page
    assert re.search(r'<section id="colours".*<h3>sky</h3>.*<td>blue</td>', page, re.DOTALL)
    assert "| sky | blue |" in render_markdown(report)
