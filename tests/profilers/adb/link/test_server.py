"""Read the lists of adb servers as AOSP writes them, and speak to a played one about serial numbers that are odd."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetfront.errors import DeviceError
from fleetfront.profilers.adb.link import server
from fleetfront.profilers.adb.link.faults import DeviceRefused, ServiceClosed
from fleetfront.profilers.adb.link.server import parse_devices
from fleetfront.profilers.adb.open_agent import adb_target, connect, full_name, list_adb_devices
from tests.adbd.daemon import free_port
from tests.adbd.fixtures import wait_for_server


@pytest.fixture
def serve(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let a small server on loopback answer as a file of ``cases/adb`` says."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str) -> None:
        port = free_port()
        folder = shared_data / "cases" / "adb"
        words = [sys.executable, str(folder / "fake_adb_server.py"), str(port), str(folder / name)]
        started.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        wait_for_server(started[-1], port)

    yield begin
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("case", "serial", "model", "target"),
    [
        ("space.txt", "ZUG 5S", "Z2131", "adb:ZUG-5S"),
        ("libusb.txt", "bd9d00cc", "23117RK66C", "adb:bd9d00cc"),
        (
            "mdns.txt",
            "adb-0123456789ABCD-x1Yz2w (2)._adb-tls-connect._tcp",
            "Pixel 7a",
            "adb:adb-0123456789ABCD-x1Yz2w-2-._adb-tls-connect._tcp",
        ),
    ],
)
def test_odd_serial_numbers_are_listed_and_connected_to(
    serve: Callable[[str], None], case: str, serial: str, model: str, target: str
) -> None:
    serve(case)
    (device,) = list_adb_devices()
    assert (device.name, device.state, device.model, device.is_ready) == (f"adb:{serial}", "device", model, True)
    assert full_name("adb") == f"adb:{serial}"
    assert adb_target(full_name("adb")).device == target
    connection = connect(device.name)
    # The played server serves nothing behind that.
    with pytest.raises(ServiceClosed):
        connection.shell("true")


def test_two_phones_with_one_serial_number_are_told_by_where_they_are_plugged_in(serve: Callable[[str], None]) -> None:
    serve("twice.txt")
    first, second = list_adb_devices()
    assert (first.name, second.name) == ("adb:serial1111@usb:3-3", "adb:serial1111@usb:3-4")
    assert full_name("adb:transport_id:2") == second.name
    assert len({adb_target(device.name).device for device in (first, second)}) == 2
    with pytest.raises(DeviceRefused, match="2 devices have the serial number serial1111") as caught:
        connect("adb:serial1111")
    assert "--device adb:serial1111@usb:3-3 or --device adb:serial1111@usb:3-4" in caught.value.remedy
    with pytest.raises(DeviceError, match="transport id 9"):
        connect("adb:transport_id:9")
    with pytest.raises(DeviceError, match="Several devices are attached") as several:
        connect("adb")
    assert "--devices adb:serial1111@usb:3-3,adb:serial1111@usb:3-4" in several.value.remedy
    # Which of them is meant goes to the server by number; the played one knows none of those requests.
    with pytest.raises(DeviceError, match="unknown host service"):
        connect(second.name)


def test_of_several_devices_those_that_can_be_used_are_named_as_a_shell_takes_them(
    serve: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from fleetfront.cli.main import main

    serve("ok.txt")
    with pytest.raises(DeviceError, match=r"5555, emulator-5554, R5CT, .*, ABC, DEF, GHI") as several:
        full_name("adb")
    assert several.value.remedy == (
        "Say which: --device 'adb:[fe80::1%wlan0]:5555', or several: --devices "
        "'adb:[fe80::1%wlan0]:5555,adb:emulator-5554,adb:R5CT,adb:adb-1234-ab._adb-tls-connect._tcp.'"
    )
    serve("space.txt")
    assert main(["devices"]) == 0
    assert "fleetfront profile --device 'adb:ZUG 5S'" in capsys.readouterr().err


def test_serial_numbers_with_a_comma_are_typed_by_their_connection(
    serve: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--devices`` would take them for two devices."""
    from fleetfront.cli.main import main

    listing = tmp_path / "comma.txt"
    listing.write_text("A,B                    device usb:1-2 product:x model:M transport_id:7\nKNOWN\tA,B\n")
    serve(str(listing))
    (device,) = list_adb_devices()
    assert (device.name, device.serial) == ("adb:transport_id:7", "A,B")
    assert (full_name(device.name), adb_target(full_name(device.name)).device) == ("adb:A,B", "adb:A-B")
    assert main(["profile", "--device", device.name, "--dry-run"]) == 3
    assert "The connection to A,B was lost" in capsys.readouterr().err


