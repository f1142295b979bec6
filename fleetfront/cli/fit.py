"""``fleetfront fit``: learn a latency model from what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import echo, hint, print_json, progress, warn
from fleetfront.cli.options import device_option, json_option, space_option, split_names, store_option, store_path
from fleetfront.cli.search.text import next_search
from fleetfront.targets import FLOATS, PRECISIONS, split_spelled

if TYPE_CHECKING:
    from fleetfront.pipelines.measure.few_shot import FewShotResult
    from fleetfront.profilers.store.store import Holding, Store
    from fleetfront.quantities import Clock, Metric
    from fleetfront.spaces.base import SearchSpace
    from fleetfront.targets import Target

#: Metrics that are learnt from few networks: what adds up over operators.
LEARNT = ("latency", "energy")


@click.command()
@device_option
@click.option("--runtime", metavar="NAME", help="Which runtime's measurements.  [default: the newest]")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Which number format's.  [default: the newest, int8, w8 and w4 last]",
)
@click.option("--clock", type=click.Choice(["thread-cpu", "wall", "device"]), help="Which clock's model is preferred.")
@space_option
@click.option("--recalibrate", is_flag=True, help="Measure ten networks again, and bring the model up to this sitting.")
@store_option
@json_option
def fit(
    devices: tuple[str, ...],
    runtime: str | None,
    precision: str | None,
    clock: str | None,
    space: str,
    recalibrate: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Learn a latency model from what was measured.

    A lookup table of blocks, calibrated on whole networks, judged on networks that chose nothing. Every clock that was
    measured is fitted; the preferred one serves `predict` and `search`, and so does a model of the energy where that
    was measured too. A device of which only whole networks are
    known, such as an imported table of latencies or energies, is learnt from up to 40 of them and from other devices,
    and judged on the rest.

    \b
    Examples:
      fleetfront fit
      fleetfront fit --device cpu --runtime onnxruntime --space ofa-mbv3-w1.0 --clock wall
      fleetfront fit --device my_board --space nasbench201
      fleetfront fit --device cpu --recalibrate
      fleetfront fit --json > fit.json
    """
    from fleetfront.cli.fit_text import show_fit
    from fleetfront.cli.profile.space import show_few_shot
    from fleetfront.pipelines.fit.fit import fit_all
    from fleetfront.profilers.store.store import Store
    from fleetfront.quantities import Clock
    from fleetfront.spaces.catalogue import load_space

    family = load_space(space)
    names = split_names(devices) if devices else None
    if recalibrate:
        _recalibrate(family, names, (runtime, precision), Clock(clock) if clock else None, store, as_json)
        return
    with Store(store_path(store), read_only=True) as opened:
        targets = profiled_targets(opened, space, names, runtime, precision)
        fits: list[dict[str, Any] | FewShotResult] = []
        for target, has_blocks in targets.items():
            if has_blocks:
                fits.append(fit_all(opened, target, family, Clock(clock) if clock else None))
            else:
                fits += _learn_from_tables(opened, target, family, as_json)
    if as_json:
        reports = [one if isinstance(one, dict) else one.to_json() for one in fits]
        print_json(reports[0] if len(reports) == 1 else reports)
        return
    for one in fits:
        if isinstance(one, dict):
            show_fit(one)
        else:
            show_few_shot(one)
    first = next(iter(targets))
    next_search(first.search_options, space)


def _learn_from_tables(store: Store, target: Target, space: SearchSpace, as_json: bool) -> list[FewShotResult]:
    """A model of each metric that the store holds of whole networks of a target."""
    from fleetfront.pipelines.measure.few_shot import learn_from_table

    with progress(as_json) as shown:
        return [
            learn_from_table(store, target, space, metric=metric, progress=shown)
            for metric in held_metrics(store, space.name, target)
        ]


