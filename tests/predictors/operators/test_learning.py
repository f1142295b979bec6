"""From operators to whole networks: weights that outgrow a cache, and intervals that hold strangers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fleetfront.predictors.operators.learning import MeasuredNetwork, learn_scales
from fleetfront.predictors.operators.scales import SCALES, from_memory
from fleetfront.quantities import FloatArray

CACHE, PER_MWEIGHT, IDLE = 2.0, 0.3, 0.002


def demand(rng: np.random.Generator, mweights: float) -> FloatArray:
    """Twenty groups of a network of so many millions of weights."""
    asked = np.zeros((20, len(SCALES) + 4))
    asked[np.arange(20), rng.integers(0, len(SCALES), 20)] = rng.uniform(0.01, 0.2, 20)
    asked[:, len(SCALES)] = mweights * rng.dirichlet(np.ones(20))
    asked[:, len(SCALES) + 2] = 1.0
    return asked


def networks(count: int = 40, noise: float = 0.0) -> list[MeasuredNetwork]:
    """Families in turn, of few weights and of many; those beyond the cache are read from memory."""
    rng = np.random.default_rng(0)
    found = []
    for place in range(count):
        asked = demand(rng, float(np.exp(rng.uniform(-2, 3))))
        read = from_memory(asked, CACHE)[:, len(SCALES)].sum()
        ms = (IDLE + asked[:, : len(SCALES)].sum() + PER_MWEIGHT * read) * float(np.exp(noise * rng.standard_normal()))
        found.append(MeasuredNetwork(f"family {place % 8}", asked, 0.0, ms))
    return found


def test_weights_beyond_the_cache_are_paid_and_others_are_not() -> None:
    scales = learn_scales(networks(), IDLE)
    assert scales.cache_mweights == CACHE
    rng = np.random.default_rng(7)
    for mweights in (0.5, 20.0):
        asked = demand(rng, mweights)
        said = IDLE + float((from_memory(asked, scales.cache_mweights) @ scales.coefficients).sum())
        cold = PER_MWEIGHT * max(0.0, mweights - CACHE)
        assert said == pytest.approx(IDLE + asked[:, : len(SCALES)].sum() + cold, rel=0.03)


@pytest.mark.parametrize("noise", [0.03, 0.15])
def test_nine_of_ten_strangers_lie_within_what_is_stated(noise: float) -> None:
    held = networks(300, noise)
    scales = learn_scales(held[:48], IDLE)
    inside = []
    for one in held[48:]:
        said = IDLE + float((from_memory(one.asked, scales.cache_mweights) @ scales.coefficients).sum())
        inside.append(abs(said - one.ms) <= 1.645 * scales.rms * said)
    assert 0.85 <= np.mean(inside) <= 0.99


def test_drift_between_campaigns_widens_what_is_stated() -> None:
    still = networks(noise=0.02)
    moved = [replace(one, drift=0.2) for one in still]
    assert learn_scales(moved, IDLE).rms == pytest.approx(np.hypot(learn_scales(still, IDLE).rms, 0.2))
