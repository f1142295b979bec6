"""USB devices with an ADB interface, through adb-shell's driver. Only used where no adb server holds them."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

from fleetfront.errors import MissingDependency
from fleetfront.profilers.adb.link.faults import ConnectionLost, DeviceRefused, remedy
from fleetfront.profilers.adb.link.transport import STEP_S

if TYPE_CHECKING:
    from adb_shell.transport.usb_transport import UsbTransport


def usb_devices() -> tuple[list[str], int]:
    """Serial numbers of the USB devices with an ADB interface, and how many more there are that may not be opened.

    Raises:
        MissingDependency: adb-shell[usb] or libusb is not installed.
    """
    driver, usb_error = _driver()
    serials, closed = [], 0
    for device in driver.find_all_adb_devices():
        try:
            serials.append(str(device.serial_number))
        except usb_error:
            closed += 1
    return serials, closed


def usb_serials() -> list[str]:
    """The serial numbers alone. Raises what ``usb_devices`` raises, and DeviceRefused if none may be opened."""
    serials, closed = usb_devices()
    if closed and not serials:
        raise DeviceRefused("A USB device with debugging is attached, but may not be opened.", remedy("no permissions"))
    return serials


class UsbPipe:
    """Bulk transfers to the ADB interface of one USB device."""

    def __init__(self, serial: str) -> None:
        """Claim the interface. Raises MissingDependency or DeviceRefused."""
        driver, usb_error = _driver()
        from adb_shell.exceptions import UsbDeviceNotFoundError

        self._serial = serial
        self._buffer = bytearray()
        try:
            self._device = driver.find_adb(serial=serial)
            self._device.connect(STEP_S)
        except UsbDeviceNotFoundError as error:
            raise DeviceRefused(f"The device {serial} is not attached by USB.", remedy("absent")) from error
        except usb_error as error:
            raise DeviceRefused(
                f"The USB device {serial} cannot be used ({error}).", remedy("no permissions")
            ) from error

    def read_exactly(self, count: int, timeout_s: float) -> bytes:
        """``count`` bytes. Raises TimeoutError or ConnectionLost."""
        from adb_shell.exceptions import UsbReadFailedError

        deadline = time.monotonic() + timeout_s
        while len(self._buffer) < count:
            left_s = deadline - time.monotonic()
            try:
                # libusb takes a time limit of zero as none at all.
                self._buffer += self._device.bulk_read(count - len(self._buffer), max(left_s, 1e-3))
            except UsbReadFailedError as error:
                if "TIMEOUT" not in str(error.usb_error).upper():
                    raise ConnectionLost(self._serial, str(error.usb_error)) from error
                if left_s <= 0:
                    raise TimeoutError(f"nothing came within {timeout_s:.1f} s") from error
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def write(self, data: bytes, timeout_s: float) -> None:
        """Send everything. Raises TimeoutError or ConnectionLost."""
        from adb_shell.exceptions import UsbWriteFailedError

        try:
            self._device.bulk_write(data, timeout_s)
        except UsbWriteFailedError as error:
            if "TIMEOUT" in str(error.usb_error).upper():
                raise TimeoutError(str(error.usb_error)) from error
            raise ConnectionLost(self._serial, str(error.usb_error)) from error

    def close(self) -> None:
        """Release the interface."""
        self._device.close()


def _driver() -> tuple[type[UsbTransport], type[Exception]]:
    try:
        usb1 = importlib.import_module("usb1")
        from adb_shell.transport.usb_transport import UsbTransport
    except (ImportError, OSError) as error:
        raise MissingDependency(
            "Reaching a USB device without an adb server needs the package adb-shell[usb] and libusb.",
            "Start an adb server (adb start-server), or run: pip install 'fleetfront[mobile]'.",
        ) from error
    usb_error: type[Any] = usb1.USBError
    return UsbTransport, usb_error
