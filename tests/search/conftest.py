"""A small real space with a synthetic accuracy, so that searches of every strategy take milliseconds."""

import numpy as np
import pytest

from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import BlockSums, SyntheticAccuracy


@pytest.fixture(scope="session")
def mini():
    return load_space("ofa-mbv3-mini")


@pytest.fixture(scope="session")
def latencies(mini):
    """Two devices: one likes what costs few operations, the other has its own mind."""
    rng = np.random.default_rng(3)
    macs = mini.block_macs(mini.vocabulary) / 1e5
    return BlockSums(mini, macs + 0.2, relative_std=0.02), BlockSums(mini, rng.uniform(0.5, 2.0, len(macs)))


@pytest.fixture
def make_problem(mini, latencies):
    """Problem over the mini space with both devices; keywords go to Problem."""

    def make(bend=0.3, devices=2, limits=(None, None), accuracy=None, **keywords):
        targets = tuple(
            ProblemTarget(f"device_{i}", latencies[i], f"device_{i}/litert/fp32/t1/b1", limits[i])
            for i in range(devices)
        )
        return Problem(mini, targets, accuracy or SyntheticAccuracy(mini, bend), **keywords)

    return make


@pytest.fixture
def synthetic(mini):
    return SyntheticAccuracy(mini, bend=0.0)
