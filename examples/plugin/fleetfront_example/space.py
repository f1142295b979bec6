"""Describe tiny chains: two or three convolutions of free width and kernel, then a classifier. 1,872 networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph, GraphBuilder
from fleetfront.spaces.base import Config, Genotypes
from fleetfront.spaces.blocks import Block

if TYPE_CHECKING:
    from torch import Tensor

_SIDE, _CLASSES = 32, 10
_WIDTHS, _KERNELS = (8, 12, 16, 24), (1, 3, 5)
_STAGES = 3
#: Inputs of a stage: the image before the first, any width before the others.
_BEFORE = ((3,), _WIDTHS, _WIDTHS)


class TinyChains:
    """A ``SearchSpace``. Genes: how many stages (2 or 3), then width and kernel of each; ``d3_w8k3_w16k5_w24k1``."""

    name = "tiny-chains"
    choices: tuple[tuple[Any, ...], ...] = ((2, 3), *((_WIDTHS, _KERNELS) * _STAGES))
    gene_names = ("depth", *(f"{what}_{stage}" for stage in range(1, _STAGES + 1) for what in ("width", "kernel")))

    def __init__(self) -> None:
        """List the blocks: a convolution for each stage, input, width and kernel; a classifier for each end."""
        blocks: dict[tuple[Any, ...], Block] = {}
        for stage, before in enumerate(_BEFORE):
            for width_in in before:
                for width in _WIDTHS:
                    for kernel in _KERNELS:
                        image = (width_in, _SIDE >> stage, _SIDE >> stage)
                        block = Block.make("tiny_conv", (image,), out=width, k=kernel)
                        blocks[stage, width_in, width, kernel] = block
        for depth in (2, 3):
            for width in _WIDTHS:
                blocks["head", depth, width] = Block.make("tiny_head", ((width, _SIDE >> depth, _SIDE >> depth),))
        self.vocabulary = tuple(blocks.values())
        self._index = {key: number for number, key in enumerate(blocks)}
        counts = np.array([_count(block) for block in self.vocabulary])
        # The last entry is what a slot that holds no block costs.
        self._macs, self._params = np.append(counts[:, 0], 0), np.append(counts[:, 1], 0)
        self._slots = self._tables()

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """See ``SearchSpace``, here and below."""
        drawn = [rng.integers(0, len(values), n, dtype=np.int8) for values in self.choices]
        return self.canonical(np.stack(drawn, axis=1))

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        used = np.ones(genotypes.shape, dtype=np.bool_)
        used[:, -2:] = genotypes[:, :1] == 1
        return used

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        return np.where(self.active(genotypes), genotypes, np.int8(0))

    def to_config(self, genotype: Genotypes) -> Config:
        values = [choice[gene] for choice, gene in zip(self.choices, self.canonical(genotype[None])[0], strict=True)]
        return {"depth": values[0], "stages": [list(values[i : i + 2]) for i in range(1, 2 * values[0] + 1, 2)]}

    def from_config(self, config: Config) -> Genotypes:
        try:
            values = [config["depth"], *(value for stage in config["stages"] for value in stage)]
            padded = [*values, *(choice[0] for choice in self.choices[len(values) :])]
            genes = [choice.index(value) for choice, value in zip(self.choices, padded, strict=True)]
            if len(config["stages"]) != config["depth"]:
                raise ValueError(f"{len(config['stages'])} stages for a depth of {config['depth']}")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{config!r} is no network of {self.name} ({type(error).__name__}: {error}).",
                f"Widths are of {_WIDTHS}, kernels of {_KERNELS}, the depth is 2 or 3.",
            ) from error
        return np.array(genes, dtype=np.int8)

    def arch_id(self, genotype: Genotypes) -> str:
        config = self.to_config(genotype)
        return "_".join((f"d{config['depth']}", *(f"w{width}k{kernel}" for width, kernel in config["stages"])))

    def arch_ids(self, genotypes: Genotypes) -> list[str]:
        return [self.arch_id(row) for row in genotypes]

    def parse(self, arch_ids: Sequence[str]) -> Genotypes:
        return np.array([self._parsed(text) for text in arch_ids], dtype=np.int8).reshape(-1, len(self.choices))

    def block_indices(self, genotypes: Genotypes) -> NDArray[np.int32]:
        rows = self.canonical(genotypes).astype(np.intp)
        depth, widths, kernels = rows[:, 0], rows[:, 1::2], rows[:, 2::2]
        convs, heads = self._slots
        indices = np.full((len(rows), _STAGES + 1), -1, dtype=np.int32)
        for stage in range(_STAGES):
            before = widths[:, stage - 1] if stage else np.zeros(len(rows), dtype=np.intp)
            is_used = stage < depth + 2
            indices[:, stage] = np.where(is_used, convs[stage, before, widths[:, stage], kernels[:, stage]], -1)
        indices[:, _STAGES] = heads[depth, np.where(depth == 1, widths[:, 2], widths[:, 1])]
        return indices

    def macs(self, genotypes: Genotypes) -> NDArray[np.int64]:
        return np.asarray(self._macs[self.block_indices(genotypes)].sum(axis=1))

    def params(self, genotypes: Genotypes) -> NDArray[np.int64]:
        return np.asarray(self._params[self.block_indices(genotypes)].sum(axis=1))

    def block_probabilities(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Makes the space ``Relaxable``: strategies that follow gradients can use it."""
        import torch

        depth, *rest = probabilities
        (w1, w2, w3), (k1, k2, k3) = rest[::2], rest[1::2]
        parts = (
            torch.einsum("nw,nk->nwk", w1, k1),
            torch.einsum("nv,nw,nk->nvwk", w1, w2, k2),
            torch.einsum("n,nv,nw,nk->nvwk", depth[:, 1], w2, w3, k3),
            depth[:, :1] * w2,
            depth[:, 1:] * w3,
        )
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def block_graph(self, block: Block) -> Graph:
        builder = GraphBuilder(block.family)
        image = builder.input("x", (1, *block.inputs[0]), layout="NCHW")
        return builder.build([_add_block(builder, block, image, np.random.default_rng(0), "block")])

    def subnet_graphs(
        self, genotype: Genotypes, weights: Mapping[str, Array] | None = None
    ) -> dict[str, tuple[Graph, int]]:
        builder = GraphBuilder(self.name)
        flow, rng = builder.input("image", (1, 3, _SIDE, _SIDE), layout="NCHW"), np.random.default_rng(0)
        indices = [int(index) for index in self.block_indices(genotype[None])[0] if index >= 0]
        for number, index in enumerate(indices):
            flow = _add_block(builder, self.vocabulary[index], flow, rng, f"stage{number}", weights)
        return {"network": (builder.build([flow]), 1)}

    def _parsed(self, text: str) -> Genotypes:
        try:
            depth, *stages = text.split("_")
            pairs = [[int(part) for part in stage.removeprefix("w").split("k")] for stage in stages]
            genotype = self.from_config({"depth": int(depth.removeprefix("d")), "stages": pairs})
            if self.arch_id(genotype) != text:
                raise ValueError("it is spelled otherwise")
        except (ValueError, InputError) as error:
            raise InputError(f"{text!r} is no network of {self.name}.", "Spell it like d2_w8k3_w16k5.") from error
        return genotype

    def _tables(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Indices of convolutions [stage, width before, width, kernel] and of classifiers [depth, width]."""
        convs = np.full((_STAGES, len(_WIDTHS), len(_WIDTHS), len(_KERNELS)), -1, dtype=np.int32)
        heads = np.full((2, len(_WIDTHS)), -1, dtype=np.int32)
        for key, number in self._index.items():
            if key[0] == "head":
                heads[key[1] - 2, _WIDTHS.index(key[2])] = number
            else:
                stage, before, width, kernel = key
                convs[stage, _BEFORE[stage].index(before), _WIDTHS.index(width), _KERNELS.index(kernel)] = number
        return convs, heads


def _count(block: Block) -> tuple[int, int]:
    """MACs and parameters."""
    channels, side, _ = block.inputs[0]
    if block.family == "tiny_head":
        return channels * _CLASSES, (channels + 1) * _CLASSES
    out, kernel = int(block.parameter("out")), int(block.parameter("k"))
    weights = channels * out * kernel**2
    return weights * (side // 2) ** 2, weights + out


def _add_block(
    builder: GraphBuilder,
    block: Block,
    image: str,
    rng: np.random.Generator,
    name: str,
    weights: Mapping[str, Array] | None = None,
) -> str:
    """Append a block; its weights are the given ones of its name, else random."""

    def weight(part: str, shape: tuple[int, ...]) -> str:
        given = None if weights is None else weights[f"{name}.{part}"]
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.0
        array = (rng.standard_normal(shape) * scale).astype(np.float32) if given is None else given
        return builder.weight(f"{name}.{part}", array)

    channels = block.inputs[0][0]
    if block.family == "tiny_head":
        pooled = builder.add("global_average_pool", [image])
        flat = builder.add("flatten", [pooled])
        return builder.add("linear", [flat, weight("weight", (_CLASSES, channels)), weight("bias", (_CLASSES,))])
    out, kernel = int(block.parameter("out")), int(block.parameter("k"))
    kernels, bias = weight("weight", (out, channels, kernel, kernel)), weight("bias", (out,))
    return builder.add("relu", [builder.conv2d(image, kernels, bias, stride=2, padding=kernel // 2)])
