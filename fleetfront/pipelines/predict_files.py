"""Predict what a model file or a torch module takes on devices: measured before, by operator costs, or estimated.

A file that was timed is answered from the store by its SHA-256. Otherwise a device's measured operator costs are asked,
and where there are none the estimates that the package ships.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetfront.device_configs.loader import load_device
from fleetfront.errors import InputError, unknown
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.file_predictions import FilePrediction, Predictions
from fleetfront.predictors.operators.classes import estimate_by_classes
from fleetfront.predictors.operators.cost_files import list_costs
from fleetfront.predictors.operators.costs import GraphEstimate, OperatorCosts
from fleetfront.predictors.operators.model import OperatorModel, operator_models
from fleetfront.profilers.file_facts import file_precision
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
        InputError: a file that is damaged or leaves a size open, an unknown device, or no device that can be answered.
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
        precision = file_precision(path)
    else:
        from fleetfront.graphs.readers.torch import read_module

        if sample is None:
            raise InputError("A torch module was given without an input.", "Give a sample: predict(module, sample).")
        graph, suffix, precision = read_module(model, sample), "", "fp32"
        sha256, file = graph.content_hash, graph.name
    known = _Known(place, store or place.store, suffix, precision, least_known)
    return known.predict(file, sha256, fold_batch_norm(graph), names)


def _read(path: Path, shapes: Mapping[str, Sequence[int]]) -> tuple[Graph, str]:
    from fleetfront.graphs.readers.file import read_graph

    return read_graph(path, shapes), path.suffix.lower().removeprefix(".")


class _Known:
    """The sources that can answer for graphs, by device."""

    def __init__(self, place: Workspace, store: Path, suffix: str, precision: str, least_known: float) -> None:
        self._store, self._suffix, self._precision = store, suffix, precision
        self._least_known = least_known
        self._costs, damaged = list_costs(place)
        self._damaged = [error.message for error in damaged]
        self._models = operator_models()

    def predict(self, file: str, sha256: str, graph: Graph, names: Sequence[str]) -> Predictions:
        """Raises InputError if no device can be answered for."""
        rows: list[FilePrediction] = []
        refusals = list(self._damaged)
        measured = self._measured(file, sha256)
        for device in self._wanted(names, measured):
            found = self._answers(file, sha256, graph, device, measured)
            rows += [row for row in found if isinstance(row, FilePrediction)]
            refusals += [row for row in found if isinstance(row, str)]
        if not rows:
            raise InputError(
                f"{file} cannot be predicted on any of these devices: {'; '.join(dict.fromkeys(refusals))}",
                "Time it where it will run: fleetfront profile --device NAME --file FILE",
            )
        return Predictions(rows, refusals)

    def _wanted(self, names: Sequence[str], measured: Sequence[FilePrediction]) -> list[str]:
        known = list(
            dict.fromkeys(
                [*(m.device for m in measured), *(c.target.device for c in self._costs), *sorted(self._models)]
            )
        )
        wanted = list(dict.fromkeys(one for name in names for one in (known if name == ALL else [name])))
        for name in wanted:
            if name.split(_SEPARATOR)[0] not in known:
                error = unknown("device with operator costs or a shipped estimate", name, known)
                raise InputError(
                    error.message,
                    f"{error.remedy} To measure its operators: fleetfront profile --device {name} --operators",
                )
        return wanted

    def _answers(
        self, file: str, sha256: str, graph: Graph, device: str, measured: Sequence[FilePrediction]
    ) -> list[FilePrediction | str]:
        """Measured targets of the device first, then its operator costs, else its shipped estimate."""
        name, *parts = device.split(_SEPARATOR)
        answers: list[FilePrediction | str] = [
            row for row in measured if row.device == name and _has(row.target, parts)
        ]
        timed = {row.target for row in answers if isinstance(row, FilePrediction)}
        costs = [one for one in self._costs if one.target.device == name and _has(one.target, parts)]
        usual = [one for one in costs if self._opens(one.target)] or costs
        for one in _newest(usual):
            if one.target not in timed:
                answers.append(self._by_costs(file, sha256, graph, one))
        if not answers and name in self._models:
            answers.append(self._by_classes(file, sha256, graph, name, self._models[name]))
        return answers or [f"{device}: nothing is known of it"]

    def _opens(self, target: Target) -> bool:
        """Tell whether the target runs the file as it is; a module may be written for any."""
        facts = find_facts(target.runtime)
        return not self._suffix or facts is None or self._suffix in facts.formats

    def _by_costs(self, file: str, sha256: str, graph: Graph, costs: OperatorCosts) -> FilePrediction | str:
        warnings = []
        if not self._opens(costs.target):
            warnings.append(f"{costs.target.runtime} opens no .{self._suffix} files: of the same network converted.")
        return self._row(file, sha256, costs.target.device, costs.target, costs.estimate(graph), warnings)

    def _by_classes(
        self, file: str, sha256: str, graph: Graph, name: str, model: OperatorModel
    ) -> FilePrediction | str:
        try:
            config = load_device(name)
        except InputError as error:
            return f"{name}: {error.message}"
        if objection := model.objection(config):
            return f"{name}: {objection}"
        if self._precision not in ("fp32", "unknown"):
            return f"{name}: its estimate is of fp32, the file is {self._precision}"
        found = estimate_by_classes(model, graph, config.target.batch)
        return self._row(file, sha256, name, config.target, found, [model.warning])

    def _row(
        self, file: str, sha256: str, device: str, target: Target, found: GraphEstimate, warnings: Sequence[str]
    ) -> FilePrediction | str:
        if found.known_share < self._least_known:
            kinds = sorted({part.kind for part in found.parts if not part.is_known})
            return (
                f"{device}: only {found.known_share:.0%} of the time lies in operators that are known there (unknown: "
                f"{', '.join(kinds[:6])}{' and more' if len(kinds) > 6 else ''}); asked for is {self._least_known:.0%}"
            )
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


def _has(target: Target, parts: Sequence[str]) -> bool:
    return set(parts) <= set(str(target).split(_SEPARATOR)[1:])


def _newest(costs: Sequence[OperatorCosts]) -> list[OperatorCosts]:
    """One a target: lists come newest first."""
    return list({one.target: one for one in reversed(costs)}.values())
