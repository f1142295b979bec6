"""Commands and files through both ways to a genuine adb daemon: an adb server, and the daemon itself."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.link.connection import Connection, Heartbeat
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceRefused, DeviceSilent, explain_failure
from fleetfront.profilers.adb.link.server import AdbServer, parse_devices
from fleetfront.profilers.adb.open_agent import connect, list_adb_devices

QUICK = Heartbeat(idle_s=0.2, answer_s=0.8)

#: Room for a busy machine on top of a stated limit.
SLACK_S = 10.0


@pytest.fixture(params=["direct", "server"])
def connection(request: pytest.FixtureRequest, daemon: Any) -> Iterator[Connection]:
    if request.param == "server":
        request.getfixturevalue("adb_server")
    opened = connect(f"adb:{daemon.address}", heartbeat=QUICK)
    assert opened.route.startswith("adb server" if request.param == "server" else "direct")
    yield opened
    opened.close()


def test_a_command_gives_output_errors_and_exit_code(connection: Connection) -> None:
    result = connection.shell("printf out; echo err >&2; exit 7")
    assert (result.code, result.out, result.err) == (7, "out", "err\n")
    assert connection.shell("kill -9 $$").code == 137


def test_without_shell_v2_exit_codes_arrive_all_the_same(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection._transport, "features", frozenset())
    for command, code, out in (("printf out; exit 7", 7, "out"), ("echo line", 0, "line\n"), ("false", 1, "")):
        result = connection.shell(command)
        assert (result.code, result.out) == (code, out)
    assert connection.shell("seq 1 20000").out == "".join(f"{i}\n" for i in range(1, 20001))


def test_output_arrives_as_it_is_written_and_input_is_read(connection: Connection) -> None:
    process = connection.start("while read -r word; do echo got $word; done; exit 3")
    for word in ("one", "two"):
        connection.send_to(process, f"{word}\n".encode())
        output = connection.wait_for(process)
        assert output is not None
        assert output.data == f"got {word}\n".encode()
    process.close()


def test_a_quiet_command_is_waited_for(connection: Connection) -> None:
    assert connection.shell("sleep 1.5; echo done").out == "done\n"


def test_a_command_that_does_not_end_is_given_up_with_a_remedy(connection: Connection) -> None:
    with pytest.raises(DeviceError, match=r"did not finish .* within 1 s"):
        connection.shell("sleep 30", timeout_s=0.6)
    assert connection.shell("echo alive").out == "alive\n"


def test_pushes_are_verified_and_not_repeated(connection: Connection, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(os.urandom(300_000))
    files: dict[str, bytes | Path] = {
        "/data/local/tmp/deep/er/a": b"",
        "/data/local/tmp/with space": os.urandom(70_000),
        "/data/local/tmp/c": local,
    }
    pushed = connection.push(files)
    assert (pushed.sent, pushed.skipped, pushed.sent_bytes) == (3, 0, 370_000)
    again = connection.push(files)
    assert (again.sent, again.skipped) == (0, 3)
    # What was cut off in the middle has another hash and is sent again.
    connection.shell("truncate -s 100 /data/local/tmp/c")
    assert connection.push(files).sent == 1
    connection.pull("/data/local/tmp/c", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == local.read_bytes()
    found = connection.stat("/data/local/tmp/c")
    assert found is not None
    assert found.size == 300_000
    assert connection.stat("/data/local/tmp/nothing") is None


def test_a_push_that_arrives_damaged_is_an_error(connection: Connection) -> None:
    # A device whose disk loses bytes: what is written there reads back empty.
    with pytest.raises(DeviceError, match=r"damaged|cannot be written"):
        connection.push({"/dev/null": b"some bytes"})


def test_pulling_a_missing_file_leaves_nothing(connection: Connection, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        connection.pull("/data/local/tmp/nothing", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_where_nothing_can_be_written_the_reason_arrives(connection: Connection) -> None:
    with pytest.raises(DeviceError, match="cannot be written"):
        connection.push({"/proc/nothing": os.urandom(2_000_000)})
    assert connection.shell("echo alive").out == "alive\n"


def test_a_full_disk_is_named_with_its_remedy(make_daemon: Callable[..., Any], request: pytest.FixtureRequest) -> None:
    small = make_daemon(data_bytes=1_000_000)
    for way in ("direct", "server"):
        if way == "server":
            request.getfixturevalue("adb_server")
        opened = connect(f"adb:{small.address}", heartbeat=QUICK)
        with pytest.raises(DeviceError, match="no space left") as caught:
            opened.push({"/data/local/tmp/big": os.urandom(5_000_000)})
        assert "Free some space" in caught.value.remedy
        opened.close()


def test_a_closed_peer_is_noticed_at_once(connection: Connection, daemon: Any) -> None:
    process = connection.start("echo ready; sleep 60")
    assert connection.wait_for(process) is not None
    daemon.kill()
    begun = time.monotonic()
    with pytest.raises(ConnectionLost) as caught:
        connection.wait_for(process)
    assert not isinstance(caught.value, DeviceSilent)
    assert "Check cable" in caught.value.remedy
    assert time.monotonic() - begun < 1 + SLACK_S


def test_a_silent_peer_is_noticed_by_the_heartbeat(connection: Connection, daemon: Any) -> None:
    process = connection.start("echo ready; sleep 60")
    assert connection.wait_for(process) is not None
    daemon.pause()
    begun = time.monotonic()
    try:
        with pytest.raises(DeviceSilent, match="no sign of life"):
            connection.wait_for(process)
        assert time.monotonic() - begun < QUICK.silent_s + SLACK_S
        with pytest.raises(ConnectionLost):
            connection.push({"/data/local/tmp/file": os.urandom(8_000_000)})
    finally:
        daemon.resume()


def test_what_is_no_adb_daemon_is_refused(adb_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The port of an adb server takes connections but speaks another protocol.
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    with pytest.raises(DeviceError):
        connect(f"adb:127.0.0.1:{adb_server}", heartbeat=QUICK)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"No device answers at 127\.0\.0\.1:9"):
        connect("adb:127.0.0.1:9")
    assert list_adb_devices() == []


def test_a_name_with_control_characters_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(InputError, match=r"'x\\ny' is no serial number"):
        connect("adb:x\ny")


def test_the_server_lists_devices_and_refuses_unknown_ones(adb_server: int, daemon: Any) -> None:
    assert list_adb_devices() == []
    with pytest.raises(DeviceError, match="No device is attached"):
        connect("adb")
    connect(f"adb:{daemon.address}").close()
    (listed,) = list_adb_devices()
    assert (listed.name, listed.state, listed.remedy) == (f"adb:{daemon.address}", "device", "")
    assert listed.is_ready
    assert connect("adb").shell("echo one").out == "one\n"
    with pytest.raises(DeviceRefused, match=r"nosuch is not attached .*127\.0\.0\.1"):
        connect("adb:nosuch")
    with pytest.raises(DeviceError, match=r"cannot connect to 127\.0\.0\.1:9"):
        connect("adb:127.0.0.1:9")


def test_a_device_that_went_away_is_listed_offline_with_a_remedy(
    adb_server: int, daemon: Any, make_daemon: Callable[..., Any]
) -> None:
    connect(f"adb:{daemon.address}").close()
    other = make_daemon()
    connect(f"adb:{other.address}").close()
    with pytest.raises(DeviceError, match="Several devices are attached") as caught:
        connect("adb")
    names = ",".join(sorted(f"adb:{one.address}" for one in (daemon, other)))
    assert f"--devices {names}" in caught.value.remedy
    other.kill()
    for _ in range(100):
        states = {device.serial: device for device in list_adb_devices()}
        if other.address not in states or states[other.address].state != "device":
            break
        time.sleep(0.05)
    gone = states.get(other.address)
    assert gone is None or (gone.state == "offline" and "reconnect" in gone.remedy)
    assert states[daemon.address].is_ready


def test_states_of_a_real_server_are_read_with_their_remedies(shared_data: Path) -> None:
    text = (shared_data / "benchmark_model" / "adb_server_states_own.txt").read_text()
    lines = [line.split("(")[0].rstrip() for line in text.splitlines() if line.startswith("127.0.0.1")]
    states = {device.serial: device for device in parse_devices("\n".join(lines))}
    assert [device.state for device in states.values()] == ["offline", "device", "unauthorized"]
    assert "Allow USB debugging" in states["127.0.0.1:5598"].remedy
    payload = text.split('payload line: "')[1].split('"')[0]
    (listed,) = parse_devices(payload)
    assert (listed.serial, listed.state) == ("127.0.0.1:5596", "device")


def test_refusals_of_a_real_server_are_explained(shared_data: Path) -> None:
    text = (shared_data / "benchmark_model" / "adb_server_states_own.txt").read_text()
    refusals = re.findall(r'^(.+?)\s*-> FAIL "(.*)"$', text, re.MULTILINE)
    said = {asked: explain_failure("phone", reason.replace("\\n", "\n")) for asked, reason in refusals}
    assert {asked: (error.message, error.exit_code) for asked, error in said.items()} == {
        "host:transport:<unauthorized>": ("The device phone is unauthorized.", 3),
        "host:transport:nosuch": ("The device phone is not attached (device 'nosuch' not found).", 3),
        "host:transport-any (2+ devices)": ("Several devices are attached.", 3),
        "offline": ("The device phone is offline.", 3),
    }
    assert [
        word for error in said.values() for word in ("Allow USB", "--device", "replug") if word in error.remedy
    ] == [
        "Allow USB",
        "--device",
        "replug",
    ]


@pytest.mark.parametrize(
    ("message", "said"),
    [("", "no reason given"), ("some news", "some news"), ("device still authorizing", "is authorizing")],
)
def test_other_refusals_are_passed_on_with_a_remedy(message: str, said: str) -> None:
    error = explain_failure("phone", message)
    assert said in error.message
    assert error.remedy


UNREADABLE = "no permissions (missing udev rules?); see [http://developer.android.com]"


@pytest.mark.parametrize(
    ("line", "serial", "state", "model"),
    [
        ("R58M  device usb:1-1 product:b model:SM_G973F device:b transport_id:2", "R58M", "device", "SM G973F"),
        ("0123  unauthorized usb:1-2 transport_id:3", "0123", "unauthorized", ""),
        (f"9a  {UNREADABLE} usb:3-1", "9a", UNREADABLE, ""),
        ("12\trecovery", "12", "recovery", ""),
    ],
)
def test_lines_of_the_device_list(line: str, serial: str, state: str, model: str) -> None:
    (device,) = parse_devices(line)
    assert (device.serial, device.state, device.model) == (serial, state, model)
    assert bool(device.remedy) is (state != "device")


def test_the_address_of_the_server_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", "tcp:5040")
    assert AdbServer.configured().address == "127.0.0.1:5040"
    monkeypatch.setenv("ADB_SERVER_SOCKET", "tcp:example.org:5041")
    assert AdbServer.configured().address == "example.org:5041"
    monkeypatch.setenv("ADB_SERVER_SOCKET", "localfilesystem:/tmp/x")
    with pytest.raises(InputError, match="ADB_SERVER_SOCKET"):
        AdbServer.configured()
