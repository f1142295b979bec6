"""From operators to whole networks: weights that outgrow a cache, and intervals that hold strangers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fleetfront.predictors.operators.kernels import FEATURES
from fleetfront.predictors.operators.learning import (
    ColdProduct,
    MeasuredNetwork,
    learn_cold,
    learn_kind,
    learn_scales,
)
from fleetfront.predictors.operators.scales import SCALES, ColdWeights, from_memory, thin_share
from fleetfront.quantities import FloatArray

CACHE, PER_MWEIGHT, IDLE = 2.0, 0.3, 0.002


def demand(rng: np.random.Generator, mweights: float) -> FloatArray:
    """Twenty groups of a network of so many millions of weights."""
    asked = np.zeros((20, len(SCALES) + 5))
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


def test_networks_of_doubtful_operators_have_little_say() -> None:
    """Operators that nobody could tell made one network's sum three times too large."""
    true, first = learn_scales(networks(), IDLE), networks()[0]
    wrong = [replace(first, asked=3 * first.asked, spread=spread) for spread in (0.0, 3.0)]
    off = [np.abs(learn_scales([*networks(), one], IDLE).scales - true.scales).max() for one in wrong]
    assert off[1] < 0.05 < off[0]


def test_weights_beyond_the_cache_are_paid_and_others_are_not() -> None:
    scales = learn_scales(networks(), IDLE)
    assert scales.cache_mweights == CACHE
    rng = np.random.default_rng(7)
    for mweights in (0.5, 20.0):
        asked = demand(rng, mweights)
        said = IDLE + float((from_memory(asked, scales.cache_mweights, scales.cold) @ scales.coefficients).sum())
        cold = PER_MWEIGHT * mweights * (mweights > CACHE)
        assert said == pytest.approx(IDLE + asked[:, : len(SCALES)].sum() + cold, rel=0.03)


@pytest.mark.parametrize("noise", [0.03, 0.15])
def test_nine_of_ten_strangers_lie_within_what_is_stated(noise: float) -> None:
    held = networks(300, noise)
    scales = learn_scales(held[:48], IDLE)
    inside = []
    for one in held[48:]:
        said = IDLE + float((from_memory(one.asked, scales.cache_mweights, scales.cold) @ scales.coefficients).sum())
        inside.append(abs(said - one.ms) <= 1.645 * scales.rms * said)
    assert 0.85 <= np.mean(inside) <= 0.99


def test_drift_between_campaigns_widens_what_is_stated() -> None:
    still = networks(noise=0.02)
    moved = [replace(one, drift=0.2) for one in still]
    assert learn_scales(moved, IDLE).rms == pytest.approx(np.hypot(learn_scales(still, IDLE).rms, 0.2))


def test_what_weights_cost_behind_other_work_is_told_by_products_there() -> None:
    rng, products = np.random.default_rng(0), list[ColdProduct]()
    memory = ColdWeights(0.2, CACHE, 0.5)
    for others in (0.1, 0.5, 1.5, 4.0, 10.0):
        for own in (0.5, 1.0, 2.0):
            read = float(thin_share(np.array(own), own + others, memory))
            more = read * (0.2 * own - 0.05 * own) + 0.005 * float(rng.standard_normal())
            products.append(ColdProduct(0.05 * own, more, own, own + 0.5 * others, others))
    # One visit met a neighbour of the machine.
    products.append(ColdProduct(0.05, 2.0, 1.0, 11.0, 0.0))
    cold = learn_cold(products)
    assert cold is not None
    assert cold.per_mweight == pytest.approx(0.2, rel=0.1)
    assert cold.cache_melements == pytest.approx(CACHE, rel=0.25)
    assert learn_cold(products[:3]) is None


def test_products_of_few_rows_wait_for_weights_that_others_drove_out() -> None:
    """The network as a whole says nothing of it: its last product is a small part of its time."""
    known = ColdWeights(0.2, 1.0)
    scales = learn_scales(networks(), IDLE, known)
    assert scales.cold == known

    def last_ms(*mweights: float, alone_ms: float = 0.05) -> float:
        """Milliseconds of the last product, the only one of one row."""
        asked = np.zeros((len(mweights), len(SCALES) + 5))
        asked[:, len(SCALES)] = mweights
        asked[-1, len(SCALES) + 1], asked[-1, 0] = mweights[-1], alone_ms
        found = from_memory(asked, scales.cache_mweights, scales.cold) @ scales.coefficients
        return float(found[-1])

    warm = float(scales.scales[0]) * 0.05
    assert last_ms(3.0, 1.0) == pytest.approx(0.2)
    assert last_ms(0.3, 0.1) == pytest.approx(warm)
    assert last_ms(4.0) == pytest.approx(warm), "alone in a file it was measured so"
    assert last_ms(3.0, 1.0, alone_ms=0.3) == pytest.approx(float(scales.scales[0]) * 0.3), "it came from there alone"


def test_a_kind_that_is_told_too_low_says_by_how_much_of_what_it_tells() -> None:
    """Half of the operators take four times as long, and nothing tells which: three of what is told are missing."""
    rng = np.random.default_rng(1)
    features = np.ones((60, len(FEATURES)))
    features[:, FEATURES.index("read")] = features[:, FEATURES.index("written")] = rng.uniform(0.5, 1.0, 60)
    ms = features[:, FEATURES.index("read")] * np.where(rng.random(60) < 0.5, 4.0, 1.0)
    kind = learn_kind("transpose 10", features, ms)
    missing = ms / kind.ms(features) - 1
    assert kind.rms >= 0.9 * np.sqrt(np.mean(missing**2))
    assert not kind.is_priced
    assert not kind.reaches(features[0])
    assert kind.most_ms(features[0]) >= 3 * float(kind.ms(features[:1])[0])
