"""Learn what a precision costs in accuracy: networks of a supernet are written in it as deployed files are, and files
and networks in float are judged on the same images.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.datasets import Dataset, Split
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import ALL_FORMATS, FileFormat
from fleetfront.deploy.quantise.precisions import BY_AGREEMENT
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.pipelines.deploy.bundling import versions
from fleetfront.pipelines.deploy.judging import run_images
from fleetfront.pipelines.deploy.network import form_of, narrowed
from fleetfront.pipelines.deploy.records import Network, is_timed_on
from fleetfront.pipelines.deploy.reference import TORCH_BATCH, torch_network
from fleetfront.pipelines.deploy.weights import Weights
from fleetfront.plain import read_record, to_plain
from fleetfront.predictors.accuracy.precisions import FLOAT, Drop, in_precisions, published_drop
from fleetfront.predictors.base import AccuracyModel, JudgesWeights, TellsTasks
from fleetfront.predictors.table.fit_files import write_json
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import Tier
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.base import Genotypes, HasPrecisions, SearchSpace
from fleetfront.targets import Target, precision_in, with_precision
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    from fleetfront.spaces.supernet.subnets import Supernet

#: Networks that a drop is learnt from, and images that they are judged on, at most.
NETWORKS, IMAGES = 12, 500
#: Of the draw of those networks.
_SEED = 0


@dataclass(frozen=True, slots=True)
class JudgedFile:
    """A network's file in some precision, and the network in float, on the same images.

    Attributes:
        correct, correct_in_float: how many of ``images`` got the right class.
    """

    arch: str
    format: str
    correct: int
    correct_in_float: int
    images: int

    @property
    def drop(self) -> float:
        """The points of accuracy that the file lost."""
        return 100 * (self.correct_in_float - self.correct) / self.images


def accuracy_in_precisions(
    space: SearchSpace,
    accuracy: AccuracyModel,
    targets: Sequence[ProblemTarget],
    stated: Mapping[str, Drop],
    *,
    workspace: Workspace | None = None,
    progress: Progress = SILENT,
) -> AccuracyModel:
    """The accuracies of networks in the precisions of ``space`` for a search on ``targets``; ``accuracy`` itself, which
    knows the networks in float, where the space has none. Raises InputError as ``find_drops`` and ``in_precisions`` do.
    """
    if not isinstance(space, HasPrecisions):
        return accuracy
    if isinstance(accuracy, TellsTasks):
        raise InputError(
            f"Networks in several precisions are searched by one accuracy, and {accuracy.source} tells "
            f"{' and '.join(task.name for task in accuracy.tasks)}.",
            "Leave out --precisions, or the objectives of the accuracy.",
        )
    named = [(target.target, precision_in(target.target).split(",")) for target in targets if target.target]
    known = [Target.parse(with_precision(text, precision)) for text, names in named for precision in names]
    drops = find_drops(space, accuracy, known, stated, workspace=workspace, progress=progress)
    return in_precisions(space, accuracy, drops)


def find_drops(
    space: HasPrecisions,
    accuracy: AccuracyModel,
    targets: Sequence[Target],
    stated: Mapping[str, Drop],
    *,
    workspace: Workspace | None = None,
    progress: Progress = SILENT,
) -> dict[str, Drop]:
    """The drop of each precision of a space but float.

    What is ``stated`` stands. Where the accuracy is judged on images, ``NETWORKS`` networks drawn from the space are
    written for the runtimes of ``targets`` and judged on the images that a search chooses by. For int8 what it cost
    other networks serves elsewhere, as an estimate.

    Raises InputError on a stated precision that is none of the space, or where nobody knows the drop of one.
    """
    strange = [name for name in stated if name not in space.precisions or name == FLOAT]
    if strange:
        raise InputError(
            f"--drop names {strange[0]}, which is no precision of this search that costs accuracy.",
            f"Name one of {', '.join(name for name in space.precisions if name != FLOAT) or 'none'}.",
        )
    found = dict(stated)
    for name in space.precisions:
        if name in found or name == FLOAT:
            continue
        kinds = _kinds_of(targets, name)
        if isinstance(accuracy, JudgesWeights) and kinds:
            drawn = draw_networks(accuracy.supernet, accuracy.images, NETWORKS, _SEED)
            judged = judge_files(
                accuracy.supernet, accuracy.images, drawn, name, kinds, workspace=workspace, progress=progress
            )
            formats = " and ".join(kind.name for kind in kinds)
            source = f"{len(drawn)} networks in {formats} files on {judged[0].images} images"
            found[name] = Drop.learn([one.drop for one in judged], Tier.PREDICTED, source)
        elif name == "int8":
            found[name] = published_drop()
    return found


def draw_networks(supernet: Supernet, images: Dataset, count: int, seed: int) -> Genotypes:
    """Distinct networks int8[n, v] of a supernet's space for images of that size; at most ``count``."""
    space = supernet.space
    drawn = space.canonical(
        space.at_resolution(space.sample(4 * count, np.random.default_rng(seed)), images.preprocessing.size)
    )
    _, first = np.unique(drawn, axis=0, return_index=True)
    kept: Genotypes = drawn[np.sort(first)[:count]]
    return kept


