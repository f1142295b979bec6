"""Networks that latency models are compared on, and what each model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleetfront.predictors.base import CostModel
from fleetfront.predictors.table.networks import NetworkTable
from fleetfront.spaces.base import Genotypes, MayDisconnect, SearchSpace

if TYPE_CHECKING:
    from fleetfront.quantities import FloatArray


def sample_networks(space: SearchSpace, models: Sequence[CostModel], count: int) -> Genotypes:
    """At most ``count`` distinct networks int8[n, v], the same every time; those of the smallest table if there is one.

    Disconnected networks are left out: some runtimes fold them away, which means and rank correlations do not show.
    """
    rng = np.random.default_rng(0)
    tables = [model for model in models if isinstance(model, NetworkTable)]
    if tables:
        smallest = min(tables, key=lambda table: len(table.genotypes))
        genotypes: Genotypes = smallest.genotypes[np.sort(rng.permutation(len(smallest.genotypes))[:count])]
    else:
        genotypes = np.unique(space.sample(count, rng), axis=0)
    return genotypes[~space.disconnected(genotypes)] if isinstance(space, MayDisconnect) else genotypes


def known_latency_ms(model: CostModel, genotypes: Genotypes) -> FloatArray:
    """float64[n]: latency, NaN for what a table lacks."""
    if not isinstance(model, NetworkTable):
        return model.predict(genotypes).mean
    rows = model.index.find(genotypes)
    return np.where(rows >= 0, model.ms[rows], np.nan)
