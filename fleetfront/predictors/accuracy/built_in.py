"""The accuracy models that fleetfront ships, one a once-for-all space. ``benchmarks/fit_accuracy.py`` makes them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.dense_network import DenseNetwork
from fleetfront.predictors.one_hot import OneHot
from fleetfront.quantities import Estimate, Tier
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.predictors.base import AccuracyModel
    from fleetfront.quantities import FloatArray

#: Where the shipped files are: for each space, arrays (.npz) and where they come from and how wrong they are (.json).
FOLDER = Path(__file__).parent / "built_in_models"

SOURCE = "built-in"
_SCHEMA = "fleetfront.accuracy/1"

#: Accuracy beyond the calibrated range is held at its end, but for this slope: networks beyond still rank as they did.
BEYOND_SLOPE = 1e-3


def has_built_in(space: str, folder: Path = FOLDER) -> bool:
    """Tell whether an accuracy model of that space is shipped."""
    return (folder / f"{space}.json").is_file()


def load_built_in(space: SearchSpace, folder: Path = FOLDER) -> AccuracyModel:
    """The shipped model of a space.

    Raises InputError if there is none, naming what can be used instead, or if its files do not fit the space.
    """
    about_path = folder / f"{space.name}.json"
    if not about_path.is_file():
        shipped = ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none"
        raise InputError(
            f"There is no built-in accuracy for the space {space.name} (there is for: {shipped}).",
            "Use --accuracy csv:PATH with measured accuracies, or --accuracy supernet:WEIGHTS.",
        )
    try:
        about = json.loads(about_path.read_text(encoding="utf-8"))
        with np.load(folder / f"{space.name}.npz", allow_pickle=False) as arrays:
            return _KINDS[about["kind"]](space, about, {name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"The built-in accuracy of {space.name} is damaged ({type(error).__name__}: {error}).",
            "Install fleetfront again.",
        ) from error


@dataclass(frozen=True)
class MeasuredRegression:
    """Measured top-1 regressed on pairs of genes, at one resolution. An AccuracyModel that raises at any other.

    Each member is ``constant + linear x + x' quadratic x`` over one-hot features x; member 0 was fitted to everything
    and gives the mean, each other one was fitted without a fifth of the clusters of architectures. Where those
    disagree, the data said little.

    Attributes:
        about: the description that was shipped with the model.
        constant, linear, quadratic: float32 [m], [m, f], [m, f, f]; f features of all genes but the resolution.
    """

    space: SearchSpace
    about: Mapping[str, Any]
    constant: NDArray[np.float32]
    linear: NDArray[np.float32]
    quadratic: NDArray[np.float32]

    source: str = SOURCE
    tier: Tier = Tier.PREDICTED
    precision: str = "fp32"

    @property
    def required(self) -> dict[str, Any]:
        """Genes that must have one value for the model to answer: name of the gene -> value."""
        return {"resolution": int(self.about["resolution"])}

    @property
    def lowest(self) -> float:
        """Lowest accuracy in the data, percent."""
        return float(self.about["range"][0])

    @cached_property
    def _one_hot(self) -> OneHot:
        return OneHot.of(self.space)

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Percent. Raises InputError for an architecture at another resolution than the data's."""
        gene = self.space.gene_names.index("resolution")
        pixels = np.asarray(self.space.choices[gene])[genotypes[:, gene]]
        wrong = pixels != self.required["resolution"]
        if wrong.any():
            first = self.space.arch_ids(self.space.canonical(genotypes[[int(np.argmax(wrong))]]))[0]
            raise InputError(
                f"The built-in accuracy of {self.space.name} was fitted to measurements at "
                f"{self.required['resolution']} px only and cannot answer for {first}.",
                f"Keep to {self.required['resolution']} px, or use another --accuracy.",
            )
        members = np.concatenate([self._members(genotypes[i : i + _CHUNK]) for i in range(0, len(genotypes), _CHUNK)])
        spread = members[:, 1:].std(axis=1, ddof=1)
        floor, growth = self.about["std"]["floor"], self.about["std"]["per_spread"]
        return Estimate(members[:, 0], np.hypot(floor, growth * spread), self.tier)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Percent float32[n] of relaxed architectures float32[n, f] at the data's resolution, differentiable."""
        import torch

        from fleetfront.predictors.relaxed import soft_features

        x = soft_features(self.space, choice_probabilities)[:, : self.linear.shape[1]]
        linear, quadratic = torch.from_numpy(self.linear[0]), torch.from_numpy(self.quadratic[0])
        return float(self.constant[0]) + x @ linear + ((x @ quadratic) * x).sum(dim=1)

    def _members(self, genotypes: Genotypes) -> FloatArray:
        """float64[n, m]."""
        x = self._one_hot(genotypes)[:, : self.linear.shape[1]]
        columns = [
            constant + x @ linear + np.einsum("nf,nf->n", x @ quadratic, x)
            for constant, linear, quadratic in zip(self.constant, self.linear, self.quadratic, strict=True)
        ]
        return np.stack(columns, axis=1).astype(np.float64)


