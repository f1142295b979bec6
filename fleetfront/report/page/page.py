"""The report as one HTML file that needs nothing else: no network, no folder beside it, no write access.

Names in a report come from outside (devices, files, fronts). They reach the page through an escaping template and as
JSON that cannot close its element; a content security policy allows no script but the two in the file, by their hashes,
and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.errors import InputError, missing
from fleetfront.report.figures.figures import figures
from fleetfront.report.figures.fronts import has_cloud, interactive_fronts, lowest_shown, unit_ms
from fleetfront.report.figures.networks import cell_edges, cell_nodes, cell_picture, network_picture
from fleetfront.report.figures.specifications import SCHEMA, Figure, Specification
from fleetfront.report.figures.theme import CONFIG, css_variables, series_colour, series_dash
from fleetfront.report.sections.contents import FrontGroup, FrontView, Report
from fleetfront.report.sections.fronts import deploy_command
from fleetfront.report.sections.outline import outline
from fleetfront.report.tables import (
    Table,
    baseline_table,
    correlation_table,
    deployed_table,
    devices_table,
    front_table,
    heat_table,
    number,
    penalty_table,
    percent,
    prediction_table,
    provenance_tables,
    volume_table,
)

if TYPE_CHECKING:
    import jinja2

#: Figures of this many devices are open at first; those of the others are a click away, and drawn only then.
_OPEN = 3
_DIGITS = 6

#: Stands for the architecture in the command that the page's script completes.
_ARCH = "ARCHITECTURE"


def render_page(report: Report) -> str:
    """The whole file. Raises MissingDependency without jinja2 or vl-convert."""
    drawn = figures(report)
    scripts = [_vega(), _part("page.js")]
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            report=report,
            outline=outline(report, drawn),
            sections=_sections(report, drawn),
            groups=[_group_view(group) for group in report.fronts],
            devices_table=devices_table(report.devices),
            provenance_tables=provenance_tables(report.provenance),
            opened=_OPEN,
            number=number,
            percent=percent,
            styles=_part("page.css"),
            light=css_variables(dark=False),
            dark=css_variables(dark=True),
            scripts=scripts,
            hashes=[_csp_hash(script) for script in scripts],
            data=_json(page_data(report, drawn)),
        )
    )


def write_page(report: Report, path: Path) -> Path:
    """Write the page to ``path``, and return that. Raises InputError where that fails, else as ``render_page``."""
    text = render_page(report)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"Cannot write {path} ({error.strerror or error}).", "Choose another place.") from error
    return path


def page_data(report: Report, drawn: Sequence[Figure]) -> dict[str, Any]:
    """What the page's script reads: specifications by figure, and the fronts."""
    return {
        "schema": SCHEMA,
        "config": CONFIG,
        # Fronts of the page are interactive and have specifications of their own.
        "figures": {figure.name: _bare(figure.spec) for figure in drawn if figure.section != "fronts"},
        "fronts": [_group_data(group) for group in report.fronts],
    }


def _sections(report: Report, drawn: Sequence[Figure]) -> dict[str, list[dict[str, Any]]]:
    """The sections that have one block a view: section -> for each view, its figures and tables."""

    def blocks(section: str, views: Sequence[Any], *tables: Callable[[Any], Table]) -> list[dict[str, Any]]:
        return [
            {
                "view": view,
                "figures": [figure for figure in drawn if (figure.section, figure.row) == (section, row)],
                "tables": [table(view) for table in tables],
            }
            for row, view in enumerate(views)
        ]

    return {
        "predictions": blocks("predictions", report.predictions, prediction_table),
        "baselines": blocks("baselines", report.baselines, baseline_table),
        "heat_maps": blocks("heat_maps", report.heat_maps, heat_table),
        "relations": blocks("relations", report.relations, correlation_table, penalty_table),
        "deployed": blocks("deployed", [report.deployed] if report.deployed else [], deployed_table),
    }


