"""The transformers that fleetfront brings: what published ones count, files of their parts, random weights said."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.deploy.inputs import check_own
from fleetfront.cli.deploy.options import WeightChoices
from fleetfront.deploy.formats import parse_formats
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.own_family import deploy_family
from fleetfront.pipelines.deploy.records import Pick
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.base import OfUserFile
from fleetfront.spaces.catalogue import load_space

pytest.importorskip("torch")

BLOCKS = {"vit-tiny": {"answer", "attend", "patches", "think"}, "gpt-mini": {"answer", "attend", "embed", "think"}}


def test_vit_tiny_counts_as_published() -> None:
    # 5,717,416 parameters and 1.3 billion operations: DeiT-Ti of arXiv 2012.12877.
    space = load_space("vit-tiny")
    assert space.name == "vit-tiny"
    rows = space.parse(["patch=16,depth=12,heads=3,ratio=4,side=224"])
    assert space.params(rows).tolist() == [5_717_416]
    assert space.macs(rows)[0] / 1e9 == pytest.approx(1.26, abs=0.01)


@pytest.mark.parametrize("name", BLOCKS)
def test_files_of_attention_norms_gelu_and_embeddings_compute_what_torch_does(name: str) -> None:
    import torch

    space, runtime = load_space(name), load_runtime("onnxruntime")
    assert {block.family for block in space.vocabulary} == BLOCKS[name]
    rng = np.random.default_rng(0)
    for family in sorted(BLOCKS[name]):
        block = rng.choice([one for one in space.vocabulary if one.family == family])
        described = space.parts.described[str(block.parameter("part"))]
        module, sample = space._capture(described.genes)[described.place]
        fed = [torch.randn_like(s) if s.is_floating_point() else torch.randint(0, 4096, s.shape) for s in sample]
        session = runtime.open(space.block_graph(block).exported("onnx"))
        (given,) = session.run({p.name: one.numpy() for p, one in zip(session.inputs, fed, strict=True)}).values()
        session.close()
        with torch.no_grad():
            wanted = module(*fed).numpy()
        assert float(np.abs(given - wanted).max()) < 1e-5 * float(np.ptp(wanted)), block.key


def test_a_bundle_says_that_its_weights_are_random(tmp_path: Path) -> None:
    space = load_space("gpt-mini")
    arch = "width=128,layers=2,heads=2,ratio=2,context=64"
    (done,) = deploy_family([Pick("mine", arch)], space, parse_formats("onnx"), tmp_path)
    assert done.error is None
    assert done.folder == tmp_path / "mine-random-weights"
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert manifest["weights"]["random"] is True
    assert (manifest["space"], manifest["files"][0]["inputs"][0]["dtype"]) == ("gpt-mini", "int64")


def test_their_own_accuracy_and_weights_are_asked_for_as_those_of_spaces() -> None:
    space = load_space("gpt-mini")
    assert isinstance(space, OfUserFile)
    with pytest.raises(InputError, match="No accuracies are shipped for gpt-mini"):
        load_accuracy("built-in", space)
    with pytest.raises(InputError, match="come without weights") as told:
        check_own(space, WeightChoices(), "1")
    assert "--random-weights alone" in told.value.remedy
    check_own(space, WeightChoices(random_weights=True), "1")
