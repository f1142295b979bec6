"""``fleetfront import trtexec``: what NVIDIA's own tool measured."""

from __future__ import annotations

from pathlib import Path

import click

from fleetfront.cli.options import Count, json_option, store_option, store_path
from fleetfront.targets import MOST_BATCH, PRECISIONS

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("trtexec")
@click.argument("path", metavar="TIMES.json", type=_FILE)
@click.option("--device", required=True, metavar="NAME", help="GPU that was measured, e.g. cuda:0 or a config's name.")
@click.option("--space", metavar="NAME", help="Space of --arch or --block.")
@click.option("--arch", default="", metavar="ARCH", help="The network that was measured.")
@click.option("--block", default="", metavar="KEY", help="The block that was measured.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True, help="Of the engine.")
@click.option("--batch", type=Count(1, MOST_BATCH), default=1, show_default=True, help="Images per inference.")
@click.option("--profile", "profile", type=_FILE, help="What --exportProfile wrote: layers are kept, and shown.")
@click.option("--layers", "layers", type=_FILE, help="What --exportLayerInfo wrote; kept with the times.")
@store_option
@json_option
def import_trtexec_command(
    path: Path,
    device: str,
    space: str | None,
    arch: str,
    block: str,
    precision: str,
    batch: int,
    profile: Path | None,
    layers: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Times of one engine: what `trtexec --exportTimes=TIMES.json` wrote.

    \b
    Example:
      fleetfront import trtexec times.json --device cuda:0 --space ofa-mbv3-w1.2 --arch ARCH --precision fp16 --batch 64
      fleetfront import trtexec times.json --device cuda:0 --profile profile.json
    """
    from fleetfront.cli.console import echo, print_json, warn
    from fleetfront.cli.profile.file_operators import tell_operators
    from fleetfront.pipelines.importing.trtexec import Measured, import_trtexec, trtexec_operators
    from fleetfront.pipelines.measure.operator_time_files import save_operator_times
    from fleetfront.profilers.store.store import Store
    from fleetfront.spaces.catalogue import load_space
    from fleetfront.workspace import Workspace

    with Store(store_path(store)) as opened:
        report = import_trtexec(
            path,
            device,
            opened,
            space=load_space(space) if space else None,
            measured=Measured(arch, block),
            precision=precision,
            batch=batch,
            profile=profile,
            layers=layers,
        )
    (target,) = report.targets
    layered = None if profile is None else trtexec_operators(path, profile, target)
    if layered is not None:
        save_operator_times(layered, Workspace.default())
    if as_json:
        told = {"target": str(target), "new": report.new, "known": report.known, "warnings": list(report.warnings)}
        print_json(told if layered is None else {**told, "operators": layered.to_json()})
    else:
        echo(f"{path.name} for {target}: {report.new} rows new, {report.known} known.")
        if layered is not None:
            tell_operators(layered)
    for text in report.warnings:
        warn(text)
