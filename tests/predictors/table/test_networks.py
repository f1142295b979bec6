"""Tell tables of a whole space from those of a part, and read what was measured of networks as a fit does."""

from pathlib import Path

import numpy as np
import pytest

from fleetfront.predictors.table.fitting import measured_networks
from fleetfront.predictors.table.networks import GenotypeIndex, NetworkTable, holds_whole_space, load_network_table
from fleetfront.profilers.reading.observations import choose_statistic, read_observations
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target

TARGET = Target("cpu", "onnxruntime")


def test_a_table_of_every_cell_holds_the_whole_space() -> None:
    space = load_space("nasbench201")
    assert holds_whole_space(space, 15_625)
    assert not holds_whole_space(space, 15_624)
    assert not holds_whole_space(load_space("ofa-mbv3-w1.2"), 10_000_000)


def visits(arch: str, campaign: str, number: int, ms: float, interrupted: int, **changes: object) -> list[Measurement]:
    """One visit under two clocks: three runs of ``ms``, and one whose CPU time was counted too low."""
    cpu = (round(ms * 1e6), round(ms * 1e6) + 9, round(ms * 1e6) + 5, interrupted)
    wall = (cpu[0] + 90, cpu[1] + 90, cpu[2] + 90, 3 * cpu[0])
    return [
        Measurement(TARGET, "nasbench201", Role.CALIBRATION, arch, clock, ns, campaign, number, number, **changes)  # type: ignore[arg-type]
        for clock, ns in ((Clock.THREAD_CPU, cpu), (Clock.WALL, wall))
    ]


@pytest.mark.parametrize("clock", [Clock.WALL, Clock.THREAD_CPU])
def test_networks_are_read_as_a_fit_reads_them(tmp_path: Path, clock: Clock) -> None:
    """Throttled visits, freak minima, interrupted runs and another clock's numbers are left out of both."""
    space = load_space("nasbench201")
    archs = space.arch_ids(space.sample(4, np.random.default_rng(0)))
    with Store(tmp_path / "store.sqlite") as store:
        store.add_campaign("c", TARGET, space.name, "c", {"tasks": {"calibration": []}}, {})
        for place, arch in enumerate(archs):
            for number, ms in enumerate((4.0, 4.4, 4.2, 4.8, 4.1, 3.9)):
                store.append(visits(arch, "c", number, ms + place, interrupted=100_000))
            store.append(visits(arch, "c", 9, 1.0, interrupted=100_000, flags=("throttled",)))
        table = load_network_table(store, space, TARGET, clock=clock)
        seen = read_observations(store, TARGET, space.name, clock)
        assert load_network_table(store, space, TARGET).clock is Clock.WALL
    networks = measured_networks(seen, space, Role.CALIBRATION, choose_statistic(seen))
    np.testing.assert_array_equal(table.predict(networks.genotypes).mean, networks.ms)
    assert table.clock is clock
    assert sorted(table.ms) == pytest.approx([3.9, 4.9, 5.9, 6.9], abs=0.2)
    spread = np.std([4.0, 4.4, 4.2, 4.8, 4.1, 3.9], ddof=1) / np.sqrt(6)
    assert table.std_ms == pytest.approx([spread] * 4, rel=1e-3)


def test_networks_of_several_sittings_are_all_in_the_table(tmp_path: Path) -> None:
    space = load_space("nasbench201")
    first, second = space.arch_ids(space.sample(2, np.random.default_rng(0)))
    with Store(tmp_path / "store.sqlite") as store:
        for campaign, archs in (("old", (first, second)), ("new", (first,))):
            store.add_campaign(campaign, TARGET, space.name, campaign, {"tasks": {"calibration": []}}, {})
            for arch in archs:
                for number in range(3):
                    ms = 2.0 if campaign == "old" else 3.0
                    store.append(visits(arch, campaign, number, ms, interrupted=1_999_999))
        table = load_network_table(store, space, TARGET)
    assert len(table.ms) == 2
    both, old = table.predict(space.parse([first, second])).std
    assert both > 0.2 > old


def test_a_table_covers_what_it_holds_and_nothing_else() -> None:
    space = load_space("nasbench201")
    held, other = space.sample(3, np.random.default_rng(0)), space.sample(50, np.random.default_rng(1))
    held, other = np.unique(held, axis=0), other[~(other[:, None] == held).all(axis=2).any(axis=1)]
    ms = np.arange(1.0, len(held) + 1)
    table = NetworkTable(space, TARGET, Clock.WALL, held, ms, 0 * ms, "made up", GenotypeIndex(space, held))
    assert table.covers(held).all()
    assert not table.covers(other).any()
    assert list(table.predict(held).mean) == list(ms)
