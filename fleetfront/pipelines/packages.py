"""Find out which optional packages are installed, and write the one pip line that brings those that are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from fleetfront.errors import MissingDependency
from fleetfront.runtimes.catalogue import all_facts
from fleetfront.runtimes.facts import Listed
from fleetfront.runtimes.facts import Package as Distribution

#: Those that no runtime needs.
_OTHERS = (
    Distribution("xgboost-cpu", "models", "filling tables and correcting residuals", aliases=("xgboost",)),
    Distribution("scipy", "models", "fitting models, and the surrogate strategy"),
    Distribution("pymoo", "search", "NSGA-II and SMS-EMOA"),
    Distribution("cma", "search", "CMA-ES inside the regions of LaMOO"),
    Distribution("moocore", "search", "fronts and hypervolume"),
    Distribution("threadpoolctl", "search", "searches that give the same fronts on any number of cores"),
    Distribution("ai-edge-quantizer", "quantise", "int8 in .tflite files"),
    Distribution("onnxscript", "export", "exporting your own torch network"),
    Distribution("jinja2", "report", "the report's page"),
    Distribution("vl-convert-python", "report", "the report's figures"),
    Distribution("adb-shell", "mobile", "devices over ADB where no adb server runs"),
    Distribution("scikit-learn", "demo", "the digits of the quickstart"),
    Distribution("pillow", "demo", "folders of images"),
)


@dataclass(frozen=True, slots=True)
class Package:
    """An optional package: its version, or None with the pip line that installs it."""

    name: str
    version: str | None
    purpose: str
    install: str
    extra: str


def optional_packages(extras: Collection[str] | None = None) -> tuple[Package, ...]:
    """All optional packages, or those of some extras."""
    of_runtimes = [package for facts in all_facts().values() for package in facts.packages]

    def is_listed(one: Distribution) -> bool:
        if extras is not None:
            return one.extra in extras
        return one.listed == Listed.ALWAYS or (one.listed == Listed.INSTALLED and one.installed() is not None)

    return tuple(
        Package(one.name, one.installed(), one.purpose, pip_line([one.extra]), one.extra)
        for one in (*of_runtimes, *_OTHERS)
        if is_listed(one)
    )


def pip_line(extras: Iterable[str]) -> str:
    """The command that installs extras."""
    return f"pip install 'fleetfront[{','.join(dict.fromkeys(extras))}]'"


def line_for(packages: Iterable[Package]) -> str:
    """The one command that installs packages, whichever extras they are of."""
    return pip_line(package.extra for package in packages)


def need_extras(extras: Collection[str], purpose: str) -> None:
    """Raise MissingDependency now, with one pip line for all, rather than after minutes and for each extra again."""
    absent = [package for package in optional_packages(extras) if package.version is None]
    if absent:
        names = ", ".join(package.name for package in absent)
        raise MissingDependency(
            f"{purpose} needs packages that are not installed: {names}.", f"Run: {line_for(absent)}"
        )
