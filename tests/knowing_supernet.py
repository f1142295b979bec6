"""A supernet whose smallest architecture knows its images, trained in seconds: enough to tell right from wrong."""

import numpy as np

from fleetfront.datasets import Dataset, Split
from fleetfront.spaces.ofa_mbv3.space import OfaMbv3Space
from fleetfront.spaces.supernet.subnets import Provenance, Supernet, placeholder_graph, smallest, untrained


def knowing_supernet(space: OfaMbv3Space, images: Dataset, epochs: int = 6) -> Supernet:
    """An untrained supernet after some epochs of its smallest architecture alone."""
    import torch
    from torch.nn.functional import cross_entropy

    from fleetfront.graphs.torch_module import run_graph

    blank, genotype = untrained(space, 0), smallest(space)
    tensors = {name: tensor.clone().requires_grad_(tensor.ndim > 0) for name, tensor in blank.tensors.items()}
    for name, tensor in tensors.items():
        tensor.requires_grad_(not name.endswith((".mean", ".variance")))
    graph = placeholder_graph(space, genotype, space.cut(blank.tensors, genotype))
    inputs = torch.from_numpy(images.inputs(Split.TRAIN))
    targets = torch.from_numpy(images.targets(Split.TRAIN))
    trained = [tensor for tensor in tensors.values() if tensor.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * (len(inputs) // 64))
    order = np.random.default_rng(0)
    for _ in range(epochs):
        shuffled = torch.from_numpy(order.permutation(len(inputs)))
        for batch in shuffled[: len(inputs) // 64 * 64].split(64):
            optimizer.zero_grad()
            (logits,) = run_graph(graph, space.cut(tensors, genotype), (inputs[batch],), training=True)
            cross_entropy(logits, targets[batch], label_smoothing=0.1).backward()
            optimizer.step()
            schedule.step()
    provenance = Provenance(
        source="tests", licence="none", class_names=images.class_names, preprocessing=images.preprocessing.to_dict()
    )
    return Supernet(space, {name: tensor.detach() for name, tensor in tensors.items()}, provenance)
