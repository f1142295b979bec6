"""The space of a user's file keeps the promises of every space, and says of its networks what they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.spaces.base import SearchSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.from_torch.remembered import open_family
from fleetfront.spaces.from_torch.space import TorchFamily
from fleetfront.testing.spaces import SPACE_CHECKS

EXAMPLES = Path(__file__).parents[3] / "examples" / "families"


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=lambda check: check.__name__)
def test_it_is_a_space(check: Callable[[SearchSpace], None], family: TorchFamily) -> None:
    check(family)


def test_every_network_is_what_its_parts_say(family: TorchFamily) -> None:
    rows = family.sample(12, np.random.default_rng(0))
    for row, blocks, params in zip(rows, family.block_indices(rows), family.params(rows), strict=True):
        module, sample, _ = family.own_parts(row)["network"]
        assert params == sum(p.numel() for p in module.parameters())
        named = [family.vocabulary[index].family for index in blocks if index >= 0]
        depth = family.to_config(row)["depth"]
        assert sorted(named) == ["conv2d", "linear", *["step"] * depth]
        width = family.to_config(row)["width"]
        assert family.macs(row[None])[0] == 64 * 27 * width + depth * 64 * 9 * width**2 + 5 * width
        assert module(*sample).shape == (1, 5)


def test_a_gene_that_changes_nothing_here_is_inactive_and_one_of_training_counts(family: TorchFamily) -> None:
    one, other = family.parse(["width=4,depth=1,second=tanh,drop=0.5", "width=4,depth=2,second=tanh,drop=0.5"])
    assert family.arch_ids(np.stack([one, other])) == [
        "width=4,depth=1,second=relu,drop=0.5",
        "width=4,depth=2,second=tanh,drop=0.5",
    ]


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("width=4,depth=1,second=relu", "has the gene 'drop', too"),
        ("width=5,depth=1,second=relu,drop=0.0", "width is '5'.*"),
        ("width=4,depth=1,second=relu,drop=0.0,more=1", "no gene 'more'"),
        ("width=4,width=8,depth=1,second=relu,drop=0.0", "twice"),
        ("4,1", "no gene '4'"),
    ],
)
def test_a_foreign_network_says_what_is_wrong_with_it(arch: str, said: str, family: TorchFamily) -> None:
    with pytest.raises(InputError, match=said) as caught:
        family.parse([arch])
    assert "width=4,depth=1,second=relu,drop=0.0" in caught.value.remedy


def test_files_compute_what_the_module_does(family: TorchFamily, tmp_path: Path) -> None:
    import torch

    runtime = pytest.importorskip("onnxruntime")
    (row,) = family.parse(["width=8,depth=3,second=tanh,drop=0.5"])
    module, sample, _ = family.own_parts(row)["network"]
    graph, _ = family.subnet_graphs(row)["network"]
    data = graph.exported("onnx")
    assert data == family.subnet_graphs(row)["network"][0].exported("onnx"), "the same bytes each time"
    session = runtime.InferenceSession(data)
    (found,) = session.run(None, {session.get_inputs()[0].name: sample[0].numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, module(*sample).numpy(), atol=1e-6)
    with pytest.raises(InputError, match="as onnx, tflite and not as trt"):
        graph.exported("trt")


def test_files_of_parts_compute_what_the_modules_do_and_leave_them_as_they_were(family: TorchFamily) -> None:
    import torch

    runtime = pytest.importorskip("onnxruntime")
    for block in family.vocabulary:
        session = runtime.InferenceSession(family.block_graph(block).exported("onnx"))
        described = family.parts.described[str(block.parameter("part"))]
        module, sample = family._capture(described.genes)[described.place]
        assert not any(one.training for one in module.modules())
        fed = [torch.randn_like(one) for one in sample]
        named = {port.name: one.numpy() for port, one in zip(session.get_inputs(), fed, strict=True)}
        with torch.no_grad():
            np.testing.assert_allclose(session.run(None, named)[0], module(*fed).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "fewer", "part"),
    [
        ("transformer", {"[2, 3, 4]": "[3]", '"heads": [2, 4]': '"heads": [2]', "[32, 48]": "[32]"}, "block"),
        ("audio", {"[2, 3, 4]": "[3]", "[8, 16, 24]": "[8]"}, "conv1d"),
        ("convolutional", {"[1, 2, 3]": "[2]", "[16, 24, 32]": "[16]"}, "step"),
        ("translator", {"[1, 2, 3]": "[1]", "[32, 64]": "[32]"}, "transformerdecoderlayer"),
    ],
)
def test_examples_are_families(name: str, fewer: dict[str, str], part: str, tmp_path: Path) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()
    for before, after in fewer.items():
        assert before in text
        text = text.replace(before, after, 1)
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    family = open_family(path)
    assert load_space(family.name) is family
    blocks = [block for block in family.vocabulary if block.family == part]
    assert family.block_graph(blocks[0]).exported("onnx")
    assert 50 < load_accuracy("built-in", family).predict(family.sample(1, np.random.default_rng(0))).mean[0] < 100


def test_an_active_that_leaves_out_what_matters_is_refused(family: TorchFamily, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(family.file.path.read_text() + "\ndef active(**genes):\n    return ['width', 'second', 'drop']\n")
    wrong = open_family(path)
    with pytest.raises(InputError, match="leaves depth out"):
        wrong.sample(20, np.random.default_rng(0))
    path.write_text(
        family.file.path.read_text()
        + "\ndef active(depth, **genes):\n    return ['width', 'depth', 'drop', *['second'] * (depth > 1)]\n"
    )
    right = open_family(path)
    rows = family.sample(50, np.random.default_rng(1))
    np.testing.assert_array_equal(right.active(rows), family.active(rows))
