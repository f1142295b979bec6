"""Draw single figures as PNG or SVG with vl-convert, without a browser."""

from __future__ import annotations

from types import ModuleType

from fleetfront.errors import InputError, missing, unknown
from fleetfront.report.figures.specifications import Figure
from fleetfront.report.figures.theme import concrete, variable
from fleetfront.report.section import Report

#: Points (1/96 inch) across; what is as wide as its place in the page has this width in a picture.
_WIDTH = 760
_SCALE = 2.0


def find_figure(report: Report, name: str | None) -> Figure:
    """The figure of that name, else the first whose name begins so; without a name the first of all.

    Raises InputError if there is none, naming those there are.
    """
    found = report.figures()
    if not found:
        raise InputError(
            "There is nothing to draw yet.", "Run: fleetfront search --devices all, or fleetfront profile."
        )
    if name is None and found:
        return found[0]
    exact = [figure for figure in found if figure.name == name]
    begun = exact or [figure for figure in found if name is not None and figure.name.startswith(name)]
    if not begun:
        raise unknown("figure of this report", name or "", [figure.name for figure in found])
    return begun[0]


def draw_svg(figure: Figure, *, dark: bool = False) -> str:
    """The figure as an SVG document. Raises MissingDependency without vl-convert."""
    svg: str = _converter().vegalite_to_svg(_with_size(figure, dark))
    return svg


def draw_png(figure: Figure, *, dark: bool = False) -> bytes:
    """The figure as a PNG of twice its points. Raises MissingDependency without vl-convert."""
    png: bytes = _converter().vegalite_to_png(_with_size(figure, dark), scale=_SCALE)
    return png


def _with_size(figure: Figure, dark: bool) -> dict[str, object]:
    spec = concrete(figure.spec, dark=dark)
    config = {**spec["config"], "background": concrete(variable("surface"), dark=dark), "padding": 12}
    # A choice that a reader makes in the page stays as it starts.
    params = [{key: value for key, value in param.items() if key != "bind"} for param in spec.get("params", ())]
    return {**spec, "width": _WIDTH, "title": figure.title, "config": config, "params": params}


def _converter() -> ModuleType:
    try:
        import vl_convert
    except ImportError as error:
        raise missing("vl-convert-python", "report", "Drawing figures") from error
    module: ModuleType = vl_convert
    return module
