"""Tell what a front chose: how often each value of each gene, and what another value would cost and gain there.

After NAS-Navigator (bars of choices) and PONAS (accuracy a choice). Latencies are asked of the device's cost model.
Accuracies are those that the search evaluated and, between them, what a Gaussian process reads from these: nothing is
evaluated for it, so nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.predictors.base import CostModel, predict_covered
from fleetfront.quantities import Quality
from fleetfront.search.archive import Archive
from fleetfront.search.models.features import NetworkFeatures
from fleetfront.search.models.gaussian_process import GaussianProcess
from fleetfront.search.models.log_error import LogError
from fleetfront.search.results import ChoiceEffect
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Evaluated networks that accuracy is learnt from: fewer say too little, more say little more and cost their cube.
_LEAST, _MOST = 24, 400
#: Of those, how many a value must occur in.
_SEEN = 3
#: Members of a front, in even steps along it, that choices are changed in.
_CHANGED = 24


@dataclass(frozen=True, slots=True)
class ArchivedAccuracy:
    """Accuracy as a finished search knows it: exact where it looked, a process's prediction elsewhere.

    Attributes:
        seen: for each gene bool[values]: which occur often enough among what was learnt from.
    """

    archive: Archive
    features: NetworkFeatures
    process: GaussianProcess
    scale: LogError
    seen: tuple[NDArray[np.bool_], ...]

    @classmethod
    def of(cls, space: SearchSpace, archive: Archive) -> ArchivedAccuracy | None:
        """Learn from the networks of an archive; None if these are too few."""
        known = np.flatnonzero(np.isfinite(archive.accuracy_std))
        if len(known) < _LEAST:
            return None
        # Drawn from all: those near the fronts alone know nothing of bad choices, and believe that they do.
        chosen = np.sort(np.random.default_rng(0).permutation(known)[:_MOST])
        genotypes, accuracy = archive.genotypes[chosen], archive.accuracy[chosen]
        scale, features = LogError.of(accuracy), NetworkFeatures(space)
        process = GaussianProcess.fit(features(genotypes), scale.values(accuracy))
        active = space.active(genotypes)
        counts = (
            np.bincount(genotypes[active[:, gene], gene], minlength=len(values))
            for gene, values in enumerate(space.choices)
        )
        return cls(archive, features, process, scale, tuple(count >= _SEEN for count in counts))

    def predict(self, genotypes: Genotypes) -> tuple[FloatArray, FloatArray]:
        """Score and standard deviation of n networks, float64[n] each; 0 deviation where the search looked."""
        mean, std = self.scale.accuracies(*self.process.predict(self.features(genotypes)))
        rows = self.archive.find(genotypes)
        is_known = (rows >= 0) & np.isfinite(self.archive.accuracy_std[rows])
        mean[is_known], std[is_known] = self.archive.accuracy[rows[is_known]], 0.0
        return mean, std


def describe_choices(
    space: SearchSpace,
    members: Genotypes,
    cost: CostModel | None,
    accuracy: ArchivedAccuracy | None,
    quality: Quality,
) -> tuple[ChoiceEffect, ...]:
    """Every value of every gene that the members int8[k, v] of a front, ascending in cost, make use of.

    The difference of a value is the mean over members that have another one, of that member with this value less the
    member as it is; in the unit of ``cost`` and of ``quality``. It is None where no model answers, where every member
    has the value already, or, of accuracy, where hardly any evaluated network has it. The standard deviation takes the
    errors of all members to be alike, which is careful: on NAS-Bench-201 nine tenths of the true differences lie within
    1.6 of them.
    """
    if not len(members):
        return ()
    active = space.active(members)
    steps = np.unique(np.linspace(0, len(members) - 1, min(_CHANGED, len(members))).round().astype(np.intp))
    edits = list(_edits(space, members[steps]))
    changed = np.concatenate([edit for _, _, _, edit in edits])
    of = np.concatenate([steps[rows] for _, _, rows, _ in edits])
    ms = None if cost is None else _mean(cost, changed) - _mean(cost, members)[of]
    scores = None if accuracy is None else _differences(accuracy, changed, members, of)
    found, end = [], 0
    for gene, value, rows, _ in edits:
        start, end = end, end + len(rows)
        at = slice(start, end)
        difference: tuple[float | None, float | None] = (None, None)
        if scores is not None and accuracy is not None and len(rows) and accuracy.seen[gene][value]:
            difference = float(quality.shown(scores[0][at].mean())), float(scores[1][at].mean())
        found.append(
            ChoiceEffect(
                space.gene_names[gene],
                str(space.choices[gene][value]),
                float((active[:, gene] & (members[:, gene] == value)).mean()),
                len(rows),
                None if ms is None or not len(rows) or not np.isfinite(ms[at]).all() else float(ms[at].mean()),
                *difference,
            )
        )
    return tuple(found)


def _edits(space: SearchSpace, members: Genotypes) -> Iterator[tuple[int, int, NDArray[np.intp], Genotypes]]:
    """For each value of each gene that matters in any member: the rows of those that have another one, and these
    members with that value, canonical."""
    active = space.active(members)
    for gene, values in enumerate(space.choices):
        if not active[:, gene].any():
            continue
        for value in range(len(values)):
            rows = np.flatnonzero(active[:, gene] & (members[:, gene] != value))
            edit = members[rows].copy()
            edit[:, gene] = value
            yield gene, value, rows, space.canonical(edit)


def _mean(cost: CostModel, genotypes: Genotypes) -> FloatArray:
    return predict_covered(cost, genotypes).mean


def _differences(
    accuracy: ArchivedAccuracy, changed: Genotypes, members: Genotypes, of: NDArray[np.intp]
) -> tuple[FloatArray, FloatArray]:
    """Score of each changed network less that of its member, and the standard deviation."""
    mean, std = accuracy.predict(changed)
    own, own_std = accuracy.predict(members)
    return mean - own[of], np.hypot(std, own_std[of])
