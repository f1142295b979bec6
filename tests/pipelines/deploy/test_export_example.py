"""Networks of any inputs and outputs, exported by an example."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.bundle.received import read_received
from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import BarMissed, InputError
from fleetfront.pipelines.deploy.export import TorchNetwork, export_torch
from fleetfront.pipelines.deploy.export_example import ExampleNetwork, export_example
from fleetfront.pipelines.deploy.records import Deployed
from fleetfront.pipelines.verify import verify_bundle

NETWORKS = """\
import torch
from torch import nn


def seeded(network):
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def grey():  # one channel, not square, a batch of two
    return seeded(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)))


def audio():
    return seeded(nn.Sequential(nn.Conv1d(1, 4, 9, stride=4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()))


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(50, 8), nn.Linear(8, 5)

    def forward(self, ids, mask=None):
        found = self.words(ids)
        if mask is not None:
            found = found * mask[..., None]
        hidden = found.mean(1)
        return {"logits": self.head(hidden), "hidden": hidden, "best": self.head(hidden).argmax(-1)}


def text():
    return seeded(Text())


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, pair, scale):
        left, right = pair
        return self.left(left) * scale, (self.right(right), left.sum(-1))


def two():
    return seeded(Two())


def segment():
    return seeded(nn.Conv2d(3, 5, 3, padding=1))


class Detections(nn.Module):
    def forward(self, batch):
        return [batch["image"].mean((2, 3)), batch["sizes"] * 2]


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


def scripted():
    return torch.jit.script(seeded(nn.Linear(3, 4)))


def quantised():
    network = nn.Sequential(torch.ao.quantization.QuantStub(), nn.Linear(3, 4), torch.ao.quantization.DeQuantStub())
    network.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    torch.ao.quantization.prepare(network.eval(), inplace=True)
    network(torch.randn(8, 3))
    return torch.ao.quantization.convert(network)


net = seeded(nn.Linear(3, 4))


def half():
    return nn.Linear(3, 4).half()


class Words(nn.Module):
    def forward(self, x):
        return "a word", 3


class NoNumber(nn.Module):
    def forward(self, x):
        return x / (x - x) * 0


class Complex(nn.Module):
    def forward(self, x):
        return torch.fft.fft(x)
"""

EXAMPLES = """\
import torch

grey = torch.randn(2, 1, 20, 31)
audio = torch.randn(1, 1, 400)
ids = torch.randint(0, 50, (1, 7))
text = {"ids": ids, "mask": torch.ones(1, 7)}
two = ((torch.randn(6, 3), torch.randn(6, 2)), torch.tensor(2.0))
table = torch.randn(4, 3)
detections = {"image": torch.randn(1, 3, 8, 8), "sizes": torch.tensor([[3, 4]])}


def segment():
    return torch.randn(1, 3, 12, 16)


example = table
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETWORKS)
    (tmp_path / "inputs.py").write_text(EXAMPLES)
    return tmp_path


def export(folder: Path, factory: str, example: str, formats: str = "onnx") -> Deployed:
    wanted = ExampleNetwork(f"{folder}/nets.py:{factory}", str(folder / example), "mine")
    return export_example(wanted, parse_formats(formats), folder / "out", force=True)


@pytest.mark.parametrize(
    ("factory", "example", "inputs", "outputs"),
    [
        ("grey", "inputs.py:grey", [[2, 1, 20, 31]], [[2, 3]]),
        ("audio", "inputs.py:audio", [[1, 1, 400]], [[1, 4]]),
        ("text", "inputs.py:text", [[1, 7], [1, 7]], [[1, 5], [1, 8], [1]]),
        ("text", "inputs.py:ids", [[1, 7]], [[1, 5], [1, 8], [1]]),
        ("two", "inputs.py:two", [[6, 3], [6, 2], []], [[6, 4], [6, 4], [6]]),
        ("segment", "inputs.py:segment", [[1, 3, 12, 16]], [[1, 5, 12, 16]]),
        ("Detections", "inputs.py:detections", [[1, 3, 8, 8], [1, 2]], [[1, 3], [1, 2]]),
        ("net", "inputs.py", [[4, 3]], [[4, 4]]),
    ],
)
def test_any_inputs_and_outputs_are_proven(
    folder: Path, factory: str, example: str, inputs: list[list[int]], outputs: list[list[int]]
) -> None:
    done = export(folder, factory, example)
    assert done.error is None
    assert done.folder is not None
    (file,) = read_manifest(done.folder)["files"]
    assert [port["shape"] for port in file["inputs"]] == inputs
    assert [port["shape"] for port in file["outputs"]] == outputs
    assert file["checks"]["passed"]
    rows = read_received(done.folder).test_vectors
    assert [row.tensor for row in rows if row.role == "input"] == [port["name"] for port in file["inputs"]]
    assert [list(row.shape) for row in rows if row.role == "torch"] == outputs
    (verdict,) = verify_bundle(done.folder).files
    assert verdict.passed
    assert verdict.error is not None
    assert verdict.error <= (verdict.tolerance or 0)


