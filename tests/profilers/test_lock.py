from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fleetfront.errors import DeviceError
from fleetfront.profilers.lock import target_lock
from fleetfront.targets import Target

HOLD = """
import sys
from pathlib import Path
from fleetfront.profilers.lock import target_lock
from fleetfront.targets import Target
with target_lock(Path(sys.argv[1]), Target.parse(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_coordinators_of_one_target_exclude_each_other_until_one_dies(tmp_path: Path, target: Target) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), str(target)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(DeviceError, match=f"process {holder.pid}") as caught, target_lock(tmp_path, target):
        pass
    assert "same command" in caught.value.remedy
    with target_lock(tmp_path, Target("cpu", "litert")):
        pass
    holder.kill()
    holder.wait()
    with target_lock(tmp_path, target):
        pass


def test_the_lock_is_free_again_after_an_error(tmp_path: Path, target: Target) -> None:
    with pytest.raises(ValueError, match="inside"), target_lock(tmp_path, target):
        raise ValueError("inside")
    with target_lock(tmp_path, target):
        pass
