"""``fleetfront deploy`` of a front that was judged on some classes alone."""

import json
from pathlib import Path

import pytest

from fleetfront.cli.deploy.inputs import read_weights
from fleetfront.cli.deploy.options import WeightChoices
from fleetfront.cli.main import main
from fleetfront.search.fronts_file import load_fronts
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.checkpoints import save_supernet
from fleetfront.spaces.supernet.subnets import smallest, untrained

SPACE = ofa_mbv3_mini()
FAST = SPACE.arch_id(smallest(SPACE))


def test_a_front_of_some_classes_is_deployed_with_these(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, digits = tmp_path / "w.safetensors", ("--images", "digits")
    save_supernet(untrained(SPACE, 0), weights)
    point = {"arch": FAST, "latency_ms": 1.0, "latency_std_ms": 0.1, "accuracy": 90.0}
    device = {"target": "", "tier": "measured", "hypervolume": 1.0, "reference_point": [10.0, 50.0], "points": [point]}
    facts = {"schema": "fleetfront.fronts/1", "space": SPACE.name, "strategy": "random", "seed": 0}
    facts |= {"evaluations": 2, "seconds": 1.0, "devices": {"pixel3": device}}
    facts["accuracy"] = {"source": f"supernet:{weights},classes=1|7", "tier": "measured"}
    front = tmp_path / "fronts.json"
    front.write_text(json.dumps(facts))
    known = read_weights(SPACE, load_fronts(front), WeightChoices(images="digits"))
    graph = known.graph(SPACE, smallest(SPACE))
    assert graph.tensors[graph.outputs[0]].shape == (1, 2)
    assert known.class_names(graph) == ("1", "7")
    images = known.labelled_images(graph)
    assert images is not None
    assert set(images.labels) == {0, 1}
    typed = ["deploy", "--front", str(front), "--knee", "--quiet", *digits]
    assert main([*typed, "--classes", "1,2"]) == 2
    assert "was judged on 1, 7 alone" in capsys.readouterr().err
    arch = ["deploy", "--space", SPACE.name, "--arch", FAST, "--weights", str(weights), "--quiet"]
    assert main([*arch, *digits, "--classes", "1,17"]) == 2
    assert "Unknown class of the weights '17'" in capsys.readouterr().err
    assert main([*arch, "--no-recalibration", "--classes", "1,7"]) == 2
    assert "10 outputs, and 0 classes have names" in capsys.readouterr().err
    assert main([*arch, *digits, "--unlabelled", "--classes", "1,7"]) == 2
    assert "--classes does not go with --unlabelled" in capsys.readouterr().err
