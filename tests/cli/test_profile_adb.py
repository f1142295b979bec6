"""``fleetfront profile`` and ``fleetfront devices`` as a user types them, on Android's own adb daemon."""

from __future__ import annotations

import json
import shlex
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetfront.deploy.formats import FORMATS, int8_writer_of
from fleetfront.deploy.quantise.precisions import WEIGHT_BITS, Piece
from fleetfront.profilers.adb import kind
from fleetfront.profilers.adb.agent import AgentOptions
from fleetfront.profilers.adb.facts.conditions import Cooling
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.supernet.subnets import smallest
from fleetfront.workspace import Workspace
from tests.cli.typed_commands import left_behind, rows_in_store, running, wait_for

pytestmark = pytest.mark.usefixtures("no_adb_server")

#: A small profile of the smallest space; what it says of the device is not looked at.
SMALL = ("--space", "ofa-mbv3-mini", "--calibration", "10", "--validation", "2", "--target-error", "100", "-q")


def test_a_device_is_profiled_as_a_cpu_is(daemon: Any, told: Callable[..., tuple[int, str, str]]) -> None:
    name = f"adb:{daemon.address}"
    code, out, err = told("profile", "--device", name, *SMALL)
    assert code == 0
    assert f"ofa-mbv3-mini on {name}/tflite-cpu/fp32/t1/b1  [measured]" in out
    assert "Verdict:" in err
    assert f"Next: fleetfront search --device {name} --runtime tflite-cpu --space ofa-mbv3-mini" in err
    assert left_behind(daemon) == []
    code, out, _ = told("devices", "--known", "--json")
    rows = [row for row in json.loads(out)["known"] if row["name"] == name]
    assert code == 0
    assert {(row["tier"], row["clock"]) for row in rows} == {("measured", "wall"), ("measured", "thread-cpu")}
    _, out, _ = told("devices", "--known")
    assert "blocks and networks measured (thread-cpu clock)" in out


def test_a_dry_run_tells_and_touches_nothing(daemon: Any, told: Callable[..., tuple[int, str, str]]) -> None:
    command = ("profile", "--device", f"adb:{daemon.address}", "--cores", "1", "--dry-run")
    code, out, err = told(*command, *SMALL, "--json")
    plan = json.loads(out)
    assert (code, plan["schema"]) == (0, "fleetfront.profile-plan/1")
    assert plan["planned"] == {"block": 57, "calibration": 10, "validation": 2}
    # An anchor before every eight of the 69, and at the end.
    assert plan["visits_per_round"] == 69 + 9 + 1
    assert (plan["device"]["cores"], plan["device"]["runner"]) == ("1", "fleetfront-runner")
    assert "removed at the end" in plan["changes"][0]
    assert "without --dry-run" in err
    code, out, _ = told(*command, *SMALL)
    assert code == 0
    assert "57 blocks, 10 calibration networks, 2 validation networks" in out
    assert left_behind(daemon) == []
    assert not Workspace.default().store.exists()


