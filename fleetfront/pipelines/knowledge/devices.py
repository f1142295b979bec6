"""List what is known about each device as rows for people: measured or estimated by whom, when, with which error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.known import Kind, Known, list_known
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock, Tier
from fleetfront.workspace import Workspace

_ORDER = {tier.value: rank for rank, tier in enumerate(Tier)}


@dataclass(frozen=True, slots=True)
class DeviceKnowledge:
    """One thing that is known about a device; a device of which nothing is known has one row with an empty tier.

    Attributes:
        name: of the device, as users type it.
        title, kind: from its config, empty without one.
        target: spelled.
        space: the space it is known for; empty where it holds for any.
        tier: ``measured``, ``transferred``, ``estimated``, or empty.
        how: in words: fit, imported table with source and licence, few-shot model, estimate.
        when: ISO date, empty where nobody says.
        mape: percent, on held-out networks (fits) or other spaces (estimates), or to be expected (few-shot).
        clock: which clock, empty if the source does not say.
        note: what to know or do.
        problem: what is wrong with its config, or with the file of a model of it, and what to do; mostly empty.
        metric: what is known of it, ``latency`` if nothing is.
    """

    name: str
    title: str
    kind: str
    target: str
    space: str = ""
    tier: str = ""
    how: str = ""
    when: str = ""
    mape: float | None = None
    clock: str = ""
    note: str = ""
    problem: str = ""
    metric: str = "latency"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def list_devices(workspace: Workspace, store: Store | None = None) -> list[DeviceKnowledge]:
    """Everything known about every device with a config, a fit or measurements, best tier first within a device."""
    configs = {name: _configured(name) for name in device_names()}
    rows = [_described(row, configs.get(row.name)) for row in _rows(list_known(workspace, store, metric=None))]
    mentioned = {row.name for row in rows}
    rows.extend(config for name, config in configs.items() if name not in mentioned)
    return sorted(rows, key=lambda row: (row.name, _ORDER.get(row.tier, len(_ORDER)), row.space, row.target, row.how))


def _configured(name: str) -> DeviceKnowledge:
    try:
        config = load_device(name)
    except InputError as error:
        return DeviceKnowledge(name, "", "", "", problem=str(error))
    hint = "Nothing is known yet: profile it, or import a table."
    return DeviceKnowledge(name, config.title, config.kind, str(config.target), note=config.notes or hint)


def _described(row: DeviceKnowledge, config: DeviceKnowledge | None) -> DeviceKnowledge:
    if config is None:
        return row
    return replace(row, title=config.title, kind=config.kind, problem=row.problem or config.problem)


def _rows(found: list[Known]) -> Iterator[DeviceKnowledge]:
    fitted = {(known.device, known.space, known.metric) for known in found if known.kind in (Kind.FIT, Kind.FEW_SHOT)}
    for known in found:
        if known.error is not None and known.kind is Kind.ESTIMATE:
            yield DeviceKnowledge(known.device, "", "", str(known.target), how="nothing", note=str(known.error))
            continue
        if known.error is not None:
            name = known.device or str(known.path and known.path.name)
            yield DeviceKnowledge(name, "", "", "", space=known.space, problem=str(known.error))
            continue
        is_raw = known.kind in (Kind.NETWORKS, Kind.BLOCKS)
        if is_raw and not known.is_imported and (known.device, known.space, known.metric) in fitted:
            continue
        how, note = _words(known)
        yield DeviceKnowledge(
            known.device,
            "",
            "",
            "" if known.target is None else str(known.target),
            space=known.space,
            tier=known.tier.value,
            how=how,
            when=datetime.fromtimestamp(known.when_ns / 1e9, UTC).strftime("%Y-%m-%d") if known.when_ns else "",
            mape=known.mape,
            clock="" if known.clock is Clock.UNKNOWN else known.clock.value,
            note=note,
            metric=known.metric.name,
        )


def _words(known: Known) -> tuple[str, str]:
    """How something is known, and what to know or do."""
    if known.kind is Kind.FIT:
        return "blocks and networks measured", ""
    if known.kind is Kind.FEW_SHOT:
        how = f"{known.items} networks measured, learnt from other devices"
        return how, "The error is what its measurements, its intervals and the known devices lead to expect."
    if known.estimate is not None:
        unchecked = ", which nobody could check" if known.mape is None else ""
        return f"operator costs fitted to {known.estimate.fitted_space} tables{unchecked}", known.estimate.warning
    what = f"{known.items} {'blocks' if known.kind is Kind.BLOCKS else 'networks'}"
    if known.is_imported:
        return f"{what} imported from {known.source}", ""
    return f"{what} measured, not fitted yet", f"Run: fleetfront fit --device {known.device} --space {known.space}"
