"""Networks that one accuracy is the answer for, by hand."""

import numpy as np

from fleetfront.predictors.accuracy.precisions import Drop, in_precisions
from fleetfront.quantities import Tier
from fleetfront.search.companions import Companions
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.precisions import with_precisions
from fleetfront.testing.problems import SyntheticAccuracy

PLAIN = ofa_mbv3_mini()
SPACE = with_precisions(PLAIN, ["fp32", "int8", "w8"])
DROPS = {name: Drop(points, 0.1, Tier.ESTIMATED, "stated") for name, points in (("int8", 0.5), ("w8", 0.2))}
NETWORKS = PLAIN.canonical(PLAIN.sample(3, np.random.default_rng(0)))


def companions(*allowed: bool) -> Companions:
    genes = [np.ones(len(values), np.bool_) for values in PLAIN.choices]
    accuracy = in_precisions(SPACE, SyntheticAccuracy(PLAIN), DROPS)
    return Companions.of(SPACE, accuracy, [*genes, np.array(allowed)])


def test_networks_are_asked_for_in_float_and_stand_for_every_precision() -> None:
    of = companions(True, True, True)
    mixed = np.concatenate([SPACE.in_precision(NETWORKS, "w8"), SPACE.in_precision(NETWORKS[:1], "int8")])
    heads = of.heads(mixed)
    assert SPACE.precisions_of(heads) == ["fp32"] * 3
    assert np.array_equal(SPACE.without(heads), NETWORKS)
    assert [(SPACE.precisions_of(rows)[0], lost) for rows, lost in of.forms(heads)] == [
        ("fp32", 0.0),
        ("int8", 0.5),
        ("w8", 0.2),
    ]
    assert len(of.beside(mixed)) == 9
    assert of.are_heads(mixed).tolist() == [False] * 4
    assert of.are_heads(heads).all()


def test_where_float_is_barred_the_first_precision_left_is_asked_for() -> None:
    of = companions(False, True, True)
    assert SPACE.precisions_of(of.heads(SPACE.in_precision(NETWORKS, "w8"))) == ["int8"] * 3
    assert of.lost.tolist() == [0.0, 0.2 - 0.5]


def test_a_plain_space_has_none() -> None:
    of = Companions.of(PLAIN, SyntheticAccuracy(PLAIN), [np.ones(len(values), np.bool_) for values in PLAIN.choices])
    assert of.heads(NETWORKS) is NETWORKS
    assert len(of.beside(NETWORKS)) == 0
    assert [lost for _, lost in of.forms(NETWORKS)] == [0.0]
    assert of.are_heads(NETWORKS).all()
