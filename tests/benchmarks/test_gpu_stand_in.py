"""``benchmarks/gpu.py`` from its arguments to its file, with a stand-in of ``torch.cuda`` whose device is the CPU."""

import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fleetfront.errors import DeviceError
from fleetfront.profilers.base import Visit, VisitBatch
from fleetfront.profilers.gpu.agent import GpuAgent
from fleetfront.profilers.records import Role
from fleetfront.runtimes.cuda_device import CudaDevice

torch = pytest.importorskip("torch")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
GPU = CudaDevice(0, "NVIDIA Stand-in", "GPU-1", "9.0", 1 << 34, 1 << 20, 1, "580.1", "13.0")


class Event:
    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing
        self.at = -1.0

    def record(self, _: Any) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, end: "Event") -> float:
        return 1000 * (end.at - self.at)


class CudaGraph:
    """Keeps the work, which its stand-in of ``torch.cuda.graph`` cannot see; see ``capturing``."""

    work: Any = None

    def pool(self) -> str:
        return "pool"

    def replay(self) -> None:
        self.work()


@contextmanager
def nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, with a GPU that is none."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    specification = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    specification.loader.exec_module(module)
    replaced = {
        "Event": Event,
        "CUDAGraph": CudaGraph,
        "stream": nothing,
        "graph": nothing,
        "Stream": lambda _: SimpleNamespace(synchronize=lambda: None),
        "set_device": lambda _: None,
        "synchronize": lambda _: None,
        "empty_cache": lambda: None,
        "get_device_properties": lambda _: SimpleNamespace(L2_cache_size=1 << 20),
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    from fleetfront.profilers.gpu import open_agent, visit_timing
    from fleetfront.profilers.gpu.programs.torch import TorchOpener
    from fleetfront.profilers.gpu.stopwatch import CudaStopwatch

    kept = CudaStopwatch.capture

    def capturing(watch: CudaStopwatch, work: Any, beside: Any = None) -> Any:
        replay: Any = kept(watch, work, beside)
        replay.__self__.work = work
        return replay

    def on_cpu(_: str, precision: str) -> TorchOpener:
        return TorchOpener("cpu", precision)

    monkeypatch.setattr(CudaStopwatch, "capture", capturing)
    overhead = sys.modules["gpu_overhead"]
    monkeypatch.setattr("fleetfront.profilers.gpu.programs.torch.TorchOpener", on_cpu)
    monkeypatch.setattr(overhead, "TorchOpener", on_cpu)
    for place in (open_agent, module):
        monkeypatch.setattr(place, "open_cuda_device", lambda _: GPU)
    monkeypatch.setattr(overhead, "FIRST_WARM_UP", visit_timing.SteadyRule(1, 1.0, 0.0))
    return module


def run(program: ModuleType, monkeypatch: pytest.MonkeyPatch, out: Path, *more: str) -> int:
    space = ["--space", "ofa-mbv3-mini", "--rounds", "1", "--calibration", "4", "--held-out", "3"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *space, "--out", str(out), *more])
    threads, ends = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    torch.set_num_threads(1)
    try:
        return int(program.main())
    finally:
        torch.set_num_threads(threads)
        signal.signal(signal.SIGTERM, ends)


def found(out: Path) -> list[dict[str, Any]]:
    text = (out / "gpu.json").read_text()
    assert "NaN" not in text
    results: list[dict[str, Any]] = json.loads(text)["results"]
    return results


def test_batches_that_run_apart_are_written_into_one_file(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(program, monkeypatch, tmp_path, "--batch", "1") == 0
    (first,) = found(tmp_path)
    assert first["environment"]["driver"] == "580.1"
    assert first["things"] == {"anchor": 1, "block": 57, "calibration": 4, "validation": 3}
    assert first["fits"]["device"]["floor"] is None
    assert first["conditions"]["visits"] > 64
    assert first["overhead"]["bare_ms"] > 0
    assert first["ended_by"] == "rounds"
    assert "failed" not in first
    monkeypatch.setattr(program, "measure", lambda *_: {})
    monkeypatch.setattr(program, "judge", lambda *_: {})
    monkeypatch.setattr(program, "misses", lambda _: [])
    monkeypatch.setattr(program, "show", lambda *_: None)
    assert run(program, monkeypatch, tmp_path, "--batch", "2") == 0
    assert [result["target"][-2:] for result in found(tmp_path)] == ["b1", "b2"]


def test_results_of_another_gpu_or_driver_are_not_kept(program: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({"gpu": GPU.to_json(), "results": [{"target": "a"}, {"target": "b"}]}))
    assert program.earlier(path, GPU.to_json(), ["a"]) == [{"target": "b"}]
    assert program.earlier(path, {**GPU.to_json(), "driver": "590.0"}, ["a"]) == []
    assert program.earlier(tmp_path / "absent.json", GPU.to_json(), []) == []


def test_what_fails_is_written_down_and_the_next_batch_goes_on(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(*_: Any) -> dict[str, Any]:
        raise DeviceError("cuda:0 cannot be used any more by this process.", "Go on.")

    monkeypatch.setattr(program, "overhead", lost)
    monkeypatch.setattr(program, "measure", lost)
    assert run(program, monkeypatch, tmp_path, "--batch", "1,64") == 1
    results = found(tmp_path)
    assert [sorted(result["failed"]) for result in results] == [["fits", "measurements", "overhead"]] * 2
    assert all(result["missed"] == list(program.BARS) for result in results)
    said = capsys.readouterr()
    assert "the measurements failed: DeviceError: cuda:0 cannot be used" in said.out
    assert "Traceback" in said.err


def test_without_xgboost_a_block_that_failed_costs_no_fit(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    visit, failing, anchors = GpuAgent._measured, set[str](), set[str]()

    def measured(agent: GpuAgent, batch: VisitBatch, asked: Visit) -> Any:
        if asked.role == Role.ANCHOR:
            anchors.add(asked.key)
        elif asked.role == Role.BLOCK and not failing and asked.key not in anchors:
            failing.add(asked.key)
        if asked.key in failing:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return visit(agent, batch, asked)

    monkeypatch.setattr(GpuAgent, "_measured", measured)
    monkeypatch.setattr(program, "has_xgboost", lambda: False)
    assert run(program, monkeypatch, tmp_path, "--batch", "1") == 0
    (only,) = found(tmp_path)
    assert set(only["errors"]) == failing
    assert only["things"]["block"] == 56
    assert only["fits"]["device"]["filling"] == "linear_block_model"
    assert only["fits"]["device"]["held_out"]["networks"] == 3


def test_what_was_measured_before_the_program_is_told_to_end_is_judged(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    visit = GpuAgent._visit

    def told_to_end(agent: GpuAgent, batch: VisitBatch, asked: Visit) -> Any:
        if batch.round == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return visit(agent, batch, asked)

    monkeypatch.setattr(GpuAgent, "_visit", told_to_end)
    assert run(program, monkeypatch, tmp_path, "--batch", "1,2", "--rounds", "2") == program.INTERRUPTED
    (only,) = found(tmp_path)
    assert (only["ended_by"], only["rounds_begun"]) == ("interrupted", 2)
    assert only["fits"]["device"]["held_out"]["networks"] == 3


def test_batches_share_the_seconds(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program.time, "monotonic", lambda: 100.0)
    allowance = program.Allowance(100.0 + 600, 2)
    assert allowance.share_s() == 300 - program.SECONDS_TO_JUDGE
    allowance.batches -= 1
    assert allowance.share_s() == 600 - program.SECONDS_TO_JUDGE
    assert program.Allowance(0.0, 1).share_s() == 20.0
