"""Choose and open the cost model that serves a device for a space, best source first.

A fit of measured blocks, a table of whole networks that was imported, imported blocks, a few-shot model, a shipped
estimate: the first that a device has is taken, and its tier says which. A worse source never stands in for a damaged
file of a better one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fleetfront.device_configs.loader import device_names, load_device
from fleetfront.errors import InputError
from fleetfront.pipelines.knowledge.device_model import DeviceModel, ForeignFit, ModelOpener, NoFit, check_is_of_here
from fleetfront.pipelines.knowledge.known import Kind, Known, list_known, open_for_listing
from fleetfront.pipelines.knowledge.refusals import no_model, spaces_of, with_article
from fleetfront.predictors.base import NetworkCosts, covered_by
from fleetfront.predictors.table.fit_files import device_stems
from fleetfront.predictors.table.networks import holds_whole_space
from fleetfront.quantities import LATENCY, Clock, Metric, Tier
from fleetfront.runtimes.catalogue import check_parts, options_of
from fleetfront.spaces.base import Genotypes, KnownByTables, SearchSpace
from fleetfront.targets import FLOATS, Target, split_spelled
from fleetfront.workspace import Workspace

#: What users write for every device that has a model of the space.
ALL = "all"

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
    parts: bool = False,
    asked: Genotypes | None = None,
    precisions: bool = False,
    metric: Metric = LATENCY,
    passed_over: dict[str, ForeignFit] | None = None,
) -> list[DeviceModel]:
    """The models of the devices ``names`` (or ``all``), in the order given, from the best source that each has.

    A name may be narrowed to one of a device's fits by parts of its target, ``cpu/onnxruntime`` or ``cuda:0/b64``; the
    model is then called ``cpu-onnxruntime``, so that two of one device stand side by side.

    ``workspace`` and ``store`` are the user's own by default. ``runtime`` and ``tiers`` leave other sources out;
    ``clock`` chooses among the clocks of a fit. ``everywhere`` passes over tables that lack networks
    of the space, since a search may ask for any, and says so among the warnings; with ``parts``, a device that is named
    and has nothing else gets its table all the same, for a search that stays within it.
    ``asked`` int8[n, v] are the only networks that will be asked for: a table that lacks one of them gives way to what
    was learnt from it. With ``precisions``, accuracies beside these models are of each precision by itself.

    A damaged file is no reason to take a worse source, nor to stop a command on other devices. ``passed_over`` is
    filled with those of ``all`` whose fit is of another machine or runtime than what is at hand, and why.

    Raises:
        InputError: no model of the space is known for a device, or for none at all; the file of one is damaged.
        ForeignFit: such a device was named, is the only one, or nobody asks for ``passed_over``.
    """
    place = workspace or Workspace.default()
    sources = _Sources(space, place, store or place.store, runtime, clock, names, metric)
    known = sources.by_device(tiers, everywhere)
    wanted = _wanted(names, known)
    if everywhere and parts:
        tables = sources.by_device(tiers, everywhere=False)
        wanted = wanted or _wanted(names, tables)
        known |= {name: tables[name] for name in wanted if name not in known and name in tables}
    if not wanted:
        raise _nothing_known(space, runtime, metric)
    known |= {name: sources.narrowed(name) for name in wanted if len(split_spelled(name)) > 1}
    for name in wanted:
        if name not in known:
            sources.check_estimate(name)
            raise no_model(name, space, runtime, known, sources.partly_known(), metric, spaces_of(name, place, metric))
    found = _opened(wanted, known, names, passed_over)
    if asked is not None:
        few = sources.by_device(tiers, everywhere=True)
        found = [_for_networks(model, asked, few.get(model.name)) for model in found]
    if everywhere:
        found = [_with_unused_table(model if precisions else _with_narrow(model), space, sources) for model in found]
    return [_with_part(model, space) for model in found] if parts else found


def _nothing_known(space: SearchSpace, runtime: str | None, metric: Metric) -> InputError:
    under, option = (f" under {runtime}", f" --runtime {runtime}") if runtime else ("", "")
    return InputError(
        f"No device has {with_article(metric)} model of {space.name}{under} yet.",
        f"Run: fleetfront profile --space {space.name}{option}",
    )


def _opened(
    wanted: Sequence[str], known: Mapping[str, _Open], named: Sequence[str], passed_over: dict[str, ForeignFit] | None
) -> list[DeviceModel]:
    found: list[DeviceModel] = []
    foreign: dict[str, ForeignFit] = {}
    for name in wanted:
        try:
            found.append(known[name]())
        except ForeignFit as error:
            if passed_over is None or name in named:
                raise
            foreign[name] = error
    if foreign and not found:
        raise next(iter(foreign.values()))
    if passed_over is not None:
        passed_over.update(foreign)
    return found


def measured_models(
    space: SearchSpace, *, workspace: Workspace, store: Path, without: str, metric: Metric = LATENCY
) -> tuple[list[DeviceModel], list[str]]:
    """The measured models of every device but ``without``, and for each that cannot be read, why."""
    openers = _Sources(space, workspace, store, metric=metric).by_device((Tier.MEASURED,), everywhere=False)
    found, left_out = [], []
    for name, opener in openers.items():
        if name == without:
            continue
        try:
            found.append(opener())
        except InputError as error:
            left_out.append(f"{name}: {error}")
    return found, left_out


def newest_fit(
    found: Iterable[Known],
    space: str,
    metric: Metric = LATENCY,
    *,
    device: str | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    target: Target | None = None,
    clock: Clock | None = None,
) -> Known:
    """The newest fit of a space that matches, among what is known; of clocks fitted together, the preferred one.
    ``device`` may be narrowed: ``cpu/int8``.

    Without ``target`` or ``precision``, narrow formats such as int8 serve only where nothing else is known: their
    accuracies are others.

    Raises InputError if there is none (with the command that makes one), or the files of the device are damaged.
    """
    fits = []
    name, *parts = split_spelled(device or "")
    for known in found:
        if known.kind is not Kind.FIT or runtime not in (None, known.runtime):
            continue
        if known.error is not None and known.path is not None:
            # Whose a damaged file is, its name alone says.
            is_theirs = device is None or known.device in ("", *_as_file(name))
            stems = () if target is None else (target.file_stem, target.unmarked_file_stem)
            if is_theirs and (target is None or known.path.name.startswith(tuple(f"{stem}@" for stem in stems))):
                raise known.error
        elif (
            (device is None or (name == known.device and _has_parts(known.target, parts)))
            and target in (None, known.target)
            and clock in (None, known.clock)
            and (precision is None or (known.target is not None and precision == known.target.precision))
        ):
            fits.append(known)
    if target is None and precision is None:
        fits = [known for known in fits if known.target is None or not _is_narrow(known.target)] or fits
    if not fits:
        check_parts(parts)
        wanted = str(target or device or "any device") + (f" ({runtime})" if runtime else "")
        raise InputError(
            f"There is no {metric.name} model of {space} on {wanted}"
            + (f" under the {clock} clock." if clock else "."),
            f"Run: fleetfront profile {options_of(device or (target.device if target else 'cpu'))} --space {space}",
        )
    together = [known for known in fits if known.target == fits[0].target]
    return next((known for known in together if known.fit is not None and known.fit.is_preferred), fits[0])


def _for_networks(found: DeviceModel, asked: Genotypes, few_shot: _Open | None) -> DeviceModel:
    """The same, or what was learnt of the device if its model is a table that lacks one of the networks."""
    lacking = int((~covered_by(found.model, asked)).sum())
    if not lacking or few_shot is None:
        return found
    other = few_shot()
    if other.model.tier is Tier.ESTIMATED:
        return found
    warning = f"Its table lacks {lacking} of the {len(asked)} networks, so a model learnt from others serves for all."
    return replace(other, warnings=(warning, *other.warnings))


def _wanted(names: Sequence[str], known: Mapping[str, _Open]) -> list[str]:
    """The devices asked for, each once; ``all`` is every known one."""
    spelled = [name for one in names for name in (sorted(known) if one == ALL else [one])]
    return list(dict.fromkeys(spelled))


def _with_unused_table(model: DeviceModel, space: SearchSpace, sources: _Sources) -> DeviceModel:
    """The same, saying so if an estimate stands in for a table that could teach better."""
    known = sources.partly_known().get(model.name)
    if known is None or model.model.tier is not Tier.ESTIMATED:
        return model
    learn = f"Learn the others: fleetfront fit --device {model.name} --space {space.name}"
    return replace(model, warnings=(*model.warnings, f"{known} networks of it are known. {learn}"))


def _has_parts(target: Target | None, parts: Sequence[str]) -> bool:
    return not parts or (target is not None and set(parts) <= set(split_spelled(str(target))[1:]))


def _is_narrow(target: Target) -> bool:
    return target.precision not in FLOATS


def _with_narrow(model: DeviceModel) -> DeviceModel:
    """The same, saying so if a search would put its times beside accuracies of networks in float."""
    if not _is_narrow(model.target):
        return model
    precision = model.target.precision
    warning = (
        f"Its times are of {precision} files, accuracies are of networks in float: search --precisions {precision}, or "
        f"fp32,{precision}, has accuracies of {precision}, too."
    )
    return replace(model, warnings=(*model.warnings, warning))


def _with_part(model: DeviceModel, space: SearchSpace) -> DeviceModel:
    """The same, saying so if it is a table of some networks of the space."""
    if not isinstance(model.model, NetworkCosts):
        return model
    held = len(model.model.networks())
    if holds_whole_space(space, held):
        return model
    warning = (
        f"Its table knows {held:,} networks of {space.name}, and the search looks at no others. "
        f"Learn the others: fleetfront fit --device {model.name} --space {space.name}"
    )
    return replace(model, warnings=(*model.warnings, warning))


class _Sources:
    """Where the models of a space can come from; models are made when they are asked for."""

    def __init__(
        self,
        space: SearchSpace,
        workspace: Workspace,
        store: Path,
        runtime: str | None = None,
        clock: Clock | None = None,
        names: Sequence[str] = (),
        metric: Metric = LATENCY,
    ) -> None:
        """``names`` as the user spells them; a damaged file tells its device only as files are named."""
        self._space, self._opener = space, ModelOpener(space, store)
        self._runtime, self._clock, self._metric = runtime, clock, metric
        self._spelled = {
            stem: device for device in (split_spelled(name)[0] for name in names) for stem in _as_file(device)
        }
        opened = open_for_listing(store)
        try:
            self._known = list_known(workspace, opened, space.name, metric)
        finally:
            if opened is not None:
                opened.close()

    def by_device(self, tiers: Collection[Tier], everywhere: bool) -> dict[str, _Open]:
        """Device -> what opens its best model."""
        best_last: list[Mapping[str, _Open]] = []
        # Work is counted in graphs, which some spaces do not have.
        if Tier.ESTIMATED in tiers and not isinstance(self._space, KnownByTables):
            # A broken config does not say which runtime it is of: it is told when its device is asked for.
            found = [k for k in self._of(Kind.ESTIMATE) if k.error is None]
            found = [known for known in found if known.target is None or self._serves(known.target)]
            best_last.append({known.device: functools.partial(self._opener.open, known) for known in found})
        if Tier.TRANSFERRED in tiers:
            oldest_first = self._whole(Kind.FEW_SHOT)[::-1]
            few_shot = {known.device: functools.partial(self._opener.open, known) for known in oldest_first}
            best_last.append(few_shot | self._refusals(Kind.FEW_SHOT))
        if Tier.MEASURED in tiers:
            blocks = self._imported(Kind.BLOCKS)
            tables = [k for k in self._imported(Kind.NETWORKS) if not everywhere or k.covers(self._space)]
            best_last.append({known.device: functools.partial(self._opener.open, known) for known in blocks})
            best_last.append({known.device: functools.partial(self._opener.open, known) for known in tables})
            devices = dict.fromkeys(known.device for known in self._whole(Kind.FIT))
            fits = {device: functools.partial(self._open_newest, device) for device in devices}
            best_last.append(self._refusals(Kind.FIT) | fits)
        return {name: opener for source in best_last for name, opener in source.items()}

    def narrowed(self, name: str) -> _Open:
        """A door to the newest fit whose target has all parts of ``name``. Raises InputError if there is none."""
        device, *parts = split_spelled(name)
        for file in self._of(Kind.FIT):
            named = re.split("[_@]", file.path.name) if file.path is not None else []
            if file.error is not None and file.device in _as_file(device) and set(parts) <= set(named):
                return functools.partial(_refuse, file.error)
        newest_first = dict.fromkeys(k.target for k in self._whole(Kind.FIT) if k.device == device)
        fitted = sorted((target for target in newest_first if target is not None), key=_is_narrow)
        for target in fitted:
            if _has_parts(target, parts):
                holds_precision = target.precision in parts
                return functools.partial(self._open_newest, device, target, "-".join([device, *parts]), holds_precision)
        check_parts(parts, fitted)
        others = f"These are: {', '.join(map(str, fitted))}. " if fitted else ""
        measured = [k.target for k in self._of(Kind.BLOCKS) if k.device == device and _has_parts(k.target, parts)]
        make = f"profile {options_of(name)}" if not measured else f"fit --device {measured[-1]}"
        raise NoFit(
            f"No fit of {self._space.name} is of {name!r}{', though it was measured' if measured else ''}.",
            f"{others}To make one: fleetfront {make} --space {self._space.name}",
        )

    def check_estimate(self, name: str) -> None:
        """Raises InputError if there is an estimate of a device, but one that does not serve."""
        for known in self._of(Kind.ESTIMATE):
            if known.device == name and known.error is not None:
                raise known.error

    def partly_known(self) -> dict[str, int]:
        """Device -> number of networks, for imported tables that lack some of the space."""
        return {k.device: k.items for k in self._imported(Kind.NETWORKS) if not k.covers(self._space)}

    def _of(self, kind: Kind) -> Iterable[Known]:
        return (known for known in self._known if known.kind is kind)

    def _serves(self, target: Target) -> bool:
        return self._runtime in (None, target.runtime)

    def _whole(self, kind: Kind) -> list[Known]:
        """All that can be used, of the runtime asked for."""
        return [known for known in self._of(kind) if known.target is not None and self._serves(known.target)]

    def _imported(self, kind: Kind) -> list[Known]:
        """The last of one device serves: that of the target which its config names."""
        return sorted((known for known in self._whole(kind) if known.is_imported), key=_is_as_configured)

    def _refusals(self, kind: Kind) -> dict[str, _Open]:
        """In the place of each damaged model, what says so when it is asked for."""
        return {
            self._spelled.get(file.device, file.device) or str(file.path and file.path.name): functools.partial(
                _refuse, file.error
            )
            for file in self._of(kind)
            if file.error is not None and self._runtime in (None, file.runtime)
        }

    def _open_newest(
        self, device: str, target: Target | None = None, name: str | None = None, holds_precision: bool = False
    ) -> DeviceModel:
        newest = newest_fit(
            self._known,
            self._space.name,
            self._metric,
            device=device,
            runtime=self._runtime,
            target=target,
            clock=self._clock,
        )
        if newest.fit is not None:
            check_is_of_here(newest.fit)
        found = self._opener.open(newest)
        return replace(found, name=name or found.name, holds_precision=holds_precision)


def _is_as_configured(known: Known) -> bool:
    """False, too, where there is no config or a broken one."""
    try:
        return known.device in device_names() and load_device(known.device).target == known.target
    except InputError:
        return False


def _refuse(error: InputError) -> DeviceModel:
    raise error


def _as_file(device: str) -> tuple[str, ...]:
    """``device_stems``, none for what is no device's name: that is told with the names that are known."""
    try:
        return device_stems(device)
    except InputError:
        return ()
