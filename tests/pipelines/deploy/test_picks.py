"""Take networks of a front."""

from dataclasses import replace

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.picks import devices_of, pick_knee, pick_spread, pick_within
from fleetfront.search.results import DeviceFront, FrontPoint, Fronts


def fronts_of(*devices):
    return Fronts("s", "random", 0, 10, 1.0, "built-in", "predicted", devices)


@pytest.fixture
def deep():
    """A front with a further objective: the slowest point is not the most accurate, nor is every one worth its time."""
    numbers = [(10.0, 70.0), (12.0, 66.0), (20.0, 76.0), (30.0, 77.0), (40.0, 60.0), (90.0, 80.0), (95.0, 65.0)]
    points = tuple(FrontPoint(f"net{i}", ms, 0.1, acc) for i, (ms, acc) in enumerate(numbers))
    return fronts_of(DeviceFront("pixel3", "pixel3/tflite/fp32/t1/b1", "measured", 1.0, (100.0, 40.0), points, 2))


def test_a_spread_goes_from_the_fastest_to_the_most_accurate(deep):
    assert [pick.arch for pick in pick_spread(deep, "pixel3", 3)] == ["net0", "net2", "net5"]
    assert [pick.arch for pick in pick_spread(deep, "pixel3", 1)] == ["net2"]
    every = [pick.arch for pick in pick_spread(deep, "pixel3", 50)]
    assert every == ["net0", "net2", "net3", "net5"]


def test_knee_and_limit(deep):
    assert pick_knee(deep, "pixel3").arch == "net2"
    picks = [pick_within(deep, "pixel3", limit).arch for limit in (10, 15, 25, 50, 1000)]
    assert picks == ["net0", "net0", "net2", "net3", "net5"]
    with pytest.raises(InputError, match="the fastest takes 10 ms, 1 ms too long"):
        pick_within(deep, "pixel3", 9)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("built-in", "built-in"),
        ("csv:/home/me/nets.csv:acc", "csv:nets.csv:acc"),
        ("supernet:/home/me/w-1.safetensors", "supernet:w-1.safetensors"),
    ],
)
def test_a_pick_names_the_file_of_its_accuracy_not_my_folders(deep, source, said):
    fronts = replace(deep, accuracy_source=source)
    assert pick_knee(fronts, "pixel3").accuracy[0]["source"] == said


def test_an_empty_front_and_an_absent_device_are_named():
    empty = fronts_of(DeviceFront("pixel3", "t", "measured", 0.0, (1.0, 2.0), ()))
    for pick in (pick_knee, lambda f, d: pick_within(f, d, 5), lambda f, d: pick_spread(f, d, 3)):
        with pytest.raises(InputError, match="The front of pixel3 is empty"):
            pick(empty, "pixel3")
    with pytest.raises(InputError, match="pixl3") as raised:
        devices_of(empty, ["pixl3"])
    assert "pixel3" in raised.value.remedy
    assert np.array_equal(devices_of(empty, []), ["pixel3"])
