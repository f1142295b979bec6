"""Learn how large networks' files are from some that are written as deployed ones, and give the targets of a search
their sizes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fleetfront import __version__
from fleetfront.deploy.formats import ALL_FORMATS, FileFormat, int8_writer_of
from fleetfront.deploy.quantise.precisions import FILE_PRECISIONS, WEIGHT_BITS, Piece
from fleetfront.deploy.writers.tflite.metadata import FileDescription
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.deploy.bundling import versions
from fleetfront.pipelines.deploy.records import formats_timed_on
from fleetfront.plain import read_record, to_plain
from fleetfront.predictors.base import AccuracyModel, CostModel, JudgesWeights, KnowsPrecisions
from fleetfront.predictors.file_sizes import FileParts, FileSizes
from fleetfront.predictors.precision_costs import PrecisionCosts
from fleetfront.predictors.table.fit_files import write_json
from fleetfront.progress import SILENT, Progress
from fleetfront.quantities import SIZE
from fleetfront.search.problem import ProblemTarget
from fleetfront.spaces.base import Genotypes, HasPrecisions, HasSupernet, SearchSpace, plain_space
from fleetfront.targets import precision_in
from fleetfront.workspace import Workspace

#: Files that sizes are learnt from, and the seed of their draw.
FILES, _SEED = 20, 0
#: The letters of a class's name, and the bytes of a description, that one file has more or fewer than another.
_LABEL, _SAID = 8, 300.0
#: Written here on no machine without the device.
_BOUND = frozenset({"trt"})


def with_sizes(
    space: SearchSpace,
    targets: Sequence[ProblemTarget],
    accuracy: AccuracyModel,
    objectives: Sequence[str] = (),
    *,
    workspace: Workspace | None = None,
    progress: Progress = SILENT,
) -> list[ProblemTarget]:
    """The targets of a search with a model of their files' sizes, where one is an objective or limited.

    ``accuracy`` is of networks in float; where it judges weights, files hold a head for its classes.

    Raises InputError where no file of a target's runtime is written here, or the networks have none.
    """
    written = accuracy.supernet.space if isinstance(accuracy, JudgesWeights) else plain_space(space)
    learner = _Learner(written, workspace or Workspace.default(), progress)
    found = []
    for target in targets:
        if SIZE.name in objectives or SIZE.name in target.limits:
            target = replace(target, further={**target.further, SIZE.name: _sizes(space, target, learner)})
        found.append(target)
    return found


def _sizes(space: SearchSpace, target: ProblemTarget, learner: _Learner) -> CostModel:
    kind = _format_of(target)
    if isinstance(space, HasPrecisions) and isinstance(target.cost, KnowsPrecisions):
        return PrecisionCosts(space, {name: learner.sizes(kind, name) for name in target.cost.known_precisions})
    precision = precision_in(target.target)
    return learner.sizes(kind, precision if precision in FILE_PRECISIONS else "fp32")


def _format_of(target: ProblemTarget) -> FileFormat:
    names = formats_timed_on(target.target)[:1] if target.target else ()
    known = [name for name in names if name in ALL_FORMATS and name not in _BOUND]
    if not known:
        raise InputError(
            f"The size of files on {target.name} is not known: no file of its runtime is written here.",
            "Leave size out, or use params.",
        )
    return ALL_FORMATS[known[0]]


@dataclass(frozen=True, slots=True)
class _Written:
    """Bytes of some networks' files."""

    archs: tuple[str, ...]
    sizes: tuple[int, ...]


class _Learner:
    """Writes the same networks of a space in whatever format and precision is asked for, each once."""

    def __init__(self, space: SearchSpace, workspace: Workspace, progress: Progress) -> None:
        self._space, self._folder, self._progress = space, workspace.cache / "file_sizes", progress
        self._classes = space.classes if isinstance(space, HasSupernet) else 0
        self._parts: FileParts | None = None
        self._known: dict[tuple[str, str], FileSizes] = {}

    def sizes(self, kind: FileFormat, precision: str) -> FileSizes:
        key = (kind.name, precision)
        if key not in self._known:
            self._parts = self._parts or FileParts(self._space)
            drawn = _draw(self._space)
            written = self._written(drawn, kind, precision)
            said = _SAID + _LABEL * self._classes
            self._known[key] = FileSizes.learn(self._parts, drawn, written.sizes, precision, said)
        return self._known[key]

    def _written(self, drawn: Genotypes, kind: FileFormat, precision: str) -> _Written:
        archs = tuple(self._space.arch_ids(drawn))
        # Blocks tell spaces of one name apart, as those of other classes.
        of = (__version__, self._space.name, [block.key for block in self._space.vocabulary], archs)
        digest = hashlib.sha256(repr((of, kind.name, precision, sorted(versions().items()))).encode()).hexdigest()[:16]
        path = self._folder / f"{digest}.json"
        if path.is_file():
            try:
                kept = read_record(path, _Written, "list of file sizes", "Delete it: it is made again.")
                if kept.archs == archs and len(kept.sizes) == len(archs) and min(kept.sizes) > 0:
                    return kept
            except FleetfrontError:
                # A cache that cannot be read is made again.
                pass
        self._progress.start(f"write {kind.name} files in {precision} to learn their sizes", len(archs))
        write, sizes = _writer(kind, precision, self._classes), []
        for arch, genotype in zip(archs, drawn, strict=True):
            graphs = self._space.subnet_graphs(genotype).values()
            sizes.append(sum(len(write(graph)) for graph, _ in graphs))
            self._progress.advance(1, arch)
        self._progress.finish()
        made = _Written(archs, tuple(sizes))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, to_plain(made))
        return made


def _draw(space: SearchSpace) -> Genotypes:
    """``FILES`` distinct networks int8[n, v], fewer where a space has no more."""
    drawn = space.canonical(space.sample(20 * FILES, np.random.default_rng(_SEED)))
    _, first = np.unique(drawn, axis=0, return_index=True)
    kept: Genotypes = drawn[np.sort(first)[:FILES]]
    return kept


def _writer(kind: FileFormat, precision: str, classes: int) -> Callable[[Graph], bytes]:
    """The function that writes a float graph in a precision as it is handed out; int8 is calibrated on noise, which
    changes no byte's place."""

    def write(graph: Graph) -> bytes:
        if precision == "fp16":
            return kind.write(kind.half(graph))
        if precision in WEIGHT_BITS:
            return kind.weights_alone(kind.write(graph), WEIGHT_BITS[precision])
        if precision != "int8":
            return kind.write(graph)
        name = graph.inputs[0]
        shape = tuple(int(side) for side in graph.tensors[name].shape if isinstance(side, int))
        is_fed_floats = len(graph.inputs) == 1 and graph.tensors[name].dtype == "float32"
        if not is_fed_floats or len(shape) < len(graph.tensors[name].shape):
            return int8_writer_of(kind.name)(graph, Piece.NETWORK)
        if kind.layout == "NHWC" and len(shape) == len("NCHW"):
            shape = (shape[0], *shape[2:], shape[1])
        noise = np.random.default_rng(_SEED).normal(size=shape).astype(np.float32)
        return kind.quantise(kind.write(kind.int8(graph)), [{name: noise}])

    labels = tuple(f"{number:0{_LABEL}d}" for number in range(classes))
    said = FileDescription("network", "", "unknown", labels, (127.5,) * 3, (127.5,) * 3)

    def described(graph: Graph) -> bytes:
        data = write(graph)
        return kind.finish(data, said) if len(graph.inputs) == len(graph.outputs) == 1 else data

    return described
