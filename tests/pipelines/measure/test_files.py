from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.pipelines.measure.files import ALL_THROTTLED, FilesMeasured, measure_files
from fleetfront.pipelines.measure.single_file import profile_file
from fleetfront.profilers.base import FileInputs
from fleetfront.profilers.campaign import CampaignInterrupted
from fleetfront.profilers.plan import RoundOptions
from fleetfront.profilers.reading.breaks import Breaks
from fleetfront.profilers.reading.observations import Observations, read_observations, summaries
from fleetfront.profilers.reading.other_programs import OtherPrograms
from fleetfront.profilers.records import Role
from fleetfront.profilers.store.store import Store
from fleetfront.progress import Silent
from fleetfront.quantities import ENERGY, Clock
from fleetfront.runtimes.catalogue import facts_for_format
from fleetfront.targets import Target
from fleetfront.testing.simulated_device import SimulatedDevice

pytest.importorskip("onnxruntime")


def gather_onnx(weight_bytes: int) -> bytes:
    """Integer indices of a symbolic length into a table: inputs that are neither images nor floats."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    table = np.zeros((4, weight_bytes // 16), dtype=np.float32)
    node = helper.make_node("Gather", ["table", "indices"], ["rows"])
    indices = helper.make_tensor_value_info("indices", TensorProto.INT64, ["batch"])
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", table.shape[1]])
    graph = helper.make_graph([node], "g", [indices], [rows], [numpy_helper.from_array(table, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    data: bytes = model.SerializeToString()
    return data


def test_a_file_of_any_inputs_is_measured_and_stored(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(gather_onnx(64_000_000))
    with Store(tmp_path / "store.sqlite") as store:
        found = profile_file(path, store=store, seconds=0.2)
        assert found.inputs == (("indices", (1,), "int64"),)
        assert found.target == Target("cpu", "onnxruntime")
        assert 0 < found.fastest_ms <= found.median_ms <= found.p90_ms <= found.p95_ms <= found.p99_ms
        assert found.cold_start_ms > found.load_ms > 0
        assert found.peak_bytes is not None
        assert found.peak_bytes > 64_000_000
        rows = list(store.measurements(role=Role.FILE, key=found.sha256, metric=None))
    assert {(row.metric, row.unit, row.clock) for row in rows} == {
        ("cold_start", "ns", Clock.WALL),
        ("load", "ns", Clock.WALL),
        ("latency", "ns", Clock.WALL),
        ("latency", "ns", Clock.THREAD_CPU),
        ("peak_memory", "bytes", Clock.UNKNOWN),
    }
    assert sum(row.metric == "cold_start" for row in rows) == 3
    assert json.loads(json.dumps(found.to_json()))["runs"] == found.runs >= 20
    assert any("peak memory" in row for row in found.rows())


def test_visits_tell_what_they_were_fed_and_other_shapes_are_another_campaign(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(gather_onnx(64))
    campaigns = []
    with Store(tmp_path / "store.sqlite") as store:
        for size in (2, 3):
            said = FileInputs((("indices", (size,)),))
            target = Target("cpu", "onnxruntime", batch=0)
            found = measure_files({"model": path}, target, store, rounds=1, options=RoundOptions(inputs=said))
            campaigns.append(found.campaign)
            rows = list(store.measurements(role=Role.FILE, campaigns=[found.campaign]))
            assert {json.dumps(row.after["inputs"]) for row in rows} == {f'[["indices", [{size}], "int64"]]'}
    assert len(set(campaigns)) == 2


@pytest.mark.parametrize("batch", [1, 3])
def test_a_file_of_images_says_its_batch(tmp_path: Path, batch: int) -> None:
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3, 8, 8]) for name in ("image", "out")]
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["out"])], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with Store(tmp_path / "store.sqlite") as store:
        found = profile_file(path, store=store, seconds=0.05)
        assert {row.target.batch for row in store.measurements(role=Role.FILE, metric=None)} == {batch}
    assert found.target == Target("cpu", "onnxruntime", batch=batch)
    assert found.to_json()["tier"] == "measured"


def test_a_busy_machine_is_told_from_a_slow_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(gather_onnx(64))
    found = profile_file(path, seconds=0.05)
    latency = replace(found.latency, ms=1.0, others=None)
    times = {"thread_cpu_median_ms": 1.0, "median_ms": 1.1, "p95_ms": 1.2, "fastest_ms": 1.0}
    calm = replace(found, latency=latency, runs=500, **times)
    assert calm.warnings == ()
    assert "waiting for a core" in replace(calm, median_ms=3.0).warnings[0]
    assert "One run in twenty" in replace(calm, p95_ms=9.0).warnings[0]
    assert "99th" in replace(calm, runs=30).warnings[0]
    beside = replace(calm, latency=replace(latency, others=OtherPrograms(1.0, 2)))
    assert "Other programs used 1.0 of 2 cores" in beside.warnings[0]
    assert "below the fastest run" in replace(calm, latency=replace(latency, ms=0.92)).warnings[0]


@pytest.mark.parametrize(
    ("name", "content", "target", "words"),
    [
        ("model.onnx", b"not a model", None, "not a model"),
        ("model.txt", b"", None, "No runtime here opens"),
        ("model.onnx", b"", Target("cpu", "litert"), "opens .tflite"),
        ("model.onnx", None, None, "cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_explained(
    tmp_path: Path, name: str, content: bytes | None, target: Target | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        profile_file(tmp_path / name, target)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "option"), [("net.pth", "--torch"), ("net.h5", "--keras"), ("saved_model.pb", "--keras")]
)
def test_files_of_programs_are_to_be_written_for_runtimes(name: str, option: str) -> None:
    with pytest.raises(InputError) as caught:
        facts_for_format(name.rpartition(".")[2])
    assert f"fleetfront export {option} " in caught.value.remedy
    assert caught.value.remedy.count(".tflite,") == 1


PHONE = Target("phone", "tflite-cpu")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three files of one name, in folders of their own."""
    made = {}
    for name in ("small", "middle", "large"):
        made[name] = tmp_path / name / "model.tflite"
        made[name].parent.mkdir()
        made[name].write_bytes(name.encode() * (1 + len(made)))
    return made


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def measured(files: dict[str, Path], store: Store, device: SimulatedDevice, **more: Any) -> FilesMeasured:
    return measure_files(files, PHONE, store, open_agent=lambda _: device, **more)


