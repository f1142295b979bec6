"""Measure how large the report is and how fast it opens, with many devices and a large archive.

Run: python benchmarks/report_page.py [--devices 30] [--evaluations 100000] [--opens 5]
     python benchmarks/report_page.py --devices 300 --evaluations 20000 --strategy nsga2 --opens 0

The second writes its own part of the result, ``many``: what a fleet costs, without a browser. The bars of the first: at
most 10 MB, and at most 2 s from the address to a page that can be used with its first figure drawn. It needs Debian's
chromium and playwright. Devices are made up (sums of block prices); searches, files and page are real.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np

from fleetfront.pipelines.importing.importers import import_table
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.profilers.store.store import Store
from fleetfront.report.gather import gather_report
from fleetfront.report.page.page import render_page
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import BlockSums
from fleetfront.workspace import Workspace

SPACE = "ofa-mbv3-w1.2"
TABLE = 500
BAR_MB, BAR_S = 10.0, 2.0
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def make(root: Path, devices: int, evaluations: int, strategy: str) -> tuple[Workspace, Path, int]:
    """A store with a table of every device, and the front of one search over all; also how many were evaluated."""
    space, workspace = load_space(SPACE), Workspace(root / "home")
    macs = np.array([block_macs for block_macs in space.block_macs(space.vocabulary)]) / 2e7  # type: ignore[attr-defined]
    models = {}
    for seed in range(devices):
        rng = np.random.default_rng(seed)
        price = macs * rng.lognormal(0, 0.4, len(macs)) * rng.uniform(0.3, 5) + 0.01
        models[f"device_{seed:02d}"] = BlockSums(space, price, relative_std=0.03)
    networks = space.sample(TABLE, np.random.default_rng(1))
    columns = np.stack([model.predict(networks).mean for model in models.values()], axis=1)
    lines = [",".join(("arch", *(f"lat_{name}" for name in models)))]
    lines += [
        ",".join((arch, *(f"{ms:.5f}" for ms in row)))
        for arch, row in zip(space.arch_ids(networks), columns.tolist(), strict=True)
    ]
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    workspace.root.mkdir()
    with Store(workspace.store) as store:
        report = import_table(root / "table.csv", space, store)
    targets = [ProblemTarget(t.device, models[t.device], str(t)) for t in report.targets]
    options = SearchOptions(strategy, evaluations)
    fronts = search_space(space, targets, load_accuracy("built-in", space), options, out=root / "fronts")
    return workspace, root / "fronts", fronts.audit["evaluated"]


def open_page(path: Path, opens: int) -> dict[str, Any]:
    """Seconds until the page can be used, until its first figure in view is drawn, and until all fronts are."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    times: dict[str, list[float]] = {"usable": [], "first_figure": [], "fronts": []}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        for _ in range(opens):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            begun = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]")
            times["usable"].append(time.perf_counter() - begun)
            page.close()
            for name, part in (("first_figure", "[data-figure]"), ("fronts", ".canvas")):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                begun = time.perf_counter()
                page.goto(path.as_uri())
                page.locator(part).first.scroll_into_view_if_needed()
                page.locator(f"{part} svg").first.wait_for()
                times[name].append(time.perf_counter() - begun)
                page.close()
        browser.close()
    return {
        name: {"median_s": round(statistics.median(all_), 3), "max_s": round(max(all_), 3)}
        for name, all_ in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=100_000)
    parser.add_argument("--strategy", default="hybrid")
    parser.add_argument("--opens", type=int, default=5)
    options = parser.parse_args()
    begun = machine.describe()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        workspace, fronts, evaluated = make(root, options.devices, options.evaluations, options.strategy)
        started, begun_cpu = time.perf_counter(), time.process_time()
        report = gather_report(workspace, fronts=[fronts])
        gathered_s = time.perf_counter() - started
        started = time.perf_counter()
        page = render_page(report)
        rendered_s, cpu_s = time.perf_counter() - started, time.process_time() - begun_cpu
        (root / "report.html").write_text(page, encoding="utf-8")
        opened = open_page(root / "report.html", options.opens) if options.opens else {}
    megabytes = len(page.encode()) / 1e6
    points = sum(front.total for group in report.views("fronts") for front in group.fronts)
    drawn = sum(len(front.points) for group in report.views("fronts") for front in group.fronts)
    result = {
        "devices": options.devices,
        "archived_architectures": evaluated,
        "front_points": points,
        "front_points_in_page": drawn,
        "page_mb": round(megabytes, 2),
        "gathered_s": round(gathered_s, 1),
        "rendered_s": round(rendered_s, 1),
        "cpu_s": round(cpu_s, 1),
        "opened": opened,
        "bars": {"page_mb": BAR_MB, "first_figure_s": BAR_S, "usable_s": BAR_S},
    }
    print(f"{options.devices} devices, {evaluated:,} architectures, {drawn:,} of {points:,} front points in the page")
    print(f"page {megabytes:.2f} MB (bar {BAR_MB:g}); gathered in {gathered_s:.1f} s, rendered in {rendered_s:.1f} s")
    for name, values in opened.items():
        print(f"{name:14s} median {values['median_s']:.2f} s, slowest {values['max_s']:.2f} s (bar {BAR_S:g} s)")
    print(f"CPU {cpu_s:.1f} s")
    path = machine.RESULTS / "report_page.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    if options.opens:
        result |= {"many": known["many"]} if "many" in known else {}
        print(machine.write("report_page", result, begun))
    else:
        many = {name: value for name, value in result.items() if name not in ("opened", "bars")} | {"machine": begun}
        kept = {name: value for name, value in known.items() if name != "machine"}
        print(machine.write("report_page", kept | {"many": many}, known.get("machine", begun)))


if __name__ == "__main__":
    main()
