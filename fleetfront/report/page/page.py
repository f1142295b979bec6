"""Write the report as one HTML file that needs nothing else: no network, no folder beside it, no write access.

Names in a report come from outside (devices, files, fronts). They reach the page through an escaping template and as
JSON that cannot close its element; a content security policy allows no script but the two in the file, by their hashes,
and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.errors import missing
from fleetfront.quantities import format_number
from fleetfront.report.figures.specifications import SCHEMA, Figure, bare
from fleetfront.report.figures.theme import CONFIG, css_variables
from fleetfront.report.section import Part, Report
from fleetfront.report.tables import percent
from fleetfront.report.writing import write_report

if TYPE_CHECKING:
    import jinja2

#: Figures of this many devices are open at first; those of the others are a click away, and drawn only then.
_OPEN = 3
_DIGITS = 6


def render_page(report: Report) -> str:
    """The whole file. Raises MissingDependency without jinja2 or vl-convert."""
    drawn = report.figures()
    scripts = [_vega(), _part("page.js")]
    templates = _templates()
    return templates.get_template("page.html.j2").render(
        report=report,
        parts=[
            {
                "section": part.section,
                "title": part.title,
                "views": part.views,
                "fragment": _fragment(templates, part, drawn),
            }
            for part in report.parts
        ],
        styles=_part("page.css"),
        light=css_variables(dark=False),
        dark=css_variables(dark=True),
        scripts=scripts,
        hashes=[_csp_hash(script) for script in scripts],
        data=_json(page_data(report, drawn)),
    )


def write_page(report: Report, path: Path, *, force: bool = False) -> Path:
    """Write the page to ``path``, and return that. Raises as ``render_page`` and ``write_report``."""
    return write_report(path, render_page(report).encode(), force=force)


def page_data(report: Report, drawn: Sequence[Figure]) -> dict[str, Any]:
    """The data of the page's script: specifications by figure, and the views of sections that it draws itself."""
    own = {part.section.name: part for part in report.parts if part.section.data is not None}
    return {
        "schema": SCHEMA,
        "config": CONFIG,
        "figures": {figure.name: bare(figure.spec) for figure in drawn if figure.section not in own},
        **{name: list(map(part.section.data, part.views)) for name, part in own.items() if part.section.data},
    }


def _fragment(templates: jinja2.Environment, part: Part, drawn: Sequence[Figure]) -> str:
    """A section's place in the page: its template, given each view with its words, figures and tables."""
    section = part.section
    if not part.views:
        return ""
    blocks = [
        {
            "view": view,
            "words": section.words(view),
            "figures": [figure for figure in drawn if (figure.section, figure.row) == (section.name, row)],
            "tables": section.tables(view),
        }
        for row, view in enumerate(part.views)
    ]
    template = templates.get_template(section.fragment)
    return template.render(section=section, blocks=blocks, opened=_OPEN, **section.context(part.views))


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
    environment.filters |= {"prose": _prose, "number": format_number, "percent": percent}
    return environment


def _prose(text: str) -> str:
    """Sentences in which a number and its unit stay on one line."""
    return re.sub(r"(?<=\d) (?=%|(?:ms|uJ|mJ|bytes)\b)", "\N{NO-BREAK SPACE}", text)


def _part(name: str) -> str:
    return files("fleetfront.report.page").joinpath("templates", name).read_text(encoding="utf-8")
