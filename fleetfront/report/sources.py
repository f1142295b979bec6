"""Open what a report is made from: store, fits, fronts with their archives, bundles; note what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetfront.deploy.bundle.manifest import MANIFEST
from fleetfront.device_configs.facts import DeviceConfig
from fleetfront.device_configs.loader import load_device
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.pipelines.knowledge.cost_models import DeviceModel, device_models, newest_cost_model
from fleetfront.pipelines.knowledge.latest import latest_fronts
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.few_shot.files import FewShotFile, list_few_shot
from fleetfront.predictors.table.fit_files import list_fits, load_fit, read_report
from fleetfront.predictors.table.networks import load_network_table
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Holding, Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import LATENCY, Clock, Metric, Tier
from fleetfront.report.section import Reason
from fleetfront.search.archive import Archive
from fleetfront.search.checkpoints import ARCHIVE_FILE
from fleetfront.search.results import FRONTS_FILE, DeviceFront, Fronts, load_fronts
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Tiers of which a device's own table or fit is not the source.
_NOT_MEASURED = (Tier.TRANSFERRED.value, Tier.ESTIMATED.value)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A search as its files tell it. ``archive`` is None where it was not kept, or its file cannot be read."""

    path: Path
    fronts: Fronts
    archive: Archive | None


@dataclass(frozen=True, slots=True)
class FitSource:
    """A fitted model's file and the report that lies beside it (empty without one)."""

    path: Path
    space: str
    target: Target
    clock: Clock
    is_preferred: bool
    report: dict[str, object]


