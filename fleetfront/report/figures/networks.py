"""A network as Vega-Lite specifications, drawn in the page: its blocks from input to output, its cell as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleetfront.report.figures.specifications import SCHEMA, Specification, nominal, tooltip
from fleetfront.report.figures.theme import CONFIG, series_colour, variable

#: Where the middle nodes of a cell lie, so that no edge hides another.
_HEIGHTS = (2.0, 0.0)
#: Pixels kept free at the right for what is noted of each block.
_NOTE_WIDTH = 72
#: How far along an edge its label stands: edges that span the whole cell are crossed in the middle.
_LABEL_AT, _LONG_LABEL_AT = 0.5, 0.22


def network_picture(groups: Sequence[str]) -> Specification:
    """Blocks from top to bottom, as wide as their channels (on a root scale), coloured by kernel.

    The page's script fills the data: ``at``, ``label``, ``from``, ``to``, ``group``, ``channels``, ``side``, ``note``.
    """
    colours = {"domain": list(groups), "range": [series_colour(i) for i in range(len(groups))]}
    beside_notes = {"range": [0, {"expr": f"width - {_NOTE_WIDTH}"}], "nice": False}
    # What a row is called stands behind the number that keeps its place.
    axis = {"labelExpr": "slice(datum.value, 3)", "domain": False, "ticks": False, "labelLimit": 210, "labelPadding": 8}
    return {
        "$schema": SCHEMA,
        "description": "The blocks of the chosen network from input to output.",
        "width": "container",
        "height": 300,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": "blocks"},
        "encoding": {"y": nominal("at", None, sort=None, axis=axis)},
        "layer": [
            {
                "mark": {"type": "bar", "cornerRadius": 3, "height": {"band": 0.82}},
                "encoding": {
                    "x": {"field": "from", "type": "quantitative", "axis": None, "scale": beside_notes},
                    "x2": {"field": "to"},
                    # Labels say what the colours mean.
                    "color": nominal("group", None, scale=colours, legend=False),
                    "tooltip": tooltip(label="block", channels="widest part", side="input map", note="alone"),
                },
            },
            {
                "mark": {"type": "text", "align": "right", "fontSize": 11, "aria": False},
                "encoding": {"x": {"value": "width"}, "text": {"field": "note"}},
            },
        ],
        "config": CONFIG,
    }


def cell_picture(operations: Sequence[str], nodes: int) -> Specification:
    """A cell as a graph. The page's script fills the data: rows of ``cell_edges`` for every edge."""
    label = {"type": "text", "fontSize": 11, "dy": -6, "aria": False}
    halo = {"stroke": variable("raised"), "strokeWidth": 4}
    label_place = {
        "x": {"field": "tx", "type": "quantitative"},
        "y": {"field": "ty", "type": "quantitative"},
        "text": {"field": "operation"},
    }
    colours = {"domain": list(operations), "range": [series_colour(i) for i in range(len(operations))]}
    x: dict[str, Any] = {"field": "x", "type": "quantitative", "axis": None, "scale": {"domain": [-0.3, nodes - 0.7]}}
    y: dict[str, Any] = {"field": "y", "type": "quantitative", "axis": None, "scale": {"domain": [-0.4, 2.5]}}
    return {
        "$schema": SCHEMA,
        "description": "The cell of the chosen network: nodes, and the operation on each edge.",
        "width": "container",
        "height": 190,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": "edges"},
        "encoding": {"x": x, "y": y},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 3},
                "encoding": {
                    "x2": {"field": "x2"},
                    "y2": {"field": "y2"},
                    "color": nominal("operation", None, scale=colours, legend=False),
                    "description": {"field": "said"},
                },
            },
            {"mark": {**label, **halo}, "encoding": label_place},
            {"mark": label, "encoding": label_place},
            {
                "data": {"name": "nodes"},
                "mark": {"type": "circle", "size": 620, "color": variable("muted"), "opacity": 1, "aria": False},
            },
            {
                "data": {"name": "nodes"},
                "mark": {"type": "text", "color": variable("surface"), "fontSize": 10, "aria": False},
                "encoding": {"text": {"field": "name"}},
            },
        ],
        "config": CONFIG,
    }


def cell_nodes(count: int) -> list[dict[str, Any]]:
    """Nodes from left to right; the first and last in the middle, the others in turn above and below."""
    last = count - 1
    return [
        {
            "name": "in" if node == 0 else "out" if node == last else str(node),
            "x": node,
            "y": 1.0 if node in (0, last) else _HEIGHTS[(node - 1) % 2],
        }
        for node in range(count)
    ]


def cell_edges(edges: Sequence[tuple[int, int, str]], nodes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where each edge and its label lie between the nodes."""
    rows = []
    for source, target, operation in edges:
        start, end = nodes[source], nodes[target]
        at = _LONG_LABEL_AT if target - source == len(nodes) - 1 else _LABEL_AT
        rows.append(
            {
                "x": start["x"],
                "y": start["y"],
                "x2": end["x"],
                "y2": end["y"],
                "tx": start["x"] + at * (end["x"] - start["x"]),
                "ty": start["y"] + at * (end["y"] - start["y"]),
                "operation": operation,
                "said": f"{operation} from {start['name']} to {end['name']}",
            }
        )
    return rows