def device_of(files: dict[str, Path], **more: Any) -> SimulatedDevice:
    return SimulatedDevice({sha256(path): 1.0 + place for place, path in enumerate(files.values())}, **more)


def test_files_are_told_apart_by_their_bytes(files: dict[str, Path], store: Store) -> None:
    found = measured({**files, "again": files["small"]}, store, device_of(files), rounds=4)
    assert {name: latency.ms for name, latency in found.latencies.items()} == {
        "small": 1.0,
        "middle": 2.0,
        "large": 3.0,
        "again": 1.0,
    }
    assert {latency.visits for latency in found.latencies.values()} == {4}
    rows = list(store.measurements(target=PHONE))
    assert {row.key for row in rows if row.role == Role.FILE} == {sha256(path) for path in files.values()}
    # The file of middle size is visited at both ends of a round, too.
    assert {row.key for row in rows if row.role == Role.ANCHOR} == {sha256(files["middle"])}


def test_files_are_read_as_networks_are(files: dict[str, Path], store: Store) -> None:
    device = device_of(files, throttled_s=(0.0, 0.1), noise=0.05)
    found = measured(files, store, device, rounds=12)
    seen = read_observations(store, PHONE, "", Clock.WALL, [found.campaign])
    assert seen.discarded["throttled"] > 0
    expected = summaries(seen, Role.FILE, "p25")
    told = {sha256(files[name]): one.ms for name, one in found.latencies.items()}
    assert told == expected
    # Neither the least of all, nor moved by the visits that count for nobody.
    assert all(told[key] > least for key, least in summaries(seen, Role.FILE, "min").items())
    assert {round(ms) for ms in told.values()} == {1, 2, 3}


def test_a_file_measured_hot_alone_has_no_number(files: dict[str, Path], store: Store) -> None:
    found = measured(files, store, device_of(files, throttled_s=(0.0, 1e9)), rounds=3)
    assert {(one.ms, one.error) for one in found.latencies.values()} == {(None, ALL_THROTTLED)}