@dataclass(slots=True)
class Sources:
    """Everything that a report may look at.

    Attributes:
        store: None if nothing was ever measured or imported.
        results: searches, the ones named first by the user first.
        few: models from few measurements.
        spaces: names of the spaces that the report is about.
        bundles: folders that ``fleetfront deploy`` wrote.
        random_seeds: how often to search at random for comparison, where nobody has.
        notes: what could not be read.
    """

    workspace: Workspace
    store_path: Path
    store: Store | None
    results: tuple[SearchResult, ...]
    fits: tuple[FitSource, ...]
    few: tuple[FewShotFile, ...]
    holdings: tuple[Holding, ...]
    spaces: tuple[str, ...]
    bundles: tuple[Path, ...]
    random_seeds: int
    progress: Progress = SILENT
    notes: list[Reason] = field(default_factory=list)
    _spaces: dict[str, SearchSpace | None] = field(default_factory=dict)
    _models: dict[tuple[str, str, str], DeviceModel | None] = field(default_factory=dict)
    _others: dict[str, dict[str, DeviceModel]] = field(default_factory=dict)
    _configs: dict[str, DeviceConfig | None] = field(default_factory=dict)
    _labels: dict[tuple[str, str], str] | None = None

    def note(self, error: FleetfrontError) -> None:
        """Keep what went wrong, once."""
        reason = Reason(error.message, error.remedy)
        if reason not in self.notes:
            self.notes.append(reason)

    def space(self, name: str) -> SearchSpace | None:
        """The space of that name; None (and a note) if it is not installed here."""
        if name not in self._spaces:
            try:
                self._spaces[name] = load_space(name)
            except InputError as error:
                self.note(error)
                self._spaces[name] = None
        return self._spaces[name]

    def config(self, device: str) -> DeviceConfig | None:
        """What is known about a device of that name; None if there is no config of it."""
        if device not in self._configs:
            try:
                self._configs[device] = load_device(device)
            except InputError:
                # A device without a config (a phone's serial number) is nothing unusual.
                self._configs[device] = None
        return self._configs[device]

    def targets(self, space: str) -> list[tuple[str, str]]:
        """(name, target) of every device of one space: those with a front first, then fits, then measurements."""
        found: dict[str, str] = {}
        for result in self.results:
            if result.fronts.space == space:
                for front in result.fronts.devices:
                    found.setdefault(front.target or front.name, front.name)
        for fit in self.fits:
            if fit.space == space:
                found.setdefault(str(fit.target), fit.target.device)
        for few in self.few:
            if few.space == space:
                found.setdefault(few.target, few.target.split("/")[0])
        for holding in self.holdings:
            if holding.space == space and holding.role is not Role.FILE:
                found.setdefault(str(holding.target), holding.target.device)
        return [(name, target) for target, name in found.items()]

    def label(self, name: str, target: str) -> str:
        """A short name that is unique within the report: the device's, with its runtime or whole target if need be."""
        if self._labels is None:
            pairs = dict.fromkeys(pair for space in self.spaces for pair in self.targets(space))
            self._labels = unique_labels(pairs)
        return self._labels.get((name, target or name), name)

    def model(
        self, space: SearchSpace, name: str, target: str, clock: str = "", metric: Metric = LATENCY
    ) -> CostModel | None:
        """The cost model of a target: its newest fit, else its imported table, else what serves the device."""
        found = self.device_model(space, name, target, clock)
        return None if found is None or found.model.metric != metric else found.model

    def device_model(self, space: SearchSpace, name: str, target: str, clock: str = "") -> DeviceModel | None:
        """The same with what speaks against trusting it."""
        is_fitted = any(fit.space == space.name and str(fit.target) == target for fit in self.fits)
        key = (space.name, target, clock if is_fitted else "")
        if key not in self._models:
            self._models[key] = self._find_model(space, name, target, clock)
        return self._models[key]

    def _find_model(self, space: SearchSpace, name: str, target: str, clock: str) -> DeviceModel | None:
        try:
            parsed = Target.parse(target)
        except InputError:
            return None
        wanted = Clock(clock) if clock in set(Clock) else None
        if self._front_tier(space.name, target) in _NOT_MEASURED:
            # A table that lacks networks does not serve a search, though it lies in the store.
            return self._served(space, parsed)
        if any(fit.space == space.name and fit.target == parsed for fit in self.fits):
            try:
                return replace(newest_cost_model(self.workspace, space, target=parsed, clock=wanted), name=name)
            except FleetfrontError as error:
                self.note(error)
        whole = [h for h in self.holdings if h.space == space.name and h.target == parsed and h.role is Role.NETWORK]
        if self.store is not None and whole:
            config = self.config(parsed.device)
            step = None if config is None else config.timing_resolution_ms
            return DeviceModel(name, parsed, load_network_table(self.store, space, parsed, resolution_ms=step))
        return self._served(space, parsed)

    def _served(self, space: SearchSpace, target: Target) -> DeviceModel | None:
        """What any other verb would take for the device, if it is of this very target."""
        if space.name not in self._others:
            self._others[space.name] = self._open_others(space)
        found = self._others[space.name].get(target.device)
        return found if found is not None and found.target == target else None

    def _open_others(self, space: SearchSpace) -> dict[str, DeviceModel]:
        """Models of the devices of a space that are not served by a fit or a whole table of theirs."""
        own = {str(fit.target) for fit in self.fits if fit.space == space.name}
        own |= {str(h.target) for h in self.holdings if h.space == space.name and h.role is Role.NETWORK}
        told = {target: self._front_tier(space.name, target) for _, target in self.targets(space.name)}
        found: dict[str, DeviceModel] = {}
        for tier in ("", *_NOT_MEASURED):
            of_tier = [t for t in told if (told[t] == tier if tier else told[t] not in _NOT_MEASURED and t not in own)]
            names = list(dict.fromkeys(target.split("/")[0] for target in of_tier))
            found |= self._open_together(names, space, (Tier(tier),) if tier else tuple(Tier))
        return found

    def _open_together(self, names: Sequence[str], space: SearchSpace, tiers: Sequence[Tier]) -> dict[str, DeviceModel]:
        """The models of those devices that have one, in one step where it succeeds, for they share what they count."""
        try:
            opened = device_models(names, space, workspace=self.workspace, store=self.store_path, tiers=tiers)
        except FleetfrontError:
            # No model is a blank in a table here, not a failure.
            alone = [self._open_together([name], space, tiers) for name in names] if len(names) > 1 else []
            return {name: model for found in alone for name, model in found.items()}
        return {one.name: one for one in opened}

    def _front_tier(self, space: str, target: str) -> str:
        """The tier that the first front of a target states; empty without one."""
        fronts = (front for result in self.results if result.fronts.space == space for front in result.fronts.devices)
        return next((front.tier for front in fronts if front_key(front) == target), "")


