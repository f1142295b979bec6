"""Once-for-all's own accuracy network, read from its file and computed in numpy. It ranks; its level is wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.dense_network import DenseNetwork
from fleetfront.quantities import Estimate, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.supernet.torch_file import read_torch_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

#: What the network was trained to read: 20 kernels, 20 expansions, then a resolution in pixels; one-hot, ascending.
RESOLUTIONS = tuple(range(112, 225, 16))
_SLOTS, _VALUES = 20, 3
_INPUTS = 2 * _SLOTS * _VALUES + len(RESOLUTIONS)

#: Percentage points by which the network's level is off: it says 78 to 85 where networks its own finder picked measure
#: 73.6 to 79.1 without fine-tuning (once-for-all's published Note 10 results).
LEVEL_STD = 5.0


@dataclass(frozen=True, slots=True)
class OfaMlpAccuracy:
    """The accuracy network for one space. An AccuracyModel: rank with it, never quote it as accuracy.

    Attributes:
        genes: int[41]: the genes that are inputs. Depths are not: they show in the slots that are all zeros.
        columns: int[41, 8]: for each of them, the input that each of its values sets, padded with 0.
    """

    space: SearchSpace
    source: str
    network: DenseNetwork
    genes: NDArray[np.intp]
    columns: NDArray[np.intp]

    @property
    def tier(self) -> Tier:
        """Never measured."""
        return Tier.PREDICTED

    @property
    def precision(self) -> str:
        """It was trained on networks in float."""
        return "fp32"

    @property
    def fingerprint(self) -> str:
        """Differs where the weights do, whatever their file is called."""
        content = hashlib.sha256()
        for array in (*self.network.weights, *self.network.biases):
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()

    @classmethod
    def load(cls, path: Path, space: SearchSpace) -> OfaMlpAccuracy:
        """Read the state dict of once-for-all's ``acc_predictor``.

        Raises InputError if the file is not one, or the space is not of its family or has resolutions that it was never
        trained on; MissingDependency without torch.
        """
        network = DenseNetwork.from_state(_read_state(path))
        if network.inputs != _INPUTS:
            raise InputError(
                f"{path} reads {network.inputs} inputs, once-for-all's accuracy network {_INPUTS}.",
                "Give the file acc_predictor.pth of once-for-all's MobileNetV3 tutorial.",
            )
        _check(space)
        return cls(space, f"ofa-mlp:{path}", network, *_columns(space))

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Percent; the standard deviation is that of the level, not of the ranking."""
        accuracy = 100 * self.network(genotypes, self._features)
        return Estimate(accuracy, np.full(len(accuracy), LEVEL_STD), Tier.PREDICTED)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Percent float32[n] of relaxed architectures float32[n, f], differentiable."""
        import torch

        from fleetfront.predictors.relaxed import soft_features, split_genes

        genes = split_genes(self.space, soft_features(self.space, choice_probabilities))
        features = torch.zeros(len(choice_probabilities), _INPUTS)
        for gene, columns in zip(self.genes.tolist(), self.columns, strict=True):
            at = torch.from_numpy(columns[: genes[gene].shape[1]])
            features = features.index_add(1, at, genes[gene])
        return 100 * self.network.relaxed(features)

    def _features(self, genotypes: Genotypes) -> NDArray[np.float32]:
        features = np.zeros((len(genotypes), _INPUTS), dtype=np.float32)
        rows, inputs = np.nonzero(self.space.active(genotypes)[:, self.genes])
        features[rows, self.columns[inputs, genotypes[rows, self.genes[inputs]]]] = 1.0
        return features


def _check(space: SearchSpace) -> None:
    """Raise InputError unless the space's genes are those that the network was trained to read, by name and values."""
    names = tuple(f"{kind}_{slot}" for kind in ("kernel", "expansion") for slot in range(1, _SLOTS + 1))
    has_slots = space.gene_names[: 2 * _SLOTS] == names and space.gene_names[-1] == "resolution"
    if not has_slots or any(len(values) != _VALUES for values in space.choices[: 2 * _SLOTS]):
        raise InputError(
            f"Once-for-all's accuracy network does not know the space {space.name}.",
            "Use it with ofa-mbv3-w1.2, or another --accuracy.",
        )
    strange = [r for r in space.choices[-1] if r not in RESOLUTIONS]
    if strange:
        raise InputError(
            f"Once-for-all's accuracy network knows {', '.join(map(str, RESOLUTIONS))} pixels, {space.name} has "
            f"{strange[0]} too.",
            "Use it with ofa-mbv3-w1.2, or another --accuracy.",
        )


def _columns(space: SearchSpace) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    genes = np.append(np.arange(2 * _SLOTS), len(space.choices) - 1)
    columns = np.zeros((len(genes), len(RESOLUTIONS)), dtype=np.intp)
    columns[:-1, :_VALUES] = np.arange(2 * _SLOTS * _VALUES).reshape(-1, _VALUES)
    resolutions = space.choices[-1]
    columns[-1, : len(resolutions)] = 2 * _SLOTS * _VALUES + np.searchsorted(RESOLUTIONS, resolutions)
    return genes, columns


def _read_state(path: Path) -> Mapping[str, NDArray[Any]]:
    what, remedy = (
        "a file of network weights",
        "Give the file acc_predictor.pth of once-for-all's MobileNetV3 tutorial.",
    )
    state = read_torch_file(path, what, "Reading once-for-all's accuracy network", remedy)
    try:
        return {name: tensor.numpy() for name, tensor in state.items()}
    except (AttributeError, TypeError, RuntimeError) as error:
        raise InputError(f"{str(path)!r} is not {what} ({error}).", remedy) from error
