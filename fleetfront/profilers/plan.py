"""Plan a campaign: blocks, calibration and validation networks of a space, an anchor. Nothing runs here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.operators.catalogue import graph_macs
from fleetfront.profilers.base import FileInputs
from fleetfront.profilers.parts import network_of, spell_parts
from fleetfront.profilers.records import Role
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import DescribesBlocks, Genotypes, Interpolable, MayDisconnect, OfUserFile, SearchSpace
from fleetfront.spaces.blocks import Block
from fleetfront.targets import Target

#: Share of the planned blocks that do less work than the anchor: large enough to time well, small enough to come often.
_ANCHOR_RANK = 0.75

#: Networks that calibration networks are chosen among; more would choose ever rarer extremes.
_POOL = 400

#: Which resolutions of many are measured, as shares of the way from the lowest to the highest. Between the ends alone,
#: large strided kernels were up to 24 % off (LiteRT, x86); a third resolution took the error on held-out networks from
#: 1.9 to 1.4 %, and a fourth changed nothing.
_RESOLUTIONS = {"spread": (0.0, 0.5, 1.0), "ends": (0.0, 1.0), "four": (0.0, 1 / 3, 2 / 3, 1.0)}


@dataclass(frozen=True, slots=True)
class RoundOptions:
    """Order and shape of the visits of a round; ``Visit`` says what the shape means.

    Attributes:
        seed: of the order.
        anchor_every: visits between two anchors.
        inputs: see ``VisitBatch``.
        first: keys of what the first rounds visit, in this order in the first; everything if it is empty.
    """

    seed: int = 0
    anchor_every: int = 8
    warm_runs: int = 2
    timed_runs: int = 6
    timed_s: float = 0.0
    is_cold: bool = False
    inputs: FileInputs = field(default_factory=FileInputs)
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Choices that make two campaigns different ones.

    Attributes:
        seed: of the sampled networks and of the order of visits.
        calibration, validation: how many networks each role gets: validation networks are drawn as the space samples,
            calibration networks spread over its sizes (see ``spread_out``).
        blocks: ``spread`` measures a space of many resolutions at the lowest, the middle and the highest, ``ends`` at
            the lowest and the highest, ``four`` at one more than ``spread``, ``all`` at each, ``none`` not at all.
        networks: architectures to be measured besides the sampled ones, by role.
        anchor_every: visits between two anchors.
        warm_runs, timed_runs: of a visit. Longer visits were tried (up to 20 warm and 20 timed runs, and warm-up by
            time): they cost more time than the noise that they removed, because most of it differs from one opening of
            a file to the next. More rounds are the better use of time.
        first: keys of blocks that are measured before the others, in this order; see ``RoundOptions``.
    """

    seed: int = 0
    calibration: int = 20
    validation: int = 50
    blocks: str = "spread"
    networks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    anchor_every: int = 8
    warm_runs: int = 2
    timed_runs: int = 6
    first: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.blocks not in (*_RESOLUTIONS, "all", "none"):
            raise InputError(f"Blocks {self.blocks!r} is not a choice.", "Use spread, ends, four, all or none.")
        least = {"calibration": 0, "validation": 0, "anchor_every": 1, "warm_runs": 0, "timed_runs": 1, "seed": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"{name} is {getattr(self, name)}.", f"Use {name} >= {lowest}.")

    @property
    def rounds(self) -> RoundOptions:
        """The part of it that a campaign needs to make its rounds."""
        return RoundOptions(self.seed, self.anchor_every, self.warm_runs, self.timed_runs, first=self.first)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to be measured. ``graphs`` makes it: itself by its key, or the parts of a network by theirs."""

    role: Role
    key: str
    graphs: Callable[[], Mapping[str, Graph]]


@dataclass(frozen=True, slots=True)
class Task:
    """An item whose file is written: ``file`` is the SHA-256 of its bytes."""

    role: Role
    key: str
    file: str


@dataclass(frozen=True, slots=True)
class TaskList:
    """The work of a campaign. ``tasks`` are visited once a round, ``anchor``, if there is one, often."""

    tasks: tuple[Task, ...]
    anchor: Task | None = None

    @property
    def files(self) -> frozenset[str]:
        """SHA-256 of every file."""
        return frozenset(task.file for task in (*self.tasks, *(() if self.anchor is None else (self.anchor,))))

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads back equal."""
        roles = sorted({task.role.value for task in self.tasks})
        by_role = {role: [[t.key, t.file] for t in self.tasks if t.role == role] for role in roles}
        return {"tasks": by_role, "anchor": self.anchor and [self.anchor.key, self.anchor.file]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TaskList:
        """Read ``to_json`` back. Raises KeyError, TypeError or ValueError on anything else."""
        tasks = tuple(Task(Role(role), key, file) for role, pairs in data["tasks"].items() for key, file in pairs)
        if data["anchor"] is None:
            return cls(tasks)
        key, file = data["anchor"]
        return cls(tasks, Task(Role.ANCHOR, key, file))

    @classmethod
    def from_store(cls, plan: Mapping[str, Any]) -> TaskList | None:
        """Read a stored plan; None for a damaged one, or one of nothing, which can only be begun anew."""
        try:
            found = cls.from_json(plan)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return found if found.tasks else None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a round visits once, and the anchor that it visits often."""

    items: tuple[Item, ...]
    anchor: Item

    def written(self, write: Callable[[Graph, Role], str], progress: Progress = SILENT) -> TaskList:
        """Make every graph and hand it with its role to ``write``, which keeps the file and returns its SHA-256."""
        progress.start("Writing model files", len(self.items))
        tasks = []
        for item in self.items:
            tasks += [Task(item.role, key, write(graph, item.role)) for key, graph in item.graphs().items()]
            progress.advance()
        progress.finish()
        anchor = next(task for task in tasks if network_of(task.key) == self.anchor.key)
        # Grouped by role, so that a list read back from JSON has the same order.
        tasks.sort(key=lambda task: task.role.value)
        return TaskList(tuple(tasks), replace(anchor, role=Role.ANCHOR))


def campaign_identity(
    target: Target, space: str, options: PlanOptions | RoundOptions, environment: Mapping[str, Any]
) -> str:
    """Hash over what must be equal for a command to continue a campaign that an earlier one began."""
    # An order that nobody asked for is not told: campaigns from before there was one go on.
    chosen = {name: value for name, value in asdict(options).items() if name != "first" or value}
    facts = {"target": str(target), "space": space, "options": chosen, "environment": dict(environment)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=list).encode()).hexdigest()


def make_plan(space: SearchSpace, options: PlanOptions) -> Plan:
    """The blocks, the networks sampled with the seed, and an anchor: the block at three quarters of the work.

    Raises:
        InputError: if there is nothing to measure, or an architecture is not of the space.
    """
    blocks = _planned_blocks(space, options.blocks)
    items = [Item(Role.BLOCK, block.key, _block_graph(space, block)) for block in blocks]
    for role, genotypes in _planned_networks(space, options).items():
        for arch, genotype in zip(space.arch_ids(genotypes), genotypes, strict=True):
            items.append(Item(role, arch, _network_graphs(space, arch, genotype)))
    if not items:
        raise InputError("There is nothing to measure.", "Ask for blocks or for at least one network.")
    return Plan(tuple(items), _anchor(space, items))


def _planned_blocks(space: SearchSpace, which: str) -> list[Block]:
    if which == "none":
        return []
    if which in _RESOLUTIONS and isinstance(space, Interpolable):
        some = {space.resolutions[round(share * (len(space.resolutions) - 1))] for share in _RESOLUTIONS[which]}
        chosen = sorted({int(index) for resolution in some for index in space.blocks_at(resolution)})
        return [space.vocabulary[index] for index in chosen]
    return list(space.vocabulary)


def _planned_networks(space: SearchSpace, options: PlanOptions) -> dict[Role, Genotypes]:
    taken: set[bytes] = set()
    networks: dict[Role, Genotypes] = {}
    for role, archs in sorted(options.networks.items()):
        networks[Role(role)] = space.parse(archs)
        taken.update(row.tobytes() for row in networks[Role(role)])
    # Validation first and from its own stream: the same networks whatever the number of calibration networks.
    drawn = _sample(space, options.validation, np.random.default_rng([options.seed, 0]), taken)
    pool = _sample(space, max(_POOL, 4 * options.calibration), np.random.default_rng([options.seed, 1]), set(taken))
    calibration = pool[spread_out(space, pool, options.calibration)]
    if options.validation and len(calibration) < options.calibration:
        calibration, drawn = _divided(space, np.concatenate([drawn, pool]), options)
    for role, sampled in ((Role.VALIDATION, drawn), (Role.CALIBRATION, calibration)):
        networks[role] = np.concatenate([networks[role], sampled]) if role in networks else sampled
    return networks


def _divided(space: SearchSpace, everything: Genotypes, options: PlanOptions) -> tuple[Genotypes, Genotypes]:
    """Calibration and validation networks of a space that has too few for both: half of them calibrate at most."""
    chosen = spread_out(space, everything, min(options.calibration, (len(everything) + 1) // 2))
    left = np.delete(everything, chosen, axis=0)
    return everything[chosen], left[: options.validation]


def spread_out(space: SearchSpace, genotypes: Genotypes, count: int) -> NDArray[np.intp]:
    """Rows of ``genotypes`` int8[n, v], at most ``count``, that fill the range of sizes evenly, ends included.

    A few networks drawn at random are all of middling size, which leaves the coefficients of a calibration to chance.
    This is the sequential design of Kennard and Stone, "Computer aided design of experiments", Technometrics 11 (1969):
    always add the network farthest from those chosen, here in standardised log MACs and log parameters.
    """
    count = min(count, len(genotypes))
    if count == 0:
        return np.zeros(0, dtype=np.intp)
    sizes = np.log(np.stack([space.macs(genotypes), space.params(genotypes)], axis=1) + 1.0)
    sizes = (sizes - sizes.mean(axis=0)) / np.maximum(sizes.std(axis=0), 1e-12)
    chosen = [int(np.argmax((sizes**2).sum(axis=1)))]
    nearest = ((sizes - sizes[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count:
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, ((sizes - sizes[chosen[-1]]) ** 2).sum(axis=1))
    return np.asarray(chosen, dtype=np.intp)


def _sample(space: SearchSpace, count: int, rng: np.random.Generator, taken: set[bytes]) -> Genotypes:
    """``count`` networks that are not ``taken``, which they are added to; fewer only if the space has no more."""
    found: list[NDArray[np.int8]] = []
    for _ in range(100):
        if len(found) >= count:
            break
        drawn = space.sample(max(count, 8), rng)
        if isinstance(space, MayDisconnect):
            drawn = drawn[~space.disconnected(drawn)]
        for row in drawn:
            if row.tobytes() not in taken and len(found) < count:
                taken.add(row.tobytes())
                found.append(row)
    return np.asarray(found, dtype=np.int8).reshape(len(found), len(space.choices))


def _anchor(space: SearchSpace, items: list[Item]) -> Item:
    blocks = [item for item in items if item.role == Role.BLOCK]
    candidates = blocks or items
    if not blocks:
        work = space.macs(space.parse([item.key for item in items])).tolist()
    elif isinstance(space, OfUserFile) and isinstance(space, DescribesBlocks):
        # Its graphs are dear to make.
        known = {block.key: block for block in space.vocabulary}
        work = space.block_macs([known[item.key] for item in blocks]).tolist()
    else:
        work = [graph_macs(graph) for item in blocks for graph in item.graphs().values()]
    rank = _ANCHOR_RANK if blocks else 0.5
    by_work = sorted(range(len(candidates)), key=lambda index: (work[index], candidates[index].key))
    chosen = candidates[by_work[min(len(by_work) - 1, int(rank * len(by_work)))]]
    return Item(Role.ANCHOR, chosen.key, chosen.graphs)


def _block_graph(space: SearchSpace, block: Block) -> Callable[[], Mapping[str, Graph]]:
    return lambda: {block.key: space.block_graph(block)}


def _network_graphs(space: SearchSpace, arch: str, genotype: Genotypes) -> Callable[[], Mapping[str, Graph]]:
    return lambda: spell_parts(arch, space.subnet_graphs(genotype))
