"""Recalibrate batch-norm: a network cut from a supernet gets running statistics of its own, from a user's images.

Importing this module imports torch, so other modules import it inside the functions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fleetfront.errors import InputError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph, Operator
from fleetfront.graphs.torch_module import TorchModule, run_graph

#: Images in one forward pass; the once-for-all project's own value.
BATCH = 100


def recalibrate(network: TorchModule | Graph, images: NDArray[np.float32], *, batch_size: int = BATCH) -> Graph:
    """The network with batch-norm statistics of ``images`` and batch-norm folded.

    Args:
        network: a live graph, or the module of one; it stays as it is.
        images: float32[n, 3, r, r] of the network's own resolution, preprocessed as in training. No labels are needed.
        batch_size: images in one forward pass.

    Raises:
        InputError: the network has no batch-norm left, or the images do not fit it.
    """
    graph = network.graph if isinstance(network, TorchModule) else network
    if isinstance(network, TorchModule):
        live = network.arrays()
        graph = graph.rewrite(weights=lambda name, _: live[name])
    weights = {name: torch.from_numpy(np.array(array)) for name, array in graph.weights.items()}
    statistics = recalibrated_statistics(graph, weights, torch.from_numpy(images), batch_size=batch_size)
    found = {name: tensor.numpy() for name, tensor in statistics.items()}
    labels = {**graph.labels, "recalibrated_on": f"{len(images)} images"}
    updated = graph.rewrite(weights=lambda name, array: found.get(name, array))
    return fold_batch_norm(replace(updated, labels=MappingProxyType(labels)))


@torch.no_grad()
def recalibrated_statistics(
    graph: Graph, weights: Mapping[str, Tensor], images: Tensor, *, batch_size: int = BATCH
) -> dict[str, Tensor]:
    """New running mean and variance of every batch_norm, by the names of the weights that they replace.

    As once-for-all's ``set_running_statistics``: each batch is normalised with its own statistics on its way through
    the network, and the batches' means and (biased) variances are averaged, weighted by their images.

    Raises:
        InputError: the graph has no batch_norm, or the images do not fit its input.
    """
    if all(operator.family != "batch_norm" for operator in graph.operators):
        raise InputError(
            f"Graph {graph.name!r} has no batch-norm to recalibrate.", "Recalibrate the live graph, before folding."
        )
    declared = graph.tensors[graph.inputs[0]].shape
    if images.ndim != 4 or tuple(images.shape[1:]) != tuple(declared[1:]) or len(images) == 0:
        raise InputError(
            f"Images {tuple(images.shape)} do not fit the input {declared} of {graph.name!r}.",
            "Load the images at the network's own resolution.",
        )
    sums: dict[str, Tensor] = {}

    def collect(
        operator: Operator, data: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
    ) -> Tensor:
        # With momentum 1 torch leaves the batch's own mean and unbiased variance behind, at no further pass.
        batch_mean, batch_variance = torch.zeros_like(mean), torch.zeros_like(variance)
        epsilon = operator.attributes["epsilon"]
        result = F.batch_norm(data, batch_mean, batch_variance, scale, shift, training=True, momentum=1.0, eps=epsilon)
        count = data.numel() // data.shape[1]
        batch_variance *= (count - 1) / count
        for name, value in zip(operator.inputs[3:], (batch_mean, batch_variance), strict=True):
            sums[name] = sums.get(name, torch.zeros_like(value)) + value * len(data)
        return result

    for start in range(0, len(images), batch_size):
        run_graph(graph, weights, (images[start : start + batch_size],), batch_norm=collect)
    return {name: total / len(images) for name, total in sums.items()}
