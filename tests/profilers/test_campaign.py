from __future__ import annotations

import math
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.campaign import (
    FIRST_ROUNDS,
    Campaign,
    CampaignInterrupted,
    CampaignResult,
    Limits,
    Stop,
    StopRule,
    _words,
    begin_campaign,
    find_unfinished,
)
from fleetfront.profilers.plan import RoundOptions, TaskList
from fleetfront.profilers.reading.observations import Observations, anchor_drift, read_observations
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import CampaignRow, Store
from fleetfront.quantities import Clock
from fleetfront.targets import Target

Run = Callable[..., CampaignResult]
PER_ROUND = 40 + 5 + 1  # 40 tasks, an anchor before every 8 of them and one at the end
FOREVER = math.inf


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def begin(store: Store, target: Target, tasks: TaskList) -> Callable[[float], CampaignRow]:
    def begin(budget_s: float) -> CampaignRow:
        found = find_unfinished(store, target, "s", "identity", budget_s)
        return found or begin_campaign(store, target, "s", "identity", tasks, {"cpu": "simulated"})

    return begin


@pytest.fixture
def run(store: Store, tasks: TaskList, begin: Callable[[float], CampaignRow]) -> Run:
    def run(
        device: Any,
        seconds: float = FOREVER,
        rounds: int | None = None,
        rule: StopRule | None = None,
        seed: int = 0,
        progress: Any = None,
        first: tuple[str, ...] = (),
        preparing_s: float = 0.0,
    ) -> CampaignResult:
        files = {task.file: f"/nowhere/{task.file}" for task in (*tasks.tasks, tasks.anchor)}
        campaign = Campaign(
            store,
            device,
            begin(seconds),
            RoundOptions(seed=seed, first=first),
            files,
            clock=Clock.WALL,
            now=device.now,
            **({"progress": progress} if progress else {}),
        )
        return campaign.run(Limits(seconds, rounds), rule, preparing_s=preparing_s)

    return run


def test_a_round_visits_everything_once_in_fresh_order_between_anchors(
    run: Run, simulated: Any, latency_ms: dict[str, float], tasks: TaskList
) -> None:
    device = simulated(latency_ms)
    result = run(device, rounds=3)
    assert (result.rounds, result.ended_by, result.visits) == (3, "rounds", 3 * PER_ROUND)
    orders = [[key for number, key in device.visits if number == wanted] for wanted in range(3)]
    anchor = tasks.anchor.key
    for order in orders:
        counts = Counter(order)
        assert counts.pop(anchor) == 6 + 1, "six times as the anchor, once as the block that it is"
        assert set(counts) == {task.key for task in tasks.tasks} - {anchor}
        assert set(counts.values()) == {1}
        assert order[0] == order[-1] == anchor
        assert all(order[9 * i] == anchor for i in range(5))
    assert len({tuple(order) for order in orders}) == 3


def test_what_is_first_is_visited_alone_until_its_time_is_known(
    run: Run, simulated: Any, latency_ms: dict[str, float], tasks: TaskList
) -> None:
    device, first = simulated(latency_ms), tuple(f"block{place}" for place in (9, 3, 21, 5))
    run(device, rounds=FIRST_ROUNDS + 1, first=first)
    networks = {task.key for task in tasks.tasks if task.role != Role.BLOCK}
    orders = [
        [key for number, key in device.visits if number == wanted and key != tasks.anchor.key]
        for wanted in range(FIRST_ROUNDS + 1)
    ]
    assert [key for key in orders[0] if key not in networks] == list(first)
    assert orders[0][1] in networks, "a budget that ends early leaves networks, too"
    assert all(set(order) == {*first, *networks} for order in orders[:FIRST_ROUNDS])
    assert len({tuple(order) for order in orders[1:]}) == FIRST_ROUNDS
    assert set(orders[FIRST_ROUNDS]) == {task.key for task in tasks.tasks} - {tasks.anchor.key}


def test_an_agent_is_told_what_is_left_of_the_budget(
    run: Run, simulated: Any, latency_ms: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[float | None, float]] = []
    device = simulated(latency_ms)
    make = device.run

    def note(batch: VisitBatch) -> Any:
        told.append((batch.seconds_left, device.now()))
        return make(batch)

    monkeypatch.setattr(device, "run", note)
    run(device, seconds=1.0)
    assert len(told) > 1
    for seconds_left, now in told:
        assert seconds_left == pytest.approx(1.0 - now)
    told.clear()
    run(device, rounds=1)
    assert {seconds_left for seconds_left, _ in told} == {None}


