"""Section 6: devices against devices: how alike they rank networks, and what one's choice costs on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel
from fleetfront.report.sections.contents import RelationView
from fleetfront.report.sections.sampling import known_latency_ms, sample_networks
from fleetfront.report.sources import SearchResult, Sources, front_key
from fleetfront.search.results import DeviceFront, front_arrays
from fleetfront.spaces.base import SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Networks that rank correlations are taken over: their standard error is then below 0.02.
_SAMPLE = 2000
#: Below this many common networks a rank correlation says nothing.
_FEWEST = 20


@dataclass(frozen=True, slots=True)
class _Device:
    """A target with its latency model and its front, either of which may be missing."""

    label: str
    model: CostModel | None
    front: DeviceFront | None
    result: SearchResult | None


def relation_views(sources: Sources) -> tuple[RelationView, ...]:
    """One view for each space with two or more targets."""
    views = []
    for name in sources.spaces:
        space = sources.space(name)
        pairs = sources.targets(name)
        if space is not None and len(pairs) > 1:
            devices = [_device(sources, space, *pair) for pair in pairs]
            known = [device for device in devices if device.model is not None or device.front is not None]
            if len(known) > 1:
                views.append(_view(sources, space, known))
    return tuple(views)


def spearman(columns: Sequence[FloatArray]) -> FloatArray:
    """float64[t, t]: Spearman's rank correlation of each pair of float64[n] columns over the rows that both have."""
    values = np.stack(columns)
    correlation = np.full((len(values), len(values)), np.nan)
    present = np.isfinite(values)
    whole = present.all(axis=0)
    ranks = _ranks(values[:, whole])
    for i in range(len(values)):
        for j in range(i, len(values)):
            both = present[i] & present[j]
            if both.sum() < _FEWEST:
                continue
            # Where all devices know the same networks, ranks are taken once.
            left, right = (ranks[i], ranks[j]) if both.sum() == whole.sum() else _ranks(values[[i, j]][:, both])
            correlation[i, j] = correlation[j, i] = _pearson(left, right)
    return correlation


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks within each row of float64[t, n]; ties share their mean rank."""
    ranks = np.empty(values.shape)
    for row, out in zip(values, ranks, strict=True):
        _, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
        out[:] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _pearson(left: FloatArray, right: FloatArray) -> float:
    left, right = left - left.mean(), right - right.mean()
    spread = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / spread) if spread > 0 else float("nan")


def _device(sources: Sources, space: SearchSpace, name: str, target: str) -> _Device:
    for result in sources.results:
        for front in result.fronts.devices:
            if result.fronts.space == space.name and front_key(front) == target:
                model = sources.model(space, name, target, front.clock)
                return _Device(sources.label(name, target), model, front, result)
    return _Device(sources.label(name, target), sources.model(space, name, target), None, None)


def _view(sources: Sources, space: SearchSpace, devices: Sequence[_Device]) -> RelationView:
    correlation = np.full((len(devices), len(devices)), np.nan)
    modelled = [i for i, device in enumerate(devices) if device.model is not None]
    networks, sample = 0, "no latency model is at hand"
    if len(modelled) > 1:
        models = [device.model for device in devices if device.model is not None]
        genotypes = sample_networks(space, models, _SAMPLE)
        columns = [known_latency_ms(model, genotypes) for model in models]
        networks, sample = len(genotypes), "drawn at random"
        correlation[np.ix_(modelled, modelled)] = spearman(columns)
    chosen, penalty = _penalties(sources, space, devices)
    labels, tiers = tuple(device.label for device in devices), tuple(map(_tier, devices))
    return RelationView(space.name, labels, tiers, networks, sample, correlation, chosen, penalty)


def _tier(device: _Device) -> str:
    if device.front is not None:
        return device.front.tier
    return "" if device.model is None else device.model.tier.value


def _penalties(sources: Sources, space: SearchSpace, devices: Sequence[_Device]) -> tuple[tuple[str, ...], FloatArray]:
    penalty = np.full((len(devices), len(devices)), np.nan)
    picks = [None if d.front is None or not d.front.points else d.front.points[d.front.knee] for d in devices]
    for i, (device, pick) in enumerate(zip(devices, picks, strict=True)):
        if pick is None:
            continue
        for j, other in enumerate(devices):
            if other.front is None or not other.front.points or not _same_accuracy(device, other):
                continue
            latency, accuracy = front_arrays(other.front)
            enough = accuracy >= pick.accuracy
            ms = pick.latency_ms if i == j else _latency_on(sources, space, other, device, pick.arch)
            if enough.any() and ms is not None:
                penalty[i, j] = 100 * (ms / latency[enough].min() - 1)
    return tuple("" if pick is None else pick.arch for pick in picks), penalty


def _same_accuracy(device: _Device, other: _Device) -> bool:
    if device.result is None or other.result is None:
        return False
    return device.result.fronts.accuracy_source == other.result.fronts.accuracy_source


def _latency_on(sources: Sources, space: SearchSpace, other: _Device, device: _Device, arch: str) -> float | None:
    """Latency of a network on another device: from the archive that both fronts share, else from its model."""
    try:
        genotype = space.parse([arch])
    except InputError as error:
        sources.note(error)
        return None
    archive = None if device.result is None else device.result.archive
    if archive is not None and device.result is other.result and other.front is not None:
        row = int(archive.find(genotype)[0])
        if row >= 0 and other.front.name in archive.targets:
            return float(archive.cost[row, archive.column(other.front.name)])
    if other.model is None:
        return None
    value = float(known_latency_ms(other.model, genotype)[0])
    return value if np.isfinite(value) else None
