"""``fleetfront deploy``: write chosen networks as files, proven and, if asked, measured."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from fleetfront.cli.console import progress
from fleetfront.cli.deploy.file_options import FileChoices, file_options
from fleetfront.cli.deploy.inputs import AUTO
from fleetfront.cli.deploy.options import PickChoices, WeightChoices, pick_options, weight_options
from fleetfront.cli.options import DEFAULT_SPACE, json_option, opened_space, quiet_option, store_option, store_path


@click.command()
@click.option("--front", type=click.Path(path_type=Path), help="fronts.json or its folder.  [default: the newest]")
@pick_options
@click.option(
    "--space",
    metavar="NAME",
    callback=opened_space,
    help="Space of --arch where there is no front.  [default: the front's]",
)
@weight_options
@file_options(
    formats=("onnx,tflite", "onnx, tflite, ort, trt"), precisions="fp32, fp16, int8, w8, w4", is_of_space=True
)
@click.option(
    "--measure",
    is_flag=False,
    flag_value=AUTO,
    metavar="[TARGET]",
    help="Time the very files: here, on adb:SERIAL or ssh:HOST/cpu.",
)
@click.option(
    "--workers",
    default="1",
    show_default=True,
    metavar="N|dask://HOST:PORT",
    help="Processes, or a Dask cluster, that write and prove; measuring is done here, one file at a time.",
)
@click.option("--trust-network", is_flag=True, help="With --workers: a scheduler elsewhere may lack TLS.")
@store_option
@json_option
@quiet_option
def deploy(
    front: Path | None,
    picks: PickChoices,
    space: str | None,
    weights: WeightChoices,
    files: FileChoices,
    measure: str | None,
    workers: str,
    trust_network: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write chosen networks as files, proven against torch in their own runtime.

    One folder a network: the files, manifest.json, labels, a model card and code that runs the files. Accuracy is
    judged on held-out images of --images where their folders are the network's classes. With --measure the very files
    are timed, and what was predicted stands beside that, under the same clock: only so int8 is known to be faster.

    \b
    Examples:
      fleetfront deploy --knee --weights ofa-w1.2.pth --images photos/
      fleetfront deploy --front fronts/ --max-latency 20 --formats tflite --measure
      fleetfront deploy --per-device 3 --weights ofa-w1.2.pth --images photos/ --workers 4
      fleetfront deploy --per-device 3 --images photos/ --precisions fp32,int8 --max-drop 1 --input uint8 --softmax
      fleetfront deploy --arch k33..._e33..._d22222_r160 --random-weights --measure cpu/onnxruntime/fp32/t1/b1
    """
    from fleetfront.cli.deploy import inputs as given
    from fleetfront.cli.deploy.results import report
    from fleetfront.deploy.formats import parse_formats
    from fleetfront.pipelines.deploy.deploy import Deployed, deploy_picks
    from fleetfront.pipelines.deploy.own_family import deploy_family
    from fleetfront.profilers.store.store import Store
    from fleetfront.spaces.base import OfUserFile, plain_space

    kinds, recipe = files.kinds(), files.recipe()
    fronts = given.read_fronts(front, needed=picks.needs_front)
    family = given.read_space(fronts, space or DEFAULT_SPACE, files.precisions, is_named=space is not None)
    chosen, failed = given.choose(fronts, family, picks)
    family = plain_space(family)
    write: Callable[..., list[Deployed]]
    if isinstance(family, OfUserFile):
        given.check_own(family, weights, workers)
        kinds = kinds if given.is_asked("formats") else parse_formats("onnx")
        write = partial(deploy_family, chosen, family)
    else:
        known = given.read_weights(family, fronts, weights)
        write = partial(deploy_picks, chosen, family, known, workers=workers, trusts_network=trust_network)
    done: list[Deployed] = []
    if chosen or not failed:
        with ExitStack() as held:
            timed = None
            if measure is None:
                given.warn_of_promises(chosen, family)
            else:
                opened = held.enter_context(Store(store_path(store)))
                timed = given.measuring_of(measure, chosen, opened, family, kinds, recipe)
            shown = held.enter_context(progress(quiet))
            done = write(kinds, files.out, recipe=recipe, measuring=timed, force=files.force, progress=shown)
    report([*done, *failed], as_json)
