"""Open what a report is made from: store, fits, fronts with their archives, bundles; note what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetfront.deploy.bundle.manifest import MANIFEST
from fleetfront.device_configs.facts import DeviceConfig
from fleetfront.device_configs.loader import load_device
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.pipelines.deploy.parts import MANIFEST as PARTS
from fleetfront.pipelines.knowledge.device_model import DeviceModel, ModelOpener
from fleetfront.pipelines.knowledge.known import Kind, Known, list_known
from fleetfront.pipelines.knowledge.remembered import latest_fronts
from fleetfront.pipelines.measure.file_operators import FileOperators
from fleetfront.pipelines.measure.operator_time_files import list_operator_times
from fleetfront.predictors.base import CostModel
from fleetfront.profilers.store.store import Holding, Store
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import LATENCY, Metric, Tier
from fleetfront.report.section import Reason
from fleetfront.search.archive import Archive
from fleetfront.search.checkpoints import ARCHIVE_FILE
from fleetfront.search.fronts_file import FRONTS_FILE, load_fronts
from fleetfront.search.results import DeviceFront, Fronts
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import SEPARATOR
from fleetfront.targets import split_spelled
from fleetfront.workspace import Workspace

#: What lists the files of a folder that ``fleetfront deploy`` wrote.
_LISTS: tuple[str, ...] = (MANIFEST, PARTS)
#: Tiers of which a device's own table or fit is not the source.
_NOT_MEASURED = (Tier.TRANSFERRED.value, Tier.ESTIMATED.value)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A search as its files tell it. ``archive`` is None where it was not kept, or its file cannot be read."""

    path: Path
    fronts: Fronts
    archive: Archive | None


@dataclass(slots=True)
class Sources:
    """Everything that a report may look at.

    Attributes:
        store: None if nothing was ever measured or imported.
        results: searches, the ones named first by the user first.
        known: all that is known of devices, of every metric, best kind first.
        holdings: what the store holds, by role.
        spaces: names of the spaces that the report is about.
        bundles: folders that ``fleetfront deploy`` wrote.
        random_seeds: how often to search at random for comparison, where nobody has.
        notes: what could not be read.
        views: of the sections gathered so far.
        operator_times: of files whose operators were timed.
    """

    store_path: Path
    store: Store | None
    results: tuple[SearchResult, ...]
    known: tuple[Known, ...]
    holdings: tuple[Holding, ...]
    spaces: tuple[str, ...]
    bundles: tuple[Path, ...]
    random_seeds: int
    progress: Progress = SILENT
    notes: list[Reason] = field(default_factory=list)
    views: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    operator_times: tuple[FileOperators, ...] = ()
    _spaces: dict[str, SearchSpace | None] = field(default_factory=dict)
    _openers: dict[str, ModelOpener] = field(default_factory=dict)
    _models: dict[tuple[object, ...], DeviceModel | None] = field(default_factory=dict)
    _opened: dict[tuple[str, int], DeviceModel | None] = field(default_factory=dict)
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
        """The config of a device of that name; None if there is none."""
        if device not in self._configs:
            try:
                self._configs[device] = load_device(device)
            except InputError:
                # A device without a config (a phone's serial number) is nothing unusual.
                self._configs[device] = None
        return self._configs[device]

    def targets(self, space: str) -> list[tuple[str, str]]:
        """(name, target) of every device of one space: those with a front first, then by what is known of them."""
        found: dict[str, str] = {}
        for _, front in self.fronts(space):
            found.setdefault(front_key(front), front.name)
        for kind in (Kind.FIT, Kind.FEW_SHOT, Kind.BLOCKS, Kind.NETWORKS):
            for known in self.known:
                if (known.kind, known.space) == (kind, space) and known.target is not None:
                    found.setdefault(str(known.target), known.device)
        return [(name, target) for target, name in found.items()]

    def fronts(self, space: str, target: str | None = None) -> Iterator[tuple[SearchResult, DeviceFront]]:
        """Every front of a space, of one target if that is given."""
        for result in self.results:
            if result.fronts.space == space:
                yield from ((result, one) for one in result.fronts.devices if target in (None, front_key(one)))

    def of(self, kind: Kind, space: str, target: str, metric: Metric = LATENCY) -> list[Known]:
        """All that is known of a target and space from one kind of source, best first; nothing that is damaged."""
        found = [k for k in self.known if k.kind is kind and k.space in ("", space) and str(k.target) == target]
        found = [known for known in found if known.error is None and known.metric.name == metric.name]
        # The clock that serves comes first, so that whoever takes one fit a target takes that.
        return sorted(found, key=lambda known: known.fit is not None and not known.fit.is_preferred)

    def label(self, name: str, target: str) -> str:
        """A short name that is unique within the report: the device's, with its runtime or whole target if need be."""
        if self._labels is None:
            pairs = dict.fromkeys(pair for space in self.spaces for pair in self.targets(space))
            self._labels = unique_labels(pairs)
        return self._labels.get((name, target or name), name)

    def model(self, space: SearchSpace, target: str, clock: str = "", metric: Metric = LATENCY) -> CostModel | None:
        """The cost model of a target: its fit under that clock if it has one, else the best of what is known of it."""
        found = self.device_model(space, target, clock, metric)
        return None if found is None else found.model

    def device_model(
        self, space: SearchSpace, target: str, clock: str = "", metric: Metric = LATENCY
    ) -> DeviceModel | None:
        """The same with what speaks against trusting it."""
        # A front says what it was searched with: a table that lies in the store beside it does not replace that.
        tier = next((front.tier for _, front in self.fronts(space.name, target)), "")
        key = (space.name, target, clock, metric.name)
        if key not in self._models:
            known = [one for kind in Kind for one in self.of(kind, space.name, target, metric) if _is_served(one)]
            if tier in _NOT_MEASURED:
                known = [one for one in known if one.tier.value == tier]
            known.sort(key=lambda one: one.kind is Kind.FIT and clock not in ("", one.clock.value))
            self._models[key] = self._open(space, known[0]) if known else None
            if not known:
                self._tell_refused(target)
        return self._models[key]

    def _tell_refused(self, target: str) -> None:
        """Note why an estimate of the target's device, which has nothing else, serves no more."""
        device = split_spelled(target)[0]
        for known in self.known:
            if known.kind is Kind.ESTIMATE and known.device == device and known.error is not None:
                self.note(known.error)

    def _open(self, space: SearchSpace, known: Known) -> DeviceModel | None:
        """The model of one of ``known``, made once, whatever names and clocks it is asked for by."""
        if (space.name, id(known)) not in self._opened:
            self._opened[space.name, id(known)] = self._made(space, known)
        return self._opened[space.name, id(known)]

    def _made(self, space: SearchSpace, known: Known) -> DeviceModel | None:
        opener = self._openers.setdefault(space.name, ModelOpener(space, self.store_path))
        try:
            return opener.open(known)
        except FleetfrontError as error:
            # No model is a blank in a table here, not a failure; of what somebody measured, it is told.
            if known.kind is not Kind.ESTIMATE:
                self.note(error)
            return None


