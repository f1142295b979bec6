"""Networks that latency models are compared on, and what each model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.predictors.base import CostModel, NetworkCosts, predict_covered
from fleetfront.spaces.base import Genotypes, MayDisconnect, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


def sample_networks(space: SearchSpace, models: Sequence[CostModel], count: int) -> Genotypes:
    """At most ``count`` distinct networks int8[n, v], the same every time; those of the smallest table if there is one.

    Disconnected networks are left out: some runtimes fold them away, which means and rank correlations do not show.
    """
    rng = np.random.default_rng(0)
    tables = [model.networks() for model in models if isinstance(model, NetworkCosts)]
    if tables:
        smallest = min(tables, key=len)
        genotypes: Genotypes = smallest[np.sort(rng.permutation(len(smallest))[:count])]
    else:
        genotypes = np.unique(space.sample(count, rng), axis=0)
    return genotypes[~space.disconnected(genotypes)] if isinstance(space, MayDisconnect) else genotypes


def known_latency_ms(model: CostModel, genotypes: Genotypes) -> FloatArray:
    """float64[n]: latency, NaN for what a table lacks."""
    return predict_covered(model, genotypes).mean
