"""Write blocks and networks of the once-for-all ResNet family as graphs, their batch-norm kept.

Names of weights, the same in every architecture of the family so that a supernet can be cut slot by slot (``slotN``: N
from 1, the block's index in once-for-all checkpoints and one more):

- ``stem.convN.conv.weight``, ``stem.convN.bn.{scale,shift,mean,variance}`` for N from 1 to 3
- ``slotN.{conv1,conv2,conv3,downsample}.conv.weight``, ``slotN.{conv1,conv2,conv3,downsample}.bn.*``
- ``head.classifier.{weight,bias}``

In the graph of a single block the part is called ``block``, ``stem`` or ``head``. The input is ``input``, the output of
a network or head ``logits``.
"""

from __future__ import annotations

from fleetfront.spaces.blocks import Block
from fleetfront.spaces.image_graph import BlockWriter
from fleetfront.spaces.ofa_resnet50.layout import HEAD, STEM, BlockShape, block_shape


class ResNetWriter(BlockWriter):
    """Adds the blocks of this family."""

    alone = {STEM: "stem", HEAD: "head"}  # noqa: RUF012

    def conv_bn(
        self, data: str, prefix: str, out: int, kernel: int = 1, stride: int = 1, relu: bool = True, gain: float = 2.0
    ) -> str:
        data = self.batch_norm(self.conv(data, f"{prefix}.conv.weight", out, kernel, stride, gain=gain), f"{prefix}.bn")
        return self.builder.add("relu", (data,)) if relu else data

    def pooled(self, family: str, data: str, kernel: int, stride: int, padding: tuple[int, ...]) -> str:
        return self.builder.add(family, (data,), kernel=(kernel,) * 2, stride=(stride,) * 2, padding=padding)

    def stem(self, data: str, prefix: str, shape: BlockShape) -> str:
        data = self.conv_bn(data, f"{prefix}.conv1", shape.width_mid, 3, 2)
        if shape.is_deep:
            data = self.builder.add("add", (self.conv_bn(data, f"{prefix}.conv2", shape.width_mid, 3), data))
        data = self.conv_bn(data, f"{prefix}.conv3", shape.width_out, 3)
        # Nothing is below what a rectifier gives, so that padding with zeros would do as well as with none.
        return self.pooled("max_pool2d", data, 3, 2, (1, 1, 1, 1))

    def bottleneck(self, data: str, prefix: str, shape: BlockShape) -> str:
        entered = data
        data = self.conv_bn(data, f"{prefix}.conv1", shape.width_mid)
        data = self.conv_bn(data, f"{prefix}.conv2", shape.width_mid, 3, shape.stride)
        # A branch beside a shortcut is kept small, or depth would add up.
        data = self.conv_bn(data, f"{prefix}.conv3", shape.width_out, relu=False, gain=0.25)
        if shape.projects:
            if shape.stride > 1:
                # Windows that reach past an odd side average what is inside.
                over = shape.side_out * shape.stride - shape.side_in
                entered = self.pooled("average_pool2d", entered, shape.stride, shape.stride, (0, 0, over, over))
            entered = self.conv_bn(entered, f"{prefix}.downsample", shape.width_out, relu=False, gain=1.0)
        return self.builder.add("relu", (self.builder.add("add", (data, entered)),))

    def block(self, data: str, prefix: str, block: Block) -> str:
        shape = block_shape(block)
        if shape.family == STEM:
            return self.stem(data, prefix, shape)
        if shape.family == HEAD:
            data = self.builder.add("flatten", (self.builder.add("global_average_pool", (data,)),))
            return self.linear(data, f"{prefix}.classifier", shape.classes, "logits")
        return self.bottleneck(data, prefix, shape)
