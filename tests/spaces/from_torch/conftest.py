"""A small family of a user's file, and a home of its own for what is remembered of it."""

from pathlib import Path

import pytest

from fleetfront.spaces.from_torch.remembered import open_family
from fleetfront.spaces.from_torch.space import TorchFamily

FAMILY = """
import torch
from torch import nn

choices = {"width": [4, 8], "depth": [1, 2, 3], "second": ["relu", "tanh"], "drop": [0.0, 0.5]}


class Step(nn.Module):
    def __init__(self, width, second):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.act = nn.Tanh() if second == "tanh" else nn.ReLU()

    def forward(self, x):
        return x + self.act(self.norm(self.conv(x)))


class Net(nn.Module):
    def __init__(self, width, depth, second, drop):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        # The first step's activation is always the same, so that `second` is inactive at depth 1.
        self.steps = nn.ModuleList([Step(width, "relu" if n == 0 else second) for n in range(depth)])
        self.scale = nn.Parameter(torch.ones(width))
        self.drop, self.head = nn.Dropout(drop), nn.Linear(width, 5)

    def forward(self, x):
        x = self.stem(x)
        for step in self.steps:
            x = step(x)
        return self.head(self.drop(x.mean((2, 3)) * self.scale))


def make(**genes):
    return Net(**genes)


def inputs(**genes):
    return torch.randn(1, 3, 16, 16)


def accuracy(width, depth, second, drop):
    return 50 + width + 5 * depth - 10 * drop
"""


@pytest.fixture(scope="package")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where families are remembered and their traces kept."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def own_home(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder for all of these tests."""
    monkeypatch.setenv("FLEETFRONT_HOME", str(shared_home))
    return shared_home


@pytest.fixture(scope="package")
def family(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> TorchFamily:
    """The family above."""
    path = tmp_path_factory.mktemp("family") / "steps.py"
    path.write_text(FAMILY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLEETFRONT_HOME", str(shared_home))
        return open_family(path)
