"""Which cost model serves a device for a space, best source first.

A fit of measured blocks, a table of whole networks that was imported, imported blocks, a model from few measurements, a
shipped estimate: the first that a device has is taken, and its tier says which. A worse source never stands in for a
damaged file of a better one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import InputError, unknown
from fleetfront.pipelines.fit.fit import newest_cost_model
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.few_shot.files import FewShotFile, load_few_shot, read_few_shot
from fleetfront.predictors.operators.model import OperatorEstimate, OperatorModel, operator_models
from fleetfront.predictors.operators.work import NetworkWork
from fleetfront.predictors.table.calibrated import CalibratedTable, FittedModel
from fleetfront.predictors.table.fit_files import DamagedModel, device_stem, read_fits
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.predictors.table.networks import holds_whole_space, load_network_table
from fleetfront.predictors.table.warnings import fit_cautions
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Holding, Store
from fleetfront.quantities import Clock, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: What users write for every device that has a model of the space.
ALL = "all"
#: Between the parts of a spelled target.
SEPARATOR = "/"


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """A device's cost model, the target that it is of, and what speaks against trusting it."""

    name: str
    target: Target
    model: CostModel
    cautions: tuple[str, ...] = ()


_Open = Callable[[], DeviceModel]


def device_models(
    names: Sequence[str],
    space: SearchSpace,
    *,
    workspace: Workspace | None = None,
    store: Path | None = None,
    runtime: str | None = None,
    clock: Clock | None = None,
    tiers: Collection[Tier] = tuple(Tier),
    everywhere: bool = False,
    asked: Genotypes | None = None,
) -> list[DeviceModel]:
    """The models of the devices ``names`` (or ``all``), in the order given, from the best source that each has.

    A name may be narrowed to one of a device's fits by parts of its target, ``cpu/onnxruntime`` or ``cuda:0/b64``; the
    model is then called ``cpu-onnxruntime``, so that two of one device stand side by side.

    ``workspace`` and ``store`` are the user's own by default.

    ``runtime`` and ``tiers`` leave other sources out; ``clock`` chooses among the clocks of a fit. ``everywhere``
    passes over tables that lack networks of the space, since a search may ask for any, and says so among the cautions.
    ``asked`` int8[n, v] are the only networks that will be asked for: a table that lacks one of them gives way to what
    was learnt from it.

    A damaged file is no reason to take a worse source, nor to stop a command on other devices.

    Raises:
        InputError: no model of the space is known for a device, or for none at all; the file of one is damaged.
    """
    place = workspace or Workspace.default()
    sources = _Sources(space, place, store or place.store, runtime, clock, names)
    known = sources.by_device(tiers, everywhere)
    wanted = _wanted(names, known)
    if not wanted:
        under = f" under {runtime}" if runtime else ""
        raise InputError(
            f"No device has a latency model of {space.name}{under} yet.",
            f"Run: fleetfront profile --space {space.name}{f' --runtime {runtime}' if runtime else ''}",
        )
    known |= {name: sources.narrowed(name) for name in wanted if SEPARATOR in name}
    for name in wanted:
        if name not in known:
            raise _no_model(name, space, runtime, known, sources.partly_known())
    found = [known[name]() for name in wanted]
    if asked is not None:
        learnt = sources.by_device(tiers, everywhere=True)
        found = [_for_networks(model, asked, learnt.get(model.name)) for model in found]
    return [_with_unused_table(model, space, sources) for model in found] if everywhere else found


def measured_models(
    space: SearchSpace, *, workspace: Workspace, store: Path, without: str
) -> tuple[list[DeviceModel], list[str]]:
    """The measured models of every device but ``without``, and for each that cannot be read, why."""
    openers = _Sources(space, workspace, store, None, None).by_device((Tier.MEASURED,), everywhere=False)
    found, left_out = [], []
    for name, opener in openers.items():
        if name == without:
            continue
        try:
            found.append(opener())
        except InputError as error:
            left_out.append(f"{name}: {error}")
    return found, left_out


def _for_networks(found: DeviceModel, asked: Genotypes, learnt: _Open | None) -> DeviceModel:
    """The same, or what was learnt of the device if its model is a table that lacks one of the networks."""
    lacking = int((~found.model.covers(asked)).sum())
    if not lacking or learnt is None:
        return found
    other = learnt()
    if other.model.tier is Tier.ESTIMATED:
        return found
    caution = f"Its table lacks {lacking} of the {len(asked)} networks, so a model learnt from others serves for all."
    return replace(other, cautions=(caution, *other.cautions))


