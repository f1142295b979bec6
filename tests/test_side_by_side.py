"""Threads that take turns, step aside for a device, and hear of Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from fleetfront.side_by_side import aside, made_once, on_interrupt, pause, run_side_by_side, working_s


def test_one_works_at_a_time_and_devices_work_at_once() -> None:
    at_work: set[int] = set()
    most_at_work, both_aside = [0], threading.Barrier(2, timeout=10)

    def work() -> None:
        for _ in range(3):
            at_work.add(threading.get_ident())
            most_at_work[0] = max(most_at_work[0], len(at_work))
            time.sleep(0.01)
            at_work.discard(threading.get_ident())
            with aside():
                both_aside.wait()

    assert run_side_by_side([work, work]) is False
    assert most_at_work == [1]
    assert not both_aside.broken


def test_waiting_for_a_turn_is_no_working_time() -> None:
    took: list[float] = []

    def work() -> None:
        with aside():
            pass
        begun = working_s()
        with aside():
            time.sleep(0.01)
        time.sleep(0.05)
        took.append(working_s() - begun)

    run_side_by_side([work] * 6)
    # The last of six waits for five others' 0.05 s.
    assert max(took) < 0.2


def test_what_threads_need_is_made_by_one_of_them() -> None:
    made: list[int] = []

    def work() -> None:
        assert made_once("plan", lambda: made.append(1) or len(made), lambda one: one == 2) > 0  # type: ignore[func-returns-value]

    run_side_by_side([work] * 4)
    assert len(made) == 2, "the first was no good, the second served all others"
    assert made_once("plan", lambda: 7, lambda _: True) == 7
    assert made_once("plan", lambda: 8, lambda _: True) == 8


@pytest.mark.usefixtures("hearing_ctrl_c")
def test_each_hears_of_ctrl_c() -> None:
    noted, ended, ready = [], [], threading.Barrier(3, timeout=10)

    def finishes_first() -> None:
        is_over = threading.Event()
        with aside(), on_interrupt(is_over.set):
            ready.wait()
            assert is_over.wait(10)
            noted.append("finished")

    def waits() -> None:
        # As a device that cools down within a campaign.
        try:
            with aside(), on_interrupt(lambda: noted.append("wrong")), on_interrupt(None):
                ready.wait()
                pause(30)
        except KeyboardInterrupt:
            ended.append("waiting")

    def press() -> None:
        ready.wait()
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=press).start()
    begun = time.monotonic()
    assert run_side_by_side([finishes_first, waits]) is True
    assert (noted, ended) == (["finished"], ["waiting"])
    assert time.monotonic() - begun < 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("hearing_ctrl_c")
def test_ctrl_c_ends_a_wait_at_once() -> None:
    noted: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), on_interrupt(None):
            signal.raise_signal(signal.SIGINT)
        assert noted == []
        # Afterwards it is the outer one's again.
        signal.raise_signal(signal.SIGINT)
        assert noted == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with on_interrupt(None):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, previous)
