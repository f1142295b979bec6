"""Pages in a real browser: Debian's Chromium, driven by Playwright. Everything the page says or asks for is kept."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleetfront.report.page.page import render_page
from fleetfront.report.section import Report
from tests.apps.browser import FLAGS, chromium
from tests.report.conftest import empty_report, fleet, fleet_report, measured, measured_report, public, public_report

__all__ = ["empty_report", "fleet", "fleet_report", "measured", "measured_report", "public", "public_report"]

PATIENCE_S = 30
DESKTOP, PHONE = (1280, 900), (390, 844)


@dataclass
class Opened:
    """A page with what it said on its console, its errors, and the addresses that it asked for."""

    page: Any
    address: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def choose(self, label: str) -> None:
        """Check a box or radio button, once nothing that is drawn around it can move it away."""
        self.draw_everything()
        self.wait_until("document.querySelector('.canvas svg')")
        self.page.get_by_label(label).check()

    def draw_everything(self) -> None:
        """Open what is folded, and bring every figure into view until it is drawn."""
        self.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        for place in self.page.locator("[data-figure], .canvas, .picture").all():
            place.scroll_into_view_if_needed()
        self.wait_until("!document.querySelector('[data-figure]:not(.drawn)')")

    def wait_until(self, expression: str) -> None:
        """Wait for a JavaScript expression to hold. The page's policy forbids Playwright to evaluate it from inside."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.page.evaluate(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"it never came to be: {expression}")
            time.sleep(0.02)

    def assert_clean(self) -> None:
        assert self.said == []
        assert self.asked == [self.address]
        assert self.page.evaluate("window.hacked") is None


Open = Callable[..., Opened]


def fronts_box(opened: Opened) -> dict[str, float]:
    """Where the figure of the fronts is on the screen, once it is drawn."""
    opened.page.locator(".canvas").first.scroll_into_view_if_needed()
    plot = opened.page.locator(".canvas svg").first
    plot.wait_for()
    plot.scroll_into_view_if_needed()
    box: dict[str, float] = plot.bounding_box()
    return box


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    program = chromium()
    if program is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def open_report(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Report -> its page, opened from a file; keywords ``viewport`` and ``scheme``."""
    contexts = []

    def opening(report: Report, *, viewport: tuple[int, int] = DESKTOP, scheme: str = "light") -> Opened:
        path = tmp_path / f"report-{len(contexts)}.html"
        path.write_text(render_page(report), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": viewport[0], "height": viewport[1]},
            color_scheme=scheme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        opened = Opened(context.new_page(), path.as_uri())
        opened.page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.said.append(f"error: {error}"))
        opened.page.on("request", lambda request: opened.asked.append(request.url))
        opened.page.goto(opened.address)
        opened.page.wait_for_selector("html[data-ready]")
        return opened

    yield opening
    for context in contexts:
        context.close()
