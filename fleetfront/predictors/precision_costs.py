"""Answer for networks in several precisions with the cost model of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fleetfront.errors import InputError
from fleetfront.predictors.base import CostModel, HasClock, Relaxed, covered_by
from fleetfront.quantities import Clock, Estimate, Metric, Tier
from fleetfront.spaces.base import Genotypes, HasPrecisions

if TYPE_CHECKING:
    from torch import Tensor

    from fleetfront.quantities import FloatArray


@dataclass(frozen=True, slots=True)
class PrecisionCosts:
    """The cost models of one device, of which a network's precision chooses one. A CostModel.

    Attributes:
        space: of networks in several precisions.
        models: a model of the space without precisions for at least one of them, all of one metric, tier and clock.
    """

    space: HasPrecisions
    models: Mapping[str, CostModel]

    def __post_init__(self) -> None:
        """Raises InputError if no precision has a model, or they do not compare."""
        if not self.known_precisions:
            raise InputError(
                f"There is no cost model of {self.space.networks.name} in {' or '.join(self.space.precisions)}.",
                "Give one for each precision.",
            )
        clocks = {name: str(model.clock) for name, model in self.models.items() if isinstance(model, HasClock)}
        if len(set(clocks.values())) > 1:
            said = ", ".join(f"{name} under {clock}" for name, clock in clocks.items())
            raise InputError(f"Its models are of different clocks: {said}.", "Choose one for all: --clock wall.")

    @property
    def metric(self) -> Metric:
        """That of all of them."""
        return self._first.metric

    @property
    def tier(self) -> Tier:
        """That of all of them."""
        return self._first.tier

    @property
    def clock(self) -> Clock:
        """That of all of them."""
        return self._first.clock if isinstance(self._first, HasClock) else Clock.UNKNOWN

    @property
    def known_precisions(self) -> tuple[str, ...]:
        """Those that have a model."""
        return tuple(name for name in self.space.precisions if name in self.models)

    @property
    def _first(self) -> CostModel:
        return self.models[self.known_precisions[0]]

    def predict(self, genotypes: Genotypes) -> Estimate:
        """Each of n networks by the model of its precision; what is not covered, by the first that there is.

        Nothing is promised of any where nothing is of one of them.
        """
        mean, std, within = np.empty((3, len(genotypes)))
        unpromised = ""
        for model, rows in self._by_model(genotypes):
            found = model.predict(self.space.without(genotypes[rows]))
            mean[rows], std[rows], within[rows] = found.mean, found.std, found.same_sitting
            unpromised = unpromised or found.unpromised
        return Estimate(mean, std, self.tier, within, unpromised)

    def covers(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: which the model of their precision answers for."""
        covered = np.zeros(len(genotypes), np.bool_)
        for model, rows in self._by_model(genotypes):
            covered[rows] = covered_by(model, self.space.without(genotypes[rows]))
        return covered & self.runs(genotypes)

    def with_models(self, models: Mapping[str, CostModel]) -> PrecisionCosts:
        """The same with others in the place of some of ``models``."""
        return replace(self, models={**self.models, **models})

    def runs(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """bool[n]: which are in a precision that has a model."""
        is_known = np.array([name in self.models for name in self.space.precisions])
        found: NDArray[np.bool_] = is_known[genotypes[:, -1]]
        return found

    def relaxed(self, choice_probabilities: Tensor) -> Tensor:
        """Expected costs float32[n] of relaxed networks float32[n, f], differentiable in the precision, too."""
        from fleetfront.predictors.relaxed import by_look_up

        genes = choice_probabilities.shape[1] - len(self.space.precisions)
        inside, likely = choice_probabilities[:, :genes], choice_probabilities[:, genes:]
        total = choice_probabilities.new_zeros(len(choice_probabilities))
        for at, name in enumerate(self.space.precisions):
            model = self.models.get(name, self._first)
            if isinstance(model, Relaxed):
                cost = model.relaxed(inside)
            else:
                cost = by_look_up(self.space.networks, _means(model), inside)
            total = total + likely[:, at] * cost
        return total

    def _by_model(self, genotypes: Genotypes) -> list[tuple[CostModel, NDArray[np.intp]]]:
        rows = [np.flatnonzero(genotypes[:, -1] == gene) for gene in range(len(self.space.precisions))]
        named = zip(self.space.precisions, rows, strict=True)
        return [(self.models.get(name, self._first), of) for name, of in named if len(of)]


def _means(model: CostModel) -> Callable[[Genotypes], FloatArray]:
    return lambda genotypes: model.predict(genotypes).mean
