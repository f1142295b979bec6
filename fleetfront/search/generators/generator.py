"""Generator: what a trained strategy leaves behind, and its file. How it answers is in ``answers``.

The file is safetensors alone: weights, what devices are described by, and every accuracy that was counted; what it is
of stands in its header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fleetfront import __version__
from fleetfront.errors import FileError, InputError
from fleetfront.plain import from_plain
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.table.networks import GenotypeIndex
from fleetfront.quantities import Tier
from fleetfront.search.generators.features import DeviceFeatures
from fleetfront.search.generators.fleet import own_models
from fleetfront.search.generators.networks import NETWORKS, ChoiceNetwork, make_network
from fleetfront.search.generators.wishes import Wishes, WishKind
from fleetfront.search.models.counted import CountedAccuracy, load_counted
from fleetfront.spaces.base import Genotypes, SearchSpace
from fleetfront.spaces.supernet.safetensors_file import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

GENERATOR_FILE = "generator.safetensors"
SCHEMA = "fleetfront.generator/1"
_REMEDY = "Train it again: fleetfront search --strategy modnas"


@dataclass(frozen=True, slots=True)
class Training:
    """How a generator came about.

    Attributes:
        strategy: as results spell it.
        devices: names of those that it was trained for.
        evaluations: accuracies that were counted.
        seconds: of the whole run.
        costs: what is traded against accuracy: names of metrics, the first the main one.
        accuracy_source, accuracy_tier: of the counted accuracies.
        left_out: what gradients did not know of the costs, in words.
        kept: way to describe devices -> share of hypervolume that devices left out of a training keep by it; empty
            where the user chose the way.
        version: of fleetfront.
    """

    strategy: str
    seed: int
    devices: tuple[str, ...]
    evaluations: int
    seconds: float
    costs: tuple[str, ...]
    accuracy_source: str
    accuracy_tier: Tier
    left_out: tuple[str, ...] = ()
    kept: Mapping[str, float] = field(default_factory=dict)
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Counted:
    """Every accuracy that was counted in training, of distinct networks.

    Attributes:
        genotypes: int8[n, v].
        accuracy, std: float64[n].
        index: finds their rows.
    """

    genotypes: Genotypes
    accuracy: FloatArray
    std: FloatArray
    index: GenotypeIndex


@dataclass(frozen=True, slots=True)
class Generator:
    """(wish, device) -> genotypes, without a search.

    Attributes:
        allowed: bool[f]: choices that the search did not rule out.
        wishes: what the network reads beside the device.
        accuracy: as far as the counted ones tell it.
    """

    space: SearchSpace
    network: ChoiceNetwork
    allowed: Tensor
    features: DeviceFeatures
    wishes: Wishes
    accuracy: CountedAccuracy
    counted: Counted
    training: Training

    def propose(self, models: Sequence[CostModel], wishes: FloatArray, samples: int, seed: int = 0) -> Genotypes:
        """Distinct canonical genotypes int8[k, v] for each wish float64[n, width] on a device with these cost models:
        the likeliest architecture of each wish, and ``samples`` draws."""
        described = self.features(own_models(models, self.training.costs))
        return propose(self.space, self.network, described, wishes, samples, seed)

    def save(self, path: Path) -> None:
        """Write it whole, or not at all. Raises InputError if that fails."""
        groups: dict[str, Mapping[str, Tensor]] = {
            "network": self.network.state_dict(),
            "accuracy": self.accuracy.tensors(),
            "features": _tensors(self.features.arrays()),
            "counted": _tensors(
                {"genotypes": self.counted.genotypes, "accuracy": self.counted.accuracy, "std": self.counted.std}
            ),
        }
        tensors = {f"{group}.{name}": value for group, named in groups.items() for name, value in named.items()}
        about = _About(
            SCHEMA,
            self.space.name,
            space_fingerprint(self.space),
            self.network.kind,
            self.wishes.kind,
            self.wishes.objectives,
            self.wishes.published,
            self.features.way,
            self.accuracy.kind,
            self.training,
        )
        from fleetfront.plain import to_plain

        write_safetensors({**tensors, "allowed": self.allowed}, path, {"generator": json.dumps(to_plain(about))})


@dataclass(frozen=True, slots=True)
class _About:
    """The header of the file."""

    schema: str
    space: str
    fingerprint: str
    network: str
    wish: WishKind
    objectives: int
    published: int
    way: str
    accuracy: str
    training: Training = field()


def propose(
    space: SearchSpace, network: ChoiceNetwork, device: FloatArray, wishes: FloatArray, samples: int, seed: int = 0
) -> Genotypes:
    """As ``Generator.propose``, of a device with features float64[d]."""
    condition = torch.from_numpy(np.ascontiguousarray(wishes)).float()
    described = torch.from_numpy(device).float().expand(len(condition), -1)
    drawn = network.draw(condition, described, samples, torch.Generator().manual_seed(seed))
    rows = drawn.reshape(-1, drawn.shape[-1]).numpy().astype(np.int8)
    return np.unique(space.canonical(rows), axis=0)


def space_fingerprint(space: SearchSpace) -> str:
    """Differs where genes or their values do, whatever the space is called."""
    plain = json.dumps([list(space.gene_names), [[str(v) for v in values] for values in space.choices]])
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def generator_space(path: Path) -> str:
    """The name of the space that the generator in a file, or in a folder, is of. Raises FileError as ``load`` does."""
    return _read(_file(path))[1].space


def load_generator(path: Path, space: SearchSpace) -> Generator:
    """Read the file, or the one in a folder.

    Raises:
        FileError: it is missing, damaged, of another space or version, or holds weights that are no finite numbers.
        MissingDependency: safetensors is not installed.
    """
    file = _file(path)
    tensors, about = _read(file)
    if about.space != space.name:
        raise FileError(f"{file} is a generator of {about.space}, not of {space.name}.", f"Use --space {about.space}.")
    if about.fingerprint != space_fingerprint(space):
        raise FileError(
            f"{file} was trained on another version of {space.name}: its genes differ from today's.", _REMEDY
        )
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise FileError(f"{file} holds weights that are no finite numbers ({broken[0]}).", _REMEDY)
    try:
        return _assembled(space, tensors, about)
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError, InputError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileError(f"{file} is not a whole generator ({type(error).__name__}: {reason}).", _REMEDY) from error


def _assembled(space: SearchSpace, tensors: Mapping[str, Tensor], about: _About) -> Generator:
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = tensor
    counts = [len(values) for values in space.choices]
    allowed = tensors["allowed"]
    if allowed.shape != (sum(counts),) or about.network not in NETWORKS:
        raise ValueError(f"a network of the kind {about.network!r} with {tuple(allowed.shape)} choices")
    features = DeviceFeatures.load(space, about.way, _arrays(groups["features"]))
    wishes = Wishes(about.wish, about.objectives, about.published)
    if about.objectives != 1 + len(about.training.costs):
        raise ValueError(f"{about.objectives} objectives of {len(about.training.costs)} costs")
    network = make_network(about.network, wishes.width, features.width, counts, allowed)
    network.load_state_dict(groups["network"])
    counted = _arrays(groups["counted"])
    for rows in (counted["genotypes"], features.references):
        if rows.dtype != np.int8 or rows.shape[1:] != (len(counts),) or (rows < 0).any() or (rows >= counts).any():
            raise ValueError("it holds networks outside the space")
    index = GenotypeIndex(space, counted["genotypes"])
    known = Counted(counted["genotypes"], counted["accuracy"], counted["std"], index)
    if not known.accuracy.shape == known.std.shape == (len(known.genotypes),) or not len(known.genotypes):
        raise ValueError("the counted accuracies have the wrong shape")
    accuracy = load_counted(about.accuracy, groups["accuracy"], space)
    return Generator(space, network, allowed, features, wishes, accuracy, known, about.training)


def _file(path: Path) -> Path:
    return path / GENERATOR_FILE if path.is_dir() else path


def _read(path: Path) -> tuple[dict[str, Tensor], _About]:
    if not path.is_file():
        raise FileError(
            f"There is no generator at {path}.",
            "Give --generator DIR, or train one: fleetfront search --strategy modnas --out DIR",
        )
    try:
        tensors, metadata = read_safetensors(path)
        text = metadata.get("generator", "")
        schema = json.loads(text or "{}").get("schema")
        if schema != SCHEMA:
            raise FileError(
                f"{path} is not a generator that this fleetfront reads (schema {str(schema)[:100]!r}, not {SCHEMA!r}).",
                _REMEDY,
            )
        return tensors, from_plain(_About, text)
    except (ValueError, AttributeError, OSError) as error:
        raise FileError(f"{path} is damaged or no safetensors file ({error}).", _REMEDY) from error


def _tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
