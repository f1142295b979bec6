"""``--accuracy supernet:WEIGHTS``: joins weights, labelled images and the model that measures accuracy with them."""

from __future__ import annotations

from pathlib import Path

from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.sources import SupernetLoader
from fleetfront.predictors.base import AccuracyModel
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import SearchSpace
from fleetfront.workspace import Workspace


def supernet_loader(
    images: str | None, workspace: Workspace | None = None, progress: Progress = SILENT
) -> SupernetLoader:
    """The function that answers ``supernet:WEIGHTS[,classes=a|b]``; ``images`` is a folder of labelled images or
    ``digits``.
    """

    def load(weights: str, space: SearchSpace) -> AccuracyModel:
        from fleetfront.datasets import load_images
        from fleetfront.predictors.accuracy.chosen_classes import only_images, only_outputs, split_classes
        from fleetfront.predictors.accuracy.supernet import SupernetAccuracy
        from fleetfront.spaces.base import HasSupernet
        from fleetfront.spaces.supernet.checkpoints import load_supernet

        if not isinstance(space, HasSupernet):
            raise InputError(f"{space.name} has no supernet.", "Use --accuracy built-in or csv:PATH.")
        if images is None:
            raise InputError(
                f"Accuracy of {weights} is measured on labelled images, and none were given.",
                "Give --images FOLDER (one subfolder a class), or --images digits.",
            )
        path, classes = split_classes(weights)
        supernet = load_supernet(Path(path), space)
        data = load_images(images, supernet.space.resolutions[-1], progress=progress)
        if classes:
            supernet, data = only_outputs(supernet, classes, data.class_names), only_images(data, classes)
        return SupernetAccuracy(supernet, data, f"supernet:{weights}", workspace or Workspace.default())

    return load
