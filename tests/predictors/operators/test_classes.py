"""Any graph by a shipped model's classes: dead branches count where a device executes them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetfront.graphs.graph import GraphBuilder
from fleetfront.graphs.prune import drop_unread
from fleetfront.predictors.operators.classes import estimate_by_classes
from fleetfront.predictors.operators.model import operator_models
from fleetfront.predictors.operators.work import Mode

MODEL = operator_models()["1080ti_1"]


def test_dead_branches_count_where_everything_is_executed_and_nowhere_else() -> None:
    builder = GraphBuilder("dead end")
    data = builder.input("x", (1, 16, 32, 32))
    kept, _ = builder.add("sigmoid", (data,)), builder.add("relu", (builder.add("relu", (data,)),))
    graph = builder.build([kept])
    needed = drop_unread(graph)
    everything, lean = replace(MODEL, mode=Mode.ALL), replace(MODEL, mode=Mode.NEEDED)
    assert len(estimate_by_classes(everything, graph).parts) == 3
    assert [part.name for part in estimate_by_classes(lean, graph).parts] == [kept]
    assert estimate_by_classes(lean, graph).mean_ms == pytest.approx(estimate_by_classes(lean, needed).mean_ms)
    assert estimate_by_classes(everything, graph).mean_ms > estimate_by_classes(everything, needed).mean_ms
