"""Golden runs: the same seed gives the same search, release after release."""

import numpy as np
import pytest

from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy

#: Strategy -> evaluations, sum of accuracies asked for, hypervolumes of both devices.
GOLDEN = {
    "hybrid": (900, 66294.84025699734, (552.5411991668813, 176.29106535748284)),
    "surrogate": (80, 5932.3223083622215, (544.5750967586558, 182.25359192354819)),
    "nsga2": (300, 21449.609807434736, (482.0411962067594, 108.29218227944513)),
    "local-search": (300, 21471.72474636485, (480.27625785725985, 107.011332919786)),
    "random": (300, 21488.43452465153, (476.0622647029952, 107.48916410342227)),
}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_same_seed_gives_the_same_search(make_problem, name):
    budget, total, volumes = GOLDEN[name]
    problem = make_problem(budget=budget, limits=(None, 14.0))
    run = run_search(problem, make_strategy(name, problem, 7), name=name, seed=7)
    assert float(problem.archive.accuracy.sum()) == pytest.approx(total, rel=1e-9)
    assert np.array(run.trace[-1].hypervolume) == pytest.approx(volumes, rel=1e-9)
