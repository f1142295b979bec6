"""Networks of several files: an encoder that runs once, a decoder step that runs some times an inference."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.profilers.parts import spell_parts
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.from_torch.family_file import read_family
from fleetfront.spaces.from_torch.space import TorchFamily, make_family
from fleetfront.testing.checks import check_name
from fleetfront.testing.spaces import SPACE_CHECKS

TRANSLATOR = """
import torch
from torch import nn
choices = {"width": [4, 8], "layers": [1, 2], "words": [3, 5]}
class Encoder(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(layers))
    def forward(self, rows):
        for layer in self.layers:
            rows = layer(rows)
        return rows
class Step(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mix, self.head = nn.Linear(width, width), nn.Linear(width, 7)
    def forward(self, row, memory):
        return self.head(self.mix(row) + memory.mean(1, keepdim=True))
def parts(width, layers, words):
    rows = torch.randn(1, 6, width)
    return {"encoder": (Encoder(width, layers), rows, 1), "step": (Step(width), (rows[:, :1], rows), words)}
"""


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TorchFamily:
    path = tmp_path_factory.mktemp("parts") / "translator.py"
    path.write_text(TRANSLATOR)
    return make_family(read_family(path))


def test_calls_multiply_work_and_not_weights(family: TorchFamily) -> None:
    rows = family.parse(["width=8,layers=2,words=3", "width=8,layers=2,words=5", "width=4,layers=1,words=5"])
    encoder, mix, head = 6 * 8 * 8, 8 * 8, 8 * 7
    assert family.macs(rows).tolist()[:2] == [2 * encoder + 3 * (mix + head), 2 * encoder + 5 * (mix + head)]
    for row, params in zip(rows, family.params(rows), strict=True):
        modules = [part.module for part in family.own_parts(row).values()]
        assert params == sum(p.numel() for module in modules for p in module.parameters())
    values = np.random.default_rng(0).random(len(family.vocabulary))
    sums = np.append(values, 0.0)[family.block_indices(rows)].sum(axis=1)
    np.testing.assert_allclose(family.additive(values)(rows), sums)
    for row, total in zip(rows, sums, strict=True):
        shares = family.by_part(row, values)
        assert set(shares) == {"encoder", "step"}
        np.testing.assert_allclose(sum(shares.values()), total)


def test_each_part_is_measured_by_itself(family: TorchFamily) -> None:
    (row,) = family.parse(["width=4,layers=1,words=5"])
    keys = spell_parts("ARCH", family.subnet_graphs(row))
    assert list(keys) == ["ARCH#encoder*1/2", "ARCH#step*5/2"]
    assert [len(graph.inputs) for graph in keys.values()] == [1, 2]


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=check_name)
def test_it_is_a_space(check: Callable[[SearchSpace], None], family: TorchFamily) -> None:
    check(family)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("def parts(", "def make(**genes):\n    return 1\ndef parts(", "parts.* beside make"),
        ("def parts(", "def calibration(**genes):\n    return []\ndef parts(", "fp32 alone"),
        ("def parts(", "def pieces(", r"no function make"),
        ("    return {", "    return {} or 3 or {", "gave 3, not 1 to 8 parts"),
        ("rows, 1)", "rows)", r"\['encoder'\] .* is \("),
        ("rows, 1)", "rows, 0)", "called 0 times"),
        ("rows, 1)", "rows, True)", "called True times"),
        ("rows, 1)", "rows, 10_001)", "called 10001 times"),
        ("(Encoder(width, layers), ", "(Encoder, ", "gave a type"),
        ("rows, 1)", "rows[0], 1)", r"shape \[6, 4\]"),
        ('"encoder":', '"an encoder":', "names a part 'an encoder'"),
        ("rows[:, :1], rows)", "rows,)", "part 'step' of width=.* does not run on its inputs"),
        ('"encoder":', '"Step":', "names parts Step and step"),
        ("(rows[:, :1], rows)", "{}", "gave a dict where a tensor"),
        ("(rows[:, :1], rows)", "()", "gave an empty tuple where a tensor"),
    ],
)
def test_parts_that_are_none_are_refused(before: str, after: str, said: str, tmp_path: Path) -> None:
    assert before in TRANSLATOR
    path = tmp_path / "translator.py"
    path.write_text(TRANSLATOR.replace(before, after))
    with pytest.raises(InputError, match=said):
        make_family(read_family(path))


def test_calls_that_change_from_one_time_to_the_next_are_refused(tmp_path: Path, family: TorchFamily) -> None:
    path = tmp_path / "translator.py"
    path.write_text(TRANSLATOR.replace("rows), words)", "rows), next(state))"))
    path.write_text("import itertools\nstate = itertools.count(3)\n" + path.read_text())
    with pytest.raises(InputError, match=r"gave .*'step': '4 x .* this time and .*'step': '3 x .* before"):
        read_family(path)
    # A file that changes its mind later is held against what the family was made of.
    late = replace(family.file, parts=lambda **genes: family.file.parts(**{**genes, "words": 4}))  # type: ignore[misc]
    (row,) = family.parse(["width=4,layers=1,words=5"])
    with pytest.raises(InputError, match=r"'step': 4} this time and .*'step': 5} before"):
        TorchFamily(late, family.parts).own_parts(row)
