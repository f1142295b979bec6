"""Estimate any graph by a shipped model's classes of operators, with an allowance for classes that it lacks."""

from __future__ import annotations

import math

import numpy as np

from fleetfront.graphs.graph import Graph
from fleetfront.graphs.operators.base import CLASSES
from fleetfront.graphs.operators.catalogue import family_of
from fleetfront.graphs.prune import drop_unread
from fleetfront.predictors.operators.estimates import GraphEstimate, OperatorPart, unknown_spread
from fleetfront.predictors.operators.model import OperatorModel
from fleetfront.predictors.operators.work import QUANTITIES, Mode, quantities_of

#: Class that the shipped models lack -> the one whose coefficients stand in for it, as an allowance.
_NEAREST = {
    "matrix": "vector",
    "attention": "vector",
    "recurrent": "vector",
    "normalisation": "elementwise",
    "quantisation": "elementwise",
    "reduction": "pooling",
    "resampling": "pooling",
    "lookup": "movement",
}


def estimate_by_classes(model: OperatorModel, graph: Graph, batch: int = 1) -> GraphEstimate:
    """One inference of ``graph``, whose parts are each operator's launch or work, whichever rules, scaled to the whole.

    Operators of classes that the model lacks are counted with the nearest class and are not known; nobody can bound
    opaque ones. What no output needs
    counts where the device executes it (``Mode.ALL``: frameworks that are defined by running) and nowhere else.
    """
    rows, names, known, most = [], [], [], []
    executed = graph if model.mode is Mode.ALL else drop_unread(graph)
    for operator in executed.operators:
        is_opaque = operator.family == "opaque"
        asked = None if is_opaque else family_of(operator.family).work(graph, operator)
        if asked is not None and asked.kind is None:
            continue
        kind = "elementwise" if asked is None else str(asked.kind)
        work = np.zeros((len(CLASSES), len(QUANTITIES)))
        work[CLASSES.index(_NEAREST.get(kind, kind))] = quantities_of(graph, operator, asked.macs if asked else 0.0)
        rows.append(work.ravel())
        names.append((operator.outputs[0], str(operator.attributes["kind"]) if is_opaque else operator.family))
        known.append(not is_opaque and kind in CLASSES)
        most.append(math.inf if is_opaque else 0.0)
    work = np.array(rows).reshape(len(rows), len(CLASSES) * len(QUANTITIES))
    mean = float(model.latency_ms(work.sum(axis=0, keepdims=True), batch)[0])
    launched, busy = model.parts(work, batch)
    share = (launched + busy) / max(float((launched + busy).sum()), 1e-12)
    parts = tuple(
        OperatorPart(name, kind, float(part * mean), is_known, most_ms=most_ms)
        for (name, kind), part, is_known, most_ms in zip(names, share, known, most, strict=True)
    )
    unknown = max(sum(part.ms for part in parts if not part.is_known), unknown_spread(mean, parts))
    return GraphEstimate(mean, float(np.hypot(model.relative_std * mean, unknown)), parts)
