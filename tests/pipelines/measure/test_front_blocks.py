"""Settings that fronts use are counted, and what the others are worth follows from what is known of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.graphs.operators.catalogue import graph_macs
from fleetfront.pipelines.measure.front_blocks import FrontUse, read_front_use, rest_worth, use_of
from fleetfront.predictors.table.lookup import Filled, LookupTable
from fleetfront.search.collect import collect_fronts
from fleetfront.search.fronts_file import load_fronts, write_fronts
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import small_problem

SPACE = load_space("ofa-mbv3-mini")
KEYS = tuple(block.key for block in SPACE.vocabulary)


@pytest.fixture
def use() -> FrontUse:
    return use_of(SPACE, np.unique(SPACE.canonical(SPACE.sample(4, np.random.default_rng(3))), axis=0))


@pytest.fixture
def mini_fronts(tmp_path: Path) -> Path:
    problem = small_problem(SPACE, budget=60)
    run = run_search(problem, make_strategy("random", problem, 1), name="random", seed=1)
    return write_fronts(collect_fronts(problem, run), tmp_path / "mini")


def table(use: FrontUse, spread: float) -> LookupTable:
    """Every block takes its MACs and one more; those that are not used are guesses that may be off by ``spread``."""
    ms = np.array([1e-3 + graph_macs(SPACE.block_graph(block)) / 1e9 for block in SPACE.vocabulary])
    used = use.uses[use.settings] > 0
    filled = tuple(Filled.MEASURED if one else Filled.MODELLED for one in used)
    return LookupTable(KEYS, ms, np.where(used, 0.01, spread), filled)


def test_settings_count_once_a_network_and_the_most_used_come_first(use: FrontUse) -> None:
    counted: Counter[int] = Counter()
    for row in SPACE.block_indices(use.genotypes):
        counted.update({int(use.settings[place]) for place in row if place >= 0})
    assert {place: count for place, count in enumerate(use.uses) if count} == counted
    first = use.first(SPACE)
    uses = [int(use.uses[use.settings[KEYS.index(key)]]) for key in first]
    assert uses == sorted(uses, reverse=True)
    assert 0 < len(first) < len(KEYS)


def test_the_rest_is_worth_more_the_less_is_known_of_it(use: FrontUse) -> None:
    first = use.first(SPACE)
    near, far = (rest_worth(SPACE, use, first, table(use, spread)) for spread in (0.02, 0.5))
    assert near.used_measured == near.used == use.used
    assert near.rest_measured == 0
    assert near.gain_percent is not None
    assert far.gain_percent is not None
    assert 0 <= near.gain_percent < far.gain_percent <= (far.most_percent or 0) < 100
    assert "may be worth" in far.lines()[1]


def test_nothing_is_left_to_be_worth_anything_once_all_is_measured(use: FrontUse) -> None:
    known = replace(table(use, 0.5), filled=(Filled.MEASURED,) * len(KEYS))
    worth = rest_worth(SPACE, use, KEYS, known)
    assert (worth.gain_percent, worth.used + worth.rest_measured) == (0.0, worth.settings)
    assert len(worth.lines()) == 1


def test_fronts_of_another_space_are_refused(tmp_path: Path, mini_fronts: Path) -> None:
    with pytest.raises(InputError, match="is a front of"):
        read_front_use(load_space("nasbench201"), [mini_fronts])
    found = read_front_use(SPACE, [mini_fronts, mini_fronts])
    assert len(found.genotypes) == len({p.arch for front in load_fronts(mini_fronts).devices for p in front.points})
