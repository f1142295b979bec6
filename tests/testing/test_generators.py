"""Hold what both strategies leave behind to its promises, on a device that they never met; each fault is found."""

from collections.abc import Callable
from functools import cache

import pytest

from fleetfront.search.run import run_search
from fleetfront.search.strategies.base import LeavesGenerator
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.checks import check_name, failures
from fleetfront.testing.generators import GENERATOR_CHECKS, GENERATOR_FAULTS, GeneratorCase, faulty_generator
from fleetfront.testing.problems import small_problem, synthetic_latencies

MINI, CELLS = load_space("ofa-mbv3-mini"), load_space("nasbench201")


@cache
def case_of(spelled: str, space: str) -> GeneratorCase:
    family = load_space(space)
    *met, unmet = synthetic_latencies(family, 3)
    problem = small_problem(
        family, latencies=tuple(met), budget=20, fixed={} if space == CELLS.name else {"depth_1": 2}
    )
    strategy = make_strategy(spelled, problem, 1)
    run_search(problem, strategy, name=spelled, seed=1)
    assert isinstance(strategy, LeavesGenerator)
    return GeneratorCase(strategy.generator, (unmet,))


CASES = {
    "modnas": ("modnas:steps=20,round_steps=1,fit_steps=20", MINI.name),
    "published modnas": (
        "modnas:steps=5,round_steps=1,network=tables,scalar=sum,features=latencies,sampler=gdas,gradient=sampled",
        CELLS.name,
    ),
    "pnag": ("pnag:steps=5,evaluator_steps=5,round_steps=1,fit_steps=20", MINI.name),
    "published pnag": ("pnag:budgets=5,steps=5,evaluator_steps=5,round_steps=1,reward=product", CELLS.name),
}


@pytest.mark.parametrize("check", GENERATOR_CHECKS, ids=check_name)
@pytest.mark.parametrize("name", CASES)
def test_what_trained_strategies_leave_conforms(name: str, check: Callable[[GeneratorCase], None]) -> None:
    check(case_of(*CASES[name]))


@pytest.mark.parametrize("fault", GENERATOR_FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    assert failures(GENERATOR_CHECKS, faulty_generator(case_of(*CASES["modnas"]), fault))
