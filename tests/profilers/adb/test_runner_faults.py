"""Faults of what runs on the device: garbage, scripts and visits that end or never do, clocks that go backwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions
from fleetfront.profilers.adb.link.faults import DeviceReplaced
from fleetfront.profilers.adb.open_agent import connect
from fleetfront.profilers.adb.runners import session
from fleetfront.profilers.adb.runners.native import LiteRtRunner
from fleetfront.profilers.base import VisitBatch
from fleetfront.profilers.records import measurement_uuid
from fleetfront.quantities import Clock
from fleetfront.workspace import Workspace
from tests.adbd.fixtures import BENCHMARK_MODEL, GETPROP, as_phone

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
        session.Session(connection, "/data/local/tmp", "sleep 1000", 5.0, "/data/lock", "me")
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
        LiteRtRunner, "command", lambda self, target, mask: f"env LD_PRELOAD=/data/clock.so {plain(self, target, mask)}"
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


FLOOD = BROKEN.format('[ "$1" = --help ] || exec yes flood')
HANG = BROKEN.format('[ "$1" = --help ] || exec sleep 1000')


def test_a_program_that_floods_is_ended_after_some_mebibytes(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    daemon.install("benchmark_model", FLOOD)
    agent = open_agent(daemon.address, runner="benchmark-model")
    running = agent.run(make_batch(agent.target, 9))
    for _ in range(3):
        (row,) = next(running)
        assert "printed more than 16 MiB" in str(row.error)
        assert "flood" in str(row.error)
    with pytest.raises(DeviceError, match="3 visits in a row had to be ended") as caught:
        next(running)
    assert "--benchmark-model PATH" in caught.value.remedy
    assert daemon.is_free_of("yes flood")


def test_a_client_that_dies_beside_a_hung_program_leaves_nothing(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    phone.install("benchmark_model", HANG)
    client = os.fork()
    if client == 0:
        agent = open_agent(phone.address)
        list(agent.run(make_batch(agent.target, 3)))
        os._exit(0)
    while not phone.running("sleep 1000"):
        time.sleep(0.02)
    assert (phone.data / "stay_on").read_text() == "7\n"
    os.kill(client, signal.SIGKILL)
    os.waitpid(client, 0)
    assert phone.is_free_of("sleep 1000")
    assert phone.is_free_of("session.sh")
    assert (phone.data / "stay_on").read_text() == "0\n"
    assert (phone.data / "keys").read_text() == "224\n223\n"
    assert not (phone.data / "local" / "tmp" / "fleetfront.lock").exists()


def test_files_that_vanish_from_the_device_are_put_back(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(daemon.address)
    rows = []
    for number, visit_rows in enumerate(agent.run(make_batch(agent.target, 9))):
        rows += visit_rows
        for folder in (daemon.data / "local" / "tmp").glob("fleetfront-*"):
            # The script may write into the folder while it is removed.
            while number == 5 and folder.exists():
                shutil.rmtree(folder, ignore_errors=True)
            if number == 2:
                shutil.rmtree(folder / "models")
    assert [row.error for row in rows] == [None] * 18


def test_two_homes_share_a_phone_one_after_the_other(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], tmp_path: Path
) -> None:
    here, there = open_agent(phone.address), open_agent(phone.address, workspace=Workspace(tmp_path / "home"))
    batch = make_batch(here.target, 2)
    assert len(list(here.run(batch))) == 2
    with pytest.raises(DeviceError, match="is being measured from elsewhere") as caught:
        list(there.run(make_batch(there.target, 2)))
    assert caught.value.remedy
    there.close()
    # The second has neither wiped nor restored anything of the first.
    assert (phone.data / "stay_on").read_text() == "7\n"
    assert len(list(here.run(make_batch(here.target, 2, round=1)))) == 2
    here.close()
    assert (phone.data / "stay_on").read_text() == "0\n"
    again = open_agent(phone.address, workspace=Workspace(tmp_path / "home"))
    assert len(list(again.run(make_batch(again.target, 2)))) == 2
    again.close()
    assert list((phone.data / "local" / "tmp").iterdir()) == []


def test_one_s_own_script_is_waited_for_while_it_ends(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(phone.address)
    lock = phone.data / "local" / "tmp" / "fleetfront.lock"
    with subprocess.Popen(["bash", "-c", "exec -a session.sh sleep 2"]) as ending:
        lock.mkdir()
        (lock / "owner").write_text(f"{ending.pid} {agent._owner}\n")
        rows = [row for visit_rows in agent.run(make_batch(agent.target, 2)) for row in visit_rows]
        assert [row.error for row in rows] == [None] * 2
        assert ending.poll() is not None, "its script was not waited for"
    agent.close()


def test_another_phone_at_the_same_address_is_refused(
    phone: Any, make_daemon: Callable[..., Any], open_agent: Callable[..., AdbAgent],
    make_batch: Callable[..., VisitBatch],
) -> None:  # fmt: skip
    phone.install("benchmark_model", BENCHMARK_MODEL.replace("cat /data/output", "sleep 0.3; cat /data/output"))
    agent = open_agent(phone.address)
    running = agent.run(make_batch(agent.target, 30))
    first = next(running)
    phone.stop()
    other = make_daemon(port=phone.port)
    as_phone(other)
    other.install("getprop", GETPROP.replace("Phone", "Tablet"))
    with pytest.raises(DeviceReplaced, match=r"Fake Tablet.*not Fake Phone"):
        first += tuple(row for rows in running for row in rows)
    assert {row.before["model"] for row in first} == {"Fake Phone"}
    # What another command of ours may have there is left alone.
    theirs = other.data / "local" / "tmp" / agent._folder.rpartition("/")[2]
    theirs.mkdir()
    agent.close()
    assert list((other.data / "local" / "tmp").iterdir()) == [theirs]


@pytest.fixture
def install_c(shared_data: Path) -> Callable[[Any, str], None]:
    """Compile one of ``cases/phones`` and give it to a device as its benchmark_model."""

    def install(daemon: Any, name: str) -> None:
        program = daemon.data.parent / "system" / "bin" / "benchmark_model"
        program.unlink(missing_ok=True)
        source = shared_data / "cases" / "phones" / name
        subprocess.run(["cc", "-static", "-w", "-o", str(program), str(source)], check=True)

    return install


def test_benchmark_model_of_litert_2_is_measured_with(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], shared_data: Path,
    install_c: Callable[[Any, str], None],
) -> None:  # fmt: skip
    install_c(phone, "litert2x_benchmark_model.c")
    log = (shared_data / "logs" / "benchmark_model_litert2.x_summary.txt").read_text()
    (phone.data / "newlog.txt").write_text(log)
    agent = open_agent(phone.address)
    ((row,),) = agent.run(make_batch(agent.target, 1))
    assert (row.error, row.samples) == (None, (442_000,))
    assert row.after["printed"]["median"] == "462"
    assert row.after["printed_memory_mb"] == {"Init": 8.94}
    (phone.data / "newlog.txt").write_text(f"WARNING: Unconsumed cmdline flags: --min_secs=0\n{log}")
    ((row,),) = agent.run(make_batch(agent.target, 1, round=1))
    assert "--min_secs=0" in str(row.error)


@pytest.mark.parametrize(
    ("how", "said"), [("hang", "took longer than"), ("crash", "exit code 139"), ("flood", "16 MiB")]
)
def test_a_program_that_hangs_crashes_or_floods(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch],
    install_c: Callable[[Any, str], None], how: str, said: str,
) -> None:  # fmt: skip
    install_c(phone, "hang_bm.c")
    (phone.data / how).write_text("")
    agent = open_agent(phone.address, options=AgentOptions(visit_timeout_s=1.0))
    running = agent.run(make_batch(agent.target, 12))
    for _ in range(3):
        (row,) = next(running)
        assert said in str(row.error)
    if how != "crash":
        with pytest.raises(DeviceError, match="3 visits in a row had to be ended"):
            next(running)
    agent.close()
    assert phone.is_free_of("benchmark_model")
    assert list((phone.data / "local" / "tmp").iterdir()) == []
