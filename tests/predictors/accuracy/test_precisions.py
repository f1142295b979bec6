"""A precision's accuracy is never that of float, and says how sure it is."""

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.precisions import Drop, in_precisions, parse_drop, published_drop
from fleetfront.predictors.accuracy.tables import TableAccuracy
from fleetfront.predictors.base import HasHeldOut, HasLowest, KeepsCalls, ListsNetworks
from fleetfront.predictors.table.networks import GenotypeIndex
from fleetfront.quantities import PERPLEXITY, Z90, Tier
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import with_precisions
from fleetfront.testing.problems import SyntheticAccuracy

PLAIN = load_space("ofa-mbv3-mini")
SPACE = with_precisions(PLAIN, ["fp32", "int8"])
INT8 = Drop(0.8, 0.4, Tier.PREDICTED, "12 networks", 12)


def test_int8_loses_its_drop_and_is_less_sure():
    model = in_precisions(SPACE, SyntheticAccuracy(PLAIN), {"int8": INT8})
    genotypes = SPACE.sample(30, np.random.default_rng(0))
    floats, found = SyntheticAccuracy(PLAIN).predict(SPACE.without(genotypes)), model.predict(genotypes)
    is_int8 = genotypes[:, -1] == 1
    assert np.allclose(found.mean, floats.mean - 0.8 * is_int8)
    assert np.allclose(found.std, np.hypot(floats.std, 0.4 * is_int8))
    assert model.tiers(genotypes) == ["predicted"] * 30
    assert model.lowest == pytest.approx(50 - 0.8 - Z90 * 0.4)


def test_a_model_offers_what_the_one_in_float_offers():
    synthetic = in_precisions(SPACE, SyntheticAccuracy(PLAIN), {"int8": INT8})
    assert isinstance(synthetic, HasLowest)
    assert not isinstance(synthetic, HasHeldOut | ListsNetworks | KeepsCalls)
    networks = np.unique(PLAIN.sample(4, np.random.default_rng(0)), axis=0)
    table = TableAccuracy(PLAIN, "csv:x", networks, np.full(4, 70.0), np.zeros(4), GenotypeIndex(PLAIN, networks))
    listed = in_precisions(SPACE, table, {"int8": INT8})
    assert isinstance(listed, ListsNetworks)
    assert listed.predict(listed.networks()).mean.tolist() == [70.0] * 4 + [69.2] * 4
    assert listed.tiers(listed.networks()) == ["measured"] * 4 + ["predicted"] * 4
    assert listed.tier is Tier.PREDICTED


def test_the_fingerprint_knows_the_drop():
    one, other = (
        in_precisions(SPACE, SyntheticAccuracy(PLAIN), {"int8": Drop(points, 0.4, Tier.ESTIMATED, "")})
        for points in (0.8, 0.9)
    )
    assert one.fingerprint != other.fingerprint
    assert one.source == other.source == "synthetic"


def test_what_is_no_accuracy_and_what_nobody_knows_is_refused():
    class Scores(SyntheticAccuracy):
        quality = PERPLEXITY

    class Int8(SyntheticAccuracy):
        precision = "int8"

    with pytest.raises(InputError, match="perplexity"):
        in_precisions(SPACE, Scores(PLAIN), {"int8": INT8})
    with pytest.raises(InputError, match="Nobody knows what int8 costs"):
        in_precisions(SPACE, SyntheticAccuracy(PLAIN), {})
    with pytest.raises(InputError, match="of networks in int8"):
        in_precisions(SPACE, Int8(PLAIN), {"int8": INT8})


def test_a_drop_is_the_median_and_reaches_as_far_as_nine_tenths_do():
    lost = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 2.4]
    drop = Drop.learn(lost, Tier.PREDICTED, "nine")
    assert (drop.points, drop.networks) == (0.4, 9)
    # Of nine the ceil(0.9 * 10)-th, the farthest.
    assert pytest.approx(2.0) == Z90 * drop.std
    with pytest.raises(InputError, match="8 networks"):
        Drop.learn(lost[:8], Tier.PREDICTED, "eight")


def test_nine_tenths_of_other_networks_are_within_a_learnt_drop():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        drop = Drop.learn(rng.gamma(2.0, 0.3, 24), Tier.PREDICTED, "")
        inside.append(np.abs(rng.gamma(2.0, 0.3, 100) - drop.points) <= Z90 * drop.std)
    assert 0.88 <= np.mean(inside) <= 0.95


def test_the_published_drop_is_wide_and_estimated():
    drop = published_drop()
    assert drop.points == pytest.approx(0.264)
    assert Z90 * drop.std == pytest.approx(2.316)
    assert drop.tier is Tier.ESTIMATED


def test_a_stated_drop_says_how_sure_it_is():
    assert parse_drop("int8=0.8+-0.4") == ("int8", Drop(0.8, 0.4, Tier.ESTIMATED, "stated by --drop"))
    for text in ("int8=0.8", "int8", "int8=a+-b", "int8=0.8+--1", "int8=nan+-1", "int8=900+-1"):
        with pytest.raises(InputError, match="does not say"):
            parse_drop(text)
