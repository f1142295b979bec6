"""Networks of several parts, each with its calls, are planned, measured and read as one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fleetfront.graphs.graph import Graph
from fleetfront.predictors.table.fitting import fit_model, measured_networks
from fleetfront.predictors.table.networks import load_network_table
from fleetfront.profilers.campaign import Campaign, Limits, begin_campaign
from fleetfront.profilers.parts import Seen, join_parts, network_of, spell_parts
from fleetfront.profilers.plan import PlanOptions, make_plan
from fleetfront.profilers.reading.observations import read_observations
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import LATENCY, PEAK_MEMORY, Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.testing.simulated_device import SimulatedDevice

TARGET = Target("cpu", "litert")


class Translators:
    """Networks of a small space as encoders, with a block as the step of a decoder, which runs seven times."""

    def __init__(self) -> None:
        self._encoders: Any = load_space("ofa-mbv3-mini")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoders, name)

    def subnet_graphs(self, genotype: Any, weights: Any = None) -> dict[str, tuple[Graph, int]]:
        (encoder, _), *_ = self._encoders.subnet_graphs(genotype, weights).values()
        step = self._encoders.block_graph(self._encoders.vocabulary[int(self.block_indices(genotype[None])[0, 0])])
        return {"encoder": (encoder, 1), "step": (step, 7)}


def seen(*values: float, first: int = 0) -> list[Seen]:
    return [Seen("c", first + number, value, is_hot=value > 90) for number, value in enumerate(values)]


def test_keys_name_the_parts_and_their_calls() -> None:
    any_graph = load_space("ofa-mbv3-mini").block_graph(load_space("ofa-mbv3-mini").vocabulary[0])
    assert list(spell_parts("net", {"network": (any_graph, 1)})) == ["net"]
    assert list(spell_parts("net", {"network": (any_graph, 3)})) == ["net#network*3/1"]
    keys = list(spell_parts("a#b", {"encoder": (any_graph, 1), "step": (any_graph, 7)}))
    assert keys == ["a#b#encoder*1/2", "a#b#step*7/2"]
    assert {network_of(key) for key in keys} == {"a#b"}
    assert network_of("plain") == "plain"


def test_rounds_in_which_a_part_is_missing_say_nothing() -> None:
    series = {"net#encoder*1/2": seen(10, 20, 30), "net#step*7/2": seen(2, 3, first=1), "other": seen(5)}
    assert {key: [s.value for s in found] for key, found in join_parts(series, LATENCY).items()} == {
        "other": [5],
        "net": [20 + 14, 30 + 21],
    }
    assert [s.value for s in join_parts(series, PEAK_MEMORY)["net"]] == [20, 30]
    assert join_parts({"net#encoder*1/2": seen(10)}, LATENCY) == {}
    hot = {"net#encoder*1/2": seen(91, 3), "net#step*7/2": seen(1, 1)}
    assert [s.is_hot for s in join_parts(hot, LATENCY)["net"]] == [True, False]


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return Store(tmp_path / "store.sqlite")


def test_a_space_of_several_parts_is_profiled_and_fitted(store: Store) -> None:
    space: Any = Translators()
    plan = make_plan(space, PlanOptions(calibration=12, validation=4))
    tasks = plan.written(lambda graph, _: graph.content_hash)
    ms = {task.key: 0.1 + len(task.key) / 100 for task in tasks.tasks}
    device = SimulatedDevice(ms, clocks=(Clock.WALL,))
    row = begin_campaign(store, TARGET, space.name, "identity", tasks, {})
    files: Mapping[str, str] = dict.fromkeys(tasks.files, "")
    options = PlanOptions().rounds
    Campaign(store, device, row, options, files, clock=Clock.WALL, now=device.now).run(Limits(1e9, 3))
    found = read_observations(store, TARGET, space.name, Clock.WALL)
    networks = measured_networks(found, space, Role.CALIBRATION, "p25")
    archs = space.arch_ids(networks.genotypes)
    assert len(archs) == 12
    wanted = [ms[f"{arch}#encoder*1/2"] + 7 * ms[f"{arch}#step*7/2"] for arch in archs]
    np.testing.assert_allclose(networks.ms, wanted, rtol=1e-6)
    assert not found.errors
    assert fit_model(space, found).model.calibration.networks == 12
    table = load_network_table(store, space, TARGET)
    np.testing.assert_allclose(table.predict(networks.genotypes).mean, wanted, rtol=1e-6)


def test_a_network_of_which_a_part_fails_has_an_error_and_no_latency(store: Store) -> None:
    space: Any = Translators()
    plan = make_plan(space, PlanOptions(calibration=2, validation=0, blocks="none"))
    tasks = plan.written(lambda graph, _: graph.content_hash)
    assert plan.anchor.key in {network_of(task.key) for task in tasks.tasks}
    broken = next(task.key for task in tasks.tasks if "#step" in task.key)
    device = SimulatedDevice({task.key: 1.0 for task in tasks.tasks if task.key != broken}, clocks=(Clock.WALL,))
    row = begin_campaign(store, TARGET, space.name, "identity", tasks, {})
    files = dict.fromkeys(tasks.files, "")
    Campaign(store, device, row, PlanOptions().rounds, files, clock=Clock.WALL, now=device.now).run(Limits(1e9, 2))
    found = read_observations(store, TARGET, space.name, Clock.WALL)
    assert len(found.visits[Role.CALIBRATION]) == 1
    assert list(found.errors) == [broken]
