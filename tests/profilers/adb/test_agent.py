"""The whole way from a batch to measurements through a genuine adb daemon: runner, cores, heat, leaving as found."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.agent import AdbAgent, AgentOptions, keep_awake
from fleetfront.profilers.adb.facts.conditions import Cooling
from fleetfront.profilers.adb.open_agent import adb_target, connect
from fleetfront.profilers.base import Agent, VisitBatch
from fleetfront.profilers.records import Measurement, Role, measurement_uuid
from fleetfront.quantities import Clock
from tests.adbd.fixtures import GETPROP, as_phone


def rows_of(agent: AdbAgent, batch: VisitBatch) -> list[tuple[Measurement, ...]]:
    return list(agent.run(batch))


def test_raw_nanoseconds_of_every_run_under_both_clocks(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent: Agent = open_agent(daemon.address)
    batch = make_batch(agent.target, 12, timed_runs=5)  # type: ignore[attr-defined]
    visits = list(agent.run(batch))
    assert len(visits) == 12
    for visit, rows in zip(batch.visits, visits, strict=True):
        assert [row.clock for row in rows] == [Clock.WALL, Clock.THREAD_CPU]
        for row in rows:
            assert row.uuid == measurement_uuid(visit.uuid, row.clock)
            assert (row.error, row.role, row.key, row.flags) == (None, Role.BLOCK, visit.key, ())
            assert len(row.samples) == 5
            assert all(0 < sample < 1e9 for sample in row.samples)
            assert row.after["open_ns"] > 0
            assert row.after["visit_ns"] >= row.after["open_ns"] + row.after["first_ns"]
            assert {"others_ns", "online_cores"} <= row.before.keys() & row.after.keys()
    started = [rows[0].started_ns for rows in visits]
    assert started == sorted(started)


def test_the_device_describes_itself_the_same_every_time(daemon: Any, open_agent: Callable[..., AdbAgent]) -> None:
    first, second = open_agent(daemon.address).describe(), open_agent(daemon.address).describe()
    assert first == second
    assert first["abi"] == "x86_64"
    assert first["runner"] == "fleetfront-runner"
    assert first["runtime_version"].startswith("ai-edge-litert ")
    assert first["cores"] == "all"


def test_the_mask_is_what_the_runner_runs_on(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    for mask in ("1", "2"):
        agent = open_agent(daemon.address, cores=mask)
        ((row, _),) = rows_of(agent, make_batch(agent.target, 1))
        assert row.after["mask"] == mask
        assert row.before["cores"] == mask
        agent.close()
    with pytest.raises(InputError, match="not online"):
        open_agent(daemon.address, cores="8000000000000000")


def test_two_threads_have_wall_time_only(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    target = adb_target(f"adb:{daemon.address}", threads=2)
    agent = open_agent(daemon.address, target=target)
    assert agent.clocks == (Clock.WALL,)
    ((row,),) = rows_of(agent, make_batch(target, 1))
    assert row.clock == Clock.WALL
    assert row.error is None


def test_a_broken_model_costs_its_own_row(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], models: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    agent = open_agent(daemon.address)
    batch = make_batch(agent.target, 6)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(os.urandom(1000))
    files = {**batch.files, batch.visits[1].file: str(broken)}
    visits = rows_of(agent, VisitBatch(batch.target, "s", "c", 0, batch.visits, files))
    errors = [rows[0].error for rows in visits]
    assert [error is not None for error in errors] == [i % 3 == 1 for i in range(6)]
    assert "LiteRt" in str(errors[1])
    assert visits[1][0].samples == ()


def test_the_device_is_left_as_it_was_found(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    temporary = daemon.data / "local" / "tmp"
    agent = open_agent(daemon.address)
    assert list(temporary.iterdir()) == []
    rows_of(agent, make_batch(agent.target, 2))
    assert len(list(temporary.glob("fleetfront-*/models/*"))) == 2
    assert (temporary / "fleetfront.lock").is_dir()
    agent.close()
    assert list(temporary.iterdir()) == []
    assert daemon.is_free_of("session.sh")


def test_stopping_inside_a_batch_stops_the_device(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(daemon.address)
    running = agent.run(make_batch(agent.target, 500, timed_runs=200))
    next(running)
    running.close()
    assert daemon.is_free_of("fleetfront-runner")
    assert len(rows_of(agent, make_batch(agent.target, 2))) == 2


def test_two_commands_do_not_measure_one_device(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    first, second = open_agent(daemon.address), open_agent(daemon.address)
    rows_of(first, make_batch(first.target, 1))
    with pytest.raises(DeviceError, match="already being measured by process"):
        rows_of(second, make_batch(second.target, 1))
    first.close()
    assert len(rows_of(second, make_batch(second.target, 1))) == 1


def test_two_spellings_of_one_device_are_one_device(
    make_daemon: Callable[..., Any], open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    here, other = make_daemon(), make_daemon()
    first, second, third = (
        open_agent(name) for name in (here.address, f"localhost:{here.port}", f"localhost:{other.port}")
    )
    rows_of(first, make_batch(first.target, 1))
    with pytest.raises(DeviceError, match="under another name, is already being measured by process"):
        rows_of(second, make_batch(second.target, 1))
    assert len(rows_of(third, make_batch(third.target, 1))) == 1
    # Refused, it has not ended what the first one runs there.
    assert len(rows_of(first, make_batch(first.target, 1))) == 1
    first.close()
    assert len(rows_of(second, make_batch(second.target, 1))) == 1


def test_a_second_batch_pushes_nothing_again(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(daemon.address)
    rows_of(agent, make_batch(agent.target, 3))
    (folder,) = (daemon.data / "local" / "tmp").glob("fleetfront-*")
    before = {path.name: path.stat().st_ctime_ns for path in (folder / "models").iterdir()}
    rows_of(agent, make_batch(agent.target, 3, round=1))
    assert {path.name: path.stat().st_ctime_ns for path in (folder / "models").iterdir()} == before


def test_the_same_through_a_real_adb_server(
    adb_server: int, daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(daemon.address)
    visits = rows_of(agent, make_batch(agent.target, 6))
    assert [rows[0].error for rows in visits] == [None] * 6
    assert visits[0][0].before["route"].startswith("adb server")


def test_a_phone_with_benchmark_model_gives_what_was_printed(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(phone.address)
    facts = agent.describe()
    assert (facts["model"], facts["runner"], len(facts["runner_sha256"])) == ("Fake Phone", "benchmark_model", 64)
    ((row,), (_,)) = rows_of(agent, make_batch(agent.target, 2, timed_runs=25))
    assert row.error is None
    assert row.clock == Clock.WALL
    assert row.samples == (140_071_000,)
    assert row.flags == ("summary",)
    assert row.after["printed"]["median"] == "141253"
    assert row.after["printed"]["count"] == "25"
    assert row.before["thermal_status"] == row.after["thermal_status"] == 0
    assert (row.before["hottest_c"], row.before["battery_percent"], row.before["screen_found"]) == (31.5, 87, "Asleep")
    assert row.before["is_screen_on"] is row.after["is_screen_on"] is True
    assert row.after["battery_c"] == 31.2
    assert {name: row.before[name] for name in ("model", "system", "runner_sha256")} == {
        name: facts[name] for name in ("model", "system", "runner_sha256")
    }
    asked = (phone.data / "asked").read_text().splitlines()[0]
    for flag in ("--num_runs=25", "--warmup_runs=1", "--num_threads=1", "--min_secs=0"):
        assert flag in asked


def test_a_phone_is_kept_awake_and_left_as_found(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(phone.address)
    rows_of(agent, make_batch(agent.target, 1))
    assert (phone.data / "stay_on").read_text() == "7\n"
    assert (phone.data / "keys").read_text() == "224\n"
    agent.close()
    assert (phone.data / "stay_on").read_text() == "0\n"
    assert (phone.data / "keys").read_text() == "224\n223\n"


def test_a_phone_is_restored_after_ctrl_c_while_it_is_prepared(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def interrupted(*arguments: Any) -> None:
        keep_awake(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("fleetfront.profilers.adb.agent.keep_awake", interrupted)
    agent = open_agent(phone.address)
    with pytest.raises(KeyboardInterrupt):
        rows_of(agent, make_batch(agent.target, 1))
    assert (phone.data / "stay_on").read_text() == "7\n"
    agent.close()
    assert (phone.data / "stay_on").read_text() == "0\n"
    assert list((phone.data / "local" / "tmp").iterdir()) == []


def test_a_phone_whose_cable_was_pulled_restores_itself(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(phone.address)
    rows_of(agent, make_batch(agent.target, 1))
    phone.kill()
    assert phone.is_free_of("session.sh")
    assert (phone.data / "stay_on").read_text() == "0\n"
    assert (phone.data / "keys").read_text() == "224\n223\n"
    agent.close()


def test_a_phone_whose_script_is_gone_is_restored_all_the_same(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(phone.address)
    rows_of(agent, make_batch(agent.target, 1))
    for pid in phone.running("session.sh"):
        os.kill(pid, signal.SIGKILL)
    agent.close()
    assert (phone.data / "stay_on").read_text() == "0\n"
    assert list((phone.data / "local" / "tmp").iterdir()) == []


def test_a_phone_that_restarted_meanwhile_is_restored_by_the_next_command(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agent = open_agent(phone.address)
    rows_of(agent, make_batch(agent.target, 1))
    phone.stop()
    agent.close()
    assert (phone.data / "stay_on").read_text() == "7\n"
    phone.start()
    again = open_agent(phone.address)
    rows_of(again, make_batch(again.target, 1))
    again.close()
    assert (phone.data / "stay_on").read_text() == "0\n"
    assert list((phone.data / "local" / "tmp").iterdir()) == []


def test_a_delegate_without_proof_is_an_error_row(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    target = adb_target(f"adb:{phone.address}", runtime="tflite-gpu")
    ((row,),) = rows_of(open_agent(phone.address, target=target), make_batch(target, 1))
    assert "GPU delegate was applied" in str(row.error)
    assert row.samples == ()
    assert "--use_gpu=true --gpu_precision_loss_allowed=false" in (phone.data / "asked").read_text()


def test_another_number_of_threads_than_asked_is_an_error_row(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    text = (phone.data / "output").read_text()
    (phone.data / "output").write_text(text.replace("Num threads: [1]", "Num threads: [4]"))
    agent = open_agent(phone.address)
    ((row,),) = rows_of(agent, make_batch(agent.target, 1))
    assert "used 4 threads, not 1" in str(row.error)


def test_two_devices_are_measured_at_once(
    make_daemon: Callable[..., Any], open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    agents = [open_agent(make_daemon().address) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda agent: rows_of(agent, make_batch(agent.target, 12)), agents))
    for agent, visits in zip(agents, found, strict=True):
        assert [rows[0].error for rows in visits] == [None] * 12
        assert {rows[0].target for rows in visits} == {agent.target}


def test_a_phone_without_the_program_says_how_to_get_it(daemon: Any, open_agent: Callable[..., AdbAgent]) -> None:
    as_phone(daemon)
    with pytest.raises(InputError, match="no benchmark_model for Fake Phone") as caught:
        open_agent(daemon.address)
    assert "Google has no build for it" in caught.value.remedy
    daemon.install("getprop", GETPROP.replace("echo x86_64", "echo arm64-v8a"))
    with pytest.raises(InputError, match="no benchmark_model for Fake Phone") as caught:
        open_agent(daemon.address)
    assert "fleetfront doctor --fetch-benchmark-model" in caught.value.remedy
    with pytest.raises(InputError, match="needs plain Linux"):
        open_agent(daemon.address, runner="native")


def test_programs_for_another_machine_are_refused(
    daemon: Any, open_agent: Callable[..., AdbAgent], tmp_path: Path
) -> None:
    as_phone(daemon)
    program = tmp_path / "benchmark_model"
    arm = bytearray(Path("/bin/true").read_bytes())
    arm[18:20] = (183).to_bytes(2, "little")
    program.write_bytes(arm)
    with pytest.raises(InputError, match="built for arm64-v8a, but Fake Phone runs x86_64") as caught:
        open_agent(daemon.address, benchmark_model=program)
    assert "--benchmark-model PATH" in caught.value.remedy
    program.write_text("#!/bin/sh\n")
    with pytest.raises(InputError, match="not a program for Android"):
        open_agent(daemon.address, benchmark_model=program)
    with pytest.raises(InputError, match="cannot be read"):
        open_agent(daemon.address, benchmark_model=tmp_path / "missing")


def test_our_runner_refuses_delegates(daemon: Any, open_agent: Callable[..., AdbAgent]) -> None:
    target = adb_target(f"adb:{daemon.address}", runtime="tflite-gpu")
    with pytest.raises(InputError, match="CPU only"):
        open_agent(daemon.address, target=target)
    with pytest.raises(InputError, match="Unknown runtime of a device over ADB 'tflite'"):
        adb_target("adb:x", runtime="tflite")


def test_a_program_that_does_not_start_is_said_to_be_so(
    daemon: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch], tmp_path: Path
) -> None:
    as_phone(daemon)
    agent = open_agent(daemon.address, benchmark_model=Path(os.path.realpath("/bin/true")))
    with pytest.raises(DeviceError, match="benchmark_model does not start") as caught:
        rows_of(agent, make_batch(agent.target, 1))
    assert caught.value.remedy


def test_names_with_odd_characters_become_targets() -> None:
    assert adb_target("adb:adb-R58M (2)._adb-tls-connect._tcp").device == "adb:adb-R58M-2-._adb-tls-connect._tcp"
    assert adb_target("adb:127.0.0.1:5555").device == "adb:127.0.0.1:5555"


def test_the_script_survives_folders_and_names_that_need_quotes(daemon: Any) -> None:
    connection = connect(f"adb:{daemon.address}")
    folder = "/data/local/tmp/a 'quoted' $folder"
    connection.push({f"{folder}/x": b"1"})
    assert connection.shell(f"cat {shlex.quote(folder)}/x").out == "1"
    connection.close()


def test_throttled_visits_are_flagged_kept_and_repeated(
    phone: Any, open_agent: Callable[..., AdbAgent], make_batch: Callable[..., VisitBatch]
) -> None:
    # Cool at first, throttled at the look after the visits, still so at the next look, then cool again.
    (phone.data / "statuses").write_text("0\n2\n2\n0\n0\n")
    options = AgentOptions(cooling=Cooling(poll_s=0.05))
    agent = open_agent(phone.address, options=options)
    batch = make_batch(agent.target, 3)
    visits = list(agent.run(batch))
    assert len(visits) == 3
    for visit, rows in zip(batch.visits, visits, strict=True):
        hot, cool = rows
        assert {"throttled", "repeated"} <= set(hot.flags)
        assert hot.after["thermal_status"] == 2
        assert "throttled" not in cool.flags
        assert cool.uuid == measurement_uuid(visit.uuid, Clock.WALL)
        assert hot.uuid != cool.uuid
