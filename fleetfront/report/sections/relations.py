"""Compare devices with devices: how alike they rank networks, and what one's choice costs on another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel, NetworkCosts, predict_covered
from fleetfront.quantities import LATENCY, Metric, format_number
from fleetfront.report.figures.specifications import (
    SQUARE,
    Figure,
    Specification,
    figure_spec,
    in_one_line,
    nominal,
    slug,
    tooltip,
)
from fleetfront.report.figures.theme import variable
from fleetfront.report.markdown import folded
from fleetfront.report.section import Section, Words
from fleetfront.report.sources import SearchResult, Sources
from fleetfront.report.tables import Table, signed
from fleetfront.search.results import DeviceFront, front_arrays
from fleetfront.spaces.base import Genotypes, MayDisconnect, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Networks that rank correlations are taken over: their standard error is then below 0.02.
_SAMPLE = 2000
#: Below this many common networks a rank correlation says nothing.
_FEWEST = 20
#: More devices make a matrix of more squares than anybody reads, and a page that grows as their square.
MOST_COMPARED = 60
#: Above this many devices the squares of a matrix are too small for numbers.
_NUMBERED = 16
#: A penalty of this many percent has the strongest colour.
_WORST_PENALTY = 100.0


@dataclass(frozen=True, slots=True)
class RelationView:
    """Devices of one space against each other; rows and columns in the order of ``labels``.

    Attributes:
        metrics: what is compared, in words: ``latency``.
        tiers: where the numbers of each come from.
        correlation: float64[t, t], Spearman over ``networks`` networks; NaN where unknown.
        sample: which networks these are, in words.
        chosen: for each device, the architecture that its ``penalty`` row is about: its front's knee.
        penalty: float64[t, t]: how much more, in percent, row's chosen network costs on column's device than the
            cheapest network of column's own front that is at least as accurate; NaN where there is none or no model.
        devices: how many are known, of which ``labels`` are spread over all.
    """

    space: str
    metrics: str
    labels: tuple[str, ...]
    tiers: tuple[str, ...]
    networks: int
    sample: str
    correlation: FloatArray
    chosen: tuple[str, ...]
    penalty: FloatArray
    devices: int

    @property
    def warning(self) -> str:
        """Which of the devices are shown, and known from less than measurements of their own; empty if all are."""
        shown = f"{len(self.labels)} of {self.devices} devices are compared, spread evenly over their names."
        return " ".join(filter(None, (shown if self.devices > len(self.labels) else "", self._less_than_measured())))

    def _less_than_measured(self) -> str:
        if len(self.tiers) > 1 and len(set(self.tiers)) == 1 and self.tiers[0] != "measured":
            return f"All {self.metrics} is {self.tiers[0]}."
        said = []
        for tier in ("transferred", "estimated"):
            of_tier = [label for label, own in zip(self.labels, self.tiers, strict=True) if own == tier]
            if of_tier:
                said.append(f"The {self.metrics} of {', '.join(of_tier)} is {tier}.")
        return " ".join(said)


@dataclass(frozen=True, slots=True)
class _Device:
    """A target with its latency model and its front, either of which may be missing."""

    label: str
    model: CostModel | None
    front: DeviceFront | None
    result: SearchResult | None

    @property
    def metric(self) -> Metric:
        """The metric of its front or model."""
        if self.front is not None:
            return self.front.metric
        return LATENCY if self.model is None else self.model.metric


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
                views.append(_view(sources, space, spread_devices(known), len(known)))
    return tuple(views)


def spread_devices(devices: Sequence[_Device]) -> list[_Device]:
    """At most ``MOST_COMPARED`` of the devices, evenly in the order of their labels, both ends among them."""
    if len(devices) <= MOST_COMPARED:
        return list(devices)
    ordered = sorted(devices, key=lambda device: device.label)
    return [ordered[place] for place in np.linspace(0, len(ordered) - 1, MOST_COMPARED).round().astype(int)]


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
    for result, front in sources.fronts(space.name, target):
        model = sources.model(space, target, front.clock, front.metric)
        return _Device(sources.label(name, target), model, front, result)
    return _Device(sources.label(name, target), sources.model(space, target), None, None)


def _view(sources: Sources, space: SearchSpace, devices: Sequence[_Device], known: int) -> RelationView:
    correlation = np.full((len(devices), len(devices)), np.nan)
    modelled = [i for i, device in enumerate(devices) if device.model is not None]
    networks, sample = 0, "no latency model is at hand"
    if len(modelled) > 1:
        models = [device.model for device in devices if device.model is not None]
        genotypes = sample_networks(space, models, _SAMPLE)
        columns = [known_costs(model, genotypes) for model in models]
        networks, sample = len(genotypes), "drawn at random"
        correlation[np.ix_(modelled, modelled)] = spearman(columns)
    chosen, penalty = _penalties(sources, space, devices)
    labels, tiers = tuple(device.label for device in devices), tuple(map(_tier, devices))
    metrics = " and ".join(dict.fromkeys(device.metric.title for device in devices))
    return RelationView(space.name, metrics, labels, tiers, networks, sample, correlation, chosen, penalty, known)


def _tier(device: _Device) -> str:
    if device.front is not None:
        return device.front.tier
    return "" if device.model is None else device.model.tier.value


def _penalties(sources: Sources, space: SearchSpace, devices: Sequence[_Device]) -> tuple[tuple[str, ...], FloatArray]:
    penalty = np.full((len(devices), len(devices)), np.nan)
    picks = [None if d.front is None or not d.front.points else d.front.points[d.front.knee] for d in devices]
    for i, (device, pick) in enumerate(zip(devices, picks, strict=True)):
        genotype = None if pick is None else _parsed(sources, space, pick.arch)
        if pick is None:
            continue
        for j, other in enumerate(devices):
            if other.front is None or not other.front.points or not _do_compare(device, other):
                continue
            costs, accuracy = front_arrays(other.front)
            enough = accuracy >= other.front.quality.score(pick.accuracy)
            cost = pick.latency_ms if i == j else _cost_on(other, device, genotype)
            if enough.any() and cost is not None:
                penalty[i, j] = 100 * (cost / costs[enough].min() - 1)
    return tuple("" if pick is None else pick.arch for pick in picks), penalty


def _do_compare(device: _Device, other: _Device) -> bool:
    if device.result is None or other.result is None or device.metric != other.metric:
        return False
    return device.result.fronts.accuracy_source == other.result.fronts.accuracy_source


def _parsed(sources: Sources, space: SearchSpace, arch: str) -> Genotypes | None:
    try:
        return space.parse([arch])
    except InputError as error:
        sources.note(error)
        return None


def _cost_on(other: _Device, device: _Device, genotype: Genotypes | None) -> float | None:
    """Cost of a network on another device: from the archive that both fronts share, else from its model."""
    if genotype is None:
        return None
    archive = None if device.result is None else device.result.archive
    if archive is not None and device.result is other.result and other.front is not None:
        row = int(archive.find(genotype)[0])
        if row >= 0 and other.front.name in archive.targets:
            return float(archive.cost[row, archive.column(other.front.name)])
    if other.model is None:
        return None
    value = float(known_costs(other.model, genotype)[0])
    return value if np.isfinite(value) else None


def sample_networks(space: SearchSpace, models: Sequence[CostModel], count: int) -> Genotypes:
    """At most ``count`` distinct networks int8[n, v], the same every time; those of the smallest table if there is one.

    Disconnected networks are left out: some runtimes fold them away, which means and rank correlations do not show.
    """
    rng = np.random.default_rng(0)
    tables = [model.networks() for model in models if isinstance(model, NetworkCosts)]
    if tables:
        smallest = min(tables, key=len)
        genotypes: Genotypes = smallest[np.sort(rng.permutation(len(smallest))[:count])]
    else:
        genotypes = np.unique(space.sample(count, rng), axis=0)
    return genotypes[~space.disconnected(genotypes)] if isinstance(space, MayDisconnect) else genotypes


def known_costs(model: CostModel, genotypes: Genotypes) -> FloatArray:
    """float64[n] in the unit of the model's metric, NaN for what a table lacks."""
    return predict_covered(model, genotypes).mean


