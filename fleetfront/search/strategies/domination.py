"""Label networks by whether representatives of a front dominate them, more or less strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Halvings of the interval in which the strictness is sought.
_HALVINGS = 20


def representatives(values: FloatArray, most: int) -> NDArray[np.intp]:
    """Rows of a front float64[n, m], one a cluster: that nearest to its cluster's mean, objectives scaled to 0 .. 1.

    Ward's clusters; how many, from 2 to ``most``, the mean silhouette decides (Rousseeuw 1987).
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(values) <= 2:
        return np.arange(len(values))
    scaled = _scaled(values, values)
    distance = np.sqrt(np.square(scaled[:, None] - scaled[None]).sum(axis=2))
    tree = linkage(scaled, "ward")
    cuts = [fcluster(tree, k, "maxclust") for k in range(2, min(most, len(values) - 1) + 1)]
    labels = max(cuts, key=lambda cut: _silhouette(distance, cut))
    rows = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rows.append(members[np.argmin(np.square(scaled[members] - scaled[members].mean(axis=0)).sum(axis=1))])
    return np.sort(np.array(rows))


def label_good(values: FloatArray, references: FloatArray, least: float, most: float) -> NDArray[np.bool_]:
    """bool[n]: which of float64[n, m], all minimised, no reference float64[r, m] alpha-dominates.

    A reference z does so if ``z_i - x_i + alpha * sum_j!=i (z_j - x_j) < 0`` in every objective i; alpha 0 is strict
    dominance. Alpha is halved down until the share of good ones lies between ``least`` and ``most``, or as near as it
    gets.
    """
    lead = _scaled(references, values)[None] - _scaled(values, values)[:, None]
    total = lead.sum(axis=2, keepdims=True)

    def good(alpha: float) -> NDArray[np.bool_]:
        relaxed = lead + alpha * (total - lead)
        undominated: NDArray[np.bool_] = ~np.any(np.all(relaxed < 0, axis=2), axis=1)
        return undominated

    # At the lower end nobody is dominated, at the upper end whoever is worse in the sum.
    low, high = -1.0 / (values.shape[1] - 1), 1.0
    alpha, found = 0.0, good(0.0)
    for _ in range(_HALVINGS):
        share = found.mean()
        if least <= share <= most:
            break
        low, high = (low, alpha) if share < least else (alpha, high)
        alpha = 0.5 * (low + high)
        found = good(alpha)
    return found


def _scaled(values: FloatArray, known: FloatArray) -> FloatArray:
    low, spread = known.min(axis=0), np.ptp(known, axis=0)
    scaled: FloatArray = (values - low) / np.where(spread > 0, spread, 1.0)
    return scaled


def _silhouette(distance: FloatArray, labels: NDArray[np.int32]) -> float:
    """The mean over points of (b - a) / max(a, b): a to one's own cluster, b to the nearest other; 0 where alone."""
    clusters = np.unique(labels)
    member = labels[:, None] == clusters[None]
    sizes = member.sum(axis=0)
    sums = distance @ member
    own = member.argmax(axis=1)
    rows = np.arange(len(labels))
    a = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    others = np.where(member, np.inf, sums / sizes)
    b = others.min(axis=1)
    values = np.where(sizes[own] > 1, (b - a) / np.maximum(np.maximum(a, b), np.finfo(np.float64).tiny), 0.0)
    return float(values.mean())
