"""Check shipped estimates, fitted to FBNet's table, on public tables of NAS-Bench-201 and once-for-all networks.

Networks go through the path of ``predict``: cells as torch modules that are read as they were written down when the
table was measured (frameworks that are defined by running execute dead edges and products with zero, which converters
leave out), once-for-all's as graphs. Beside each figure stands that of the path of spaces, which counts operators from
genotypes.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from fleetfront.device_configs.loader import load_device
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.readers.torch import read_module
from fleetfront.predictors.operators.classes import estimate_by_classes
from fleetfront.predictors.operators.model import operator_models
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.spaces.base import Genotypes, MayDisconnect, SearchSpace, only_graph
from fleetfront.spaces.catalogue import load_space

#: Networks of each table that are compared, drawn from a fixed seed.
NETWORKS = 150
#: Source and node of each edge of a cell, stages' widths and their cells, as NAS-Bench-201 publishes them.
EDGES, WIDTHS, CELLS = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), (16, 32, 64), 5


class Times(nn.Module):
    """A product with zero: what ``none`` executes."""

    def forward(self, data: Tensor) -> Tensor:
        return data.mul(0.0)


def relu_conv(inside: int, out: int, kernel: int, stride: int = 1) -> nn.Module:
    conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out))


def edge(operation: str, width: int) -> nn.Module:
    if operation == "none":
        return Times()
    if operation == "skip_connect":
        return nn.Identity()
    if operation == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return relu_conv(width, width, int(operation[-1]))


class Cell(nn.Module):
    """All six edges; a converter's form leaves products with zero out of sums, and feeds zeros where nothing enters."""

    def __init__(self, operations: Sequence[str], width: int, is_converted: bool) -> None:
        super().__init__()
        self.edges = nn.ModuleList(edge(operation, width) for operation in operations)
        self.left_out = [is_converted and operation == "none" for operation in operations]
        self.zero = Times()

    def forward(self, data: Tensor) -> Tensor:
        nodes: dict[int, Tensor] = {0: data}
        for (source, node), operation, is_left_out in zip(EDGES, self.edges, self.left_out, strict=True):
            if is_left_out:
                continue
            entering = operation(nodes[source] if source in nodes else self.zero(data))
            nodes[node] = nodes[node] + entering if node in nodes else entering
        return nodes[3]


class Reduction(nn.Module):
    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(relu_conv(inside, out, 3, 2), relu_conv(out, out, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(inside, out, 1, bias=False))

    def forward(self, data: Tensor) -> Tensor:
        branched = self.branch(data)
        shortened: Tensor = self.shortcut(data)
        return shortened + branched


def cells(operations: Sequence[str], is_converted: bool) -> nn.Module:
    """The network of one cell with all that is written down, or what a converter makes of it."""
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0])]
    for stage, width in enumerate(WIDTHS):
        if stage:
            layers.append(Reduction(WIDTHS[stage - 1], width))
        layers += [Cell(operations, width, is_converted) for _ in range(CELLS)]
    head = [nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], 10)]
    return nn.Sequential(*layers, *head).eval()


def graph_of(space: SearchSpace, genotype: Genotypes, mode: Mode) -> Graph:
    if isinstance(space, MayDisconnect):
        operations = [str(one) for one in space.to_config(genotype).values()]
        module = cells(operations, is_converted=mode is Mode.NEEDED)
        return fold_batch_norm(read_module(module, torch.empty(1, 3, 32, 32)))
    return fold_batch_norm(only_graph(space, space.subnet_graphs(genotype)))


def foreign_tables(data: Path) -> list[dict[str, Any]]:
    """Rank correlations of estimates with published latencies, by the path of files and by that of spaces."""
    found = []
    models = operator_models()
    tables = (
        ("nasbench201", data / "nb201" / "nb201.csv"),
        ("ofa-mbv3-w1.0", data / "ofa_mbv3" / "latency_gpus.csv"),
    )
    for name, path in tables:
        space, rows = load_space(name), read_table(path)
        if isinstance(space, MayDisconnect):
            dead = space.disconnected(space.parse([row["arch"] for row in rows]))
            rows = [row for row, is_dead in zip(rows, dead, strict=True) if not is_dead]
        places = np.random.default_rng(0).choice(len(rows), NETWORKS, replace=False)
        chosen = [rows[int(place)] for place in places]
        genotypes = space.parse([row["arch"] for row in chosen])
        work, read = NetworkWork(space), dict[Mode, list[Graph]]()
        for setting, model in models.items():
            column = f"lat_{setting}".replace("titanxp", "titan_xp" if name.startswith("ofa") else "titanxp")
            if column not in rows[0]:
                continue
            batch = load_device(setting).target.batch
            ms = np.array([float(row[column]) for row in chosen])
            mode = model.mode if model.mode in work.modes else work.own_mode
            if mode not in read:
                read[mode] = [graph_of(space, genotype, mode) for genotype in genotypes]
            said = np.array([estimate_by_classes(model, graph, batch).mean_ms for graph in read[mode]])
            counted = model.latency_ms(work(genotypes, mode), batch)
            found.append(
                {
                    "space": name,
                    "setting": setting,
                    "networks": NETWORKS,
                    "spearman": float(spearmanr(said, ms).statistic),
                    "spearman_by_space": float(spearmanr(counted, ms).statistic),
                }
            )
    return found


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
