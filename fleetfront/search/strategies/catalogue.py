"""Strategies by the names that users type."""

from __future__ import annotations

from collections.abc import Callable

from fleetfront.errors import unknown
from fleetfront.search.problem import Problem
from fleetfront.search.strategies.base import Strategy
from fleetfront.search.strategies.exact import ExactFront
from fleetfront.search.strategies.hybrid import HybridStrategy
from fleetfront.search.strategies.local_search import ParetoLocalSearch
from fleetfront.search.strategies.pymoo_algorithms import nsga2, nsga2_shared, sms_emoa
from fleetfront.search.strategies.random_search import RandomSearch
from fleetfront.search.strategies.surrogate import SurrogateStrategy

#: Name -> (problem, seed) -> strategy.
STRATEGIES: dict[str, Callable[[Problem, int], Strategy]] = {
    "exact": ExactFront,
    "hybrid": HybridStrategy,
    "surrogate": SurrogateStrategy,
    "random": RandomSearch,
    "local-search": ParetoLocalSearch,
    "nsga2": nsga2,
    "nsga2-shared": nsga2_shared,
    "sms-emoa": sms_emoa,
}

#: Former names, still accepted: old name -> today's.
RENAMED = {"house": "hybrid"}


def current_name(name: str) -> str:
    """Today's name of a strategy; ``name`` itself where it never had another."""
    return RENAMED.get(name, name)


def make_strategy(name: str, problem: Problem, seed: int) -> Strategy:
    """The strategy of that name. Raises InputError on an unknown name, MissingDependency if its package is missing."""
    name = current_name(name)
    if name not in STRATEGIES:
        raise unknown("strategy", name, STRATEGIES)
    return STRATEGIES[name](problem, seed)
