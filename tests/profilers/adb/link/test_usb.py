"""What is said of devices on USB where no adb server holds them. The driver is played: no test machine has a phone."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fleetfront.errors import DeviceError, MissingDependency
from fleetfront.profilers.adb.link import usb
from fleetfront.profilers.adb.link.faults import DeviceRefused
from fleetfront.profilers.adb.opening import full_name, list_adb_devices, why_none_attached


class UsbError(Exception):
    """What the driver raises for a device that may not be opened."""


class Plugged:
    """A device on USB."""

    def __init__(self, serial: str | None) -> None:
        self._serial = serial

    @property
    def serial_number(self) -> str:
        if self._serial is None:
            raise UsbError("LIBUSB_ERROR_ACCESS")
        return self._serial


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Attach devices by USB, by serial number; None may not be opened."""

    def attach(*serials: str | None) -> None:
        driver = SimpleNamespace(find_all_adb_devices=lambda: [Plugged(serial) for serial in serials])
        monkeypatch.setattr(usb, "_driver", lambda: (driver, UsbError))

    return attach


def test_phones_on_usb_are_listed_with_what_to_do(plug: Any) -> None:
    plug("R58", None)
    first, second = list_adb_devices()
    assert (first.name, first.state, first.remedy, first.is_ready) == ("adb:R58", "device", "", True)
    assert (second.name, second.state, second.is_ready) == ("adb", "no permissions", False)
    assert "apt install android-sdk-platform-tools-common" in second.remedy


def test_the_only_phone_has_a_name_of_its_own(plug: Any) -> None:
    plug("R58")
    assert full_name("adb") == full_name("adb:") == "adb:R58"
    assert full_name("adb:other") == "adb:other"
    plug("R58", "R59")
    with pytest.raises(DeviceError, match="Several devices are attached: R58, R59") as several:
        full_name("adb")
    assert "--devices adb:R58,adb:R59" in several.value.remedy
    plug(None)
    with pytest.raises(DeviceRefused, match="may not be opened") as closed:
        full_name("adb")
    assert "apt install" in closed.value.remedy


def test_where_was_looked(plug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plug()
    assert list_adb_devices() == []
    assert why_none_attached().startswith("No phone is attached by USB: plug a phone in")

    def missing() -> Any:
        raise MissingDependency("It needs libusb.", "Start an adb server.")

    monkeypatch.setattr(usb, "_driver", missing)
    assert list_adb_devices() == []
    assert why_none_attached().startswith("No adb server runs, so phones on USB cannot be seen. Start an adb server.")


def test_without_the_driver_its_pip_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("usb1", "adb_shell", "adb_shell.exceptions", "adb_shell.transport.usb_transport"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=r"adb-shell\[usb\].*pip install 'fleetfront\[mobile\]'"):
        usb.UsbPipe("R58")
