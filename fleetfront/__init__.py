"""fleetfront: measure, model, search and deploy neural networks for a fleet of devices.

The public interface: every name below is imported from its room when it is first used, so that ``import fleetfront``
stays light. Types are told in ``__init__.pyi``; docs/python.md shows how the names play together.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_ROOMS = {
    "fleetfront.errors": ("BarMissed", "DeviceError", "FleetfrontError", "InputError", "MissingDependency"),
    "fleetfront.targets": ("Target",),
    "fleetfront.quantities": ("LATENCY", "Clock", "Estimate", "Metric", "Tier"),
    "fleetfront.workspace": ("Workspace",),
    "fleetfront.spaces.base": ("SearchSpace",),
    "fleetfront.spaces.catalogue": ("load_space",),
    "fleetfront.spaces.supernet.checkpoints": ("load_supernet",),
    "fleetfront.datasets": ("load_images",),
    "fleetfront.profilers.records": ("Measurement", "Role"),
    "fleetfront.profilers.store.store": ("Store",),
    "fleetfront.pipelines.measure.single_file": ("profile_file",),
    "fleetfront.pipelines.measure.profile": ("Budget", "measure_networks", "parse_budget", "profile_space"),
    "fleetfront.pipelines.fit.fit": ("fit_report", "fit_target"),
    "fleetfront.predictors.base": ("AccuracyModel", "CostModel"),
    "fleetfront.predictors.accuracy.sources": ("load_accuracy",),
    "fleetfront.pipelines.knowledge.cost_models": ("device_models",),
    "fleetfront.pipelines.knowledge.device_model": ("DeviceModel",),
    "fleetfront.pipelines.predict.architectures": ("predict_archs",),
    "fleetfront.pipelines.inspect": ("Inspection", "inspect"),
    "fleetfront.pipelines.predict.predictions": ("FilePrediction", "Predictions"),
    "fleetfront.pipelines.predict.files": ("predict",),
    "fleetfront.search.problem": ("Problem", "ProblemTarget"),
    "fleetfront.search.fronts_file": ("load_fronts",),
    "fleetfront.search.strategies.surrogate": ("SurrogateSettings",),
    "fleetfront.search.results": ("Fronts",),
    "fleetfront.pipelines.search": ("SearchOptions", "search_space"),
    "fleetfront.pipelines.generate": ("generate", "open_generator"),
    "fleetfront.pipelines.deploy.picks": ("pick_arch", "pick_knee", "pick_shared", "pick_spread", "pick_within"),
    "fleetfront.pipelines.deploy.deploy": ("Pick", "Recipe", "Weights", "deploy_picks"),
    "fleetfront.deploy.formats": ("FORMATS",),
    "fleetfront.deploy.bundle.manifest": ("read_manifest",),
    "fleetfront.pipelines.compare": ("compare_results",),
    "fleetfront.pipelines.optuna_study": ("to_optuna",),
    "fleetfront.pipelines.mlflow_run": ("log_to_mlflow",),
    "fleetfront.report.gather": ("gather_report",),
    "fleetfront.report.page.page": ("write_page",),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}
#: Verbs that are called as the rooms they share their names with -> where they are.
_VERBS = {"search": "fleetfront.pipelines.search"}

__all__ = ["__version__", *sorted({*_HOMES, *_VERBS})]


def call_verb(verb: str, *arguments: Any, **options: Any) -> Any:
    """Call the function behind a room's name."""
    return getattr(importlib.import_module(_VERBS[verb]), verb)(*arguments, **options)


def __getattr__(name: str) -> Any:
    """The name from its room, kept for next time. Raises AttributeError for others."""
    if name in _VERBS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_VERBS})
