"""Blocks are written for LiteRT as they lie inside a network: images, and sequences, with their channels last."""

import pytest
import torch
from torch import Tensor, nn

from fleetfront.spaces.from_torch.exporting import _axes_of_maps, _ChannelsLast
from fleetfront.spaces.from_torch.tracing import Chain

SEQUENCE = Chain([nn.Conv1d(8, 16, 5, 4, 2), nn.BatchNorm1d(16), nn.ReLU()])
ATTENTION = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True).eval()


@pytest.mark.parametrize(
    ("module", "sample", "axes"),
    [
        (SEQUENCE, torch.randn(1, 8, 40), (3, 4)),
        (Chain([nn.AdaptiveAvgPool1d(1), nn.Flatten()]), torch.randn(1, 8, 40), (3, 4)),
        (ATTENTION, torch.randn(1, 5, 16), (4,)),
        (Chain([nn.Conv2d(3, 4, 3)]), torch.randn(1, 3, 8, 8), (4,)),
        (Chain([nn.BatchNorm1d(8)]), torch.randn(1, 8), (4,)),
    ],
)
def test_what_has_channels_before_places_is_told(module: nn.Module, sample: Tensor, axes: tuple[int, ...]) -> None:
    assert _axes_of_maps(module, [sample]) == axes


@pytest.mark.parametrize(
    ("module", "sample", "shape"),
    [
        (SEQUENCE, torch.randn(1, 8, 40), (1, 1, 40, 8)),
        (Chain([nn.Conv2d(3, 4, 3)]), torch.randn(1, 3, 8, 9), (1, 8, 9, 3)),
        (ATTENTION, torch.randn(1, 5, 16), (1, 5, 16)),
    ],
)
def test_a_block_computes_the_same_with_its_channels_last(
    module: nn.Module, sample: Tensor, shape: tuple[int, ...]
) -> None:
    inside = _ChannelsLast(module, _axes_of_maps(module, [sample]), [sample])
    fed = inside.given(sample)
    assert tuple(fed.shape) == shape
    with torch.no_grad():
        wanted = inside.given(module(sample))
        assert torch.allclose(inside(fed), wanted)
    assert wanted.shape[-1] in (16, 4)
