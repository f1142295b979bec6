"""The targets of a search: limits as they are typed, and models of every metric that is asked for."""

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.fleet import parse_limits, search_targets
from fleetfront.pipelines.knowledge.cost_models import device_models
from fleetfront.spaces.catalogue import load_space
from fleetfront.workspace import Workspace

TWO = ["pixel3", "adb:AB:1"]


def test_a_devices_own_limit_holds_in_any_order():
    for texts in (["pixel3=90", "300"], ["300", "pixel3=90"]):
        assert parse_limits(texts, TWO) == {"pixel3": {"latency": 90.0}, "adb:AB:1": {"latency": 300.0}}


def test_limits_name_metrics_of_one_device_or_of_all():
    assert parse_limits(["adb:AB:1:energy=900", "adb:AB:1=7", "macs=6e8"], TWO) == {
        "pixel3": {"macs": 6e8},
        "adb:AB:1": {"energy": 900.0, "latency": 7.0, "macs": 6e8},
    }


@pytest.mark.parametrize(
    ("limit", "remedy"),
    [
        ("pixl3=60", "Did you mean 'pixel3'"),
        ("raspi4=60", "Known: adb:AB:1, pixel3"),
        ("pixl3:energy=60", "Did you mean 'pixel3'"),
        ("pixel3:enrgy=60", "Did you mean 'energy'"),
        ("60ms", "Write milliseconds"),
        ("pixel3=nan", "Write milliseconds"),
        ("pixel3=-1", "Write milliseconds"),
        ("pixel3=", "Write milliseconds"),
        ("pixel3:energy=0", "Write a positive number of uJ"),
    ],
)
def test_wrong_limits(limit, remedy):
    with pytest.raises(InputError) as raised:
        parse_limits([limit], TWO)
    assert remedy in raised.value.remedy


def test_what_is_said_twice_must_be_the_same():
    assert parse_limits(["pixel3=60", "pixel3=60.0"], ["pixel3"]) == {"pixel3": {"latency": 60.0}}
    for texts in (["pixel3=60", "pixel3=70"], ["60", "70"]):
        with pytest.raises(InputError, match="gives pixel3 both 60 ms and 70 ms"):
            parse_limits(texts, ["pixel3"])


def test_what_is_not_known_of_a_device_is_said(tmp_path):
    space = load_space("ofa-mbv3-w1.2")
    place = Workspace(tmp_path)
    found = device_models(["pixel3"], space, workspace=place, store=place.store)
    (target,) = search_targets(found, space, limits={"pixel3": {"latency": 60.0, "macs": 5e8}}, objectives=["params"])
    assert (target.limit, target.limits, target.further) == (60.0, {"macs": 5e8}, {})
    assert np.array_equal(target.cost.predict(space.sample(2, np.random.default_rng(0))).mean > 0, [True, True])
    keywords = {"workspace": place, "store": place.store}
    with pytest.raises(InputError, match=r"energy model of ofa-mbv3-w1\.2"):
        search_targets(found, space, limits={}, objectives=["energy"], **keywords)
    with pytest.raises(InputError, match="Latency is an objective of every front"):
        search_targets(found, space, limits={}, objectives=["latency"], **keywords)
    with pytest.raises(InputError, match="Unknown objective 'enrgy'"):
        search_targets(found, space, limits={}, objectives=["enrgy"], **keywords)
