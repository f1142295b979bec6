"""The report in a browser: every section drawn and usable, nothing said, nothing fetched. Choosing is tested beside."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetfront.report.gather import gather_report
from fleetfront.report.page.page import render_page
from fleetfront.report.section import Report
from fleetfront.search.fronts_file import write_fronts
from fleetfront.search.results import DeviceFront, FrontPoint, Fronts
from fleetfront.workspace import Workspace
from tests.pages.conftest import PHONE, Open, fronts_box
from tests.report.fleet import Made
from tests.report.strangers import EVIL, with_evil_names, with_views


@pytest.mark.parametrize("which", ["measured_report", "fleet_report", "public_report"])
def test_every_section_is_drawn(which: str, open_report: Open, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(which)
    opened = open_report(report)
    opened.draw_everything()
    page = opened.page
    expected = [figure.name for figure in report.figures() if figure.section != "fronts"]
    assert page.locator("[data-figure].drawn svg").count() == len(expected)
    for name in expected:
        assert page.locator(f'[data-figure="{name}"] svg path').count() > 3
    assert page.locator(".canvas svg").count() == len(report.views("fronts"))
    assert page.locator("section[id] > h2").all_inner_texts() == [
        "1. Summary",
        "2. Fronts",
        "3. What the fronts chose, and what other choices would change",
        "4. Devices",
        "5. Predicted and measured",
        "6. Baselines",
        "7. What each device likes and dislikes",
        "8. What the operators of single files take",
        "9. Devices against devices",
        "10. Chosen and deployed networks",
        "11. What to type for your own phone",
        "12. Provenance",
    ]
    opened.assert_clean()


def test_a_device_is_chosen_for_the_strategies(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    page = opened.page
    page.locator("#baselines [data-figure]").scroll_into_view_if_needed()
    page.locator("#baselines svg").wait_for()
    ticks = "document.querySelector('#baselines svg').textContent"
    before = page.evaluate(ticks)
    page.locator("#baselines select").select_option("raspi4")
    opened.wait_until(f"{ticks} !== {json.dumps(before)}")
    opened.assert_clean()


@pytest.mark.parametrize("which", ["measured_report", "fleet_report"])
def test_text_in_names_stays_text(which: str, open_report: Open, request: pytest.FixtureRequest) -> None:
    report = with_evil_names(request.getfixturevalue(which))
    opened = open_report(report)
    if which == "measured_report":
        # It has every kind of figure; the fleet has the same ones more often.
        opened.draw_everything()
    page = opened.page
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("End")
    assert EVIL.strip() in page.locator(".chosen h4").text_content()
    box = fronts_box(opened)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert "<script>" in page.locator("#vg-tooltip-element").inner_text()
    assert page.locator("#vg-tooltip-element script, #vg-tooltip-element img, main script, main img").count() == 0
    opened.assert_clean()


def test_files_from_strangers_stay_text(open_report: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device config, a front and folders as they lie on disk, with markup where names and texts belong."""
    evil = "<img src=x onerror=window.hacked=1>'\"`$(id)"
    monkeypatch.setenv("FLEETFRONT_DEVICES", str(tmp_path))
    told = json.dumps(f"{evil}</script><script>window.hacked=1</script>")
    (tmp_path / "stranger.yaml").write_text(
        f"name: stranger\ntitle: {told}\nkind: phone\nnotes: {told}\ntarget:\n  runtime: tflite-cpu\n"
        f"  precision: fp32\n  threads: 1\n  batch: 1\nfacts:\n  clock_ghz:\n    value: 2.0\n    source: {told}\n"
    )
    points = tuple(FrontPoint(f"{EVIL}{i}", 1.0 + i, 0.1, 70.0 + i) for i in range(3))
    devices = tuple(
        DeviceFront(name, f"{name}/tflite-cpu/fp32/t1/b1", "measured", 1.0, (9.0, 50.0), points)
        for name in ("stranger", f"other{evil}")
    )
    fronts = Fronts(f"space{EVIL}", EVIL, 0, 3, 1.0, f"csv:{EVIL}", "measured", devices)
    folder = tmp_path / evil
    folder.mkdir()
    write_fronts(fronts, folder)
    bundle = tmp_path / "bundles" / evil
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text(json.dumps({"schema": EVIL}))
    report = gather_report(Workspace(tmp_path / "home"), fronts=[folder], bundles=[tmp_path / "bundles"])
    opened = open_report(report)
    opened.draw_everything()
    page = opened.page
    assert "onerror=window.hacked" in page.locator(".device").first.inner_text()
    assert page.locator("main img, main script, aside img").count() == 0
    page.get_by_role("slider").first.press("End")
    words = shlex.split(page.locator(".command code").text_content())
    assert words[3] == str(folder / "fronts.json")
    assert words[words.index("--arch") + 1] == f"{EVIL}2"
    opened.assert_clean()


def test_every_stop_of_the_tab_key_is_seen_and_named(measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report)
    page, stops = opened.page, []
    look = """(() => { const e = document.activeElement, style = getComputedStyle(e);
        const name = e.ariaLabel || e.labels?.[0]?.textContent || e.textContent;
        return [e.tagName, name.trim(), style.outlineStyle]; })()"""
    while len(stops) < 200:
        page.keyboard.press("Tab")
        tag, name, outline = page.evaluate(look)
        if tag == "BODY":
            break
        stops.append(name)
        assert name
        assert outline == "solid"
    assert stops[0] == "Skip to the summary"
    assert stops[-1].startswith("Save the data")
    # The chosen network comes after the figure and before the sliders, as the eye meets them.
    order = [stops.index(name) for name in ("ms", "Faster", "Copy the command", "Latency limit on cpu-litert")]
    assert order == sorted(order)
    opened.assert_clean()


