"""Draw whole networks that operator costs are calibrated on: several families, each with random widths and depths.

They hold what published networks hold, and are none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.predictors.operators.samples import random_array

_Draw = Callable[["_Writer", np.random.Generator], str]


class _Writer:
    """Adds layers with random weights to a graph of one image."""

    def __init__(self, side: int) -> None:
        self.graph = GraphBuilder("network")
        self.start = self.graph.input("x", (1, 3, side, side), layout=IMAGE)
        self._made = 0

    def _weight(self, *shape: int) -> str:
        self._made += 1
        return self.graph.weight(f"w{self._made}", random_array(shape, self._made))

    def channels(self, data: str) -> int:
        return int(self.graph.shape(data)[1])

    def conv(self, data: str, out: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: str = "relu") -> str:
        weight = self._weight(out, self.channels(data) // groups, kernel, kernel)
        pads, strides = (kernel // 2,) * 4, (stride, stride)
        operands = (data, weight, self._weight(out))
        made = self.graph.add("conv2d", operands, stride=strides, padding=pads, dilation=(1, 1), groups=groups)
        return self.graph.add(act, (made,)) if act else made

    def pool(self, data: str, kind: str = "max_pool2d", kernel: int = 3, stride: int = 2) -> str:
        pads = (kernel // 2,) * 4 if kernel > 2 else (0,) * 4
        return self.graph.add(kind, (data,), kernel=(kernel, kernel), stride=(stride, stride), padding=pads)

    def linear(self, data: str, out: int, act: str = "") -> str:
        operands = (data, self._weight(out, int(self.graph.shape(data)[-1])), self._weight(out))
        made = self.graph.add("linear", operands)
        return self.graph.add(act, (made,)) if act else made

    def add(self, left: str, right: str) -> str:
        return self.graph.add("add", (left, right))

    def classified(self, data: str) -> str:
        pooled = self.graph.add("global_average_pool", (data,))
        return self.linear(self.graph.add("flatten", (pooled,)), 100)

    def gated(self, data: str, act: str) -> str:
        """Squeeze and excitation."""
        channels = self.channels(data)
        pooled = self.graph.add("global_average_pool", (data,))
        gate = self.conv(self.conv(pooled, max(8, channels // 4)), channels, act=act)
        return self.graph.add("multiply", (data, gate))


def draw_networks(seed: int = 0, each: int = 3) -> Iterator[tuple[str, Graph]]:
    """Family and graph: ``each`` networks of every family, of 96 to 192 pixels a side."""
    for family, draw in _FAMILIES.items():
        for number in range(each):
            rng = np.random.default_rng([seed, number, sum(family.encode())])
            writer = _Writer(int(rng.choice((96, 128, 160, 192))))
            yield family, writer.graph.build([draw(writer, rng)])


def _width(rng: np.random.Generator, base: int) -> int:
    return max(8, round(base * float(rng.choice((0.5, 0.75, 1.0, 1.25))) / 8) * 8)


def _inverted(net: _Writer, rng: np.random.Generator) -> str:
    """Inverted residuals with and without gates."""
    act = str(rng.choice(("relu", "relu6", "hard_swish")))
    data = net.conv(net.start, _width(rng, 24), 3, 2, act=act)
    for base in (24, 40, 80, 112, 160):
        out, stride = _width(rng, base), 1 if base == 112 else 2
        for repeat in range(int(rng.integers(1, 4))):
            wide = net.channels(data) * int(rng.choice((3, 4, 6)))
            kernel = int(rng.choice((3, 5)))
            inner = net.conv(net.conv(data, wide, act=act), wide, kernel, 1 if repeat else stride, wide, act)
            inner = net.gated(inner, "hard_sigmoid") if rng.random() < 0.5 else inner
            made = net.conv(inner, out, act="")
            data = net.add(data, made) if repeat else made
    return net.classified(net.conv(data, _width(rng, 640), act=act))


def _residual(net: _Writer, rng: np.random.Generator) -> str:
    """Residual blocks of two convolutions, or of three, grouped or not."""
    is_deep, data = bool(rng.random() < 0.6), net.pool(net.conv(net.start, _width(rng, 48), 7, 2))
    groups = int(rng.choice((1, 1, 4, 8))) if is_deep else 1
    for stage, base in enumerate((48, 96, 192, 320)):
        out = max(groups * 8, _width(rng, base) // (groups * 8) * groups * 8)
        for repeat in range(int(rng.integers(1, 3))):
            stride = 2 if stage and not repeat else 1
            if is_deep:
                inner = net.conv(net.conv(data, out), out, 3, stride, groups)
                made = net.conv(inner, 2 * out, act="")
            else:
                made = net.conv(net.conv(data, out, 3, stride), out, 3, act="")
            if net.graph.shape(made) != net.graph.shape(data):
                data = net.conv(data, net.channels(made), 1, stride, act="")
            data = net.graph.add("relu", (net.add(data, made),))
    return net.classified(data)


def _dense(net: _Writer, rng: np.random.Generator) -> str:
    """Every layer reads all before it."""
    growth, data = int(rng.choice((12, 16, 24, 32))), net.pool(net.conv(net.start, _width(rng, 48), 7, 2))
    for stage in range(3):
        for _ in range(int(rng.integers(3, 7))):
            made = net.conv(net.conv(data, 4 * growth), growth, 3)
            data = net.graph.add("concat", (data, made), axis=1)
        if stage < 2:
            data = net.pool(net.conv(data, net.channels(data) // 2), "average_pool2d", 2)
    return net.classified(data)


def _plain(net: _Writer, rng: np.random.Generator) -> str:
    """Convolutions and pools in a row, then wide linear layers."""
    data = net.start
    for base in (24, 48, 96, 160):
        for _ in range(int(rng.integers(1, 3))):
            data = net.conv(data, _width(rng, base), 3)
        data = net.pool(data, kernel=2)
    pooled = net.graph.add("flatten", (net.graph.add("global_average_pool", (data,)),))
    return net.linear(net.linear(net.linear(pooled, _width(rng, 1024), "relu"), 512, "relu"), 100)


def _shuffled(net: _Writer, rng: np.random.Generator) -> str:
    """Half of the channels are worked on, then all are shuffled."""
    data = net.pool(net.conv(net.start, 24, 3, 2))
    for base in (96, 192, 384):
        half = max(16, _width(rng, base) // 2)
        left = net.conv(net.conv(data, net.channels(data), 3, 2, net.channels(data), act=""), half)
        inner = net.conv(net.conv(data, half), half, 3, 2, half, act="")
        data = _shuffle(net, left, net.conv(inner, half))
        for _ in range(int(rng.integers(1, 4))):
            left, right = net.graph.add_all("split", (data,), axis=1, sizes=(half, half))
            right = net.conv(net.conv(net.conv(right, half), half, 3, 1, half, act=""), half)
            data = _shuffle(net, left, right)
    return net.classified(net.conv(data, 512))


def _shuffle(net: _Writer, left: str, right: str) -> str:
    joined = net.graph.add("concat", (left, right), axis=1)
    _, channels, height, width = (int(size) for size in net.graph.shape(joined))
    split = net.graph.add("reshape", (joined,), shape=(1, 2, channels // 2, height, width))
    turned = net.graph.add("transpose", (split,), permutation=(0, 2, 1, 3, 4))
    return net.graph.add("reshape", (turned,), shape=(1, channels, height, width), layout=IMAGE)


def _branched(net: _Writer, rng: np.random.Generator) -> str:
    """Branches of several windows, joined; small bottlenecks between."""
    data = net.pool(net.conv(net.start, _width(rng, 48), 3, 2))
    for base in (32, 48, 64):
        for _ in range(int(rng.integers(1, 3))):
            narrow = net.conv(data, _width(rng, base // 2))
            branches = [net.conv(narrow, _width(rng, base)), net.conv(narrow, _width(rng, base), 3)]
            if rng.random() < 0.5:
                branches.append(net.conv(net.conv(data, _width(rng, base // 2)), _width(rng, base // 2), 5))
            data = net.graph.add("concat", branches, axis=1)
        data = net.pool(data)
    return net.classified(data)


def _tokens(net: _Writer, rng: np.random.Generator) -> str:
    """Patches through wide linear layers, as the heavy half of transformers and mixers."""
    width, patch = _width(rng, 192), 16
    data = net.conv(net.start, width, patch, patch, act="")
    _, _, height, across = (int(size) for size in net.graph.shape(data))
    rows = net.graph.add("reshape", (data,), shape=(1, width, height * across))
    rows = net.graph.add("transpose", (rows,), permutation=(0, 2, 1))
    for _ in range(int(rng.integers(3, 7))):
        rows = net.add(rows, net.linear(net.linear(rows, 4 * width, "relu"), width))
        rows = net.add(rows, net.linear(net.linear(rows, 3 * width), width))
    return net.linear(rows, 100)


_FAMILIES: dict[str, _Draw] = {
    "inverted": _inverted,
    "residual": _residual,
    "dense": _dense,
    "plain": _plain,
    "shuffled": _shuffled,
    "branched": _branched,
    "tokens": _tokens,
}
