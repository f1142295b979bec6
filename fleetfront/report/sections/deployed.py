"""List the networks that were deployed, in one file or in parts: predicted and measured latency, accuracy, size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.formats import FORMATS
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.parts import KeptParts, is_in_parts, read_parts
from fleetfront.plain import to_plain
from fleetfront.quantities import UNKNOWN, Tier, format_number
from fleetfront.report.figures.specifications import Figure, figure_spec, interval, nominal, quantitative, tooltip
from fleetfront.report.figures.theme import series_colour
from fleetfront.report.markdown import table_lines
from fleetfront.report.section import Section
from fleetfront.report.sections.devices import known_clock
from fleetfront.report.sources import Sources
from fleetfront.report.tables import Table, signed, size, with_spread
from fleetfront.targets import Target

#: Characters of a hash that tell weights apart.
_ID_SHOWN = 12


@dataclass(frozen=True, slots=True)
class DeployedFile:
    """A file of a bundle; numbers are None where they are not known.

    Attributes:
        promised: accuracy that the front gave for the network, in words.
        accuracy: of this very file on held-out images, percent.
        drop: how much of it writing in this precision lost, percentage points.
        problem: why the bundle could not be read; then all else but its name is empty.
        app_ms: what an app feels of it: cold start, warm median, 90th percentile and sustained mean of the wall clock;
            empty where nobody looked.
        is_busy: other programs ran while it was measured, so that nothing is promised of it.
        calls: of a network in parts, each part's name, calls an inference, and ms of one; empty for others.
        held: the 90 % intervals that were promised when it was measured, and whether they held, in words: as profiled,
            and as of that sitting.
    """

    bundle: str
    arch: str
    path: str
    format: str
    precision: str
    size_bytes: int
    target: str
    clock: str
    predicted_ms: float | None
    predicted_std_ms: float | None
    tier: str
    measured_ms: float | None
    measured_std_ms: float | None
    promised: str
    accuracy: float | None
    drop: float | None
    weights: str
    problem: str = ""
    app_ms: tuple[float | None, ...] = ()
    is_busy: bool = False
    held: tuple[str, str] = ("", "")
    calls: tuple[tuple[str, int, float | None], ...] = ()


def deployed_files(sources: Sources) -> tuple[DeployedFile, ...]:
    """One row a file and target that it was predicted or measured for; a bundle that cannot be read keeps one row."""
    rows: list[DeployedFile] = []
    for folder in sources.bundles:
        try:
            if is_in_parts(folder):
                kept = read_parts(folder)
                rows += _rows_of_parts(folder, kept) if not sources.spaces or kept.space in sources.spaces else ()
                continue
            manifest = read_manifest(folder)
            if not sources.spaces or manifest["space"] in sources.spaces:
                rows += _rows(folder, manifest)
        except InputError as error:
            rows.append(_broken(folder, f"{error.message} {error.remedy}".strip()))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            rows.append(_broken(folder, f"Its manifest is damaged ({type(error).__name__}: {error}). Deploy again."))
    return tuple(rows)


def _broken(folder: Path, problem: str) -> DeployedFile:
    return DeployedFile(folder.name, "", "", "", "", 0, "", "", None, None, "", None, None, "", None, None, "", problem)


def _rows(folder: Path, manifest: Mapping[str, Any]) -> Iterator[DeployedFile]:
    weights = manifest["weights"]
    described = "random" if weights.get("random") else str(weights.get("id", ""))[:_ID_SHOWN] or "unknown"
    for file in manifest["files"]:
        latency = [row for row in manifest["latency"] if _is_of(row, file)]
        judged: Mapping[str, Any] = file.get("accuracy") or {}
        for target in dict.fromkeys(str(row["target"]) for row in latency) or ("",):
            of_target = [row for row in latency if str(row["target"]) == target]
            predicted: Mapping[str, Any] = next((row for row in of_target if row.get("is_prediction")), {})
            measured: Mapping[str, Any] = next((row for row in of_target if not row.get("is_prediction")), {})
            yield DeployedFile(
                bundle=folder.name,
                arch=str(manifest["arch"]),
                path=str(folder / file["path"]),
                format=str(file["format"]),
                precision=str(file["precision"]),
                size_bytes=int(file.get("bytes") or (folder / file["path"]).stat().st_size),
                target=target,
                clock=known_clock(str(measured.get("clock") or predicted.get("clock") or "")),
                predicted_ms=_number(predicted.get("ms")),
                predicted_std_ms=_number(predicted.get("std_ms")),
                tier=str(predicted.get("tier", "")),
                measured_ms=_number(measured.get("ms")),
                measured_std_ms=_number(measured.get("std_ms")),
                promised=_promised(manifest),
                accuracy=_number(judged.get("top1", judged.get("value"))),
                drop=_number(judged.get("drop")),
                weights=described,
                app_ms=_app_ms(measured),
                is_busy=measured.get("is_busy") is True,
                held=_held(measured),
            )


def _rows_of_parts(folder: Path, kept: KeptParts) -> Iterator[DeployedFile]:
    """One row a target of a network in parts: all calls of an inference."""
    parts, whole = kept.parts, kept.as_received()
    plain = to_plain(kept)
    described = (
        "random"
        if kept.weights.get("random")
        else "; ".join(f"{name} {str(one)[:_ID_SHOWN]}" for name, one in (kept.weights.get("id") or {}).items())
    )
    for target in dict.fromkeys(row.target for row in whole.latency) or ("",):
        of_target = [row for row in whole.latency if row.target == target]
        predicted = next((row for row in of_target if row.is_prediction), None)
        measured = next((row for row in of_target if not row.is_prediction), None)
        files = [
            next((one for one in part.files if _is_of({"target": target}, to_plain(one))), part.files[0])
            for part in parts.values()
        ]
        clock = measured.clock if measured else predicted.clock if predicted else ""
        yield DeployedFile(
            bundle=folder.name,
            arch=kept.arch,
            path=str(folder / files[0].path),
            format=f"{len(parts)} parts, {files[0].format}",
            precision=files[0].precision,
            size_bytes=sum(one.bytes for one in files),
            target=target,
            clock=known_clock(str(clock)),
            predicted_ms=predicted.ms if predicted else None,
            predicted_std_ms=predicted.std_ms if predicted else None,
            tier=str(predicted.tier.value) if predicted else "",
            measured_ms=measured.ms if measured else None,
            measured_std_ms=measured.std_ms if measured else None,
            promised=_promised(plain),
            accuracy=None,
            drop=None,
            weights=described or "unknown",
            is_busy=measured is not None and measured.is_busy,
            calls=tuple(
                (name, part.calls, next((row.ms for row in part.latency if row.target == target), None))
                for name, part in parts.items()
            ),
        )


def _held(measured: Mapping[str, Any]) -> tuple[str, str]:
    promises = measured.get("promises") or {}

    def said(when: str) -> str:
        promise = promises.get(when) or {}
        low, high = _number(promise.get("low_ms")), _number(promise.get("high_ms"))
        if low is None or high is None:
            return ""
        holds = "not judged" if promise.get("holds") is None else "held" if promise["holds"] else "missed"
        return f"{format_number(low)} to {format_number(high)}: {holds}"

    as_profiled = said("as_profiled") or ("nothing, from one sitting" if promises.get("not_promised") else "")
    return as_profiled, said("today")


def _app_ms(measured: Mapping[str, Any]) -> tuple[float | None, ...]:
    wall = measured.get("wall") or {}
    found = (measured.get("cold_start_ms"), *(wall.get(name) for name in ("median_ms", "p90_ms", "mean_ms")))
    return tuple(_number(value) for value in found) if wall else ()


def _is_of(row: Mapping[str, Any], file: Mapping[str, Any]) -> bool:
    """Tell whether a latency can be that of a file: by runtime and, where both say one, precision."""
    try:
        target = Target.parse(str(row["target"]))
    except InputError:
        return False
    kind = FORMATS.get(str(file["format"]))
    runs = kind is not None and (target.runtime == kind.runtime or target.runtime.startswith(f"{kind.name}"))
    return runs and target.precision in (file["precision"], "unknown")


def _promised(manifest: Mapping[str, Any]) -> str:
    """Accuracy of the network as its front gave it: rows that name no file are of the network before writing."""
    rows = [row for row in manifest.get("accuracy", ()) if "in" not in row and _number(row.get("value")) is not None]
    return "; ".join(
        f"{with_spread(row['value'], _number(row.get('std')), 4)} ({row.get('tier', 'unknown')})" for row in rows
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def latency_table(files: Iterable[DeployedFile]) -> Table:
    """Every file, with the latency that was promised of it; one that cannot be read says why."""
    headers = (
        "network",
        "file",
        "target and clock",
        "predicted ms",
        "measured ms",
        "measured against predicted",
    )
    rows = []
    for file in files:
        if file.problem:
            rows.append((file.bundle, UNKNOWN, file.problem, *("" for _ in headers[3:])))
            continue
        both = file.predicted_ms is not None and file.measured_ms is not None and file.predicted_ms > 0
        rows.append(
            (
                file.bundle,
                f"{file.format} {file.precision}",
                f"{file.target} {file.clock}".strip() or UNKNOWN,
                with_spread(file.predicted_ms, file.predicted_std_ms, tier=file.tier)
                + (f" ({file.tier})" if file.tier else ""),
                with_spread(file.measured_ms, file.measured_std_ms) + (" (device busy)" if file.is_busy else ""),
                f"{100 * ((file.measured_ms or 0) / (file.predicted_ms or 1) - 1):+.1f} %" if both else UNKNOWN,
            )
        )
    return Table("Chosen and deployed networks", headers, tuple(rows), frozenset({3, 4, 5})).without_unknown()


def promise_table(files: Iterable[DeployedFile]) -> Table:
    """Every file that was promised a latency when it was measured: the 90 % intervals, and whether each held."""
    headers = ("network", "file", "target", "measured ms", "when profiled, ms", "for that sitting, ms")
    rows = [
        (
            file.bundle,
            f"{file.format} {file.precision}",
            file.target,
            format_number(file.measured_ms),
            *(promise or UNKNOWN for promise in file.held),
        )
        for file in files
        if any(file.held)
    ]
    return Table("What was promised, 90 %, and whether it held", headers, tuple(rows), frozenset({3})).without_unknown()


def accuracy_table(files: Iterable[DeployedFile]) -> Table:
    """Every file once: size, accuracy of the network and of this file, whose weights."""
    headers = ("network", "file", "size", "promised accuracy %", "of the file %", "lost in writing, points", "weights")
    rows = {
        file.path: (
            file.bundle,
            f"{file.format} {file.precision}",
            size(file.size_bytes),
            file.promised or UNKNOWN,
            format_number(file.accuracy, 4),
            signed(file.drop, 2),
            file.weights,
        )
        for file in files
        if not file.problem
    }
    return Table("Their size and accuracy", headers, tuple(rows.values()), frozenset({2, 4, 5})).without_unknown()


def app_table(files: Iterable[DeployedFile]) -> Table:
    """Latencies that an app would feel of each file that was measured: the wall clock, cold and warm."""
    headers = ("network", "file", "target", "cold start", "warm median", "90th percentile", "sustained mean")
    rows = [
        (file.bundle, f"{file.format} {file.precision}", file.target, *(format_number(ms) for ms in file.app_ms))
        for file in files
        if file.app_ms
    ]
    return Table("In an app, wall clock (ms)", headers, tuple(rows), frozenset(range(3, 7)))


def calls_table(files: Iterable[DeployedFile]) -> Table:
    """Every part of networks in parts: how often an inference calls it, and what one call and all of them took."""
    headers = ("network", "part", "target", "calls", "one call, ms", "all its calls, ms")
    rows = [
        (
            file.bundle,
            name,
            file.target,
            str(calls),
            format_number(ms),
            format_number(None if ms is None else calls * ms),
        )
        for file in files
        for name, calls, ms in file.calls
    ]
    return Table("Networks in parts", headers, tuple(rows), frozenset({3, 4, 5})).without_unknown()


def _tables(files: Sequence[DeployedFile]) -> tuple[Table, ...]:
    every = (latency_table(files), promise_table(files), accuracy_table(files), app_table(files), calls_table(files))
    return tuple(table for table in every if table.rows)


def deployed_figures(files: Sequence[DeployedFile]) -> Iterator[Figure]:
    """Predicted and measured latency of every deployed file of which one is known."""
    known = [file for file in files if file.predicted_ms is not None or file.measured_ms is not None]
    if known:
        yield _deployed(known)


def _deployed(known: Sequence[DeployedFile]) -> Figure:
    values = [row for file in known for row in _deployed_values(file)]
    worst = [abs(100 * (f.measured_ms / f.predicted_ms - 1)) for f in known if f.measured_ms and f.predicted_ms]
    off = f" The farthest is {format_number(max(worst), 2)} % off." if worst else ""
    said = f"Predicted and measured latency of {len(known)} deployed files, with 90 % intervals.{off}"
    height = max(120, 28 * len({row["file"] for row in values}))
    spec = figure_spec(said, _deployed_layers(), values=values, height=height)
    spec["encoding"] = {"y": nominal("file", None, sort=None)}
    return Figure("deployed", "Deployed files: predicted and measured", said, spec)


def _deployed_values(file: DeployedFile) -> Iterator[dict[str, Any]]:
    for kind, ms, std, tier in (
        ("predicted", file.predicted_ms, file.predicted_std_ms, file.tier),
        ("measured", file.measured_ms, file.measured_std_ms, Tier.MEASURED),
    ):
        if ms is not None:
            low, high = interval(ms, std, tier)
            yield {
                # What tells files of one network apart stands first: long labels lose their end.
                "file": f"{file.format} {file.precision} {file.bundle}",
                "target": file.target,
                "kind": kind,
                "ms": ms,
                "from": low,
                "to": high,
                "said": f"{with_spread(ms, std, tier=tier)} ms",
            }


def _deployed_layers() -> list[dict[str, Any]]:
    """Intervals, and the latencies on them."""
    kinds = ["predicted", "measured"]
    colour = nominal("kind", None, scale={"domain": kinds, "range": [series_colour(0), series_colour(1)]}, legend=True)
    return [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.5, "aria": False},
            "encoding": {
                "x": quantitative("from", "latency ms", zero=False),
                "x2": {"field": "to"},
                "color": colour,
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70},
            "encoding": {
                "x": quantitative("ms", "latency ms", zero=False),
                "color": colour,
                "shape": nominal("kind", None, scale={"domain": kinds, "range": ["square", "circle"]}, legend=True),
                "tooltip": tooltip(file="file", target="target", kind="which", said="latency"),
            },
        },
    ]


DEPLOYED = Section(
    "deployed",
    "deployed",
    "Chosen and deployed networks",
    "Deployed",
    lambda sources: filter(None, [deployed_files(sources)]),
    gap="Nothing was deployed yet.",
    command="fleetfront deploy --knee",
    figures=deployed_figures,
    tables=_tables,
    brief=lambda views: (line for files in views for table in _tables(files) for line in table_lines(table)),
    are_tables_folded=False,
    count=len,
)
