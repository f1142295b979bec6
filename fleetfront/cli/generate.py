"""``fleetfront generate``: networks for a device at once, from a generator that a search left behind."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import hint, next_command, print_json, progress, warn
from fleetfront.cli.options import Amount, Count, ModelChoices, json_option, model_options, quiet_option, store_path
from fleetfront.errors import InputError

if TYPE_CHECKING:
    from fleetfront.cli.device_models import ChosenModels
    from fleetfront.search.generators.generator import Generator
    from fleetfront.search.problem import ProblemTarget


@click.command()
@click.option(
    "--generator",
    type=click.Path(path_type=Path),
    default=Path("fronts"),
    show_default=True,
    metavar="DIR|FILE",
    help="Where a search with modnas or pnag left one.",
)
@model_options
@click.option(
    "--max-latency",
    type=Amount(0, 1e9, is_above=True),
    metavar="MS",
    help="The most accurate network within so many ms.",
)
@click.option("--preference", type=Amount(0, 1), metavar="0..1", help="0: the fastest network, 1: the most accurate.")
@click.option("--front", is_flag=True, help="The whole front.  [default]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder that gets fronts.json, for deploy and report.")
@click.option(
    "--refine",
    type=Count(0, 10),
    default=1,
    show_default=True,
    help="Rounds in which neighbours of the best are judged, too.",
)
@json_option
@quiet_option
def generate(
    generator: Path,
    models: ModelChoices,
    max_latency: float | None,
    preference: float | None,
    front: bool,
    out: Path | None,
    refine: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Name networks for a device, a limit or a preference in milliseconds, without a search.

    The device need not have been part of the search: a fit, or ten measured latencies that were imported and fitted,
    are enough. Proposals are judged by the device's own cost model, so a limit is kept as far as that is right.

    \b
    Examples:
      fleetfront search --device all --strategy modnas --out gen
      fleetfront generate --generator gen --device pixel3 --max-latency 20
      fleetfront generate --generator gen --device raspi4 --preference 0.3
      fleetfront generate --generator gen --device raspi4 --front --out fronts-raspi4
    """
    from fleetfront.pipelines.generate import Request, answer, open_generator

    if front and (max_latency is not None or preference is not None):
        raise InputError("--front is given with a limit or a preference.", "Ask for one of the three.")
    request = Request(max_latency, preference, refine)
    with progress(quiet):
        opened = open_generator(generator)
        targets, devices = _targets(models, opened)
    found = answer(opened, targets, request, out=out)
    if as_json:
        print_json(found.to_json() | ({"refused": devices.refusals()} if devices.refused else {}))
    else:
        from fleetfront.cli.search.text import show_fronts

        show_fronts(found)
        counted = [point.more["accuracy_is_counted"] for device in found.devices for point in device.points]
        hint(
            f"Answered in {1e3 * found.seconds:.0f} ms; the accuracy of {sum(counted)} of {len(counted)} networks was "
            "counted in training, the others' is predicted."
        )
    if out is not None:
        _remember(out)
        next_command(f"fleetfront deploy --front {quote(str(out))} --knee")
    devices.check()


def _targets(choices: ModelChoices, opened: Generator) -> tuple[list[ProblemTarget], ChosenModels]:
    from fleetfront.cli.device_models import chosen_models
    from fleetfront.pipelines.fleet import search_targets
    from fleetfront.search.metrics import COUNTED

    found = chosen_models(choices, opened.space, everywhere=True)
    further = [cost for cost in opened.training.costs[1:] if cost not in COUNTED]
    store = store_path(choices.store)
    return search_targets(found.found, opened.space, limits={}, objectives=further, store=store), found


def _remember(out: Path) -> None:
    from fleetfront.pipelines.knowledge.remembered import remember_fronts
    from fleetfront.workspace import Workspace

    try:
        remember_fronts(out, Workspace.default())
    except InputError as error:
        # The fronts are written; only later verbs must be told where.
        warn(f"{error.message} {error.remedy}")
