"""Sizes of files are learnt from written ones, and say how far off they are."""

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.file_sizes import LEAST_FILES, PARTS, FileParts, FileSizes
from fleetfront.quantities import SIZE, Tier
from fleetfront.spaces.catalogue import load_space

SPACE = load_space("ofa-mbv3-mini")


@pytest.fixture(scope="module")
def parts() -> FileParts:
    return FileParts(SPACE)


def test_parts_are_those_of_the_whole_graph(parts: FileParts) -> None:
    (genotype,) = networks = SPACE.canonical(SPACE.sample(1, np.random.default_rng(0)))
    ((graph, _),) = SPACE.subnet_graphs(genotype).values()
    found = dict(zip(PARTS, parts(networks)[0], strict=True))
    assert found["weights"] == sum(array.size for array in graph.weights.values())
    assert found["weighted operators"] == sum(op.family in ("conv2d", "linear") for op in graph.operators)
    assert found["weighted operators"] + found["other operators"] == len(graph.operators)


def test_sizes_that_add_up_are_learnt_and_others_are_as_uncertain_as_they_are(parts: FileParts) -> None:
    networks = SPACE.canonical(SPACE.sample(60, np.random.default_rng(0)))
    true = 500 + parts(networks) @ [4.0, 1.0, 190.0, 110.0]
    exact = FileSizes.learn(parts, networks[:20], true[:20].astype(int).tolist(), "fp32")
    assert np.allclose(exact.predict(networks).mean, true, rtol=1e-3)
    assert exact.relative_std < 1e-3
    assert (exact.metric, exact.tier, exact.covers(networks).all()) == (SIZE, Tier.ESTIMATED, True)
    inside = []
    for seed in range(10):
        noisy = true * np.random.default_rng(seed).normal(1.0, 0.05, len(true))
        doubtful = FileSizes.learn(parts, networks[:20], noisy[:20].astype(int).tolist(), "fp32")
        low, high = doubtful.predict(networks[20:]).interval
        inside.append(np.mean((low <= noisy[20:]) & (noisy[20:] <= high)))
    assert 0.8 <= np.mean(inside) <= 0.98


def test_what_files_say_of_themselves_is_in_the_deviation(parts: FileParts) -> None:
    networks = SPACE.canonical(SPACE.sample(20, np.random.default_rng(0)))
    sizes = (4 * parts(networks)[:, 0]).astype(int).tolist()
    found = FileSizes.learn(parts, networks, sizes, "fp32", described_std=300.0)
    assert (found.predict(networks).std >= 300).all()


def test_few_files_and_spaces_without_files_are_refused(parts: FileParts) -> None:
    networks = SPACE.canonical(SPACE.sample(3, np.random.default_rng(0)))
    with pytest.raises(InputError, match=f"Write at least {LEAST_FILES}"):
        FileSizes.learn(parts, networks, [1, 2, 3], "fp32")
    with pytest.raises(InputError, match="known by tables alone, and have no size"):
        FileParts(load_space("hw-gpt-s"))
