"""A user's own family is trained, cut, judged and written through what HasSupernet asks of it, and nothing else."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import load_images
from fleetfront.deploy.formats import FORMATS
from fleetfront.deploy.proof import prove
from fleetfront.errors import InputError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Array, Graph
from fleetfront.graphs.layers import LayerWriter, given_weights, random_weights
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.spaces.base import Genotypes, HasSupernet
from fleetfront.spaces.blocks import Block
from fleetfront.spaces.nasbench201.space import NasBench201Space
from fleetfront.workspace import Workspace

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from fleetfront.predictors.accuracy.supernet import SupernetAccuracy  # noqa: E402
from fleetfront.spaces.supernet.checkpoints import load_supernet  # noqa: E402
from fleetfront.spaces.supernet.training import TrainingSettings, train_supernet  # noqa: E402

SIDE = 16


class Widths:
    """Two convolutions whose widths are chosen; a narrow one takes the first channels."""

    name = "widths"
    choices = ((4, 8), (8, 16))
    gene_names = ("width_1", "width_2")
    resolutions = (SIDE,)
    vocabulary: tuple[Block, ...] = ()

    def __init__(self, classes: int = 10) -> None:
        self.classes = classes
        self.identity = f"widths of {classes} classes"

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        return genotypes.copy()

    def arch_id(self, genotype: Genotypes) -> str:
        return "x".join(str(values[gene]) for values, gene in zip(self.choices, genotype.tolist(), strict=True))

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        return [self.arch_id(row) for row in genotypes]

    def live_graph(self, genotype: Genotypes, weights: Mapping[str, Array] | None = None) -> Graph:
        name = self.arch_id(genotype)
        writer = LayerWriter(name, random_weights(name) if weights is None else given_weights(weights))
        data = writer.builder.input("input", (1, 3, SIDE, SIDE), layout=IMAGE)
        for layer, (values, gene) in enumerate(zip(self.choices, genotype.tolist(), strict=True)):
            data = writer.batch_norm(writer.conv(data, f"layer{layer}.conv", values[gene], 3, 2), f"layer{layer}.bn")
            data = writer.builder.add("relu", (data,))
        data = writer.builder.add("flatten", (writer.builder.add("global_average_pool", (data,)),))
        return writer.builder.build((writer.linear(data, "classifier", self.classes, "logits"),))

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        return {"network": (fold_batch_norm(self.live_graph(genotype, weights)), 1)}

    def at_resolution(self, genotypes: Genotypes, side: int) -> Genotypes:
        if side != SIDE:
            raise InputError(f"{self.name} has no resolution {side}.", f"Load the images at {SIDE}.")
        return genotypes

    def with_classes(self, classes: int) -> "Widths":
        return Widths(classes)

    def classes_in(self, tensors: Mapping[str, torch.Tensor]) -> int | None:
        return len(tensors["classifier.bias"]) if "classifier.bias" in tensors else None

    def supernet_shapes(self) -> dict[str, tuple[int, ...]]:
        weights = self.live_graph(np.array([1, 1], np.int8)).weights
        return {name: array.shape for name, array in weights.items()}

    def cut(self, tensors: Mapping[str, torch.Tensor], genotype: Genotypes) -> dict[str, torch.Tensor]:
        wanted = self.live_graph(genotype).weights
        return {n: tensors[n][tuple(slice(side) for side in array.shape)] for n, array in wanted.items()}

    def graph_names(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return dict(state)

    def describe_misfit(self, tensors: Mapping[str, torch.Tensor]) -> str:
        return ""


def test_a_users_family_is_trained_judged_and_deployed(tmp_path: Path) -> None:
    space, workspace = Widths(), Workspace(tmp_path)
    assert isinstance(space, HasSupernet)
    images = load_images("digits", SIDE, limit=300, calibration=64)
    settings = TrainingSettings(epochs=15, batch_size=32, random_subnets=1, rotation_deg=0.0, zoom=0.0)
    result = train_supernet(space, images, settings, workspace=workspace)
    every = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int8)
    accuracy = SupernetAccuracy(result.supernet, images, "supernet:own", workspace).predict(every).mean
    assert accuracy[-1] > 20, "ten classes drawn by chance give 10 %"
    loaded = load_supernet(result.path, space)
    assert loaded.weights_id == result.supernet.weights_id
    graph = loaded.graph(every[2])
    for kind in FORMATS.values():
        assert prove(graph, kind.write(graph), kind.runtime).passed
    assert train_supernet(space, images, settings, workspace=workspace).is_cached


def test_spaces_without_shared_weights_say_so() -> None:
    assert not isinstance(NasBench201Space(), HasSupernet)


def test_networks_of_several_parts_are_named() -> None:
    from fleetfront.spaces.supernet.subnets import untrained

    class Twice(Widths):
        def subnet_graphs(
            self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
        ) -> dict[str, tuple[Graph, int]]:
            graph = self.live_graph(genotype, weights)
            return {"encoder": (graph, 1), "step": (graph, 7)}

    with pytest.raises(InputError, match=r"2 part\(s\) \(encoder x 1, step x 7\)"):
        untrained(Twice(), 0).graph(np.array([0, 0], np.int8))