def _recalibrate(
    space: SearchSpace,
    devices: list[str] | None,
    which: tuple[str | None, str | None],
    clock: Clock | None,
    path: Path | None,
    as_json: bool,
) -> None:
    """Bring the newest model of each device, of a runtime and precision, up to this sitting, and say how it changed."""
    from fleetfront.pipelines.fit.recalibrate import recalibrate
    from fleetfront.pipelines.knowledge.cost_models import newest_fit
    from fleetfront.pipelines.knowledge.known import list_known
    from fleetfront.profilers.store.store import Store
    from fleetfront.workspace import Workspace

    found = []
    with Store(store_path(path)) as store, progress(as_json) as shown:
        known = list_known(Workspace.default(), None, space.name)
        for device in devices or (None,):
            newest = newest_fit(known, space.name, device=device, clock=clock, runtime=which[0], precision=which[1])
            if newest.fit is not None:
                found.append(recalibrate(store, space, newest.fit, progress=shown))
    if as_json:
        print_json([one.to_json() for one in found])
        return
    for one in found:
        percent = 100 * (one.level - 1)
        echo(
            f"{one.model.target}: {abs(percent):.1f} % {'slower' if percent > 0 else 'faster'} now than when its model "
            f"was made. On {one.networks} networks it was {one.error_before:.1f} % off and is {one.error_after:.1f} %."
        )
        if one.unpromised:
            hint(f"No interval is promised for when you run networks: {one.unpromised}.")
        if one.is_busy:
            others = one.model.others if one.model.is_busy else None
            said = f"{str(others).capitalize()} meanwhile" if others else "The networks disagree: something else ran"
            warn(f"{said}, so this says little of a quiet device. Close other programs and run this again.")
    next_search(found[0].model.target.search_options, space.name)


def profiled_targets(
    store: Store, space: str, devices: list[str] | None, runtime: str | None, precision: str | None = None
) -> dict[Target, bool]:
    """The target of each device asked for, plain or narrowed (``cpu/int8``), that was measured last, and whether its
    blocks were; without devices, the last of all. Targets with blocks come before others, then those with latencies,
    and narrow formats such as int8 come last unless they are asked for.

    Raises InputError if there is none.
    """
    from fleetfront.errors import InputError, unknown
    from fleetfront.profilers.kinds.catalogue import find_kind
    from fleetfront.profilers.records import Role
    from fleetfront.runtimes.catalogue import check_parts, options_of

    found = [h for h in store.holdings() if h.space == space and h.role != Role.FILE and h.metric in LEARNT]
    narrowed = {name: parts for name in devices or () if len(parts := split_spelled(name)) > 1}
    newest: dict[str, tuple[Target, bool]] = {}

    def preferred(h: Holding) -> tuple[bool, bool, bool, int]:
        return h.target.precision in FLOATS, h.role == Role.BLOCK, h.metric == "latency", h.last_started_ns

    for holding in sorted(found, key=preferred, reverse=True):
        if runtime in (None, holding.target.runtime) and precision in (None, holding.target.precision):
            newest.setdefault(holding.target.device, (holding.target, holding.role == Role.BLOCK))
            for name, (device, *parts) in narrowed.items():
                if device == holding.target.device and set(parts) <= set(split_spelled(str(holding.target))):
                    newest.setdefault(name, (holding.target, holding.role == Role.BLOCK))
    absent = [name for name in devices or () if name not in newest]
    if absent or not newest:
        what = (f" on {absent[0]}" if absent else "") + (f" under {runtime}" if runtime else "")
        what += f" in {precision}" if precision else ""
        device, *parts = split_spelled(absent[0]) if absent else ["cpu"]
        check_parts(parts, (h.target for h in found))
        near = f"{unknown('device', device, newest).remedy} " if absent and newest and device not in newest else ""
        asked = [
            h
            for h in store.holdings()
            if h.role != Role.FILE
            and (not absent or h.target.device == device)
            and set(parts) <= {*split_spelled(str(h.target))}
        ]
        others = sorted({h.space for h in asked if h.space not in ("", space)})
        near += f"Of {', '.join(others)} there is: give --space, as in --space {others[0]}. " if others else ""
        wanted = "/".join(filter(None, (device, *parts, *(one for one in (runtime, precision) if one not in parts))))
        measure = f"Run: fleetfront profile {options_of(wanted)} --space {space}"
        bring = f"Bring in what was measured of it: fleetfront import store FILE, or import table FILE --space {space}"
        raise InputError(
            f"Nothing of {space} has been measured{what}.", near + (measure if find_kind(device) else bring)
        )
    return dict([newest[name] for name in devices] if devices else [next(iter(newest.values()))])


def held_metrics(store: Store, space: str, target: Target) -> list[Metric]:
    """The metrics by which the store knows networks of a target, of those that are learnt from few."""
    from fleetfront.quantities import METRICS

    held = {h.metric for h in store.holdings(target, space)}
    return [METRICS[name] for name in LEARNT if name in held]
