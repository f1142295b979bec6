"""Faults of what runs on the device: garbage, scripts and visits that end or never do, clocks that go backwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.opening import connect
from fleetfront.profilers.adb.runners import session
from fleetfront.profilers.adb.runners.native import LiteRtRunner
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.records import measurement_uuid
from fleetfront.quantities import Clock

BROKEN = """#!/bin/sh
echo '--graph=...'
{}
"""


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("head -c 3000000 /dev/urandom", "no timings|not understood"),
        ("seq 1 60000", "no timings"),
        ("echo 'count=5 first=1 curr=1 min=0 max=0 avg=0 std=0'", "ends before the summary"),
        ("echo '@end 0 0'; echo '@0 end 0 0'", "no timings"),
        ("kill -9 $$", "exit code 137"),
        ("printf 'no line end'", "no timings"),
    ],
)
def test_garbage_from_a_runner_is_an_error_row(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], program: str, reason: str
) -> None:
    daemon.install("benchmark_model", BROKEN.format(program))
    agent = open_agent(daemon.address, runner="benchmark-model")
    rows = list(agent.run(make_batch(agent.target, 2)))
    assert len(rows) == 2
    for (row,) in rows:
        assert row.samples == ()
        assert any(part in str(row.error) for part in reason.split("|")), row.error


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*real)(clockid_t, struct timespec *);
  static int calls;
  if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
  int status = real(clock, time);
  if (clock == CLOCK_MONOTONIC && ++calls > 8) time->tv_sec -= calls * 100;
  return status;
}
"""


ENDS_THE_SCRIPT = """#!/bin/sh
[ "$1" = --help ] && { echo '--graph=...'; exit 1; }
case $* in *@BAD@*) kill -9 $(cat pid); sleep 1 ;; esac
echo "count=3 first=100 curr=100 min=100 max=100 avg=100 std=0"
echo "Inference timings in us: Init: 100, First inference: 100, Warmup (avg): 100, Inference (avg): 100"
"""


def test_a_visit_that_ends_the_script_costs_its_own_row(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], models: dict[str, Path]
) -> None:
    daemon.install("benchmark_model", ENDS_THE_SCRIPT.replace("@BAD@", list(models)[1]))
    agent = open_agent(daemon.address, runner="benchmark-model")
    batch = make_batch(agent.target, 6)
    rows = {row.uuid: row for (row,) in agent.run(batch)}
    assert set(rows) == {measurement_uuid(visit.uuid, Clock.WALL) for visit in batch.visits}
    for number, visit in enumerate(batch.visits):
        row = rows[measurement_uuid(visit.uuid, Clock.WALL)]
        if number % 3 == 1:
            assert "ended by itself" in str(row.error)
            assert row.samples == ()
        else:
            assert (row.error, row.samples) == (None, (100_000,))


def test_a_script_that_never_answers_is_given_up(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_START_S", 0.3)
    connection = connect(f"adb:{daemon.address}")
    with closing(connection), pytest.raises(session.ScriptEnded, match="no answer within"):
        session.Session(connection, "/data/local/tmp", "sleep 1000", 5.0)
    assert daemon.is_free_of("sleep 1000")


def test_a_clock_that_goes_backwards_is_an_error_row(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "clock.c").write_text(CLOCK)
    library = daemon.data / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "clock.c"), "-ldl"], check=True)
    plain = LiteRtRunner.command
    monkeypatch.setattr(
        LiteRtRunner, "command", lambda self, target, mask: f"LD_PRELOAD=/data/clock.so {plain(self, target, mask)}"
    )
    agent = open_agent(daemon.address)
    ((row,),) = list(agent.run(make_batch(agent.target, 1)))
    assert "went backwards" in str(row.error)
    assert row.samples == ()


def test_a_command_that_is_killed_leaves_nothing_running(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(daemon.address)
    running = agent.run(make_batch(agent.target, 100, timed_runs=50))
    next(running)
    # What the system does to the connections of a process that was killed.
    assert agent._connection is not None
    agent._connection.close()
    assert daemon.is_free_of("session.sh")
    assert daemon.is_free_of("fleetfront-runner")
    running.close()


def test_a_visit_that_never_ends_is_ended(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    daemon.install("benchmark_model", BROKEN.format('[ "$1" = --help ] || sleep 1000'))
    agent = open_agent(
        daemon.address, runner="benchmark-model", options=AgentOptions(visit_timeout_s=0.5, reconnect_s=1.0)
    )
    rows = list(agent.run(make_batch(agent.target, 2)))
    assert ["took longer than" in str(row.error) for (row,) in rows] == [True, True]
    assert daemon.is_free_of("sleep 1000")
