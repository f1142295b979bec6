"""Learn from a few scores of untrained networks what a proxy would say of all: a feature for models of accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fleetfront.predictors.accuracy.proxies import load_proxy
from fleetfront.predictors.one_hot import OneHot
from fleetfront.search.models.ridge import PairRidge
from fleetfront.spaces.base import Genotypes

if TYPE_CHECKING:
    from fleetfront.predictors.base import AccuracyModel
    from fleetfront.quantities import FloatArray
    from fleetfront.spaces.base import SearchSpace


@dataclass(slots=True)
class LearntProxy:
    """A ridge of pairs of genes on the standardised scores of the networks seen so far."""

    model: AccuracyModel
    one_hot: OneHot
    genotypes: Genotypes
    scores: FloatArray = field(default_factory=lambda: np.zeros(0))
    _ridge: PairRidge | None = None

    @classmethod
    def of(cls, space: SearchSpace, name: str) -> LearntProxy:
        """A proxy by name, with nothing scored yet. Raises InputError or MissingDependency as ``load_proxy``."""
        nothing = np.zeros((0, len(space.choices)), np.int8)
        return cls(load_proxy(name, space), OneHot.of(space), nothing)

    @property
    def scored(self) -> int:
        """Networks that were scored."""
        return len(self.scores)

    def learn(self, genotypes: Genotypes) -> None:
        """Score n more networks int8[n, v], and learn from all."""
        self._take(
            np.concatenate([self.genotypes, genotypes]),
            np.concatenate([self.scores, self.model.predict(genotypes).mean]),
        )

    def __call__(self, genotypes: Genotypes) -> FloatArray:
        """float64[n, 1]: what the proxy is expected to say, in standard deviations; 0 before anything was scored."""
        if self._ridge is None:
            return np.zeros((len(genotypes), 1))
        return self._ridge(self.one_hot(genotypes))[:, None]

    def dump(self) -> dict[str, Any]:
        """The networks that were scored, and how."""
        return {"proxy.genotypes": self.genotypes, "proxy.scores": self.scores}

    def load(self, state: Mapping[str, Any]) -> None:
        """Become what ``dump`` gave. Raises KeyError, TypeError or ValueError on anything else."""
        self._take(np.asarray(state["proxy.genotypes"], np.int8), np.asarray(state["proxy.scores"], np.float64))

    def _take(self, genotypes: Genotypes, scores: FloatArray) -> None:
        if genotypes.shape != (len(scores), self.genotypes.shape[1]):
            raise ValueError(f"{scores.shape} scores of {genotypes.shape} genes")
        self.genotypes, self.scores = genotypes, scores
        if len(scores):
            standardised = (scores - scores.mean()) / (float(scores.std()) or 1.0)
            self._ridge = PairRidge.fit(self.one_hot(genotypes), standardised)
