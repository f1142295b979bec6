"""Baselines from outside propose what their own packages would, and say which extra brings these."""

import sys

import numpy as np
import pytest

from fleetfront.errors import MissingDependency
from fleetfront.search.strategies.botorch_nehvi import BotorchNehvi, BotorchSettings
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.search.strategies.optuna_gp import OptunaGp


def known(make_problem, **options):
    problem = make_problem(budget=200, **options)
    problem.evaluate(np.unique(problem.sample(60, np.random.default_rng(0)), axis=0))
    return problem


def test_botorch_chooses_better_than_its_candidates_are(make_problem):
    problem = known(make_problem)
    strategy = BotorchNehvi(problem, 0, BotorchSettings(considered=100, samples=16))
    chosen = strategy.ask(3)
    pool = problem.archive.unknown(problem.sample(300, np.random.default_rng(1)))
    assert len(chosen) == 3

    def lead(rows):
        """Percentage points above the known front of the device whose turn it was, at the same cost."""
        front = problem.front(0)
        at = np.searchsorted(problem.archive.cost[front, 0], problem.cost(rows)[:, 0], side="right") - 1
        level = np.where(at < 0, problem.archive.accuracy.min(), problem.archive.accuracy[front][np.maximum(at, 0)])
        return problem.accuracy.predict(rows).mean - level

    assert lead(chosen).mean() > np.quantile(lead(pool), 0.9)


@pytest.mark.parametrize("limits", [(None, None), (20.0, None)])
def test_a_study_of_optuna_holds_the_archive_and_its_limits(make_problem, limits):
    problem = known(make_problem, limits=limits)
    study, distributions = OptunaGp(problem, 0)._study(0)
    values = problem.objectives(0, np.arange(len(problem.archive)))
    assert np.array_equal([trial.values for trial in study.trials], values)
    free = zip(problem.space.gene_names, problem.free_choices, strict=True)
    assert set(distributions) == {gene for gene, count in free if count > 1}
    told = [trial.system_attrs.get("constraints") for trial in study.trials]
    expected = [None] * len(values) if limits[0] is None else (values[:, :1] - limits[0]).tolist()
    assert told == expected


@pytest.mark.parametrize(("name", "package"), [("optuna-gp", "optuna"), ("botorch-nehvi", "botorch")])
def test_a_missing_package_is_named_with_its_extra(make_problem, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=package) as caught:
        make_strategy(name, make_problem(), 0)
    assert f"fleetfront[{package}]" in str(caught.value)
