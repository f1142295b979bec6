"""The few networks that serve a whole fleet best: a subset of all fronts together, chosen greedily by hypervolume.

Which networks there are to choose from is the search's business; this only chooses.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import predict_covered, quality_of
from fleetfront.search.collect import judge_held_out, size_values
from fleetfront.search.front import hypervolume, target_front
from fleetfront.search.metrics import WRITTEN
from fleetfront.search.problem import Problem
from fleetfront.search.results import SIZE_KEYS, held_out_json
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


@dataclass(frozen=True, slots=True)
class Sharing:
    """K networks for t devices.

    Attributes:
        archs: spelled, most accurate first.
        accuracy, accuracy_std: float64[K], percent, or what the quality is in.
        held_out, held_out_std: K accuracies on images that chose nothing; None where nobody judged on such.
        latency_ms: float64[K, t]; NaN where the network's precision is not known on the device.
        latency_std_ms: K of each of the t devices; None where nothing is promised for when they are run.
        devices: names of the t devices.
        tiers: of each device, where its latencies come from.
        shares: float64[t]: which share of the hypervolume of a device's own front the K networks keep.
        serving: of each device, the positions of the networks that are on its front of the K and within its limit,
            ascending in latency; empty if none is within the limit.
        sizes: of each of the K, device -> what ``SIZE_KEYS`` name, of devices whose files' size was asked for.
    """

    archs: tuple[str, ...]
    accuracy: FloatArray
    accuracy_std: FloatArray
    held_out: tuple[float | None, ...]
    held_out_std: tuple[float, ...]
    latency_ms: FloatArray
    latency_std_ms: tuple[tuple[float | None, ...], ...]
    devices: tuple[str, ...]
    tiers: tuple[str, ...]
    shares: FloatArray
    serving: tuple[tuple[int, ...], ...]
    sizes: tuple[Mapping[str, Mapping[str, Any]], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The value of ``shared`` in ``fronts.json``."""
        return {
            "networks": [
                {
                    "arch": arch,
                    "accuracy": float(self.accuracy[row]),
                    "accuracy_std": float(self.accuracy_std[row]),
                    **held_out_json(self.held_out[row], self.held_out_std[row]),
                    "latency_ms": {name: float(self.latency_ms[row, column]) for column, name in self._running(row)},
                    "latency_std_ms": {name: self.latency_std_ms[column][row] for column, name in self._running(row)},
                    **({"size": dict(self.sizes[row])} if self.sizes and self.sizes[row] else {}),
                }
                for row, arch in enumerate(self.archs)
            ],
            "devices": {
                name: {
                    "tier": self.tiers[column],
                    "hypervolume_share": float(self.shares[column]),
                    "networks": [self.archs[row] for row in self.serving[column]],
                }
                for column, name in enumerate(self.devices)
            },
            "mean_hypervolume_share": float(np.mean(self.shares)),
        }

    def _running(self, row: int) -> list[tuple[int, str]]:
        """The devices, with their columns, that a network's time is known on."""
        return [(column, name) for column, name in enumerate(self.devices) if np.isfinite(self.latency_ms[row, column])]


def share(problem: Problem, references: Sequence[tuple[float, ...]], count: int) -> Sharing:
    """The ``count`` networks that keep most of all devices' hypervolume, each device counted alike.

    Greedy choice: the mean of shares is monotone and submodular, so at least 1 - 1/e of the best possible is kept
    (Nemhauser, Wolsey and Fisher, Mathematical Programming 14, 1978). Fewer are returned where more would add nothing.
    A network beyond a device's limit does not serve that device.

    Args:
        problem: searched; the networks are taken from its fronts.
        references: of each target, the point that bounds its hypervolume: cost, error in percent, extra objectives.
        count: how many networks at most.

    Raises:
        InputError: if ``count`` is below 1, or every front is empty.
    """
    if count < 1:
        raise InputError(f"{count} networks cannot serve anybody.", "Share at least 1, e.g. --share 3.")
    rows = np.unique(np.concatenate([problem.front(column) for column in range(len(problem.targets))]))
    if not len(rows):
        raise InputError(
            "Every front is empty, so there is nothing to share.", "Raise the limits, or allow more evaluations."
        )
    gains = _Shares(problem, rows, references)
    chosen = _greedy(gains, len(rows), count)
    accuracy = problem.archive.accuracy[rows]
    chosen.sort(key=lambda candidate: (-accuracy[candidate], candidate))
    kept = rows[chosen]
    genotypes = problem.archive.genotypes[kept]
    costs = [predict_covered(target.cost, genotypes) for target in problem.targets]
    held_out, held_out_std = judge_held_out(problem, kept)
    return Sharing(
        archs=tuple(problem.space.arch_ids(genotypes)),
        accuracy=quality_of(problem.accuracy).shown(problem.archive.accuracy[kept]),
        accuracy_std=problem.archive.accuracy_std[kept],
        held_out=tuple(held_out),
        held_out_std=tuple(held_out_std),
        latency_ms=np.stack([found.mean for found in costs], axis=1),
        latency_std_ms=tuple(tuple(found.promised_std) for found in costs),
        devices=tuple(target.name for target in problem.targets),
        tiers=tuple(target.cost.tier.value for target in problem.targets),
        shares=gains.of(chosen),
        serving=tuple(_serving(problem, kept, column) for column in range(len(problem.targets))),
        sizes=_sizes(problem, genotypes),
    )