def correlation_table(view: RelationView) -> Table:
    """Rank correlation of every pair."""
    rows = [
        (label, *(format_number(value, 3) for value in line))
        for label, line in zip(view.labels, view.correlation.tolist(), strict=True)
    ]
    caption = f"Spearman rank correlation over {view.networks:,} networks, {view.sample}. {view.warning}".rstrip(". ")
    return Table(caption, ("", *view.labels), tuple(rows), frozenset(range(1, len(view.labels) + 1)))


def penalty_table(view: RelationView) -> Table:
    """Tabulate what each device's choice costs on the others."""
    rows = [
        (label, *(signed(value) for value in line))
        for label, line in zip(view.labels, view.penalty.tolist(), strict=True)
    ]
    caption = (
        f"Extra {view.metrics} (%) of the row's knee network on the column's device, against the fastest network on "
        "the column's own front that is at least as accurate"
    )
    return Table(caption, ("", *view.labels), tuple(rows), frozenset(range(1, len(view.labels) + 1)))


def relation_figures(view: RelationView) -> Iterator[Figure]:
    """Rank correlations, and what each device's choice costs on the others, as far as they are known."""
    if view.networks:
        yield _correlation(view)
    if any(map(math.isfinite, view.penalty.ravel().tolist())):
        yield _penalty(view)


