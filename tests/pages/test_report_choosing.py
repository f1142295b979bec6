"""Choosing a network on the report's page: pointing, picking, sliders, buttons, and the command to copy."""

from dataclasses import replace

from fleetfront.report.section import Report
from fleetfront.report.sections.front_views import FrontView
from fleetfront.report.sections.fronts import deploy_command
from tests.pages.conftest import Open, fronts_box
from tests.report.fleet import NINETEEN
from tests.report.strangers import with_views


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
    assert any(arch in text for arch in measured_report.views("fronts")[0].archs)
    opened.assert_clean()


def test_a_click_picks_draws_and_gives_the_command(measured_report: Report, open_report: Open) -> None:
    (group,) = measured_report.views("fronts")
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
    (group,) = fleet_report.views("fronts")
    opened = open_report(fleet_report)
    page = opened.page
    # One more moves all of them.
    assert page.get_by_role("slider").count() == len(group.fronts) + 1
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
        low, high = front.points[0].cost, front.points[-1].cost
        within = [p for p in front.points if p.cost <= (low + share * (high - low)) * (1 + 1e-6)]
        assert page.locator(".chosen dd").nth(2).inner_text() == group.archs[within[-1].arch]
        assert f"{within[-1].accuracy:.4g}" in slider.get_attribute("aria-valuetext")
    # Picks of the other devices stayed at their knees.
    first = group.fronts[0]
    page.locator(".picks li").first.get_by_role("button").click()
    assert page.locator(".chosen dd").nth(2).inner_text() == group.archs[first.points[first.knee].arch]
    opened.assert_clean()


def test_step_by_step_with_the_buttons(measured_report: Report, open_report: Open) -> None:
    (group,) = measured_report.views("fronts")
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
    opened.choose("side by side")
    for cell in page.locator(".canvas.small .plot").all():
        cell.scroll_into_view_if_needed()
    opened.wait_until(f"document.querySelectorAll('.canvas.small svg').length === {len(NINETEEN)}")
    assert page.locator(".canvas.small h4").all_inner_texts() == [
        front.label for front in fleet_report.views("fronts")[0].fronts
    ]
    opened.choose("overlaid")
    opened.choose("multiples of each device's fastest")
    page.locator(".canvas > svg, .canvas svg").first.wait_for()
    page.get_by_text("latency, × the device's fastest").wait_for()
    opened.assert_clean()


def test_devices_can_be_left_out(fleet_report: Report, open_report: Open) -> None:
    opened = open_report(fleet_report)
    page = opened.page
    fronts_box(opened)
    lines = ".canvas svg .mark-line path"
    opened.wait_until(f"document.querySelectorAll('{lines}').length === {len(NINETEEN)}")
    for name in ("pixel2", "fpga"):
        page.locator(".picks li", has_text=name).get_by_role("checkbox").uncheck()
    opened.wait_until(f"document.querySelectorAll('{lines}').length === {len(NINETEEN) - 2}")
    opened.assert_clean()


def test_a_step_is_said_once_and_in_one_line(measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report)
    said = opened.page.locator(".chosen [role=status]")
    assert said.text_content() == ""
    opened.page.get_by_role("button", name="More accurate").press("Enter")
    (group,) = measured_report.views("fronts")
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


def test_a_front_of_one_point_and_an_empty_front(measured_report: Report, open_report: Open) -> None:
    (group,) = measured_report.views("fronts")
    single = replace(group.fronts[0], points=group.fronts[0].points[:1], knee=0, total=1)
    none = replace(group.fronts[1], points=(), knee=0, total=0)
    opened = open_report(with_views(measured_report, fronts=(replace(group, fronts=(single, none)),)))
    opened.draw_everything()
    said = opened.page.locator(".picks").inner_text()
    assert "Its front is empty" in said
    assert "the only network on its front" in said
    # A slider that cannot move promises a choice that is not there.
    assert opened.page.get_by_role("slider").count() == 0
    assert opened.page.locator(".preference").count() == 0
    assert "nothing to choose" in opened.page.locator("#fronts").inner_text()
    opened.page.locator(".picks .show").click()
    assert opened.page.locator(".chosen .faster").is_disabled()
    opened.assert_clean()


def test_intervals_that_reach_zero_leave_the_fronts_to_be_seen(fleet_report: Report, open_report: Open) -> None:
    """Estimates may be off by more than half: mean - 1.645 std is below 0, which a logarithmic axis does not have."""
    (group,) = fleet_report.views("fronts")

    def unsure(front: FrontView) -> FrontView:
        # In even steps of accuracy, so that no point is left out of the figure.
        points = (replace(p, cost_std=0.9 * p.cost, accuracy=70.0 + i) for i, p in enumerate(front.points))
        return replace(front, points=tuple(points))

    opened = open_report(with_views(fleet_report, fronts=(replace(group, fronts=tuple(map(unsure, group.fronts))),)))
    fronts_box(opened)
    lines = "[...document.querySelectorAll('.canvas svg .mark-line path')].map((e) => e.getBoundingClientRect().width)"
    assert max(opened.page.evaluate(lines)) > 50
    latency = opened.page.locator(".chosen dd").first.inner_text()
    assert "90 % below" in latency
    assert "-" not in latency
    # With one device left, the axis is about that one.
    before = opened.page.evaluate(lines)[0]
    for box in opened.page.get_by_role("checkbox").all()[1:]:
        box.uncheck()
    opened.wait_until(f"{lines}.length === 1 && {lines}[0] > {before}")
    opened.assert_clean()


def test_small_figures_say_what_their_axes_are(measured_report: Report, open_report: Open) -> None:
    opened = open_report(measured_report)
    opened.choose("side by side")
    opened.page.get_by_text("Each: predicted accuracy in % over latency in ms.").wait_for()
    opened.choose("multiples of each device's fastest")
    opened.page.get_by_text("over latency as a multiple of the device's fastest.").wait_for()
    opened.assert_clean()


def test_one_preference_moves_every_pick_along_its_front_by_keyboard(fleet_report: Report, open_report: Open) -> None:
    (group,) = fleet_report.views("fronts")
    opened = open_report(fleet_report)
    page = opened.page
    slider = page.get_by_role("slider", name="One preference for all devices")
    slider.focus()
    for key, at in (("Home", 0), ("End", -1)):
        slider.press(key)
        chosen = page.locator(".chosen h4").inner_text().removeprefix("Chosen network on ")
        front = next(front for front in group.fronts if front.label == chosen)
        assert page.locator(".chosen dd").nth(2).inner_text() == group.archs[front.points[at].arch]
        for item, front in zip(page.locator(".picks > li").all(), group.fronts, strict=True):
            if front.points:
                assert f"{front.points[at].accuracy:.4g}" in item.locator("output").inner_text()
    assert "100 % of the way" in slider.get_attribute("aria-valuetext")
    opened.assert_clean()
