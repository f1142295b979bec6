"""``fleetfront export``: a user's own torch network as a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import progress
from fleetfront.cli.deploy.file_options import FileChoices, file_options, label_options
from fleetfront.cli.options import Count, json_option, quiet_option, store_option, store_path
from fleetfront.errors import InputError
from fleetfront.text_tables import parse_number

if TYPE_CHECKING:
    from fleetfront.datasets import Preprocessing
    from fleetfront.deploy.formats import FileFormat
    from fleetfront.targets import Target


@click.command()
@click.option(
    "--torch",
    "spec",
    required=True,
    metavar="FILE.py:FACTORY",
    help="A function that gives the network; or timm:NAME, torchvision:NAME.",
)
@click.option("--example", metavar="INPUTS", help="inputs.py[:NAME] or x.npz: what it is fed, if no RGB image.")
@click.option("--size", type=Count(1, 8192), default=224, show_default=True, help="Side of its images, pixels.")
@click.option("--name", metavar="NAME", help="Of the bundle.  [default: the factory's]")
@click.option("--images", metavar="FOLDER", help="Your images: calibrate int8, judge accuracy.")
@label_options
@click.option("--mean", metavar="R,G,B", help="Of (value / 255 - mean) / std.  [default: ImageNet's]")
@click.option("--std", metavar="R,G,B", help="Of (value / 255 - mean) / std.  [default: ImageNet's]")
@click.option("--licence", default="unknown", show_default=True, help="Of the weights, for the manifest.")
@file_options(formats=("onnx", "onnx, ort, tflite"), precisions="fp32, int8", is_of_space=False)
@click.option("--measure", is_flag=True, help="Time the very files on this machine.")
@store_option
@json_option
@quiet_option
def export(
    spec: str,
    example: str | None,
    size: int,
    name: str | None,
    images: str | None,
    unlabelled: bool,
    labels: Path | None,
    mean: str | None,
    std: str | None,
    licence: str,
    files: FileChoices,
    measure: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write your own torch network as files, with the proof and texts of a bundle.

    FILE.py is run. FACTORY takes no arguments and returns an image classifier, a torch.nn.Module with its weights
    loaded; timm:NAME and torchvision:NAME are untrained. ONNX goes through torch.onnx, TFLite through litert-torch,
    which wants an environment of its own: pip install 'fleetfront[cpu,torch,export-tflite]'.

    Networks of any other inputs and outputs are exported by an example: `example` in inputs.py is a tensor, a tuple in
    the order of forward, a dict by its parameters, or a function that gives one; an .npz holds arrays by parameter.

    \b
    Examples:
      fleetfront export --torch mynet.py:make --size 128 --images photos/ --precisions fp32,int8
      fleetfront export --torch mynet.py:make --formats onnx,tflite --input uint8 --softmax --labels classes.txt
      fleetfront export --torch bert.py:make --example inputs.py --formats onnx,ort
      fleetfront export --torch timm:mobilenetv3_small_100 --measure
    """
    from fleetfront.cli.deploy.inputs import read_labels
    from fleetfront.cli.deploy.results import report
    from fleetfront.deploy.writers.torch_export import name_of
    from fleetfront.pipelines.deploy.deploy import Measuring, UserImages
    from fleetfront.pipelines.deploy.export import TorchNetwork, export_torch
    from fleetfront.pipelines.deploy.export_example import ExampleNetwork, export_example
    from fleetfront.profilers.store.store import Store
    from fleetfront.quantities import Clock

    factory = name_of(spec)
    kinds, recipe = files.kinds(), files.recipe()
    if example is not None:
        _check_alone(files, {"--images": images, "--labels": labels, "--mean": mean, "--std": std})
    preprocessing = _preprocessing(size, mean, std)
    called, is_labelled = name or factory, not unlabelled
    seen = UserImages(images, preprocessing=preprocessing, is_labelled=is_labelled) if images is not None else None
    wanted = TorchNetwork(spec, size, called, seen, read_labels(labels), licence, is_labelled, preprocessing)
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        timed = Measuring(opened, _targets(kinds, recipe.precisions), Clock.WALL) if measure else None
        if example is not None:
            given = ExampleNetwork(spec, example, wanted.name, licence)
            done = export_example(given, kinds, files.out, measuring=timed, force=files.force, progress=shown)
        else:
            done = export_torch(
                wanted, kinds, files.out, recipe=recipe, measuring=timed, force=files.force, progress=shown
            )
    report([done], as_json)


def _targets(kinds: Sequence[FileFormat], precisions: Sequence[str]) -> tuple[Target, ...]:
    """This machine's CPU in every runtime and precision of the files."""
    from fleetfront.targets import Target

    runtimes = dict.fromkeys(kind.runtime for kind in kinds)
    return tuple(Target("cpu", runtime, precision) for runtime in runtimes for precision in precisions)


def _check_alone(files: FileChoices, given: Mapping[str, object]) -> None:
    """Raise InputError if something is asked for that only image classifiers have."""
    contract = files.recipe().contract
    asked = {
        **given,
        "--softmax": contract.softmax,
        f"--input {contract.input}": contract.scales_inside,
        "--channels bgr": contract.channels == "bgr",
        "--layout NHWC": contract.onnx_layout == "NHWC",
        "--max-drop": files.max_drop,
        "--precisions": files.recipe().precisions != ("fp32",),
    }
    for option, value in asked.items():
        if value:
            raise InputError(
                f"{option} is for image classifiers; with --example a network is exported as it is, in fp32.",
                "Leave one of them out.",
            )


def _preprocessing(size: int, mean: str | None, std: str | None) -> Preprocessing | None:
    from fleetfront.datasets import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

    if mean is None and std is None:
        return None
    return Preprocessing(size, _three(mean) or IMAGENET_MEAN, _three(std) or IMAGENET_STD)


def _three(text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        values = tuple(parse_number(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) == 1:
        values *= 3
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):
        raise InputError(
            f"{text!r} is not a value for each channel.",
            "Write R,G,B between 0 and 1 (those of bytes divided by 255), or one for all.",
        )
    return values
