"""Draw whole networks that operator costs are calibrated on: several families, each with random widths and depths.

They hold what published networks hold, and are none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.operators.base import IMAGE
from fleetfront.predictors.operators.samples import random_array

_Draw = Callable[["_Writer", np.random.Generator], str]


#: Channels from which on networks tell a thousand classes apart.
_WIDE = 256


class _Writer:
    """Adds layers with random weights to a graph of one input."""

    def __init__(self, shape: tuple[int, ...], layout: str = "") -> None:
        self.graph = GraphBuilder("network")
        self.start = self.graph.input("x", shape, layout=layout)
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

    def rows(self, data: str) -> str:
        """The pixels of an image as tokens."""
        _, channels, height, width = (int(size) for size in self.graph.shape(data))
        flat = self.graph.add("reshape", (data,), shape=(1, channels, height * width))
        return self.graph.add("transpose", (flat,), permutation=(0, 2, 1))

    def norm(self, data: str) -> str:
        width = int(self.graph.shape(data)[-1])
        return self.graph.add("layer_norm", (data, self._weight(width), self._weight(width)), axis=-1)

    def gelu(self, data: str, is_halved: bool) -> str:
        """In either spelling."""
        if not is_halved:
            return self.graph.add("elementwise", (data,), function="gelu")
        self._made += 1
        root, one, half = (
            self.graph.weight(f"{name}{self._made}", np.array(number, np.float32))
            for name, number in (("root", 2**0.5), ("one", 1.0), ("half", 0.5))
        )
        rooted = self.graph.add("elementwise", (data, root), function="div")
        gate = self.graph.add("add", (self.graph.add("elementwise", (rooted,), function="erf"), one))
        return self.graph.add("multiply", (data, self.graph.add("multiply", (half, gate))))

    def attend(self, data: str, heads: int) -> str:
        """Attention of tokens to each other, each of its three products with a linear layer of its own."""
        _, tokens, width = (int(size) for size in self.graph.shape(data))
        asked, keys, values = (
            self.graph.add(
                "transpose",
                (self.graph.add("reshape", (self.linear(data, width),), shape=(1, tokens, heads, width // heads)),),
                permutation=permutation,
            )
            for permutation in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
        )
        weighed = self.graph.add("softmax", (self.graph.add("matmul", (asked, keys)),), axis=-1)
        turned = self.graph.add("transpose", (self.graph.add("matmul", (weighed, values)),), permutation=(0, 2, 1, 3))
        return self.linear(self.graph.add("reshape", (turned,), shape=(1, tokens, width)), width)

    def conv1d(self, data: str, out: int, kernel: int, stride: int = 1) -> str:
        operands = (data, self._weight(out, self.channels(data), kernel), self._weight(out))
        pads = (kernel // 2,) * 2
        made = self.graph.add("conv1d", operands, stride=(stride,), padding=pads, dilation=(1,), groups=1)
        return self.graph.add("relu", (made,))

    def spread(self, data: str, out: int) -> str:
        """Twice the side by a transposed convolution."""
        operands = (data, self._weight(self.channels(data), out, 2, 2), self._weight(out))
        said: dict[str, Any] = {"stride": (2, 2), "padding": (0,) * 4, "dilation": (1, 1), "groups": 1}
        return self.graph.add("conv_transpose", operands, **said)

    def cell(self, data: str, family: str, hidden: int) -> str:
        steps, batch, features = (int(size) for size in self.graph.shape(data))
        gates = {"lstm": 4, "gru": 3}[family] * hidden
        operands = (data, self._weight(1, gates, features), self._weight(1, gates, hidden), self._weight(1, 2 * gates))
        said: dict[str, Any] = {"shapes": ((steps, 1, batch, hidden),), "dtypes": ("float32",), "layouts": ("",)}
        made = self.graph.add(family, operands, matrices=2, **said)
        return self.graph.add("reshape", (made,), shape=(steps, batch, hidden))

    def classified(self, data: str) -> str:
        """Into a hundred classes, or a thousand behind as many channels as networks of such have."""
        pooled = self.graph.add("global_average_pool", (data,))
        return self.linear(self.graph.add("flatten", (pooled,)), 1000 if self.channels(data) >= _WIDE else 100)

    def gated(self, data: str, act: str) -> str:
        """Squeeze and excitation."""
        channels = self.channels(data)
        pooled = self.graph.add("global_average_pool", (data,))
        gate = self.conv(self.conv(pooled, max(8, channels // 4)), channels, act=act)
        return self.graph.add("multiply", (data, gate))


def draw_networks(seed: int = 0, each: int = 3) -> Iterator[tuple[str, Graph]]:
    """Family and graph: ``each`` networks of every family; most of images of 96 to 192 pixels a side."""
    for family, draw in _FAMILIES.items():
        for number in range(each):
            rng = np.random.default_rng([seed, number, sum(family.encode())])
            side = int(rng.choice((96, 128, 160, 192)))
            shape = _SHAPES[family](rng) if family in _SHAPES else (1, 3, side, side)
            writer = _Writer(shape, IMAGE if len(shape) == 4 else "")
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


def _attention(net: _Writer, rng: np.random.Generator) -> str:
    """Tokens that attend to each other, with norms and wide layers between."""
    width, is_halved = 32 * int(rng.integers(3, 11)), bool(rng.random() < 0.6)
    patch = int(rng.choice((12, 16)))
    rows = net.rows(net.conv(net.start, width, patch, patch, act=""))
    for _ in range(int(rng.integers(2, 6))):
        rows = net.add(rows, net.attend(net.norm(rows), width // 32))
        wide = net.gelu(net.linear(net.norm(rows), int(rng.integers(2, 5)) * width), is_halved)
        rows = net.add(rows, net.linear(wide, width))
    return net.linear(net.norm(rows), 100)


def _normed(net: _Writer, rng: np.random.Generator) -> str:
    """Wide windows on images, then norms and wide layers on their pixels as tokens."""
    is_halved, data = bool(rng.random() < 0.6), net.conv(net.start, _width(rng, 48), 4, 4, act="")
    for base in (48, 96, 192):
        data = net.conv(data, _width(rng, base), 2, 2, act="")
        for _ in range(int(rng.integers(1, 3))):
            _, width, height, across = (int(size) for size in net.graph.shape(data))
            inner = net.conv(data, width, int(rng.choice((5, 7))), 1, width, act="")
            rows = net.linear(net.gelu(net.linear(net.norm(net.rows(inner)), 3 * width), is_halved), width)
            turned = net.graph.add("transpose", (rows,), permutation=(0, 2, 1))
            turned = net.graph.add("reshape", (turned,), shape=(1, width, height, across), layout=IMAGE)
            data = net.add(data, turned)
    return net.classified(data)


def _topped(net: _Writer, rng: np.random.Generator) -> str:
    """Few convolutions, and linear layers with most of the weights."""
    data = net.start
    for base in (16, 32, 64):
        data = net.pool(net.conv(data, _width(rng, base), 3, 2), kernel=2)
    flat = net.graph.add("flatten", (data,))
    wide = int(rng.choice((768, 1024, 2048, 3072)))
    return net.linear(net.linear(net.linear(flat, wide, "relu"), wide, "relu"), 1000)


def _heavy(net: _Writer, rng: np.random.Generator) -> str:
    """Most of the work on small maps of many channels, so that weights outgrow caches."""
    data = net.pool(net.conv(net.conv(net.start, 32, 3, 2), 64, 3, 2))
    for base in (192, 384, 640):
        out, is_deep = _width(rng, base), bool(rng.random() < 0.5)
        data = net.conv(data, out, 3, 2 if base > 192 else 1)
        for _ in range(int(rng.integers(1, 4))):
            inner = net.conv(data, out // 2) if is_deep else data
            made = net.conv(net.conv(inner, net.channels(inner), 3), out, act="")
            data = net.graph.add("relu", (net.add(data, made),))
    return net.classified(net.conv(data, 1280))


def _hourglass(net: _Writer, rng: np.random.Generator) -> str:
    """Down and up again, each stage joined with its like."""
    data, kept = net.start, []
    for base in (16, 32, 64):
        data = net.conv(net.conv(data, _width(rng, base), 3), _width(rng, base), 3)
        kept.append(data)
        data = net.pool(data, kernel=2)
    data = net.conv(data, _width(rng, 128), 3)
    for before in reversed(kept):
        joined = net.graph.add("concat", (net.spread(data, net.channels(before)), before), axis=1)
        data = net.conv(joined, net.channels(before), 3)
    return net.conv(data, 2, act="")


def _waves(net: _Writer, rng: np.random.Generator) -> str:
    """Convolutions along a signal."""
    data = net.conv1d(net.start, _width(rng, 48), int(rng.choice((15, 31, 63))), 4)
    for base in (48, 96, 160):
        data = net.conv1d(data, _width(rng, base), int(rng.choice((3, 5, 9))), 2)
        for _ in range(int(rng.integers(1, 3))):
            data = net.conv1d(data, net.channels(data), 3)
    pooled = net.graph.add("reduce", (data,), function="mean", axes=(2,), keep=False)
    return net.linear(pooled, 30)


def _recurrent(net: _Writer, rng: np.random.Generator) -> str:
    """Cells along a sequence, then a linear layer on each step."""
    family, data = str(rng.choice(("lstm", "gru"))), net.start
    for _ in range(int(rng.integers(1, 3))):
        data = net.cell(data, family, 32 * int(rng.integers(2, 9)))
    return net.linear(data, 30)


def _encoded(net: _Writer, rng: np.random.Generator) -> str:
    """Small linear layers through a bottleneck, and back."""
    start, wide = int(net.graph.shape(net.start)[-1]), 16 * int(rng.integers(2, 13))
    data, count = net.start, int(rng.integers(2, 5))
    for width in (*[wide] * count, 8, *[wide] * count):
        data = net.linear(data, width, "relu")
    return net.linear(data, start)


def _tiny(net: _Writer, rng: np.random.Generator) -> str:
    """Few channels of small maps, as microcontrollers run them."""
    data, is_residual = net.conv(net.start, _width(rng, 24), 3, int(rng.integers(1, 3))), bool(rng.random() < 0.5)
    for base in (24, 32, 48)[: int(rng.integers(2, 4))]:
        out = _width(rng, base)
        if is_residual:
            inner = net.conv(net.conv(data, out, 3, 2), out, 3, act="")
            data = net.graph.add("relu", (net.add(inner, net.conv(data, out, 1, 2, act="")),))
        else:
            data = net.conv(net.conv(data, net.channels(data), 3, 2, net.channels(data)), out)
    return net.classified(data)


#: What networks of families read that do not read an image of the usual sizes.
_SHAPES: dict[str, Callable[[np.random.Generator], tuple[int, ...]]] = {
    "encoded": lambda rng: (1, 32 * int(rng.integers(2, 21))),
    "tiny": lambda rng: (1, int(rng.choice((1, 3))), *[int(rng.choice((32, 48, 64)))] * 2),
    "waves": lambda rng: (1, 1, int(rng.choice((4000, 8000, 16000)))),
    "recurrent": lambda rng: (int(rng.integers(30, 120)), 1, 8 * int(rng.integers(4, 16))),
}
_FAMILIES: dict[str, _Draw] = {
    "inverted": _inverted,
    "residual": _residual,
    "dense": _dense,
    "plain": _plain,
    "shuffled": _shuffled,
    "branched": _branched,
    "tokens": _tokens,
    "attention": _attention,
    "normed": _normed,
    "topped": _topped,
    "heavy": _heavy,
    "hourglass": _hourglass,
    "waves": _waves,
    "recurrent": _recurrent,
    "encoded": _encoded,
    "tiny": _tiny,
}
