"""Tell how time passes on a device: CUDA events and graphs, or the host's clock where programs are rehearsed on a CPU.

What is timed and how often is decided in ``visit_timing``. Importing this loads no torch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, Protocol

from fleetfront.errors import DeviceError, missing

Work = Callable[[], object]

#: The buffer written between samples to flush the L2 cache is this many times as large as it.
_FLUSH_FACTOR = 2
#: Where the driver does not tell the size of the L2 cache: an H100 has 50 MiB, older cards less.
_UNKNOWN_L2_BYTES = 64 << 20


class Stopwatch(Protocol):
    """Runs work on a device and says how long it took there."""

    def now_ns(self) -> int:
        """The host's clock, for limits on warming up and for wall times."""

    def run(self, work: Work) -> None:
        """Put ``work`` on the device's queue; it may still run when this returns."""

    def synchronize(self) -> None:
        """Wait until everything that was queued is done."""

    def capture(self, work: Work, beside: Work | None = None) -> Work:
        """``work`` as something that replays it with one launch. Raises what ``work`` raises.

        ``beside`` is an earlier capture, still in use, that this one may share memory with: the two are never replayed
        at once and nobody reads what they leave behind.
        """

    def laps_ns(self, works: Sequence[Work], between: Work | None = None) -> list[int]:
        """Device nanoseconds of each of ``works``, queued one behind the other; ``between`` runs untimed before each.

        The host queues all before it waits, so a lap holds no launch that another lap hides.
        """

    def flush(self) -> None:
        """Queue work that leaves nothing of earlier work in the device's last cache."""

    def is_out_of_memory(self, error: Exception) -> bool:
        """Tell whether ``error`` says that the device's memory is full."""

    def recover(self) -> None:
        """Free what a failed program left behind. Raises DeviceError if the device cannot be used any more."""


class HostStopwatch:
    """Everything runs at once on the calling thread: rehearsals and tests."""

    def now_ns(self) -> int:
        return perf_counter_ns()

    def run(self, work: Work) -> None:
        work()

    def synchronize(self) -> None:
        return

    def capture(self, work: Work, beside: Work | None = None) -> Work:
        work()
        return work

    def laps_ns(self, works: Sequence[Work], between: Work | None = None) -> list[int]:
        laps = []
        for work in works:
            if between is not None:
                between()
            begun = self.now_ns()
            work()
            laps.append(self.now_ns() - begun)
        return laps

    def flush(self) -> None:
        return

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)

    def recover(self) -> None:
        gc.collect()


class CudaStopwatch:
    """CUDA events around work on one stream of torch's; not the default one, where graphs cannot be captured.

    Written against https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """

    def __init__(self, index: int) -> None:
        """Take the device ``cuda:index``, which exists. Raises MissingDependency without torch."""
        try:
            import torch
        except ImportError as error:
            raise missing("torch", "torch", "Timing on a GPU") from error
        self._torch: Any = torch
        self.device = torch.device("cuda", index)
        torch.cuda.set_device(self.device)
        self.stream: Any = self._torch.cuda.Stream(self.device)
        l2_bytes = int(torch.cuda.get_device_properties(self.device).L2_cache_size) or _UNKNOWN_L2_BYTES
        self._flush_bytes = _FLUSH_FACTOR * l2_bytes
        self._flushed: Any = None

    def now_ns(self) -> int:
        return perf_counter_ns()

    def run(self, work: Work) -> None:
        with self._torch.cuda.stream(self.stream):
            work()

    def synchronize(self) -> None:
        self.stream.synchronize()

    def capture(self, work: Work, beside: Work | None = None) -> Work:
        graph = self._torch.cuda.CUDAGraph()
        pool = None if beside is None else _graph_of(beside).pool()
        # A capture that fails leaves its stream current in torch; the outer block puts the former one back.
        with self._torch.cuda.stream(self.stream), self._torch.cuda.graph(graph, pool=pool, stream=self.stream):
            work()
        replay: Work = graph.replay
        return replay

    def laps_ns(self, works: Sequence[Work], between: Work | None = None) -> list[int]:
        def mark() -> Any:
            event = self._torch.cuda.Event(enable_timing=True)
            event.record(self.stream)
            return event

        with self._torch.cuda.stream(self.stream):
            pairs = []
            begin = mark()
            for work in works:
                if between is not None:
                    between()
                    begin = mark()
                work()
                end = mark()
                pairs.append((begin, end))
                begin = end
        self.synchronize()
        # Events tell milliseconds in steps of about half a microsecond.
        return [round(begin.elapsed_time(end) * 1e6) for begin, end in pairs]

    def flush(self) -> None:
        if self._flushed is None:
            self._flushed = self._torch.empty(self._flush_bytes, dtype=self._torch.int8, device=self.device)
        self._flushed.zero_()

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, self._torch.OutOfMemoryError) or "out of memory" in str(error).lower()

    def recover(self) -> None:
        gc.collect()
        try:
            self._torch.cuda.synchronize(self.device)
            self._torch.cuda.empty_cache()
        except RuntimeError as error:
            # An illegal access or a failed assertion on the device stays until the process ends.
            raise DeviceError(
                f"{self.device} cannot be used any more by this process ({_first_line(error)}).",
                "Leave out what failed last if it fails again.",
            ) from error


def _graph_of(replay: Work) -> Any:
    """The CUDAGraph whose bound method ``replay`` is."""
    graph: Any = getattr(replay, "__self__", None)
    return graph


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
