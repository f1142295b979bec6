"""Networks that average over many places are proven on inputs that differ in level, as sharply as others."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import ALL_FORMATS
from fleetfront.deploy.proof import LEAST_SPREAD, spread_of_range
from fleetfront.errors import BarMissed
from fleetfront.pipelines.deploy.export_example import TorchCall, _alike, _like, write_proven

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from fleetfront.deploy.writers.torch_export import export_onnx  # noqa: E402

SIDE = 224


def pooling() -> nn.Module:
    """Random convolutions behind a mean over 12,544 places."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    head = nn.Linear(8, 5)
    nn.init.constant_(head.bias, 0.0)
    head.bias.data += 3 * torch.randn(5)  # logits far apart, as those of a trained head
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


@pytest.fixture(scope="module")
def network() -> TorchCall:
    return TorchCall("pooling", pooling(), torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))


def spread(network: TorchCall, samples) -> float:
    return max(spread_of_range(np.stack([network.run(s)[name] for s in samples])) for name in network.outputs)


def exported(module: nn.Module, network: TorchCall) -> bytes:
    return export_onnx(TorchCall("it", module, network.example[0]).flat(), network.example, network.inputs, ["output"])


def test_a_network_that_hardly_reacts_to_noise_is_proven_and_handed_out(network: TorchCall, tmp_path: Path) -> None:
    first = dict(zip(network.inputs, (one.numpy() for one in network.example), strict=True))
    assert spread(network, _alike(first, _like)) < LEAST_SPREAD
    assert spread(network, network.samples()) > 5 * LEAST_SPREAD
    file = write_proven(network, ALL_FORMATS["onnx"], tmp_path, exported(network.module, network))
    assert file.proof.passed
    assert file.proof.relative_to_spread < 2e-5


@pytest.mark.parametrize(
    ("layer", "spoil"), [(0, lambda weight: weight[3].zero_()), (6, lambda weight: weight.mul_(1.001))]
)
def test_a_filter_that_is_zeroed_or_off_by_a_thousandth_fails(network: TorchCall, tmp_path: Path, layer, spoil) -> None:
    wrong = pooling()
    with torch.no_grad():
        spoil(wrong[layer].weight)
    with pytest.raises(BarMissed, match="differs from torch"):
        write_proven(network, ALL_FORMATS["onnx"], tmp_path, exported(wrong, network))


def test_what_reacts_to_noise_is_judged_on_noise_alone() -> None:
    example = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = TorchCall("flat", nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), example)
    first = {network.inputs[0]: example.numpy()}
    for kept, plain in zip(network.samples(), _alike(first, _like), strict=True):
        assert np.array_equal(kept[network.inputs[0]], plain[network.inputs[0]])


def test_a_network_that_ignores_its_input_reacts_to_no_level() -> None:
    class Deaf(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))[:, None] * 1e-6 + torch.tensor([[1.0, 2.0]])

    network = TorchCall("deaf", Deaf(), torch.rand(1, 3, 8, 8))
    assert spread(network, network.samples()) < LEAST_SPREAD
