"""``fleetfront quickstart``: the whole story on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, print_table, progress, warn
from fleetfront.cli.options import json_option, quiet_option, seed_option, store_option, store_path
from fleetfront.errors import BarMissed

if TYPE_CHECKING:
    from fleetfront.pipelines.quickstart import FileResult, Quickstart
    from fleetfront.progress import Progress

#: What the story needs from its first step to its report.
EXTRAS = ("cpu", "torch", "models", "search", "report", "demo")


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("quickstart"),
    show_default=True,
    help="Folder of the results.",
)
@seed_option
@store_option
@json_option
@quiet_option
def quickstart(out: Path, seed: int, store: Path | None, as_json: bool, quiet: bool) -> None:
    """The whole story on this machine in a few minutes.

    Trains a small supernet on handwritten digits, measures this machine's CPU under ONNX Runtime and LiteRT, fits
    latency models, searches with measured accuracy (and once more at random, to compare), deploys three networks for
    both runtimes, runs the written files on digits they have never seen, and ends with a report to look at. Nothing is
    downloaded.

    \b
    Example:
      fleetfront quickstart
      fleetfront quickstart --out /tmp/story --json
    """
    from fleetfront.pipelines.packages import need_extras
    from fleetfront.pipelines.quickstart import run_quickstart
    from fleetfront.profilers.store.store import Store
    from fleetfront.workspace import Workspace

    need_extras(EXTRAS, "The whole story")
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        story = run_quickstart(out, workspace=Workspace.default(), store=opened, seed=seed, progress=shown)
        page = _report(story, store_path(store), shown)
    if as_json:
        print_json({**story.to_json(), "report": str(page)})
    else:
        _show(story)
        echo(f"Report: {page}")
    for failure in story.failures:
        warn(failure)
    if story.failures:
        raise BarMissed(f"{len(story.failures)} picks missed a bar or failed.", "See the warnings above.")
    next_command("fleetfront profile --device cpu --space ofa-mbv3-w1.2")


def _report(story: Quickstart, store: Path, shown: Progress) -> Path:
    """Everything that the story made as one page."""
    from fleetfront.report.gather import gather_report
    from fleetfront.report.page.page import write_page
    from fleetfront.workspace import Workspace

    bundles = tuple(sorted({Path(file.path).parent for file in story.files}))
    gathered = gather_report(
        Workspace.default(), store=store, fronts=story.front_folders, bundles=bundles, progress=shown
    )
    return write_page(gathered, story.out / "report.html")


def _show(story: Quickstart) -> None:
    hint("")
    print_table(
        ("latency model", "clock", "held out", "MAPE %", "within 10 %", "noise floor %"),
        [_model_row(name, report) for name, report in story.fits.items()],
    )
    echo("")
    print_table(
        ("front", "points", "hypervolume", "of as many at random"),
        [
            (
                front.name,
                f"{len(front.points)}",
                f"{front.hypervolume:.4g}",
                f"{story.baseline.device(front.name).hypervolume:.4g}",
            )
            for front in story.fronts.devices
        ],
    )
    echo("")
    columns = (
        "network",
        "file",
        "promised %",
        "file %",
        "same class",
        "predicted ms",
        "today ms",
        "measured ms",
        "clock",
    )
    print_table(columns, [_file_row(file) for file in story.files])
    hint(
        "\nAccuracy is on held-out digits. Predictions are of the fitted models (without +- where these know too\n"
        "little of other sittings) and, as today, of this sitting alone; measurements are of the very files.\n"
        "+- is one standard deviation: nine of ten are promised to lie within 1.64 of it."
    )
    hint(f"Files: {story.out / 'bundles'}    Fronts: {story.out / 'fronts' / 'fronts.json'}")


def _model_row(name: str, report: Mapping[str, Any]) -> tuple[str, ...]:
    held_out, floor = report["held_out"], report["floor"]["mape"]
    return (
        name,
        report["clock"],
        f"{held_out['networks']}",
        f"{held_out['mape']:.2f}",
        f"{held_out['within_10']:.0%}",
        "-" if floor is None else f"{floor:.2f}",
    )


def _file_row(file: FileResult) -> tuple[str, ...]:
    from fleetfront.quantities import format_number

    return (
        file.pick,
        file.format,
        f"{file.promised_accuracy:.1f} +-{file.promised_std:.1f}",
        f"{file.file_accuracy:.1f}",
        f"{file.same_class:.1f} %",
        _spread_text(file.predicted_ms, file.predicted_std_ms),
        _spread_text(file.sitting_ms, file.sitting_std_ms),
        "-" if file.measured_ms is None else format_number(file.measured_ms),
        file.clock,
    )


def _spread_text(ms: float | None, std_ms: float | None) -> str:
    from fleetfront.quantities import format_number

    if ms is None:
        return "-"
    return format_number(ms) + ("" if std_ms is None else f" +-{format_number(std_ms, 2)}")
