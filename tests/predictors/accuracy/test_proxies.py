"""Proxies against arithmetic by hand and published tables; they answer for real networks under names of their own."""

import csv
import gzip

import numpy as np
import pytest
from scipy.stats import spearmanr

from fleetfront.errors import InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.predictors.accuracy.proxies import naswot, synflow
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.quantities import Tier
from fleetfront.spaces.catalogue import load_space


@pytest.fixture(scope="module")
def cells():
    space = load_space("nasbench201")
    return space, np.unique(space.sample(14, np.random.default_rng(1)), axis=0)


def linear(*weights):
    """Linear layers without bias, one after another, a rectifier between them."""
    builder = GraphBuilder("chain")
    data = builder.input("input", (1, weights[0].shape[1]))
    for i, array in enumerate(weights):
        data = builder.add("relu", (data,)) if i else data
        data = builder.add("linear", (data, builder.weight(f"w{i}", array.astype(np.float32))))
    return builder.build((data,))


def test_synflow_is_the_flow_through_absolute_weights():
    first, second = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([[-4.0, 1.0]])
    # Of a chain of linear layers each weighs the whole flow once: |second| |first| 1 = 4 * 3 + 1 * 3.5.
    assert synflow(linear(first, second)) == pytest.approx(np.log10(1 + 2 * 15.5))
    assert synflow(linear(first, np.zeros((1, 2)))) == 0.0


def test_naswot_tells_networks_apart_by_how_inputs_switch_them():
    rng = np.random.default_rng(0)
    narrow, wide = (naswot(linear(rng.normal(size=(n, 8)), rng.normal(size=(3, n)))) for n in (64, 512))
    assert narrow < wide
    # Every unit switches alike: inputs fall on two sides, which no more than two of 16 rows tell apart.
    assert naswot(linear(np.ones((64, 8)), np.ones((3, 64)))) == 0.0


def test_synflow_ranks_cells_as_the_published_table_does(cells, shared_data):
    space, rows = cells
    with gzip.open(shared_data / "nb201_zc" / "nb201_zero_cost.csv.gz", "rt") as file:
        table = {row["arch"]: float(row["synflow_cifar10"]) for row in csv.DictReader(file)}
    published = [table[arch] for arch in space.arch_ids(rows)]
    model = load_accuracy("proxy:synflow", space)
    found = model.predict(rows)
    assert spearmanr(found.mean, published).statistic > 0.98
    assert np.array_equal(found.mean, model.predict(rows).mean)


@pytest.mark.parametrize("name", ["synflow", "naswot"])
@pytest.mark.parametrize("family", ["nasbench201", "ofa-mbv3-mini"])
def test_scores_are_estimates_under_a_name_of_their_own(name, family):
    space = load_space(family)
    model = load_accuracy(f"proxy:{name}", space)
    found = model.predict(space.sample(2, np.random.default_rng(3)))
    assert (model.source, model.quality.name, found.tier) == (f"proxy:{name}", name, Tier.ESTIMATED)
    assert np.all(np.isfinite(found.mean) & (found.mean > 0) & (found.mean < 100))


def test_nothing_flows_through_a_cell_without_a_path():
    space = load_space("nasbench201")
    cut = np.zeros((1, 6), np.int8)
    assert space.disconnected(cut).all()
    for name in ("synflow", "naswot"):
        assert np.isfinite(load_accuracy(f"proxy:{name}", space).predict(cut).mean).all()


@pytest.mark.parametrize(
    ("spelled", "space", "said"),
    [
        ("proxy:jacov", "nasbench201", "naswot"),
        ("proxy:", "nasbench201", "does not say which"),
        ("proxy:synflow", "hw-gpt-s", "none is written"),
    ],
)
def test_what_no_proxy_answers_is_refused(spelled, space, said):
    with pytest.raises(InputError, match=said):
        load_accuracy(spelled, load_space(space))
