"""Every figure is drawn by the real library, in both schemes; names find figures."""

from dataclasses import replace

import pytest

from fleetfront.errors import InputError
from fleetfront.report.figures.fronts import lowest_shown
from fleetfront.report.figures.images import draw_png, draw_svg, find_figure
from fleetfront.report.figures.theme import COLOURS, concrete, series_colour, series_dash
from fleetfront.report.section import Report
from fleetfront.report.sections.front_views import ChoicePoint
from tests.report.strangers import with_evil_names


def kinds(report: Report) -> list[str]:
    """One name of each kind of figure."""
    return list({name.split("-")[0]: name for name in (figure.name for figure in report.figures())}.values())


def test_each_kind_is_drawn(fleet_report: Report, measured_report: Report) -> None:
    assert {name.split("-")[0] for name in kinds(measured_report)} == {
        *("fronts", "predictions", "residuals", "baselines", "heat", "correlation", "cost", "deployed"),
        *("choices", "sensitivity"),
    }
    for report in (fleet_report, measured_report):
        for name in kinds(report):
            svg = draw_svg(find_figure(report, name))
            assert svg.startswith("<svg")
            assert "var(--" not in svg
            assert svg.count("<path") > 3


def test_schemes_differ_and_png_is_png(measured_report: Report) -> None:
    figure = find_figure(measured_report, "residuals")
    light, dark = draw_svg(figure), draw_svg(figure, dark=True)
    assert COLOURS["surface"][0] in light
    assert COLOURS["surface"][1] in dark
    assert draw_png(figure).startswith(b"\x89PNG")


def test_points_and_bands_are_at_their_values(measured_report: Report) -> None:
    view = measured_report.views("predictions")[0]
    spec = find_figure(measured_report, "predictions").spec
    rows = spec["data"]["values"]
    assert [row["measured"] for row in rows] == [point.measured for point in view.points]
    assert all(
        row["to"] - row["from"] == pytest.approx(2 * 1.645 * p.std, rel=1e-3)
        for row, p in zip(rows, view.points, strict=True)
    )
    band = spec["layer"][0]["data"]["values"]
    assert [(end["low"], end["high"]) for end in band] == [(0.9 * e["measured"], 1.1 * e["measured"]) for e in band]


def test_names_are_unique_and_found_by_their_beginning(fleet_report: Report) -> None:
    names = [figure.name for figure in fleet_report.figures()]
    assert len(set(names)) == len(names)
    assert find_figure(fleet_report, "heat-map-pixel3").name == "heat-map-pixel3"
    assert find_figure(fleet_report, "fronts-n").name.startswith("fronts-n")
    assert find_figure(fleet_report, None).name == names[0]
    with pytest.raises(InputError, match="figure"):
        find_figure(fleet_report, "pie-chart")


def test_strange_names_do_not_break_drawing(measured_report: Report) -> None:
    evil = with_evil_names(measured_report)
    for name in kinds(evil):
        svg = draw_svg(find_figure(evil, name))
        assert "<script" not in svg
        assert "<img" not in svg


def test_thirty_series_can_be_told_apart() -> None:
    assert len({(series_colour(i), tuple(series_dash(i))) for i in range(30)}) == 30


def test_contrast_of_lines_and_text() -> None:
    """WCAG 2.1: 3:1 for what is drawn, 4.5:1 for text, on page and cards, in both schemes."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(one: str, other: str) -> float:
        light, dark = sorted((luminance(one), luminance(other)), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    for scheme in (0, 1):
        for ground in ("surface", "raised"):
            for name, values in COLOURS.items():
                needed = 4.5 if name in ("ink", "muted", "accent", "good", "bad") else 3 if "series" in name else 0
                assert contrast(values[scheme], COLOURS[ground][scheme]) >= needed, (name, ground, scheme)


def test_concrete_replaces_inside_everything() -> None:
    spec = {"a": ["var(--ink)", {"b": "1px var(--surface)"}], "n": 3}
    assert concrete(spec) == {"a": [COLOURS["ink"][0], {"b": f"1px {COLOURS['surface'][0]}"}], "n": 3}


def test_only_a_few_of_many_points_may_be_outside_the_figure(measured_report: Report) -> None:
    (group,) = measured_report.views("fronts")

    def bound(*fronts: list[float]) -> float | None:
        drawn = [
            replace(
                group.fronts[0], points=tuple(ChoicePoint(0, 1.0 + i, 0.1, a, 0.5) for i, a in enumerate(accuracies))
            )
            for accuracies in fronts
        ]
        return lowest_shown(replace(group, fronts=tuple(drawn)))

    many = [97.0 + i / 20 for i in range(40)]
    assert bound([60.0, 98.9, 99.2]) is None
    assert bound([20.0, *many]) == pytest.approx(98 - 3 * (98.95 - 98), abs=0.2)
    # A device whose only network lies there would have no figure.
    assert bound([20.0], many) is None
    assert bound([20.0 + i for i in range(20)], many) is None