def judge_files(
    supernet: Supernet,
    images: Dataset,
    genotypes: Genotypes,
    precision: str,
    kinds: Sequence[FileFormat],
    *,
    split: Split = Split.VALIDATION,
    workspace: Workspace | None = None,
    progress: Progress = SILENT,
) -> list[JudgedFile]:
    """Write n networks int8[n, v] in a precision and judge files and networks on images of one split.

    What is judged is kept in the workspace, so that a killed command goes on. A network that no file can be made of is
    left out.
    """
    space, cache = supernet.space, _Kept(workspace or Workspace.default(), supernet, images, precision, split)
    archs = space.arch_ids(genotypes)
    progress.start(f"judge networks in {precision}", len(archs))
    found: list[JudgedFile] = []
    for arch, genotype in zip(archs, genotypes, strict=True):
        missing = [kind for kind in kinds if (arch, kind.name) not in cache.known]
        if missing:
            cache.add(_judged(supernet, images, genotype, arch, precision, missing, split))
        found += [cache.known[arch, kind.name] for kind in kinds if (arch, kind.name) in cache.known]
        progress.advance(1, arch)
    progress.finish()
    return found


def _kinds_of(targets: Sequence[Target], precision: str) -> list[FileFormat]:
    """The formats of the files that targets run, but for twins."""
    asked = [target for target in targets if target.precision == precision]
    kinds = [kind for kind in ALL_FORMATS.values() if not kind.twin]
    return [kind for kind in kinds if any(is_timed_on(target, kind, precision) for target in asked)]


def _judged(
    supernet: Supernet,
    images: Dataset,
    genotype: Genotypes,
    arch: str,
    precision: str,
    kinds: Sequence[FileFormat],
    split: Split,
) -> list[JudgedFile]:
    weights, contract = Weights(supernet, images), InputContract()
    network = Network(weights.graph(supernet.space, genotype), weights, images.preprocessing, ())
    rows = images.split[split]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(IMAGES, len(rows))).astype(np.intp))]
    labels, inputs = images.labels[rows], images.preprocessing.inputs(images.images[rows])
    run = torch_network(network.graph)
    named = [run(inputs[at : at + TORCH_BATCH]).argmax(axis=1) for at in range(0, len(inputs), TORCH_BATCH)]
    correct_in_float = int((np.concatenate(named) == labels).sum())
    found = []
    for kind in kinds:
        graph = form_of(network, kind, precision, contract)
        data = kind.write(graph)
        if precision in BY_AGREEMENT:
            data = narrowed(network, kind, precision, contract, data, graph.inputs[0])
        with tempfile.TemporaryDirectory(prefix="fleetfront-") as folder:
            path = Path(folder) / f"network.{kind.name}"
            path.write_bytes(data)
            session = load_runtime(kind.runtime).open(path)
            try:
                outputs = run_images(session, contract.as_fed(inputs, contract.layout(kind.layout)), contract.batch)
            finally:
                session.close()
        correct = int((outputs.argmax(axis=1) == labels).sum())
        found.append(JudgedFile(arch, kind.name, correct, correct_in_float, len(rows)))
    return found


class _Kept:
    """The files that were judged so far, kept as JSON under what decides the answers."""

    def __init__(self, workspace: Workspace, supernet: Supernet, images: Dataset, precision: str, split: Split) -> None:
        parts = (supernet.weights_id, images.content_hash, precision, split.value, IMAGES, sorted(versions().items()))
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        self._path = workspace.cache / "judged_files" / f"{digest}.json"
        rows: tuple[JudgedFile, ...] = ()
        if self._path.is_file():
            try:
                rows = read_record(self._path, _Rows, "list of judged files", "Delete it: it is made again.").rows
            except FleetfrontError:
                # A cache that cannot be read is made again.
                rows = ()
        self.known = {(row.arch, row.format): row for row in rows}

    def add(self, rows: Sequence[JudgedFile]) -> None:
        """Keep more. Raises InputError if they cannot be written."""
        self.known |= {(row.arch, row.format): row for row in rows}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, to_plain(_Rows(tuple(self.known.values()))))


@dataclass(frozen=True, slots=True)
class _Rows:
    rows: tuple[JudgedFile, ...]
