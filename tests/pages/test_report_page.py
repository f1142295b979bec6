"""The report in a browser: every section drawn, points chosen by mouse and keyboard, nothing said, nothing fetched."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetfront.report.contents import Report
from fleetfront.report.figures import figures
from fleetfront.report.fronts_section import deploy_command
from fleetfront.report.gather import gather_report
from fleetfront.report.page import render_page
from fleetfront.search.results import DeviceFront, FrontPoint, Fronts, write_fronts
from fleetfront.workspace import Workspace
from tests.pages.conftest import PHONE, Opened
from tests.report.fleet import Made
from tests.report.strangers import EVIL, with_evil_names

Open = Callable[..., Opened]


def fronts_box(opened: Opened) -> dict[str, float]:
    """Where the figure of the fronts is on the screen, once it is drawn."""
    opened.page.locator(".canvas").first.scroll_into_view_if_needed()
    plot = opened.page.locator(".canvas svg").first
    plot.wait_for()
    plot.scroll_into_view_if_needed()
    box: dict[str, float] = plot.bounding_box()
    return box


@pytest.mark.parametrize("which", ["measured_report", "fleet_report", "public_report"])
def test_every_section_is_drawn(which: str, open_report: Open, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(which)
    opened = open_report(report)
    opened.draw_everything()
    page = opened.page
    expected = [figure.name for figure in figures(report) if figure.section != "fronts"]
    assert page.locator("[data-figure].drawn svg").count() == len(expected)
    for name in expected:
        assert page.locator(f'[data-figure="{name}"] svg path').count() > 3
    assert page.locator(".canvas svg").count() == len(report.fronts)
    assert page.locator("section[id] > h2").all_inner_texts() == [
        "1. Devices",
        "2. Predicted and measured",
        "3. Fronts",
        "4. Baselines",
        "5. What each device likes and dislikes",
        "6. Devices against devices",
        "7. Chosen and deployed networks",
        "8. Provenance",
    ]
    opened.assert_clean()


def test_pointing_shows_architecture_tier_and_uncertainty(measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report)
    box = fronts_box(opened)
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    shown = opened.page.locator("#vg-tooltip-element.visible")
    shown.wait_for()
    text = shown.inner_text()
    assert "±" in text
    assert "ms (measured)" in text
    assert "% (predicted)" in text
    assert any(arch in text for arch in measured_report.fronts[0].archs)
    opened.assert_clean()


def test_a_click_picks_draws_and_gives_the_command(measured_report: Report, open_report: Open) -> None:
    (group,) = measured_report.fronts
    opened = open_report(measured_report)
    page, chosen = opened.page, opened.page.locator(".chosen")
    before = chosen.locator("dd").nth(2).inner_text()
    box = fronts_box(opened)
    # The fastest networks are at the lower left.
    page.mouse.click(box["x"] + 70, box["y"] + box["height"] - 60)
    opened.wait_until(f"document.querySelectorAll('.chosen dd')[2].textContent !== '{before}'")
    arch = chosen.locator("dd").nth(2).inner_text()
    label = chosen.locator("h4").inner_text().removeprefix("Chosen network on ")
    front = next(front for front in group.fronts if front.label == label)
    assert arch in {group.archs[point.arch] for point in front.points}
    command = chosen.locator(".command code").inner_text()
    assert command == deploy_command(group, front, arch)
    chosen.locator(".copy").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == command
    # One bar a block of the network, each with its name.
    chosen.locator(".picture").scroll_into_view_if_needed()
    chosen.locator(".picture svg").wait_for()
    network = group.networks[group.archs.index(arch)]
    names = [group.blocks[row].label for row, _ in network]
    opened.wait_until(
        f"document.querySelectorAll('.picture svg [aria-roledescription=\"bar\"]').length === {len(names)}"
    )
    drawn = chosen.locator(".picture svg").text_content()
    assert all(name in drawn for name in names)
    opened.assert_clean()


def test_each_devices_slider_moves_its_pick_by_keyboard(fleet_report: Report, open_report: Open) -> None:
    (group,) = fleet_report.fronts
    opened = open_report(fleet_report)
    page = opened.page
    assert page.get_by_role("slider").count() == len(group.fronts)
    for front in (group.fronts[3], group.fronts[-1]):
        slider = page.get_by_role("slider", name=f"Latency limit on {front.label}", exact=True)
        slider.focus()
        slider.press("End")
        best = group.archs[front.points[-1].arch]
        assert page.locator(".chosen h4").inner_text() == f"Chosen network on {front.label}"
        assert page.locator(".chosen dd").nth(2).inner_text() == best
        assert page.locator(".chosen .slower").is_disabled()
        slider.press("Home")
        assert page.locator(".chosen dd").nth(2).inner_text() == group.archs[front.points[0].arch]
        for _ in range(5):
            slider.press("PageUp")
        share = float(slider.input_value()) / 1000
        low, high = front.points[0].latency_ms, front.points[-1].latency_ms
        within = [p for p in front.points if p.latency_ms <= (low + share * (high - low)) * (1 + 1e-6)]
        assert page.locator(".chosen dd").nth(2).inner_text() == group.archs[within[-1].arch]
        assert f"{within[-1].accuracy:.4g}" in slider.get_attribute("aria-valuetext")
    # Picks of the other devices stayed at their knees.
    first = group.fronts[0]
    page.locator(".picks li").first.get_by_role("button").click()
    assert page.locator(".chosen dd").nth(2).inner_text() == group.archs[first.points[first.knee].arch]
    opened.assert_clean()


def test_step_by_step_with_the_buttons(measured_report: Report, open_report: Open) -> None:
    (group,) = measured_report.fronts
    front = group.fronts[0]
    opened = open_report(measured_report)
    chosen = opened.page.locator(".chosen")
    for _ in range(2):
        chosen.get_by_role("button", name="More accurate").press("Enter")
    at = min(front.knee + 2, len(front.points) - 1)
    assert chosen.locator("dd").nth(2).inner_text() == group.archs[front.points[at].arch]
    assert chosen.locator("dd").nth(3).inner_text().startswith(f"{at + 1} of {len(front.points)}")
    opened.assert_clean()


def test_side_by_side_and_normalised(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    page = opened.page
    page.get_by_label("side by side").check()
    for cell in page.locator(".canvas.small .plot").all():
        cell.scroll_into_view_if_needed()
    opened.wait_until(f"document.querySelectorAll('.canvas.small svg').length === {len(fleet_report.devices)}")
    assert page.locator(".canvas.small h4").all_inner_texts() == [
        front.label for front in fleet_report.fronts[0].fronts
    ]
    page.get_by_label("overlaid").check()
    page.get_by_label("multiples of each device's fastest").check()
    page.locator(".canvas > svg, .canvas svg").first.wait_for()
    page.get_by_text("latency, × the device's fastest").wait_for()
    opened.assert_clean()


def test_devices_can_be_left_out(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    page = opened.page
    fronts_box(opened)
    lines = ".canvas svg .mark-line path"
    opened.wait_until(f"document.querySelectorAll('{lines}').length === {len(fleet_report.devices)}")
    for name in ("pixel2", "fpga"):
        page.locator(".picks li", has_text=name).get_by_role("checkbox").uncheck()
    opened.wait_until(f"document.querySelectorAll('{lines}').length === {len(fleet_report.devices) - 2}")
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
    assert "onerror=window.hacked" in page.locator(".card").first.inner_text()
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
    assert stops[0] == "Skip to the devices"
    assert stops[-1].startswith("Save the data")
    # The chosen network comes after the figure and before the sliders, as the eye meets them.
    order = [stops.index(name) for name in ("ms", "Faster", "Copy the command", "Latency limit on cpu-litert")]
    assert order == sorted(order)
    opened.assert_clean()


def test_a_step_is_said_once_and_in_one_line(measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report)
    said = opened.page.locator(".chosen [role=status]")
    assert said.text_content() == ""
    opened.page.get_by_role("button", name="More accurate").press("Enter")
    (group,) = measured_report.fronts
    assert said.text_content().startswith(f"{group.fronts[0].label}: ")
    assert "(measured)" in said.text_content()
    assert opened.page.locator(".chosen [aria-live]").count() == 1
    opened.assert_clean()


def test_without_a_clipboard_the_command_is_selected(measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report)
    page = opened.page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    button = page.locator(".chosen .copy")
    button.press("Enter")
    opened.wait_until("document.querySelector('.copy').textContent.startsWith('Selected')")
    assert page.evaluate("getSelection().toString()") == page.locator(".command code").inner_text()
    # Two clicks in a row leave the button as it was.
    button.press("Enter")
    opened.wait_until("document.querySelector('.copy').textContent === 'Copy the command'")
    opened.assert_clean()


def test_folded_tables_unfold(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    page = opened.page
    folded = page.locator("#relations details.as-table").first
    assert folded.locator("td").count() == 0
    folded.locator("summary").press("Enter")
    folded.locator("td").first.wait_for()
    assert folded.locator("tbody tr").count() == len(fleet_report.devices)
    assert folded.locator("thead th").all_inner_texts() == list(fleet_report.relations[0].labels)
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
    (group,) = measured_report.fronts
    one = replace(
        measured_report,
        devices=measured_report.devices[:1],
        fronts=(replace(group, fronts=group.fronts[:1]),),
        heat_maps=measured_report.heat_maps[:1],
        relations=(),
    )
    opened = open_report(one)
    opened.draw_everything()
    assert opened.page.get_by_label("side by side").is_hidden()
    assert "With fewer than two devices there is nothing to compare" in opened.page.locator("#relations").inner_text()
    assert opened.page.get_by_role("slider").count() == 1
    opened.assert_clean()


def test_a_front_of_one_point_and_an_empty_front(measured_report: Report, open_report: Open) -> None:
    (group,) = measured_report.fronts
    single = replace(group.fronts[0], points=group.fronts[0].points[:1], knee=0, total=1)
    none = replace(group.fronts[1], points=(), knee=0, total=0)
    opened = open_report(replace(measured_report, fronts=(replace(group, fronts=(single, none)),)))
    opened.draw_everything()
    assert "Its front is empty" in opened.page.locator(".picks").inner_text()
    assert opened.page.locator(".chosen .faster").is_disabled()
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
    assert page.evaluate("document.activeElement.textContent") == "Skip to the devices"
    opened.assert_clean()


def test_printing_draws_what_was_not_seen(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    opened.wait_until("!document.querySelector('[data-figure]:not(.drawn)')")
    opened.assert_clean()


def test_the_data_of_the_page_can_be_saved(measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report)
    with opened.page.expect_download() as waiting:
        opened.page.get_by_role("button", name="Save the data").click()
    assert waiting.value.suggested_filename == "fleetfront-report.json"
    assert '"fronts"' in waiting.value.path().read_text()


def test_a_report_without_fronts_still_shows_the_models(measured: Made, open_report: Open) -> None:
    report = gather_report(measured.workspace, bundles=measured.bundles)
    opened = open_report(replace(report, fronts=(), baselines=()))
    opened.draw_everything()
    assert opened.page.locator("#predictions [data-figure]").count() == 4
    opened.assert_clean()