def _wanted(names: Sequence[str], known: Mapping[str, _Open]) -> list[str]:
    """The devices asked for, each once; ``all`` is every known one."""
    spelled = [name for one in names for name in (sorted(known) if one == ALL else [one])]
    return list(dict.fromkeys(spelled))


def _with_unused_table(model: DeviceModel, space: SearchSpace, sources: _Sources) -> DeviceModel:
    """The same, saying so if an estimate stands in for a table that could teach better."""
    known = sources.partly_known().get(model.name)
    if known is None or model.model.tier is not Tier.ESTIMATED:
        return model
    caution = (
        f"{known} networks of it are known. Learn the others: fleetfront fit --device {model.name} --space {space.name}"
    )
    return replace(model, cautions=(*model.cautions, caution))


def _no_model(
    name: str, space: SearchSpace, runtime: str | None, known: Collection[str], partly: Mapping[str, int]
) -> InputError:
    if name in partly:
        return InputError(
            f"Of {space.name} on {name}, {partly[name]} networks are known, and a search asks for any.",
            f"Learn the others: fleetfront fit --device {name} --space {space.name}",
        )
    near = f"{unknown('device', name, known).remedy} " if known else ""
    under = f" under {runtime}" if runtime else ""
    return InputError(
        f"There is no latency model of {space.name} on {name!r}{under}.",
        f"{near}To make one: fleetfront profile --device {name} --space {space.name}",
    )


