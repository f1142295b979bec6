"""Runs of strategies: how many threads their matrix products may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from fleetfront.progress import Progress
from fleetfront.quantities import Tier
from fleetfront.search.problem import Problem
from fleetfront.search.run import run_search
from fleetfront.testing.problems import SyntheticAccuracy


class Counting:
    """A trained strategy that notes the threads of its matrix products, and evaluates one network."""

    threads = 0

    def run(self, problem: Problem, progress: Progress, checkpoint: Callable[[], None]) -> None:
        self.threads = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        problem.evaluate(problem.sample(1, np.random.default_rng(0)))
        checkpoint()

    @property
    def generator(self) -> Any:
        raise RuntimeError("nothing is left behind")


@pytest.mark.parametrize("tier", [Tier.PREDICTED, Tier.MEASURED])
def test_trained_strategies_use_one_thread_unless_networks_are_run(mini: Any, make_problem: Any, tier: Tier) -> None:
    before = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
    accuracy = SyntheticAccuracy(mini, bend=0.3, tier=tier)
    strategy = Counting()
    run_search(make_problem(budget=1, accuracy=accuracy), strategy, name="counting", seed=0)
    assert strategy.threads == (before if tier is Tier.MEASURED else 1)
