"""Find the archives of earlier sittings: what a search recalls of its own, and what it starts from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from fleetfront.predictors.base import AccuracyModel, HasFingerprint, quality_of
from fleetfront.quantities import ACCURACY
from fleetfront.search.archive import Archive
from fleetfront.search.checkpoints import ARCHIVE_FILE
from fleetfront.search.models.prior import Prior
from fleetfront.search.run import one_thread
from fleetfront.spaces.base import SearchSpace

_START_REMEDY = "Give --start-from the folder of a finished search of the same space."


def recall_archive(
    out: Path | None, space: SearchSpace, accuracy: AccuracyModel, *, retry_failed: bool = False
) -> Archive | None:
    """Load what earlier sittings in a folder evaluated; None if there were none.

    With ``retry_failed`` without the networks whose accuracy could not be told.

    With ``retry_failed`` without the networks whose accuracy could not be told.

    Raises InputError if the folder's archive is another search's, or damaged.
    """
    if out is None or not (out / ARCHIVE_FILE).is_file():
        return None
    archive = Archive.load(out / ARCHIVE_FILE, describe_search(space, accuracy), space=space)
    return archive.only(np.flatnonzero(np.isfinite(archive.accuracy_std))) if retry_failed else archive


def load_start(path: Path, space: SearchSpace, accuracy: AccuracyModel) -> tuple[Archive, Prior | None]:
    """The archive of a finished search of the same space, and, where its accuracy is another one, what that taught:
    then none of its accuracies are this search's.

    Raises InputError if the file is no such archive, if its accuracy has the same name but changed, or if it holds too
    little to learn from.
    """
    source = Archive.about(path, _START_REMEDY).get("accuracy", accuracy.source)
    if source == accuracy.source:
        return Archive.load(path, describe_search(space, accuracy), _START_REMEDY, space), None
    archive = Archive.load(path, {"space": space.name}, _START_REMEDY, space)
    with one_thread()():
        return archive, Prior.of(space, archive, source)


def describe_search(space: SearchSpace, accuracy: AccuracyModel) -> dict[str, str]:
    """Everything that must be equal for one search's accuracies to serve another."""
    about = {"space": space.name, "accuracy": accuracy.source}
    quality = quality_of(accuracy)
    if quality != ACCURACY:
        about["quality"] = quality.name
    # A table, weights or images may have changed under the same name.
    if isinstance(accuracy, HasFingerprint):
        about[f"{accuracy.source}'s content"] = hashlib.sha256(accuracy.fingerprint.encode()).hexdigest()[:12]
    return about
