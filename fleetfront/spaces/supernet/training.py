"""Train a small supernet from scratch on labelled images: sandwich rule with in-place distillation.

Each step trains the largest network on the labels, and the smallest and a few random ones on what the largest says, as
in Yu et al., "BigNAS" (ECCV 2020). Evaluating what was trained lives elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import FleetfrontError, InputError, missing
from fleetfront.progress import SILENT, Progress
from fleetfront.spaces.base import Genotypes, SearchSpace, SupernetSpace
from fleetfront.spaces.supernet.checkpoints import load_supernet, save_supernet
from fleetfront.spaces.supernet.memory import kept_memory
from fleetfront.spaces.supernet.safetensors_file import read_safetensors, write_safetensors
from fleetfront.spaces.supernet.subnets import (
    Provenance,
    Supernet,
    largest,
    placeholder_graph,
    products,
    smallest,
    untrained,
)
from fleetfront.workspace import Workspace

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_FORMAT = "fleetfront.training/1"
#: Changes when the same settings no longer give the same weights.
_RECIPE = 1
_WARM_UP_EPOCHS = 2


class Preprocesses(Protocol):
    """The way from an image to an input."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values that say it all."""


class LabelledImages(Protocol):
    """The part of a data set that training needs; ``datasets.Dataset`` is one."""

    @property
    def content_hash(self) -> str:
        """Identity of pixels, labels and splits."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a class."""

    @property
    def source(self) -> str:
        """Where the images come from."""

    @property
    def preprocessing(self) -> Preprocesses:
        """How ``inputs`` are made of them."""

    def inputs(self, split: str) -> NDArray[np.float32]:
        """float32[m, 3, r, r] of a split (``train``, ``calibration``), preprocessed."""

    def targets(self, split: str) -> NDArray[np.int64]:
        """int64[m] labels of a split."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Everything that decides the weights besides space and images.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        learning_rate: of AdamW at its peak; it warms up over two epochs and falls along a cosine.
        weight_decay: of kernels and the classifier.
        random_subnets: networks drawn a step besides the largest.
        smallest_every: steps between two visits to the smallest network. At every step it would be trained far more
            than its neighbours and beat them for that reason alone.
        label_smoothing: of the labels that the largest network learns from.
        shift: largest random shift of an image, as a share of its side.
        rotation_deg: largest random rotation, degrees.
        zoom: largest random change of size, as a share.
        flip: whether images are mirrored at random; wrong for digits and letters.
        seed: of weights, order, augmentation and drawn networks.
        threads: torch threads; the same number gives the same weights on the same machine.
    """

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 5e-3
    weight_decay: float = 0.02
    random_subnets: int = 2
    smallest_every: int = 3
    label_smoothing: float = 0.05
    shift: float = 0.08
    rotation_deg: float = 10.0
    zoom: float = 0.1
    flip: bool = False
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A trained supernet, its file, what the run took (zero if the file was there already)."""

    supernet: Supernet
    path: Path
    wall_s: float
    cpu_s: float
    is_cached: bool


def trained_path(
    space: SupernetSpace, images: LabelledImages, settings: TrainingSettings, workspace: Workspace
) -> Path:
    """Where the weights of this very training lie: named by a hash over space, images and settings."""
    identity = json.dumps([_RECIPE, space.identity, images.content_hash, asdict(settings)], sort_keys=True)
    return workspace.weights / f"{space.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.safetensors"


def train_supernet(
    space: SupernetSpace,
    images: LabelledImages,
    settings: TrainingSettings,
    *,
    workspace: Workspace,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Train a supernet of ``space`` on the ``train`` images, or load it if this very training was done before.

    A killed training goes on after its last finished epoch when called again, to the same weights. The running
    statistics are those of the largest network on the ``calibration`` images.

    Args:
        space: gets as many classes as the images have.
        images: of a resolution that the space has.
        settings: what else decides the weights.
        workspace: weights, and the state of an unfinished training, go to its ``weights`` folder.
        progress: counts epochs.

    Raises:
        InputError: the images do not fit the space, or a setting makes no sense.
        FleetfrontError: the loss is no longer finite.
        MissingDependency: torch or safetensors is not installed.
    """
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise missing(error.name or "torch", "torch", "Training a supernet") from error
    space = space.with_classes(len(images.class_names))
    path = trained_path(space, images, settings, workspace)
    if path.exists():
        return TrainingResult(load_supernet(path, space), path, 0.0, 0.0, True)
    run = _Run(space, images, settings, path.with_name(path.stem + ".state.safetensors"))
    with _threads(settings.threads), kept_memory():
        supernet = run.to_the_end(progress)
    save_supernet(supernet, path)
    run.state_path.unlink(missing_ok=True)
    return TrainingResult(supernet, path, run.wall_s, run.cpu_s, False)


