"""``fleetfront fit``: learn a latency model from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import next_command, print_json
from fleetfront.cli.options import device_option, json_option, space_option, split_names, store_option, store_path

if TYPE_CHECKING:
    from fleetfront.profilers.store import Store
    from fleetfront.targets import Target


@click.command()
@device_option
@click.option("--runtime", metavar="NAME", help="Which runtime's measurements.  [default: the newest]")
@click.option("--clock", type=click.Choice(["thread-cpu", "wall", "device"]), help="Which clock's model is preferred.")
@space_option
@store_option
@json_option
def fit(
    devices: tuple[str, ...], runtime: str | None, clock: str | None, space: str, store: Path | None, as_json: bool
) -> None:
    """Learn a latency model from what was measured.

    A lookup table of blocks, calibrated on whole networks, judged on networks that chose nothing. Every clock that was
    measured is fitted; the preferred one serves `predict` and `search`.

    \b
    Examples:
      fleetfront fit
      fleetfront fit --device cpu --runtime onnxruntime --space ofa-mbv3-w1.0 --clock wall
      fleetfront fit --json > fit.json
    """
    from fleetfront.cli.fit_text import show_fit
    from fleetfront.pipelines.fit import fit_report, fit_target
    from fleetfront.profilers.store import Store
    from fleetfront.quantities import Clock
    from fleetfront.spaces.catalogue import load_space

    family = load_space(space)
    names = split_names(devices) if devices else None
    with Store(store_path(store), must_exist=True) as opened:
        targets = profiled_targets(opened, space, names, runtime)
        reports = [fit_report(fit_target(opened, t, family, Clock(clock) if clock else None)) for t in targets]
    if as_json:
        print_json(reports[0] if len(reports) == 1 else reports)
        return
    for report in reports:
        show_fit(report)
    next_command(f"fleetfront search --device {targets[0].device} --runtime {targets[0].runtime} --space {space}")


def profiled_targets(store: Store, space: str, devices: list[str] | None, runtime: str | None) -> list[Target]:
    """The target of each device asked for whose blocks were measured last; without devices, the last of all.

    Raises InputError if there is none.
    """
    from fleetfront.errors import InputError
    from fleetfront.profilers.records import Role

    found = [h for h in store.holdings() if h.space == space and h.role == Role.BLOCK]
    newest: dict[str, Target] = {}
    for holding in sorted(found, key=lambda h: h.last_started_ns, reverse=True):
        if runtime in (None, holding.target.runtime):
            newest.setdefault(holding.target.device, holding.target)
    absent = [name for name in devices or () if name not in newest]
    if absent or not newest:
        what = f" on {absent[0]}" if absent else ""
        with_runtime = f" --runtime {runtime}" if runtime else ""
        raise InputError(
            f"No block of {space} has been measured{what}.",
            f"Run: fleetfront profile --device {absent[0] if absent else 'cpu'} --space {space}{with_runtime}",
        )
    return [newest[name] for name in devices] if devices else [next(iter(newest.values()))]
