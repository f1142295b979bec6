"""Open several processes of this machine, or a Dask cluster, and judge accuracies there; each loads weights and images
once.

Answers come in the order of the questions, so a search finds the same fronts whoever computes.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fleetfront.datasets import Split
from fleetfront.errors import DeviceError, FileError, InputError, missing

if TYPE_CHECKING:
    from fleetfront.predictors.accuracy.supernet import SupernetAccuracy
    from fleetfront.spaces.base import Genotypes

T = TypeVar("T")

#: More processes than this on one machine are taken for a slip.
MOST_WORKERS = 256
#: Seconds within which a scheduler has to answer.
_ANSWERS_IN_S = 20
_WRITE = "Write --workers 4 for processes of this machine, or --workers dask://HOST:PORT (tls://HOST:PORT with TLS)."
#: Seconds between two looks whether the program that wants the answers is still there.
_LOOK_S = 2.0
_OPENING = threading.Lock()
#: Kinds of accuracy that take time; besides, the function of a space's own file.
_BY_WORKERS = ("supernet", "call")


@dataclass(frozen=True, slots=True)
class Workers:
    """Where accuracies are judged and files written: by so many ``processes``, which ``executor`` hands the work, here
    or elsewhere.
    """

    processes: int = 1
    executor: Executor | None = None
    is_elsewhere: bool = False
    #: What ``executor`` raises where a worker, or the way to it, is lost.
    losses: tuple[type[Exception], ...] = (BrokenExecutor,)
    #: Puts an argument that many calls of ``map`` have in common where they find it, and gives what to name it by.
    share: Callable[[Any], Any] = lambda value: value

    def start(self) -> None:
        """Start all processes of this machine now. One that is started while another dies is waited for in vain."""
        if self.executor is not None and not self.is_elsewhere:
            with _deaf():
                for _ in range(self.processes):
                    self.executor.submit(os.getpid)

    def map(self, work: Callable[..., T], *arguments: Sequence[Any]) -> Iterator[T]:
        """``work`` of each, in their order, here where there is no executor.

        Raises DeviceError where a worker ended, or its cluster, and what ``work`` raises.
        """
        if self.executor is None:
            yield from map(work, *arguments)
            return
        try:
            yield from self.executor.map(work, *arguments)
        except self.losses as error:
            if self.is_elsewhere:
                raise DeviceError(
                    f"The cluster lost what it was given ({type(error).__name__}: {_first_line(error)}).",
                    "Look at its workers' memory and logs; the same command goes on.",
                ) from error
            raise DeviceError(
                f"A process of --workers {self.processes} ended; the memory may not suffice for so many.",
                "The same command goes on; give it fewer --workers.",
            ) from error

    def check_used(self, accuracy: str, has_own: bool) -> None:
        """Raise InputError if nothing of an ``--accuracy`` is computed by workers; ``has_own``: by a space's file."""
        kind = accuracy.partition(":")[0]
        if self.processes > 1 and kind not in _BY_WORKERS and not (kind == "built-in" and has_own):
            raise InputError(
                f"--accuracy {accuracy} answers at once: there is nothing for --workers to do.",
                "Leave them out, or give --accuracy supernet:WEIGHTS or call:FILE.py:FUNCTION.",
            )
        if self.is_elsewhere and kind != "supernet":
            raise InputError(
                f"A cluster judges networks of --accuracy supernet:WEIGHTS alone, not {accuracy}.",
                "A function of your own runs in processes of this machine: --workers 4.",
            )


@dataclass(frozen=True, slots=True)
class Job:
    """Weights and images that a worker loads, as a user spells them; ``fingerprint`` is of both."""

    weights: str
    space: str
    images: str
    fingerprint: str


