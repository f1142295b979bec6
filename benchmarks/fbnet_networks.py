"""Operator work of FBNet networks at 32 pixels and 100 classes, as HW-NAS-Bench and HELP measured them.

The family: Wu et al., FBNet, CVPR 2019, table 1; strides for small images as in HW-NAS-Bench (Li et al., ICLR 2021).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from fleetfront.graphs.graph import GraphBuilder
from fleetfront.predictors.operators.work import graph_work

#: (kernel, expansion, groups) of the digits 0 to 7; 8 is a skip.
OPERATIONS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))
SKIP = 8
#: Layers, width and stride of the first layer of each stage.
STAGES = ((1, 16, 1), (4, 24, 1), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))
STEM, HEAD, CLASSES, SIDE = 16, 1504, 100, 32


class _Layers(GraphBuilder):
    def conv(self, data: str, out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> str:
        width = int(self.shape(data)[1])
        weight = self.weight(f"w{len(self._weights)}", np.zeros((out, width // groups, kernel, kernel), np.float32))
        bias = self.weight(f"b{len(self._weights)}", np.zeros(out, np.float32))
        data = self.conv2d(data, weight, bias, stride=stride, padding=kernel // 2, groups=groups)
        return self.add("relu", (data,)) if act else data

    def shuffle(self, data: str, groups: int) -> str:
        batch, width, height, side = (int(d) for d in self.shape(data))
        data = self.add("reshape", (data,), shape=(batch, groups, width // groups, height, side))
        data = self.add("transpose", (data,), permutation=(0, 2, 1, 3, 4))
        return self.add("reshape", (data,), shape=(batch, width, height, side), layout="NCHW")


def _layer(operation: int, width: int, out: int, stride: int, side: int) -> np.ndarray:
    layers = _Layers("layer")
    data = start = layers.input("input", (1, width, side, side), layout="NCHW")
    if operation == SKIP:
        if stride == 1 and width == out:
            return np.zeros_like(_ends(side))
        data = layers.conv(data, out, 1, stride)
        return graph_work(layers.build((data,)))
    kernel, expansion, groups = OPERATIONS[operation]
    data = layers.conv(data, width * expansion, 1, groups=groups)
    data = layers.shuffle(data, groups) if groups > 1 else data
    data = layers.conv(data, width * expansion, kernel, stride, groups=width * expansion)
    data = layers.conv(data, out, 1, groups=groups, act=False)
    if stride == 1 and width == out:
        data = layers.add("add", (data, start))
    return graph_work(layers.build((data,)))


def _ends(side: int) -> np.ndarray:
    """Stem and head; ``side`` is that of the last map."""
    stem, head = _Layers("stem"), _Layers("head")
    first = stem.conv(stem.input("input", (1, 3, SIDE, SIDE), layout="NCHW"), STEM, 3)
    data = head.conv(head.input("input", (1, STAGES[-1][1], side, side), layout="NCHW"), HEAD, 1)
    data = head.add("flatten", (head.add("global_average_pool", (data,)),))
    data = head.add("linear", (data, head.weight("fc", np.zeros((CLASSES, HEAD), np.float32))))
    return graph_work(stem.build((first,))) + graph_work(head.build((data,)))


def work_tables() -> tuple[np.ndarray, np.ndarray]:
    """Work of what all networks share float64[w], and of each choice of each layer float64[22, 9, w]."""
    rows, width, side = [], STEM, SIDE
    for layers, out, first_stride in STAGES:
        for layer in range(layers):
            stride = first_stride if layer == 0 else 1
            rows.append([_layer(operation, width, out, stride, side) for operation in range(SKIP + 1)])
            width, side = out, side // stride
    return _ends(side), np.array(rows)


def read_fbnet(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Work float64[n, w] of the networks of a public table, and device setting -> ms[n]."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    digits = np.array([[int(digit) for digit in row["arch"][1:]] for row in rows])
    fixed, choices = work_tables()
    work = fixed + sum(choices[layer, digits[:, layer]] for layer in range(len(choices)))
    names = [name for name in rows[0] if name.startswith("lat_")]
    return work, {name.removeprefix("lat_"): np.array([float(row[name]) for row in rows]) for name in names}
