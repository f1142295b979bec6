"""Options of ``deploy`` and ``export`` about the files that they write: classes, formats, precisions, how an app feeds
them, bars, where they go. What is written is decided elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetfront.cli.options import Amount, Count, Function, option_group
from fleetfront.errors import InputError

if TYPE_CHECKING:
    from fleetfront.deploy.contract import InputContract
    from fleetfront.deploy.formats import FileFormat
    from fleetfront.pipelines.deploy.deploy import Recipe

#: More images at once are proven with more memory than machines have.
LARGEST_BATCH = 1024


@dataclass(frozen=True, slots=True)
class FileChoices:
    """Values of ``file_options``, as typed."""

    formats: str
    precisions: str | None
    input_kind: str
    channels: str
    layout: str
    softmax: bool
    max_drop: float | None
    out: Path
    force: bool
    batch: str = "1"
    test_images: int = 500

    def kinds(self) -> tuple[FileFormat, ...]:
        """The formats. Raises InputError for unknown ones."""
        from fleetfront.deploy.formats import parse_formats

        return parse_formats(self.formats)

    def recipe(self) -> Recipe:
        """Precisions, input contract and bars. Raises InputError for unknown ones."""
        from fleetfront.deploy.quantise.precisions import parse_precisions
        from fleetfront.pipelines.deploy.deploy import Recipe

        if self.max_drop is not None and not math.isfinite(self.max_drop):
            raise InputError(f"--max-drop {self.max_drop} is no limit.", "Write percent points, e.g. --max-drop 1.")
        return Recipe(parse_precisions(self.precisions or "fp32"), self._contract(), self.max_drop, self.test_images)

    def _contract(self) -> InputContract:
        from fleetfront.deploy.contract import InputContract

        return InputContract(self.input_kind, self.channels, self.softmax, self.layout.upper(), batch_of(self.batch))


#: ``--unlabelled`` and ``--labels``.
LABEL_OPTIONS = (
    click.option("--unlabelled", is_flag=True, help="The folders of --images are not the network's classes."),
    click.option("--labels", type=click.Path(path_type=Path), help="Names of the classes, one a line."),
)


def label_options(function: Function) -> Function:
    """``--unlabelled`` and ``--labels``."""
    for option in reversed(LABEL_OPTIONS):
        function = option(function)
    return function


def file_options(
    *, formats: tuple[str, str], precisions: str, is_of_space: bool
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """All options of ``FileChoices``, handed to the command as its one argument ``files``.

    Args:
        formats: the default, and all of them.
        precisions: all of them.
        is_of_space: whether networks are of a space, which can have other batches.
    """
    options = [
        *_kinds(formats, precisions, is_of_space),
        *_contract(),
        *(_BATCH if is_of_space else ()),
        *_bars(is_of_space),
    ]
    return option_group(FileChoices, "files", [*options, *_places()])


def _kinds(formats: tuple[str, str], precisions: str, is_of_space: bool) -> list[Any]:
    default, known = formats
    default_precision = "what the front says, else fp32" if is_of_space else "fp32"
    return [
        click.option("--formats", default=default, show_default=True, help=f"Files of each bundle: {known}."),
        click.option("--precisions", help=f"Of each format: {precisions}.  [default: {default_precision}]"),
    ]


def _contract() -> list[Any]:
    return [
        click.option(
            "--input",
            "input_kind",
            type=click.Choice(["float", "unit", "uint8"]),
            default="float",
            show_default=True,
            help="uint8: feed an image's bytes, unit: feed them divided by 255; the file scales either.",
        ),
        click.option(
            "--channels",
            type=click.Choice(["rgb", "bgr"]),
            default="rgb",
            show_default=True,
            help="Order that you feed.",
        ),
        click.option(
            "--layout",
            type=click.Choice(["NCHW", "NHWC"], case_sensitive=False),
            default="NCHW",
            show_default=True,
            help="Of images in ONNX files; TFLite is always NHWC.",
        ),
        click.option("--softmax", is_flag=True, help="Give probabilities instead of logits."),
    ]


_BATCH = (click.option("--batch", default="1", show_default=True, metavar="N|dynamic", help="Images per inference."),)


def _bars(has_test_images: bool) -> list[Any]:
    most = "Most top-1 accuracy a precision may lose to fp32."
    options = [click.option("--max-drop", type=Amount(0, 100), metavar="POINTS", help=most)]
    if has_test_images:
        options.append(
            click.option(
                "--test-images",
                type=Count(1, 1_000_000),
                default=500,
                show_default=True,
                help="Held-out images to judge accuracy on, at most.",
            )
        )
    return options


def _places() -> list[Any]:
    return [
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            default=Path("bundles"),
            show_default=True,
            help="Folder of bundles.",
        ),
        click.option("--force", is_flag=True, help="Replace bundles that exist."),
    ]


def batch_of(text: str) -> int | str:
    """``--batch`` as a contract wants it. Raises InputError on anything but a number or ``dynamic``."""
    from fleetfront.deploy.contract import DYNAMIC

    if text == "dynamic":
        return DYNAMIC
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= LARGEST_BATCH:
        raise InputError(f"{text!r} is not a batch.", f"Use a number from 1 to {LARGEST_BATCH}, or dynamic.")
    return int(text)