def test_an_interrupted_campaign_of_files_goes_on(files: dict[str, Path], store: Store) -> None:
    first = device_of(files, before_visit=lambda number: signal.raise_signal(signal.SIGINT) if number == 7 else None)
    with pytest.raises(CampaignInterrupted):
        measured(files, store, first, rounds=4)
    second = device_of(files)
    found = measured(files, store, second, rounds=4)
    assert len(first.visits) + len(second.visits) == 4 * (3 + 2)
    assert {one.visits for one in found.latencies.values()} == {4}
    third = device_of(files)
    assert measured(files, store, third, rounds=4).campaign != found.campaign


def test_a_file_that_fails_is_an_error_of_its_own(files: dict[str, Path], store: Store) -> None:
    found = measured(files, store, device_of(files, broken=frozenset({sha256(files["small"])})), rounds=4)
    assert found.latencies["small"].error == "the runtime refuses it"
    assert found.latencies["large"].ms == 3.0


def test_files_that_all_fail_are_errors_and_no_number(files: dict[str, Path], store: Store) -> None:
    device = device_of(files, broken=frozenset(map(sha256, files.values())))
    found = measured(files, store, device, rounds=12)
    assert all("the runtime refuses it" in (one.error or "") for one in found.latencies.values())
    # The anchor is one of the three: after each of them has failed in the same words, nothing more is tried.
    assert len(device.visits) <= 5


def test_a_file_that_failed_is_measured_anew_once_the_cause_is_gone(files: dict[str, Path], store: Store) -> None:
    one = {"small": files["small"]}
    assert measured(one, store, SimulatedDevice({}), rounds=4).latencies["small"].ms is None
    assert measured(one, store, device_of(files), rounds=4).latencies["small"].visits == 4


class Notes(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_a_machine_that_slept_or_whose_clock_was_set_meanwhile_is_said(
    files: dict[str, Path], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, broken = Notes(), Notes()
    measured(files, store, device_of(files), rounds=2, progress=quiet)

    def slept(*asked: Any, **more: Any) -> Observations:
        return replace(read_observations(*asked, **more), breaks=Breaks(slept_s=600.0, clock_step_s=-3600.0))

    monkeypatch.setattr("fleetfront.pipelines.measure.files.read_observations", slept)
    measured(files, store, device_of(files), rounds=2, progress=broken)
    assert quiet.said == []
    asleep, clock = broken.said
    assert "slept for 10 min 00 s" in asleep
    assert "clock was set back by 1 h" in clock


def test_energy_is_read_as_latency_is(files: dict[str, Path], store: Store) -> None:
    found = measured(files, store, device_of(files, watts=2.0), rounds=3)
    seen = read_observations(store, PHONE, "", None, [found.campaign], metric=ENERGY)
    assert (seen.metric, seen.clock) == (ENERGY, Clock.DEVICE)
    assert summaries(seen, Role.FILE, "min")[sha256(files["middle"])] == pytest.approx(4000.0)


def test_a_device_that_tells_only_visits_profiles_a_file(files: dict[str, Path], store: Store) -> None:
    path = files["middle"]
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(8))
    found = profile_file(path, PHONE, store=store, open_agent=lambda _: SimulatedDevice({sha256(path): 2.0}))
    assert (found.latency.ms, found.median_ms, found.fastest_ms, found.mean_ms) == (2.0, 2.0, 2.0, 2.0)
    assert (found.cold_start_ms, found.peak_bytes, found.runs) == (None, None, 72)
    assert ("p90 / p95 / p99", "2.000 ms / 2.000 ms / 2.000 ms") in found.rows()
    hot = SimulatedDevice({sha256(path): 2.0}, throttled_s=(0.0, 0.05))
    assert profile_file(path, PHONE, store=store, open_agent=lambda _: hot).mean_ms == 2.0
    fast = SimulatedDevice({sha256(path): 0.000312})
    rows = dict(profile_file(path, PHONE, store=store, open_agent=lambda _: fast).rows())
    assert rows["fastest"] == "0.000312 ms"
    with pytest.raises(DeviceError, match="could not be measured on phone"):
        profile_file(path, PHONE, store=store, open_agent=lambda _: SimulatedDevice({}))
