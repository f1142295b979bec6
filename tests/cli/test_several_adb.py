"""``fleetfront devices``, and ``fleetfront profile`` on several devices at once, on Android's own adb daemon."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.typed_commands import devices_in_store, left_behind, running, typed, wait_for

pytestmark = pytest.mark.usefixtures("no_adb_server")


def test_several_devices_at_once_in_one_document(make_daemon: Callable[..., Any], model: str) -> None:
    first, second = make_daemon(), make_daemon()
    names = [f"adb:{first.address}", f"adb:{second.address}"]
    code, out, _ = typed("profile", "--devices", ",".join(names), "--file", model, "--json")
    found = json.loads(out)
    assert (code, found["schema"]) == (0, "fleetfront.profiles/1")
    assert found["exit_codes"] == dict.fromkeys(names, 0)
    assert [found["devices"][name]["target"] for name in names] == [f"{name}/tflite-cpu/fp32/t1/b1" for name in names]
    assert left_behind(first, second) == []


def test_one_device_of_several_that_is_away_does_not_hold_up_the_others(daemon: Any, model: str) -> None:
    here, away = f"adb:{daemon.address}", "adb:127.0.0.1:1"
    code, out, err = typed("profile", "--devices", f"{here},{away}", "--file", model)
    assert code == 3
    assert f"[{here}] latency" in out, err
    assert f"[{away}] Error: No device answers" in err
    assert f"Profiling failed on {away} (exit code 3)." in err
    code, out, err = typed("profile", "--devices", f"{here},{away}", "--file", model + "x", "--json")
    assert code == 2
    assert json.loads(out)["devices"] == {here: None, away: None}


def test_ctrl_c_ends_several_devices_in_good_order(make_daemon: Callable[..., Any]) -> None:
    first, second = make_daemon(), make_daemon()
    names = f"adb:{first.address},adb:{second.address}"
    with running("profile", "--devices", names, "--space", "ofa-mbv3-mini") as process:
        wait_for(lambda: len(devices_in_store()) == 2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count("Finishing the visit in flight") == 2
    assert len(re.findall(r"\] Interrupted in round \d+ after \d+ visits\. Run the same command again", err)) == 2
    assert left_behind(first, second) == []


def test_a_reader_that_goes_away_stops_nothing(make_daemon: Callable[..., Any], model: str) -> None:
    first, second = make_daemon(), make_daemon()
    command = f"{shlex.quote(sys.executable)} -m fleetfront profile --devices adb:{first.address},adb:{second.address}"
    run = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} --file {shlex.quote(model)} | head -c 1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "[")
    assert "Traceback" not in run.stderr
    assert left_behind(first, second) == []


def test_without_a_server_it_is_said_where_was_looked(told: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = told("devices", "--known", "--json")
    assert (code, json.loads(out)["attached"]) == (0, [])
    code, _, err = told("devices", "--known")
    assert code == 0
    assert "--device adb:HOST:PORT" in err


def test_devices_of_a_server(
    adb_server: int, make_daemon: Callable[..., Any], model: str, told: Callable[..., tuple[int, str, str]]
) -> None:
    first, second = make_daemon(), make_daemon()
    assert "knows no phone" in told("devices", "--known")[2]
    assert told("profile", "--device", "adb", "--file", model)[0] == 3
    adb = ["adb", "-P", str(adb_server)]
    environment = {**os.environ, "HOME": os.environ["ANDROID_USER_HOME"]}
    subprocess.run([*adb, "connect", first.address], check=True, capture_output=True, env=environment)
    wait_for(lambda: [d["state"] for d in json.loads(told("devices", "--json")[1])["attached"]] == ["device"])
    code, out, _ = told("profile", "--device", "adb", "--file", model, "--json")
    assert (code, json.loads(out)["target"]) == (0, f"adb:{first.address}/tflite-cpu/fp32/t1/b1")
    subprocess.run([*adb, "connect", second.address], check=True, capture_output=True, env=environment)
    wait_for(lambda: [d["state"] for d in json.loads(told("devices", "--json")[1])["attached"]] == ["device"] * 2)
    names = sorted(f"adb:{one.address}" for one in (first, second))
    code, out, err = told("devices", "--known")
    assert code == 0
    assert all(f"{name}  device" in out for name in names)
    assert any(f"--devices {','.join(order)}" in err for order in (names, names[::-1]))
    code, _, err = told("profile", "--device", "adb", "--file", model)
    assert code == 3
    assert "Say which: --device adb:" in err
    code, _, err = told("doctor", "--fetch-benchmark-model")
    assert code == 3
    assert "name the ABI: --fetch-benchmark-model arm64-v8a" in err
    # A device in the network is asked for its ABI, of which Google builds no program here.
    code, _, err = told("doctor", "--fetch-benchmark-model", first.address)
    assert code == 2
    assert f"'{platform.machine()}'" in err
    code, _, err = told("profile", "--device", "adb:SERIAL", "--file", model)
    assert code == 3
    assert "The device SERIAL is not attached" in err
    assert "`fleetfront devices` lists what is attached" in err
