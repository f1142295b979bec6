"""The shortest mix of gradients is found, and samplers give gradients that point where costs fall."""

import numpy as np
import pytest
import torch

from fleetfront.search.generators.descent import least_norm_weights
from fleetfront.search.generators.samplers import SAMPLERS, draw_choices


def test_the_shortest_mix_of_two_gradients_is_orthogonal_to_their_difference() -> None:
    vectors = np.array([[2.0, 0.0], [0.0, 1.0]])
    weights = least_norm_weights(vectors @ vectors.T)
    assert weights == pytest.approx([0.2, 0.8], abs=1e-3)


def test_a_longer_gradient_in_the_same_direction_is_left_out() -> None:
    vectors = np.array([[3.0, 1.0], [1.0, 0.0]])
    assert least_norm_weights(vectors @ vectors.T)[1] > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_the_mix_lowers_every_loss(seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(5, 40)) + 0.3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = least_norm_weights(vectors @ vectors.T)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()
    shortest = weights @ vectors
    assert (vectors @ shortest >= shortest @ shortest - 1e-2).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_following_a_samplers_gradient_finds_the_cheapest_choices(name: str) -> None:
    counts, costs = [3, 2, 3], torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0, 3.0, 0.5, 1.0])
    logits = torch.zeros(1, 8, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        chosen = draw_choices(logits.expand(16, 8), counts, name, 1.0, generator)
        assert chosen.sum().item() == pytest.approx(48.0)
        optimiser.zero_grad()
        (chosen @ costs).mean().backward()
        optimiser.step()
    found = [int(gene.argmax()) for gene in logits[0].split(counts)]
    assert found == [0, 1, 1]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_choice_that_is_ruled_out_is_never_drawn(name: str) -> None:
    logits = torch.tensor([[0.0, -torch.inf, 0.0]]).expand(200, 3)
    drawn = draw_choices(logits, [3], name, 1.0, torch.Generator().manual_seed(0))
    assert drawn[:, 1].sum() == 0
    assert 0 < drawn[:, 0].sum() < 200
