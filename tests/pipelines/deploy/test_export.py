"""A user's own torch network as a bundle."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.contract import InputContract
from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import BarMissed, InputError, MissingDependency
from fleetfront.pipelines.deploy.deploy import Recipe, UserImages
from fleetfront.pipelines.deploy.export import TorchNetwork, export_torch
from fleetfront.runtimes.catalogue import runtime_for_file

NETWORK = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(nn.functional.hardswish(self.norm(self.stem(x))).mean((2, 3)))


def make():  # whose outputs images change by more than int8 rounds away
    net = Net()
    with torch.no_grad():
        net.head.weight *= 30
    return net


def broken():
    raise RuntimeError("no weights here")


def text():
    return "network"


def leaving():
    raise SystemExit(3)


def in_half():
    return Net().half()


def damaged():
    net = Net()
    net.head.bias.data[0] = float("nan")
    return net


class Random(Net):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5, training=True)


class InPlace(Net):
    def forward(self, x):
        return super().forward(x.mul_(2))


class Odd(Net):
    # State that is no tensor, and tensors that NumPy has no type for.

    def __init__(self):
        super().__init__()
        self.register_buffer("small", torch.zeros(3, dtype=torch.bfloat16))

    def get_extra_state(self):
        return {"version": 1}

    def set_extra_state(self, state):
        pass


class Branching(Net):
    def forward(self, x):
        y = super().forward(x)
        return y if y.sum().item() > 0 else -y


class Single(nn.Module):
    # Takes one image at a time, as many user's networks do, and talks about it.
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x):
        print(x.shape)
        return self.head(nn.functional.adaptive_avg_pool2d(x, 8).reshape(1, -1))


class Moody(Net):
    def forward(self, x):
        if x.any():
            raise RuntimeError("only black images")
        return super().forward(x)


class Doubled(Net):
    def forward(self, x):
        return super().forward(x).repeat(2, 1)


def talking():
    print("what a user prints")
    return Net()


def of_sequences():
    return nn.Linear(3, 4)
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "mynet.py"
    path.write_text(NETWORK)
    return path


def test_an_onnx_bundle_of_a_users_network(module: Path, tmp_path: Path) -> None:
    wanted = TorchNetwork(f"{module}:make", 32, "mine", UserImages("digits"), licence="BSD")
    recipe = Recipe(
        ("fp32", "int8"), InputContract("uint8", "bgr", True, "NHWC"), max_drop=3, test_images=50, agreement_limit=0.8
    )
    done = export_torch(wanted, parse_formats("onnx"), tmp_path / "out", recipe=recipe)
    assert done.error is None
    assert done.folder == tmp_path / "out" / "mine"
    manifest = read_manifest(done.folder)
    assert manifest["weights"]["licence"] == "BSD"
    assert manifest["arch"] == f"{module}:make"
    assert [file["precision"] for file in manifest["files"]] == ["fp32", "int8"]
    assert manifest["files"][0]["checks"]["relative_to_range"] < 1e-4
    assert manifest["files"][0]["minimum_runtime"] == "onnxruntime 1.18"
    assert manifest["files"][0]["input"]["shape"] == [1, 32, 32, 3]
    assert len(manifest["labels"]) == 10
    path = done.folder / manifest["files"][0]["path"]
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = runtime_for_file(path).open(path)
    (scores,) = session.run({"input": np.zeros((1, 32, 32, 3), np.uint8)}).values()
    session.close()
    assert scores.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="--force"):
        export_torch(wanted, parse_formats("onnx"), tmp_path / "out", recipe=recipe)


def test_tflite_goes_through_litert_torch_or_names_it(module: Path, tmp_path: Path) -> None:
    wanted = TorchNetwork(f"{module}:make", 32, "mine")
    done = export_torch(wanted, parse_formats("tflite"), tmp_path / "out")
    if importlib.util.find_spec("litert_torch") is None:
        assert isinstance(done.error, MissingDependency)
        assert "export-tflite" in str(done.error)
        assert list((tmp_path / "out").iterdir()) == []
    else:
        assert done.error is None
        assert done.proofs["tflite"].relative_to_range < 1e-4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mynet.py", "does not name a factory"),
        ("nothing.py:make", "no file"),
        ("mynet.py:nothing", "no function 'nothing'"),
        ("mynet.py:maek", "Did you mean 'make'"),
        ("mynet.py:Doubled", "does not give float32 scores"),
        ("mynet.py:broken", "no weights here"),
        ("mynet.py:leaving", "SystemExit"),
        ("mynet.py:in_half", r"float16.*network\.float"),
        ("mynet.py:text", "gave a str"),
        ("mynet.py:of_sequences", "does not give float32 scores"),
    ],
)
def test_what_is_no_classifier_is_refused(module: Path, tmp_path: Path, spec: str, message: str) -> None:
    wanted = TorchNetwork(str(module.parent / spec) if ":" in spec else spec, 3, "mine")
    with pytest.raises(InputError, match=message):
        export_torch(wanted, parse_formats("onnx"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("factory", "kind", "message"),
    [
        ("damaged", InputError, "not finite"),
        ("Random", BarMissed, "no dropout"),
        ("Branching", InputError, "data-dependent"),
        ("Moody", InputError, "only black images"),
    ],
)
def test_what_no_file_can_be_is_explained(
    module: Path, tmp_path: Path, factory: str, kind: type[Exception], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    done = export_torch(TorchNetwork(f"{module}:{factory}", 32, "mine"), parse_formats("onnx"), tmp_path / "out")
    assert isinstance(done.error, kind)
    assert message in str(done.error)
    assert capfd.readouterr() == ("", "")
    assert list((tmp_path / "out").iterdir()) == []


def test_narrow_weights_without_images_to_be_judged_on_are_refused(module: Path, tmp_path: Path) -> None:
    wanted = TorchNetwork(f"{module}:make", 32, "mine")
    done = export_torch(wanted, parse_formats("onnx"), tmp_path / "out", recipe=Recipe(("fp32", "w8")))
    assert isinstance(done.error, InputError)
    assert "w8 is judged by its classes, which takes at least 8 images, and there are 0" in str(done.error)


@pytest.mark.parametrize("factory", ["InPlace", "Odd", "Single", "talking"])
def test_unusual_networks_are_exported(
    module: Path, tmp_path: Path, factory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = export_torch(TorchNetwork(f"{module}:{factory}", 32, "mine"), parse_formats("onnx"), tmp_path / "out")
    assert done.error is None
    assert capsys.readouterr().out == ""


def test_what_only_spaces_offer_is_refused(module: Path, tmp_path: Path) -> None:
    for recipe in (Recipe(("fp16",)), Recipe(contract=InputContract(batch="batch"))):
        with pytest.raises(InputError, match="torch network"):
            export_torch(TorchNetwork(f"{module}:make", 32, "m"), parse_formats("onnx"), tmp_path, recipe=recipe)
