"""Costs of networks in several precisions are those of the precision's own model."""

from dataclasses import replace

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.one_hot import OneHot
from fleetfront.predictors.precision_costs import PrecisionCosts
from fleetfront.quantities import Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import with_precisions
from fleetfront.testing.problems import synthetic_latencies

PLAIN = load_space("ofa-mbv3-mini")
SPACE = with_precisions(PLAIN, ["fp32", "int8"])


class Unpromised:
    """A model whose intervals are not to be promised."""

    def __init__(self, inner, why):
        self._inner, self._why = inner, why
        self.metric, self.tier, self.clock = inner.metric, inner.tier, Clock.WALL

    def predict(self, genotypes):
        return replace(self._inner.predict(genotypes), unpromised=self._why)

    def covers(self, genotypes):
        return self._inner.covers(genotypes)


def test_each_network_is_predicted_by_the_model_of_its_precision():
    floats, narrow = synthetic_latencies(PLAIN)
    costs = PrecisionCosts(SPACE, {"fp32": floats, "int8": narrow})
    genotypes = SPACE.sample(40, np.random.default_rng(0))
    found, networks = costs.predict(genotypes), SPACE.without(genotypes)
    is_int8 = genotypes[:, -1] == 1
    assert 0 < is_int8.sum() < 40
    for name in ("mean", "std", "same_sitting"):
        expected = np.where(is_int8, getattr(narrow.predict(networks), name), getattr(floats.predict(networks), name))
        assert np.array_equal(getattr(found, name), expected)
    assert costs.covers(genotypes).all()


def test_nothing_is_promised_of_a_precision_that_knows_one_sitting():
    floats, narrow = synthetic_latencies(PLAIN)
    costs = PrecisionCosts(SPACE, {"fp32": Unpromised(floats, ""), "int8": Unpromised(narrow, "one sitting")})
    genotypes = SPACE.sample(20, np.random.default_rng(0))
    floats_alone = genotypes[genotypes[:, -1] == 0]
    assert costs.predict(floats_alone).unpromised == ""
    assert costs.predict(genotypes).unpromised == "one sitting"


def test_models_that_do_not_compare_are_refused():
    floats, narrow = synthetic_latencies(PLAIN)
    with pytest.raises(InputError, match="no cost model of ofa-mbv3-mini in fp32 or int8"):
        PrecisionCosts(SPACE, {"fp16": floats})
    other = Unpromised(narrow, "")
    other.clock = Clock.THREAD_CPU
    with pytest.raises(InputError, match="fp32 under wall, int8 under thread-cpu"):
        PrecisionCosts(SPACE, {"fp32": Unpromised(floats, ""), "int8": other})


def test_relaxed_costs_are_the_predicted_ones_at_networks_and_in_between_at_mixtures():
    torch = pytest.importorskip("torch")
    floats, narrow = synthetic_latencies(PLAIN)
    costs = PrecisionCosts(SPACE, {"fp32": floats, "int8": narrow})
    genotypes = SPACE.sample(6, np.random.default_rng(0))
    one_hot = torch.from_numpy(OneHot.of(SPACE)(genotypes)).float()
    assert np.allclose(costs.relaxed(one_hot).numpy(), costs.predict(genotypes).mean, rtol=1e-5)
    one_hot[:, -2:] = 0.5
    networks = SPACE.without(genotypes)
    middle = (floats.predict(networks).mean + narrow.predict(networks).mean) / 2
    assert np.allclose(costs.relaxed(one_hot).numpy(), middle, rtol=1e-5)


def test_a_device_that_knows_one_precision_covers_no_network_of_another():
    _, narrow = synthetic_latencies(PLAIN)
    costs = PrecisionCosts(SPACE, {"int8": narrow})
    genotypes = SPACE.sample(40, np.random.default_rng(0))
    assert costs.known_precisions == ("int8",)
    assert np.array_equal(costs.covers(genotypes), genotypes[:, -1] == 1)
    # So that costs are numbers everywhere; nobody is told them.
    assert np.array_equal(costs.predict(genotypes).mean, narrow.predict(SPACE.without(genotypes)).mean)
