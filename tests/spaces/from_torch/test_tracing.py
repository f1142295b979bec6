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
    with pytest.raises(InputError, match="depend on the numbers that it is fed"):
        parts_of(tmp_path, code)


HELD = """
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(n)])
        {hold}
    def forward(self, x):
        x = x + torch.arange(8)
        for layer in self.layers:
            x = layer(x) * self.table
            x = x[:, x.shape[1] // 2 :].add_(1).view(1, -1, 8)
        return x
def make(n):
    return Net(n)
"""


def test_networks_that_hold_plain_tensors_are_traced_as_those_that_register_them(tmp_path: Path) -> None:
    found = []
    for hold in ("self.table = torch.ones(8)", "self.register_buffer('table', torch.ones(8))"):
        path = tmp_path / f"net{len(found)}.py"
        path.write_text(HEAD + HELD.format(hold=hold))
        family = make_family(read_family(path))
        rows = family.parse(["n=1", "n=2"])
        described = sorted((d.label, d.inputs, d.macs, d.params) for d in family.parts.described.values())
        found.append((described, family.macs(rows).tolist(), family.params(rows).tolist()))
    assert found[0] == found[1]
    assert found[0][1] == [4 * 64, 4 * 64 + 2 * 64]


def test_what_is_remembered_of_operators_gives_the_shapes_of_real_tensors(tmp_path: Path) -> None:
    import torch

    from fleetfront.spaces.from_torch.traces import Decisions
    from fleetfront.spaces.from_torch.tracing import Tracer

    path = tmp_path / "net.py"
    path.write_text(HEAD + HELD.format(hold="self.register_buffer('table', torch.ones(8))"))
    file, traces = read_family(path), []
    for stand_ins in (False, True):
        tracer = Tracer(file, Decisions(stand_ins=stand_ins))
        for _ in range(2):
            traces.append({place: tracer.described.get(held) for place, held in tracer.trace({"n": 2}).items()})
        captured = tracer.capture({"n": 2})
        assert [tuple(one.shape) for _, (one,) in captured.values()] == [(1, 4, 8), (1, 2, 8)]
        assert not any(p.is_meta for module, _ in captured.values() for p in module.parameters())
        assert all(torch.equal(one, torch.zeros_like(one)) for _, (one,) in captured.values())
    assert traces[0] == traces[1] == traces[2] == traces[3]


def test_weights_that_parts_share_count_once(tmp_path: Path) -> None:
    code = """
choices["tied"] = [False, True]
def inputs(n, tied):
    return torch.zeros(1, 4, dtype=torch.int64)
class Net(nn.Module):
    def __init__(self, n, tied):
        super().__init__()
        self.words, self.block, self.n = nn.Embedding(9, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU()), n
        self.answer = nn.Linear(8, 9, bias=False)
        if tied:
            self.answer.weight = self.words.weight
    def forward(self, x):
        x = self.words(x)
        for _ in range(self.n):
            x = self.block(x)
        return self.answer(x)
make = Net
"""
    path = tmp_path / "net.py"
    path.write_text(HEAD + code)
    family = make_family(read_family(path))
    rows = family.parse([f"n={n},tied={tied}" for n in (1, 2) for tied in (False, True)])
    assert family.params(rows).tolist() == [72 + 72 + 72, 72 + 72, 72 + 72 + 72, 72 + 72]
    # Called twice, it works twice.
    assert family.macs(rows).tolist() == [4 * (64 + 72)] * 2 + [4 * (128 + 72)] * 2
    assert family.active(rows).all()
