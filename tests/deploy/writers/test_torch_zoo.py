"""Networks of a zoo by name: found, untrained and the same every time; packages stand in for timm and torchvision."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.writers.torch_export import load_factory
from fleetfront.errors import InputError, MissingDependency

pytest.importorskip("torch")

PACKAGE = """
from torch import nn

def list_models():
    return ["tiny_net", "needs_more"]

def create_model(name, **options):
    assert not options, "weights are never asked for"
    if name == "needs_more":
        raise RuntimeError("no such head")
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), *head)

get_model = create_model
"""
MODULES = ("timm", "torchvision", "torchvision.models")


@pytest.fixture
def zoos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "packages" / "torchvision").mkdir(parents=True)
    (tmp_path / "packages" / "timm.py").write_text(PACKAGE)
    (tmp_path / "packages" / "torchvision" / "__init__.py").write_text("")
    (tmp_path / "packages" / "torchvision" / "models.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("spec", ["timm:tiny_net", "torchvision:tiny_net"])
def test_a_name_gives_the_same_untrained_network_every_time(zoos: None, spec: str) -> None:
    import torch

    one, two = load_factory(spec), load_factory(spec)
    assert not one.training
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_names_that_do_not_exist_and_networks_that_fail_are_refused(zoos: None) -> None:
    with pytest.raises(InputError, match="Unknown network of timm 'tiny_nett'") as found:
        load_factory("timm:tiny_nett")
    assert "'tiny_net'" in found.value.remedy
    with pytest.raises(InputError, match="no such head"):
        load_factory("timm:needs_more")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependency, match="timm"):
        load_factory("timm:tiny_net")


def test_a_bundle_of_a_zoos_network_says_that_it_knows_nothing(zoos: None, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["export", "--torch", "timm:tiny_net", "--size", "32", "--out", str(out), "--quiet"]) == 0
    (bundle,) = out.iterdir()
    assert bundle.name.endswith("-random-weights")
    assert read_manifest(bundle)["weights"]["random"] is True
    assert "knows nothing" in (bundle / "model-card.md").read_text()


def test_it_is_inspected_without_a_file(zoos: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--torch", "timm:tiny_net", "--shape", "1,3,32,32"]) == 0
    assert "conv" in capsys.readouterr().out.lower()
