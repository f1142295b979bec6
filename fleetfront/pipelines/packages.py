"""Which optional packages are installed, what each is for, and the one pip line that brings those that are missing."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fleetfront.errors import MissingDependency

#: Distribution -> (extra that brings it, what cannot be done without it).
PACKAGES = {
    "onnx": ("cpu", "writing ONNX files"),
    "onnxruntime": ("cpu", "profiling and proving .onnx files"),
    "ai-edge-litert": ("cpu", "profiling and proving .tflite files"),
    "flatbuffers": ("cpu", "writing .tflite files"),
    "psutil": ("cpu", "conditions of this machine"),
    "torch": ("torch", "supernets, training, and the reference that files are proven against"),
    "safetensors": ("torch", "saving weights"),
    "xgboost-cpu": ("models", "filling tables and correcting residuals"),
    "scipy": ("models", "fitting models, and the surrogate strategy"),
    "pymoo": ("search", "NSGA-II and SMS-EMOA"),
    "moocore": ("search", "fronts and hypervolume"),
    "threadpoolctl": ("search", "searches that give the same fronts on any number of cores"),
    "ai-edge-quantizer": ("quantise", "int8 in .tflite files"),
    "onnxscript": ("export", "exporting your own torch network"),
    "jinja2": ("report", "the report's page"),
    "vl-convert-python": ("report", "the report's figures"),
    "adb-shell": ("mobile", "devices over ADB where no adb server runs"),
    "scikit-learn": ("demo", "the digits of the quickstart"),
    "pillow": ("demo", "folders of images"),
}
#: The same import under another name on the registry.
_ALIASES = {"xgboost-cpu": ("xgboost",), "onnxruntime": ("onnxruntime-gpu",)}


@dataclass(frozen=True, slots=True)
class Package:
    """An optional package: its version, or None with the pip line that installs it."""

    name: str
    version: str | None
    purpose: str
    install: str


def optional_packages(extras: Collection[str] | None = None) -> tuple[Package, ...]:
    """All optional packages, or those of some extras."""
    return tuple(
        Package(name, _version(name), purpose, pip_line([extra]))
        for name, (extra, purpose) in PACKAGES.items()
        if extras is None or extra in extras
    )


def pip_line(extras: Iterable[str]) -> str:
    """The command that installs extras."""
    return f"pip install 'fleetfront[{','.join(dict.fromkeys(extras))}]'"


def line_for(packages: Iterable[Package]) -> str:
    """The one command that installs packages, whichever extras they are of."""
    return pip_line(PACKAGES[package.name][0] for package in packages)


def need_extras(extras: Collection[str], purpose: str) -> None:
    """Raise MissingDependency now, with one pip line for all, rather than after minutes and for each extra again."""
    absent = [package for package in optional_packages(extras) if package.version is None]
    if absent:
        names = ", ".join(package.name for package in absent)
        raise MissingDependency(
            f"{purpose} needs packages that are not installed: {names}.", f"Run: {line_for(absent)}"
        )


def _version(name: str) -> str | None:
    for spelling in (name, *_ALIASES.get(name, ())):
        try:
            return importlib.metadata.version(spelling)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
