"""Spell what is wished of a generator as numbers: preferences that sum to one, or a budget's place between the
cheapest and the dearest network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray

WishKind = Literal["preferences", "budget"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """The inputs of a generator's network.

    Attributes:
        kind: ``preferences``: the first is that of accuracy, the others of each cost. ``budget``: of the first cost.
        objectives: accuracy and costs together.
        published: so many fixed budgets, told apart by one-hot inputs, even steps from the cheapest to the dearest; 0
            for a continuous one.
    """

    kind: WishKind
    objectives: int
    published: int = 0

    @property
    def width(self) -> int:
        """Numbers of a wish."""
        if self.kind == "preferences":
            return self.objectives
        return self.published or 1

    def sweep(self, n: int) -> FloatArray:
        """About ``n`` wishes float64[k, width] from one end to the other, or all over three and more objectives."""
        if self.kind == "budget":
            return self.of_places(np.linspace(0.0, 1.0, self.published or n))
        if self.objectives == 2:
            first = np.linspace(0.0, 1.0, n)
            return np.stack([first, 1.0 - first], axis=1)
        drawn = np.random.default_rng(0).dirichlet(np.ones(self.objectives), n)
        return np.concatenate([np.eye(self.objectives), drawn])

    def of_places(self, places: FloatArray) -> FloatArray:
        """Budgets at places float64[n] from 0, the cheapest network, to 1, the dearest: float64[n, width]. Of fixed
        budgets, the largest within."""
        places = np.clip(places, 0.0, 1.0)
        if not self.published:
            return places[:, None]
        step = np.floor(places * max(self.published - 1, 1) + 1e-9).astype(int)
        hot: FloatArray = np.eye(self.published)[np.clip(step, 0, self.published - 1)]
        return hot


def cost_place(cost: FloatArray, low: float, high: float) -> FloatArray:
    """Places of costs between the lowest and the highest, in even steps of the logarithm: 0 and 1 at these."""
    if high <= low:
        return np.ones(len(cost))
    result: FloatArray = np.log(np.maximum(cost, 1e-12) / low) / np.log(high / low)
    return result