def test_folded_tables_unfold(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    page = opened.page
    folded = page.locator("#relations details.as-table").first
    assert folded.locator("td").count() == 0
    folded.locator("summary").press("Enter")
    folded.locator("td").first.wait_for()
    assert folded.locator("tbody tr").count() == len(fleet_report.views("devices"))
    assert folded.locator("thead th").all_inner_texts() == list(fleet_report.views("relations")[0].labels)
    opened.assert_clean()


def test_without_scripts_every_table_is_there(measured_report: Report, browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_page(measured_report), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator("#heat-maps details.block summary").first.click()
    page.locator("#heat-maps details.block summary").first.click()
    page.locator("#heat-maps details.as-table > summary").first.click()
    assert page.locator("#heat-maps td").first.is_visible()
    context.close()


def test_a_phone_has_room_for_fingers(public_report: Report, open_report: Open) -> None:
    """WCAG 2.2: targets of 24 pixels or more, or alone; and text that does not run out of the screen."""
    opened = open_report(public_report, viewport=PHONE)
    small = """[...document.querySelectorAll('button, select, a, summary, input[type=range], label')]
        .filter((e) => e.offsetParent && !e.classList.contains('skip'))
        .map((e) => [e.textContent.trim(), e.getBoundingClientRect()])
        .filter(([, box]) => box.height < 24 || box.right > innerWidth).map(([name]) => name)"""
    assert opened.page.evaluate(small) == []
    opened.assert_clean()


def test_nothing_yet_says_what_to_do(empty_report: Report, open_report: Open) -> None:
    opened = open_report(empty_report)
    text = opened.page.locator("main").inner_text()
    for command in ("fleetfront profile", "fleetfront search", "fleetfront import table", "fleetfront deploy"):
        assert command in text
    assert opened.page.locator("svg").count() == 0
    opened.assert_clean()


def test_one_device_needs_no_comparison(measured: Made, measured_report: Report, open_report: Open) -> None:
    (group,) = measured_report.views("fronts")
    one = with_views(
        measured_report,
        devices=measured_report.views("devices")[:1],
        fronts=(replace(group, fronts=group.fronts[:1]),),
        heat_maps=measured_report.views("heat_maps")[:1],
        relations=(),
    )
    opened = open_report(one)
    opened.draw_everything()
    assert opened.page.get_by_label("side by side").is_hidden()
    assert "With fewer than two devices there is nothing to compare" in opened.page.locator("#relations").inner_text()
    assert opened.page.get_by_role("slider").count() == 1
    opened.assert_clean()


def test_a_phone_scrolls_down_only(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report, viewport=PHONE)
    opened.draw_everything()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    opened.assert_clean()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_and_figures_follow_the_readers_scheme(scheme: str, measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report, viewport=PHONE, scheme=scheme)
    opened.page.locator("[data-figure]").first.scroll_into_view_if_needed()
    opened.page.locator("[data-figure].drawn").first.wait_for()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    label = opened.page.evaluate("getComputedStyle(document.querySelector('svg .role-axis-label text')).fill")
    lightness = [sum(int(part) for part in colour[4:-1].split(",")) for colour in (background, label)]
    assert (lightness[0] > lightness[1]) == (scheme == "light")
    opened.assert_clean()


def test_everything_that_can_be_used_has_a_name(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    opened.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    fronts_box(opened)
    page = opened.page
    for role in ("button", "slider", "checkbox", "radio", "combobox", "link", "region"):
        named = "(all) => all.map((e) => (e.ariaLabel || e.labels?.[0]?.textContent || e.textContent).trim())"
        assert all(page.get_by_role(role).evaluate_all(named)), role
    unnamed = "[...document.querySelectorAll('svg.marks')].filter((e) => !e.closest('[aria-label]')).length"
    assert page.evaluate(unnamed) == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"
    opened.assert_clean()


def test_printing_draws_what_was_not_seen(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    opened.wait_until("!document.querySelector('[data-figure]:not(.drawn)')")
    opened.assert_clean()


def test_printing_leaves_long_tables_folded_unless_they_were_opened(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    rows = """[...document.querySelectorAll("details")].map((one) =>
        [one.querySelector("summary").textContent, one.querySelectorAll(":scope > .scroll tr").length, one.open])"""
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    told = opened.page.evaluate(rows)
    assert {is_open for _, count, is_open in told if count <= 60} == {True}
    long = [name for name, count, is_open in told if count > 60 and not is_open]
    assert long
    opened.page.get_by_text(long[0]).click()
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert [is_open for name, _, is_open in opened.page.evaluate(rows) if name == long[0]] == [True]


def test_the_data_of_the_page_can_be_saved(measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report)
    with opened.page.expect_download() as waiting:
        opened.page.get_by_role("button", name="Save the data").click()
    assert waiting.value.suggested_filename == "fleetfront-report.json"
    assert '"fronts"' in waiting.value.path().read_text()


def test_a_report_without_fronts_still_shows_the_models(measured: Made, open_report: Open) -> None:
    report = gather_report(measured.workspace, bundles=measured.bundles)
    opened = open_report(with_views(report, fronts=(), baselines=()))
    opened.draw_everything()
    assert opened.page.locator("#predictions [data-figure]").count() == 4
    opened.assert_clean()


def test_no_word_of_a_command_is_broken_on_a_phone(fleet_report: Report, open_report: Open) -> None:
    page = open_report(fleet_report, viewport=PHONE).page
    lines = """[...document.querySelectorAll("#own-phone .word")].map((word) =>
        [word.textContent, Math.round(word.offsetHeight / parseFloat(getComputedStyle(word).lineHeight))])"""
    words = page.evaluate(lines)
    assert ["--device", 1] in words
    assert {tuple(word) for word in words if word[1] != 1} == set()
