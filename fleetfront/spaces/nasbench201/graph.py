"""Write blocks and networks of NAS-Bench-201 as graphs. Which blocks a cell has is decided in ``space``.

Facts are those of NAS-Bench-201 (Dong and Yang, ICLR 2020; https://github.com/D-X-Y/AutoDL-Projects): operations are
ReLU, convolution, batch-norm; a reduction is a residual block of two such convolutions beside average pooling and a
1 x 1 convolution; the head is batch-norm, ReLU, global pooling, linear.

Names of weights: ``stem.conv.weight``, ``stem.bn.*``, ``stageS.cellC.edge_I_J.{conv.weight,bn.*}`` (S and C from 1, the
edge leads from node I to node J), ``reductionR.{a,b}.{conv.weight,bn.*}``, ``reductionR.shortcut.conv.weight``,
``head.bn.*``, ``head.classifier.{weight,bias}``. A skip connection is no operator; nodes add their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Array, Graph
from fleetfront.graphs.layers import LayerWriter, given_weights, random_weights
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.graphs.operators.catalogue import graph_macs
from fleetfront.graphs.prune import share_equal
from fleetfront.spaces.blocks import Block

STEM, CONV, POOL, ADD, REDUCTION, HEAD, ZERO = (
    "nb201_stem",
    "nb201_conv",
    "nb201_pool",
    "nb201_add",
    "nb201_reduction",
    "nb201_head",
    "nb201_zero",
)

#: The operations of an edge in the order of NAS-Bench-201, and the node that each of the six edges leads from and to.
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))

#: Channels and side of the maps of each stage, cells of a stage, and classes: CIFAR-10's, as in the published counts.
STAGES = ((16, 32), (32, 16), (64, 8))
CELLS = 5
CLASSES = 10

#: Sides of the kernels of operations that are convolutions.
KERNEL = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}


def stem_block() -> Block:
    """The first convolution."""
    return Block.make(STEM, ((3, STAGES[0][1], STAGES[0][1]),), out=STAGES[0][0])


def operation_block(operation: str, stage: int) -> Block | None:
    """The block of an edge in one stage (from 0); None for the two operations that are no operators."""
    width, side = STAGES[stage]
    if operation in KERNEL:
        return Block.make(CONV, ((width, side, side),), k=KERNEL[operation])
    return Block.make(POOL, ((width, side, side),)) if operation == "avg_pool_3x3" else None


def activated_block(operation: str, stage: int) -> Block:
    """The block of a convolution in one stage (from 0) that reads what another one has activated already."""
    width, side = STAGES[stage]
    return Block.make(CONV, ((width, side, side),), k=KERNEL[operation], activated=1)


def add_block(stage: int) -> Block:
    """The block of each further input of a node in one stage (from 0)."""
    width, side = STAGES[stage]
    return Block.make(ADD, ((width, side, side),) * 2)


def zero_block(stage: int) -> Block:
    """The block of an edge of operation ``none`` in one stage (from 0) where it is executed: a product with zero."""
    width, side = STAGES[stage]
    return Block.make(ZERO, ((width, side, side),))


def reduction_block(stage: int) -> Block:
    """The block from one stage (from 0) to the next."""
    width, side = STAGES[stage]
    return Block.make(REDUCTION, ((width, side, side),), out=STAGES[stage + 1][0])


def head_block() -> Block:
    """Batch-norm, ReLU, global pooling and classifier."""
    width, side = STAGES[-1]
    return Block.make(HEAD, ((width, side, side),), classes=CLASSES)


class _Writer(LayerWriter):
    """Adds the blocks of this family."""

    def relu_conv_bn(self, data: str, prefix: str, out: int, kernel: int, stride: int = 1, square: float = 1.0) -> str:
        return self.conv_bn(self.builder.add("relu", (data,)), prefix, out, kernel, stride, square)

    def conv_bn(self, data: str, prefix: str, out: int, kernel: int, stride: int = 1, square: float = 1.0) -> str:
        data = self.conv(data, f"{prefix}.conv.weight", out, kernel, stride)
        return self.batch_norm(data, f"{prefix}.bn", square)

    def stem(self, data: str, prefix: str, out: int) -> str:
        return self.batch_norm(self.conv(data, f"{prefix}.conv.weight", out, 3, gain=1.0), f"{prefix}.bn")

    def pool(self, data: str) -> str:
        return self.builder.add("average_pool2d", (data,), kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1))

    def reduction(self, data: str, prefix: str, out: int, square: float = 1.0) -> str:
        """``square`` is the mean square of ``data`` that random weights bring back to 1."""
        branch = self.relu_conv_bn(data, f"{prefix}.a", out, 3, 2, square)
        branch = self.relu_conv_bn(branch, f"{prefix}.b", out, 3)
        shortcut = self.builder.add("average_pool2d", (data,), kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0))
        shortcut = self.conv(shortcut, f"{prefix}.shortcut.conv.weight", out, gain=1.0 / square)
        return self.builder.add("add", (shortcut, branch))

    def head(self, data: str, prefix: str, classes: int, square: float = 1.0) -> str:
        data = self.builder.add("relu", (self.batch_norm(data, f"{prefix}.bn", square),))
        data = self.builder.add("flatten", (self.builder.add("global_average_pool", (data,)),))
        return self.linear(data, f"{prefix}.classifier", classes, "logits")

    def cell(self, data: str, prefix: str, operations: Sequence[str]) -> str:
        """The live edges of one cell; a cell without any gives zeros."""
        nodes: dict[int, str] = {0: data}
        for (source, node), operation in zip(EDGES, operations, strict=True):
            if operation == "none":
                continue
            entering = nodes[source]
            if operation in KERNEL:
                edge = f"{prefix}.edge_{source}_{node}"
                entering = self.relu_conv_bn(entering, edge, self.channels(entering), KERNEL[operation])
            elif operation == "avg_pool_3x3":
                entering = self.pool(entering)
            nodes[node] = self.builder.add("add", (nodes[node], entering)) if node in nodes else entering
        return nodes[3] if 3 in nodes else self.zero(data, f"{prefix}.zero")

    def zero(self, data: str, name: str) -> str:
        return self.builder.add("multiply", (data, self.builder.weight(name, np.zeros((1, 1, 1, 1), dtype=np.float32))))


@lru_cache(maxsize=64)
def write_block(block: Block) -> Graph:
    """One block alone, batch 1, batch-norm kept, with random weights that only its key decides.

    Raises InputError if the block is of another family.
    """
    writer = _Writer(block.key, random_weights(block.key))
    first, *more = [
        writer.builder.input(name, (1, *shape), layout=IMAGE)
        for name, shape in zip(("input", "other"), block.inputs, strict=False)
    ]
    values = {name: int(value) for name, value in block.parameters}
    if block.family == STEM:
        output = writer.stem(first, "stem", values["out"])
    elif block.family == CONV:
        write = writer.conv_bn if "activated" in values else writer.relu_conv_bn
        output = write(first, "edge", block.inputs[0][0], values["k"])
    elif block.family == POOL:
        output = writer.pool(first)
    elif block.family == ZERO:
        output = writer.zero(first, "zero")
    elif block.family == ADD:
        output = writer.builder.add("add", (first, *more))
    elif block.family == REDUCTION:
        output = writer.reduction(first, "reduction", values["out"])
    elif block.family == HEAD:
        output = writer.head(first, "head", values["classes"])
    else:
        raise InputError(f"{block.key} is not a block of nasbench201.", "Take blocks from the space's vocabulary.")
    return writer.builder.build((output,))


def _square_growth(operations: Sequence[str]) -> float:
    """Growth of the mean square of maps in one random cell: skips and pools add up coherently, others not."""
    coherent, independent = np.zeros(4), np.zeros(4)
    coherent[0] = 1.0
    for (source, node), operation in zip(EDGES, operations, strict=True):
        if operation in KERNEL:
            independent[node] += coherent[source] ** 2 + independent[source]
        elif operation != "none":
            coherent[node] += coherent[source]
            independent[node] += independent[source]
    return float(coherent[3] ** 2 + independent[3]) or 1.0


def write_network(
    name: str, operations: Sequence[str], labels: Mapping[str, str], weights: Mapping[str, Array] | None
) -> Graph:
    """The network of one cell's live edges (``none`` where an edge is dead), batch 1, batch-norm kept, equal poolings,
    activations and sums once.

    Raises InputError if ``weights`` lack an array or one has another shape than the operations ask for.
    """
    writer = _Writer(name, random_weights(name) if weights is None else given_weights(weights))
    square = _square_growth(operations) ** CELLS
    width, side = STAGES[0]
    data = writer.stem(writer.builder.input("input", (1, 3, side, side), layout=IMAGE), "stem", width)
    for stage, (width, _) in enumerate(STAGES):
        if stage:
            data = writer.reduction(data, f"reduction{stage}", width, square)
        for cell in range(CELLS):
            data = writer.cell(data, f"stage{stage + 1}.cell{cell + 1}", operations)
    return share_equal(writer.builder.build((writer.head(data, "head", CLASSES, square),), labels))


def block_macs(block: Block) -> int:
    """Multiply-accumulates as NAS-Bench-201 counts: convolutions and the classifier with its bias, nothing else."""
    return int(graph_macs(write_block(block))) + int(dict(block.parameters).get("classes", 0))


def block_params(block: Block) -> int:
    """Trainable parameters: weights, and scale and shift of each batch-norm."""
    weights = write_block(block).weights
    return sum(array.size for name, array in weights.items() if not name.endswith((".mean", ".variance")))


def block_features(blocks: Sequence[Block]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Numbers that explain a block's latency: float64[m, f], and the f names. Elements: inputs and output."""
    rows = [_features(block) for block in blocks]
    return np.array([list(row.values()) for row in rows], dtype=np.float64), tuple(rows[0]) if rows else ()


def _features(block: Block) -> dict[str, float]:
    values = {name: int(value) for name, value in block.parameters}
    width, side, _ = block.inputs[0]
    width_out = values.get("out", values.get("classes", width))
    side_out = {REDUCTION: side // 2, HEAD: 1}.get(block.family, side)
    return {
        "is_stem": block.family == STEM,
        "is_pool": block.family == POOL,
        "is_add": block.family == ADD,
        "is_reduction": block.family == REDUCTION,
        "is_head": block.family == HEAD,
        "is_activated": values.get("activated", 0),
        "kernel": values.get("k", 3 if block.family in (STEM, POOL, REDUCTION) else 1),
        "width_in": width,
        "width_out": width_out,
        "pixels_in": side**2,
        "pixels_out": side_out**2,
        "macs": block_macs(block),
        "params": block_params(block),
        "activation_elements": len(block.inputs) * width * side**2 + width_out * side_out**2,
    }
