"""The order in which CUDA is asked for events, graphs and memory, on a stand-in of ``torch.cuda`` with its own time."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from fleetfront.errors import DeviceError
from fleetfront.profilers.gpu.stopwatch import CudaStopwatch

torch = pytest.importorskip("torch")


class FakeCuda:
    """One stream whose time is milliseconds of queued work; ``said`` is what was asked, in order."""

    def __init__(self) -> None:
        self.ms, self.said, self.current = 0.0, list[str](), "default"
        self.fails: Exception | None = None

    def work(self, ms: float) -> None:
        assert self.current == "side", "work outside of the stopwatch's stream"
        self.said.append(f"work {ms:g}")
        self.ms += ms

    def install(self, patch: pytest.MonkeyPatch) -> None:
        cuda = self

        class Event:
            def __init__(self, enable_timing: bool = False) -> None:
                assert enable_timing
                self.at = -1.0

            def record(self, stream: Any) -> None:
                assert stream.name == "side"
                self.at = cuda.ms

            def elapsed_time(self, end: "Event") -> float:
                assert cuda.said[-1] == "synchronize stream", "an event was read before it happened"
                return end.at - self.at

        @contextmanager
        def stream(side: Any) -> Iterator[None]:
            before, cuda.current = cuda.current, side.name
            try:
                yield
            finally:
                cuda.current = before

        @contextmanager
        def graph(captured: Any, pool: Any, stream: Any) -> Iterator[None]:
            cuda.said.append("capture")
            begun, before, cuda.current = cuda.ms, cuda.current, stream.name
            captured.owner = captured if pool is None else pool
            # As in torch: what is raised in here leaves the stream current.
            yield
            captured.ms, cuda.ms, cuda.current = cuda.ms - begun, begun, before

        class Graph:
            ms = 0.0
            owner: Any = None

            def pool(self) -> Any:
                return self.owner

            def replay(self) -> None:
                cuda.work(self.ms)

        def synchronize(_: Any) -> None:
            if cuda.fails is not None:
                raise cuda.fails

        side = SimpleNamespace(name="side", synchronize=lambda: cuda.said.append("synchronize stream"))
        replaced = {
            "Event": Event,
            "stream": stream,
            "graph": graph,
            "CUDAGraph": Graph,
            "Stream": lambda device: side,
            "set_device": lambda device: cuda.said.append(f"device {device}"),
            "synchronize": synchronize,
            "empty_cache": lambda: cuda.said.append("empty cache"),
            "get_device_properties": lambda device: SimpleNamespace(L2_cache_size=1024),
        }
        for name, value in replaced.items():
            patch.setattr(torch.cuda, name, value)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    fake.install(monkeypatch)
    return fake


def test_laps_are_queued_first_and_read_after_one_wait(cuda: FakeCuda) -> None:
    watch = CudaStopwatch(0)
    laps = watch.laps_ns([lambda: cuda.work(1.5), lambda: cuda.work(0.25)])
    assert laps == [1_500_000, 250_000]
    assert cuda.said == ["device cuda:0", "work 1.5", "work 0.25", "synchronize stream"]


def test_what_lies_between_laps_is_not_in_them(cuda: FakeCuda) -> None:
    watch = CudaStopwatch(0)
    laps = watch.laps_ns([lambda: cuda.work(1.0)] * 3, lambda: cuda.work(7.0))
    assert laps == [1_000_000] * 3


def test_captured_work_replays_on_the_same_stream(cuda: FakeCuda) -> None:
    watch = CudaStopwatch(0)
    watch.run(lambda: cuda.work(2.0))

    def both() -> None:
        cuda.work(2.0)
        cuda.work(3.0)

    replay = watch.capture(both)
    assert cuda.ms == 2.0
    assert watch.laps_ns([replay, replay]) == [5_000_000, 5_000_000]


def test_captures_of_one_program_share_memory(cuda: FakeCuda) -> None:
    watch = CudaStopwatch(0)
    first = watch.capture(lambda: cuda.work(1.0))
    second = watch.capture(lambda: cuda.work(1.0), first)
    other = watch.capture(lambda: cuda.work(1.0))
    pools = [replay.__self__.pool() for replay in (first, second, other)]  # type: ignore[attr-defined]
    assert pools[0] is pools[1]
    assert pools[0] is not pools[2]


def test_a_failed_capture_leaves_no_stream_behind(cuda: FakeCuda) -> None:
    watch = CudaStopwatch(0)

    def fails() -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="capturing"):
        watch.capture(fails)
    assert cuda.current == "default"


def test_the_flushed_buffer_is_larger_than_the_cache(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def empty(size: int, **_: Any) -> Any:
        sizes.append(size)
        return SimpleNamespace(zero_=lambda: None)

    monkeypatch.setattr(torch, "empty", empty)
    watch = CudaStopwatch(0)
    watch.flush()
    watch.flush()
    assert sizes == [2048]


def test_full_memory_is_told_from_a_lost_device(cuda: FakeCuda) -> None:
    watch = CudaStopwatch(0)
    assert watch.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."))
    assert not watch.is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    watch.recover()
    assert cuda.said[-1] == "empty cache"
    cuda.fails = RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")
    with pytest.raises(DeviceError, match="illegal memory access was encountered"):
        watch.recover()