class _Sources:
    """Where the models of a space can come from. Listing opens nothing but names; models are made when they are asked
    for."""

    def __init__(
        self,
        space: SearchSpace,
        workspace: Workspace,
        store: Path,
        runtime: str | None,
        clock: Clock | None,
        names: Sequence[str] = (),
    ) -> None:
        """``names`` as the user spells them; a damaged file tells its device only as files are named."""
        self._space, self._workspace, self._store = space, workspace, store
        self._runtime, self._clock = runtime, clock
        self._spelled = {_as_file(device): device for device in (name.split(SEPARATOR)[0] for name in names)}

    def by_device(self, tiers: Collection[Tier], everywhere: bool) -> dict[str, _Open]:
        """Device -> what opens its best model."""
        best_last: list[Mapping[str, _Open]] = []
        if Tier.ESTIMATED in tiers:
            best_last.append(self._estimates())
        if Tier.TRANSFERRED in tiers:
            best_last.append(self._few())
        if Tier.MEASURED in tiers:
            tables = self._imported_networks(everywhere)
            best_last += [self._imported_blocks(), tables, self._fits()]
        return {name: opener for source in best_last for name, opener in source.items()}

    def _serves(self, target: Target) -> bool:
        return self._runtime in (None, target.runtime)

    def _fits(self) -> dict[str, _Open]:
        models, damaged = self._fit_files
        targets = [model.target for model in models if self._serves(model.target)]
        return self._refusals(damaged) | {t.device: functools.partial(self._open_fit, t.device) for t in targets}

    def _refusals(self, damaged: Sequence[DamagedModel]) -> dict[str, _Open]:
        """In the place of each damaged model, what says so when it is asked for."""
        return {
            self._spelled.get(file.device, file.device) or file.path.name: functools.partial(_refuse, file.error)
            for file in damaged
            if self._runtime in (None, file.runtime)
        }

    def narrowed(self, name: str) -> _Open:
        """What opens the newest fit whose target has all parts of ``name``. Raises InputError if there is none."""
        device, *parts = name.split(SEPARATOR)
        models, damaged = self._fit_files
        for file in damaged:
            if file.device == _as_file(device) and set(parts) <= set(re.split("[_@]", file.path.name)):
                return functools.partial(_refuse, file.error)
        targets = dict.fromkeys(model.target for model in models)
        fitted = [t for t in targets if t.device == device and self._serves(t)]
        for target in fitted:
            if set(parts) <= set(str(target).split(SEPARATOR)[1:]):
                return functools.partial(self._open_fit, name.replace(SEPARATOR, "-"), target)
        others = f"These are: {', '.join(map(str, fitted))}. " if fitted else ""
        raise InputError(
            f"No fit of {self._space.name} is of {name!r}.",
            f"{others}To make one: fleetfront profile --device {device} --space {self._space.name}",
        )

    @functools.cached_property
    def _fit_files(self) -> tuple[list[FittedModel], list[DamagedModel]]:
        return read_fits(self._workspace, self._space.name)

    def _open_fit(self, name: str, target: Target | None = None) -> DeviceModel:
        narrow = {"device": name, "runtime": self._runtime} if target is None else {"target": target}
        table, cautions = newest_cost_model(self._workspace, self._space, clock=self._clock, **narrow)
        return DeviceModel(name, table.target, table, tuple(str(caution) for caution in cautions))

    def partly_known(self) -> dict[str, int]:
        """Device -> number of networks, for imported tables that lack some of the space."""
        networks = [h for h in self._imported if h.role != Role.BLOCK]
        return {h.target.device: h.keys for h in networks if not holds_whole_space(self._space, h.keys)}

    def _imported_networks(self, everywhere: bool) -> dict[str, _Open]:
        networks = [
            h
            for h in self._imported
            if h.role != Role.BLOCK and (not everywhere or holds_whole_space(self._space, h.keys))
        ]
        return {h.target.device: functools.partial(self._open_networks, h.target) for h in networks}

    def _open_networks(self, target: Target) -> DeviceModel:
        step = load_device(target.device).timing_resolution_ms if target.device in device_names() else None
        with Store(self._store, read_only=True) as opened:
            table = load_network_table(opened, self._space, target, resolution_ms=step)
        return DeviceModel(target.device, target, table)

    def _imported_blocks(self) -> dict[str, _Open]:
        blocks = [h for h in self._imported if h.role == Role.BLOCK]
        return {h.target.device: functools.partial(self._open_blocks, h.target, h.clock) for h in blocks}

    def _open_blocks(self, target: Target, clock: Clock) -> DeviceModel:
        with Store(self._store, read_only=True) as opened:
            model = fit_model(self._space, read_observations(opened, target, self._space.name, clock)).model
        cautions = tuple(str(caution) for caution in fit_cautions(model))
        return DeviceModel(target.device, target, CalibratedTable(self._space, model), cautions)

    def _few(self) -> dict[str, _Open]:
        newest_first, damaged = read_few_shot(self._workspace, self._space.name)
        files = [(Target.parse(file.target), file) for file in reversed(newest_first) if file.is_whole]
        found = {t.device: functools.partial(self._open_few, t, file) for t, file in files if self._serves(t)}
        return found | self._refusals(damaged)

    def _open_few(self, target: Target, file: FewShotFile) -> DeviceModel:
        caution = (
            f"Learnt from {file.report['networks']} networks measured on it and from other devices "
            f"({file.report['mape']:.1f} % off on those, each left out in turn)."
        )
        return DeviceModel(target.device, target, load_few_shot(file.path, self._work), (caution,))

    def _estimates(self) -> dict[str, _Open]:
        return {
            name: functools.partial(self._open_estimate, name, model)
            for name, model in operator_models().items()
            if self._runtime is None or self._runs_here(name)
        }

    def _runs_here(self, name: str) -> bool:
        """True for a broken config, too: it is told when its device is asked for, and hides no other."""
        try:
            return self._serves(load_device(name).target)
        except InputError:
            return True

    def _open_estimate(self, name: str, model: OperatorModel) -> DeviceModel:
        target = load_device(name).target
        return DeviceModel(name, target, OperatorEstimate(self._work, model, target), (model.caution,))

    @functools.cached_property
    def _work(self) -> NetworkWork:
        return NetworkWork(self._space)

    @functools.cached_property
    def _imported(self) -> list[Holding]:
        if not self._store.is_file():
            return []
        with Store(self._store, read_only=True) as opened:
            of_space = [h for h in opened.holdings() if h.space == self._space.name and h.is_imported]
        # The last of one device serves: that of the target which its config names.
        return sorted((h for h in of_space if self._serves(h.target)), key=_is_as_configured)


def _is_as_configured(holding: Holding) -> bool:
    """False, too, where there is no config or a broken one."""
    try:
        return holding.target.device in device_names() and load_device(holding.target.device).target == holding.target
    except InputError:
        return False


def _refuse(error: InputError) -> DeviceModel:
    raise error


def _as_file(device: str) -> str:
    """``device_stem``, empty for what is no device's name: that is told with the names that are known."""
    try:
        return device_stem(device)
    except InputError:
        return ""
