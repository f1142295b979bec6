"""Choose what operator costs of a target are measured on: first the same for all, then more of what was told worst."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleetfront.graphs.graph import Graph
from fleetfront.predictors.operators.costs import OperatorCosts
from fleetfront.predictors.operators.design import FIRST, Chain, draw_chains, draw_singles
from fleetfront.predictors.operators.kernels import kernels_on
from fleetfront.predictors.operators.networks import draw_networks
from fleetfront.predictors.operators.samples import Sample, Stage
from fleetfront.targets import Target

#: A file of next to nothing: what running anything costs.
IDLE = Sample((1, 1), (Stage("relu"),))
#: The same and so many functions of one number more: what one adds to a file is no part of what running anything costs.
ADDED = 16
IDLE_CHAIN = Sample((1, 1), (*IDLE.stages, *[Stage("sigmoid"), Stage("tanh")] * (ADDED // 2)))
#: The share of networks' time that any kind counts with. Of everything that can be drawn so many tell which kinds come
#: of it; those of which it is a smaller share are drawn elsewhere; and no more than this of one are drawn to choose
#: from, nor measured of one kind altogether.
_LEAST_SHARE, _PROBES, _LEAST_YIELD, _MOST_OF_ONE, _MOST_OF_KIND = 0.005, 16, 0.12, 300, 300


@dataclass(frozen=True, slots=True)
class OperatorDesign:
    """The things to measure: samples by key, chains among them, networks by name with their family.

    ``left_out``: key -> why it cannot be written as a file of the target's runtime.
    """

    samples: Mapping[str, Sample]
    chains: Sequence[Chain]
    networks: Mapping[str, tuple[str, Graph]]
    left_out: dict[str, str] = field(default_factory=dict)


def first_design(seed: int = 0, scale: float = 1.0) -> OperatorDesign:
    """The set that a target starts with; ``scale`` times as many samples of each kind, eight at least."""
    chains = list(draw_chains(seed))
    singles = draw_singles({kind: max(8, round(count * scale)) for kind, count in FIRST.items()}, seed)
    wanted = [IDLE, IDLE_CHAIN, *singles, *(sample for chain in chains for sample in (chain.whole, *chain.parts))]
    networks = {f"{family} {place}": (family, graph) for place, (family, graph) in enumerate(draw_networks(seed))}
    return OperatorDesign({sample.key: sample for sample in wanted}, chains, networks)


def draw_more(design: OperatorDesign, costs: OperatorCosts, count: int, seed: int) -> OperatorDesign:
    """More samples of kinds whose errors weigh most in networks or are large anywhere; networks and idle file again."""
    time_of: dict[str, float] = defaultdict(float)
    for _, graph in design.networks.values():
        found = costs.estimate(graph)
        # Small networks count as much as large ones: each is somebody's.
        for part in found.parts:
            time_of[part.kind] += part.ms / found.mean_ms / len(design.networks)
    weights = {kind: one.mape * (_LEAST_SHARE + time_of[kind]) for kind, one in costs.kinds.items()}
    share = sum(weights.values()) or 1.0
    wanted = {
        kind: min(round(count * weight / share), max(0, _MOST_OF_KIND - costs.kinds[kind].samples))
        for kind, weight in weights.items()
    }
    chosen: dict[str, Sample] = {IDLE.key: IDLE}
    got = Counter[str]()
    for sample, kind in _candidates(costs.target, wanted, seed + 1):
        if got[kind] < wanted.get(kind, 0) and sample.key not in design.samples and sample.key not in chosen:
            chosen[sample.key] = sample
            got[kind] += 1
    return OperatorDesign(chosen, (), design.networks)


def _candidates(target: Target, wanted: Mapping[str, int], seed: int) -> Iterator[tuple[Sample, str]]:
    """Samples with their kinds: a few of everything, then as many of each as its share of what is wanted asks for."""
    for name in FIRST:
        if name.startswith(("int8", "uint8")):
            continue
        probes = [(sample, _kind_of(target, sample)) for sample in draw_singles({name: _PROBES}, seed)]
        yield from probes
        shares = {kind: count / len(probes) for kind, count in Counter(kind for _, kind in probes).items()}
        asked = [wanted.get(kind, 0) / one for kind, one in shares.items() if one > _LEAST_YIELD]
        more = min(round(max(asked, default=0.0)), _MOST_OF_ONE)
        if more > len(probes):
            drawn = draw_singles({name: more}, seed)[len(probes) :]
            yield from ((sample, _kind_of(target, sample)) for sample in drawn)


def _kind_of(target: Target, sample: Sample) -> str:
    return kernels_on(target, sample.graph())[-1].kind