_CHUNK = 4096


@dataclass(frozen=True)
class RankedLevel:
    """A ranking learned from a teacher, mapped onto the level of measured networks. An AccuracyModel.

    Attributes:
        about: the description that was shipped with the model.
        network: from one-hot features of all genes to the teacher's scale, percent / 100.
        teacher, measured: float64[k], percent: the monotone, piecewise linear map. Beyond its ends nothing is known.
    """

    space: SearchSpace
    about: Mapping[str, Any]
    network: DenseNetwork
    teacher: FloatArray
    measured: FloatArray

    source: str = SOURCE
    tier: Tier = Tier.PREDICTED
    precision: str = "fp32"

    @property
    def lowest(self) -> float:
        """Lowest accuracy of the calibrated range, percent."""
        return float(self.measured[0])

    @cached_property
    def _one_hot(self) -> OneHot:
        return OneHot.of(self.space)

    def teacher_scale(self, genotypes: Genotypes) -> FloatArray:
        """float64[n]: what the teacher would say, percent. A rank, not an accuracy."""
        return 100 * self.network(genotypes, self._one_hot)

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Percent float32[n] of relaxed architectures float32[n, f], differentiable, as ``predict`` maps ranks."""
        import torch

        from fleetfront.predictors.relaxed import soft_features

        rank = 100 * self.network.relaxed(soft_features(self.space, choice_probabilities))
        teacher, measured = (torch.from_numpy(one).to(rank.dtype) for one in (self.teacher, self.measured))
        at = torch.searchsorted(teacher, rank.detach().contiguous()).clamp(1, len(teacher) - 1)
        held = rank.clamp(float(teacher[0]), float(teacher[-1]))
        share = (held - teacher[at - 1]) / (teacher[at] - teacher[at - 1])
        level = measured[at - 1] + share * (measured[at] - measured[at - 1])
        return level + BEYOND_SLOPE * (rank - held)

    def beyond_range(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: where the accuracy lies outside what was measured and is held at the end of that range."""
        rank = self.teacher_scale(genotypes)
        outside: NDArray[np.bool_] = (rank < self.teacher[0]) | (rank > self.teacher[-1])
        return outside

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Percent. Beyond the measured range it stays at its end (but for ``BEYOND_SLOPE``), and the deviation grows by
        what following the nearest slope would have added.
        """
        rank = self.teacher_scale(genotypes)
        below, above = np.maximum(self.teacher[0] - rank, 0), np.maximum(rank - self.teacher[-1], 0)
        mean = np.interp(rank, self.teacher, self.measured) + BEYOND_SLOPE * (above - below)
        slopes = np.diff(self.measured) / np.diff(self.teacher)
        beyond = below * slopes[0] + above * slopes[-1]
        return Estimate(mean, np.hypot(float(self.about["std"]), beyond), self.tier)


def _regression(space: SearchSpace, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> AccuracyModel:
    constant, linear, quadratic = (np.asarray(arrays[name]) for name in ("constant", "linear", "quadratic"))
    _check(about, space, OneHot.of(space).width - len(space.choices[-1]), linear.shape[1])
    return MeasuredRegression(space, about, constant, linear, quadratic)


def _ranking(space: SearchSpace, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> AccuracyModel:
    network = DenseNetwork.from_state({k: v for k, v in arrays.items() if k[0].isdigit()})
    _check(about, space, OneHot.of(space).width, network.inputs)
    teacher, measured = (np.asarray(about["level"][name], np.float64) for name in ("teacher", "measured"))
    return RankedLevel(space, about, network, teacher, measured)


def _check(about: Mapping[str, Any], space: SearchSpace, expected: int, found: int) -> None:
    if about["schema"] != _SCHEMA or about["space"] != space.name or expected != found:
        raise ValueError(f"{about['schema']} of {about['space']} with {found} features, expected {expected}")


_KINDS = {"measured-regression": _regression, "ranked-level": _ranking}