def test_a_dry_run_of_a_phone_says_that_it_is_kept_awake(
    phone: Any, model: str, told: Callable[..., tuple[int, str, str]]
) -> None:
    file = ("--file", model, "--sustained", "10m")
    code, out, _ = told("profile", "--device", f"adb:{phone.address}", *file, "--dry-run", "--json")
    plan = json.loads(out)
    assert (code, plan["file_bytes"], plan["sustained_seconds"]) == (0, Path(model).stat().st_size, 600)
    assert (plan["device"]["model"], plan["device"]["runner"]) == ("Fake Phone", "benchmark_model")
    assert plan["changes"][1] == "kept awake while it measures"
    assert (phone.data / "stay_on").read_text() == "0\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message", "remedy"),
    [
        ("--device adb:127.0.0.1:99999", 2, "the port 99999", "Ports are 1 to 65535"),
        ("--device adb:127.0.0.1:1", 3, "No device answers at 127.0.0.1:1", "Check the address"),
        ("--device adb:@ --runtime litert", 2, "Unknown runtime", "tflite-cpu"),
        ("--device adb:@ --runtime tflite-gpu", 2, "on the CPU only, not tflite-gpu", "--runtime tflite-cpu"),
        ("--device adb:@ --precision fp16", 2, "in fp32, int8, w8 or w4 on tflite-cpu", "--precision fp32"),
        ("--device adb:@ --precision fp16 --dry-run", 2, "not in fp16", "--precision fp32"),
        ("--device adb:@ --cores zz", 2, "'zz' is not a choice of cores", "hexadecimal mask"),
        ("--device adb:@ --cores f00000000000", 2, "cores that are not online", "--cores big"),
        ("--device adb:@ --runner benchmark-model", 2, "no benchmark_model for", "Google has no build for it"),
        ("--device adb:@ --benchmark-model nothing", 2, "nothing cannot be read", "--benchmark-model PATH"),
        ("--device adb:@ --litert-wheel some.whl", 2, "not a wheel of ai-edge-litert", "Give the downloaded .whl"),
        (
            "--device adb:@ --litert-wheel ai_edge_litert-2.2.0-cp311-cp311-manylinux_2_27_x86_64.whl",
            2,
            "not tested with ai-edge-litert 2.2.0",
            "pip install ai-edge-litert==",
        ),
        ("--device adb:@ --cooldown soon", 2, "'soon' is not a duration", "10m"),
        ("--device adb:@ --file missing.tflite", 2, "missing.tflite cannot be read", "Give the path"),
        ("--device adb:@ --file missing.tflite --sustained 10s", 2, "missing.tflite cannot be read", "Give the path"),
        ("--device adb:@ --file missing.tflite --dry-run", 2, "missing.tflite cannot be read", "Give the path"),
        (
            f"--device adb:@ --file {__file__}",
            2,
            "tflite-cpu opens .tflite files, not test_profile_adb.py",
            "fleetfront deploy",
        ),
        ("--device adb:@ --sustained 10s", 2, "--sustained needs a file", "--file FILE.tflite"),
        ("--device cpu --file x.tflite --sustained 10s", 2, "--sustained cannot be had on cpu", "had on: adb"),
        ("--device cpu --energy 3m", 2, "--energy cannot be had on cpu", "had on: adb"),
        ("--device adb:@ --file MODEL --energy 3m", 2, "--energy is of the networks", "--sustained tells the energy"),
        ("--device adb:@ --space ofa-mbv3-mini --energy 1s", 2, "too short to see a gauge step", "--energy 3m"),
        ("--device adb:@ --space ofa-mbv3-mini --energy 3m", 2, "No calibration network of ofa-mbv3", "Profile first"),
        ("--device adb:@ --file MODEL --sustained long", 2, "'long' is not a duration", "10m"),
        ("--device adb:@ --file MODEL --sustained 1s", 2, "too short to see heat", "--sustained 10m"),
        ("--device adb:@ --file MODEL --sustained 1s --dry-run", 2, "too short to see heat", "--sustained 10m"),
        ("--device cpu --file MODEL --sustained 10s --dry-run", 2, "--sustained cannot be had on cpu", "had on: adb"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(
    daemon: Any,
    model: str,
    told: Callable[..., tuple[int, str, str]],
    arguments: str,
    code: int,
    message: str,
    remedy: str,
) -> None:
    words = shlex.split(arguments.replace("@", daemon.address).replace("MODEL", model))
    found, out, err = told("profile", "--space", "ofa-mbv3-mini", "-q", *words)
    assert (found, out) == (code, "")
    said, what_to_do = err.strip().splitlines()
    assert message in said
    assert remedy in what_to_do
    assert left_behind(daemon) == []


@pytest.mark.parametrize("limit", ["nan", "-5", "500"])
def test_temperatures_that_no_device_keeps_are_refused(told: Callable[..., tuple[int, str, str]], limit: str) -> None:
    code, out, err = told("profile", "--device", "adb:127.0.0.1:1", "--max-temp", limit, "--dry-run")
    assert (code, out) == (2, "")
    assert "'--max-temp'" in err
    assert f"{limit}" in err
    assert "is not a number from 0 to 150" in err


def test_options_for_phones_are_not_ignored_in_silence(told: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = told("profile", "--device", "cpu", "--cores", "f", "--max-temp", "38", "--dry-run", *SMALL)
    assert code == 0
    assert "--cores, --max-temp: only for devices over ADB; without effect on cpu." in err


def test_a_phone_that_stays_hot_is_told_from_a_file_that_does_not_run(
    phone: Any, model: str, told: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (phone.data / "statuses").write_text("3\n" * 200)
    options = AgentOptions(cooling=Cooling(limit_s=0.1, poll_s=0.05))
    monkeypatch.setattr(kind, "_options", lambda _: options)
    code, out, err = told("profile", "--device", f"adb:{phone.address}", "--file", model, "-q")
    assert (code, out) == (3, "")
    assert "slowed itself down, or was too hot, in every visit" in err
    assert "cool down, or give a higher --max-temp" in err.splitlines()[-1]
    # Latency and memory.
    assert rows_in_store() == 24


def test_ctrl_c_does_not_wait_for_a_phone_to_cool_down(phone: Any) -> None:
    (phone.data / "statuses").write_text("3\n" * 1000)
    with running("profile", "--device", f"adb:{phone.address}", "--space", "ofa-mbv3-mini") as process:
        wait_for(lambda: (phone.data / "looks").exists() and int((phone.data / "looks").read_text() or 0) > 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "is hot: it slows itself down" in err
    assert "Finishing the visit in flight" not in err
    assert left_behind(phone) == []
    assert (phone.data / "stay_on").read_text() == "0\n"


def test_a_file_has_all_the_numbers_that_were_printed(
    phone: Any, model: str, told: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = told("profile", "--device", f"adb:{phone.address}", "--file", model, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["printed_ms"] == {"median": 141.253, "p5": 140.545, "p95": 187.533, "std": 13.583, "max": 195.121}
    assert (found["wall"]["mean_ms"], found["wall"]["fastest_ms"]) == (145.528, 140.071)
    assert found["peak_bytes"] == round(73.4102 * 2**20)
    code, out, _ = told("profile", "--device", f"adb:{phone.address}", "--file", model)
    assert "median / p5 / p95 / std / max  141.253 ms / 140.545 ms / 187.533 ms" in out
    assert "peak memory" in out


def test_a_delegate_that_proves_nothing_ends_with_its_reason(
    phone: Any, model: str, told: Callable[..., tuple[int, str, str]]
) -> None:
    gpu = ("profile", "--device", f"adb:{phone.address}", "--runtime", "tflite-gpu")
    code, out, err = told(*gpu, "--file", model)
    assert (code, out) == (3, "")
    assert "nothing in the log says that the GPU delegate was applied" in err
    assert "choose another --runtime" in err.splitlines()[-1]
    code, out, err = told(*gpu, *SMALL)
    assert (code, out) == (3, "")
    assert "Nothing can be measured on" in err
    assert "choose another --runtime" in err.splitlines()[-1]
    assert left_behind(phone) == []


def test_a_delegate_that_proves_itself_may_use_half_precision(
    phone: Any, told: Callable[..., tuple[int, str, str]]
) -> None:
    log = (phone.data / "output").read_text()
    applied = "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
    kept = [line for line in log.splitlines() if "XNNPACK" not in line]
    (phone.data / "output").write_text(applied + "\n".join(kept))
    command = (
        "profile",
        "--device",
        f"adb:{phone.address}",
        "--runtime",
        "tflite-gpu",
        "--precision",
        "fp16",
        "--json",
    )
    code, out, _ = told(*command, *SMALL, "--no-fit")
    found = json.loads(out)
    assert (code, found["errors"], found["measured"]["block"]) == (0, {}, 57)
    assert found["target"].endswith("/tflite-gpu/fp16/t1/b1")
    assert "--use_gpu=true --gpu_precision_loss_allowed=true" in (phone.data / "asked").read_text()


def test_files_of_every_precision_run_on_a_device(
    daemon: Any, tmp_path: Path, told: Callable[..., tuple[int, str, str]]
) -> None:
    lite, space = FORMATS["tflite"], ofa_mbv3_mini()
    graph = space.subnet_graphs(smallest(space))["network"][0]
    floats = lite.write(graph)
    files = {"fp16": lite.write(lite.half(graph)), "int8": int8_writer_of("tflite")(graph, Piece.NETWORK)}
    files |= {precision: lite.weights_alone(floats, bits) for precision, bits in WEIGHT_BITS.items()}
    for precision, data in files.items():
        path = tmp_path / f"{precision}.tflite"
        path.write_bytes(data)
        name = f"adb:{daemon.address}"
        code, out, err = told("profile", "--device", name, "--file", str(path), "--cores", "1", "--json")
        assert code == 0, err
        found = json.loads(out)
        # Few rows are whole blocks in so small a network: most of its narrow weights are int8.
        assert found["target"].split("/")[-3] in (precision, "w8" if precision == "w4" else precision)
        assert (found["clock"], found["visits"]) == ("thread-cpu", 12)
        assert 0 < found["latency_ms"] < 1000
    assert left_behind(daemon) == []


def test_one_file_is_timed_by_either_runner(
    make_daemon: Callable[..., Any], phone: Any, model: str, told: Callable[..., tuple[int, str, str]]
) -> None:
    board = make_daemon()
    code, out, _ = told("profile", "--device", f"adb:{board.address}", "--file", model, "--cores", "1", "--json")
    found = json.loads(out)
    assert (code, found["clock"], found["visits"]) == (0, "thread-cpu", 12)
    assert 0 < found["latency_ms"] < 1000
    code, out, _ = told("profile", "--device", f"adb:{phone.address}", "--file", model, "--json")
    found = json.loads(out)
    assert (code, found["clock"], found["visits"], found["latency_ms"]) == (0, "wall", 12, pytest.approx(140.071))
    code, out, _ = told("profile", "--device", f"adb:{phone.address}", "--file", model)
    assert "140.1 ms +- 0 (wall clock, p25 of 12 visits)" in out
    assert left_behind(board, phone) == []
    assert (phone.data / "stay_on").read_text() == "0\n"


def test_a_damaged_file_is_told_from_a_damaged_phone(
    daemon: Any, tmp_path: Path, told: Callable[..., tuple[int, str, str]]
) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    for more in ((), ("--sustained", "10s")):
        code, out, err = told("profile", "--device", f"adb:{daemon.address}", "--file", str(broken), *more)
        assert (code, out) == (3, "")
        assert "fleetfront profile --device cpu --file" in err.splitlines()[-1]
    assert left_behind(daemon) == []


def test_sustained_says_what_heat_leaves(daemon: Any, model: str, told: Callable[..., tuple[int, str, str]]) -> None:
    command = ("profile", "--device", f"adb:{daemon.address}", "--file", model, "--sustained", "4s")
    code, out, err = told(*command, "--json", "--cooldown", "5s", "--max-temp", "38")
    found = json.loads(out)
    assert code == 0
    assert "--max-temp, --cooldown: without effect with --sustained" in err
    assert found["seconds"] >= 4
    assert found["window_seconds"] == pytest.approx(found["seconds"] / 4)
    assert found["share_of_speed_left"] == pytest.approx(found["first_minute_ms"] / found["last_minute_ms"])
    assert rows_in_store() >= 2
    assert left_behind(daemon) == []


def test_ctrl_c_keeps_what_was_sustained_and_restores_the_phone(phone: Any, model: str) -> None:
    with running("profile", "--device", f"adb:{phone.address}", "--file", model, "--sustained", "10m") as process:
        wait_for(lambda: rows_in_store() >= 3)
        assert (phone.data / "stay_on").read_text() == "7\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert (phone.data / "stay_on").read_text() == "0\n"
    assert left_behind(phone) == []


def test_a_phone_whose_command_was_killed_restores_itself(phone: Any, model: str) -> None:
    with running("profile", "--device", f"adb:{phone.address}", "--file", model, "--sustained", "10m"):
        wait_for(lambda: rows_in_store() >= 1)
        assert (phone.data / "stay_on").read_text() == "7\n"
    assert phone.is_free_of("session.sh")
    assert (phone.data / "stay_on").read_text() == "0\n"


def test_a_daemon_that_dies_costs_nothing_that_had_arrived(
    daemon: Any, told: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("profile", "--device", f"adb:{daemon.address}", *SMALL, "--json")
    monkeypatch.setattr(kind, "_options", lambda _: AgentOptions(reconnect_s=0.5))

    def kill() -> None:
        wait_for(lambda: rows_in_store() >= 10)
        daemon.kill()

    killing = threading.Thread(target=kill)
    killing.start()
    code, out, err = told(*command)
    killing.join()
    assert (code, out) == (3, "")
    assert "The connection to" in err
    assert "No device answers" in err.splitlines()[-1]
    assert "Run the same command again to go on" in err.splitlines()[-1]
    before = rows_in_store()
    daemon.start()
    code, out, _ = told(*command)
    assert code == 0
    assert json.loads(out)["was_resumed"] is True
    assert rows_in_store() > before
    assert left_behind(daemon) == []
