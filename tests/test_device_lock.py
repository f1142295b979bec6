from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fleetfront.errors import DeviceError
from fleetfront.files import device_lock

HOLD = """
import sys
from pathlib import Path
from fleetfront.files import device_lock
with device_lock(Path(sys.argv[1]), sys.argv[2], "unit-1"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_coordinators_of_one_device_exclude_each_other_until_one_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "cpu"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(DeviceError, match=f"process {holder.pid}") as caught, device_lock(tmp_path, "cpu"):
        pass
    assert "same command" in caught.value.remedy
    with (
        pytest.raises(DeviceError, match="cpu-0, under another name, is already"),
        device_lock(tmp_path, "cpu-0", "unit-1"),
    ):
        pass
    with device_lock(tmp_path, "cuda:0"):
        pass
    holder.kill()
    holder.wait()
    with device_lock(tmp_path, "cpu"):
        pass


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), device_lock(tmp_path, "cpu"):
        raise ValueError("inside")
    with device_lock(tmp_path, "cpu"):
        pass