def _group_view(group: FrontGroup) -> dict[str, Any]:
    lowest = lowest_shown(group)
    hidden = sum(p.accuracy < lowest for front in group.fronts for p in front.points) if lowest is not None else 0
    return {
        "group": group,
        "tables": [front_table(group), volume_table(group)],
        "hidden": hidden,
        "lowest": lowest,
        "devices": [
            {
                "front": front,
                "colour": series_colour(i),
                "dash": ",".join(map(str, series_dash(i))),
            }
            for i, front in enumerate(group.fronts)
        ],
    }


def _group_data(group: FrontGroup) -> dict[str, Any]:
    kinds = list(dict.fromkeys(block.group for block in group.blocks))
    return {
        "isBounded": lowest_shown(group) is not None,
        "hasCloud": has_cloud(group),
        "tier": group.accuracy_tier,
        "specs": {
            size: {
                unit: _bare(interactive_fronts(group, is_normalised=unit == "normalised", is_small=size == "small"))
                for unit in ("ms", "normalised")
            }
            for size in ("overlay", "small")
        },
        "picture": _bare(network_picture(kinds)),
        "blocks": [[block.label, block.group, block.width, block.side] for block in group.blocks],
        "archs": list(group.archs),
        "networks": [[number for pair in network for number in pair] for network in group.networks],
        "cell": _cell_data(group),
        "devices": [_device_data(group, front) for front in group.fronts],
    }


def _cell_data(group: FrontGroup) -> dict[str, Any] | None:
    """The cells of a group's networks, each edge that occurs once; None in spaces without cells."""
    if not group.cells:
        return None
    edges = list(dict.fromkeys(edge for cell in group.cells for edge in cell))
    row = {edge: i for i, edge in enumerate(edges)}
    nodes = cell_nodes(1 + max((target for _, target, _ in edges), default=0))
    return {
        "spec": _bare(cell_picture(list(dict.fromkeys(operation for _, _, operation in edges)), len(nodes))),
        "nodes": nodes,
        "edges": cell_edges(edges, nodes),
        "of": [[row[edge] for edge in cell] for cell in group.cells],
    }


def _device_data(group: FrontGroup, front: FrontView) -> dict[str, Any]:
    return {
        "label": front.label,
        "tier": front.tier,
        "clock": front.clock,
        "knee": front.knee,
        "unit": unit_ms(group, front),
        "points": [
            [p.arch, p.latency_ms, p.latency_std_ms, p.accuracy, p.accuracy_std, int(p.accuracy_is_beyond_range)]
            for p in front.points
        ],
        "cloud": front.cloud.tolist(),
        "blockMs": dict(front.block_ms),
        "command": _command_around(group, front),
    }


def _command_around(group: FrontGroup, front: FrontView) -> list[str]:
    """The deploy command before and after the architecture. What comes after it holds no text from outside."""
    before, _, after = deploy_command(group, front, _ARCH).rpartition(_ARCH)
    return [before, after]


def _bare(spec: Specification) -> Specification:
    """Without what every specification has: the page adds it again."""
    return {key: value for key, value in spec.items() if key not in ("$schema", "config")}


def _json(value: Any) -> str:
    """JSON for inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(_rounded(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _rounded(value: Any) -> Any:
    """Numbers at the precision that a figure can show: a third of the size."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _csp_hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, as vl-convert bundles them."""
    try:
        import vl_convert
    except ImportError as error:
        raise missing("vl-convert-python", "report", "Drawing figures") from error
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def _templates() -> jinja2.Environment:
    try:
        import jinja2
    except ImportError as error:
        raise missing("jinja2", "report", "Writing the report") from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["prose"] = _prose
    return environment


def _prose(text: str) -> str:
    """Sentences in which a number and its unit stay on one line."""
    return re.sub(r"(?<=\d) (?=%|ms\b)", "\N{NO-BREAK SPACE}", text)


def _part(name: str) -> str:
    return files("fleetfront.report.page").joinpath("templates", name).read_text(encoding="utf-8")
