"""Accuracy measured with a supernet: cut, recalibrate batch-norm, classify labelled images; nothing is done twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.datasets import Dataset, Split
from fleetfront.errors import InputError
from fleetfront.quantities import Estimate, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.supernet.memory import kept_memory
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    import torch

    from fleetfront.spaces.supernet.subnets import Supernet

#: Correct answers and images of each of the networks int8[n, v], in their order, on a split: whoever computes them.
Spread = Callable[[Genotypes, Split], Iterator[tuple[int, int]]]

_PRECISION = "fp32"
#: Images in one forward pass of the evaluation.
_BATCH = 256
_TABLE = (
    "CREATE TABLE IF NOT EXISTS accuracies (weights TEXT, images TEXT, split TEXT, precision TEXT, arch TEXT,"
    " correct INTEGER, images_count INTEGER, PRIMARY KEY (weights, images, split, precision, arch))"
)


class SupernetAccuracy:
    """Top-1 on labelled images of the networks cut from a supernet. An AccuracyModel.

    Every answer is kept in the workspace by (architecture, weights, precision, images), so that a killed or repeated
    search evaluates nothing twice.
    """

    def __init__(
        self,
        supernet: Supernet,
        images: Dataset,
        source: str,
        workspace: Workspace,
        split: Split = Split.VALIDATION,
        spread: Spread | None = None,
    ) -> None:
        """``source`` is how a user spells it; recalibration uses the ``calibration`` split, accuracy ``split``.
        ``spread`` judges networks elsewhere; without it they are judged here, one by one.

        Raises InputError if the images have other classes than the weights, or the split is empty.
        """
        classes = supernet.space.classes
        if len(images.class_names) != classes:
            raise InputError(
                f"{images.source} has {len(images.class_names)} classes, the weights have {classes}.",
                "Give images of the classes that the weights were trained for.",
            )
        if not len(images.split[split]):
            raise InputError(f"The split {split.value!r} of {images.source} is empty.", "Give more images.")
        self._supernet = supernet
        self._images = images
        self._source = source
        self._workspace = workspace
        self._split = split
        self._spread = spread
        self._cache = workspace.cache / "accuracies.sqlite"
        self._key = (supernet.weights_id, images.content_hash, split.value, _PRECISION)

    @property
    def source(self) -> str:
        """How a user spells it."""
        return self._source

    @property
    def tier(self) -> Tier:
        """Measured on images."""
        return Tier.MEASURED

    @property
    def supernet(self) -> Supernet:
        """The weights that networks are cut from."""
        return self._supernet

    @property
    def images(self) -> Dataset:
        """The images that they are judged on."""
        return self._images

    @property
    def precision(self) -> str:
        """Networks compute in torch as they were trained."""
        return _PRECISION

    @property
    def fingerprint(self) -> str:
        """Differs where weights or images do, whatever their files are called."""
        return " ".join(self._key)

    @property
    def required(self) -> dict[str, int]:
        """Genes that a search must hold: the networks take images of the size that was loaded."""
        has_sizes = "resolution" in self._supernet.space.gene_names
        return {"resolution": self._images.preprocessing.size} if has_sizes else {}

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Accuracy in percent of n architectures int8[n, v]; the std is the binomial one of that many images.

        Raises InputError if an architecture is of another resolution than the images.
        """
        archs = self._supernet.space.arch_ids(self._supernet.space.canonical(genotypes))
        known = self._recall()
        rows = {arch: row for row, arch in enumerate(archs) if arch not in known}
        for arch, counts in zip(rows, self._counts(genotypes[list(rows.values())]), strict=True):
            known[arch] = counts
            self._keep(arch, *counts)
        correct = np.array([known[arch][0] for arch in archs], dtype=np.float64)
        count = np.array([known[arch][1] for arch in archs], dtype=np.float64)
        share = correct / count
        # Laplace's rule keeps the std of a perfect score above zero.
        smooth = (correct + 1) / (count + 2)
        return Estimate(100 * share, 100 * np.sqrt(smooth * (1 - smooth) / count), self.tier)

    @property
    def held_out_images(self) -> int:
        """Images of the ``test`` split."""
        return len(self._images.split[Split.TEST])

    def held_out(self, genotypes: Genotypes) -> Estimate:
        """``predict`` on the ``test`` split: what a chosen network is to be promised with.

        The best of many networks on some images is better on these than on any others, and those few images are easier
        or harder than others for all networks alike; nothing of both is in the standard deviation of ``predict``.
        """
        return self.on(Split.TEST).predict(genotypes)

    def on(self, split: Split) -> SupernetAccuracy:
        """The same weights on other images of the same set."""
        return SupernetAccuracy(self._supernet, self._images, self._source, self._workspace, split, self._spread)

    def spread_over(self, spread: Spread) -> SupernetAccuracy:
        """The same accuracy, judged by others."""
        return SupernetAccuracy(self._supernet, self._images, self._source, self._workspace, self._split, spread)

    def _counts(self, genotypes: Genotypes) -> Iterator[tuple[int, int]]:
        if self._spread is not None:
            return self._spread(genotypes, self._split)
        return self._counted_here(genotypes)

    def _counted_here(self, genotypes: Genotypes) -> Iterator[tuple[int, int]]:
        with kept_memory():
            # One by one: every network is another graph with other weights.
            yield from map(self.evaluate, genotypes)

    def evaluate(self, genotype: Genotypes) -> tuple[int, int]:
        """Correct answers and images of one network int8[v], computed here and now; nothing is looked up or kept."""
        import torch

        from fleetfront.graphs.torch_module import run_graph
        from fleetfront.spaces.supernet.recalibration import recalibrated_statistics
        from fleetfront.spaces.supernet.subnets import placeholder_graph

        weights = self._supernet.cut(genotype)
        graph = placeholder_graph(self._supernet.space, genotype, weights)
        recalibration, inputs, labels = self._tensors
        with _one_thread(), torch.inference_mode():
            statistics = recalibrated_statistics(graph, weights, recalibration)
            correct = 0
            for start in range(0, len(inputs), _BATCH):
                (logits,) = run_graph(graph, {**weights, **statistics}, (inputs[start : start + _BATCH],))
                correct += int((logits.argmax(dim=1) == labels[start : start + _BATCH]).sum())
        return correct, len(inputs)

    @cached_property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images to recalibrate on, images to classify (both channels last, the faster layout on a CPU), labels."""
        import torch

        recalibration, inputs = (
            torch.from_numpy(self._images.inputs(split)).contiguous(memory_format=torch.channels_last)
            for split in (Split.CALIBRATION, self._split)
        )
        return recalibration, inputs, torch.from_numpy(self._images.targets(self._split))

    def _recall(self) -> dict[str, tuple[int, int]]:
        if not self._cache.is_file():
            return {}
        query = (
            "SELECT arch, correct, images_count FROM accuracies"
            " WHERE weights = ? AND images = ? AND split = ? AND precision = ?"
        )
        with closing(self._connect()) as connection:
            rows: Iterable[tuple[str, int, int]] = connection.execute(query, self._key).fetchall()
        return {arch: (correct, count) for arch, correct, count in rows}

    def _keep(self, arch: str, correct: int, count: int) -> None:
        with closing(self._connect()) as connection, connection:
            connection.execute(
                "INSERT OR REPLACE INTO accuracies VALUES (?, ?, ?, ?, ?, ?, ?)", (*self._key, arch, correct, count)
            )

    def _connect(self) -> sqlite3.Connection:
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._cache, timeout=30.0)
            connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"The cache of accuracies {self._cache} cannot be used ({error}).",
                "Delete it, or free some space; it holds nothing that cannot be evaluated again.",
            ) from error
        return connection


@contextmanager
def _one_thread() -> Iterator[None]:
    """Such small networks gain nothing from more threads, and on a busy machine these wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