def _correlation(view: RelationView) -> Figure:
    """Rank correlations of all pairs."""
    said = (
        f"Spearman rank correlation of {view.metrics} between devices, over {view.networks:,} networks, {view.sample}."
    )
    said = f"{said} {view.warning}".strip()
    scale = {"scheme": "yellowgreenblue", "domain": [0, 1], "clamp": True}
    spec = _matrix(view, view.correlation.tolist(), said, scale, ".2f", "rank correlation", 0.55, (None, None))
    name, title = f"correlation-{slug(view.space)}", f"Rank correlation on {view.space}"
    return Figure(name, title, said, spec, _matrix_width(view))


def _penalty(view: RelationView) -> Figure:
    """Draw what the knee network of a row's device costs on a column's."""
    said = (
        f"Extra {view.metrics}, in percent, that the knee network of the row's device takes on the column's device, "
        "against the fastest network on the column's own front that is at least as accurate."
    )
    said = f"{said} {view.warning}".strip()
    scale = {"scheme": "oranges", "domain": [0, _WORST_PENALTY], "clamp": True}
    dark, titles = 0.6 * _WORST_PENALTY, ("takes longer on", "knee network of")
    spec = _matrix(view, view.penalty.tolist(), said, scale, "+.0f", f"extra {view.metrics} %", dark, titles)
    name, title = f"cost-{slug(view.space)}", f"Best networks on other devices, {view.space}"
    return Figure(name, title, said, spec, _matrix_width(view))


def _matrix_width(view: RelationView) -> int:
    count = len(view.labels)
    return 130 + count * (SQUARE if count <= _NUMBERED else SQUARE // 2)


def _matrix(
    view: RelationView,
    matrix: Sequence[Sequence[float]],
    said: str,
    scale: Mapping[str, Any],
    form: str,
    title: str,
    dark_above: float,
    titles: tuple[str | None, str | None],
) -> Specification:
    values = [
        {"row": row, "column": column, "value": value if math.isfinite(value) else None}
        for row, line in zip(view.labels, matrix, strict=True)
        for column, value in zip(view.labels, line, strict=True)
    ]
    colour = {"field": "value", "type": "quantitative", "title": in_one_line(title), "scale": dict(scale)}
    unknown = {"test": "datum.value === null", "value": variable("grid")}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rect", "stroke": variable("surface"), "aria": len(view.labels) <= _NUMBERED},
            "encoding": {
                "color": {"condition": unknown, **colour},
                "tooltip": tooltip(row="network of", column="on", value=title),
            },
        }
    ]
    if len(view.labels) <= _NUMBERED:
        dark = {"test": f"datum.value > {dark_above}", "value": "#fff"}
        layers.append(
            {
                "transform": [{"filter": "datum.value !== null"}],
                "mark": {"type": "text", "fontSize": 10, "aria": False},
                "encoding": {
                    "text": {"field": "value", "format": form},
                    "color": {"condition": dark, "value": "#1b1f24"},
                },
            }
        )
    spec = figure_spec(said, layers, values=values, height=max(120, 24 * len(view.labels)))
    spec["encoding"] = {
        "x": nominal("column", titles[0], sort=None, axis={"labelAngle": -60}),
        "y": nominal("row", titles[1], sort=None),
    }
    return spec


def _brief(views: Sequence[RelationView]) -> Iterator[str]:
    for view in views:
        yield from folded(correlation_table(view))
        yield from folded(penalty_table(view))


RELATIONS = Section(
    "relations",
    "relations",
    "Devices against devices",
    "Devices against devices",
    relation_views,
    gap="With fewer than two devices there is nothing to compare. Profile another, or import a table.",
    command="fleetfront import table FILE --space NAME",
    figures=relation_figures,
    tables=lambda view: (correlation_table(view), penalty_table(view)),
    brief=_brief,
    words=lambda view: Words(view.space),
)
