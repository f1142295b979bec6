from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.pipelines.measure.app_times import read_app_times
from fleetfront.pipelines.measure.files import measure_files, with_app_times
from fleetfront.profilers.records import Measurement, Role
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import Clock
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.targets import Target

MS = 10**6


def test_times_of_few_runs_a_visit_are_read_with_the_first_where_it_is_told(tmp_path: Path) -> None:
    phone = Target("adb:1", "litert")
    rows = [
        Measurement(
            phone, "s", Role.FILE, key, Clock.WALL, tuple(ms * MS for ms in runs), "c", number, number, after=after
        )
        for number, (key, runs, after) in enumerate(
            [
                ("told", (1, 2), {"open_ns": 5 * MS, "first_ns": 4 * MS}),
                ("told", (3, 10), {"open_ns": 6 * MS, "first_ns": 4 * MS}),
                ("silent", (7,), {}),
            ]
        )
    ]
    with Store(tmp_path / "s.sqlite") as store:
        store.append(rows)
        found = read_app_times(store, phone, "s", "c")
        assert read_app_times(store, phone, "s", "another") == {}
    told, silent = found["told"], found["silent"]
    assert (told.cold_ms, told.median_ms, told.mean_ms, told.fastest_ms, told.runs) == (9.5, 2.5, 4.0, 1.0, 4)
    assert told.p90_ms == pytest.approx(7.9)
    assert not told.is_back_to_back
    assert (silent.cold_ms, silent.median_ms) == (None, 7.0)
    assert silent.cells() == ("–", "7.00", "7.00", "7.00")


@pytest.mark.parametrize("tells_cold", [True, False])
def test_visits_that_no_reader_accepts_are_no_cold_starts(tmp_path: Path, tells_cold: bool) -> None:
    here = Target("cpu", "litert")
    rows = []
    for turn, (ms, flags) in enumerate([(2, ()), (2, ()), (90, ("throttled",)), (90, ("throttled",))]):
        warm = Measurement(
            here, "", Role.FILE, "net", Clock.WALL, (ms * MS,), "c", turn, turn, flags=flags,
            after={"open_ns": ms * MS, "first_ns": ms * MS},
        )  # fmt: skip
        cold = replace(warm, metric="cold_start", samples=(2 * ms * MS,), uuid=f"{turn:032x}")
        rows += [warm, cold] if tells_cold else [warm]
    with Store(tmp_path / "s.sqlite") as store:
        store.append(rows)
        found = read_app_times(store, here, "", "c")["net"]
    assert (found.cold_ms, found.mean_ms, found.is_back_to_back) == (4.0, 2.0, tells_cold)


def test_files_are_run_back_to_back_in_processes_of_their_own(tmp_path: Path) -> None:
    """What an app feels is never less than the fastest run."""
    pytest.importorskip("onnxruntime")
    space, path = ofa_mbv3_mini(), tmp_path / "net.onnx"
    (network,) = space.sample(1, np.random.default_rng(5))
    path.write_bytes(write_onnx(space.subnet_graphs(network)["network"][0]))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    files = {"net": path, "broken": broken}
    with Store(tmp_path / "s.sqlite") as store:
        campaign = measure_files(files, Target("cpu", "onnxruntime"), store, rounds=2)
        latencies = with_app_times(campaign, files, store)
    app = latencies["net"].app
    assert app is not None
    assert app.is_back_to_back
    assert app.runs > 100
    assert app.cold_ms is not None
    assert 0 < app.fastest_ms <= app.median_ms <= app.p90_ms
    assert app.fastest_ms <= app.mean_ms
    assert app.fastest_ms < app.cold_ms, "the first run finds nothing in any cache"
    assert latencies["net"].ms == campaign.latencies["net"].ms, "the number that is promised is the campaign's"
    assert (latencies["broken"].ms, latencies["broken"].app) == (None, None)
    facts = json.loads(json.dumps(app.to_json()))
    assert facts["cold_start_ms"] == app.cold_ms
    assert {"median_ms", "p90_ms", "mean_ms", "fastest_ms", "runs", "is_back_to_back"} == set(facts["wall"])
