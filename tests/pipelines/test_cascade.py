"""A cascade of two networks against arithmetic by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.datasets import Split, load_images
from fleetfront.deploy.formats import parse_formats
from fleetfront.pipelines.cascade import SHARES, Judged, hold_together
from fleetfront.pipelines.deploy.deploy import Pick, UserImages, Weights, deploy_picks
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import largest, smallest
from tests.knowing_supernet import knowing_supernet

TARGET = "cpu/onnxruntime/fp32/t1/b1"
#: Ten images; the small network is wrong on the three that it is least sure of, the large one on the first alone.
SURE = np.array([0.99, 0.98, 0.97, 0.95, 0.9, 0.85, 0.8, 0.6, 0.55, 0.52])
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
SMALL = np.array([0, 1, 0, 1, 0, 1, 0, 0, 1, 0])
LARGE = np.array([1, 1, 0, 1, 0, 1, 0, 1, 0, 1])


def judged(name: str, ms: float, classes: np.ndarray, sure: np.ndarray) -> Judged:
    probabilities = np.empty((len(classes), 2))
    probabilities[np.arange(len(classes)), classes] = sure
    probabilities[np.arange(len(classes)), 1 - classes] = 1 - sure
    splits = {split: probabilities for split in (Split.VALIDATION, Split.TEST)}
    return Judged(Path(name), {TARGET: ms}, {TARGET: "measured"}, splits)


@pytest.fixture
def cascade():
    labels = {split: LABELS for split in (Split.VALIDATION, Split.TEST)}
    small, large = judged("small", 1.0, SMALL, SURE), judged("large", 4.0, LARGE, np.full(10, 0.9))
    return hold_together(small, large, labels, TARGET, "measured")


def test_time_and_accuracy_are_those_of_who_was_asked(cascade):
    assert (cascade.small[2], cascade.large[2]) == (70.0, 90.0)
    assert cascade.worst_ms == 5.0
    by_share = {share: row for share, row in zip(SHARES, cascade.rows, strict=True)}
    nobody, third, everybody = by_share[0.0], by_share[0.3], by_share[1.0]
    assert (nobody.share, nobody.accuracy, nobody.mean_ms) == (0.0, 70.0, 1.0)
    # The three unsure images are handed on, which the large network knows.
    assert (third.share, third.accuracy) == (0.3, 100.0)
    assert third.mean_ms == pytest.approx(1.0 + 0.3 * 4.0)
    assert 0.6 < third.threshold < 0.8
    assert (everybody.share, everybody.accuracy, everybody.mean_ms) == (1.0, 90.0, 5.0)
    assert all(row.accuracy_std > 0 for row in cascade.rows)


def test_the_cheapest_that_is_as_good_as_the_large_one_is_chosen(cascade):
    chosen = cascade.rows[cascade.chosen]
    assert chosen.accuracy >= 90.0
    assert chosen.mean_ms < 4.0
    assert cascade.to_json()["rows"][cascade.chosen]["threshold"] == chosen.threshold


def test_where_no_threshold_pays_none_is_chosen():
    labels = {split: LABELS for split in (Split.VALIDATION, Split.TEST)}
    small, large = judged("small", 3.9, SMALL, SURE), judged("large", 4.0, LARGE, np.full(10, 0.9))
    assert hold_together(small, large, labels, TARGET, "measured").chosen is None


def test_slips_are_told(tmp_path, capsys):
    assert main(["compare", "a", "b", "--cascade"]) == 2
    assert "Give --images FOLDER" in capsys.readouterr().err
    assert main(["compare", "a", "b", "--images", "digits"]) == 2
    assert "give --cascade" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a.onnx"), "b", "--cascade", "--images", "digits"]) == 2
    assert "is in no bundle" in capsys.readouterr().err


def test_files_of_two_bundles_are_run(tmp_path, capsys):
    space, digits = ofa_mbv3_mini(), load_images("digits", 32)
    weights = Weights(knowing_supernet(space, digits, epochs=3), UserImages("digits"))
    ms = {"large": 2.0, "small": 1.0}
    archs = {"large": space.arch_id(largest(space)), "small": space.arch_id(smallest(space))}
    rows = {name: ({"target": TARGET, "ms": ms[name], "tier": "measured", "clock": "wall"},) for name in ms}
    picks = [Pick(name, archs[name], latency=rows[name]) for name in ms]
    tops = {
        one.pick.name: one.torch_accuracy
        for one in deploy_picks(picks, space, weights, parse_formats("onnx"), tmp_path)
    }
    files = [str(tmp_path / "large"), str(tmp_path / "small" / "network.onnx")]
    assert main(["compare", *files, "--cascade", "--images", "digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["target"], found["images"], found["worst_ms"]) == (TARGET, len(digits.targets("test")), 3.0)
    for name in ms:
        assert found[name]["path"].endswith(f"{name}/network.onnx")
        assert (found[name]["ms"], found[name]["accuracy"]) == (ms[name], pytest.approx(tops[name], abs=0.3))
    assert found["rows"][0]["accuracy"] == pytest.approx(found["small"]["accuracy"])
    assert found["rows"][-1]["accuracy"] == pytest.approx(found["large"]["accuracy"])
    assert main(["compare", *files, "--cascade", "--images", "digits", "--target", "pixel3"]) == 2
    assert "Unknown target of both files" in capsys.readouterr().err
