"""Pick the network of a front whose neighbours are good, too: where accuracies are uncertain, a lonely peak is luck.

After NA-DARTS (neighbourhood-aware architecture search): the mean over networks that differ in one choice decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import AccuracyModel
from fleetfront.search.results import DeviceFront, FrontPoint
from fleetfront.spaces.base import Genotypes, SearchSpace


def most_robust(front: DeviceFront, space: SearchSpace, accuracy: AccuracyModel) -> FrontPoint:
    """Of the members no dearer than the knee and as accurate as far as its own uncertainty tells, the one with the best
    mean accuracy over all networks that differ from it in one choice.

    Raises InputError from an accuracy that does not answer for these.
    """
    knee = front.points[front.knee]
    rivals = [
        p for p in front.points if p.latency_ms <= knee.latency_ms and p.accuracy >= knee.accuracy - _std(p, knee)
    ]
    means = neighbourhood_means(space, accuracy, [point.arch for point in rivals])
    return rivals[int(np.argmax(means))]


def neighbourhood_means(space: SearchSpace, accuracy: AccuracyModel, archs: Sequence[str]) -> list[float]:
    """The mean accuracy of each network and those that differ from it in one choice, as far as anything is known of
    them: a model of one resolution has no neighbours at others.

    Raises InputError for a network that the accuracy itself does not answer for.
    """
    found = []
    for row in space.parse(archs):
        near = _neighbourhood(space, row[None])
        known = np.array(_known(accuracy, near))
        if len(known) < len(near):
            accuracy.predict(row[None])
        found.append(float(known.mean()))
    return found


def _known(accuracy: AccuracyModel, genotypes: Genotypes) -> list[float]:
    """Accuracies of those that the model answers for; where it refuses, halves are asked."""
    try:
        return [float(value) for value in accuracy.predict(genotypes).mean]
    except InputError:
        if len(genotypes) == 1:
            return []
        return [values for half in np.array_split(genotypes, 2) for values in _known(accuracy, half)]


def _neighbourhood(space: SearchSpace, row: Genotypes) -> Genotypes:
    """A network int8[1, v] and its neighbours, canonical and distinct: int8[k, v]."""
    rows = [row]
    for gene, values in enumerate(space.choices):
        moved = np.repeat(row, len(values), axis=0)
        moved[:, gene] = np.arange(len(values))
        rows.append(moved)
    return np.unique(space.canonical(np.concatenate(rows)), axis=0)


def _std(a: FrontPoint, b: FrontPoint) -> float:
    """Of the difference of two accuracies."""
    return float(np.hypot(a.accuracy_std, b.accuracy_std))


def check_source(source: str) -> None:
    """Raises InputError for accuracies that are measured one network after another, each at a price."""
    if source.startswith(("supernet:", "call:")):
        raise InputError(
            f"The neighbours of a front's members were not judged: {source} is measured network by network.",
            "Pick by --knee or --max-latency.",
        )
