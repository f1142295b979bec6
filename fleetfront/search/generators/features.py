"""Describe a device by what networks cost on it: numbers that a generator reads, for devices that it never met.

Either way needs the device's cost model alone, whatever that is: a fit, a table, or a few-shot model of ten latencies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.few_shot.model import usable
from fleetfront.predictors.one_hot import OneHot
from fleetfront.search.models.features import gene_kinds
from fleetfront.spaces.base import Genotypes, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

Way = Literal["latencies", "coefficients"]
#: The same, or whichever serves devices best that were left out of a training.
WayOrBest = Literal["best", "latencies", "coefficients"]
#: Reference networks of ``latencies``, as published, and those that ``coefficients`` are fitted to.
_FEW, _MANY = 10, 400
#: Ridge of the coefficients, relative to the mean square of their regressors.
_RIDGE = 1e-3
#: No value of a device never met may be farther from those met than this many of their standard deviations.
_REACH = 3.0


class ReferenceSource(Protocol):
    """Where reference networks are drawn from: a space, or what a problem allows of it."""

    def sample(self, n: int, rng: np.random.Generator) -> Genotypes:
        """``n`` canonical architectures int8[n, v]."""


@dataclass(frozen=True, slots=True)
class DeviceFeatures:
    """How devices are described, learnt from those that a search was for.

    Attributes:
        way: ``latencies``: costs of ten networks, scaled to 0 .. 1 between their lowest and highest: order and spacing,
            no speed. ``coefficients``: what each kind of choice adds to a network, as a share of the mean cost, and the
            logarithm of that mean: they know scale.
        references: int8[r, v].
        centre, spread: float64[d] of the devices met; what is described is standardised by them.
    """

    space: SearchSpace
    way: Way
    references: Genotypes
    centre: FloatArray
    spread: FloatArray

    @property
    def width(self) -> int:
        """Numbers that describe a device."""
        return len(self.centre)

    def __call__(self, models: Sequence[CostModel]) -> FloatArray:
        """float64[d] of one device, of whose costs ``models`` are: one a metric, in the order of the search."""
        described = describe_costs(self.space, self.way, self.references, models)
        if described.shape != self.centre.shape:
            raise InputError(
                f"The generator was trained with {len(self.centre)} features of a device, {len(described)} are given.",
                "Give the same metrics that it was trained with.",
            )
        return np.clip((described - self.centre) / self.spread, -_REACH, _REACH)

    @classmethod
    def learn(
        cls, space: SearchSpace, source: ReferenceSource, way: Way, devices: Sequence[Sequence[CostModel]]
    ) -> DeviceFeatures:
        """From the cost models of every device that a search is for, one a metric."""
        references = choose_references(space, source, way)
        described = np.stack([describe_costs(space, way, references, models) for models in devices])
        spread = described.std(axis=0)
        # One device tells nothing of how devices differ; what differs in nothing is no feature.
        spread = np.where(spread > 1e-6, spread, 1.0)
        return cls(space, way, references, described.mean(axis=0), spread)

    def arrays(self) -> dict[str, Any]:
        """The arrays of a file beside ``way``."""
        return {"references": self.references, "centre": self.centre, "spread": self.spread}

    @classmethod
    def load(cls, space: SearchSpace, way: str, arrays: Mapping[str, Any]) -> DeviceFeatures:
        """Read ``arrays`` back. Raises KeyError or ValueError on anything else."""
        if way not in ("latencies", "coefficients"):
            raise ValueError(f"devices are described by {way!r}")
        references, centre, spread = (arrays[name] for name in ("references", "centre", "spread"))
        shape = references.shape[1:] == (len(space.choices),) and centre.ndim == 1 and centre.shape == spread.shape
        if references.dtype != np.int8 or not shape or not (spread > 0).all():
            raise ValueError("the description of devices has the wrong shape")
        return cls(space, way, references, centre, spread)  # type: ignore[arg-type]


def choose_references(space: SearchSpace, source: ReferenceSource, way: Way) -> Genotypes:
    """Networks int8[r, v] whose costs describe a device, the same in every search of a space.

    The ten are spread over MACs, so that none is the like of another.
    """
    drawn = source.sample(4 * _MANY, np.random.default_rng(0))
    drawn = np.unique(usable(space, drawn), axis=0)
    rows = drawn[np.random.default_rng(1).permutation(len(drawn))][:_MANY]
    if way == "coefficients":
        return rows
    order = rows[np.argsort(space.macs(rows), kind="stable")]
    few: Genotypes = order[np.linspace(0, len(order) - 1, min(_FEW, len(order))).round().astype(int)]
    return few


def describe_costs(space: SearchSpace, way: Way, references: Genotypes, models: Sequence[CostModel]) -> FloatArray:
    """float64[d] of one device, not standardised. Raises InputError from models that do not cover the references."""
    costs = [np.asarray(model.predict(references).mean, np.float64) for model in models]
    if way == "latencies":
        scaled = [(cost - cost.min()) / max(float(np.ptp(cost)), 1e-12 * float(cost.max())) for cost in costs]
        return np.concatenate(scaled)
    return np.concatenate([_coefficients(space, references, cost) for cost in costs])


def _coefficients(space: SearchSpace, references: Genotypes, cost: FloatArray) -> FloatArray:
    """The additions of choices to a network as shares of the mean cost, and the logarithm of that mean."""
    genes = OneHot.of(space)(references).astype(np.float64)
    columns = genes @ gene_kinds(space) if genes.shape[1] > len(references) // 4 else genes
    design = columns - columns.mean(axis=0)
    mean = float(cost.mean())
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
    slope = np.linalg.solve(gram, design.T @ (cost / mean - 1))
    return np.append(slope, np.log(mean))
