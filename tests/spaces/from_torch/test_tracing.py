"""Networks are taken apart where that tells more, and left whole where their own code does the work."""

from pathlib import Path

import pytest

from fleetfront.errors import InputError
from fleetfront.spaces.from_torch.family_file import read_family
from fleetfront.spaces.from_torch.space import TorchFamily, make_family

HEAD = """
import torch
from torch import nn
from torch.nn import functional as F
choices = {"n": [1, 2]}
def inputs(n):
    return torch.randn(1, 4, 8)
"""


def parts_of(tmp_path: Path, code: str) -> list[str]:
    path = tmp_path / "net.py"
    path.write_text(HEAD + code)
    family: TorchFamily = make_family(read_family(path))
    row = family.parse(["n=2"])
    return [family.vocabulary[index].family for index in family.block_indices(row)[0] if index >= 0]


BACKBONE = """
class Backbone(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(n)])
        self.last = nn.Linear(8, 8)
    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return {last}
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.backbone, self.head = Backbone(n), nn.Linear(8, 2)
    def forward(self, x):
        return self.head(self.backbone(x))
make = Net
"""


def test_a_module_that_does_most_of_the_work_is_taken_apart(tmp_path: Path) -> None:
    assert parts_of(tmp_path, BACKBONE.replace("{last}", "self.last(x)")) == ["linear"] * 4


def test_a_module_that_multiplies_by_itself_stays_whole(tmp_path: Path) -> None:
    code = BACKBONE.replace("{last}", "self.last(x) @ x.transpose(1, 2) @ x")
    assert parts_of(tmp_path, code) == ["backbone", "linear"]


def test_a_network_of_functions_is_one_part(tmp_path: Path) -> None:
    code = """
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n, 8))
    def forward(self, x):
        return F.linear(x, self.weight)
make = Net
"""
    assert parts_of(tmp_path, code) == ["net"]


def test_what_follows_at_once_belongs_to_a_part_and_dropout_to_none(tmp_path: Path) -> None:
    code = """
def make(n):
    layers = [nn.Dropout(0.1)]
    for _ in range(n):
        layers += [nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 2), nn.Softmax(-1))
"""
    assert parts_of(tmp_path, code) == ["linear"] * 3


def test_a_module_that_is_called_twice_counts_twice(tmp_path: Path) -> None:
    code = """
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.one = nn.Linear(8, 8)
    def forward(self, x):
        return self.one(self.one(x).relu())
make = Net
"""
    assert parts_of(tmp_path, code) == ["linear", "linear"]


def test_a_network_that_branches_on_numbers_is_told(tmp_path: Path) -> None:
    code = """
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.one = nn.Linear(8, 8)
    def forward(self, x):
        return self.one(x) if x.sum() > 0 else x
make = Net
"""
    with pytest.raises(InputError, match="does not run on its inputs"):
        parts_of(tmp_path, code)
