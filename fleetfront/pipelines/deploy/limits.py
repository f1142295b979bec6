"""Hold files of floats to what rounding costs their network. No constant says: it adds up over layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fleetfront.deploy.formats import FileFormat
from fleetfront.deploy.proof import prove, relative_to_spread
from fleetfront.deploy.quantise.precisions import SPREAD_LIMITS, half_rounded, shaken
from fleetfront.deploy.quantise.rounding import misrounded
from fleetfront.errors import BarMissed
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.judging import prove_float_form
from fleetfront.pipelines.deploy.records import Network, Recipe
from fleetfront.pipelines.deploy.reference import Reference, torch_network

#: Files may be so many times as far off as torch is that rounds every result: those of eleven random networks are 0.4
#: to 1.1 times as far, and a processor that adds up in float16, too, rounds more.
_WAYS = 3.0
#: Another order of adding up is told from steps so many times larger than float32's, lest torch's own be seen.
_LARGER = 2.0**12
#: Draws of signs, and how many times the worst of them a right file may be off. Numbers that are added up one after
#: another drift further than the mean of draws: the one random network in eleven that needs it is 2.8 times as far off.
_DRAWS, _TIMES = 3, 10.0
#: Beyond this share of what inputs change, a filter may be wrong.
MOST_OFF = 1e-3
#: Beyond this share of what inputs change, float16 is no form of the network that anybody wants.
MOST_LOST = 0.15


def within_half(
    network: Network, reference: Reference, kind: FileFormat, recipe: Recipe, folder: Path, files: tuple[bytes, bytes]
) -> Recipe:
    """The recipe with the limit that an fp16 file of this very network is held to.

    As its inputs do not show a fault in a single weight, the float file is proven first, and no weight of the fp16
    file may be further from it than by rounding.

    Args:
        network: what the files are of.
        reference: what torch makes of it.
        kind: of both files.
        recipe: with the limit that stands where a network costs less; a larger one of a user's stands.
        folder: holds the float file meanwhile.
        files: in fp32 and in fp16.

    Raises BarMissed if the float file computes something else than torch, or a weight is off.
    """
    floats, halves = files
    prove_float_form(reference, floats, kind, recipe, folder)
    wrong = misrounded(kind.weights(floats), kind.weights(halves))
    if wrong:
        raise BarMissed(
            f"In the fp16 form of {network.graph.name}.{kind.name} the weight {wrong[0]!r} is further from the float "
            "file's than rounding can take it, so it is not handed out.",
            "Leave fp16 out of --precisions, and report the architecture.",
        )
    rounded = torch_network(half_rounded(network.graph))(reference.floats)
    limit = half_limit(relative_to_spread(reference.outputs, rounded), recipe.spread_limits["fp16"])
    return replace(recipe, spread_limits={**recipe.spread_limits, "fp16": limit})


def float_limit(network: Network, reference: Reference) -> float:
    """The share of what inputs change that an fp32 file may be off: what adding up in another order costs the network,
    at least that of nearly all networks.
    """
    draws = (torch_network(shaken(network.graph, seed, _LARGER))(reference.floats) for seed in range(_DRAWS))
    cost = max(relative_to_spread(reference.outputs, outputs) for outputs in draws) / _LARGER
    return max(SPREAD_LIMITS["fp32"], min(_TIMES * cost, MOST_OFF))


def half_limit(cost: float, least: float = SPREAD_LIMITS["fp16"]) -> float:
    """The share of what inputs change that an fp16 file may be off, where rounding in torch costs ``cost`` of it."""
    return max(least, min(_WAYS * cost, MOST_LOST))


def half_limit_of_part(graph: Graph, samples: int) -> float:
    """The same of a graph of any inputs and outputs, on so many random inputs."""
    return half_limit(prove(graph, half_rounded(graph).to_bytes(), "torch", samples).relative_to_spread)
