"""Measure through a real ssh and a real sshd on loopback: the CPU behind it, hosts that refuse, links that are cut."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from fleetfront.errors import DeviceError, InputError
from fleetfront.files import device_lock
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import open_device
from fleetfront.profilers.remote.kind import host_devices
from fleetfront.profilers.remote.names import ssh_command
from fleetfront.targets import Target
from fleetfront.testing.agents import AgentCase, check_errors_are_values, check_visits
from fleetfront.workspace import Workspace
from tests.conftest import tiny_onnx
from tests.far_hosts.sshd import Sshd

CPU = Target("ssh:desk/cpu", "onnxruntime")


@pytest.fixture
def case(tmp_path: Path) -> AgentCase:
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx())
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    choices = Choices(workspace=Workspace(tmp_path / "here"))
    files = {"tiny": str(tmp_path / "tiny.onnx")}
    return AgentCase(lambda: open_device(CPU, choices), CPU, files, str(tmp_path / "damaged.onnx"))


def test_the_cpu_behind_ssh_conforms_and_is_free_afterwards(desk: Sshd, case: AgentCase, tmp_path: Path) -> None:
    check_visits(case)
    check_errors_are_values(case)
    assert host_devices("desk", Workspace(tmp_path / "here"))[0].name == "cpu"
    with device_lock(desk.folder / "home" / "locks", "cpu"):
        pass


def test_a_session_that_is_cut_is_made_anew(desk: Sshd, case: AgentCase) -> None:
    batch = case.batch(["tiny"] * 8)
    with closing(case.open()) as agent:
        found = []
        for rows in agent.run(batch):
            found.append(rows)
            if len(found) == 3:
                assert _end_sessions(desk) >= 1
    assert [row.uuid for rows in found for row in rows] == list(
        dict.fromkeys(row.uuid for rows in found for row in rows)
    )
    assert [rows[0].error for rows in found] == [None] * 8


def test_a_host_without_our_key_is_refused_at_once(desk: Sshd) -> None:
    (desk.folder / "authorized_keys").write_text("")
    with pytest.raises(DeviceError, match=r"desk cannot be reached: .*Permission denied") as caught:
        open_device(CPU)
    assert caught.value.remedy == "`ssh desk true` must work without a question."
    (desk.folder / "known_hosts").write_text("")
    with pytest.raises(DeviceError, match="Host key verification failed"):
        open_device(CPU)
    desk.stop()
    with pytest.raises(DeviceError, match="Connection refused"):
        open_device(CPU)


def test_no_part_of_a_name_is_an_option_or_a_shells_word() -> None:
    command = ssh_command("me@pi.lan:2222")
    assert command[-5:] == ["-p", "2222", "--", "me@pi.lan", "fleetfront agent --stdio"]
    assert command[0] == "ssh"
    assert "BatchMode=yes" in command


def test_start_up_files_may_print(desk: Sshd, case: AgentCase, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = os.environ["FLEETFRONT_AGENT"]
    monkeypatch.setenv("FLEETFRONT_AGENT", f"echo Welcome to desk; echo '{{}}'; exec {agent}")
    check_visits(case)


def _end_sessions(desk: Sshd) -> int:
    """Kill the processes of sshd that serve sessions; how many there were."""
    listener = (desk.folder / "pid").read_text().strip()
    told = subprocess.run(shlex.split(f"pgrep -P {listener}"), check=False, capture_output=True, text=True)
    sessions = [int(word) for word in told.stdout.split()]
    for session in sessions:
        os.kill(session, signal.SIGKILL)
    return len(sessions)


def test_an_ssh_program_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETFRONT_SSH", "ssh -i 'key")
    with pytest.raises(InputError, match="FLEETFRONT_SSH is no command: no closing quotation"):
        ssh_command("pi")
