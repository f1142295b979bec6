"""Labels of dominance, by hand; clusters that are told apart by eye."""

import numpy as np
import pytest

from fleetfront.search.strategies.domination import label_good, representatives


def test_strict_dominance_decides_where_the_share_is_right():
    values = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.6, 0.6], [1.0, 0.9], [0.9, 1.0]])
    good = label_good(values, values[:3], 0.3, 0.5)
    assert good.tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize("reference", [0, 20])
def test_the_share_of_good_ones_is_brought_between_its_bounds(reference):
    x = np.random.default_rng(0).random((60, 2))
    x = x[np.argsort(x.sum(axis=1))]
    strict = ~np.all(x[reference] < x, axis=1)
    good = label_good(x, x[[reference]], 0.3, 0.5)
    assert not 0.3 <= strict.mean() <= 0.5
    assert 0.3 <= good.mean() <= 0.5
    # Whoever is called good is no worse in the sum than somebody who is not.
    assert x[good].sum(axis=1).mean() < x[~good].sum(axis=1).mean()


def test_one_representative_stands_for_each_cluster():
    near = np.random.default_rng(0).normal(0, 0.01, (12, 2))
    values = np.repeat([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]], 4, axis=0) + near
    assert (representatives(values, 10) // 4).tolist() == [0, 1, 2]
    assert representatives(values[:2], 10).tolist() == [0, 1]
