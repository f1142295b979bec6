"""Predict what a model file or a torch module takes on devices: measured before, by operator costs, or estimated.

A file that was timed is answered from the store by its SHA-256. Otherwise a device's measured operator costs are asked,
and where there are none the estimates that the package ships.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from fleetfront.device_configs.loader import load_device
from fleetfront.errors import FileError, InputError, NotPredicted, OpenSize, unknown
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.file_predictions import FilePrediction, Predictions, Refusal
from fleetfront.predictors.operators.classes import estimate_by_classes
from fleetfront.predictors.operators.cost_files import list_costs
from fleetfront.predictors.operators.costs import GraphEstimate, OperatorCosts
from fleetfront.predictors.operators.model import OperatorModel, operator_models
from fleetfront.profilers.file_facts import file_precision
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.profilers.reading.observations import choose_statistic, read_observations, summarise
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Tier
from fleetfront.runtimes.catalogue import find_facts
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.graphs.readers.torch import Sample

#: Below this share of known operators a prediction is refused, unless the user sets another.
LEAST_KNOWN = 0.7
ALL = "all"
#: Between the parts of a narrowed device, ``cpu/onnxruntime``.
_SEPARATOR = "/"
#: Distance between the halves of a file's visits as a share of its time is no less than this: clocks and moods.
_LEAST_SPREAD = 0.01
#: So many kinds, devices or files of weights are listed.
_LISTED = 6


def predict(
    model: str | Path | Any,
    sample: Sample | None = None,
    devices: str | Sequence[str] = ALL,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    least_known: float = LEAST_KNOWN,
    store: Path | None = None,
    workspace: Workspace | None = None,
) -> Predictions:
    """Latency of one inference of a model file, or of a torch module, on devices.

    Args:
        model: the path of an ``.onnx`` or ``.tflite`` file, or a torch module, which then needs a ``sample``.
        sample: an input of the module; see ``graphs.readers.torch.read_module``.
        devices: ``all``, or names; ``cpu/onnxruntime`` narrows one to a target.
        shapes: of a file's open inputs by name, "" for the only one.
        least_known: refuse predictions of which less lies in operators that the model knows.
        store: measurements; the user's own by default.
        workspace: where operator costs are kept; the user's own by default.

    Raises:
        InputError: a file that is damaged or leaves a size open, or an unknown device.
        NotPredicted: too little is known on all of the devices.
        MissingDependency: the package that reads such a model is not installed.
    """
    if not 0 <= least_known <= 1:
        raise InputError(f"A share of {least_known} was asked for.", "Give one from 0 to 1, e.g. 0.7.")
    place = workspace or Workspace.default()
    names = [devices] if isinstance(devices, str) else list(devices)
    if isinstance(model, str | Path):
        path = Path(model)
        graph, suffix = _read(path, shapes or {})
        sha256, file = hashlib.sha256(path.read_bytes()).hexdigest(), str(model)
        precision, notes = file_precision(path), _notes(path)
    else:
        from fleetfront.graphs.readers.torch import read_module

        if sample is None:
            raise InputError("A torch module was given without an input.", "Give a sample: predict(module, sample).")
        graph, suffix, precision, notes = read_module(model, sample), "", "fp32", ()
        sha256, file = graph.content_hash, graph.name
    known = _Known(place, store or place.store, suffix, precision, least_known, _fed(graph, shapes or {}))
    found = known.predict(file, sha256, fold_batch_norm(graph), names)
    return Predictions((replace(row, warnings=(*notes, *row.warnings)) for row in found), found.refused)


def _read(path: Path, shapes: Mapping[str, Sequence[int]]) -> tuple[Graph, str]:
    from fleetfront.graphs.readers.file import read_graph

    try:
        return read_graph(path, shapes), path.suffix.lower().removeprefix(".")
    except InputError as error:
        if str(path) in error.message:
            raise
        raise type(error)(f"{path}: {error.message}", error.remedy) from error
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}).", "Check its permissions.") from error


def _fed(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> str:
    """Options to type where the file is timed: sizes as given, and values where integers may decide sizes."""
    sizes = {name: ",".join(map(str, shape)) for name, shape in shapes.items()}
    typed = [f" --shape {quote(f'{name}={size}' if name else size)}" for name, size in sizes.items()]
    is_asked = any("int" in graph.tensors[name].dtype for name in graph.inputs) and any(
        isinstance(size, str) for tensor in graph.tensors.values() for size in tensor.shape[1:]
    )
    return "".join([*typed, " --inputs x.npz" if is_asked else ""])


def _notes(path: Path) -> tuple[str, ...]:
    """Objections to a file that was read, whatever the device."""
    if path.suffix.lower() != ".onnx":
        return ()
    from fleetfront.graphs.readers.onnx import missing_weights

    missing = missing_weights(path)
    if not missing:
        return ()
    places = f"{', '.join(missing[:_LISTED])}{' and more' if len(missing) > _LISTED else ''}"
    return (
        f"{path} cannot run until its weights are beside it: there is no {places}. Its time is predicted all the same.",
    )


class _Known:
    """The sources that can answer for graphs, by device."""

    def __init__(
        self, place: Workspace, store: Path, suffix: str, precision: str, least_known: float, fed: str
    ) -> None:
        self._store, self._suffix, self._precision = store, suffix, precision
        self._least_known, self._fed = least_known, fed
        self._costs, damaged = list_costs(place)
        self._damaged = [error.message for error in damaged]
        self._models = operator_models()

    def predict(self, file: str, sha256: str, graph: Graph, names: Sequence[str]) -> Predictions:
        """Raises NotPredicted if no device can be answered for, InputError if one is unknown."""
        rows: list[FilePrediction] = []
        refused = [Refusal(file, None, text) for text in self._damaged]
        measured = self._measured(file, sha256)
        for device in self._wanted(names, measured):
            for found in self._answers(file, sha256, graph, device, measured):
                if isinstance(found, FilePrediction):
                    rows.append(found)
                else:
                    refused.append(found)
        if not rows:
            remedy = next((one.remedy for one in refused if one.device), "")
            raise NotPredicted(f"{file} cannot be predicted: {_together(refused)}", remedy)
        return Predictions(rows, refused)

    def _wanted(self, names: Sequence[str], measured: Sequence[FilePrediction]) -> list[str]:
        """Devices asked for, each once; ``all/RUNTIME`` are those that have something of that runtime."""
        known = list(
            dict.fromkeys(
                [*(m.device for m in measured), *(c.target.device for c in self._costs), *sorted(self._models)]
            )
        )
        wanted: dict[str, None] = {}
        for name in names:
            device, *parts = name.split(_SEPARATOR)
            if device == ALL:
                there = [one for one in known if not parts or self._knows(one, parts, measured)]
                if not there:
                    raise InputError(
                        f"Nothing is known of {'/'.join(parts)} on any device.",
                        f"Known on other runtimes: {', '.join(known[:_LISTED])}; `--devices {ALL}` asks all of them.",
                    )
                wanted |= dict.fromkeys(_SEPARATOR.join([one, *parts]) for one in there)
                continue
            if device not in known:
                error = unknown("device with operator costs or a shipped estimate", name, known)
                raise InputError(
                    error.message,
                    f"{error.remedy} To measure its operators: fleetfront profile {_options(name)} --operators. "
                    "All that are known: --devices all",
                )
            wanted[name] = None
        return list(wanted)

    def _knows(self, device: str, parts: Sequence[str], measured: Sequence[FilePrediction]) -> bool:
        targets = [*(row.target for row in measured), *(one.target for one in self._costs)]
        return any(one.device == device and _has(one, parts) for one in targets) or self._estimates(device, parts)

    def _estimates(self, device: str, parts: Sequence[str]) -> bool:
        """Tell whether a shipped estimate is of the target asked for."""
        if device not in self._models:
            return False
        try:
            return _has(load_device(device).target, parts)
        except InputError:
            return not parts

    def _answers(
        self, file: str, sha256: str, graph: Graph, device: str, measured: Sequence[FilePrediction]
    ) -> list[FilePrediction | Refusal]:
        """Measured targets of the device first, then its operator costs, else its shipped estimate."""
        name, *parts = device.split(_SEPARATOR)
        answers: list[FilePrediction | Refusal] = [
            row for row in measured if row.device == name and _has(row.target, parts)
        ]
        timed = {row.target for row in answers if isinstance(row, FilePrediction)}
        costs = [one for one in self._costs if one.target.device == name and _has(one.target, parts)]
        usual = [one for one in costs if self._opens(one.target)] or costs
        for one in _newest(usual):
            if one.target not in timed:
                found = self._by_costs(file, sha256, graph, one)
                answers.append(self._refusal(file, device, found) if isinstance(found, str) else found)
        if not answers and self._estimates(name, parts):
            found = self._by_classes(file, sha256, graph, name, self._models[name])
            answers.append(self._refusal(file, device, found) if isinstance(found, str) else found)
        if not answers and name in self._models:
            remedy = f"What is shipped is of other targets: ask for {name} without a runtime."
            answers.append(Refusal(file, device, "nothing is known of it", remedy))
        elif not answers:
            remedy = f"Measure its operators: fleetfront profile {_options(device)} --operators"
            answers.append(Refusal(file, device, "nothing is known of it", remedy))
        return answers

    def _refusal(self, file: str, device: str, reason: str) -> Refusal:
        """With what to type for the file's time instead."""
        name, *parts = device.split(_SEPARATOR)
        if not self._suffix:
            remedy = "Write it as a file with `fleetfront export`, and time that with `fleetfront profile`."
        elif find_kind(name) is None:
            remedy = f"Time it on a device at hand: fleetfront profile --device cpu --file {quote(file)}"
        else:
            runs = [one for one in parts if (facts := find_facts(one)) is not None and self._suffix in facts.formats]
            remedy = f"Time it: fleetfront profile {_options('/'.join([name, *runs]))} --file {quote(file)}{self._fed}"
        return Refusal(file, device, reason, remedy)

    def _opens(self, target: Target) -> bool:
        """Tell whether the target runs the file as it is; a module may be written for any."""
        facts = find_facts(target.runtime)
        return not self._suffix or facts is None or self._suffix in facts.formats

    def _by_costs(self, file: str, sha256: str, graph: Graph, costs: OperatorCosts) -> FilePrediction | str:
        warnings = []
        if not self._opens(costs.target):
            warnings.append(f"{costs.target.runtime} opens no .{self._suffix} files: of the same network converted.")
        try:
            found = costs.estimate(graph)
        except OpenSize as error:
            return _told_by_running(graph, error)
        return self._row(file, sha256, costs.target.device, costs.target, found, warnings)

    def _by_classes(
        self, file: str, sha256: str, graph: Graph, name: str, model: OperatorModel
    ) -> FilePrediction | str:
        try:
            config = load_device(name)
        except InputError as error:
            return error.message
        if objection := model.objection(config):
            return objection
        if self._precision not in ("fp32", "unknown"):
            return f"its estimate is of fp32, the file is {self._precision}"
        try:
            found = estimate_by_classes(model, graph, config.target.batch)
        except OpenSize as error:
            return _told_by_running(graph, error)
        return self._row(file, sha256, name, config.target, found, [model.warning])

    def _row(
        self, file: str, sha256: str, device: str, target: Target, found: GraphEstimate, warnings: Sequence[str]
    ) -> FilePrediction | str:
        unbounded = _listed(part.kind.removeprefix("opaque ") for part in found.parts if not part.is_bounded)
        if found.known_share < self._least_known:
            if unbounded:
                return f"nobody can say what {unbounded} may take, so the file has to be timed"
            new = _listed(part.kind for part in found.parts if not part.is_known and not part.is_beyond)
            larger = _listed(part.kind for part in found.parts if part.is_beyond)
            reasons = [f"unknown: {new}"] * bool(new) + [f"beyond the sizes measured: {larger}"] * bool(larger)
            return (
                f"only {found.known_share:.0%} of the time is sure to lie in operators that are known there "
                f"({'; '.join(reasons)}); asked for is {self._least_known:.0%}"
            )
        if unbounded:
            warnings = [*warnings, f"Nobody can say what {unbounded} may take: it is hardly counted. Time the file."]
        return FilePrediction(
            file,
            sha256,
            device,
            target,
            found.mean_ms,
            found.std_ms,
            Tier.ESTIMATED,
            found.known_share,
            found.parts,
            tuple(warnings),
        )

    def _measured(self, file: str, sha256: str) -> list[FilePrediction]:
        """Measurements of this very file in the store, one a target, from the newest campaign that timed it."""
        if not self._store.is_file():
            return []
        found: dict[Target, FilePrediction] = {}
        with Store(self._store, read_only=True) as store:
            rows = [row for row in store.measurements(role=Role.FILE, key=sha256, space="") if row.samples]
            for row in reversed(rows):
                if row.target in found:
                    continue
                seen = read_observations(store, row.target, "", row.clock, [row.campaign])
                visits = seen.visits.get(Role.FILE, {}).get(sha256)
                if visits is None:
                    continue
                statistic = choose_statistic(seen)
                ms, half = summarise(visits, statistic), visits.size // 2
                spread = _LEAST_SPREAD * ms
                if half:
                    ends = (summarise(visits[:half], statistic), summarise(visits[-half:], statistic))
                    spread = max(spread, abs(ends[0] - ends[1]) / 2)
                found[row.target] = FilePrediction(
                    file, sha256, row.target.device, row.target, ms, spread, Tier.MEASURED, 1.0
                )
        return list(found.values())