def _is_served(known: Known) -> bool:
    """Tell whether models are made of it. Of blocks, a fit is; networks alone teach, and serve nobody."""
    return known.is_imported or known.kind not in (Kind.BLOCKS, Kind.NETWORKS)


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
        InputError: a front or bundle that was named is not there, or the store cannot be read.
    """
    notes: list[Reason] = []
    results = [result for path in (fronts or _newest(workspace)) for result in _results(path, notes)]
    store = Store(store_path, read_only=True) if store_path.is_file() else None
    known = tuple(list_known(workspace, store, metric=None))
    # An estimate that serves no more is told where a device has nothing else.
    damaged = [one.error for one in known if one.error is not None and one.kind is not Kind.ESTIMATE]
    notes += dict.fromkeys(Reason(error.message, error.remedy) for error in damaged)
    times, broken = list_operator_times(workspace)
    notes += (Reason(error.message, error.remedy) for error in broken)
    # What is known of networks in several precisions is known of each precision by itself.
    named = [(result.fronts.space, result.fronts.space.partition(SEPARATOR)[0]) for result in results]
    of_fronts = list(dict.fromkeys(space for pair in named for space in pair))
    return Sources(
        store_path,
        store,
        tuple(results),
        known,
        tuple(store.holdings()) if store is not None else (),
        tuple(of_fronts or sorted({one.space for one in known if one.space and one.error is None})),
        tuple(_named_bundles(bundles) or _bundle_folders([result.path for result in results])),
        random_seeds,
        progress,
        notes,
        operator_times=tuple(times),
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
    parts = split_spelled(pair[1])
    return f"{pair[0]} {parts[1]}" if len(parts) > 1 else pair[0]


def front_key(front: DeviceFront) -> str:
    """The name of what a front is of: its target, or its device where no target is stated."""
    return front.target or front.name


def _newest(workspace: Workspace) -> list[Path]:
    try:
        return [latest_fronts(workspace)]
    except InputError:
        # A report on measurements alone is a report too.
        return []


def _results(path: Path, notes: list[Reason]) -> list[SearchResult]:
    """The front of a file or folder; of a folder of such folders all fronts, those of random search last.

    One that is damaged becomes a note: the rest of the report stands without it. Raises InputError if none is there.
    """
    inside = [] if (path / FRONTS_FILE).is_file() else sorted(file.parent for file in path.glob(f"*/{FRONTS_FILE}"))
    found = []
    for one in inside or [path]:
        file = one / FRONTS_FILE if one.is_dir() else one
        try:
            found.append(SearchResult(file, load_fronts(file), None))
        except InputError as error:
            if not file.is_file():
                raise
            notes.append(Reason(error.message, error.remedy))
    return sorted((_with_archive(one, notes) for one in found), key=lambda one: one.fronts.strategy == "random")


def _with_archive(result: SearchResult, notes: list[Reason]) -> SearchResult:
    kept = result.path.with_name(ARCHIVE_FILE)
    if not kept.is_file():
        return result
    try:
        return replace(result, archive=Archive.load(kept, {"space": result.fronts.space}))
    except InputError as error:
        notes.append(Reason(error.message, error.remedy))
        return result


def _named_bundles(folders: Sequence[Path]) -> list[Path]:
    """The folders, and in place of one that is no bundle but holds some, these."""
    found: list[Path] = []
    for folder in folders:
        is_one = any((folder / name).is_file() for name in _LISTS)
        inside = [] if is_one else sorted({file.parent for name in _LISTS for file in folder.glob(f"*/{name}")})
        if not inside and not is_one:
            raise InputError(
                f"{folder} is no bundle and holds none: it has no {' or '.join(_LISTS)}.",
                "Name a folder that `fleetfront deploy` wrote.",
            )
        found += inside or [folder]
    return list(dict.fromkeys(found))


def _bundle_folders(fronts: Sequence[Path]) -> list[Path]:
    """Folders with a manifest or a list of parts in the usual places, each once."""
    places = [(Path("bundles"), "*")]
    places += [(place, "bundles/*") for path in fronts for place in (path.parent, path.parent.parent)]
    found = []
    for place, inside in places:
        found += sorted({file.parent.resolve() for name in _LISTS for file in place.glob(f"{inside}/{name}")})
    return list(dict.fromkeys(found))