class _Run:
    """Parameters, optimiser and how far the training is. Randomness depends on seed and epoch alone."""

    def __init__(
        self, space: SupernetSpace, images: LabelledImages, settings: TrainingSettings, state_path: Path
    ) -> None:
        import torch

        self.space, self.images, self.settings, self.state_path = space, images, settings, state_path
        inputs = images.inputs("train")
        self.side = inputs.shape[-1]
        space.at_resolution(largest(space), self.side)
        self.inputs = torch.from_numpy(inputs)
        self.targets = torch.from_numpy(images.targets("train"))
        if not 1 <= settings.batch_size <= len(inputs) or settings.epochs < 1 or settings.random_subnets < 0:
            raise InputError(
                f"{len(inputs)} training images cannot be trained on in {settings.epochs} epoch(s) of batches of "
                f"{settings.batch_size}.",
                "Use at least one epoch and a batch size up to the number of images.",
            )
        self.tensors = untrained(space, settings.seed).tensors
        self.parameters = {n: t for n, t in self.tensors.items() if not n.endswith((".mean", ".variance"))}
        for tensor in self.parameters.values():
            tensor.requires_grad_()
        self.optimiser = _optimiser(self.parameters, products(space), settings)
        self.epoch, self.wall_s, self.cpu_s = 0, 0.0, 0.0
        self._resume()

    def to_the_end(self, progress: Progress) -> Supernet:
        settings = self.settings
        progress.start(f"Training {self.space.name} on {self.images.source}", settings.epochs)
        progress.advance(self.epoch)
        try:
            while self.epoch < settings.epochs:
                wall, cpu = time.perf_counter(), time.process_time()
                loss = self._one_epoch()
                self.epoch += 1
                self.wall_s += time.perf_counter() - wall
                self.cpu_s += time.process_time() - cpu
                self._save()
                progress.advance(1, f"loss {loss:.3f}")
        finally:
            progress.finish()
        return self._finished()

    def _one_epoch(self) -> float:
        """Mean loss of the largest network."""
        import torch

        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + self.epoch)
        rng = np.random.default_rng([settings.seed, self.epoch])
        order = torch.randperm(len(self.inputs), generator=generator)
        steps = len(self.inputs) // settings.batch_size
        total = 0.0
        for step in range(steps):
            chosen = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            batch = augmented(self.inputs[chosen], settings, generator)
            # Measured at half the time of channels first.
            batch = batch.contiguous(memory_format=torch.channels_last)
            for group in self.optimiser.param_groups:
                group["lr"] = _learning_rate(settings, self.epoch + step / steps)
            self.optimiser.zero_grad(set_to_none=True)
            others = list(drawn_evenly(self.space, settings.random_subnets, rng))
            if step % settings.smallest_every == 0:
                others.append(smallest(self.space))
            total += self._sandwich(batch, self.targets[chosen], others)
            self.optimiser.step()
        if not math.isfinite(total):
            raise FleetfrontError(
                f"Training diverged in epoch {self.epoch + 1} (loss {total}).", "Use a smaller learning rate."
            )
        return total / steps

    def _sandwich(self, batch: Tensor, targets: Tensor, others: Sequence[Genotypes]) -> float:
        """Gradients of the largest network on labels, of the ``others`` on the largest's answers; the former's loss."""
        from torch.nn.functional import cross_entropy

        logits = self._logits(largest(self.space), batch)
        loss = cross_entropy(logits, targets, label_smoothing=self.settings.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        answers = logits.detach().softmax(dim=1)
        for genotype in others:
            distilled = cross_entropy(self._logits(genotype, batch), answers)
            distilled.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _logits(self, genotype: Genotypes, batch: Tensor) -> Tensor:
        from fleetfront.graphs.torch_module import run_graph

        genotype = self.space.at_resolution(genotype, self.side)
        weights = self.space.cut(self.tensors, genotype)
        (logits,) = run_graph(placeholder_graph(self.space, genotype, weights), weights, (batch,), training=True)
        return logits

    def _finished(self) -> Supernet:
        import torch

        from fleetfront.spaces.supernet.recalibration import recalibrated_statistics

        tensors = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        genotype = self.space.at_resolution(largest(self.space), self.side)
        graph = placeholder_graph(self.space, genotype, self.space.cut(tensors, genotype))
        tensors |= recalibrated_statistics(graph, tensors, torch.from_numpy(self.images.inputs("calibration")))
        training = {
            **asdict(self.settings),
            "images": self.images.source,
            "images_sha256": self.images.content_hash,
            "wall_s": round(self.wall_s, 1),
            "cpu_s": round(self.cpu_s, 1),
        }
        provenance = Provenance(
            source=f"trained by fleetfront on {Path(self.images.source).name}",
            class_names=self.images.class_names,
            preprocessing=self.images.preprocessing.to_dict(),
            training=training,
        )
        return Supernet(self.space, tensors, provenance)

    def _save(self) -> None:
        """Everything that the next epoch depends on; the file is whole or absent."""
        stored = {f"weight/{name}": tensor for name, tensor in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                stored[f"{key}/{name}"] = value
        metadata = {"format": _FORMAT, "epoch": self.epoch, "wall_s": self.wall_s, "cpu_s": self.cpu_s}
        write_safetensors(stored, self.state_path, {key: str(value) for key, value in metadata.items()})

    def _resume(self) -> None:
        import torch

        if not self.state_path.exists():
            return
        try:
            stored, metadata = read_safetensors(self.state_path)
            if metadata.get("format") != _FORMAT:
                raise KeyError("format")
            self.epoch = int(metadata["epoch"])
            self.wall_s, self.cpu_s = float(metadata["wall_s"]), float(metadata["cpu_s"])
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(stored[f"weight/{name}"])
                    keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}/{name}" in stored]
                    if keys:
                        self.optimiser.state[parameter] = {key: stored[f"{key}/{name}"] for key in keys}
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{self.state_path} is not the state of this training ({error}).", "Delete it and train again."
            ) from error


