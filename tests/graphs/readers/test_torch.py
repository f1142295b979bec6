"""Modules are read into the operators that ONNX files of them hold, or refused in plain words."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fleetfront.deploy.writers.torch_export import OPSET
from fleetfront.errors import InputError
from fleetfront.graphs.exported import spell_exported
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph
from fleetfront.graphs.operators.catalogue import graph_macs
from fleetfront.graphs.prune import share_equal
from fleetfront.graphs.readers.file import read_graph
from fleetfront.graphs.readers.torch import read_module
from fleetfront.predictors.operators.kernels import FEATURES, graph_kernels

STEPS, WIDTH = 6, 16


class Called(nn.Module):
    """A function of inputs, with the modules that it calls."""

    def __init__(self, function: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*self.parts, *inputs)


def attention(project: nn.Module, x: Tensor) -> Tensor:
    """Written by hand, scaled and causal."""
    heads = [one.view(1, STEPS, 4, -1).transpose(1, 2) for one in project(x).chunk(3, -1)]
    scores = heads[0] @ heads[1].transpose(-2, -1) / math.sqrt(WIDTH // 4)
    scores = scores.masked_fill(torch.tril(torch.ones(STEPS, STEPS)) == 0, -math.inf)
    return (scores.softmax(-1) @ heads[2]).transpose(1, 2).reshape(1, STEPS, WIDTH)


def windows(project: nn.Module, x: Tensor) -> Tensor:
    """Of shifted rows, as Swin's are."""
    rows = torch.roll(x.reshape(1, 2, 3, WIDTH), (-1, 0), (1, 2)).reshape(2, 3, WIDTH)
    query, key, value = project(rows).reshape(2, 3, 3, 4, WIDTH // 4).permute(2, 0, 3, 1, 4)
    return (query * 0.5 @ key.transpose(-2, -1)).softmax(-1) @ value


def sums(x: Tensor) -> Tensor:
    """Attention by einsum, of functional attention with marks."""
    heads = x.view(1, STEPS, 2, -1)
    scores = torch.einsum("bqhd,bkhd->bhqk", heads, heads)
    marks = torch.ones(STEPS, STEPS, dtype=torch.bool)
    attended = functional.scaled_dot_product_attention(*[heads.transpose(1, 2)] * 3, attn_mask=marks)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), heads) + attended.transpose(1, 2)


class Everything(nn.Module):
    """Parts that once had no counterpart in files, each with an output of its own."""

    def __init__(self) -> None:
        super().__init__()
        encoder = nn.TransformerEncoderLayer(WIDTH, 2, 32, activation="gelu", batch_first=True)
        attends = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.sequences = nn.ModuleList(
            [
                Called(attention, nn.Linear(WIDTH, 3 * WIDTH)),
                Called(windows, nn.Linear(WIDTH, 3 * WIDTH)),
                Called(sums),
                Called(lambda part, x: part(x, x, x)[0], attends),
                Called(lambda part, x: part(x, src_key_padding_mask=x[..., 0] > 1), encoder),
                Called(lambda part, x: part(x[:, :3])[0], nn.RNN(WIDTH, 8, batch_first=True)),
                Called(lambda part, x: part(x), nn.LSTM(WIDTH, 8, 2, bidirectional=True)),
                Called(lambda part, x: part(x)[0], nn.GRU(WIDTH, 8, batch_first=True)),
                nn.Sequential(nn.GLU(), nn.GELU("tanh"), nn.RMSNorm(WIDTH // 2)),
                Called(lambda x: (x > 0, x.std(-1), x.log_softmax(1), functional.normalize(x, dim=-1), x[:, 0] - 1.5)),
            ]
        )
        self.images = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), nn.ReLU()),
                nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d((4, 8)), nn.AdaptiveMaxPool2d(1)),
                nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2), nn.GroupNorm(3, 3)),
                nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 8, 3, stride=2), nn.BatchNorm1d(8), nn.AdaptiveAvgPool1d(1)),
            ]
        )

    def forward(self, sequence: Tensor, image: Tensor) -> list[Any]:
        return [*(one(sequence) for one in self.sequences), *(one(image) for one in self.images)]


