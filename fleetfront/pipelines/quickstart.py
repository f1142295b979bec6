"""The whole story in a few minutes, on a small space: train, profile two runtimes, fit, search, deploy, check.

Every step is the public one; only the last, accuracy of the written files, is computed here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.datasets import DIGITS, Dataset, Split, load_images
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.formats import FORMATS
from fleetfront.files import check_folder
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.accuracy_workers import open_workers
from fleetfront.pipelines.deploy.deploy import Deployed, Measuring, Pick, Weights, deploy_picks
from fleetfront.pipelines.deploy.picks import pick_spread
from fleetfront.pipelines.fit.fit import fit_report, fit_target
from fleetfront.pipelines.knowledge.remembered import remember_fronts
from fleetfront.pipelines.measure.profile import Budget, profile_space
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.pipelines.supernet_accuracy import supernet_loader
from fleetfront.predictors.base import HasClock
from fleetfront.predictors.table.calibrated import CalibratedTable
from fleetfront.predictors.table.fit_files import write_json
from fleetfront.profilers.store.store import Store
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.catalogue import runtime_for_file
from fleetfront.search.fronts_file import FRONTS_FILE
from fleetfront.search.problem import ProblemTarget
from fleetfront.search.results import Fronts
from fleetfront.spaces.base import SupernetSpace
from fleetfront.spaces.ofa_resnet50.space import ofa_resnet_mini
from fleetfront.spaces.supernet.memory import kept_memory
from fleetfront.spaces.supernet.subnets import Supernet
from fleetfront.spaces.supernet.training import TrainingSettings, train_supernet
from fleetfront.targets import Target
from fleetfront.workspace import Workspace

#: Both runtimes of this machine's CPU that the story is told with.
TARGETS = (Target("cpu", "onnxruntime"), Target("cpu", "litert"))

#: Threads that train, and processes that judge accuracies.
CORES = min(2, os.cpu_count() or 1)

#: Many small steps, since there is time for three passes alone. In so few the smallest network would be far ahead of
#: its neighbours if it was visited at every step: it is at two or three in each.
TRAINING = TrainingSettings(epochs=3, batch_size=32, random_subnets=1, smallest_every=16, threads=CORES)

#: Together with a minute of training, all fits into five minutes on two slow cores.
PROFILE_BUDGET = Budget("quickstart", 17.0)
EVALUATIONS = 28
STRATEGY = "surrogate"
PICKS = 3

#: Folders of the results.
FRONTS, BASELINE, FITS = "fronts", "random", "fits"


@dataclass(frozen=True, slots=True)
class FileResult:
    """One deployed file beside what was promised of it. Accuracies are on held-out images, in percent.

    Attributes:
        predicted_ms: by the fitted model, with ``predicted_std_ms`` for whenever the file runs, None where the model
            knows too little of other sittings than its own.
        sitting_ms: by the model brought up to the sitting in which the file was measured, for that sitting alone.
    """

    pick: str
    arch: str
    format: str
    path: str
    promised_accuracy: float
    promised_std: float
    torch_accuracy: float
    file_accuracy: float
    same_class: float
    predicted_ms: float
    predicted_std_ms: float | None
    sitting_ms: float | None
    sitting_std_ms: float | None
    measured_ms: float | None
    clock: str


@dataclass(frozen=True, slots=True)
class Quickstart:
    """Everything that the story made: where, and how it came out.

    Attributes:
        baseline: what as many networks drawn at random reach.
    """

    out: Path
    weights: Path
    training_s: float
    fits: Mapping[str, dict[str, Any]]
    fronts: Fronts
    baseline: Fronts
    files: tuple[FileResult, ...]
    failures: tuple[str, ...]

    @property
    def front_folders(self) -> tuple[Path, ...]:
        """Where the fronts lie: the story's own, then those of random search."""
        return self.out / FRONTS, self.out / BASELINE

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "schema": "fleetfront.quickstart/1",
            "out": str(self.out),
            "weights": str(self.weights),
            "training_seconds": self.training_s,
            "fits": {name: dict(report) for name, report in self.fits.items()},
            "fronts": str(self.out / FRONTS / FRONTS_FILE),
            "random": str(self.out / BASELINE / FRONTS_FILE),
            "hypervolume": {
                front.name: {"fronts": front.hypervolume, "random": self.baseline.device(front.name).hypervolume}
                for front in self.fronts.devices
            },
            "files": [asdict(file) for file in self.files],
            "failures": list(self.failures),
        }


