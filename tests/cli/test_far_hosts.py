"""Commands on devices of other hosts: a phone's daemon, a processor and simulated ones behind pipes, one store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetfront.profilers.store.store import Store
from fleetfront.workspace import Workspace
from tests.cli.typed_commands import left_behind, typed

pytestmark = pytest.mark.usefixtures("no_adb_server", "hosts")
Told = Callable[..., tuple[int, str, str]]


def test_one_command_times_a_file_on_devices_of_several_hosts(daemon: Any, model: str, told: Told) -> None:
    names = [f"ssh:desk/adb:{daemon.address}", "ssh:me@pi/cpu", "ssh:pi/simulated:a"]
    code, out, err = typed("profile", "--devices", ",".join(names), "--file", model, "--json", "-q")
    assert code == 0, err
    assert list(json.loads(out)["devices"]) == names
    with Store(Workspace.default().store, read_only=True) as store:
        assert {held.target.device for held in store.holdings()} == set(names)
        environments = {row.target.device: row.environment for row in store.campaigns()}
    assert {one["remote_fleetfront"] for one in environments.values()} != {None}
    assert environments[names[2]]["cpu"] == "simulated:a"
    assert left_behind(daemon) == []
    code, out, err = told("predict", "--file", model, "--devices", ",".join(names[:2]), "--json")
    assert code == 0, err
    assert {(row["device"], row["tier"]) for row in json.loads(out)} == {(name, "measured") for name in names[:2]}


def test_this_machine_is_measured_when_the_others_are_done(model: str) -> None:
    code, out, err = typed("profile", "--devices", "cpu,ssh:pi/simulated:a", "--file", model, "--json")
    assert code == 0, err
    assert list(json.loads(out)["devices"]) == ["cpu", "ssh:pi/simulated:a"]
    with Store(Workspace.default().store, read_only=True) as store:
        begun = {row.target.device: row.started_ns for row in store.measurements()}
        first = {row.target.device: row.started_ns for row in reversed(list(store.measurements()))}
    assert first["cpu"] > begun["ssh:pi/simulated:a"]
    assert "[cpu] It is measured after the devices elsewhere" in err


def test_operators_of_a_file_are_timed_on_the_host(model: str, told: Told, hosts: Path) -> None:
    code, out, err = told("profile", "--device", "ssh:pi/cpu", "--file", model, "--operators", "--json", "-q")
    assert code == 0, err
    found = json.loads(out)
    assert found["target"] == "ssh:pi/cpu/litert/fp32/t1/b1"
    assert [row["ms"] > 0 for row in found["operators"]] == [True] * len(found["operators"])
    assert list((hosts / "pi" / "cache" / "received").rglob("*.tflite"))


def test_a_dry_run_asks_the_host_and_changes_nothing(daemon: Any, model: str, told: Told) -> None:
    name = f"ssh:desk/adb:{daemon.address}"
    code, out, err = told("profile", "--device", name, "--file", model, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["target"].startswith(name)
    assert "removed at the end" in out
    assert left_behind(daemon) == []


def test_a_host_lists_its_devices(told: Told) -> None:
    code, out, err = told("devices", "--host", "pi", "--json")
    assert code == 0, err
    assert json.loads(out)["attached"][0]["name"] == "ssh:pi/cpu"
    code, out, err = told("devices", "--host=-oProxyCommand=x")
    assert (code, out) == (2, "")
    assert "is no host that ssh could reach" in err


def test_exit_codes_say_what_a_host_lacks(model: str, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = told("profile", "--device", "ssh:pi/nothing", "--file", model)
    assert code == 2
    assert "`fleetfront devices --host pi` lists those that can" in err
    code, _, err = told("profile", "--device", "ssh:pi/cpu/litert", "--file", model)
    assert code == 2
    assert "--device ssh:pi/cpu --runtime litert" in err
    monkeypatch.setenv("FLEETFRONT_AGENT", "fleetfront-that-is-not-there")
    code, _, err = told("profile", "--device", "ssh:pi/cpu", "--file", model)
    assert code == 4
    assert "pi has no agent of fleetfront" in err
    code, _, err = told("agent")
    assert code == 2
    assert "fleetfront agent --stdio" in err