def open_sources(
    workspace: Workspace,
    store_path: Path,
    fronts: Sequence[Path],
    bundles: Sequence[Path] = (),
    random_seeds: int = 0,
    progress: Progress = SILENT,
) -> Sources:
    """Open what a report is made from; close ``sources.store`` afterwards.

    ``fronts`` are fronts or folders of fronts; without them the newest is taken, if there is one. The report is about
    the spaces of the fronts; without any, about all that were measured. ``bundles`` are bundles or folders of bundles;
    without them, those in folders called so here and beside the fronts are taken.

    Raises:
        InputError: a front or bundle that was named is not there, a front cannot be read, or a store cannot.
    """
    notes: list[Reason] = []
    results = [result for path in (fronts or _newest(workspace)) for result in _results(path, notes)]
    store = Store(store_path, read_only=True) if store_path.is_file() else None
    holdings = tuple(store.holdings()) if store is not None else ()
    fits, few = _fits(workspace, notes), tuple(list_few_shot(workspace))
    of_fronts = list(dict.fromkeys(result.fronts.space for result in results))
    everywhere = [*(fit.space for fit in fits), *(file.space for file in few)] + [
        h.space for h in holdings if h.role is not Role.FILE
    ]
    return Sources(
        workspace,
        store_path,
        store,
        tuple(results),
        fits,
        few,
        holdings,
        tuple(of_fronts or sorted(set(everywhere))),
        tuple(_named_bundles(bundles) or _bundle_folders([result.path for result in results])),
        random_seeds,
        progress,
        notes,
    )


def unique_labels(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(name, target) -> the name where it is the only one, else name and runtime, else the whole target."""
    pairs = list(pairs)
    labels = {pair: pair[0] for pair in pairs}
    for spelled in (_with_runtime, lambda pair: pair[1]):
        counts = Counter(labels.values())
        labels = {pair: spelled(pair) if counts[label] > 1 else label for pair, label in labels.items()}
    return labels


def _with_runtime(pair: tuple[str, str]) -> str:
    parts = pair[1].split("/")
    return f"{pair[0]} {parts[1]}" if len(parts) > 1 else pair[0]


def front_key(front: DeviceFront) -> str:
    """What a front is of: its target, or its device where no target is stated."""
    return front.target or front.name


def _newest(workspace: Workspace) -> list[Path]:
    try:
        return [latest_fronts(workspace)]
    except InputError:
        # A report on measurements alone is a report too.
        return []


def _results(path: Path, notes: list[Reason]) -> list[SearchResult]:
    """The front of a file or folder; of a folder of such folders all fronts, those of random search last."""
    inside = [] if (path / FRONTS_FILE).is_file() else sorted(file.parent for file in path.glob(f"*/{FRONTS_FILE}"))
    return sorted(
        (_result(one, notes) for one in inside or [path]), key=lambda found: found.fronts.strategy == "random"
    )


def _result(path: Path, notes: list[Reason]) -> SearchResult:
    file = path / FRONTS_FILE if path.is_dir() else path
    fronts = load_fronts(file)
    archive = None
    kept = file.parent / ARCHIVE_FILE
    if kept.is_file():
        try:
            archive = Archive.load(kept, {"space": fronts.space})
        except InputError as error:
            notes.append(Reason(error.message, error.remedy))
    return SearchResult(file, fronts, archive)


def _fits(workspace: Workspace, notes: list[Reason]) -> tuple[FitSource, ...]:
    found = []
    for path in list_fits(workspace):
        try:
            model = load_fit(path)
            report = read_report(path) or {}
        except InputError as error:
            notes.append(Reason(error.message, error.remedy))
            continue
        found.append(FitSource(path, model.space, model.target, model.clock, model.is_preferred, report))
    # The clock that serves comes first, so that whoever takes one fit a target takes that.
    return tuple(sorted(found, key=lambda fit: not fit.is_preferred))


def _named_bundles(folders: Sequence[Path]) -> list[Path]:
    """The folders, and in place of one that is no bundle but holds some, these."""
    found: list[Path] = []
    for folder in folders:
        inside = [] if (folder / MANIFEST).is_file() else sorted(file.parent for file in folder.glob(f"*/{MANIFEST}"))
        if not inside and not (folder / MANIFEST).is_file():
            raise InputError(
                f"{folder} is no bundle and holds none: it has no {MANIFEST}.",
                "Name a folder that `fleetfront deploy` wrote.",
            )
        found += inside or [folder]
    return list(dict.fromkeys(found))


def _bundle_folders(fronts: Sequence[Path]) -> list[Path]:
    """Folders with a manifest in the usual places, each once."""
    patterns = [(Path("bundles"), f"*/{MANIFEST}")]
    patterns += [(place, f"bundles/*/{MANIFEST}") for path in fronts for place in (path.parent, path.parent.parent)]
    found = [manifest.parent.resolve() for place, name in patterns for manifest in sorted(place.glob(name))]
    return list(dict.fromkeys(found))
