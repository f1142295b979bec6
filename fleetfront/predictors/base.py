"""The protocols of cost and accuracy models, and what some of them offer beyond. Ask for those with ``isinstance``.

Symbols in shapes: ``n`` architectures, ``v`` genes, ``|V|`` blocks of a space's vocabulary, ``f`` values of all genes
together. Architectures come in as genotypes int8[n, v].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fleetfront.quantities import ACCURACY, Clock, Estimate, Metric, Quality, Tier
from fleetfront.spaces.base import Genotypes
from fleetfront.targets import Target

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from fleetfront.datasets import Dataset
    from fleetfront.graphs.graph import Graph
    from fleetfront.quantities import FloatArray
    from fleetfront.spaces.supernet.subnets import Supernet


#: Of accuracies whose source does not say which number format they are of.
UNSTATED = "unstated"


@runtime_checkable
class CostModel(Protocol):
    """Predicts one metric on one target."""

    @property
    def metric(self) -> Metric:
        """Name and unit of what is predicted, and how parts add up."""

    @property
    def tier(self) -> Tier:
        """Where the predictions come from."""

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Mean and standard deviation for each of n architectures, in the metric's unit.

        Raises InputError for architectures that it does not cover.
        """


@runtime_checkable
class CoversPart(Protocol):
    """A cost model that says which networks it answers for; one that does not say answers for all."""

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: which architectures ``predict`` answers for."""


@runtime_checkable
class HasTarget(Protocol):
    """A cost model that says which device, runtime, precision, threads and batch its numbers belong to."""

    @property
    def target(self) -> Target:
        """The target that the numbers belong to."""


@runtime_checkable
class HasClock(Protocol):
    """A cost model that says which clock its latency would be read from."""

    @property
    def clock(self) -> Clock:
        """The clock."""


@runtime_checkable
class BlockCosts(Protocol):
    """A cost model made of blocks that were measured one by one."""

    def block_values(self) -> FloatArray:
        """float64[|V|]: what each block of the space's vocabulary costs alone, in the metric's unit, uncalibrated."""

    def block_origins(self) -> tuple[str, ...]:
        """How each block came by its value: ``measured``, ``interpolated`` or ``modelled``; |V| words."""


@runtime_checkable
class NetworkCosts(Protocol):
    """A cost model that is a table of whole networks, and answers for these alone."""

    def networks(self) -> Genotypes:
        """int8[k, v]: the networks of the table, canonical and distinct."""


@runtime_checkable
class KnowsPrecisions(Protocol):
    """A cost model of networks in several precisions, which may know some of these alone. Of others it predicts what
    they cost in one that it knows, so that costs are numbers everywhere; ``covers`` tells that they mean nothing."""

    @property
    def known_precisions(self) -> tuple[str, ...]:
        """At least one, in the order of the space's."""

    @property
    def models(self) -> Mapping[str, CostModel]:
        """Precision -> the cost model of networks in it, for each that is known."""

    def with_models(self, models: Mapping[str, CostModel]) -> CostModel:
        """The same with others in the place of some of ``models``."""

    def runs(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: which networks int8[n, v] are in a precision that it knows."""


def covered_by(model: CostModel, genotypes: Genotypes) -> NDArray[np.bool_]:
    """bool[n]: which architectures int8[n, v] a model answers for."""
    return model.covers(genotypes) if isinstance(model, CoversPart) else covers_all(genotypes)


def knows_costs(model: CostModel, genotypes: Genotypes) -> NDArray[np.bool_]:
    """bool[n]: which networks a search may ask a model about: what it covers, and what its device does not run."""
    covered = covered_by(model, genotypes)
    return covered | ~model.runs(genotypes) if isinstance(model, KnowsPrecisions) else covered


@runtime_checkable
class GraphCost(Protocol):
    """A cost model that answers for any graph, whether it is of a space or not."""

    def estimate(self, graph: Graph) -> Estimate:
        """Mean and standard deviation of one inference, n = 1. Raises InputError on operators that it cannot count."""


@runtime_checkable
class Relaxed(Protocol):
    """A cost model through which gradients flow, for searches that train."""

    def relaxed(self, choice_probabilities: torch.Tensor) -> torch.Tensor:
        """Expected cost float32[n] in the metric's unit, differentiable.

        ``choice_probabilities`` float32[n, f]: for each gene in order, the probability of each of its values in
        ascending order; those of one gene sum to 1. At zeros and ones it is ``predict``'s mean, calibration included.
        """


@runtime_checkable
class RelaxesPart(Protocol):
    """A ``Relaxed`` model that leaves out of ``relaxed`` what no gradient flows through."""

    @property
    def relaxed_without(self) -> str:
        """The parts left out, in words; empty if none is, so that ``relaxed`` is ``predict`` at zeros and ones."""


@runtime_checkable
class Checkable(Protocol):
    """A cost model whose error may never have been looked up on networks that it was not made from."""

    @property
    def is_checked(self) -> bool:
        """True if somebody compared it with measurements of another space."""


def is_checked(model: CostModel) -> bool:
    """False for an estimate whose error nobody could look up."""
    return not isinstance(model, Checkable) or model.is_checked


def predict_covered(model: CostModel, genotypes: Genotypes) -> Estimate:
    """``predict``, with NaN for the architectures of int8[n, v] that the model does not cover."""
    covered = covered_by(model, genotypes)
    if covered.all():
        return model.predict(genotypes)
    mean, std = np.full(len(genotypes), np.nan), np.full(len(genotypes), np.nan)
    if covered.any():
        known = model.predict(genotypes[covered])
        mean[covered], std[covered] = known.mean, known.std
        withheld = np.ones(len(genotypes), np.bool_)
        withheld[covered] = ~known.is_promised
        return Estimate(mean, std, model.tier, unpromised=known.unpromised, withheld=withheld)
    return Estimate(mean, std, model.tier)


def covers_all(genotypes: Genotypes) -> NDArray[np.bool_]:
    """bool[n], all True: the ``covers`` of models that answer for their whole space."""
    return np.ones(len(genotypes), dtype=np.bool_)


@runtime_checkable
class AccuracyModel(Protocol):
    """Predicts or looks up top-1 accuracy in percent. Accuracy belongs to (architecture, weights, precision)."""

    @property
    def source(self) -> str:
        """How a user spells it: ``built-in``, ``csv:PATH``, ..."""

    @property
    def tier(self) -> Tier:
        """``measured`` or ``predicted``."""

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Accuracy in percent. Raises InputError for architectures it cannot answer for (not in its table or range)."""


@runtime_checkable
class HasQuality(Protocol):
    """An accuracy model whose answers are no percentages; the higher they are, the better (see ``Quality``)."""

    @property
    def quality(self) -> Quality:
        """The quality that they are scores of."""


def quality_of(model: AccuracyModel) -> Quality:
    """The quality that a model answers with: top-1 accuracy in percent unless it says otherwise."""
    return model.quality if isinstance(model, HasQuality) else ACCURACY


@runtime_checkable
class JudgesWeights(Protocol):
    """An accuracy model that cuts networks from weights and judges them on labelled images."""

    @property
    def supernet(self) -> Supernet:
        """The weights that networks are cut from."""

    @property
    def images(self) -> Dataset:
        """The images that they are judged on."""


@runtime_checkable
class HasPrecision(Protocol):
    """An accuracy model that says which number format the networks compute in that it answers for."""

    @property
    def precision(self) -> str:
        """E.g. ``fp32``."""


@runtime_checkable
class TellsParts(Protocol):
    """An accuracy model of networks that do several things, whose accuracy is made of those of each."""

    def parts(self, genotypes: Genotypes) -> dict[str, list[float]]:
        """Name of a task -> how good each of n networks is at it, as people say it; empty where that is not known."""


@runtime_checkable
class TellsTasks(Protocol):
    """An accuracy model of networks that do several things, each an objective. ``predict`` tells how good they are at
    the first."""

    @property
    def tasks(self) -> tuple[Quality, ...]:
        """Each with its name, unit and direction."""

    @property
    def lowest_scores(self) -> tuple[float, ...]:
        """Of each task a score that bounds hypervolumes."""

    def task_scores(self, genotypes: Genotypes) -> FloatArray:
        """float64[n, tasks], the higher the better, of networks that ``predict`` answered for; NaN of others."""


@runtime_checkable
class TellsTiers(Protocol):
    """An accuracy model of networks in several precisions, each of which has accuracies of its own."""

    def tiers(self, genotypes: Genotypes) -> list[str]:
        """Where the accuracy of each of n networks comes from."""

    def costs_of_precisions(self) -> Mapping[str, Mapping[str, Any]]:
        """Precision -> points of accuracy that it costs, with their deviation, tier and source, as plain values."""


def precision_of(model: object) -> str:
    """The number format that accuracies are of; ``unstated`` where their source does not say."""
    return model.precision if isinstance(model, HasPrecision) else UNSTATED


@runtime_checkable
class RequiresGenes(Protocol):
    """An accuracy model that answers only for one value of some genes."""

    @property
    def required(self) -> Mapping[str, Any]:
        """Name of a gene -> the value that it must have."""


@runtime_checkable
class HasLowest(Protocol):
    """An accuracy model that knows how low accuracy goes; a search may take its reference point from it."""

    @property
    def lowest(self) -> float:
        """The lowest accuracy of its data, percent."""


@runtime_checkable
class HasRange(Protocol):
    """An accuracy model that was calibrated on a range and holds what lies beyond at its ends."""

    def beyond_range(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: which architectures lie beyond it."""


@runtime_checkable
class HasHeldOut(Protocol):
    """An accuracy model that also judges networks on images which neither training nor a search has looked at."""

    def held_out(self, genotypes: Genotypes) -> Estimate:
        """Accuracy on those in percent, of n architectures int8[n, v], and the standard deviation of that many images.

        Whoever chooses networks by it makes it as optimistic as ``predict`` is of the best of a search.
        """

    @property
    def held_out_images(self) -> int:
        """How many images these are."""


@runtime_checkable
class ReadFromColumn(Protocol):
    """An accuracy model that is one column of somebody's table, chosen by its name."""

    @property
    def column(self) -> str:
        """Its name."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The reasons to doubt it."""


@runtime_checkable
class ListsNetworks(Protocol):
    """An accuracy model that is a table, and answers for its networks alone."""

    def networks(self) -> Genotypes:
        """int8[k, v]: the networks of the table, canonical and distinct."""


@runtime_checkable
class KeepsCalls(Protocol):
    """An accuracy model that writes down whatever it asked, and need not ask it again."""

    def keep_calls(self, folder: Path) -> None:
        """Keep them in a folder, and answer from what lies there."""


@runtime_checkable
class HasFingerprint(Protocol):
    """An accuracy model that can tell whether its content changed under the same name."""

    @property
    def fingerprint(self) -> str:
        """Differs where table, weights or images do, whatever their files are called."""