def test_the_seed_decides_the_order(
    run: Run, simulated: Any, latency_ms: dict[str, float], tmp_path: Path, store: Store, target: Target
) -> None:
    orders = []
    for seed in (1, 1, 2):
        device = simulated(latency_ms)
        run(device, rounds=1, seed=seed)
        orders.append(device.visits)
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert len(store.campaigns(target=target)) == 3, "finished campaigns are not continued"


class Recording:
    """A rule that stops after some rounds and keeps what it was shown."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.shown: list[tuple[int, float, Observations]] = []

    def decide(self, observations: Observations, rounds: int, seconds: float) -> Stop | None:
        self.shown.append((rounds, seconds, observations))
        return Stop("good enough", 1.5) if rounds >= self.at else None


def test_the_rule_is_asked_after_every_round_and_ends_the_campaign(
    run: Run, simulated: Any, latency_ms: dict[str, float], store: Store
) -> None:
    rule = Recording(at=4)
    result = run(simulated(latency_ms), rule=rule)
    assert (result.ended_by, result.stop, result.rounds) == ("target", Stop("good enough", 1.5), 4)
    assert [rounds for rounds, _, _ in rule.shown] == [1, 2, 3, 4]
    for rounds, _, observations in rule.shown:
        assert {visits.size for visits in observations.visits[Role.VALIDATION].values()} == {rounds}
    assert store.campaigns()[0].is_finished


def test_the_budget_ends_a_campaign_in_the_middle_of_a_round(
    run: Run, simulated: Any, latency_ms: dict[str, float], store: Store
) -> None:
    round_s = 6 * (sum(latency_ms.values()) + 6 * latency_ms["block7"]) / 1e3
    device = simulated(latency_ms)
    result = run(device, seconds=2.5 * round_s)
    assert (result.rounds, result.ended_by) == (2, "budget")
    slowest_visit_s = 6 * max(latency_ms.values()) / 1e3
    assert 2.5 * round_s <= device.clock_s <= 2.5 * round_s + slowest_visit_s
    assert len(list(store.measurements(campaigns=[result.campaign]))) == 2 * result.visits


def test_a_lost_device_loses_nothing_and_the_same_command_goes_on(
    run: Run, simulated: Any, latency_ms: dict[str, float], store: Store
) -> None:
    with pytest.raises(DeviceError, match="gone") as caught:
        run(simulated(latency_ms, lost_at=frozenset({60})), rounds=2)
    assert "same command" in caught.value.remedy
    (row,) = store.campaigns()
    assert (row.is_finished, row.reason, len(list(store.measurements(campaigns=[row.id])))) == (False, "lost", 120)
    device = simulated(latency_ms)
    result = run(device, rounds=2)
    assert result.campaign == row.id
    assert result.visits == len(device.visits) == 2 * PER_ROUND - 60
    found = read_observations(store, row.target, "s", Clock.WALL)
    assert {visits.size for role, keys in found.visits.items() for visits in keys.values() if role != "anchor"} == {2}


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(
    run: Run, simulated: Any, latency_ms: dict[str, float], store: Store, begin: Callable[[float], CampaignRow]
) -> None:
    first = run(simulated(latency_ms), seconds=1.0)
    assert begin(60.0).id == first.campaign
    assert begin(0.0).id != first.campaign


def test_what_keeps_failing_is_left_out_and_reported_once(
    run: Run, simulated: Any, latency_ms: dict[str, float], store: Store
) -> None:
    notes: list[str] = []

    class Noting:
        def start(self, label: str, total: int | None = None) -> None: ...
        def advance(self, steps: int = 1, detail: str = "") -> None: ...
        def finish(self) -> None: ...
        def note(self, text: str) -> None:
            notes.append(text)

    device = simulated(latency_ms, broken=frozenset({"block3"}))
    result = run(device, rounds=5, progress=Noting())
    assert result.ended_by == "rounds"
    assert [number for number, key in device.visits if key == "block3"] == [0, 1]
    assert [note for note in notes if "block3" in note] == ["block3 could not be measured: the runtime refuses it"]
    found = read_observations(store, store.campaigns()[0].target, "s", Clock.WALL)
    assert found.errors == {"block3": "the runtime refuses it"}
    assert "block3" not in found.visits[Role.BLOCK]


def test_a_device_on_which_nothing_works_is_an_error(run: Run, simulated: Any, latency_ms: dict[str, float]) -> None:
    with pytest.raises(DeviceError, match=r"Nothing can be measured.*refuses"):
        run(simulated(latency_ms, broken=frozenset(latency_ms)), rounds=5)


def test_one_common_cause_ends_it_after_three_things(run: Run, simulated: Any, latency_ms: dict[str, float]) -> None:
    device = simulated(latency_ms, broken=frozenset(latency_ms))
    with pytest.raises(DeviceError, match="3 things in a row failed in the same words: the runtime refuses it"):
        run(device, rounds=5)
    assert len({key for _, key in device.visits}) == 3
    # What worked and then ends for all: the anchor tells it from many blocks of one kind that do not run.
    many = frozenset(key for key in latency_ms if key != "block7")
    assert run(simulated(latency_ms, broken=many - {"validation0", "calibration0"}), rounds=3).rounds == 3


def test_ctrl_c_finishes_the_visit_and_says_how_to_go_on(
    run: Run, simulated: Any, latency_ms: dict[str, float], store: Store
) -> None:
    def interrupt(number: int) -> None:
        if number == 13:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(CampaignInterrupted, match="14 visits") as caught:
        run(simulated(latency_ms, before_visit=interrupt), rounds=1)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert "same command" in caught.value.remedy
    assert signal.getsignal(signal.SIGINT) is before
    (row,) = store.campaigns()
    assert (len(list(store.measurements(campaigns=[row.id]))), row.reason, row.is_finished) == (
        28,
        "interrupted",
        False,
    )
    device = simulated(latency_ms)
    assert run(device, rounds=1).visits == PER_ROUND - 14


def test_a_second_ctrl_c_stops_at_once(run: Run, simulated: Any, latency_ms: dict[str, float], store: Store) -> None:
    def interrupt_twice(number: int) -> None:
        if number == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        run(simulated(latency_ms, before_visit=interrupt_twice), rounds=1)
    assert not isinstance(caught.value, CampaignInterrupted)
    assert len(list(store.measurements(campaigns=[store.campaigns()[0].id]))) == 10


def test_drift_and_throttling_show_in_what_is_read(
    run: Run, simulated: Any, latency_ms: dict[str, float], store: Store
) -> None:
    device = simulated(latency_ms, noise=0.01, drift_per_s=0.02, throttled_s=(1.0, 1.6))
    result = run(device, rounds=6)
    found = read_observations(store, store.campaigns()[0].target, "s", Clock.WALL, [result.campaign])
    assert found.discarded["throttled"] > 10
    rise = 0.02 * device.clock_s
    assert anchor_drift(found, "min").percent == pytest.approx(100 * rise / 2, rel=0.35)
    for keys in found.visits.values():
        for key, visits in keys.items():
            assert visits.min() == pytest.approx(latency_ms[key], rel=0.05 + rise)


def test_progress_counts_visits_or_seconds(run: Run, simulated: Any, latency_ms: dict[str, float]) -> None:
    class Counting:
        def __init__(self) -> None:
            self.total: int | None = None
            self.steps = 0
            self.details: list[str] = []

        def start(self, label: str, total: int | None = None) -> None:
            self.total = total

        def advance(self, steps: int = 1, detail: str = "") -> None:
            self.steps += steps
            self.details.append(detail)

        def finish(self) -> None: ...
        def note(self, text: str) -> None: ...

    by_visits, by_seconds = Counting(), Counting()
    run(simulated(latency_ms), rounds=2, progress=by_visits)
    assert by_visits.total == by_visits.steps == 2 * PER_ROUND
    run(simulated(latency_ms), seconds=3.0, progress=by_seconds)
    assert by_seconds.total == by_seconds.steps == 3
    assert by_seconds.details[0] == "round 1, 1/46"


def test_failures_of_one_cause_sound_alike_whatever_file_met_it() -> None:
    def words(error: str, key: str) -> str:
        failed = Measurement(Target("d", "litert"), "s", Role.BLOCK, key, Clock.WALL, (), "c", 0, 0, error=error)
        return _words(failed)

    first, second = f"/tmp/x/{'a' * 64}.tflite: no such kernel", f"/tmp/x/{'b1' * 32}.tflite: no such kernel"
    assert words(first, "k1") == words(second, "k2")
    assert words("block k1 crashed", "k1") == words("block k2 crashed", "k2")
    assert words("crashed", "k") != words("no such kernel", "k")


def test_a_budget_that_writing_spent_is_enough_the_next_time(
    run: Run, simulated: Any, latency_ms: dict[str, float]
) -> None:
    device = simulated(latency_ms)
    with pytest.raises(InputError, match="was spent before the first visit") as caught:
        run(device, seconds=40.0, preparing_s=1200.0)
    assert "they are kept: type the same command" in caught.value.remedy
    assert run(device, seconds=40.0).visits > 0
