"""Relaxed architectures expect what drawing architectures from their probabilities gives on average."""

import numpy as np
import pytest

from fleetfront.spaces.base import Relaxable
from fleetfront.spaces.catalogue import load_space

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", ["ofa-mbv3-mini", "ofa-mbv3-w1.2", "nasbench201"])
def test_expected_blocks_are_those_of_drawn_networks(name: str) -> None:
    space = load_space(name)
    assert isinstance(space, Relaxable)
    rng = np.random.default_rng(0)
    probabilities = [rng.dirichlet(np.ones(len(values))) for values in space.choices]
    expected = space.block_probabilities([torch.tensor(p)[None] for p in probabilities])[0].numpy()
    drawn = np.stack([rng.choice(len(p), 40_000, p=p) for p in probabilities], axis=1).astype(np.int8)
    values = rng.random(len(space.vocabulary))
    costs = space.additive(values)(drawn)
    assert expected @ values == pytest.approx(costs.mean(), abs=4 * costs.std() / 200)
    assert expected.shape == (len(space.vocabulary),)


def test_gradients_lead_to_cheaper_networks() -> None:
    space = load_space("ofa-mbv3-mini")
    logits = [torch.zeros(1, len(values), requires_grad=True, dtype=torch.float64) for values in space.choices]
    costs = torch.from_numpy(space.block_macs(space.vocabulary)).double() / 1e6
    optimiser = torch.optim.Adam(logits, lr=0.3)
    for _ in range(40):
        optimiser.zero_grad()
        (space.block_probabilities([gene.softmax(1) for gene in logits]) @ costs).sum().backward()
        optimiser.step()
    found = np.array([int(gene.argmax()) for gene in logits], np.int8)[None]
    assert space.macs(found)[0] == space.macs(np.zeros_like(found))[0]
