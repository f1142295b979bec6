"""What a report says as tables of words and numbers: under the figures of the page, and all that Markdown has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetfront.report.sections.contents import (
    BaselineView,
    DeployedFile,
    DeviceEntry,
    FrontGroup,
    HeatMap,
    PredictionView,
    Provenance,
    RelationView,
)

#: Points of a front that a table shows; the figure and the file have more.
_SHOWN = 8
_UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A caption, headers and rows of text. Columns in ``numeric`` are set to the right."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()


def number(value: float | None, digits: int = 3) -> str:
    """A number to some significant digits, without exponent for everyday sizes; a dash for none."""
    if value is None or not math.isfinite(value):
        return _UNKNOWN
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits}g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, decimals)}f}"


def with_spread(value: float | None, std: float | None, digits: int = 3) -> str:
    """``12.3 ±0.4``, one standard deviation; the value alone where that is not known."""
    return number(value, digits) + (f" ±{number(std, 2)}" if std else "")


def percent(value: float | None) -> str:
    """A share from 0 to 1 as percent."""
    return _UNKNOWN if value is None else f"{100 * value:.0f} %"


def size(count: int) -> str:
    """Bytes for people."""
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def devices_table(devices: Sequence[DeviceEntry]) -> Table:
    """Section 1."""
    headers = (
        "device",
        "what it is",
        "space",
        "target and clock",
        "tier",
        "measured",
        "when",
        "verdict",
        "error (MAPE %)",
        "within 10 %",
        "floor %",
    )
    rows = [
        (
            d.label,
            f"{d.title} ({d.kind})" if d.kind else d.title,
            d.space,
            f"{d.target} {d.clock}".strip(),
            d.tier or "none yet",
            d.measured,
            d.when or _UNKNOWN,
            "; ".join([d.verdict, *(reason.text for reason in d.reasons)]),
            number(d.scores.get("mape"), 2),
            percent(d.scores.get("within_10")),
            number(d.floor_mape, 2),
        )
        for d in devices
    ]
    return Table("Devices", headers, tuple(rows), frozenset({8, 9, 10}))


def prediction_table(view: PredictionView) -> Table:
    """Section 2: every network of one device, the worst first."""
    points = sorted(view.points, key=lambda point: -abs(point.error_percent))
    rows = [
        (p.arch, p.role, number(p.measured_ms), with_spread(p.predicted_ms, p.std_ms), f"{p.error_percent:+.1f}")
        for p in points
    ]
    headers = ("network", "which", "measured ms", "predicted ms", "error %")
    return Table(f"Predicted and measured on {view.label}", headers, tuple(rows), frozenset({2, 3, 4}))


def front_table(group: FrontGroup, shown: int = _SHOWN) -> Table:
    """Section 3: some points of every front, the knee among them."""
    rows = []
    for front in group.fronts:
        count = len(front.points)
        step = max(1, -(-count // shown))
        for at in sorted({*range(0, count, step), count - 1, front.knee} if count else ()):
            point = front.points[at]
            rows.append(
                (
                    front.label,
                    with_spread(point.latency_ms, point.latency_std_ms, 4),
                    front.tier,
                    with_spread(point.accuracy, point.accuracy_std, 4)
                    + ("*" if point.accuracy_is_beyond_range else ""),
                    group.accuracy_tier,
                    "knee" if at == front.knee else "",
                    group.archs[point.arch],
                )
            )
    headers = ("device", "latency ms", "latency tier", "accuracy %", "accuracy tier", "", "architecture")
    return Table(f"Fronts of {group.space}", headers, tuple(rows), frozenset({1, 3}))


def volume_table(group: FrontGroup) -> Table:
    """Section 3: how much each front covers."""
    rows = [
        (
            front.label,
            front.target,
            f"{front.total:,}",
            number(front.hypervolume, 5),
            ", ".join(number(value, 4) for value in front.reference_point),
            number(front.limit_ms),
            front.path,
        )
        for front in group.fronts
    ]
    headers = ("device", "target", "points", "hypervolume", "reference point (ms, error %)", "limit ms", "file")
    return Table(f"Hypervolumes on {group.space}", headers, tuple(rows), frozenset({2, 3, 4, 5}))


def baseline_table(view: BaselineView) -> Table:
    """Section 4: where every strategy ended."""
    rows = [
        (name, str(seeds), f"{spent:,}", f"{100 * mean:.2f} %", f"{100 * low:.2f} %", f"{100 * high:.2f} %")
        for name, seeds, spent, mean, low, high in view.final
    ]
    headers = ("strategy", "seeds", "evaluations", "share of the best hypervolume", "lowest seed", "highest seed")
    return Table(f"Strategies on {view.space}", headers, tuple(rows), frozenset({1, 2, 3, 4, 5}))


def heat_table(view: HeatMap) -> Table:
    """Section 5: a device's likes and dislikes, as a grid."""
    columns = list(dict.fromkeys(cell.x for cell in view.cells))
    lines = list(dict.fromkeys(cell.y for cell in view.cells))
    cells = {(cell.x, cell.y): cell for cell in view.cells}
    rows = [(y, *(_heat_text(cells.get((x, y))) for x in columns)) for y in lines]
    of_tier = f" ({view.tier})" if view.tier else ""
    return Table(
        f"{view.label}{of_tier}: {view.meaning}", ("", *columns), tuple(rows), frozenset(range(1, len(columns) + 1))
    )


