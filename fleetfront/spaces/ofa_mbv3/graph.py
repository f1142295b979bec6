"""Write blocks and networks of the once-for-all families of MobileNet blocks as graphs, their batch-norm kept.

Names of weights, the same in every architecture of a family so that a supernet can be cut slot by slot
(``slotN``: N from 1, at stage ``(N - 1) // slots_per_stage``, also the block's index in once-for-all checkpoints):

- ``stem.conv.weight``, ``stem.bn.{scale,shift,mean,variance}``
- ``first.depthwise.conv.weight``, ``first.depthwise.bn.*``, ``first.project.conv.weight``, ``first.project.bn.*``
- ``slotN.expand.conv.weight``, ``slotN.expand.bn.*``, ``slotN.depthwise.conv.weight``, ``slotN.depthwise.bn.*``,
  ``slotN.se.{reduce,expand}.{weight,bias}`` (weights (out, in, 1, 1)),
  ``slotN.project.conv.weight``, ``slotN.project.bn.*``
- ``head.expand.conv.weight``, ``head.expand.bn.*``, ``head.mix.conv.weight`` (no batch-norm, no bias),
  ``head.classifier.{weight,bias}``; where nothing is mixed behind the pooling, ``head.mix.bn.*`` and no expansion

In the graph of a single block the part is called ``block``, ``stem`` or ``head``. The input is ``input``,
the output of a network or head ``logits``.
"""

from __future__ import annotations

import numpy as np

from fleetfront.spaces.blocks import Block
from fleetfront.spaces.image_graph import BlockWriter
from fleetfront.spaces.ofa_mbv3.layout import HEAD, STEM, BlockShape, block_shape


class MobileNetWriter(BlockWriter):
    """Adds the blocks of this family."""

    alone = {STEM: "stem", HEAD: "head"}  # noqa: RUF012

    def conv_bn(
        self,
        data: str,
        prefix: str,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        activation: str = "",
        gain: float = 2.0,
    ) -> str:
        """Convolution (depthwise if the prefix says so), batch-norm, activation."""
        groups = self.channels(data) if prefix.endswith("depthwise") else 1
        data = self.conv(data, f"{prefix}.conv.weight", out, kernel, stride, groups, gain)
        data = self.batch_norm(data, f"{prefix}.bn")
        return self.builder.add(activation, (data,)) if activation else data

    def squeeze_excite(self, data: str, prefix: str, reduced: int) -> str:
        width = self.channels(data)
        gate = self.builder.add("global_average_pool", (data,))
        for part, out, activation in (("reduce", reduced, "relu"), ("expand", width, "hard_sigmoid")):
            shape = (out, self.channels(gate), 1, 1)
            weight = self.weight(f"{prefix}.{part}.weight", shape, 0.0, float(np.sqrt(2 / shape[1])))
            bias = self.weight(f"{prefix}.{part}.bias", (out,), 0.0, 0.1)
            gate = self.builder.add(activation, (self.builder.conv2d(gate, weight, bias),))
        return self.builder.add("multiply", (data, gate))

    def mbconv(self, data: str, prefix: str, shape: BlockShape) -> str:
        entered = data
        if shape.expansion > 1:
            data = self.conv_bn(data, f"{prefix}.expand", shape.width_mid, activation=shape.activation)
        kernel, stride = shape.kernel, shape.stride
        data = self.conv_bn(data, f"{prefix}.depthwise", shape.width_mid, kernel, stride, shape.activation)
        if shape.reduced:
            data = self.squeeze_excite(data, f"{prefix}.se", shape.reduced)
        # A squeeze gate halves what passes; a branch beside a shortcut is kept small, or depth would add up.
        gain = (4.0 if shape.reduced else 1.0) * (0.25 if shape.has_shortcut else 1.0)
        data = self.conv_bn(data, f"{prefix}.project", shape.width_out, gain=gain)
        return self.builder.add("add", (data, entered)) if shape.has_shortcut else data

    def head(self, data: str, prefix: str, shape: BlockShape) -> str:
        before = f"{prefix}.expand" if shape.width_out else f"{prefix}.mix"
        data = self.conv_bn(data, before, shape.width_mid, activation=shape.activation)
        data = self.builder.add("global_average_pool", (data,))
        if shape.width_out:
            data = self.conv(data, f"{prefix}.mix.conv.weight", shape.width_out)
            data = self.builder.add(shape.activation, (data,))
        data = self.builder.add("flatten", (data,))
        return self.linear(data, f"{prefix}.classifier", shape.classes, "logits")

    def block(self, data: str, prefix: str, block: Block) -> str:
        shape = block_shape(block)
        if shape.family == STEM:
            return self.conv_bn(data, prefix, shape.width_out, shape.kernel, shape.stride, shape.activation)
        if shape.family == HEAD:
            return self.head(data, prefix, shape)
        return self.mbconv(data, prefix, shape)
