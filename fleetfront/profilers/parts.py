"""Spell the parts of a network, such as encoder and decoder step, as keys to measure, and add up what was measured."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fleetfront.graphs.graph import Graph
from fleetfront.quantities import Aggregation, Metric

_KEY = re.compile(r"(?P<network>.+)#\w+\*(?P<calls>[1-9]\d{0,8})/(?P<parts>[1-9]\d{0,3})")


class Seen(NamedTuple):
    """The number of one accepted visit, and its round and campaign."""

    campaign: str
    round: int
    value: float
    is_hot: bool


def spell_parts(network: str, parts: Mapping[str, tuple[Graph, int]]) -> dict[str, Graph]:
    """Key -> graph of each part of ``SearchSpace.subnet_graphs``; the network's own key for one, called once."""
    (graph, calls), *others = parts.values()
    if calls == 1 and not others:
        return {network: graph}
    return {f"{network}#{name}*{calls}/{len(parts)}": graph for name, (graph, calls) in parts.items()}


def network_of(key: str) -> str:
    """The network that a key is of: itself, where it is no part."""
    match = _KEY.fullmatch(key)
    return match.group("network") if match else key


def join_parts(series: Mapping[str, Sequence[Seen]], metric: Metric) -> dict[str, list[Seen]]:
    """The same by network: of each round in which every part was seen, the sum over its calls, or the most of a metric
    that does not add up."""
    joined: dict[str, list[Seen]] = {}
    by_round: dict[str, dict[tuple[str, int], list[Seen]]] = defaultdict(lambda: defaultdict(list))
    wanted: dict[str, int] = {}
    for key, visits in series.items():
        match = _KEY.fullmatch(key)
        if match is None:
            joined[key] = list(visits)
            continue
        network, calls = match.group("network"), int(match.group("calls"))
        wanted[network] = int(match.group("parts"))
        times = calls if metric.aggregation == Aggregation.SUM else 1
        for seen in visits:
            by_round[network][seen.campaign, seen.round].append(seen._replace(value=times * seen.value))
    for network, rounds in by_round.items():
        whole = [parts for parts in rounds.values() if len(parts) == wanted[network]]
        if whole:
            joined[network] = [_joined(parts, metric) for parts in whole]
    return joined


def _joined(parts: Sequence[Seen], metric: Metric) -> Seen:
    values = [part.value for part in parts]
    value = sum(values) if metric.aggregation == Aggregation.SUM else max(values)
    return parts[0]._replace(value=value, is_hot=any(part.is_hot for part in parts))
