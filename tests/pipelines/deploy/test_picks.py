"""Take networks of a front."""

from dataclasses import replace

import numpy as np
import pytest

from fleetfront.deploy.bundle.manifest import safe_name
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.picks import devices_of, pick_arch, pick_knee, pick_robust, pick_spread, pick_within
from fleetfront.pipelines.deploy.robust import most_robust, neighbourhood_means
from fleetfront.predictors.accuracy.sources import load_accuracy
from fleetfront.quantities import SYNFLOW, Estimate, Tier
from fleetfront.search.results import DeviceFront, FrontPoint, Fronts
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import SyntheticAccuracy


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


def test_picks_of_a_device_behind_a_host_can_name_folders(deep):
    front = replace(deep.devices[0], name="ssh:me@pi/cpu", target="ssh:me@pi/cpu/litert/fp32/t1/b1")
    far = fronts_of(front)
    picks = [pick_knee(far, front.name), pick_within(far, front.name, 25), *pick_spread(far, front.name, 2)]
    names = ["ssh:me-pi-cpu-knee", "ssh:me-pi-cpu-within-25ms", "ssh:me-pi-cpu-1", "ssh:me-pi-cpu-2"]
    assert [pick.name for pick in picks] == names
    assert [safe_name(pick.name) for pick in picks] == [name.replace(":", "-") for name in names]


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


def test_the_robust_pick_has_the_most_accurate_neighbours():
    space = load_space("ofa-mbv3-mini")
    archs = space.arch_ids(space.sample(4, np.random.default_rng(5)))

    class ByNeighbours:
        source, tier = "made", Tier.PREDICTED

        def predict(self, genotypes):
            """The second of the networks is a lonely peak, the third has good neighbours."""
            spelled = space.arch_ids(genotypes)
            best = next(i for i, arch in enumerate(archs) if arch in spelled)
            mean = np.full(len(spelled), [70.0, 60.0, 75.0, 99.0][best])
            mean[spelled.index(archs[best])] = 76.0
            return Estimate(mean, np.zeros(len(spelled)), Tier.PREDICTED)

    numbers = [(10.0, 70.0), (20.0, 75.8), (21.0, 76.0), (90.0, 80.0)]
    points = tuple(FrontPoint(arch, ms, 0.1, acc, 0.5) for arch, (ms, acc) in zip(archs, numbers, strict=True))
    front = DeviceFront("pixel3", "t", "measured", 1.0, (100.0, 40.0), points, 1)
    # The knee is the second; the third is dearer, the first too inaccurate.
    assert most_robust(front, space, ByNeighbours()).arch == archs[1]
    later = replace(front, knee=2)
    assert most_robust(later, space, ByNeighbours()).arch == archs[2]
    surely = replace(later, points=tuple(replace(p, accuracy_std=0.0) for p in points))
    assert most_robust(surely, space, ByNeighbours()).arch == archs[2]
    with pytest.raises(InputError, match="measured network by network"):
        pick_robust(replace(fronts_of(front), accuracy_source="supernet:w.safetensors"), "pixel3", space)


def test_a_neighbourhood_is_every_network_one_choice_away():
    space = load_space("ofa-mbv3-mini")
    accuracy = SyntheticAccuracy(space, bend=0.0)
    arch = space.arch_ids(space.sample(1, np.random.default_rng(2)))[0]
    (mean,) = neighbourhood_means(space, accuracy, [arch])
    row = space.parse([arch])
    assert len(accuracy.asked) == len(set(accuracy.asked))
    distances = [int((np.frombuffer(other, np.int8) != row[0]).sum()) for other in accuracy.asked]
    assert distances.count(0) == 1
    assert 60 < mean < 60 + len(space.choices)
    # Each active gene offers its other values; a depth gene also switches slots.
    active = space.active(row)[0]
    least = sum(len(values) - 1 for values, used in zip(space.choices, active, strict=True) if used)
    assert len(accuracy.asked) == 1 + least


def test_neighbours_that_the_accuracy_does_not_know_do_not_count():
    space = load_space("ofa-mbv3-w1.0")
    accuracy = load_accuracy("built-in", space)
    rows = space.canonical(space.sample(2, np.random.default_rng(2)))
    at = space.gene_names.index("resolution")
    rows[:, at] = space.choices[at].index(224)
    archs = space.arch_ids(rows)
    means = neighbourhood_means(space, accuracy, archs)
    own = accuracy.predict(rows).mean
    assert all(abs(mean - one) < 1 for mean, one in zip(means, own, strict=True))
    rows[:, at] = 0
    with pytest.raises(InputError, match="224 px only"):
        neighbourhood_means(space, accuracy, space.arch_ids(rows))


def test_a_named_network_has_the_times_of_the_devices_that_are_meant():
    space = load_space("ofa-mbv3-mini")
    (arch,) = space.arch_ids(space.sample(1, np.random.default_rng(5)))
    devices = [
        DeviceFront(
            name, f"cpu/litert/{precision}/t1/b1", "measured", 1.0, (9.0, 40.0), (FrontPoint(arch, ms, 0.1, 70),)
        )
        for name, precision, ms in (("cpu", "fp32", 2.0), ("cpu-int8", "int8", 1.0))
    ]
    for devices_meant, ms in (((), 2.0), (("cpu-int8",), 1.0), (("cpu",), 2.0)):
        (row,) = pick_arch(arch, space, fronts_of(*devices), devices_meant).latency
        assert row["ms"] == ms


def test_an_empty_front_and_an_absent_device_are_named():
    empty = fronts_of(DeviceFront("pixel3", "t", "measured", 0.0, (1.0, 2.0), ()))
    for pick in (pick_knee, lambda f, d: pick_within(f, d, 5), lambda f, d: pick_spread(f, d, 3)):
        with pytest.raises(InputError, match="The front of pixel3 is empty"):
            pick(empty, "pixel3")
    with pytest.raises(InputError, match="pixl3") as raised:
        devices_of(empty, ["pixl3"])
    assert "pixel3" in raised.value.remedy
    assert np.array_equal(devices_of(empty, []), ["pixel3"])


def test_a_front_chosen_by_a_proxy_promises_no_accuracy(deep):
    scored = replace(deep, devices=tuple(replace(device, quality=SYNFLOW) for device in deep.devices))
    pick = pick_knee(scored, "pixel3")
    assert (pick.arch, pick.accuracy, pick.front) == ("net2", (), None)
    assert pick_knee(deep, "pixel3").accuracy


def test_a_pick_of_a_front_that_promises_nothing_says_why(deep):
    points = tuple(replace(point, latency_std_ms=None) for point in deep.device("pixel3").points)
    silent = replace(deep, devices=tuple(replace(d, points=points, not_promised="one sitting") for d in deep.devices))
    (row,) = pick_knee(silent, "pixel3").latency
    assert (row["std_ms"], row["not_promised"]) == (None, "one sitting")
    assert "not_promised" not in pick_knee(deep, "pixel3").latency[0]


def test_the_accuracy_of_a_pick_of_an_int8_front_says_that_it_is_of_a_float_network(deep):
    front = replace(deep.devices[0], target="cpu/litert/int8/t1/b1", accuracy_precision="fp32")
    assert pick_knee(fronts_of(front), "pixel3").accuracy[0]["precision"] == "fp32"
    assert "precision" not in pick_knee(deep, "pixel3").accuracy[0]
