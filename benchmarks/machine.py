"""Describe the machine in every result, and keep results."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

#: Packages whose versions decide results.
PACKAGES = (
    "fleetfront", "numpy", "torch", "onnx", "onnxruntime", "ai-edge-litert", "flatbuffers", "xgboost-cpu", "xgboost",
    "scipy", "pymoo", "moocore", "scikit-learn",
)  # fmt: skip


def describe(packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """CPU, cores that this process may use, load averages (1, 5, 15 minutes), system, versions, and the time (UTC)."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in packages if (found := _version(name))},
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
    }


def write(
    name: str, payload: Mapping[str, Any], machine: Mapping[str, Any] | None = None, folder: Path = RESULTS
) -> Path:
    """Write ``results/NAME.json``, or the same in another folder, and return its path.

    ``machine`` is what ``describe`` gave when the work began; its load is then kept beside the load now, at the end.
    """
    now = describe()
    begun = dict(machine) if machine is not None else now
    content = {"machine": {**begun, "load_average_at_end": now["load_average"]}, **payload}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, sort_keys=False) + "\n", encoding="utf-8")
    return path


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1).strip() if match else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
