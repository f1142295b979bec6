"""Predict what a model file or a torch module takes on devices: measured before, by operator costs, or estimated.

A file that was timed is answered from the store by its SHA-256 and the shapes that it was fed. Otherwise a device's
measured operator costs are asked, and where there are none the estimates that the package ships.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from fleetfront.device_configs.loader import load_device
from fleetfront.errors import FileError, InputError, NotPredicted, OpenSize, unknown
from fleetfront.graphs.exported import spell_exported
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.predict.predictions import FilePrediction, Predictions, Refusal
from fleetfront.pipelines.predict.reasons import (
    LISTED,
    SEPARATOR,
    beside_floats,
    listed,
    together,
    told_by_running,
    uncountable,
)
from fleetfront.pipelines.predict.timed import Asked, Timed, timed_of
from fleetfront.predictors.operators.classes import estimate_by_classes
from fleetfront.predictors.operators.cost_files import StoredCosts, list_costs
from fleetfront.predictors.operators.estimates import GraphEstimate
from fleetfront.predictors.operators.model import OperatorModel, operator_models
from fleetfront.profilers.file_facts import file_inputs, file_precision
from fleetfront.profilers.kinds.catalogue import find_kind
from fleetfront.profilers.steering import steering_inputs
from fleetfront.quantities import Clock, Tier
from fleetfront.runtimes.catalogue import check_parts, find_facts, options_of, places
from fleetfront.runtimes.facts import Half
from fleetfront.targets import FLOATS, PRECISIONS, Target, split_spelled
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.graphs.readers.torch import Sample

#: Below this share of known operators a prediction is refused, unless the user sets another.
LEAST_KNOWN = 0.7
ALL = "all"
#: As many other shapes that a file was timed with are told.
_TOLD = 3


def predict(
    model: str | Path | Any,
    sample: Sample | None = None,
    devices: str | Sequence[str] = ALL,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    clock: Clock | None = None,
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
        clock: which the numbers are of; whichever was measured by default.
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
        asked, notes = _asked_file(model, shapes or {}), _notes(Path(model))
    else:
        asked, notes = _asked_module(model, sample), ()
    found = _Known(place, asked, store or place.store, clock, least_known, shapes or {}).predict(names)
    return Predictions((replace(row, warnings=(*notes, *row.warnings)) for row in found), found.refused)


def _asked_file(file: str | Path, shapes: Mapping[str, Sequence[int]]) -> Asked:
    path = Path(file)
    graph, suffix = _read(path, shapes)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Asked(str(file), sha256, fold_batch_norm(graph), file_inputs(path), suffix, file_precision(path))


def _asked_module(module: Any, sample: Sample | None) -> Asked:
    from fleetfront.graphs.readers.torch import read_module

    if sample is None:
        raise InputError("A torch module was given without an input.", "Give a sample: predict(module, sample).")
    graph = read_module(module, sample)
    return Asked(graph.name, graph.content_hash, fold_batch_norm(graph), None, "", "fp32")


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


def _fed(path: Path, shapes: Mapping[str, Sequence[int]]) -> str:
    """Options to type where the file is timed: sizes as given, and values where they decide how much it computes."""
    sizes = {name: ",".join(map(str, shape)) for name, shape in shapes.items()}
    typed = [f" --shape {quote(f'{name}={size}' if name else size)}" for name, size in sizes.items()]
    return "".join([*typed, " --inputs x.npz" if steering_inputs(path) else ""])


def _notes(path: Path) -> tuple[str, ...]:
    """Objections to a file that was read, whatever the device."""
    if path.suffix.lower() != ".onnx":
        return ()
    from fleetfront.graphs.readers.onnx import missing_weights

    missing = missing_weights(path)
    if not missing:
        return ()
    places = f"{', '.join(missing[:LISTED])}{' and more' if len(missing) > LISTED else ''}"
    return (
        f"{path} cannot run until its weights are beside it: there is no {places}. Its time is predicted all the same.",
    )


class _Known:
    """The sources that can answer for one model, by device."""

    def __init__(
        self,
        place: Workspace,
        asked: Asked,
        store: Path,
        clock: Clock | None,
        least_known: float,
        shapes: Mapping[str, Sequence[int]],
    ) -> None:
        self._asked, self._clock, self._least_known, self._shapes = asked, clock, least_known, shapes
        costs, damaged = list_costs(place)
        self._costs = [one for one in costs if clock in (None, one.clock)]
        self._damaged = [error.message for error in damaged]
        self._models = operator_models()
        self._timed: Timed = timed_of(store, asked, clock)
        timed = [*(target.device for target in self._timed.found), *self._timed.others]
        #: Devices of which anything is known, under whichever clock.
        self._devices = list(dict.fromkeys([*timed, *(one.target.device for one in costs), *sorted(self._models)]))

    def predict(self, names: Sequence[str]) -> Predictions:
        """Raises NotPredicted if no device can be answered for, InputError if one is unknown."""
        rows: list[FilePrediction] = []
        refused = [Refusal(self._asked.file, None, text) for text in self._damaged]
        for device in self._wanted(names):
            for found in self._answers(device):
                if isinstance(found, FilePrediction):
                    rows.append(found)
                else:
                    refused.append(found)
        if not rows:
            remedy = next((one.remedy for one in refused if one.device), "")
            reasons = tuple((one.device, one.error, one.remedy) for one in refused)
            raise NotPredicted(f"{self._asked.file} cannot be predicted: {together(refused)}", remedy, reasons)
        return Predictions(rows, refused)

    def _wanted(self, names: Sequence[str]) -> list[str]:
        """Devices asked for, each once; ``all/RUNTIME`` are those that have something of that runtime."""
        known = self._devices
        wanted: dict[str, None] = {}
        for name in names:
            device, *parts = split_spelled(name)
            if device == ALL:
                there = [one for one in known if not parts or self._knows(one, parts)]
                if not there:
                    raise InputError(
                        f"Nothing is known of {'/'.join(parts)} on any device.",
                        f"Known on other runtimes: {', '.join(known[:LISTED])}; `--devices {ALL}` asks all of them.",
                    )
                wanted |= dict.fromkeys(SEPARATOR.join([one, *parts]) for one in there)
                continue
            if device not in known:
                error = unknown("device with operator costs or a shipped estimate", name, known)
                raise InputError(
                    error.message,
                    f"{error.remedy} To measure its operators: fleetfront profile {options_of(name)} --operators. "
                    "All that are known: --devices all",
                )
            check_parts(parts, (one for one in self._targets() if one.device == device))
            wanted[name] = None
        return list(wanted)

    def _targets(self) -> list[Target]:
        """Those that something measured answers for."""
        return [*self._timed.found, *(self._target(one) for one in self._costs)]

    def _knows(self, device: str, parts: Sequence[str]) -> bool:
        is_there = any(one.device == device and _has(one, parts) for one in self._targets())
        return is_there or self._estimates(device, parts)

    def _estimates(self, device: str, parts: Sequence[str]) -> bool:
        """Tell whether a shipped estimate is of the target asked for."""
        if device not in self._models:
            return False
        try:
            return _has(load_device(device).target, parts)
        except InputError:
            return not parts

    def _answers(self, device: str) -> list[FilePrediction | Refusal]:
        """Measured targets of the device first, then its operator costs, else its shipped estimate."""
        name, *parts = split_spelled(device)
        timed = [one for one in self._timed.found if one.device == name and _has(one, parts)]
        found: list[FilePrediction | Refusal | str] = [self._measured(target) for target in timed]
        costs = [one for one in self._costs if one.target.device == name and _has(self._target(one), parts)]
        usual = [one for one in costs if self._opens(one.target)] or costs
        found += [self._by_costs(one) for one in _newest(usual) if self._target(one) not in timed]
        if not found and self._estimates(name, parts):
            found.append(self._by_classes(name, self._models[name]))
        if found:
            return [self._refusal(device, one) if isinstance(one, str) else one for one in found]
        floats = [part for part in parts if part not in PRECISIONS]
        if len(floats) < len(parts) and self._knows(name, floats):
            other = SEPARATOR.join([name, *floats])
            what = "this file" if self._asked.suffix else "this module"
            reason = f"{what} computes in {self._asked.precision}"
            return [Refusal(self._asked.file, device, reason, f"Ask for {other}, or for a file in that precision.")]
        under = "" if self._clock is None else f" under the {self._clock.value} clock"
        reason = f"nothing is known of it{under}{self._timed_otherwise(name)}"
        remedy = f"Measure its operators: fleetfront profile {options_of(device)} --operators"
        if name in self._models:
            remedy = f"What is shipped is of other targets: ask for {name} without a runtime."
        elif self._timed.others.get(name):
            return [self._refusal(device, reason)]
        return [Refusal(self._asked.file, device, reason, remedy)]

    def _timed_otherwise(self, name: str) -> str:
        """Other sizes that the store holds times of, which tell nothing of those asked for; empty for none."""
        found = self._timed.others.get(name, ())
        return f"; it was timed there with {' and with '.join(found[:_TOLD])}, which is another time" if found else ""

    def _target(self, costs: StoredCosts) -> Target:
        """That of the costs with the batch that is asked for, and the precision that a measured file would have."""
        target, precision = costs.target, self._asked.precision
        if not self._asked.suffix or precision == "unknown" or (precision in FLOATS and _computes_in_either(target)):
            precision = target.precision
        return replace(target, precision=precision, batch=self._asked.batch)

    def _measured(self, target: Target) -> FilePrediction:
        ms, std = self._timed.found[target]
        return FilePrediction(self._asked.file, self._asked.sha256, target.device, target, ms, std, Tier.MEASURED, 1.0)

    def _refusal(self, device: str, reason: str) -> Refusal:
        """With what to type for the file's time instead."""
        file, suffix = self._asked.file, self._asked.suffix
        name, *parts = split_spelled(device)
        fed = _fed(Path(file), self._shapes) if suffix else ""
        if not suffix:
            remedy = "Write it as a file with `fleetfront export`, and time that with `fleetfront profile`."
        elif find_kind(name) is None:
            remedy = f"Time it on a device at hand: fleetfront profile --device cpu --file {quote(file)}{fed}"
        else:
            runs = [one for one in parts if (facts := find_facts(one)) is not None and suffix in facts.formats]
            remedy = f"Time it: fleetfront profile {options_of('/'.join([name, *runs]))} --file {quote(file)}{fed}"
        return Refusal(file, device, reason, remedy)

    def _opens(self, target: Target) -> bool:
        """Tell whether the target runs the file as it is; a module may be written for any."""
        facts = find_facts(target.runtime)
        return not self._asked.suffix or facts is None or self._asked.suffix in facts.formats

    def _is_exported(self, target: Target) -> bool:
        """Tell whether what is asked for is a module that the target runs as an ONNX file."""
        facts = find_facts(target.runtime)
        return not self._asked.suffix and facts is not None and "onnx" in facts.formats

    def _uncounted(self) -> str:
        """The reason why work at this batch cannot be counted: a first size that only a run tells would pass as 1."""
        graph = self._asked.graph
        shapes = {name: tensor.shape for name, tensor in graph.tensors.items()}
        name = next((name for name, shape in shapes.items() if shape and isinstance(shape[0], str)), "")
        return told_by_running(graph, name) if name and self._asked.batch != 1 else ""

    def _by_costs(self, stored: StoredCosts) -> FilePrediction | Refusal | str:
        warnings, graph = [], self._asked.graph
        try:
            costs = stored.load()
        except FileError as error:
            return Refusal(self._asked.file, stored.target.device, error.message, error.remedy)
        if not self._opens(costs.target):
            suffix = self._asked.suffix
            warnings.append(
                f"{costs.target.runtime} opens no .{suffix} files: the time is that of the same network, converted."
            )
        if objection := self._uncounted():
            return objection
        try:
            found = costs.estimate(spell_exported(graph) if self._is_exported(costs.target) else graph)
        except OpenSize as error:
            return uncountable(graph, error)
        return self._row(costs.target.device, self._target(stored), found, warnings)

    def _by_classes(self, name: str, model: OperatorModel) -> FilePrediction | str:
        graph, batch, precision = self._asked.graph, self._asked.batch, self._asked.precision
        try:
            config = load_device(name)
        except InputError as error:
            return error.message
        if objection := model.objection(config):
            return objection
        if precision not in ("fp32", "unknown"):
            return f"its estimate is of fp32, the file is {precision}"
        if self._clock is not None:
            return f"its estimate is of no clock, and the {self._clock.value} clock was asked for"
        if objection := self._uncounted():
            return objection
        target = config.target
        if batch != 1 and target.batch not in (1, batch):
            held = f"a batch of {batch}" if batch else "nobody knows how large a batch"
            return f"its estimate is of a batch of {target.batch}, the inputs hold {held}"
        try:
            # Shapes of a larger batch are counted whole.
            found = estimate_by_classes(model, graph, target.batch if batch == 1 else 1)
        except OpenSize as error:
            return uncountable(graph, error)
        return self._row(name, target if batch == 1 else replace(target, batch=batch), found, [model.warning])

    def _row(self, device: str, target: Target, found: GraphEstimate, warnings: Sequence[str]) -> FilePrediction | str:
        if not found.parts:
            return "nothing that it computes can be counted: its outputs are its inputs or constants"
        graph = self._asked.graph
        double = sum(graph.tensors[one.outputs[0]].dtype == "float64" for one in graph.operators)
        if 2 * double > len(graph.operators):
            return "what is known are times of narrower numbers, the file computes in float64"
        if double:
            warnings = [*warnings, f"{double} operators give float64 and take longer than is told."]
        unbounded = listed(part.kind.removeprefix("opaque ") for part in found.parts if not part.is_bounded)
        if found.known_share < self._least_known:
            if unbounded:
                return f"nobody can say what {unbounded} may take, so the file has to be timed"
            unknown_kinds = [part.kind for part in found.parts if not part.is_known and not part.is_beyond]
            if hybrid := beside_floats(unknown_kinds):
                return f"{hybrid}, so the file has to be timed{self._timed_otherwise(target.device)}"
            new = listed(unknown_kinds)
            larger = listed(part.kind for part in found.parts if part.is_beyond)
            reasons = [f"unknown: {new}"] * bool(new) + [f"beyond the sizes measured: {larger}"] * bool(larger)
            return (
                f"only {found.known_share:.0%} of the time is sure to lie in operators that are known there "
                f"({'; '.join(reasons)}); asked for is {self._least_known:.0%}{self._timed_otherwise(target.device)}"
            )
        if unbounded:
            warnings = [*warnings, f"Nobody can say what {unbounded} may take: it is hardly counted. Time the file."]
        return FilePrediction(
            self._asked.file,
            self._asked.sha256,
            device,
            target,
            found.mean_ms,
            found.std_ms,
            Tier.ESTIMATED,
            found.known_share,
            found.parts,
            tuple(warnings),
        )


def _computes_in_either(target: Target) -> bool:
    """Tell whether the runtime computes in the float type that it is asked for, whatever floats a file has."""
    kind = find_kind(target.device)
    place = None if kind is None else places(kind.name).get(target.runtime)
    return place is not None and place.half == Half.RUNTIME


def _has(target: Target, parts: Sequence[str]) -> bool:
    return set(parts) <= set(split_spelled(str(target))[1:])


def _newest(costs: Sequence[StoredCosts]) -> list[StoredCosts]:
    """One a target: lists come newest first."""
    return list({one.target: one for one in reversed(costs)}.values())
