"""``fleetfront deploy``: write chosen networks as files, proven and, if asked, measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.console import hint, next_command, print_json, print_table, progress, warn
from fleetfront.cli.options import DEFAULT_SPACE, device_option, json_option, quiet_option, store_option, store_path
from fleetfront.errors import BarMissed, InputError
from fleetfront.targets import Target

if TYPE_CHECKING:
    from fleetfront.pipelines.deploy import Deployed, Measuring, Pick, Weights
    from fleetfront.profilers.store import Store
    from fleetfront.search.results import Fronts
    from fleetfront.spaces.base import SearchSpace

#: ``--measure`` without a target: the local targets that the picks were searched for.
AUTO = "auto"


@click.command()
@click.option("--front", type=click.Path(path_type=Path), help="fronts.json or its folder.  [default: the newest]")
@device_option
@click.option("--max-latency", type=float, metavar="MS", help="The most accurate network within this latency.")
@click.option("--knee", is_flag=True, help="The network where more latency begins to buy little.")
@click.option("--per-device", type=click.IntRange(1), metavar="K", help="K networks spread over each device's front.")
@click.option("--arch", "archs", multiple=True, metavar="ARCH", help="This architecture; repeatable.")
@click.option("--space", metavar="NAME", help="Space of --arch where there is no front.  [default: the front's]")
@click.option("--weights", type=click.Path(path_type=Path), help="Supernet: a checkpoint or .safetensors file.")
@click.option("--random-weights", is_flag=True, help="No knowledge, real speed; written into name and metadata.")
@click.option("--images", metavar="FOLDER|digits", help="Images that batch-norm is recalibrated on.")
@click.option("--no-recalibration", is_flag=True, help="Keep the supernet's own statistics; accuracy suffers.")
@click.option("--formats", default="onnx,tflite", show_default=True, help="Files of each bundle.")
@click.option(
    "--measure", is_flag=False, flag_value=AUTO, metavar="[TARGET]", help="Time the very files on this machine."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bundles"), show_default=True, help="Folder of bundles."
)
@click.option("--force", is_flag=True, help="Replace bundles that exist.")
@store_option
@json_option
@quiet_option
def deploy(
    front: Path | None,
    devices: tuple[str, ...],
    max_latency: float | None,
    knee: bool,
    per_device: int | None,
    archs: tuple[str, ...],
    space: str | None,
    weights: Path | None,
    random_weights: bool,
    images: str | None,
    no_recalibration: bool,
    formats: str,
    measure: str | None,
    out: Path,
    force: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write chosen networks as files, proven against torch in their own runtime.

    One folder a network: the files, manifest.json and labels. With --measure the very files are timed, and what was
    predicted stands beside what was measured, under the same clock.

    \b
    Examples:
      fleetfront deploy --knee --weights ofa-w1.2.pth --images photos/
      fleetfront deploy --front fronts/ --max-latency 20 --formats tflite --measure
      fleetfront deploy --arch k33..._e33..._d22222_r160 --random-weights --measure cpu/onnxruntime/fp32/t1/b1
    """
    from fleetfront.deploy.formats import parse_formats
    from fleetfront.pipelines.deploy import deploy_picks
    from fleetfront.profilers.store import Store
    from fleetfront.spaces.catalogue import load_space

    kinds = parse_formats(formats)
    fronts = _fronts(front, needed=not archs)
    family = load_space(space or (fronts.space if fronts is not None else DEFAULT_SPACE))
    _check_space(fronts, family)
    picks = _picks(fronts, family, devices, max_latency, knee, per_device, archs)
    known = _weights(family, fronts, weights, random_weights, images, no_recalibration)
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        measuring = None if measure is None else _measuring(measure, picks, opened, family)
        done = deploy_picks(picks, family, known, kinds, out, measuring=measuring, force=force, progress=shown)
    _report(done, as_json)


def _fronts(front: Path | None, *, needed: bool) -> Fronts | None:
    from fleetfront.pipelines.latest import latest_fronts
    from fleetfront.search.results import load_fronts
    from fleetfront.workspace import Workspace

    if front is None and not needed:
        return None
    return load_fronts(front if front is not None else latest_fronts(Workspace.default()))


def _check_space(fronts: Fronts | None, space: SearchSpace) -> None:
    if fronts is None:
        return
    if fronts.space != space.name:
        raise InputError(f"The front is of {fronts.space}, not of {space.name}.", f"Use --space {fronts.space}.")
    space.parse([point.arch for device in fronts.devices for point in device.points])


def _picks(
    fronts: Fronts | None,
    space: SearchSpace,
    devices: tuple[str, ...],
    max_latency: float | None,
    knee: bool,
    per_device: int | None,
    archs: tuple[str, ...],
) -> list[Pick]:
    from fleetfront.cli.options import split_names
    from fleetfront.pipelines.picks import devices_of, pick_arch, pick_knee, pick_spread, pick_within

    picks = [pick_arch(arch, space, fronts) for arch in archs]
    if fronts is not None:
        for device in devices_of(fronts, split_names(devices) if devices else ()):
            if max_latency is not None:
                picks.append(pick_within(fronts, device, max_latency))
            if knee:
                picks.append(pick_knee(fronts, device))
            if per_device is not None:
                picks.extend(pick_spread(fronts, device, per_device))
    return picks