def run_quickstart(
    out: Path,
    *,
    workspace: Workspace,
    store: Store,
    space: SupernetSpace | None = None,
    seed: int = 0,
    settings: TrainingSettings | None = None,
    budget: Budget = PROFILE_BUDGET,
    evaluations: int = EVALUATIONS,
    progress: Progress = SILENT,
) -> Quickstart:
    """Tell the story into the folder ``out``. Type it again to go on where it was stopped; trained weights are reused.

    Args:
        out: gets ``fits/``, ``fronts/``, ``random/`` and ``bundles/``; its bundles of an earlier run are replaced.
        workspace: where weights and models are kept.
        store: where every measurement goes.
        space: a family of images of one side; by default ``ofa-resnet-mini``.
        seed: of training, sampling and search.
        settings: of the training; the default takes about a minute on two slow cores.
        budget: of each runtime's profile.
        evaluations: networks whose accuracy is measured, and once more as many drawn at random.
        progress: told of every step.

    Raises:
        MissingDependency: an extra is not installed.
        InputError: ``out`` cannot be written; said before anything is trained.
        FleetfrontError: whatever the steps raise.
    """
    for folder in (FITS, FRONTS, BASELINE):
        check_folder(out / folder, out)
    space = space or ofa_resnet_mini()
    progress.note("1/5  Train a supernet on handwritten digits")
    images = load_images(DIGITS, space.resolutions[-1])
    trained = train_supernet(
        space, images, settings or replace(TRAINING, seed=seed), workspace=workspace, progress=progress
    )
    progress.note("2/5  Measure blocks and networks on this machine's CPU, in both runtimes, and fit latency models")
    fits, targets, tables = {}, [], {}
    for target in TARGETS:
        found = profile_space(space, target, store=store, budget=budget, workspace=workspace, progress=progress)
        one, tables[target], fits[one.name] = _fitted(store, target, space, out, workspace)
        targets.append(one)
    progress.note("3/5  Search both runtimes at once, with measured accuracy")
    options = SearchOptions(STRATEGY, evaluations, seed, explain=True)
    fronts, baseline = _searched(space, targets, trained.path, options, out, workspace, progress)
    progress.note("4/5  Deploy three networks for both runtimes, proven against torch, and time the very files")
    picks = _picks(fronts, targets, space)
    statistics = {Target.parse(report["target"]): report["statistic"] for report in fits.values()}
    clock = found.observations.clock
    measuring = Measuring(store, TARGETS, clock, statistics, space=space.name, workspace=workspace, models=tables)
    weights, formats, bundles = Weights(trained.supernet, images), tuple(FORMATS.values()), out / "bundles"
    with kept_memory():
        done = deploy_picks(picks, space, weights, formats, bundles, measuring=measuring, force=True, progress=progress)
        progress.note("5/5  Run the written files on digits that neither training nor search has seen")
        files = [row for one in done if one.folder is not None for row in _results(one, trained.supernet, images)]
    failures = tuple(str(one.error) for one in done if one.error is not None)
    return Quickstart(out, trained.path, trained.wall_s, fits, fronts, baseline, tuple(files), failures)


def _fitted(
    store: Store, target: Target, space: SupernetSpace, out: Path, workspace: Workspace
) -> tuple[ProblemTarget, CalibratedTable, dict[str, Any]]:
    """The latency model of what was just measured, to search with and alone, and its report, which is written too."""
    outcome = fit_target(store, target, space, workspace=workspace)
    name, report = f"{target.device}-{target.runtime}", fit_report(outcome)
    write_json(out / FITS / f"fit-{name}.json", report)
    return ProblemTarget(name, outcome.chosen.table, str(target)), outcome.chosen.table, report