def _listed(kinds: Iterable[str]) -> str:
    """The kinds once each, the first six by name."""
    names = sorted(set(kinds))
    return ", ".join(names[:_LISTED]) + (" and more" if len(names) > _LISTED else "")


def _has(target: Target, parts: Sequence[str]) -> bool:
    return set(parts) <= set(str(target).split(_SEPARATOR)[1:])


def _newest(costs: Sequence[OperatorCosts]) -> list[OperatorCosts]:
    """One a target: lists come newest first."""
    return list({one.target: one for one in reversed(costs)}.values())


def _together(refused: Sequence[Refusal]) -> str:
    """Each reason once, behind the devices that have it."""
    devices: dict[str, list[str]] = {}
    for one in refused:
        devices.setdefault(one.error, []).extend([one.device] if one.device else [])
    return "; ".join(f"{', '.join(names)}: {reason}" if names else reason for reason, names in devices.items())


def _options(device: str) -> str:
    """Options that name ``cpu/onnxruntime`` to ``profile``."""
    name, *parts = device.split(_SEPARATOR)
    runtimes = [part for part in parts if find_facts(part) is not None]
    return " ".join([f"--device {quote(name)}", *(f"--runtime {quote(part)}" for part in runtimes)])


def _told_by_running(graph: Graph, error: OpenSize) -> str:
    """Of a graph whose operators cannot be counted."""
    open_sizes = {
        name: operator
        for operator in graph.operators
        for name in operator.outputs
        if any(isinstance(size, str) for size in graph.tensors[name].shape)
    }
    # A first size alone may be the batch.
    certain = (name for name in open_sizes if any(isinstance(size, str) for size in graph.tensors[name].shape[1:]))
    name = next(certain, next(iter(open_sizes), None))
    if name is None:
        return error.message
    operator = open_sizes[name]
    kind = operator.origin.kind if operator.origin else operator.family
    return f"nothing says before it runs how large {name} is, which its {kind} gives"