@contextmanager
def open_workers(spelled: int | str, *, accuracy: str = "supernet:", trusts_network: bool = False) -> Iterator[Workers]:
    """The workers of ``--workers``, which end with the block.

    Args:
        spelled: a number, ``dask://HOST:PORT`` or ``tls://HOST:PORT``.
        accuracy: what they are to judge; a cluster judges ``supernet:`` alone.
        trusts_network: a scheduler beyond this machine may be spoken to without TLS.

    Raises:
        InputError: another spelling, a scheduler elsewhere without TLS, an accuracy that a cluster cannot judge.
        MissingDependency: ``distributed`` is not installed.
        DeviceError: no scheduler answers.
    """
    text = str(spelled)
    if re.fullmatch("[+-]?[0-9]+", text):
        if not (len(text) < 9 and 1 <= int(text) <= MOST_WORKERS):
            raise InputError(f"--workers {text[:80]} is not between 1 and {MOST_WORKERS}.", _WRITE)
        yield from _processes(int(text))
        return
    found = re.fullmatch(r"(dask|tls)://(\[[0-9a-fA-F:]+\]|[\w.-]+):([0-9]{1,5})", text)
    if found is None:
        raise InputError(f"--workers {text[:80]} is neither a number nor a scheduler's address.", _WRITE)
    Workers(is_elsewhere=True).check_used(accuracy, False)
    scheme, host, port = found.groups()
    if scheme == "dask" and not trusts_network and not _is_this_machine(host.strip("[]")):
        raise InputError(
            f"Whoever reads along between here and {host} can change what the workers of {text} run.",
            "Use a scheduler with TLS, tls://HOST:PORT, or say --trust-network where nobody else is on the way.",
        )
    yield from _cluster(f"{'tcp' if scheme == 'dask' else 'tls'}://{host}:{port}")


def judge(job: Job, split: str, genes: tuple[int, ...]) -> tuple[int, int]:
    """Correct answers and images of one network, in whatever process this runs.

    Raises FileError where weights or images are not those that ``job`` was made of.
    """
    import numpy as np

    # A worker of a cluster may have several threads, which would each load all of it.
    with _OPENING:
        opened = _opened(job, Split(split))
    return opened.evaluate(np.array(genes, np.int8))


def spread(job: Job, workers: Workers, genotypes: Genotypes, split: Split) -> Iterator[tuple[int, int]]:
    """``judge`` of each of int8[n, v], in their order, by workers that have an executor.

    Raises:
        DeviceError: a worker ended, or its cluster.
        InputError: what a worker refused with.
    """
    rows = [tuple(map(int, row)) for row in genotypes]
    yield from workers.map(judge, [job] * len(rows), [split.value] * len(rows), rows)


@functools.lru_cache(maxsize=4)
def _opened(job: Job, split: Split) -> SupernetAccuracy:
    from fleetfront.pipelines.supernet_accuracy import open_supernet
    from fleetfront.spaces.catalogue import load_space
    from fleetfront.spaces.supernet.memory import keep_memory

    keep_memory()
    model = open_supernet(job.weights, load_space(job.space), job.images)
    if model.fingerprint != job.fingerprint:
        raise FileError(
            f"{job.weights} or {job.images} holds something else for a worker than where the search runs.",
            "Give the workers the same files at the same places, and search again.",
        )
    return model.on(split)


def _processes(count: int) -> Iterator[Workers]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    if count == 1:
        yield Workers()
        return
    # torch has threads by now, which a forked process would wait for in vain.
    with _deaf():
        pool = ProcessPoolExecutor(count, get_context("spawn"), _begin, (os.getpid(),))
    try:
        yield Workers(count, pool)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Inside, Ctrl-C waits; processes that are started are deaf to it until ``_begin``, or it would end their imports
    with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int) -> None:
    """Leave Ctrl-C to the program that asks, and end with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(0)

    threading.Thread(target=look, daemon=True).start()


def _cluster(address: str) -> Iterator[Workers]:
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise missing("distributed", "cluster", "A Dask cluster for --workers") from error
    try:
        client: Any = Client(address, timeout=_ANSWERS_IN_S, set_as_default=False)
    except TypeError as error:
        raise InputError(
            f"Dask has no certificates for {address} ({_first_line(error)}).",
            "Name them in Dask's configuration: distributed.comm.tls.ca-file, and cert and key of the client.",
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise DeviceError(
            f"No Dask scheduler answers at {address} ({_first_line(error)}).", "Start one: dask scheduler"
        ) from error
    executor = client.get_executor(pure=False, retries=1)
    try:
        threads = sum(client.nthreads().values())
        if not threads:
            raise DeviceError(f"The scheduler at {address} has no workers.", f"Start some: dask worker {address}")
        share = functools.partial(client.scatter, broadcast=True, hash=False)
        yield Workers(threads, executor, True, (BrokenExecutor, CancelledError, OSError, KilledWorker), share)
    finally:
        with suppress(OSError, RuntimeError):
            executor.shutdown(wait=False)
            client.close()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _first_line(error: Exception) -> str:
    lines: Sequence[str] = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
