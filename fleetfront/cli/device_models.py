"""Choose the cost models that a command works with, and tell their warnings without burying the user in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fleetfront.cli.console import hint, warn
from fleetfront.cli.options import ModelChoices, split_names, store_path
from fleetfront.errors import InputError
from fleetfront.quantities import LATENCY, Clock, Metric, Tier
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.pipelines.knowledge.device_model import DeviceModel, ForeignFit
    from fleetfront.predictors.base import AccuracyModel
    from fleetfront.spaces.base import Genotypes, SearchSpace

#: From so many estimated devices on, their warnings become one line.
_MANY = 4


@dataclass(frozen=True, slots=True)
class ChosenModels:
    """The models of the devices chosen, and of ``all`` those that have none which holds here, with the reason."""

    found: Sequence[DeviceModel]
    refused: Mapping[str, ForeignFit] = field(default_factory=dict)

    def __iter__(self) -> Iterator[DeviceModel]:
        return iter(self.found)

    def refusals(self) -> list[dict[str, str]]:
        """Plain values for ``--json``: a row a device that was refused."""
        return [{"device": name, "error": str(error)} for name, error in self.refused.items()]

    def check(self) -> None:
        """Raise InputError, once the others are done, where a device was refused."""
        if self.refused:
            raise InputError(
                f"{len(self.refused)} of {len(self.refused) + len(self.found)} devices were left out: "
                f"{', '.join(self.refused)}.",
                "Do what the warnings above say, or name the others.",
            )


def chosen_models(
    choices: ModelChoices,
    space: SearchSpace,
    *,
    everywhere: bool = False,
    parts: bool = False,
    asked: Genotypes | None = None,
    metric: Metric = LATENCY,
) -> ChosenModels:
    """The models of the devices chosen, with a warning for whatever speaks against them.

    Of a space of several precisions each device has the models of those that it knows. ``everywhere``, ``parts`` and
    ``asked`` as in ``pipelines.cost_models.device_models``. Raises InputError if a device has none, or a ``store`` that
    the user names is not there: estimates must not stand in for its measurements.
    """
    from fleetfront.pipelines.knowledge.cost_models import device_models
    from fleetfront.pipelines.knowledge.precision_models import fleet_in_precisions
    from fleetfront.spaces.base import HasPrecisions, plain_space

    if choices.store is not None and not choices.store.is_file():
        raise InputError(
            f"There is no store {choices.store}.", "Check --store, or leave it out for your workspace's own."
        )
    refused: dict[str, ForeignFit] = {}
    found = device_models(
        split_names(choices.devices),
        plain_space(space),
        workspace=Workspace.default(),
        store=store_path(choices.store),
        runtime=choices.runtime,
        clock=Clock(choices.clock) if choices.clock else None,
        everywhere=everywhere,
        parts=parts,
        asked=asked,
        precisions=isinstance(space, HasPrecisions),
        metric=metric,
        passed_over=refused,
    )
    if isinstance(space, HasPrecisions):
        found = fleet_in_precisions(found, space, workspace=Workspace.default(), store=store_path(choices.store))
    _warn(found, space)
    for name, error in refused.items():
        warn(f"{name} is left out: {error}")
    return ChosenModels(found, refused)


def tell_accuracy(model: AccuracyModel) -> None:
    """Say which column of a table serves as accuracy, and what speaks against it."""
    from fleetfront.predictors.base import ReadFromColumn

    if isinstance(model, ReadFromColumn):
        hint(f"Accuracy: column {model.column} of {model.source.removeprefix('csv:').removesuffix(f':{model.column}')}")
        for text in model.warnings:
            warn(text)


def _warn(found: Sequence[DeviceModel], space: SearchSpace) -> None:
    from fleetfront.predictors.base import is_checked

    estimated = [device for device in found if device.model.tier is Tier.ESTIMATED]
    told = list(found)
    if len(estimated) >= _MANY:
        # The first warning of an estimate is how far off it is; more than that is about this user's own data.
        told = [d if d.model.tier is not Tier.ESTIMATED else replace(d, warnings=d.warnings[1:]) for d in found]
        # Where all are, their names stand in the result alone.
        names = f" ({', '.join(one.name for one in estimated)})" if len(estimated) < len(found) else ""
        warn(f"{len(estimated)} of {len(found)} devices are estimated: nobody measured {space.name} on them{names}.")
        unchecked = [device.name for device in estimated if not is_checked(device.model)]
        if unchecked:
            warn(f"Nobody could check the estimates of {', '.join(unchecked)} on another family of networks.")
        hint("  How far off estimates were where it could be checked: fleetfront devices --known")
        hint("  Ten measured networks make one better: fleetfront profile --device NAME --few 10")
    for device in told:
        for warning in device.warnings:
            warn(f"{device.name}: {warning}")
