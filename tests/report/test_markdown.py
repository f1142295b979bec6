"""Markdown for pull requests: every section, tables that stay tables whatever is in them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetfront.quantities import format_number, interval_90
from fleetfront.report.markdown import escape, markdown_table, render_markdown
from fleetfront.report.section import Report
from fleetfront.report.tables import Table, percent, size, with_spread
from tests.report.strangers import with_evil_names


@pytest.mark.parametrize("which", ["fleet_report", "measured_report", "public_report", "empty_report"])
def test_every_section_and_even_columns(which: str, request: pytest.FixtureRequest) -> None:
    text = render_markdown(request.getfixturevalue(which))
    assert re.findall(r"^## (\d)\.", text, re.MULTILINE) == list("123456789")
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


@pytest.mark.parametrize("which", ["fleet_report", "public_report"])
def test_nineteen_devices_fit_into_a_comment(which: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(which)
    text = render_markdown(report)
    assert len(text) < 65_536
    for view in report.views("heat_maps"):
        slowest = max(view.cells, key=lambda cell: cell.value)
        assert f"{escape(f'{slowest.x} {slowest.y}')} ({slowest.value:.2f}×)" in text
    assert text.count("<details>") == text.count("</details>") == 5


def test_what_is_empty_says_why_and_what_fills_it(empty_report: Report) -> None:
    text = render_markdown(empty_report)
    for section in (part.section for part in empty_report.parts[:-1]):
        assert f"Run: `{section.command}`" in text
        assert escape(section.gap) in text


def test_numbers_of_the_page_are_in_it(measured_report: Report) -> None:
    text = render_markdown(measured_report)
    for device in measured_report.views("devices"):
        assert f"| {device.label} |" in text
    for file in measured_report.views("deployed")[0]:
        assert with_spread(file.measured_ms, file.measured_std_ms) in text


def test_names_mean_nothing(fleet_report: Report) -> None:
    text = render_markdown(with_evil_names(fleet_report))
    outside_code = re.sub(r"^(`{3,})sh\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.search(r"(?<!\\)<(?!/?details>|/?summary>)", outside_code) is None


@given(st.text(max_size=40))
def test_escaped_text_stays_in_its_cell(text: str) -> None:
    row = markdown_table(Table("t", ("a", "b"), ((text, "x"),))).splitlines()[-1]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
    assert "\n" not in escape(text)


def test_numbers_for_people() -> None:
    assert [format_number(v) for v in (0, 1234.5, 12.345, 0.012345, 1e-7, 2e9, None, float("nan"))] == [
        *("0", "1,234", "12.3", "0.0123", "1e-07", "2e+09", "–", "–")
    ]
    assert with_spread(12.3456, 0.4321, 4) == "12.35 ±0.43"
    assert with_spread(5.0, 0.0) == "5.00"
    assert with_spread(5.0, 5.0, tier="estimated") == "5.00 ×÷2.7"
    assert interval_90(5.0, 5.0, "estimated") == pytest.approx((5 / 5.18, 5 * 5.18), rel=1e-3)
    assert interval_90(5.0, 5.0, "measured") == pytest.approx((0.005, 13.22), rel=1e-3)
    assert (percent(0.995), percent(None)) == ("100 %", "–")
    assert [size(n) for n in (12, 4_500, 23_700_000)] == ["12 B", "4.5 kB", "23.7 MB"]
