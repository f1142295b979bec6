"""``fleetfront deploy``: write chosen networks as files, proven and, if asked, measured."""

from __future__ import annotations

from pathlib import Path

import click

from fleetfront.cli.console import progress
from fleetfront.cli.deploy_inputs import AUTO
from fleetfront.cli.file_options import FileChoices, file_options, label_options
from fleetfront.cli.options import DEFAULT_SPACE, json_option, quiet_option, store_option, store_path


@click.command()
@click.option("--front", type=click.Path(path_type=Path), help="fronts.json or its folder.  [default: the newest]")
@click.option(
    "--device",
    "--devices",
    "devices",
    multiple=True,
    metavar="NAME[,NAME]",
    help="Which devices of the front.  [default: all of them]",
)
@click.option(
    "--max-latency",
    "limits",
    multiple=True,
    metavar="MS|DEVICE=MS",
    help="The most accurate network within this latency, of each device or of one; repeatable.",
)
@click.option("--knee", is_flag=True, help="The network where more latency begins to buy little.")
@click.option("--per-device", type=click.IntRange(1), metavar="K", help="K networks spread over each device's front.")
@click.option("--shared", is_flag=True, help="The networks that `search --share K` chose for all devices.")
@click.option("--arch", "archs", multiple=True, metavar="ARCH", help="This architecture; repeatable.")
@click.option("--space", metavar="NAME", help="Space of --arch where there is no front.  [default: the front's]")
@click.option("--weights", type=click.Path(path_type=Path), help="Supernet: a checkpoint or .safetensors file.")
@click.option("--random-weights", is_flag=True, help="No knowledge, real speed; written into name and metadata.")
@click.option(
    "--images", metavar="FOLDER|digits", help="Your images: recalibrate batch-norm, calibrate int8, judge accuracy."
)
@label_options
@click.option("--no-recalibration", is_flag=True, help="Keep the supernet's own statistics; accuracy suffers.")
@file_options(formats=("onnx,tflite", "onnx, tflite, ort, trt"), precisions="fp32, fp16, int8", is_of_space=True)
@click.option(
    "--measure", is_flag=False, flag_value=AUTO, metavar="[TARGET]", help="Time the very files: here, or on adb:SERIAL."
)
@store_option
@json_option
@quiet_option
def deploy(
    front: Path | None,
    devices: tuple[str, ...],
    limits: tuple[str, ...],
    knee: bool,
    per_device: int | None,
    shared: bool,
    archs: tuple[str, ...],
    space: str | None,
    weights: Path | None,
    random_weights: bool,
    images: str | None,
    unlabelled: bool,
    labels: Path | None,
    no_recalibration: bool,
    files: FileChoices,
    measure: str | None,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write chosen networks as files, proven against torch in their own runtime.

    One folder a network: the files, manifest.json, labels, a model card and code that runs the files. Accuracy is
    judged on held-out images of --images where their folders are the network's classes. With --measure the very files
    are timed, and what was predicted stands beside what was measured, under the same clock. int8 is smaller; whether it
    is faster, only --measure tells.

    \b
    Examples:
      fleetfront deploy --knee --weights ofa-w1.2.pth --images photos/
      fleetfront deploy --front fronts/ --max-latency 20 --formats tflite --measure
      fleetfront deploy --per-device 3 --images photos/ --precisions fp32,int8 --max-drop 1 --input uint8 --softmax
      fleetfront deploy --arch k33..._e33..._d22222_r160 --random-weights --measure cpu/onnxruntime/fp32/t1/b1
    """
    from fleetfront.cli import deploy_inputs as given
    from fleetfront.cli.deploy_report import report
    from fleetfront.pipelines.deploy import deploy_picks
    from fleetfront.profilers.store import Store
    from fleetfront.spaces.catalogue import load_space

    kinds, recipe = files.kinds(), files.recipe()
    fronts = given.read_fronts(front, needed=not archs)
    family = load_space(space or (fronts.space if fronts is not None else DEFAULT_SPACE))
    given.check_space(fronts, family)
    picks, failed = given.choose(fronts, family, devices, given.parse_limits(limits), knee, per_device, shared, archs)
    known = given.read_weights(family, fronts, weights, random_weights, images, no_recalibration, labels, unlabelled)
    done = []
    if picks or not failed:
        with Store(store_path(store)) as opened, progress(quiet) as shown:
            timed = None
            if measure is not None:
                timed = given.measuring_of(measure, picks, opened, family, kinds, recipe)
            done = deploy_picks(
                picks,
                family,
                known,
                kinds,
                files.out,
                recipe=recipe,
                measuring=timed,
                force=files.force,
                progress=shown,
            )
    report([*done, *failed], as_json)