def taste_table(views: Sequence[HeatMap]) -> Table:
    """Section 5 in short: what each device likes and dislikes most."""
    rows = []
    for view in views:
        ordered = sorted(view.cells, key=lambda cell: cell.value)
        ends = [f"{cell.x} {cell.y} ({cell.value:.2f}×)" for cell in (ordered[0], ordered[-1])]
        rows.append((view.label, view.space, view.tier or _UNKNOWN, *ends))
    meanings = " ".join(dict.fromkeys(view.meaning for view in views))
    return Table(
        f"What is fastest and slowest. {meanings}", ("device", "space", "tier", "likes", "dislikes"), tuple(rows)
    )


def _heat_text(cell: object) -> str:
    value, text = getattr(cell, "value", None), getattr(cell, "text", "")
    return _UNKNOWN if value is None else text if text.endswith("%") else f"{value:.2f} ({text} ms)"


def correlation_table(view: RelationView) -> Table:
    """Section 6: rank correlation of every pair."""
    rows = [
        (label, *(number(value, 3) for value in line))
        for label, line in zip(view.labels, view.correlation.tolist(), strict=True)
    ]
    caption = f"Spearman rank correlation over {view.networks:,} networks, {view.sample}. {view.caution}".rstrip(". ")
    return Table(caption, ("", *view.labels), tuple(rows), frozenset(range(1, len(view.labels) + 1)))


def penalty_table(view: RelationView) -> Table:
    """Section 6: what each device's choice costs on the others."""
    rows = [
        (label, *(_signed(value) for value in line))
        for label, line in zip(view.labels, view.penalty.tolist(), strict=True)
    ]
    caption = (
        "Extra latency (%) of the row's knee network on the column's device, against the fastest network on the "
        "column's own front that is at least as accurate"
    )
    return Table(caption, ("", *view.labels), tuple(rows), frozenset(range(1, len(view.labels) + 1)))


def _signed(value: float | None, decimals: int = 1) -> str:
    return f"{value:+.{decimals}f}" if value is not None and math.isfinite(value) else _UNKNOWN


def deployed_table(files: Iterable[DeployedFile]) -> Table:
    """Section 7."""
    headers = (
        "network",
        "file",
        "size",
        "target and clock",
        "predicted ms",
        "measured ms",
        "measured against predicted",
        "promised accuracy %",
        "accuracy of the file %",
        "lost in writing, points",
        "weights",
    )
    rows = []
    for file in files:
        if file.problem:
            rows.append((file.bundle, file.problem, *("" for _ in headers[2:])))
            continue
        both = file.predicted_ms is not None and file.measured_ms is not None and file.predicted_ms > 0
        rows.append(
            (
                file.bundle,
                f"{file.format} {file.precision}",
                size(file.size_bytes),
                f"{file.target} {file.clock}".strip() or _UNKNOWN,
                with_spread(file.predicted_ms, file.predicted_std_ms) + (f" ({file.tier})" if file.tier else ""),
                with_spread(file.measured_ms, file.measured_std_ms),
                f"{100 * ((file.measured_ms or 0) / (file.predicted_ms or 1) - 1):+.1f} %" if both else _UNKNOWN,
                file.promised or _UNKNOWN,
                number(file.accuracy, 4),
                _signed(file.drop, 2),
                file.weights,
            )
        )
    return Table("Chosen and deployed networks", headers, tuple(rows), frozenset({2, 4, 5, 6, 8, 9}))


def provenance_tables(origin: Provenance) -> tuple[Table, ...]:
    """Section 8; tables without rows are left out."""
    tables = (
        Table("Versions", ("what", "version"), origin.versions),
        Table(
            "Files",
            ("what", "path", "bytes", "SHA-256"),
            tuple((kind, path, f"{count:,}", digest) for kind, path, count, digest in origin.files),
            frozenset({2}),
        ),
        Table(
            "Measuring campaigns",
            ("target", "space", "when", "seconds", "ended by", "environment"),
            tuple((*row[:3], f"{row[3]:.0f}", *row[4:]) for row in origin.campaigns),
            frozenset({3}),
        ),
        Table("Imported measurements", ("name", "licence", "from", "SHA-256"), origin.sources),
        Table(
            "Searches",
            ("front", "strategy", "seed", "evaluations", "seconds", "of these"),
            tuple((*row[:2], str(row[2]), f"{row[3]:,}", f"{row[4]:.1f}", row[5]) for row in origin.runs),
            frozenset({2, 3, 4}),
        ),
    )
    return tuple(table for table in tables if table.rows)