def works(graph: Graph) -> Counter[tuple[Any, ...]]:
    """The kernels of a graph: what each is, its millions of products or of elements looked at, and of those read."""
    kernels = graph_kernels(share_equal(graph))
    columns = [FEATURES.index(name) for name in ("mmacs", "read")]
    return Counter((one.kind, *(float(f"{number:.6g}") for number in one.features[columns])) for one in kernels)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Graph]:
    """One module, read as it is and from the file that torch's exporter writes."""
    module = Everything().eval()
    inputs = (torch.zeros(1, STEPS, WIDTH), torch.zeros(1, 3, 16, 16))
    path = tmp_path_factory.mktemp("exported") / "everything.onnx"
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        program = torch.onnx.export(module, inputs, opset_version=OPSET, dynamo=True, verbose=False)
    path.write_bytes(program.model_proto.SerializeToString())
    return spell_exported(fold_batch_norm(read_module(module, inputs))), fold_batch_norm(read_graph(path))


def test_modules_hold_the_operators_of_their_files(both: tuple[Graph, Graph]) -> None:
    made, written = both
    assert graph_macs(made) == graph_macs(written) > 0
    assert works(made) == works(written)


def test_a_projected_lstm_is_counted_whole_and_no_kind_that_files_hold() -> None:
    graph = read_module(nn.LSTM(32, 24, proj_size=12), torch.zeros(16, 1, 32))
    # Four gates of 24 read 32 and 12 numbers, and 24 of them become 12.
    assert graph_macs(graph) == 16 * (4 * 24 * (32 + 12) + 24 * 12)
    assert "lstm projected" in {kernel.kind for kernel in graph_kernels(graph)}


def test_batch_statistics_are_no_constants() -> None:
    norm = nn.BatchNorm2d(8, track_running_stats=False)
    graph = read_module(nn.Sequential(nn.Conv2d(3, 8, 3), norm), torch.zeros(1, 3, 8, 8))
    assert [operator.family for operator in graph.operators] == ["conv2d", "group_norm"]


def test_what_is_written_into_a_view_reaches_the_whole() -> None:
    def filled(x: Tensor) -> Tensor:
        whole = torch.zeros(1, STEPS, WIDTH)
        whole[:, ::2] = x[:, ::2].exp()
        whole.view(-1).add_(1)
        return whole.tanh()

    graph = read_module(Called(filled), torch.zeros(1, STEPS, WIDTH))
    functions = [operator.attributes.get("function", operator.family) for operator in graph.operators]
    assert functions == ["slice", "exp", "scatternd", "reshape", "add", "reshape", "tanh"]


def test_what_nothing_reads_is_left_out() -> None:
    graph = read_module(Called(lambda x: (x.exp(), x.tanh())[1]), torch.zeros(1, 4))
    assert [operator.attributes["function"] for operator in graph.operators] == ["tanh"]


def test_a_number_that_is_computed_is_an_operand() -> None:
    graph = read_module(Called(lambda x: x * x.max().item()), torch.zeros(1, 4))
    reduced, product = graph.operators
    assert (reduced.family, reduced.output in product.inputs) == ("reduce", True)


def test_branches_by_numbers_are_one_operator_that_nobody_knows() -> None:
    module = Called(lambda a, b, x: torch.cond(x.sum() > 0, a, b, (x,)), nn.Linear(4, 8), nn.Linear(4, 8))
    graph = read_module(module, torch.zeros(1, 4))
    assert graph.operators[-1].attributes["kind"] == "torch.cond"
    assert [graph.tensors[name].shape for name in graph.outputs] == [(1, 8)]


@pytest.mark.parametrize(
    ("function", "message", "remedy"),
    [
        (lambda x: x.exp() if x.sum() > 0 else x, "branches, loops or cuts by numbers", r"torch\.jit\.trace"),
        (lambda x: x[x > 0], "How much Called picks out depends on the numbers", "fixed number of elements"),
        (
            lambda x: nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3]), batch_first=True)[0],
            "packs sequences by lengths",
            "padded sequences",
        ),
        (lambda x: x @ torch.zeros(5, 5), "does not run on that input: RuntimeError", "its shapes and types"),
    ],
)
def test_a_module_that_depends_on_numbers_is_refused_in_plain_words(
    function: Callable[[Tensor], Tensor], message: str, remedy: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_module(Called(function), torch.zeros(1, 3, 4))
    assert re.search(remedy, caught.value.remedy)


def test_a_traced_module_keeps_the_branch_that_its_input_takes() -> None:
    module = Called(lambda a, b, x: a(x) if x.sum() > 0 else b(x), nn.Linear(4, 8), nn.Linear(4, 9))
    with pytest.warns(torch.jit.TracerWarning):
        traced = torch.jit.trace(module, (torch.ones(1, 4),))
    graph = read_module(traced, torch.zeros(1, 4))
    assert [graph.tensors[name].shape for name in graph.outputs] == [(1, 8)]