def _sizes(problem: Problem, genotypes: Genotypes) -> tuple[dict[str, dict[str, Any]], ...]:
    """Of each of n networks, device -> the size of its file there."""
    found: list[dict[str, dict[str, Any]]] = [{} for _ in genotypes]
    for target in problem.targets:
        for name in WRITTEN.keys() & target.further.keys():
            values = size_values(target.further[name], genotypes)
            for row, size in enumerate(values[SIZE_KEYS[0]]):
                if size is not None:
                    found[row][target.name] = {key: values[key][row] for key in SIZE_KEYS}
    return tuple(found)


def _serving(problem: Problem, kept: NDArray[np.intp], target: int) -> tuple[int, ...]:
    """Positions of the networks of archive rows ``kept`` that are on a target's front of these."""
    archive = problem.archive
    within = np.flatnonzero(problem.is_within(target, archive.cost[kept], archive.extras[kept]))
    rows = kept[within]
    extras = archive.extras[rows][:, problem.objectives_of(target)]
    front = target_front(archive.cost[rows, target], archive.accuracy[rows], None, extras)
    return tuple(within[front].tolist())


class _Shares:
    """The share of each device's hypervolume that a set of candidates keeps."""

    def __init__(self, problem: Problem, rows: NDArray[np.intp], references: Sequence[tuple[float, ...]]) -> None:
        archive = problem.archive
        self._references = references
        self._points = [problem.objectives(c, rows) for c in range(len(problem.targets))]
        for c, points in enumerate(self._points):
            points[~problem.is_within(c, archive.cost[rows], archive.extras[rows])] = np.inf
        fronts = [problem.front(column) for column in range(len(problem.targets))]
        self._on_front = np.stack([np.isin(rows, front) for front in fronts])
        self._whole = np.array([self._volume(c, np.arange(len(rows))) for c in range(len(self._points))])

    def of(self, chosen: Sequence[int]) -> FloatArray:
        """float64[t]; 0 for a device whose own front is empty.

        A front that lies at its reference point, as where only the fastest networks are within the limit, has no
        volume: it is kept by any of its members.
        """
        at = np.asarray(chosen, dtype=np.intp)
        volumes = np.array([self._volume(column, at) for column in range(len(self._points))])
        held: FloatArray = np.asarray(np.any(self._on_front[:, at], axis=1), dtype=np.float64)
        shares: FloatArray = np.divide(volumes, self._whole, out=held, where=self._whole > 0)
        return shares

    def _volume(self, column: int, chosen: NDArray[np.intp]) -> float:
        points = self._points[column][chosen]
        return hypervolume(points[np.isfinite(points[:, 0])], self._references[column])


def _greedy(shares: _Shares, candidates: int, count: int) -> list[int]:
    """Add whatever gains most, ``count`` times. Gains only shrink, so stale ones bound the true ones from above
    (Minoux, "Accelerated greedy algorithms for maximizing submodular set functions", 1978)."""
    chosen: list[int] = []
    reached = 0.0
    heap = [(-float(shares.of([candidate]).mean()), candidate, 0) for candidate in range(candidates)]
    heapq.heapify(heap)
    while heap and len(chosen) < count:
        gain, candidate, asked = heapq.heappop(heap)
        if asked == len(chosen):
            if -gain <= 1e-12:
                break
            chosen.append(candidate)
            reached -= gain
        else:
            gained = float(shares.of([*chosen, candidate]).mean()) - reached
            heapq.heappush(heap, (-gained, candidate, len(chosen)))
    return chosen