def _searched(
    space: SupernetSpace,
    targets: Sequence[ProblemTarget],
    weights: Path,
    options: SearchOptions,
    out: Path,
    workspace: Workspace,
    progress: Progress,
) -> tuple[Fronts, Fronts]:
    """The search's fronts, and those of as many networks drawn at random."""
    at_random = replace(options, strategy="random", explain=False)
    with open_workers(CORES) as workers:
        accuracy = supernet_loader(DIGITS, workspace, progress, workers)(str(weights), space)
        fronts = search_space(space, targets, accuracy, options, out=out / FRONTS, progress=progress)
        remember_fronts(out / FRONTS, workspace)
        return fronts, search_space(space, targets, accuracy, at_random, out=out / BASELINE, progress=progress)


def _picks(fronts: Fronts, targets: Sequence[ProblemTarget], space: SupernetSpace) -> list[Pick]:
    """Picks of the first device's front, with what the models of all devices promise of them."""
    picks = []
    for rank, pick in enumerate(pick_spread(fronts, targets[0].name, PICKS), 1):
        rows = []
        for target in targets:
            model = target.cost
            estimate = model.predict(space.parse([pick.arch]))
            rows.append(
                {
                    "target": target.target,
                    "ms": float(estimate.mean[0]),
                    "std_ms": estimate.promised_std[0],
                    "tier": estimate.tier.value,
                    "clock": model.clock.value if isinstance(model, HasClock) else "unknown",
                    "is_prediction": True,
                }
            )
        picks.append(Pick(f"digits-{rank}", pick.arch, tuple(rows), pick.accuracy))
    return picks


def _results(one: Deployed, supernet: Supernet, images: Dataset) -> list[FileResult]:
    inputs, labels = images.inputs(Split.TEST), images.targets(Split.TEST)
    if one.folder is None:
        return []
    graph = Weights(supernet, images).graph(supernet.space, supernet.space.parse([one.pick.arch])[0])
    reference = _torch_classes(graph, inputs)
    promised = {row["target"]: row for row in one.pick.latency}
    rows = []
    measured = {latency.target.runtime: latency for latency in one.measured}
    for file in read_manifest(one.folder)["files"]:
        latency = measured[FORMATS[file["format"]].runtime]
        classes = file_classes(one.folder / file["path"], inputs, file["input"]["layout"])
        said = promised[str(latency.target)]
        today = None if latency.promises is None else latency.promises.this_sitting
        rows.append(
            FileResult(
                pick=one.pick.name,
                arch=one.pick.arch,
                format=file["format"],
                path=str(one.folder / file["path"]),
                promised_accuracy=one.pick.accuracy[0]["value"],
                promised_std=one.pick.accuracy[0]["std"],
                torch_accuracy=100 * float(np.mean(reference == labels)),
                file_accuracy=100 * float(np.mean(classes == labels)),
                same_class=100 * float(np.mean(classes == reference)),
                predicted_ms=said["ms"],
                predicted_std_ms=said["std_ms"],
                sitting_ms=None if today is None else today.ms,
                sitting_std_ms=None if today is None else today.std_ms,
                measured_ms=latency.ms,
                clock=latency.clock.value,
            )
        )
    return rows


def file_classes(path: Path, inputs: NDArray[np.float32], layout: str) -> NDArray[np.int64]:
    """int64[n]: the class that a model file of batch 1 gives each of inputs float32[n, 3, r, r] in its runtime."""
    session = runtime_for_file(path).open(path)
    name = session.inputs[0].name
    images = inputs if layout == "NCHW" else np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
    try:
        # One image a call: the files have batch 1, as an app would use them.
        logits = [next(iter(session.run({name: image[None]}).values()))[0] for image in images]
    finally:
        session.close()
    classes: NDArray[np.int64] = np.argmax(np.stack(logits), axis=1)
    return classes


def _torch_classes(graph: Graph, inputs: NDArray[np.float32]) -> NDArray[np.int64]:
    import torch

    from fleetfront.graphs.batch import with_batch
    from fleetfront.graphs.torch_module import TorchModule

    module = TorchModule(with_batch(graph, len(inputs))).eval()
    with torch.inference_mode():
        result = module(torch.from_numpy(inputs))
    logits = result[0] if isinstance(result, tuple) else result
    classes: NDArray[np.int64] = logits.argmax(dim=1).numpy()
    return classes
