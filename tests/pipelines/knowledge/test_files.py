"""Ask what is known of a file by its bytes: the newest campaign of each target, and nothing that was not accepted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fleetfront.pipelines.knowledge.files import known_of_file
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import LOAD, PEAK_MEMORY, Clock, Tier
from fleetfront.targets import Target

FILE = "ab" * 32
HERE, THERE = Target("cpu", "litert"), Target("pixel3", "tflite-cpu", threads=4)


def keep(store: Store, target: Target, campaign: str, ms: Sequence[float], when: int, **other: object) -> None:
    store.add_campaign(campaign, target, "", campaign, {}, {})
    facts = {"key": FILE, "clock": Clock.WALL, "unit": "ns"} | other
    per_unit = 1e6 if facts["unit"] == "ns" else 1
    store.append(
        Measurement(
            target=target,
            space="",
            role=Role.FILE,
            samples=(round(3 * per_unit * value), round(per_unit * value)),
            campaign=campaign,
            round=number,
            started_ns=when + number,
            **facts,  # type: ignore[arg-type]
        )
        for number, value in enumerate(ms)
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite")


def test_each_target_tells_of_its_newest_campaign(store: Store) -> None:
    keep(store, HERE, "old", [9.0] * 4, 100)
    keep(store, THERE, "there", [4.0, 4.0, 5.0, 5.0], 200)
    keep(store, HERE, "new", [2.0] * 4, 300)
    keep(store, HERE, "other", [1.0] * 4, 400, key="cd" * 32)
    here, there = known_of_file(store, FILE)
    assert (here.target, here.campaign, here.visits, here.when_ns) == (HERE, "new", 4, 303)
    assert (here.estimate.mean.tolist(), here.estimate.std.tolist(), here.estimate.tier) == (
        [2.0],
        [0.0],
        Tier.MEASURED,
    )
    assert (there.target, there.estimate.mean.tolist(), there.estimate.std.tolist()) == (THERE, [4.0], [0.5])
    assert known_of_file(store, "ef" * 32) == []


def test_clocks_and_metrics_are_told_apart(store: Store) -> None:
    keep(store, HERE, "one", [2.0, 2.0], 100)
    keep(store, HERE, "one", [1.5, 1.5], 100, clock=Clock.THREAD_CPU)
    keep(store, HERE, "one", [7.0, 8.0], 100, metric="load")
    keep(store, HERE, "one", [1000, 3000], 100, metric="peak_memory", unit="bytes", clock=Clock.UNKNOWN)
    keep(store, HERE, "one", [1.0], 100, metric="loudness")
    assert {known.clock: known.estimate.mean[0] for known in known_of_file(store, FILE)} == {
        Clock.WALL: 2.0,
        Clock.THREAD_CPU: 1.5,
    }
    everything = {
        (known.metric.name, known.clock): known.estimate.mean[0] for known in known_of_file(store, FILE, None)
    }
    assert len(everything) == 4
    assert everything[PEAK_MEMORY.name, Clock.UNKNOWN] == 9000
    np.testing.assert_allclose(everything[LOAD.name, Clock.WALL], 7.25)


def test_a_campaign_that_knows_nothing_hides_no_older_one(store: Store) -> None:
    keep(store, HERE, "cool", [2.0] * 4, 100)
    keep(store, HERE, "hot", [5.0] * 4, 200, flags=("throttled",))
    (known,) = known_of_file(store, FILE)
    assert (known.campaign, known.when_ns, known.estimate.mean.tolist()) == ("cool", 103, [2.0])
    assert known_of_file(store, FILE, clock=Clock.THREAD_CPU) == []
    assert known_of_file(store, FILE, counts=lambda row: row.started_ns > 150) == []


def test_nothing_is_known_of_failed_or_hot_visits(store: Store) -> None:
    keep(store, HERE, "failed", [], 100)
    row = Measurement(HERE, "", Role.FILE, FILE, Clock.WALL, (), "failed", 0, 100, error="the runtime crashed")
    store.append([row])
    keep(store, THERE, "hot", [2.0, 2.0], 200, flags=("throttled",))
    assert known_of_file(store, FILE) == []
