"""Every strategy that fleetfront brings conforms, and each fault is found."""

from functools import partial

import pytest

from fleetfront.search.strategies.catalogue import make_strategy, strategy_names
from fleetfront.testing.checks import check_name, failures
from fleetfront.testing.strategies import STRATEGY_CHECKS, STRATEGY_FAULTS, StrategyCase, faulty_strategy

#: The exact front draws nothing, random search is what the others are compared with, and a surrogate is for few
#: evaluations, as LaMOO is. What accuracy does not steer need not beat chance, and baselines
#: from outside are too slow to be asked often.
CASES = {
    "exact": {"evaluations": 800, "bend": 0.0, "has_chance": False, "beats_random": False},
    "random": {"beats_random": False},
    "surrogate": {"evaluations": 60, "comparing": 60},
    "lamoo": {"evaluations": 40, "comparing": 60},
    "cpe": {"evaluations": 60, "comparing": 120},
    "optuna-gp": {"evaluations": 20, "beats_random": False},
    "botorch-nehvi": {"evaluations": 20, "beats_random": False},
    "linas": {"evaluations": 120, "comparing": 200},
    "macs-fronts": {"has_chance": False, "beats_random": False},
    "pdns": {"beats_random": False},
    "modnas": {"evaluations": 20, "comparing": 40},
    "pnag": {"evaluations": 20, "beats_random": False},
}


#: As slow as its predictions are many, or its training long.
SPELLED = {
    "linas": "linas:predicted=400",
    "optuna-gp": "optuna-gp:first=19,batch=1",
    "botorch-nehvi": "botorch-nehvi:first=18,batch=2,considered=100,samples=16",
    "modnas": "modnas:steps=1,round_steps=1,fit_steps=20",
    "pnag": "pnag:steps=1,round_steps=1,evaluator_steps=1,fit_steps=20",
}


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=check_name)
@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_conforms(name, check):
    check(StrategyCase(partial(make_strategy, SPELLED.get(name, name)), **CASES.get(name, {})))


@pytest.mark.parametrize("fault", STRATEGY_FAULTS)
def test_each_fault_is_found(fault):
    assert failures(STRATEGY_CHECKS, faulty_strategy(StrategyCase(partial(make_strategy, "local-search")), fault))
