"""Devices behind adb servers of other hosts, ``adb:SERIAL@HOST:PORT``: two real servers stand for two desks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.profilers.adb.link.server import AdbServer, split_host
from fleetfront.profilers.adb.open_agent import adb_target, connect, full_name
from fleetfront.profilers.store.store import Store
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.adbd.daemon import free_port
from tests.adbd.fixtures import start_server
from tests.cli.typed_commands import typed

pytestmark = pytest.mark.usefixtures("no_adb_server")
Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def desks(make_daemon: Callable[..., Any], tmp_path: Path) -> Iterator[list[tuple[Any, int]]]:
    """Two adb servers, neither this machine's, each with a device that the other does not know."""
    if shutil.which("adb") is None:
        pytest.skip("the adb server needs the Debian package adb")
    found, processes = [], []
    try:
        for number in range(2):
            home = tmp_path / f"desk{number}"
            home.mkdir()
            process, port = start_server({**os.environ, "HOME": str(home)})
            processes.append(process)
            device = make_daemon()
            AdbServer(port=port).connect(device.address)
            found.append((device, port))
        yield found
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("device", "split"),
    [
        ("adb:R58", ("adb:R58", "")),
        ("adb:R58@desk2", ("adb:R58", "@desk2")),
        ("adb:R58@desk2.lan:5037", ("adb:R58", "@desk2.lan")),
        ("adb:192.168.1.5:5555@10.0.0.2:5038", ("adb:192.168.1.5:5555", "@10.0.0.2:5038")),
        ("adb:R58@usb:3-4", ("adb:R58@usb:3-4", "")),
        ("adb:R58@transport_id:3", ("adb:R58@transport_id:3", "")),
        ("adb:R58@usb:3-4@desk2", ("adb:R58@usb:3-4", "@desk2")),
        ("adb:@desk2", ("adb:", "@desk2")),
    ],
)
def test_the_host_is_what_stands_behind_the_last_sign(device: str, split: tuple[str, str]) -> None:
    assert split_host(device) == split


def test_a_target_keeps_the_host_so_that_it_is_reached_again() -> None:
    target = adb_target("adb:ZUG 5S@desk2:5038")
    assert target.device == "adb:ZUG-5S@desk2:5038"
    assert Target.parse(str(target)) == target
    for plugged_in in ("adb:R58@usb:3-4", "adb:R58@usb:3-4@desk2"):
        twin = adb_target(plugged_in)
        assert twin.device == plugged_in, "later commands reach this one of two with one serial number"
        assert Target.parse(str(twin)) == twin
    assert adb_target("adb:my phone@usb:3-4").device == "adb:my-phone@usb:3-4"
    with pytest.raises(InputError, match="port 99999"):
        adb_target("adb:R58@desk2:99999")
    with pytest.raises(InputError):
        Target("adb:R58@desk2@desk3", "tflite-cpu")


def test_each_desk_has_its_own_devices(desks: list[tuple[Any, int]]) -> None:
    (one, port), (other, other_port) = desks
    here, there = f"adb:{one.address}@127.0.0.1:{port}", f"adb:{other.address}@127.0.0.1:{other_port}"
    assert [full_name(f"adb:@127.0.0.1:{number}") for _, number in desks] == [here, there]
    for name in (here, there):
        connection = connect(name)
        assert connection.shell("echo hello").out.strip() == "hello"
        connection.close()
    with pytest.raises(DeviceError, match="nowhere"):
        connect(f"adb:nowhere@127.0.0.1:{port}")


def test_a_host_without_a_server_is_not_looked_past(daemon: Any) -> None:
    closed = free_port()
    with pytest.raises(DeviceError, match=f"No adb server answers at 127.0.0.1:{closed}") as caught:
        connect(f"adb:{daemon.address}@127.0.0.1:{closed}")
    assert f"ssh -N -L 5038:localhost:{closed} 127.0.0.1, then name the device @localhost:5038" in caught.value.remedy


def test_one_command_times_a_file_on_devices_of_several_desks(
    desks: list[tuple[Any, int]], model: str, told: Told
) -> None:
    names = [f"adb:{device.address}@127.0.0.1:{port}" for device, port in desks]
    code, out, err = typed("profile", "--devices", ",".join(names), "--file", model, "--json", "-q")
    assert code == 0, err
    assert [name in out for name in names] == [True, True]
    with Store(Workspace.default().store, read_only=True) as store:
        assert {held.target.device for held in store.holdings()} == set(names)
    code, out, err = told("predict", "--file", model, "--devices", ",".join(names), "--json")
    assert code == 0, err
    assert {(row["device"], row["tier"]) for row in json.loads(out)} == {(name, "measured") for name in names}
