"""Options of ``deploy`` about which networks it takes and what they know. What is made of them is in
``deploy.inputs``; options about the files are in ``file_options``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from fleetfront.cli.deploy.file_options import LABEL_OPTIONS
from fleetfront.cli.options import MOST_NETWORKS, Count, option_group


@dataclass(frozen=True, slots=True)
class PickChoices:
    """Values of ``pick_options``, as typed."""

    devices: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    knee: bool = False
    per_device: int | None = None
    shared: bool = False
    archs: tuple[str, ...] = ()
    pick: str | None = None
    least: tuple[str, ...] = ()

    @property
    def needs_front(self) -> bool:
        """True if something is chosen that only a front has."""
        how = self.knee or self.pick or self.per_device is not None or self.shared or self.least
        return bool(self.devices or self.limits or how) or not self.archs


@dataclass(frozen=True, slots=True)
class WeightChoices:
    """Values of ``weight_options``, as typed."""

    weights: Path | None = None
    random_weights: bool = False
    images: str | None = None
    unlabelled: bool = False
    labels: Path | None = None
    no_recalibration: bool = False
    classes: tuple[str, ...] = ()


#: All options of ``PickChoices``, handed to the command as its argument ``picks``.
pick_options = option_group(
    PickChoices,
    "picks",
    [
        click.option(
            "--device",
            "--devices",
            "devices",
            multiple=True,
            metavar="NAME[,NAME]",
            help="Which devices of the front.  [default: all of them]",
        ),
        click.option(
            "--max-latency",
            "limits",
            multiple=True,
            metavar="MS|DEVICE=MS",
            help="The most accurate network within this latency, of each device or of one; repeatable.",
        ),
        click.option("--knee", is_flag=True, help="The network where more latency begins to buy little."),
        click.option(
            "--pick",
            type=click.Choice(["knee", "robust"]),
            help="robust: about as good as the knee, with the most accurate neighbours.",
        ),
        click.option(
            "--per-device",
            type=Count(1, MOST_NETWORKS),
            metavar="K",
            help="K networks spread over each device's front.",
        ),
        click.option(
            "--least",
            multiple=True,
            metavar="TASK=VALUE",
            help="Only networks that are at least so good at a task, where fronts have several; repeatable.",
        ),
        click.option("--shared", is_flag=True, help="The networks that `search --share K` chose for all devices."),
        click.option("--arch", "archs", multiple=True, metavar="ARCH", help="This architecture; repeatable."),
    ],
)

#: All options of ``WeightChoices``, handed to the command as its argument ``weights``.
weight_options = option_group(
    WeightChoices,
    "weights",
    [
        click.option("--weights", type=click.Path(path_type=Path), help="Supernet: a checkpoint or .safetensors file."),
        click.option(
            "--random-weights", is_flag=True, help="No knowledge, real speed; written into name and metadata."
        ),
        click.option(
            "--images",
            metavar="FOLDER|digits",
            help="Your images: recalibrate batch-norm, calibrate int8, judge accuracy.",
        ),
        *LABEL_OPTIONS,
        click.option(
            "--classes",
            multiple=True,
            metavar="A,B",
            help="Cut the classifier to these classes.  [default: those that the front was judged on]",
        ),
        click.option("--no-recalibration", is_flag=True, help="Keep the supernet's own statistics; accuracy suffers."),
    ],
)
