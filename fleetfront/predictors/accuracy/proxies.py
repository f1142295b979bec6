"""Score untrained networks by what their first gradients or activations say: a hint which learn well, no accuracy.

Scores rank networks of one space; they say nothing of how accurate any is, and among the best hardly tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.errors import InputError, missing, unknown
from fleetfront.graphs.graph import Graph
from fleetfront.quantities import NASWOT, SYNFLOW, Estimate, Quality, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace, WritesNetworks

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.graphs.graph import Operator
    from fleetfront.quantities import FloatArray

#: Made-up inputs whose activations NASWOT tells apart.
_INPUTS = 16
#: Families whose inputs are cut at zero, sharply or softly.
_RECTIFIERS = frozenset({"relu", "relu6", "hard_swish"})


def synflow(graph: Graph) -> float:
    """log10(1 + sum |w * dR/dw|) over all convolutions and linear layers, R the sum of the outputs for an input of ones
    and absolute weights, batch-norm left out (Tanaka et al. 2020; Abdelfattah et al. 2021). 0 where nothing flows.
    """
    import torch

    from fleetfront.graphs.torch_module import run_graph

    normalised = {name for one in graph.operators if one.family == "batch_norm" for name in one.inputs[1:]}
    weights = {
        name: torch.from_numpy(np.abs(np.asarray(array, np.float64))).requires_grad_(name not in normalised)
        if np.issubdtype(array.dtype, np.floating)
        else torch.from_numpy(np.array(array))
        for name, array in graph.weights.items()
    }
    ones = [torch.ones(_shape(graph, name, 1), dtype=torch.double) for name in graph.inputs]
    flow = torch.stack([output.sum() for output in run_graph(graph, weights, ones, batch_norm=_unchanged)]).sum()
    if not flow.requires_grad:
        return 0.0
    flow.backward()  # type: ignore[no-untyped-call]
    told = [float((one.detach() * one.grad).abs().sum()) for one in weights.values() if one.grad is not None]
    return float(np.log10(1.0 + sum(told)))


def naswot(graph: Graph) -> float:
    """log |det K| / n of n random inputs, K[i, j] the number of rectified units on the same side of zero for both
    (Mellor et al. 2021); batch-norm by the statistics of the inputs, as in an untrained network.
    """
    import torch

    from fleetfront.graphs.torch_module import batch_statistics, run_graph

    read = tuple(dict.fromkeys(one.inputs[0] for one in graph.operators if one.family in _RECTIFIERS))
    weights = {name: torch.from_numpy(np.array(array)) for name, array in graph.weights.items()}
    rng = np.random.default_rng(0)
    drawn = [torch.from_numpy(rng.standard_normal(_shape(graph, name, _INPUTS), np.float32)) for name in graph.inputs]
    with torch.no_grad():
        values = run_graph(replace(graph, outputs=read), weights, drawn, batch_norm=batch_statistics)
    same = torch.zeros(_INPUTS, _INPUTS, dtype=torch.double)
    for value in values:
        if len(value) == _INPUTS:
            sides = (value.flatten(1) > 0).double() * 2 - 1
            # Of codes -1 and 1 the product counts agreements less disagreements.
            same += 0.5 * (sides @ sides.T + sides.shape[1])
    sign, log = np.linalg.slogdet(same.numpy())
    return float(log) / _INPUTS if sign > 0 else 0.0


#: What follows ``proxy:`` -> the score of a network and the quality that it is.
PROXIES: dict[str, tuple[Callable[[Graph], float], Quality]] = {
    "synflow": (synflow, SYNFLOW),
    "naswot": (naswot, NASWOT),
}


@dataclass(frozen=True, slots=True)
class ProxyScore:
    """An AccuracyModel whose answers are scores of untrained networks with random weights of one seed."""

    space: WritesNetworks
    name: str
    tier: Tier = Tier.ESTIMATED

    @property
    def source(self) -> str:
        """``proxy:NAME``."""
        return f"proxy:{self.name}"

    @property
    def quality(self) -> Quality:
        """That of the proxy, never accuracy."""
        return PROXIES[self.name][1]

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Scores of n genotypes int8[n, v]; nobody knows how far they would move with other weights."""
        score = PROXIES[self.name][0]
        found: FloatArray = np.array([score(self.space.live_graph(genotype)) for genotype in genotypes], np.float64)
        return Estimate(found, np.zeros(len(found)), self.tier)


def load_proxy(name: str, space: SearchSpace) -> ProxyScore:
    """The proxy of that name for a space.

    Raises InputError on an unknown name or a space that is known by tables alone, MissingDependency without torch.
    """
    if name not in PROXIES:
        raise unknown("proxy", name, PROXIES)
    if not isinstance(space, WritesNetworks):
        raise InputError(
            f"proxy:{name} looks at real networks, and of {space.name} none is written.", "Use a table of accuracies."
        )
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise missing("torch", "torch", f"Scoring networks by {name}") from error
    return ProxyScore(space, name)


def _unchanged(
    operator: Operator, data: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    return data


def _shape(graph: Graph, name: str, batch: int) -> tuple[int, ...]:
    return (batch, *(int(size) for size in graph.tensors[name].shape[1:]))
