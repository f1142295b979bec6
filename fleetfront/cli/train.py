"""``fleetfront train``: a small supernet from scratch, on labelled images."""

from __future__ import annotations

import click

from fleetfront.cli.console import echo, hint, next_command, print_json, progress
from fleetfront.cli.options import MOST_EPOCHS, Count, json_option, opened_space, quiet_option, seed_option
from fleetfront.errors import InputError, unknown
from fleetfront.targets import MOST_THREADS


@click.command()
@click.argument("images", metavar="FOLDER|digits")
@click.option(
    "--space",
    default="ofa-mbv3-mini",
    show_default=True,
    metavar="NAME",
    callback=opened_space,
    help="Family to train.",
)
@click.option("--epochs", type=Count(1, MOST_EPOCHS), default=30, show_default=True, help="Passes over the images.")
@click.option("--threads", type=Count(1, MOST_THREADS), default=1, show_default=True, help="Threads of torch.")
@seed_option
@json_option
@quiet_option
def train(images: str, space: str, epochs: int, threads: int, seed: int, as_json: bool, quiet: bool) -> None:
    """Train a small supernet on labelled images.

    IMAGES is a folder with one subfolder a class, or `digits` for scikit-learn's. Every network of the space is trained
    at once (sandwich rule; the largest teaches the others). The same training is not repeated; a killed one goes on.

    One process trains: each step changes the weights that the next begins with, and no --workers could share it.
    --threads gives a step more cores; trainings by other seeds are commands of their own, which may run side by side.

    \b
    Examples:
      fleetfront train digits
      fleetfront train photos/ --epochs 60
    """
    from fleetfront.datasets import load_images
    from fleetfront.spaces.base import HasSupernet
    from fleetfront.spaces.catalogue import load_space, supernet_names
    from fleetfront.spaces.supernet.training import TrainingSettings, train_supernet
    from fleetfront.workspace import Workspace

    family = load_space(space)
    if not isinstance(family, HasSupernet):
        known = supernet_names()
        raise unknown("space with a supernet", space, known)
    if len(family.resolutions) > 1:
        raise InputError(
            f"{space} has {len(family.resolutions)} resolutions and needs days of training on many GPUs.",
            f"Use its published weights instead: fleetfront doctor --fetch-weights {space}",
        )
    with progress(quiet) as shown:
        data = load_images(images, family.resolutions[-1], progress=shown)
        settings = TrainingSettings(epochs=epochs, seed=seed, threads=threads)
        result = train_supernet(family, data, settings, workspace=Workspace.default(), progress=shown)
    if as_json:
        print_json(
            {
                "weights": str(result.path),
                "weights_id": result.supernet.weights_id,
                "seconds": result.wall_s,
                "cpu_seconds": result.cpu_s,
                "was_cached": result.is_cached,
            }
        )
    else:
        hint("Trained before; nothing to do." if result.is_cached else f"Trained in {result.wall_s:.0f} s.")
        echo(str(result.path))
    next_command(f"fleetfront search --space {space} --accuracy supernet:{result.path} --images {images}")
