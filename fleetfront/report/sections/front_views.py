"""Gather the fronts of all devices, thinned for drawing, and the networks on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import BlockCosts
from fleetfront.quantities import ACCURACY, LATENCY, Metric, Quality
from fleetfront.report.sections.blocks import BlockPicture, Networks, draw_networks
from fleetfront.report.sections.devices import known_clock
from fleetfront.report.sources import SearchResult, Sources, front_key
from fleetfront.search.results import PART, SIZE_KEYS, DeviceFront, Fronts, front_arrays
from fleetfront.spaces.base import HasSupernet, OfUserFile, SearchSpace, plain_space
from fleetfront.spaces.supernet.published import PUBLISHED

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

#: Points of one front that the page holds. More cannot be told apart on a screen.
MOST_POINTS = 200
#: Squares along each axis of the grid that the archive is thinned with: one architecture a square.
_CLOUD_GRID = 28
#: Fronts that are drawn with so many points; of more fronts each has fewer, so that the page grows no further.
_FRONTS_IN_FULL, _FEWEST_POINTS, _LEAST_GRID = 30, 60, 8
#: After the name of a device whose front a generator gave.
GENERATED = " (generator)"


@dataclass(frozen=True, slots=True)
class ChoicePoint:
    """A network of a front. ``arch`` is its row in ``FrontGroup.archs``, ``cost`` in the unit of the group's metric
    (``cost_std`` is None where nothing is promised of it), ``accuracy`` what may be promised: on held-out images where
    the front has such, ``accuracy_tier`` its origin where that is another than the group's, ``size`` the bytes of its
    file and their deviation, where somebody asked, ``tasks`` how good it is at each of the group's.
    """

    arch: int
    cost: float
    cost_std: float | None
    accuracy: float
    accuracy_std: float
    accuracy_is_beyond_range: bool = False
    accuracy_tier: str = ""
    size: tuple[float, float] | None = None
    tasks: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class FrontView:
    """The front of one target, ascending in cost, thinned for drawing.

    Attributes:
        label: short and unique within the report.
        path: the front's file.
        total: how many points the file has.
        knee: position in ``points``.
        cloud: float64[m, 2]: cost and accuracy of some of the architectures that the search evaluated.
        block_costs: row in ``FrontGroup.blocks`` -> what that block alone costs on this target, where it is known.
        caution: why its accuracies are not of the files that its costs are of, or what precisions cost in accuracy.
    """

    label: str
    name: str
    target: str
    tier: str
    clock: str
    path: str
    hypervolume: float
    reference: tuple[str, ...]
    limit: float | None
    total: int
    points: tuple[ChoicePoint, ...]
    knee: int
    cloud: FloatArray
    block_costs: Mapping[int, float] = field(default_factory=dict)
    caution: str = ""


@dataclass(frozen=True, slots=True)
class FrontGroup:
    """The fronts of one space and metric whose accuracies compare, drawn together.

    Attributes:
        metric: what the networks cost, e.g. latency.
        quality: what the accuracies are, e.g. perplexity.
        tasks: accuracies that are objectives each, where there are several; the first is ``accuracy`` of points.
        is_held_out: whether networks were judged on held-out images after the search that chose them.
        accuracy_tier: ``measured`` or ``predicted``.
        evaluated: distinct architectures in the archives behind them; 0 if there is none.
        archs: every architecture on any of the fronts, once.
        networks: for each of ``archs``, its blocks: (row in ``blocks``, how often) in order of execution.
        blocks: the blocks that occur.
        cells: for each of ``archs``, (from node, to node, operation) of its cell, in spaces whose genes are edges.
        deploy_options: what ``fleetfront deploy`` needs beside front, device and architecture.
        deploy_hint: what a user has to put into that command, in words; empty if nothing.
    """

    space: str
    metric: Metric
    accuracy_source: str
    accuracy_tier: str
    evaluated: int
    fronts: tuple[FrontView, ...]
    archs: tuple[str, ...]
    networks: tuple[tuple[tuple[int, int], ...], ...]
    blocks: tuple[BlockPicture, ...]
    cells: tuple[tuple[tuple[int, int, str], ...], ...]
    deploy_options: str
    deploy_hint: str
    quality: Quality = ACCURACY
    is_held_out: bool = False
    tasks: tuple[Quality, ...] = ()

    @property
    def accuracy_origin(self) -> str:
        """Where the accuracies come from, in words."""
        return f"{self.accuracy_tier} on held-out images" if self.is_held_out else self.accuracy_tier

    @property
    def lowest(self) -> str:
        """The title of the network of the lowest cost."""
        return "fastest" if self.metric == LATENCY else "lowest"


_Chosen = tuple[SearchResult, DeviceFront]


def front_groups(sources: Sources) -> tuple[FrontGroup, ...]:
    """Fronts that can be drawn on one pair of axes: of one space, one metric and one accuracy.

    Of several runs that have a front of the same target, the one named first is shown; the others appear among the
    baselines.
    """
    groups: dict[tuple[str, Metric, str, str], dict[str, _Chosen]] = {}
    for result in sources.results:
        fronts = result.fronts
        for front in fronts.devices:
            key = (fronts.space, front.metric, fronts.accuracy_source, fronts.accuracy_tier)
            # A generator answers beside the search of the same device.
            of = front_key(front) + (GENERATED if _is_generated(fronts) else "")
            groups.setdefault(key, {}).setdefault(of, (result, front))
    return tuple(_group(sources, *key, list(chosen.values())) for key, chosen in groups.items())


def _group(
    sources: Sources, name: str, metric: Metric, source: str, tier: str, chosen: Sequence[_Chosen]
) -> FrontGroup:
    space = sources.space(name)
    share = min(1.0, _FRONTS_IN_FULL / len(chosen))
    most, grid = max(_FEWEST_POINTS, int(MOST_POINTS * share)), max(_LEAST_GRID, int(_CLOUD_GRID * share**0.5))
    kept = [_kept_points(front, most) for _, front in chosen]
    archs = list(dict.fromkeys(front.points[i].arch for (_, front), at in zip(chosen, kept, strict=True) for i in at))
    networks = _networks(sources, space, archs)
    row = {arch: i for i, arch in enumerate(archs)}
    options, hint = deploy_options(space)
    fronts = tuple(
        _view(sources, space, result, front, at, row, networks.blocks, grid)
        for (result, front), at in zip(chosen, kept, strict=True)
    )
    evaluated = {id(result): len(result.archive) for result, _ in chosen if result.archive is not None}
    return FrontGroup(
        name,
        metric,
        source,
        tier,
        sum(evaluated.values()),
        fronts,
        tuple(archs),
        networks.rows,
        networks.blocks,
        networks.cells,
        options,
        hint,
        chosen[0][1].quality,
        any(front.is_held_out for _, front in chosen),
        chosen[0][1].tasks,
    )


def _view(
    sources: Sources,
    space: SearchSpace | None,
    result: SearchResult,
    front: DeviceFront,
    kept: NDArray[np.intp],
    row: dict[str, int],
    blocks: Sequence[BlockPicture],
    grid: int,
) -> FrontView:
    points = tuple(
        ChoicePoint(
            row[p.arch],
            p.latency_ms,
            p.latency_std_ms,
            p.promised[0],
            p.promised[1],
            bool(p.more.get("accuracy_is_beyond_range", False)),
            str(p.more.get("accuracy_tier", "")),
            None if SIZE_KEYS[0] not in p.more else (p.more[SIZE_KEYS[0]], p.more.get(SIZE_KEYS[1], 0.0)),
            tuple(p.more[f"{PART}{task.name}"] for task in front.tasks),
        )
        for p in (front.points[i] for i in kept)
    )
    return FrontView(
        label=sources.label(front.name, front.target) + (GENERATED if _is_generated(result.fronts) else ""),
        name=front.name,
        target=front_key(front),
        tier=front.tier,
        clock=known_clock(front.clock),
        path=str(result.path.absolute()),
        hypervolume=front.hypervolume,
        reference=front.reference_words(),
        limit=front.limit_ms,
        total=len(front.points),
        points=points,
        knee=int(np.searchsorted(kept, front.knee)) if len(kept) else 0,
        cloud=_cloud(result, front, grid),
        block_costs=_block_costs(sources, space, front, blocks),
        caution=" ".join(filter(None, _cautions(result.fronts, front))),
    )


def _cautions(fronts: Fronts, front: DeviceFront) -> tuple[str, ...]:
    return (front.accuracy_caution, fronts.precisions_alone(front), *fronts.drop_sentences)


def _is_generated(fronts: Fronts) -> bool:
    """Tell whether a generator answered: its file says with how many accuracies that was trained."""
    return "trained_with" in fronts.audit


def _kept_points(front: DeviceFront, most: int = MOST_POINTS) -> NDArray[np.intp]:
    """Positions of at most ``most`` points: both ends, the knee, and the rest evenly along the curve."""
    count = len(front.points)
    if count <= most:
        return np.arange(count)
    latency, accuracy = front_arrays(front)
    steps = np.hypot(_scaled(np.diff(latency)), _scaled(np.diff(accuracy)))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    nearest = np.searchsorted(along, np.linspace(0, along[-1], most - 1))
    kept: NDArray[np.intp] = np.unique(np.append(np.minimum(nearest, count - 1), front.knee))
    return kept


def _scaled(differences: FloatArray) -> FloatArray:
    total: FloatArray = differences / max(float(np.abs(differences).sum()), np.finfo(float).tiny)
    return total


def _cloud(result: SearchResult, front: DeviceFront, grid: int) -> FloatArray:
    """Some of the evaluated architectures near the front: float64[m, 2], one for each square of a grid."""
    archive = result.archive
    # What the search saw of its architectures is of other images than what a judged front is stated with.
    if archive is None or front.name not in archive.targets or len(front.points) < 2 or front.is_held_out:
        return np.zeros((0, 2))
    latency, accuracy = front_arrays(front)
    # Far from the front there are only points that nobody would choose, and they would squeeze the rest together.
    slowest = latency[-1] + 0.25 * (latency[-1] - latency[0])
    lowest = accuracy.min() - 0.5 * (accuracy.max() - accuracy.min())
    cost = archive.cost[:, archive.column(front.name)]
    near = (cost <= slowest) & (archive.accuracy >= lowest)
    points = np.stack([cost[near], front.quality.shown(archive.accuracy[near])], axis=1)
    if not len(points):
        return points
    span = np.maximum(np.ptp(points, axis=0), np.finfo(float).tiny)
    squares = np.minimum((points - points.min(axis=0)) / span * grid, grid - 1).astype(np.intp)
    _, first = np.unique(squares @ np.array([grid, 1]), return_index=True)
    kept: FloatArray = points[first]
    return kept


def _networks(sources: Sources, space: SearchSpace | None, archs: Sequence[str]) -> Networks:
    if space is None or not archs:
        return Networks(((),) * len(archs), ())
    try:
        return draw_networks(space, space.parse(archs))
    except InputError as error:
        # A front from elsewhere may name what this version of the space lacks; it is drawn without pictures.
        sources.note(error)
        return Networks(((),) * len(archs), ())


def _block_costs(
    sources: Sources, space: SearchSpace | None, front: DeviceFront, blocks: Sequence[BlockPicture]
) -> dict[int, float]:
    if space is None or not blocks:
        return {}
    model = sources.model(space, front.target, front.clock, front.metric)
    if not isinstance(model, BlockCosts):
        return {}
    known = dict(zip((block.key for block in space.vocabulary), model.block_values().tolist(), strict=True))
    return {row: known[block.key] for row, block in enumerate(blocks) if block.key in known}


def deploy_options(space: SearchSpace | None) -> tuple[str, str]:
    """Further options of ``fleetfront deploy``, and those of them that a user has to fill in."""
    space = None if space is None else plain_space(space)
    if isinstance(space, OfUserFile) and not space.is_shipped:
        return "", f"Its files have the weights that {space.own_file.name} gives them."
    if not isinstance(space, HasSupernet):
        return (
            "--random-weights",
            "There are no trained weights of this space: the files have its speed, not its accuracy.",
        )
    if space.name not in PUBLISHED and len(space.resolutions) == 1:
        return "--images digits", ""
    get = f"fleetfront doctor --fetch-weights {space.name}" if space.name in PUBLISHED else "add --weights FILE"
    hint = "Put a folder of your images in place of IMAGES: batch-norm is recalibrated on them."
    return "--images IMAGES", f"{hint} It needs the space's weights: {get}."