def _weights(
    space: SearchSpace,
    fronts: Fronts | None,
    path: Path | None,
    random_weights: bool,
    images: str | None,
    no_recalibration: bool,
) -> Weights:
    from fleetfront.pipelines.deploy import Weights

    if random_weights:
        if path is not None or images is not None:
            raise InputError("--random-weights goes with neither --weights nor --images.", "Choose one of them.")
        return Weights()
    from fleetfront.datasets import load_images
    from fleetfront.pipelines.latest import known_weights
    from fleetfront.spaces.checkpoints import load_supernet
    from fleetfront.spaces.ofa_mbv3 import OfaMbv3Space
    from fleetfront.workspace import Workspace

    source = fronts.accuracy_source if fronts is not None else ""
    if not isinstance(space, OfaMbv3Space):
        raise InputError(f"{space.name} has no supernet.", "Give --random-weights to deploy its networks untrained.")
    supernet = load_supernet(path or known_weights(space.name, Workspace.default(), source), space)
    if images is None:
        if not no_recalibration:
            raise InputError(
                "A network cut from a supernet needs its batch-norm recalibrated on images, and none were given.",
                "Give --images FOLDER with some of your images, or --no-recalibration, which is recorded.",
            )
        return Weights(supernet)
    return Weights(supernet, load_images(images, supernet.space.resolutions[-1]))


def _measuring(measure: str, picks: Sequence[Pick], store: Store, space: SearchSpace) -> Measuring:
    from fleetfront.pipelines.deploy import Measuring
    from fleetfront.predictors.fit_files import list_fits, load_fit
    from fleetfront.quantities import Clock
    from fleetfront.workspace import Workspace

    promised: dict[str, str] = {row["target"]: row["clock"] for pick in picks for row in pick.latency}
    if measure == AUTO:
        targets = tuple(t for t in (Target.parse(text) for text in promised if text) if t.device == "cpu")
        targets = targets or (Target("cpu", "litert"), Target("cpu", "onnxruntime"))
    else:
        targets = (Target.parse(measure),)
    if any(target.device != "cpu" for target in targets):
        raise InputError(f"{targets[0]} is not this machine.", "Measure on a target of the device cpu.")
    clocks = [promised[str(t)] for t in targets if promised.get(str(t)) not in (None, Clock.UNKNOWN.value)]
    clock = Clock(clocks[0]) if clocks else Clock.WALL
    fits = [load_fit(path) for path in list_fits(Workspace.default(), space.name)]
    statistics = {fit.target: fit.statistic for fit in fits if fit.clock == clock}
    return Measuring(store, targets, clock, statistics)


def _report(done: Sequence[Deployed], as_json: bool) -> None:
    failed = [one for one in done if one.error is not None]
    if as_json:
        print_json([_as_json(one) for one in done])
    else:
        headers = (
            "pick",
            "bundle",
            "vs torch (share of range)",
            "latency ms: predicted",
            "measured",
            "target and clock",
        )
        print_table(headers, [row for one in done for row in _rows(one)])
    for one in failed:
        warn(f"{one.error}")
    if failed:
        worst = failed[0].error
        if len(failed) == len(done) and not isinstance(worst, BarMissed) and worst is not None:
            raise worst
        raise BarMissed(f"{len(failed)} of {len(done)} picks missed a bar or failed.", "See the warnings above.")
    hint("")
    next_command(f"ls {done[0].folder}")


def _rows(one: Deployed) -> Sequence[tuple[str, ...]]:
    worst = max((proof.relative_to_range for proof in one.proofs.values()), default=None)
    begin = (one.pick.name, str(one.folder or "not written"), "-" if worst is None else f"{worst:.1e}")
    measured = {str(latency.target): latency for latency in one.measured}
    promised = {row["target"]: row for row in one.pick.latency}
    rows = []
    for target in dict.fromkeys([*promised, *measured]):
        said, seen = promised.get(target), measured.get(target)
        predicted = f"{said['ms']:.4g} +-{said['std_ms']:.2g} [{said['tier']}]" if said else "-"
        value = "-" if seen is None else (f"{seen.ms:.4g}" if seen.ms is not None else f"failed: {seen.error}")
        clock = seen.clock.value if seen else (said or {}).get("clock", "")
        rows.append((*begin, predicted, value, f"{target} {clock}"))
        begin = ("", "", "")
    return rows or [(*begin, "-", "-", "")]


def _as_json(one: Deployed) -> dict[str, Any]:
    return {
        "pick": one.pick.name,
        "arch": one.pick.arch,
        "folder": None if one.folder is None else str(one.folder),
        "checks": {name: proof.as_checks() for name, proof in one.proofs.items()},
        "predicted": [dict(row) for row in one.pick.latency],
        "measured": [
            {
                "target": str(latency.target),
                "clock": latency.clock.value,
                "ms": latency.ms,
                "std_ms": latency.std_ms,
                "statistic": latency.statistic,
                "error": latency.error,
            }
            for latency in one.measured
        ],
        "error": None if one.error is None else str(one.error),
    }
