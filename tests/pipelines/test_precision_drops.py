"""Learn what a precision costs: files as they are deployed, judged on the images that the network in float is."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.datasets import Dataset, Split, load_images
from fleetfront.deploy.formats import FORMATS
from fleetfront.errors import InputError
from fleetfront.pipelines import precision_drops
from fleetfront.pipelines.deploy import network
from fleetfront.pipelines.precision_drops import JudgedFile, draw_networks, find_drops, judge_files
from fleetfront.predictors.accuracy.precisions import Drop, in_precisions, published_drop
from fleetfront.predictors.accuracy.supernet import SupernetAccuracy
from fleetfront.quantities import Tier
from fleetfront.spaces.base import SupernetSpace
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.precisions import with_precisions
from fleetfront.spaces.supernet.subnets import Supernet, untrained
from fleetfront.targets import Target
from fleetfront.testing.problems import SyntheticAccuracy
from fleetfront.workspace import Workspace

PLAIN = load_space("ofa-mbv3-mini")
SPACE = with_precisions(PLAIN, ["fp32", "int8"])
STATED = Drop(0.5, 0.2, Tier.ESTIMATED, "stated")
CPU = [Target("cpu", "onnxruntime"), Target("cpu", "onnxruntime", "int8")]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_images("digits", 32)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    assert isinstance(PLAIN, SupernetSpace)
    return untrained(PLAIN, 0)


def test_a_file_and_the_network_in_float_are_judged_on_the_same_images(
    supernet: Supernet, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, networks = Workspace(tmp_path), draw_networks(supernet, digits, 1, 3)
    (one,) = judge_files(supernet, digits, networks, "int8", [FORMATS["onnx"]], workspace=place)
    assert (one.format, one.images) == ("onnx", len(digits.split[Split.VALIDATION]))
    floats = SupernetAccuracy(supernet, digits, "supernet:w", place).predict(networks)
    # Rounding may turn a tie between two classes of an untrained network.
    assert 100 * one.correct_in_float / one.images == pytest.approx(floats.mean[0], abs=0.6)
    assert one.drop == pytest.approx(100 * (one.correct_in_float - one.correct) / one.images)
    monkeypatch.setattr(precision_drops, "_judged", None)
    assert judge_files(supernet, digits, networks, "int8", [FORMATS["onnx"]], workspace=place) == [one]
    # A cache that is no list of ours is made again.
    (kept,) = (place.cache / "judged_files").iterdir()
    kept.write_text("{}")
    with pytest.raises(TypeError):
        judge_files(supernet, digits, networks, "int8", [FORMATS["onnx"]], workspace=place)


def test_narrow_weights_alone_are_judged_without_calibration(
    supernet: Supernet, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "calibration_images", None)
    networks = draw_networks(supernet, digits, 1, 3)
    for precision in ("w8", "w4"):
        judged = judge_files(
            supernet, digits, networks, precision, list(FORMATS.values()), workspace=Workspace(tmp_path)
        )
        assert [one.format for one in judged] == ["onnx", "tflite"]
        # An untrained network ties classes, which rounding turns.
        assert all(abs(one.drop) < 10 for one in judged)


def test_networks_are_drawn_once_each(supernet: Supernet, digits: Dataset) -> None:
    drawn = draw_networks(supernet, digits, 12, 0)
    assert len(np.unique(drawn, axis=0)) == len(drawn) == 12
    assert np.array_equal(drawn, draw_networks(supernet, digits, 12, 0))


def test_a_supernet_learns_its_drop_from_the_formats_that_targets_run(
    supernet: Supernet, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def judged(_supernet, _images, networks, precision, kinds, **_):  # type: ignore[no-untyped-def]
        asked.append((len(networks), precision, [kind.name for kind in kinds]))
        return [JudgedFile(str(n), kind.name, 90 - n % 3, 90, 100) for n in range(len(networks)) for kind in kinds]

    monkeypatch.setattr(precision_drops, "judge_files", judged)
    accuracy = SupernetAccuracy(supernet, digits, "supernet:w", Workspace(tmp_path))
    found = find_drops(SPACE, accuracy, [*CPU, Target("adb:X", "tflite-cpu", "int8")], {})
    assert asked == [(precision_drops.NETWORKS, "int8", ["onnx", "tflite"])]
    assert (found["int8"].points, found["int8"].tier) == (1.0, Tier.PREDICTED)
    assert found["int8"].source == "12 networks in onnx and tflite files on 100 images"
    assert find_drops(SPACE, accuracy, CPU, {"int8": STATED}) == {"int8": STATED}
    assert len(asked) == 1


def test_elsewhere_int8_costs_what_it_cost_others_and_fp16_is_unknown() -> None:
    assert find_drops(SPACE, SyntheticAccuracy(PLAIN), CPU, {}) == {"int8": published_drop()}
    half = with_precisions(PLAIN, ["fp16", "fp32"])
    assert find_drops(half, SyntheticAccuracy(PLAIN), CPU, {}) == {}
    alone = with_precisions(PLAIN, ["fp32", "w8"])
    with pytest.raises(InputError, match="Nobody knows what w8 costs in accuracy") as raised:
        in_precisions(alone, SyntheticAccuracy(PLAIN), find_drops(alone, SyntheticAccuracy(PLAIN), CPU, {}))
    assert "--drop w8=" in raised.value.remedy


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_a_drop_of_what_is_not_searched_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--drop names {name}"):
        find_drops(SPACE, SyntheticAccuracy(PLAIN), CPU, {name: STATED})
