"""Measure what operators cost on a target: a designed set, chains that show fusion, whole networks; then learn it.

All of it goes through the same campaigns as everything else: rounds of interleaved visits with an anchor. A second
campaign, with the same anchor and networks, draws more of the kinds that the first told worst.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from fleetfront import __version__
from fleetfront.deploy.quantise.precisions import WEIGHT_BITS, Piece
from fleetfront.errors import InputError, MissingDependency
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.measure.files import STATISTIC
from fleetfront.pipelines.measure.operator_design import (
    ADDED,
    IDLE,
    IDLE_CHAIN,
    OperatorDesign,
    draw_more,
    first_design,
)
from fleetfront.pipelines.measure.profile import file_writer, operator_writer
from fleetfront.predictors.operators.costs import KindCosts, OperatorCosts, group_ms
from fleetfront.predictors.operators.design import COLD, PADS, Chain
from fleetfront.predictors.operators.kernels import FEATURES, Kernel, kernels_on
from fleetfront.predictors.operators.learning import (
    ColdProduct,
    MeasuredNetwork,
    learn_allowance,
    learn_cold,
    learn_kind,
    learn_scales,
)
from fleetfront.predictors.operators.rules import ChainTest, Rules, find_rules, group_kernels, head_kind
from fleetfront.predictors.operators.samples import Sample
from fleetfront.predictors.operators.scales import NetworkScales, demands, four_byte_weights
from fleetfront.predictors.operators.variants import PADS as PAD_KINDS
from fleetfront.profilers.base import Agent
from fleetfront.profilers.campaign import Campaign, Limits, begin_campaign, find_unfinished
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import OpenAgent, open_device
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.plan import RoundOptions, Task, TaskList, campaign_identity
from fleetfront.profilers.reading.observations import Observations, read_observations, summaries
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import FloatArray
from fleetfront.runtimes.catalogue import find_facts
from fleetfront.side_by_side import working_s
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Part of the budget that the first set gets; samples drawn for the kinds that it told worst: as many as can be visited
#: so often in the rest, within bounds. Two visits to a file differ by 2 % and neighbouring sizes by 5 to 20 %.
_FIRST_SHARE, _VISITS_OF_MORE, _FEWEST_MORE, _MOST_MORE = 0.55, 2.5, 240, 2400
#: Of what ``IDLE`` takes, the part that is no operator's if the longer file was not measured, and the least that is.
_IDLE_SHARE, _LEAST_IDLE = 0.9, 0.5
#: Rounds that tell all that rounds can tell.
_MOST_ROUNDS = 10
_WRITTEN = FEATURES.index("written")
#: What an operator behind its padding takes at least, as a share of both.
_LEAST_BEHIND_PADDING = 0.1
#: A file that takes more than this share for its padding tells little of what stands behind it, if as many others do.
_MOST_OF_PADDING, _ENOUGH_ALONE = 0.3, 12


def check_operators(precision: str) -> None:
    """Raises InputError for a precision whose operators are not measured by themselves."""
    if precision == "int8":
        raise InputError("Costs of int8 operators are measured with those in float.", "Leave --precision out.")
    if precision in WEIGHT_BITS:
        raise InputError(
            f"Costs of operators in {precision} are not learnt.",
            "Leave --precision out, or time files: fleetfront profile --file FILE",
        )


def profile_operators(
    target: Target,
    *,
    store: Store,
    seconds: float = 240.0,
    seed: int = 0,
    scale: float = 1.0,
    workspace: Workspace | None = None,
    open_agent: OpenAgent | None = None,
    progress: Progress = SILENT,
) -> OperatorCosts:
    """Operator costs of ``target``, measured within about ``seconds``. The same call goes on with an interrupted one.

    Raises:
        CampaignInterrupted: on Ctrl-C.
        InputError: a target that files are not written for, another batch than 1, a full disk.
        MissingDependency: the runtime, scipy or xgboost is not installed.
        DeviceError: the device is lost, refused, or measured by another process.
    """
    if target.batch != 1:
        raise InputError(f"Operators are measured at batch 1, not {target.batch}.", "Leave --batch out.")
    began, started_ns = working_s(), time.time_ns()
    place = workspace or Workspace.default()
    check_operators(target.precision)
    suffix, write_piece = file_writer(target)
    cache = FileCache(place.cache / "files", suffix)
    opener = open_agent or (lambda wanted: open_device(wanted, Choices(workspace=place), progress))
    with cache.in_use(), closing(opener(target)) as agent:
        measure = _Measuring(
            target, store, agent, cache, lambda graph: write_piece(graph, Piece.OPERATOR), seed, progress
        )
        design = first_design(seed, scale)
        seen = [measure(design, seconds * _FIRST_SHARE, "first")]
        costs = learn_costs(design, seen, agent.describe())
        more = draw_more(design, costs, round(scale * _count_more(seen[0], (1 - _FIRST_SHARE) * seconds)), seed)
        if seconds - (working_s() - began) > 0.1 * seconds:
            seen.append(measure(more, seconds - (working_s() - began), "more"))
            both = replace(design, samples={**design.samples, **more.samples})
            costs = learn_costs(both, seen, agent.describe())
    cache.prune()
    return replace(costs, started_ns=started_ns, seconds=working_s() - began)


def _count_more(seen: Observations, seconds: float) -> int:
    """How many more samples can be visited, with all networks, within ``seconds``, as fast as the first were."""
    visits = sum(map(len, seen.visits.get(Role.BLOCK, {}).values()))
    of_networks = seen.visits.get(Role.CALIBRATION, {})
    spent, rounds = seen.role_seconds.get(Role.CALIBRATION, 0.0), max(map(len, of_networks.values()), default=1)
    if not visits or seen.seconds <= spent:
        return _FEWEST_MORE
    each_s = (seen.seconds - spent) / visits
    return int(np.clip((seconds / _VISITS_OF_MORE - spent / rounds) / each_s, _FEWEST_MORE, _MOST_MORE))


@dataclass(frozen=True, slots=True)
class _Measuring:
    """Runs one campaign over a design and reads what was seen."""

    target: Target
    store: Store
    agent: Agent
    cache: FileCache
    write: Callable[[Graph], bytes]
    seed: int
    progress: Progress

    def __call__(self, design: OperatorDesign, seconds: float, name: str) -> Observations:
        began = working_s()
        tasks = self._written(design)
        options, environment = RoundOptions(seed=self.seed), self.agent.describe()
        identity = campaign_identity(
            self.target, "", options, {**environment, "operators": name, "files": sorted(tasks.files)}
        )
        row = find_unfinished(self.store, self.target, "", identity, seconds)
        row = row or begin_campaign(self.store, self.target, "", identity, tasks, environment)
        files = {file: str(self.cache.path(file)) for file in tasks.files}
        clock = self.agent.clocks[0]
        campaign = Campaign(self.store, self.agent, row, options, files, clock=clock, progress=self.progress)
        campaign.run(Limits(seconds, _MOST_ROUNDS), preparing_s=working_s() - began)
        return read_observations(self.store, self.target, "", clock, [row.id])

    def _file(self, sample: Sample) -> bytes:
        if not sample.is_narrow:
            return self.write(sample.graph())
        piece = Piece.UNSIGNED_OPERATOR if sample.is_unsigned else Piece.OPERATOR
        return operator_writer(self.target, piece)(sample.float_graph())

    def _written(self, design: OperatorDesign) -> TaskList:
        """Files of what the runtime's format can say; the rest is left out with its reason."""
        wanted = [(Role.BLOCK, key) for key in design.samples] + [(Role.CALIBRATION, key) for key in design.networks]
        self.progress.start("Writing operators", len(wanted))
        tasks = []
        for role, key in wanted:
            try:
                data = self._file(design.samples[key]) if role is Role.BLOCK else self.write(design.networks[key][1])
                tasks.append(Task(role, key, self.cache.put(data)))
            except (InputError, MissingDependency) as error:
                design.left_out[key] = error.message
            self.progress.advance()
        self.progress.finish()
        if not tasks:
            raise InputError(f"No operator can be written for {self.target}.", "Choose another --runtime.")
        tasks.sort(key=lambda task: task.role.value)
        singles = [task for task in tasks if task.role is Role.BLOCK]
        return TaskList(tuple(tasks), replace(singles[len(singles) // 2], role=Role.ANCHOR))


def learn_costs(
    design: OperatorDesign, seen: Sequence[Observations], environment: Mapping[str, object]
) -> OperatorCosts:
    """Learn from the observations of one or several campaigns of a design, by the statistic that files are timed by.

    Raises InputError if not even the idle file was measured.
    """
    first = seen[0]
    statistic = STATISTIC
    blocks: dict[str, float] = {}
    networks: dict[str, float] = {}
    drifts: dict[str, float] = {}
    for observations in reversed(seen):
        blocks |= summaries(observations, Role.BLOCK, statistic)
        found = summaries(observations, Role.CALIBRATION, statistic)
        drifts |= {key: networks[key] / ms - 1 for key, ms in found.items() if key in networks}
        networks |= found
    if IDLE.key not in blocks:
        if not first.errors:
            raise InputError(
                f"{first.target} visited {len(blocks)} of {len(design.samples)} operators in {first.seconds:.0f} s, "
                "and not the smallest one, without which none can be told.",
                "Give it longer: --budget long",
            )
        reason = next(iter(first.errors.values()))
        raise InputError(
            f"{first.target} did not run a file of one operator: {reason}.",
            "Remove the cause, then run the same command again.",
        )
    idle = _idle_ms(blocks)
    kernels = {key: kernels_on(first.target, design.samples[key].graph()) for key in blocks if key in design.samples}
    tests = (_test(first.target, chain, blocks, idle) for chain in design.chains if chain.asks != COLD)
    rules = find_rules([test for test in tests if test is not None])
    kinds = _learn_kinds(kernels, {key: ms - idle for key, ms in blocks.items()}, rules)
    unscaled = OperatorCosts(
        first.target,
        first.clock,
        statistic,
        idle,
        kinds,
        learn_allowance(kinds),
        rules,
        NetworkScales(np.ones(3), 0.0, 0.0, idle, 1.0, 0),
        dict(environment),
        created_with=__version__,
    )
    told = (_cold(first.target, chain, blocks, idle) for chain in design.chains if chain.asks == COLD)
    cold = learn_cold([one for one in told if one is not None])
    measured = [
        _network(*design.networks[key], ms, drifts.get(key, 0.0), unscaled)
        for key, ms in networks.items()
        if key in design.networks
    ]
    return replace(unscaled, scales=learn_scales(measured, idle, cold))


def _idle_ms(blocks: Mapping[str, float]) -> float:
    """The cost of running anything, ms: a file of next to nothing, less what one more operator of it takes."""
    alone, chain = blocks[IDLE.key], blocks.get(IDLE_CHAIN.key)
    if chain is None:
        return _IDLE_SHARE * alone
    return float(np.clip(alone - (chain - alone) / ADDED, _LEAST_IDLE * alone, alone))


def _network(family: str, graph: Graph, ms: float, drift: float, costs: OperatorCosts) -> MeasuredNetwork:
    kernels = kernels_on(costs.target, graph)
    groups = group_kernels(kernels, costs.rules)
    alone = group_ms(kernels, groups, costs.kernel_ms(kernels)[0])
    spread = costs.kind_spread((kernels[one.members[0]], own) for one, own in zip(groups, alone, strict=True))
    return MeasuredNetwork(family, demands(kernels, groups, alone), spread / max(sum(alone), 1e-9), ms, drift)


def _learn_kinds(
    kernels: Mapping[str, Sequence[Kernel]], ms: Mapping[str, float], rules: Rules
) -> dict[str, KindCosts]:
    """The costs of each kind from files of one operator, or of one behind its padding, ms without the idle time."""
    rows: dict[str, list[tuple[FloatArray, float]]] = {}
    for key, found in kernels.items():
        if len(found) == 1:
            rows.setdefault(found[0].kind, []).append((found[0].features, ms[key]))
    pads = {kind: _learn_rows(kind, rows.pop(kind)) for kind in PAD_KINDS if kind in rows}
    alone = {kind: len(pairs) for kind, pairs in rows.items()}
    for key, found in kernels.items():
        if len(found) == 2 and found[0].kind in pads:
            padding = 0.0 if rules.pads(found[1].kind) else float(pads[found[0].kind].ms(found[0].features[None])[0])
            if padding > _MOST_OF_PADDING * ms[key] and alone.get(found[1].kind, 0) >= _ENOUGH_ALONE:
                continue
            left = max(ms[key] - padding, _LEAST_BEHIND_PADDING * ms[key])
            rows.setdefault(found[1].kind, []).append((found[1].features, left))
    return pads | {kind: _learn_rows(kind, pairs) for kind, pairs in rows.items()}


def _learn_rows(kind: str, rows: Sequence[tuple[FloatArray, float]]) -> KindCosts:
    return learn_kind(kind, np.array([features for features, _ in rows]), np.array([ms for _, ms in rows]))


def _cold(target: Target, chain: Chain, ms: Mapping[str, float], idle: float) -> ColdProduct | None:
    """The last operator of a chain, by the whole and by its parts; None if one of them was not measured."""
    if any(sample.key not in ms for sample in (chain.whole, *chain.parts)):
        return None
    kernels = kernels_on(target, chain.whole.graph())
    weights, written = (
        [four_byte_weights(kernel) for kernel in kernels],
        sum(float(kernel.features[_WRITTEN]) for kernel in kernels),
    )
    body, alone = (ms[part.key] for part in chain.parts)
    whole = ms[chain.whole.key]
    return ColdProduct(alone - idle, whole - body - (alone - idle), weights[-1], sum(weights), written, whole)


def _test(target: Target, chain: Chain, ms: Mapping[str, float], idle: float) -> ChainTest | None:
    """The evidence of a chain that was measured whole and in parts."""
    if any(sample.key not in ms for sample in (chain.whole, *chain.parts)):
        return None
    places = [-1 - (chain.is_followed and part is chain.parts[0]) for part in chain.parts]
    kernels = [kernels_on(target, part.graph()) for part in chain.parts]
    kinds = tuple(found[place].kind for found, place in zip(kernels, places, strict=True))
    if chain.asks == "fused":
        kinds = (*map(head_kind, kinds[:-1]), kinds[-1])
    first, *others = kernels_on(target, chain.whole.graph())
    if chain.asks == PADS:
        # Where padding is an operator of its own anyway, other chains tell.
        facts = find_facts(target.runtime)
        if facts is not None and facts.pads_apart:
            return None
        chain = replace(chain, asks="padded")
    if chain.asks == "padded" and not (first.kind in PAD_KINDS and others):
        return None
    parts = tuple(ms[part.key] - idle for part in chain.parts)
    return ChainTest(chain.asks, kinds, ms[chain.whole.key] - idle, parts, float(first.features[_WRITTEN]))
