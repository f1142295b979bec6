"""``fleetfront export``: a user's own torch network as a bundle; the store as a table is a command below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetfront.cli.console import progress
from fleetfront.cli.deploy.file_options import FileChoices, file_options, label_options
from fleetfront.cli.options import Count, json_option, option_group, quiet_option, store_option, store_path
from fleetfront.cli.store.export import export_store_command
from fleetfront.errors import InputError
from fleetfront.text_tables import parse_number

if TYPE_CHECKING:
    from fleetfront.datasets import Preprocessing
    from fleetfront.deploy.formats import FileFormat
    from fleetfront.pipelines.deploy.deploy import Deployed, Measuring
    from fleetfront.pipelines.deploy.export import TorchNetwork
    from fleetfront.progress import Progress
    from fleetfront.targets import Target


class _Exports(click.Group):
    """Options name a network, the word ``store`` the store."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and Path(args[0]).suffix:
            raise InputError(
                f"Nothing called {args[0]!r} can be exported.",
                "Name a network by an option, --torch FILE.py:FACTORY or --keras MODEL; or write: export store",
            )
        return super().resolve_command(ctx, args)


@dataclass(frozen=True, slots=True)
class NetworkChoices:
    """The user's network, its weights' licence and what it is fed, as typed."""

    spec: str | None
    keras: Path | None
    example: str | None
    size: int
    name: str | None
    images: str | None
    unlabelled: bool
    labels: Path | None
    mean: str | None
    std: str | None
    licence: str


#: All options of ``NetworkChoices``, handed to the command as its argument ``network``.
_network_options = option_group(
    NetworkChoices,
    "network",
    [
        click.option(
            "--torch", "spec", metavar="FILE.py:FACTORY", help="A function that gives the network; or timm:NAME."
        ),
        click.option(
            "--keras", type=click.Path(path_type=Path), metavar="MODEL", help="A .keras file or a SavedModel."
        ),
        click.option("--example", metavar="INPUTS", help="inputs.py[:NAME] or x.npz: what it is fed, if no RGB image."),
        click.option("--size", type=Count(1, 8192), default=224, show_default=True, help="Side of its images, pixels."),
        click.option("--name", metavar="NAME", help="Of the bundle.  [default: the factory's]"),
        click.option("--images", metavar="FOLDER", help="Your images: calibrate int8, judge accuracy."),
        label_options,
        click.option("--mean", metavar="R,G,B", help="Of (value / 255 - mean) / std.  [default: ImageNet's]"),
        click.option("--std", metavar="R,G,B", help="Of (value / 255 - mean) / std.  [default: ImageNet's]"),
        click.option("--licence", default="unknown", show_default=True, help="Of the weights, for the manifest."),
    ],
)


@click.group(cls=_Exports, invoke_without_command=True, subcommand_metavar="[store ...]")
@_network_options
@file_options(formats=("onnx", "onnx, ort, tflite"), precisions="fp32, int8, w8, w4", is_of_space=False)
@click.option("--measure", is_flag=True, help="Time the very files on this machine.")
@store_option
@json_option
@quiet_option
@click.pass_context
def export(
    context: click.Context,
    network: NetworkChoices,
    files: FileChoices,
    measure: bool,
    store: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write your own torch or Keras network as files, with the proof and texts of a bundle; or the store as a table.

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
      fleetfront export --keras model.keras
      fleetfront export store --out samples.parquet
    """
    if context.invoked_subcommand is not None:
        _check_nothing_given(context)
        return
    from fleetfront.cli.deploy.results import report
    from fleetfront.pipelines.deploy.deploy import Measuring
    from fleetfront.profilers.store.store import Store
    from fleetfront.quantities import Clock

    kinds, recipe = _kinds(files, network), files.recipe()
    if network.example is not None or network.keras is not None:
        of_images = (
            ("images", network.images),
            ("labels", network.labels),
            ("mean", network.mean),
            ("std", network.std),
        )
        _check_alone(files, {f"--{name}": value for name, value in of_images})
    with Store(store_path(store)) as opened, progress(quiet) as shown:
        timed = Measuring(opened, _targets(kinds, recipe.precisions), Clock.WALL) if measure else None
        if network.keras is not None:
            done = _export_keras(network.keras, network, files, timed, shown)
        else:
            done = _export_torch(_wanted(network), network.example, kinds, files, timed, shown)
    report([done], as_json)


export.add_command(export_store_command)


def _check_nothing_given(context: click.Context) -> None:
    """Raise InputError for an option of a network in front of ``store``, which would say nothing."""
    for one in context.command.params:
        if context.get_parameter_source(str(one.name)) is click.core.ParameterSource.COMMANDLINE:
            raise InputError(
                f"{one.opts[0]} stands before `store`, where it is about a network.",
                "Write options behind it: fleetfront export store --out samples.parquet",
            )


def _kinds(files: FileChoices, network: NetworkChoices) -> tuple[FileFormat, ...]:
    """The formats to write. Raises InputError unless one network is named."""
    from fleetfront.deploy.formats import ALL_FORMATS

    if (network.spec is None) == (network.keras is None):
        raise InputError("Name one network.", "Give --torch FILE.py:FACTORY or --keras MODEL.")
    return files.kinds() if network.keras is None else (ALL_FORMATS["tflite"],)


def _wanted(given: NetworkChoices) -> TorchNetwork:
    from fleetfront.cli.deploy.inputs import read_labels
    from fleetfront.deploy.writers.torch_export import name_of
    from fleetfront.pipelines.deploy.deploy import UserImages
    from fleetfront.pipelines.deploy.export import TorchNetwork

    spec, is_labelled = str(given.spec), not given.unlabelled
    called, fed = given.name or name_of(spec), _preprocessing(given.size, given.mean, given.std)
    seen = None if given.images is None else UserImages(given.images, preprocessing=fed, is_labelled=is_labelled)
    return TorchNetwork(spec, given.size, called, seen, read_labels(given.labels), given.licence, is_labelled, fed)


def _export_torch(
    wanted: TorchNetwork,
    example: str | None,
    kinds: Sequence[FileFormat],
    files: FileChoices,
    timed: Measuring | None,
    shown: Progress,
) -> Deployed:
    from fleetfront.pipelines.deploy.export import export_torch
    from fleetfront.pipelines.deploy.export_example import ExampleNetwork, export_example

    if example is not None:
        given = ExampleNetwork(wanted.spec, example, wanted.name, wanted.licence)
        return export_example(given, kinds, files.out, measuring=timed, force=files.force, progress=shown)
    return export_torch(
        wanted, kinds, files.out, recipe=files.recipe(), measuring=timed, force=files.force, progress=shown
    )


def _export_keras(
    keras: Path, given: NetworkChoices, files: FileChoices, timed: Measuring | None, shown: Progress
) -> Deployed:
    from fleetfront.pipelines.deploy.export_keras import KerasNetwork, export_keras

    if given.example is not None:
        raise InputError("--example is for --torch.", "A Keras model says its own inputs: leave it out.")
    wanted = KerasNetwork(keras, given.name or keras.stem, given.licence)
    return export_keras(wanted, files.out, measuring=timed, force=files.force, progress=shown)


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
                f"{option} is for image classifiers; with --example or --keras a network stays as it is, in fp32.",
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