def test_names_are_those_of_the_network(folder: Path) -> None:
    (file,) = export(folder, "text", "inputs.py:text").files
    assert (file.graph.inputs, file.graph.outputs) == (
        ("ids", "mask"),
        ("output_logits", "output_hidden", "output_best"),
    )


def test_arrays_of_a_file_serve_as_example_and_ort_is_written(folder: Path) -> None:
    np.savez(folder / "x.npz", ids=np.zeros((1, 3), np.int64))
    done = export(folder, "text", "x.npz", "onnx,ort")
    assert done.error is None
    assert set(done.proofs) == {"onnx", "ort"}


@pytest.mark.parametrize(
    ("factory", "example", "message"),
    [
        ("grey", "inputs.py:audio", "fails on the example.*input float32"),
        ("scripted", "inputs.py", "TorchScript.*Return its nn.Module"),
        ("quantised", "inputs.py", "quantised torch network.*Return the float network"),
        ("text", "inputs.py:nothing", "no function 'nothing'"),
        ("text", "absent.py", "There is no file"),
        ("text", "inputs.txt", "names no example"),
        ("half", "inputs.py", r"float16.*network\.float"),
        ("Words", "inputs.py", "gives no tensor"),
        ("Complex", "inputs.py", "gives torch.complex64"),
    ],
)
def test_what_cannot_be_exported_says_why(folder: Path, factory: str, example: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"(?s){message}"):
        export(folder, factory, example)


def test_random_outputs_miss_the_proof(folder: Path) -> None:
    done = export(folder, "Noisy", "inputs.py")
    assert isinstance(done.error, BarMissed)


def test_what_is_no_number_proves_nothing(folder: Path) -> None:
    done = export(folder, "NoNumber", "inputs.py")
    assert isinstance(done.error, InputError)
    assert "NaN" in str(done.error)


def test_formats_that_take_images_alone_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="not written as tflite"):
        export(folder, "net", "inputs.py", "tflite")


@pytest.mark.parametrize("factory", ["make", "make_lambda", "make2", "make3", "net"])
def test_factories_may_import_neighbours_and_be_any_callable(shared_data: Path, tmp_path: Path, factory: str) -> None:
    spec = f"{shared_data / 'cases' / 'export' / 'eager.py'}:{factory}"
    done = export_torch(TorchNetwork(spec, 16, "mine"), parse_formats("onnx"), tmp_path / "out")
    assert done.error is None


def test_a_neighbour_may_be_imported_inside_the_factory(shared_data: Path, tmp_path: Path) -> None:
    import sys

    before = list(sys.path)
    sys.modules.pop("helper_net", None)
    spec = f"{shared_data / 'cases' / 'export' / 'lazy.py'}:make"
    done = export_torch(TorchNetwork(spec, 16, "mine"), parse_formats("onnx"), tmp_path / "out")
    assert done.error is None
    assert sys.path == before


def test_neighbours_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for width in (3, 5):
        folder = tmp_path / str(width)
        folder.mkdir()
        (folder / "inner_net.py").write_text(f"from torch import nn\ndef net(): return nn.Linear(2, {width})\n")
        (folder / "outer.py").write_text("import torch, inner_net\nexample = torch.ones(1, 2)\nmake = inner_net.net\n")
        wanted = ExampleNetwork(f"{folder}/outer.py:make", f"{folder}/outer.py", f"net{width}")
        (file,) = export_example(wanted, parse_formats("onnx"), tmp_path / "out").files
        assert file.graph.tensors[file.graph.outputs[0]].shape == (1, width)


def test_a_network_of_one_channel_is_told_of_examples(folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        export_torch(TorchNetwork(f"{folder}/nets.py:grey", 32, "mine"), parse_formats("onnx"), folder / "out")
    assert "--example" in caught.value.remedy