def test_a_server_that_hangs_is_named_and_phones_in_the_network_are_reached_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fleetfront.cli.main import main

    monkeypatch.setattr(server, "_PROBE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:{hanging.getsockname()[1]}")
        for device in ("adb", "adb:R58", "adb:transport_id:2"):
            with pytest.raises(DeviceError, match=r"The adb server at 127\.0\.0\.1:\d+ does not answer") as silent:
                connect(device)
            assert "adb kill-server && adb start-server" in silent.value.remedy
        with pytest.raises(DeviceError, match=f"No device answers at 127.0.0.1:{(closed := free_port())}"):
            connect(f"adb:127.0.0.1:{closed}")
        assert main(["devices"]) == 0
        told = capsys.readouterr().err
    assert "Attached phones cannot be listed: The adb server at" in told
    assert "No phone is attached" not in told


def test_a_device_that_the_server_forgot_meanwhile_is_named(serve: Callable[[str], None]) -> None:
    serve("ok.txt")
    with pytest.raises(DeviceError, match=r"The device R5CT is not attached \(device 'R5CT' not found\)"):
        connect("adb:R5CT")


def test_every_kind_of_line(shared_data: Path) -> None:
    folder = shared_data / "cases" / "adb"
    ready = {d.serial: d for d in parse_devices((folder / "ok.txt").read_text())}
    assert {serial: device.state for serial, device in ready.items()} == {
        "[fe80::1%wlan0]:5555": "device",
        "emulator-5554": "device",
        "R5CT": "device",
        "adb-1234-ab._adb-tls-connect._tcp.": "device",
        "ABC": "unauthorized",
        "DEF": "recovery",
        "GHI": "host",
    }
    assert (ready["R5CT"].model, ready["R5CT"].path, ready["R5CT"].id) == ("SM", "usb:1-1", "10")
    others = parse_devices((folder / "states.txt").read_text())
    assert [device.serial for device in others] == ["????????????", "009d1cd696d5194a", "R58M0000000", "emulator-5554"]
    assert [device.state.split(" (")[0] for device in others] == ["no permissions"] * 2 + ["unauthorized", "offline"]
    assert all(device.remedy for device in others)
    logs = shared_data / "logs"
    twice = parse_devices((logs / "adb_devices_l_same_serial_twice_scrcpy1148.txt").read_text())
    assert [device.name for device in twice] == ["serial1111@usb:3-3", "serial1111@usb:3-4"]
    (vivo,) = parse_devices((logs / "adb_devices_l_vivo_v2405a.txt").read_text())
    assert (vivo.serial, vivo.model) == ("10AEXXXXXXXXXXX", "V2405A")


@pytest.mark.parametrize(
    ("line", "serial", "state"),
    [
        ("my device              device usb:1-2 model:X transport_id:1", "my device", "device"),
        ("a device b             offline transport_id:4", "a device b", "offline"),
        ("12                     some-news product:x", "12", "some-news"),
        ("x 1-1.4                device 1-1.4 model:X", "x 1-1.4", "device"),
    ],
)
def test_serial_numbers_that_look_like_states(line: str, serial: str, state: str) -> None:
    (device,) = parse_devices(line)
    assert (device.serial, device.state) == (serial, state)
