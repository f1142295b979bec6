"""The agent with real worker processes and a real runtime."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.cpu.agent import MOST_CRASHES_IN_A_ROW, LocalCpuAgent
from fleetfront.profilers.model_files import FileCache
from fleetfront.profilers.records import CLOCK_COST, Role
from fleetfront.quantities import Clock
from fleetfront.targets import Target

pytest.importorskip("onnxruntime")


@pytest.fixture
def files(tmp_path: Path, onnx_bytes: bytes) -> dict[str, str]:
    cache = FileCache(tmp_path, ".onnx")
    hashes = {"good": cache.put(onnx_bytes), "bad": cache.put(onnx_bytes[: len(onnx_bytes) // 2])}
    return {name: str(cache.path(sha256)) for name, sha256 in hashes.items()}


@pytest.fixture(scope="module")
def agent() -> Iterator[LocalCpuAgent]:
    with closing(LocalCpuAgent(Target("cpu", "onnxruntime"))) as opened:
        yield opened


def batch(names: list[str], files: Mapping[str, str], timed_runs: int = 6) -> VisitBatch:
    visits = tuple(Visit(uuid.uuid4().hex, Role.BLOCK, name, name, 2, timed_runs) for name in names)
    return VisitBatch(Target("cpu", "onnxruntime"), "s", "c", 2, visits, files)


def test_a_visit_gives_both_clocks_and_its_conditions(agent: LocalCpuAgent, files: dict[str, str]) -> None:
    ((wall, cpu),) = agent.run(batch(["good"], files))
    assert (wall.clock, cpu.clock) == (Clock.WALL, Clock.THREAD_CPU)
    assert len(wall.samples) == len(cpu.samples) == 6
    assert wall.uuid != cpu.uuid
    assert (wall.space, wall.campaign, wall.round, wall.key, wall.error) == ("s", "c", 2, "good", None)
    assert abs(wall.started_ns - time.time_ns()) < 60e9
    assert wall.before["cores"] == list(agent.cores)
    assert wall.after["visit_ns"] > sum(wall.samples)
    assert cpu.after[CLOCK_COST]["thread-cpu"] > cpu.after[CLOCK_COST]["wall"] > 0
    assert {"others_ns", "online_cores"} <= wall.before.keys() & wall.after.keys()


def test_the_worker_runs_on_the_chosen_cores(files: dict[str, str]) -> None:
    core = max(os.sched_getaffinity(0))
    with closing(LocalCpuAgent(Target("cpu", "onnxruntime"), cores=(core,))) as pinned:
        list(pinned.run(batch(["good"], files)))
        assert pinned._worker is not None
        assert os.sched_getaffinity(pinned._worker.pid) == {core}


def test_several_threads_have_wall_time_only(files: dict[str, str]) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    target = Target("cpu", "onnxruntime", threads=2)
    whole = batch(["good"], files)
    with closing(LocalCpuAgent(target)) as two:
        assert len(two.cores) == 2
        ((wall,),) = two.run(VisitBatch(target, whole.space, whole.campaign, 0, whole.visits, files))
    assert wall.clock == Clock.WALL


def test_a_broken_file_costs_its_own_row(agent: LocalCpuAgent, files: dict[str, str]) -> None:
    results = list(agent.run(batch(["good", "bad", "missing", "good"], files)))
    assert [rows[0].error is None for rows in results] == [True, False, False, True]
    assert "not a model" in str(results[1][0].error)
    assert results[1][0].samples == ()


@pytest.mark.parametrize(("fatal", "words"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "out of memory")])
def test_a_crash_costs_the_visit_in_flight(
    agent: LocalCpuAgent, files: dict[str, str], fatal: signal.Signals, words: str
) -> None:
    # On a busy machine a visit begins late; this one would take minutes.
    whole = batch(["good"] * 3, files, timed_runs=10_000_000)
    quick = VisitBatch(whole.target, "s", "c", 0, (whole.visits[0], *batch(["good"] * 2, files).visits), files)
    assert agent._worker is not None or not list(agent.run(batch([], files)))
    worker = agent._living_worker()
    threading.Timer(1.0, os.kill, (worker.pid, fatal)).start()
    results = list(agent.run(quick))
    assert words in str(results[0][0].error)
    assert [rows[0].error for rows in results[1:]] == [None, None]
    assert agent._living_worker().pid != worker.pid


def test_a_hang_costs_the_visit_in_flight(files: dict[str, str]) -> None:
    with closing(LocalCpuAgent(Target("cpu", "onnxruntime"), visit_timeout_s=2.0)) as impatient:
        worker = impatient._living_worker()
        os.kill(worker.pid, signal.SIGSTOP)
        results = list(impatient.run(batch(["good", "good"], files)))
    # Stopped before it could begin: the batch was simply sent again to a fresh worker.
    assert [rows[0].error for rows in results] == [None, None]


def test_a_hang_inside_a_visit_is_reported(files: dict[str, str]) -> None:
    with closing(LocalCpuAgent(Target("cpu", "onnxruntime"), visit_timeout_s=2.0)) as impatient:
        whole = batch(["good"], files, timed_runs=10_000_000)
        results = list(impatient.run(whole))
    assert results[0][0].error == "no result within 2 s"


def test_a_file_that_never_ends_is_given_up_after_its_first_run(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, number, truth = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["go"], ["on"]), onnx.helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [make("i", onnx.TensorProto.INT64, []), make("go", truth, []), make("v", number, [1])],
        [make("on", truth, []), make("w", number, [1])],
    )
    endless = onnx.helper.make_graph(
        [onnx.helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)],
        "endless",
        [make("x", number, [1])],
        [make("y", number, [1])],
        [onnx.helper.make_tensor("yes", truth, [], [True])],
    )
    model = onnx.helper.make_model(endless, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    cache = FileCache(tmp_path, ".onnx")
    sha256 = cache.put(model.SerializeToString())
    visit = Visit(uuid.uuid4().hex, Role.FILE, sha256, sha256, 1, 6, timed_s=0.1, is_cold=True)
    whole = VisitBatch(Target("cpu", "onnxruntime"), "", "c", 0, (visit,), {sha256: str(cache.path(sha256))})
    with closing(LocalCpuAgent(Target("cpu", "onnxruntime"), first_run_timeout_s=0.3)) as impatient:
        ((row,),) = impatient.run(whole)
    assert row.error == "its first run did not end within 0.3 s"


def test_a_runtime_that_never_works_is_a_lost_device(agent: LocalCpuAgent, files: dict[str, str]) -> None:
    done = threading.Event()

    def keep_killing() -> None:
        while not done.wait(0.05):
            worker = agent._worker
            if worker is not None and worker._process.poll() is None:
                os.kill(worker.pid, signal.SIGKILL)

    killer = threading.Thread(target=keep_killing)
    killer.start()
    try:
        with pytest.raises(DeviceError, match=f"failed {MOST_CRASHES_IN_A_ROW} times in a row") as caught:
            list(agent.run(batch(["good"] * 50, files, timed_runs=100_000)))
    finally:
        done.set()
        killer.join()
        agent._crashes = 0
    assert "doctor" in caught.value.remedy


def test_a_killed_coordinator_leaves_no_worker_in_an_endless_visit(files: dict[str, str]) -> None:
    code = (
        "import sys, uuid; from fleetfront.profilers.cpu.agent import LocalCpuAgent;"
        "from fleetfront.profilers.base import Visit, VisitBatch; from fleetfront.profilers.records import Role;"
        "from fleetfront.targets import Target; target = Target('cpu', 'onnxruntime'); agent = LocalCpuAgent(target);"
        "print(agent._worker.pid, flush=True);"
        "visit = Visit(uuid.uuid4().hex, Role.BLOCK, 'good', 'good', 2, 100_000_000);"
        "list(agent.run(VisitBatch(target, 's', 'c', 0, (visit,), {'good': sys.argv[1]})))"
    )
    coordinator = subprocess.Popen([sys.executable, "-c", code, files["good"]], stdout=subprocess.PIPE, text=True)
    assert coordinator.stdout is not None
    worker = Path(f"/proc/{int(coordinator.stdout.readline())}/stat")
    time.sleep(1.0)
    coordinator.kill()
    coordinator.wait()
    deadline = time.monotonic() + 20
    while worker.exists() and worker.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_stopping_early_ends_the_worker(agent: LocalCpuAgent, files: dict[str, str]) -> None:
    with closing(agent.run(batch(["good"] * 50, files))) as results:
        next(results)
    assert agent._worker is None
    assert len(list(agent.run(batch(["good"], files)))) == 1


def test_an_unknown_runtime_is_an_input_error() -> None:
    with pytest.raises(InputError, match="onnxruntime"):
        LocalCpuAgent(Target("cpu", "onnxruntim"))


def test_the_description_decides_whether_old_numbers_hold(agent: LocalCpuAgent) -> None:
    facts = agent.describe()
    assert facts["runtime"] == "onnxruntime"
    assert facts["runtime_version"][0].isdigit()
    assert facts == agent.describe()
