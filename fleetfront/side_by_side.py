"""Run work in threads of one process side by side: they take turns at this machine, and each hears of Ctrl-C.

Who writes files, sets numbers of threads or redirects output does so for the whole process. So one thread works at a
time, and steps aside while its device does. Outside of such threads everything here is as if there were no others.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import FrameType
from typing import TypeVar, cast

#: Python raises an exception of another thread between two steps only: waits are made of short ones.
_STEP_S = 0.1
_LOOK_S = 1.0

T = TypeVar("T")


class _Crew:
    """Things that the threads share."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.made: dict[object, object] = {}


class _Strand:
    """One thread among several."""

    def __init__(self, crew: _Crew) -> None:
        self.crew = crew
        self.waited_s = 0.0
        self._lock = threading.Lock()
        self._first: Callable[[], None] | None = None
        self._thread: int | None = None
        self._has_turn = False

    def run(self, work: Callable[[], None]) -> None:
        _STRAND.set(self)
        with contextlib.suppress(KeyboardInterrupt):
            try:
                self._thread = threading.get_ident()
                self.take_turn()
                work()
            finally:
                with self._lock:
                    self._thread = None
                self.give_turn()

    def take_turn(self) -> None:
        begun = time.monotonic()
        while not self._has_turn:
            self._has_turn = self.crew.turn.acquire(timeout=_STEP_S)
        self.waited_s += time.monotonic() - begun

    def give_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self.crew.turn.release()

    def interrupt(self) -> None:
        """Have the thread hear of a Ctrl-C. Called in the main thread."""
        with self._lock:
            first, self._first = self._first, None
            if first is None and self._thread is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(KeyboardInterrupt)
                )
        if first is not None:
            first()

    @contextlib.contextmanager
    def hearing(self, first: Callable[[], None] | None) -> Iterator[None]:
        with self._lock:
            before, self._first = self._first, first
        try:
            yield
        finally:
            with self._lock:
                self._first = before


_STRAND: ContextVar[_Strand | None] = ContextVar("strand", default=None)


def run_side_by_side(works: Sequence[Callable[[], None]]) -> bool:
    """Run each in a thread of its own and wait for all; whether there was a Ctrl-C meanwhile.

    Each hears of every Ctrl-C, as ``on_interrupt`` says, else as a KeyboardInterrupt, which may end it.
    """
    crew, was_interrupted = _Crew(), False
    strands = [_Strand(crew) for _ in works]

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal was_interrupted
        was_interrupted = True
        for strand in strands:
            strand.interrupt()

    threads = [threading.Thread(target=strand.run, args=(work,)) for strand, work in zip(strands, works, strict=True)]
    with _handling(interrupt if callable(signal.getsignal(signal.SIGINT)) else None):
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                # A signal that the system hands to another thread is heard after this step.
                thread.join(_LOOK_S)
    return was_interrupted


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Inside, this thread waits for a device, and others may work. Who is interrupted needs no turn any more."""
    strand = _STRAND.get()
    if strand is None:
        yield
        return
    strand.give_turn()
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        strand.take_turn()
        raise
    strand.take_turn()


def working_s() -> float:
    """Seconds of a clock that stands still while this thread waits for its turn."""
    strand = _STRAND.get()
    return time.monotonic() - (0.0 if strand is None else strand.waited_s)


def made_once(what: object, make: Callable[[], T], is_good: Callable[[T], bool]) -> T:
    """The result of ``make``, of which threads side by side make one for equal ``what``, as long as it ``is_good``."""
    strand = _STRAND.get()
    if strand is None:
        return make()
    made = strand.crew.made
    if what not in made or not is_good(cast(T, made[what])):
        made[what] = make()
    return cast(T, made[what])


def pause(seconds: float) -> None:
    """Sleep, but for Ctrl-C."""
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        time.sleep(left_s if _STRAND.get() is None else min(left_s, _STEP_S))


@contextlib.contextmanager
def on_interrupt(first: Callable[[], None] | None) -> Iterator[None]:
    """Inside, the first Ctrl-C calls ``first`` and does nothing else, later ones raise KeyboardInterrupt.

    With None the first does, too, whatever holds outside. Elsewhere than in the main thread or side by side, nothing
    changes; nor where Ctrl-C is ignored and there is no ``first``.
    """
    strand = _STRAND.get()
    if strand is not None:
        with strand.hearing(first):
            yield
        return
    if threading.current_thread() is not threading.main_thread():
        # Python lets only the main thread choose what a signal does.
        yield
        return

    def heard(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if first is not None:
            first()

    is_heard = first is not None or callable(signal.getsignal(signal.SIGINT))
    at_once = signal.default_int_handler if first is None else heard
    with _handling(at_once if is_heard else None):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], object] | None) -> Iterator[None]:
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
