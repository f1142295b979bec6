"""Section 7: the networks that were deployed: predicted and measured, accuracy by precision, size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.formats import FORMATS
from fleetfront.errors import InputError
from fleetfront.report.sections.contents import DeployedFile
from fleetfront.report.sections.devices import known_clock
from fleetfront.report.sources import Sources
from fleetfront.report.tables import with_spread
from fleetfront.targets import Target

#: Characters of a hash that tell weights apart.
_ID_SHOWN = 12


def deployed_files(sources: Sources) -> tuple[DeployedFile, ...]:
    """One row a file and target that it was predicted or measured for; a bundle that cannot be read keeps one row."""
    rows: list[DeployedFile] = []
    for folder in sources.bundles:
        try:
            manifest = read_manifest(folder)
            if not sources.spaces or manifest["space"] in sources.spaces:
                rows += _rows(folder, manifest)
        except InputError as error:
            rows.append(_broken(folder, f"{error.message} {error.remedy}".strip()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            rows.append(_broken(folder, f"Its manifest is damaged ({type(error).__name__}: {error}). Deploy again."))
    return tuple(rows)


def _broken(folder: Path, problem: str) -> DeployedFile:
    return DeployedFile(folder.name, "", "", "", "", 0, "", "", None, None, "", None, None, "", None, None, "", problem)


def _rows(folder: Path, manifest: Mapping[str, Any]) -> Iterator[DeployedFile]:
    weights = manifest["weights"]
    described = "random" if weights.get("random") else str(weights.get("id", ""))[:_ID_SHOWN] or "unknown"
    for file in manifest["files"]:
        latency = [row for row in manifest["latency"] if _is_of(row, file)]
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
                accuracy=_number((file.get("accuracy") or {}).get("top1")),
                drop=_number((file.get("accuracy") or {}).get("drop")),
                weights=described,
            )


def _is_of(row: Mapping[str, Any], file: Mapping[str, Any]) -> bool:
    """Whether a latency can be that of a file: by runtime and, where both say one, precision."""
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
