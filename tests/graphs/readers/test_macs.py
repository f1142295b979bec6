"""Readers of files and modules agree with published multiply-accumulates and with torch's own counter."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fleetfront.graphs.operators.catalogue import graph_macs
from fleetfront.graphs.readers.file import read_graph
from fleetfront.graphs.readers.torch import read_module

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"

#: Millions, as the papers or torchvision state them: ResNet-50 4.09, VGG-19 19.6, DenseNet-121 2.83 thousand million.
PUBLISHED = {"resnet50": 4_089, "vgg19": 19_632, "densenet121": 2_834, "squeezenet": 349}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_networks_have_their_published_macs(name: str) -> None:
    graph = read_graph(LIGHT / f"light_{name}.onnx")
    assert not [operator.origin for operator in graph.operators if operator.family == "opaque"]
    assert graph_macs(graph) / 1e6 == pytest.approx(PUBLISHED[name], rel=0.001)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # TensorFlow's list of MobileNets: 0.25_128 has 14 million with its classifier, V2 1.0_224 has 300 million.
        ("mobilenet_v1_0.25_128_quant", 13.57),
        ("tf2_mobilenet_v2_1.0_224_ptq", 300.8),
        # MLPerf Tiny's autoencoder: ten layers from 640 to 128, 8 and back.
        ("ad01_int8", 0.264192),
    ],
)
def test_known_tflite_files_have_their_published_macs(shared_data: Path, name: str, millions: float) -> None:
    graph = read_graph(shared_data / "model_files" / f"{name}.tflite")
    assert graph_macs(graph) / 1e6 == pytest.approx(millions, rel=0.001)


class Mixed(nn.Module):
    """Convolutions of several kinds, then attention, spelled out and as one operator."""

    def __init__(self) -> None:
        super().__init__()
        self.images = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.Conv2d(8, 16, 3, padding="same", dilation=2, groups=4),
            nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1),
            nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
        )
        self.sounds = nn.Sequential(nn.Conv1d(8, 24, 5, stride=2), nn.LayerNorm(30))
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        steps = self.sounds(self.images(image).flatten(2)[:, :, :63]).transpose(1, 2)
        return self.attention(steps, steps, steps)[0].mean(1)


def test_a_module_has_the_macs_that_torch_counts() -> None:
    module, image = Mixed(), torch.zeros(2, 3, 16, 16)
    graph = read_module(module, image)
    with FlopCounterMode(display=False) as counter:
        module.eval()(image)
    assert graph_macs(graph) == counter.get_total_flops() / 2
    assert not [operator.origin for operator in graph.operators if operator.family == "opaque"]
    assert [graph.tensors[name].shape for name in graph.outputs] == [(2, 24)]