def drawn_evenly(space: SearchSpace, n: int, rng: np.random.Generator) -> Genotypes:
    """int8[n, v]: canonical networks of all sizes alike.

    Genes drawn uniformly would make nearly all networks of middling size. Here each network has its own tilt t in
    -3..3, and picks the i-th of m choices with a weight of exp(t * i / (m - 1)).
    """
    tilts = rng.uniform(-3.0, 3.0, size=n)
    genotypes = np.zeros((n, len(space.choices)), dtype=np.int8)
    for gene, values in enumerate(space.choices):
        weights = np.exp(tilts[:, None] * np.linspace(0.0, 1.0, len(values)))
        bounds = np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)
        genotypes[:, gene] = (rng.random((n, 1)) > bounds[:, :-1]).sum(axis=1)
    return space.canonical(genotypes)


def augmented(images: Tensor, settings: TrainingSettings, generator: torch.Generator) -> Tensor:
    """Images float32[n, 3, r, r] shifted, turned, zoomed and mirrored at random, each in its own way."""
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    def spread(limit: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * limit

    angle = spread(math.radians(settings.rotation_deg))
    scale = 1 + spread(settings.zoom)
    mirror = torch.ones(len(images))
    if settings.flip:
        mirror = torch.where(torch.rand(len(images), generator=generator) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    # Shares of the side become affine_grid's coordinates, in which an image is 2 wide.
    rows = [cosine * mirror, -sine, spread(2 * settings.shift), sine * mirror, cosine, spread(2 * settings.shift)]
    grid = affine_grid(torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def _optimiser(
    parameters: Mapping[str, Tensor], decayed: frozenset[str], settings: TrainingSettings
) -> torch.optim.Optimizer:
    import torch

    # Decay would pull batch-norm scales and matrices that begin as identities to zero.
    groups: list[dict[str, Any]] = [
        {"params": [t for n, t in parameters.items() if (n in decayed) is decays], "weight_decay": decay}
        for decays, decay in ((True, settings.weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def _learning_rate(settings: TrainingSettings, epoch: float) -> float:
    """Linear warm-up, then a cosine to zero; ``epoch`` with its fraction."""
    warm_up = min(_WARM_UP_EPOCHS, settings.epochs / 5)
    if epoch < warm_up:
        return settings.learning_rate * (0.05 + 0.95 * epoch / warm_up)
    done = (epoch - warm_up) / (settings.epochs - warm_up)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    if count < 1:
        raise InputError(f"{count} threads cannot train.", "Use at least 1.")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
