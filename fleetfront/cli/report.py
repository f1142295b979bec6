"""``fleetfront report``: what was measured, searched and deployed, as one page to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, progress, warn
from fleetfront.cli.options import Count, json_option, option_group, quiet_option, store_option
from fleetfront.cli.search.text import next_deploy
from fleetfront.errors import InputError

if TYPE_CHECKING:
    from fleetfront.report.section import Report

#: Format -> the file it is written to unless the user names another.
_FILES = {"html": "report.html", "md": "report.md", "png": "figure.png", "svg": "figure.svg"}

#: Other endings that mean one of these formats.
_SUFFIXES = {"htm": "html", "markdown": "md"}


@dataclass(frozen=True, slots=True)
class OutputChoices:
    """The outputs and their places, as typed."""

    kind: str | None
    figure: str | None
    dark: bool
    out: Path | None
    force: bool

    @property
    def format(self) -> str:
        """``html``, ``md``, ``png`` or ``svg``. Raises InputError for another --out, or a page of one figure."""
        suffix = "" if self.out is None else self.out.suffix.lower().removeprefix(".")
        found = self.kind or _SUFFIXES.get(suffix, suffix or "html")
        if found not in _FILES:
            raise InputError(
                f"{self.out} ends in .{suffix}, which is no format of a report.",
                f"End it in {', '.join(f'.{name}' for name in _FILES)}, or give --format.",
            )
        if self.figure is not None and found in ("html", "md"):
            raise InputError(
                f"--figure {self.figure} is for pictures, not for {found}.", "Add --format png or --format svg."
            )
        return found

    @property
    def compares(self) -> bool:
        """True if strategies are compared: only the page and its text do, and a figure of that."""
        return self.format in ("html", "md") or (self.figure or "").startswith("base")

    def write(self, gathered: Report) -> Path:
        """Write the report or the one figure, and return its path."""
        from fleetfront.report.writing import write_report

        return write_report(self.out or Path(_FILES[self.format]), self._content(gathered), force=self.force)

    def _content(self, gathered: Report) -> bytes:
        from fleetfront.report.figures.images import draw_png, draw_svg, find_figure
        from fleetfront.report.markdown import render_markdown
        from fleetfront.report.page.page import render_page
        from fleetfront.report.writing import sign_png, sign_svg

        if self.format == "html":
            return render_page(gathered).encode()
        if self.format == "md":
            return render_markdown(gathered).encode()
        drawn, is_png = find_figure(gathered, self.figure), self.format == "png"
        return sign_png(draw_png(drawn, dark=self.dark)) if is_png else sign_svg(draw_svg(drawn, dark=self.dark))


#: All options of ``OutputChoices``, handed to the command as its argument ``output``.
_output_options = option_group(
    OutputChoices,
    "output",
    [
        click.option(
            "--format",
            "kind",
            type=click.Choice(list(_FILES)),
            help="html: the page; md: tables for a pull request; png, svg: one figure.  [default: by --out, else html]",
        ),
        click.option("--figure", metavar="NAME", help="Which figure for png and svg; its name's beginning is enough."),
        click.option("--dark", is_flag=True, help="Dark colours for png and svg; the page follows its reader."),
        click.option(
            "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: report.html]"
        ),
        click.option("--force", is_flag=True, help="Replace the file even if it is no report."),
    ],
)


@click.command()
@click.option(
    "--front",
    "fronts",
    type=click.Path(path_type=Path),
    multiple=True,
    help="fronts.json, its folder, or one of such folders; repeatable, the main result first.  [default: the newest]",
)
@click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A folder that deploy wrote; repeatable.  [default: those in bundles/ here and beside the fronts]",
)
@_output_options
@click.option("--list-figures", is_flag=True, help="Print the names of all figures.")
@click.option(
    "--random-seeds",
    type=Count(0, 1000),
    default=3,
    show_default=True,
    help="Random searches made for comparison, where none is among the fronts; 0 for none.",
)
@store_option
@json_option
@quiet_option
def report(
    fronts: tuple[Path, ...],
    bundles: tuple[Path, ...],
    output: OutputChoices,
    list_figures: bool,
    random_seeds: int,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Look rather than read: devices, errors, fronts, baselines and deployed networks as one page.

    The page is a single file that opens without network. Fronts of several runs, seeds and strategies may be given
    together: the first with a front of a device is drawn, all are compared.

    \b
    Examples:
      fleetfront report
      fleetfront report --front fronts/ --front random/ --out report.html
      fleetfront report --format md --out report.md
      fleetfront report --format png --figure fronts --out fronts.png
      fleetfront report --json
    """
    from fleetfront.report.gather import gather_report
    from fleetfront.search.fronts_file import load_fronts
    from fleetfront.workspace import Workspace

    seeds = random_seeds if output.compares and not list_figures else 0
    with progress(quiet) as shown:
        gathered = gather_report(
            Workspace.default(),
            store=_existing(store),
            fronts=fronts,
            bundles=bundles,
            random_seeds=seeds,
            progress=shown,
        )
    for note in gathered.notes:
        warn(f"{note.text} {note.remedy}")
    if list_figures:
        _list_figures(gathered, as_json)
        return
    path = output.write(gathered)
    if as_json:
        print_json(_as_json(gathered, path, output))
    else:
        echo(path)
    if output.format == "html":
        hint(f"Open it in a browser: {path.absolute().as_uri()}")
    searched = gathered.views("fronts")
    if searched:
        path = Path(searched[0].fronts[0].path)
        next_deploy(load_fronts(path), path, "--knee", None)
    else:
        next_command("fleetfront search --devices all")


def _list_figures(gathered: Report, as_json: bool) -> None:
    found = gathered.figures()
    if as_json:
        print_json([{"name": one.name, "section": one.section, "title": one.title} for one in found])
        return
    for one in found:
        echo(one.name)


def _as_json(gathered: Report, path: Path, output: OutputChoices) -> dict[str, object]:
    """The files written, and which sections the report has, which are empty and why."""
    from fleetfront.report.figures.images import find_figure

    drawn = gathered.figures()
    return {
        "schema": "fleetfront.report/1",
        "path": str(path),
        "format": output.format,
        "bytes": path.stat().st_size,
        "figure": find_figure(gathered, output.figure).name if output.format in ("png", "svg") else None,
        "title": gathered.title,
        "devices": len(gathered.views("devices")),
        "architectures_evaluated": sum(group.evaluated for group in gathered.views("fronts")),
        "sections": [
            {
                "name": part.section.anchor,
                "title": part.title,
                "is_drawn": bool(part.views),
                "items": part.items,
                "figures": [figure.name for figure in drawn if figure.section == part.section.name],
                "why_not": None if part.views else part.section.gap,
                "command": None if part.views else part.section.command,
            }
            for part in gathered.parts
        ],
        "notes": [{"text": note.text, "remedy": note.remedy} for note in gathered.notes],
    }


def _existing(store: Path | None) -> Path | None:
    if store is not None and not store.is_file():
        raise InputError(f"There is no store {store}.", "Name the file that `fleetfront profile --store` wrote.")
    return store
