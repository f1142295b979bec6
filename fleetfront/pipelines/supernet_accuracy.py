"""``--accuracy supernet:WEIGHTS``: joins weights, labelled images and the model that measures accuracy with them."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fleetfront.datasets import DIGITS
from fleetfront.errors import InputError
from fleetfront.pipelines.accuracy_workers import Job, Workers, spread
from fleetfront.predictors.accuracy.sources import SupernetLoader, load_accuracy
from fleetfront.predictors.base import AccuracyModel
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import OfUserFile, SearchSpace
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.predictors.accuracy.supernet import SupernetAccuracy


def judged_accuracy(
    spec: str, space: SearchSpace, images: str | None, workers: Workers, progress: Progress = SILENT
) -> AccuracyModel:
    """The model that a spelling of ``--accuracy`` names, as ``load_accuracy``, with ``workers`` where accuracies take
    time. Raises InputError where these would do nothing, too.
    """
    workers.check_used(spec, isinstance(space, OfUserFile))
    loader = supernet_loader(images, progress=progress, workers=workers)
    return load_accuracy(spec, space, supernet=loader, processes=workers.processes)


def supernet_loader(
    images: str | None,
    workspace: Workspace | None = None,
    progress: Progress = SILENT,
    workers: Workers | None = None,
) -> SupernetLoader:
    """The function that answers ``supernet:WEIGHTS[,classes=a|b]``; ``images`` is a folder of labelled images or
    ``digits``, and ``workers`` judge on them, by default this process alone.
    """

    def load(weights: str, space: SearchSpace) -> AccuracyModel:
        if images is None:
            raise InputError(
                f"Accuracy of {weights} is measured on labelled images, and none were given.",
                "Give --images FOLDER (one subfolder a class), or --images digits.",
            )
        model = open_supernet(weights, space, images, workspace, progress)
        if workers is None or workers.executor is None:
            return model
        workers.start()
        # Workers of a cluster were started in other folders.
        here = os.path.join(os.getcwd(), weights), images if images == DIGITS else os.path.join(os.getcwd(), images)
        job = Job(here[0], space.name, here[1], model.fingerprint)
        return model.spread_over(functools.partial(spread, job, workers))

    return load


def open_supernet(
    weights: str, space: SearchSpace, images: str, workspace: Workspace | None = None, progress: Progress = SILENT
) -> SupernetAccuracy:
    """The accuracy that ``WEIGHTS[,classes=a|b]`` has on ``images``, judged in this process.

    Raises InputError if the space has no supernet, or a file is missing or does not fit.
    """
    from fleetfront.datasets import load_images
    from fleetfront.predictors.accuracy.chosen_classes import only_images, only_outputs, split_classes
    from fleetfront.predictors.accuracy.supernet import SupernetAccuracy
    from fleetfront.spaces.base import HasSupernet
    from fleetfront.spaces.supernet.checkpoints import load_supernet

    if not isinstance(space, HasSupernet):
        raise InputError(f"{space.name} has no supernet.", "Use --accuracy built-in or csv:PATH.")
    path, classes = split_classes(weights)
    supernet = load_supernet(Path(path), space)
    data = load_images(images, supernet.space.resolutions[-1], progress=progress)
    if classes:
        supernet, data = only_outputs(supernet, classes, data.class_names), only_images(data, classes)
    return SupernetAccuracy(supernet, data, f"supernet:{weights}", workspace or Workspace.default())
