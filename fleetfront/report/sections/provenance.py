"""Say where everything comes from: versions, seeds, commands, hashes and where the raw data lies."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetfront import __version__
from fleetfront.deploy.bundle.manifest import MANIFEST
from fleetfront.pipelines.deploy.parts import MANIFEST as PARTS
from fleetfront.pipelines.deploy.parts import is_in_parts
from fleetfront.pipelines.knowledge.known import Kind
from fleetfront.predictors.table.fit_files import report_path
from fleetfront.profilers.store.store import CampaignRow
from fleetfront.report.markdown import fenced, table_lines
from fleetfront.report.section import Section
from fleetfront.report.sections.devices import day
from fleetfront.report.sources import SearchResult, Sources
from fleetfront.report.tables import Table
from fleetfront.targets import split_spelled

#: Packages whose versions decide numbers of a report, where they are installed.
_PACKAGES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "torch",
    "xgboost-cpu",
    "pymoo",
    "moocore",
    "vl-convert-python",
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where everything comes from.

    Attributes:
        versions: what made this report: name and version.
        files: kind, path, size in bytes, SHA-256.
        campaigns: what was measured when: (target, space, day, seconds, how it ended, environment in words).
        sources: imported data: name, licence, address, SHA-256.
        runs: searches: (file, strategy, seed, evaluations, seconds, how evaluations were answered).
        commands: that make these results again.
    """

    versions: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str, int, str], ...]
    campaigns: tuple[tuple[str, str, str, float, str, str], ...]
    sources: tuple[tuple[str, str, str, str], ...]
    runs: tuple[tuple[str, str, int, int, float, str], ...]
    commands: tuple[str, ...]


def provenance(sources: Sources) -> Provenance:
    """Everything that somebody needs to check this report or to make its results again."""
    campaigns = _campaigns(sources)
    commands = [*map(_profile_command, campaigns), *map(search_command, sources.results)]
    return Provenance(
        versions=tuple(_versions()),
        files=tuple(_file(kind, path) for kind, path in _paths(sources) if path.is_file()),
        campaigns=tuple(_campaign_row(campaign) for campaign in campaigns),
        sources=_imports(sources),
        runs=tuple(_run_row(result) for result in sources.results),
        commands=tuple(dict.fromkeys(filter(None, commands))),
    )


def search_command(result: SearchResult) -> str:
    """The command that makes a front again, as far as its file tells; empty if no search command makes such a front."""
    fronts = result.fronts
    if any(split_spelled(front.target)[0] not in (front.name, "") for front in fronts.devices):
        # A program gave its targets names of their own, as quickstart does for two runtimes of one device.
        return ""
    words = ["fleetfront", "search", "--devices", ",".join(front.name for front in fronts.devices)]
    words += ["--space", fronts.space, "--accuracy", fronts.accuracy_source, "--strategy", fronts.strategy]
    words += ["--evaluations", str(fronts.evaluations), "--seed", str(fronts.seed)]
    runtimes = {split_spelled(front.target)[1] for front in fronts.devices if "/" in front.target}
    if len(runtimes) == 1:
        words += ["--runtime", *runtimes]
    for front in fronts.devices:
        if front.limit_ms is not None:
            words += ["--limit", f"{front.name}={front.limit_ms:g}"]
    return shlex.join(words)


def _profile_command(campaign: CampaignRow) -> str:
    target = campaign.target
    words = ["fleetfront", "profile", "--device", target.device, "--runtime", target.runtime, "--space", campaign.space]
    if target.threads > 1:
        words += ["--threads", str(target.threads)]
    return shlex.join(words)


def _versions() -> Iterator[tuple[str, str]]:
    yield "fleetfront", __version__
    yield "python", platform.python_version()
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    for package in _PACKAGES:
        try:
            yield package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            # Extras need not be there.
            continue


def _paths(sources: Sources) -> Iterator[tuple[str, Path]]:
    yield "measurements (raw samples)", sources.store_path
    for result in sources.results:
        yield "front", result.path
        yield "front as CSV", result.path.with_suffix(".csv")
        yield "every evaluated architecture", result.path.with_name("archive.npz")
    for known in sources.known:
        if known.space in sources.spaces and known.path is not None:
            is_fit = known.kind is Kind.FIT
            yield f"{known.metric.title} model" if is_fit else "few-shot model", known.path
            if is_fit:
                yield "its report", report_path(known.path)
    for folder in sources.bundles:
        yield "bundle", folder / (PARTS if is_in_parts(folder) else MANIFEST)


def _file(kind: str, path: Path) -> tuple[str, str, int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return kind, str(path.absolute()), path.stat().st_size, digest


def _campaigns(sources: Sources) -> list[CampaignRow]:
    if sources.store is None:
        return []
    return [campaign for campaign in sources.store.campaigns() if campaign.space in sources.spaces]


def _campaign_row(campaign: CampaignRow) -> tuple[str, str, str, float, str, str]:
    environment = ", ".join(
        f"{name} {value}" for name, value in campaign.environment.items() if value not in ("", None)
    )
    ended = campaign.reason or "unfinished"
    return str(campaign.target), campaign.space, day(campaign.started_ns), campaign.seconds, ended, environment


def _imports(sources: Sources) -> tuple[tuple[str, str, str, str], ...]:
    if sources.store is None:
        return ()
    found = [source for space in sources.spaces for source in sources.store.sources(space=space)]
    return tuple(dict.fromkeys((s.name, s.licence, s.url, s.sha256) for s in found))


def _run_row(result: SearchResult) -> tuple[str, str, int, int, float, str]:
    fronts = result.fronts
    audit = ", ".join(f"{count:,} {what}" for what, count in fronts.audit.items())
    return str(result.path.absolute()), fronts.strategy, fronts.seed, fronts.evaluations, fronts.seconds, audit


def provenance_tables(origin: Provenance) -> tuple[Table, ...]:
    """Every list of it; tables without rows are left out."""
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


def _brief(views: Sequence[Provenance]) -> Iterator[str]:
    for view in views:
        for table in provenance_tables(view):
            yield from table_lines(table)
        if view.commands:
            yield from ("", *fenced(view.commands))


PROVENANCE = Section(
    "provenance",
    "provenance",
    "Provenance",
    "Provenance",
    lambda sources: (provenance(sources),),
    tables=provenance_tables,
    brief=_brief,
    fragment="provenance.html.j2",
)
