"""Names as no friend would give them: every text of a report replaced by HTML, script, JSON and Markdown."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from fleetfront.report.section import Report, Section

EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'`|*_<!--\u2028"


def with_evil_names(value: Any) -> Any:
    """The same records with ``EVIL`` appended to every text but those that name kinds of things."""
    if isinstance(value, Section):
        return value
    if isinstance(value, str):
        return value + EVIL
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            field.name: with_evil_names(getattr(value, field.name))
            for field in fields(value)
            if field.name not in ("verdict", "role", "made", "version")
        }
        return replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(with_evil_names(item) for item in value)
    if isinstance(value, dict):
        return {with_evil_names(key): with_evil_names(item) for key, item in value.items()}
    return value


def with_views(report: Report, **views: tuple[Any, ...]) -> Report:
    """The report with other views in some of its sections."""
    parts = (replace(part, views=views.get(part.section.name, part.views)) for part in report.parts)
    return replace(report, parts=tuple(parts))
