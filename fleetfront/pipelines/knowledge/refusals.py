"""Say that a device has no model of a space, and what would give it one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fleetfront.errors import InputError, unknown
from fleetfront.predictors.table.fit_files import read_fits
from fleetfront.profilers.kinds.base import Capability
from fleetfront.profilers.kinds.catalogue import find_kind, kinds_that
from fleetfront.quantities import ENERGY, PEAK_MEMORY, Metric
from fleetfront.spaces.base import SearchSpace
from fleetfront.workspace import Workspace

#: Metrics that not every kind of device can be asked for.
_MEASURED_BY = {ENERGY: Capability.ENERGY, PEAK_MEMORY: Capability.MEMORY}


def spaces_of(device: str, workspace: Workspace, metric: Metric) -> list[str]:
    """The spaces that a device has a fit of, under a metric."""
    fits = (fit for _, fit in read_fits(workspace)[0])
    return sorted({fit.space for fit in fits if fit.target.device == device and fit.metric == metric})


def with_article(metric: Metric) -> str:
    """The metric in words: ``an energy``."""
    return f"{'an' if metric.name[0] in 'aeiou' else 'a'} {metric.name.replace('_', ' ')}"


def no_model(
    name: str,
    space: SearchSpace,
    runtime: str | None,
    known: Collection[str],
    partly: Mapping[str, int],
    metric: Metric,
    elsewhere: Sequence[str],
) -> InputError:
    """The error for a device of which ``known`` devices' models none is, with how to come by one; ``partly`` are sizes
    of tables that lack networks, ``elsewhere`` the spaces that it has models of.
    """
    if name in partly:
        return InputError(
            f"Of {space.name} on {name}, {partly[name]} networks are known, and a search asks for any.",
            f"Learn the others: fleetfront fit --device {name} --space {space.name}",
        )
    under = f" under {runtime}" if runtime else ""
    refused = f"There is no {metric.name.replace('_', ' ')} model of {space.name} on {name!r}{under}."
    near = unknown("device", name, known).remedy if known else ""
    kind, asked = find_kind(name), _MEASURED_BY.get(metric)
    if asked is not None and (kind is None or asked not in kind.can):
        can = ", ".join(kinds_that(asked))
        return InputError(
            refused,
            f"It cannot be measured on {name}, only on: {can}. `fleetfront import` brings numbers from elsewhere.",
        )
    if name not in known and kind is None:
        # Nothing here could measure it: a slip, or the name of a device that is reached otherwise.
        return InputError(refused, near or f"To make one of this machine: fleetfront profile --space {space.name}")
    there = f"Known of it: {', '.join(elsewhere)}. " if elsewhere else f"{near} " if near else ""
    with_metric = " --energy 3m, after its profile" if metric == ENERGY else ""
    make = f"To make one: fleetfront profile --device {name} --space {space.name}{with_metric}"
    return InputError(refused, f"{there}{make}")
