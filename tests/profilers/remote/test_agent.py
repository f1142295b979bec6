"""Measure on devices of other hosts through a pipe: the promises of every agent, and what is the host's own."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import DeviceBusy, DeviceError, FleetfrontError, InputError, MissingDependency
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.profilers.base import Agent
from fleetfront.profilers.kinds.base import Capability, Choices
from fleetfront.profilers.kinds.catalogue import find_kind, kind_of, open_device
from fleetfront.profilers.remote.agent import RemoteAgent
from fleetfront.profilers.remote.faults import FaultWindow, Patience
from fleetfront.profilers.remote.kind import connect, host_devices
from fleetfront.profilers.remote.messages import Open
from fleetfront.profilers.remote.outbox import Outbox
from fleetfront.progress import SILENT
from fleetfront.targets import Target
from fleetfront.testing.agents import AGENT_CHECKS, AgentCase, check_errors_are_values, check_visits
from fleetfront.testing.checks import check_name
from fleetfront.testing.pipe_ssh import LINKS
from fleetfront.testing.simulated_kind import KILLS_ITS_AGENT, TrueLatencies
from fleetfront.workspace import Workspace

SIMULATED = Target("ssh:desk/simulated:a", "litert")


pytestmark = pytest.mark.usefixtures("no_adb_server")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    builder = GraphBuilder("sum")
    one = builder.input("x", (1, 3))
    path = tmp_path / "block.tflite"
    path.write_bytes(write_tflite(builder.build([builder.add("add", [one, one], "sum")])))
    (tmp_path / "damaged.tflite").write_bytes(b"no model")
    return {"block": str(path)}


def case_of(target: Target, files: dict[str, str], *, is_real: bool, open_agent: Callable[[], Agent]) -> AgentCase:
    damaged = str(Path(files["block"]).with_name("damaged.tflite"))
    return AgentCase(open_agent, target, files, damaged, is_real=is_real)


@pytest.mark.parametrize("check", [check_visits, check_errors_are_values], ids=check_name)
def test_the_cpu_of_another_host_conforms(
    check: Callable[[AgentCase], None], hosts: Path, files: dict[str, str]
) -> None:
    target = kind_of("ssh:me@pi/cpu").target("ssh:me@pi/cpu")
    assert str(target) == "ssh:me@pi/cpu/litert/fp32/t1/b1"
    check(case_of(target, files, is_real=True, open_agent=partial(open_device, target)))


@pytest.mark.parametrize("check", [one for one in AGENT_CHECKS if one is not check_errors_are_values], ids=check_name)
def test_a_device_that_opens_no_files_conforms_there(
    check: Callable[[AgentCase], None], hosts: Path, files: dict[str, str]
) -> None:
    check(case_of(SIMULATED, files, is_real=False, open_agent=partial(open_device, SIMULATED)))


def test_it_can_what_the_device_can_there(hosts: Path) -> None:
    cpu, far = kind_of("cpu"), kind_of("ssh:pi/cpu")
    assert far.can == cpu.can
    assert far.name == cpu.name
    adb = kind_of("ssh:pi/adb:R58")
    assert Capability.ENERGY in adb.can
    assert adb.settings == kind_of("adb:R58").settings
    assert str(adb.target("ssh:pi/adb:R58", runtime="tflite-gpu")) == "ssh:pi/adb:R58/tflite-gpu/fp32/t1/b1"
    assert kind_of("ssh:pi/cuda:1").target("ssh:pi/cuda:1", batch=4).batch == 4
    assert not far.matches("cpu")
    assert not far.matches("ssh:pi/adb:R58")
    with pytest.raises(DeviceError, match="not measured as a device of the kind"):
        far.open(Target("cpu", "litert"), Choices(), SILENT)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ssh:-oProxyCommand=touch/cpu", "no host"),
        ("ssh:a;b/cpu", "no host"),
        ("ssh:pi:70000/cpu", "no host"),
        ("ssh:pi", "names no device"),
        ("ssh:pi/ssh:pi/cpu", "names no device"),
        ("ssh:pi/nothing", "no device that could be measured on pi"),
    ],
)
def test_what_is_no_host_or_no_device_is_refused_in_words(name: str, words: str) -> None:
    assert find_kind(name) is None, "lists of what the store holds meet such names, too"
    with pytest.raises(InputError, match=words):
        kind_of(name)


def test_a_host_tells_its_devices_and_itself(hosts: Path, tmp_path: Path) -> None:
    assert "cpu" in [one.name for one in host_devices("pi", Workspace(tmp_path / "here"))]
    with closing(open_device(SIMULATED)) as agent:
        facts = agent.describe()
    assert facts["cpu"] == "simulated:a"
    assert facts["remote_host"] == os.uname().nodename
    assert facts["remote_fleetfront"]


def test_refusals_of_the_host_come_through(hosts: Path) -> None:
    with pytest.raises(InputError, match=r"On pi: .*4000 threads"):
        open_device(Target("ssh:pi/cpu", "litert", threads=4000))
    with pytest.raises(InputError, match="On pi: Unknown runtime 'nothing'"):
        open_device(Target("ssh:pi/cpu", "nothing"))


def test_a_device_is_held_on_its_host_and_free_afterwards(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetfront.profilers.remote.agent._BUSY_S", 0.1)
    with closing(open_device(SIMULATED)):
        with pytest.raises(DeviceBusy, match="On desk: simulated:a is already being measured by process"):
            open_device(SIMULATED)
        open_device(Target("ssh:desk/simulated:b", "litert")).close()
        open_device(Target("ssh:other/simulated:a", "litert")).close()


def test_a_held_device_is_waited_for_a_moment(hosts: Path) -> None:
    """The agent of a controller that was just killed needs a moment to see it."""
    first = open_device(SIMULATED)
    threading.Timer(0.3, first.close).start()
    open_device(SIMULATED).close()


def remote(patience: Patience, here: Path, sleep: Callable[[float], None] = lambda _: None) -> RemoteAgent:
    opening = Open(Target("simulated:a", "litert"), "simulated:a")
    connected = partial(connect, "desk", Workspace(here))
    return RemoteAgent(
        lambda was_reached: connected(was_reached=was_reached), SIMULATED, opening, patience=patience, sleep=sleep
    )


def links(hosts: Path) -> list[tuple[int, int]]:
    """Process ids of living links to the host, and of the agents behind them."""
    folder = hosts / "desk" / LINKS
    return [(int(path.name), int(path.read_text())) for path in folder.glob("*") if Path(f"/proc/{path.name}").exists()]


@pytest.mark.parametrize("whose", ["link", "agent"])
def test_a_broken_link_loses_no_visit_and_doubles_none(
    whose: str, hosts: Path, files: dict[str, str], tmp_path: Path
) -> None:
    batch = case_of(SIMULATED, files, is_real=False, open_agent=lambda: agent).batch(["block"] * 12)
    with closing(remote(Patience(most_faults=3), tmp_path / "here")) as agent:
        found = []
        for rows in agent.run(batch):
            found.append(rows)
            if len(found) in (2, 7):
                os.kill(links(hosts)[0][whose == "agent"], signal.SIGKILL)
    assert len({row.uuid for rows in found for row in rows}) == 24
    assert [rows[0].error for rows in found] == [None] * 12
    assert {rows[0].target for rows in found} == {SIMULATED}
    true_ns = round(TrueLatencies("simulated:a")["block"] * 1e6)
    assert {row.samples for rows in found for row in rows} == {(true_ns,) * 4}


def test_rows_that_were_not_confirmed_are_not_measured_again(
    hosts: Path, files: dict[str, str], tmp_path: Path
) -> None:
    """What was measured and is still in the pipe when the controller dies is handed to the next one."""
    case = case_of(SIMULATED, files, is_real=False, open_agent=lambda: agent)
    batch = case.batch(["block"] * 3)
    outbox = hosts / "desk" / "outbox"
    agent = remote(Patience(), tmp_path / "here")
    answers = agent.run(batch)
    next(answers)
    deadline = time.monotonic() + 10
    while len(list(outbox.glob("*/*.json"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for link, _ in links(hosts):
        os.kill(link, signal.SIGKILL)
    first = {path: json.loads(path.read_text()) for path in outbox.glob("*/*.json")}
    starts = sorted(kept["rows"][0]["started_ns"] for kept in first.values())
    with closing(remote(Patience(), tmp_path / "here")) as other:
        found = list(other.run(batch))
    assert [rows[0].started_ns for rows in found] == starts
    until = time.monotonic() + 10
    while list(outbox.glob("*/*.json")):
        assert time.monotonic() < until, "confirmed rows are forgotten"
        time.sleep(0.01)
    answers.close()
    agent.close()


def test_a_unit_whose_link_breaks_three_times_is_set_aside(hosts: Path, files: dict[str, str], tmp_path: Path) -> None:
    waits: list[float] = []
    batch = case_of(SIMULATED, files, is_real=False, open_agent=lambda: agent).batch(["block"] * 9)
    found: list[str] = []

    def measure(agent: RemoteAgent) -> None:
        for rows in agent.run(batch):
            found.append(rows[0].key)
            os.kill(links(hosts)[0][0], signal.SIGKILL)

    with closing(remote(Patience(), tmp_path / "here", waits.append)) as agent:
        with pytest.raises(DeviceError, match="set aside, for its link broke 3 times in 10 min") as caught:
            measure(agent)
        assert caught.value.exit_code == 3
    assert found == ["block"] * 3
    assert waits == [1.0, 1.0]


def test_what_ends_the_agent_twice_is_a_row_and_the_unit_goes_on(
    hosts: Path, files: dict[str, str], tmp_path: Path
) -> None:
    """As a file does that crashes a runtime which runs inside the agent."""
    case = case_of(SIMULATED, files, is_real=False, open_agent=lambda: remote(Patience(), tmp_path))
    batch = case.batch(["block"] * 5)
    keys = ["a", KILLS_ITS_AGENT, "b", KILLS_ITS_AGENT, "c"]
    visits = tuple(replace(visit, key=key) for visit, key in zip(batch.visits, keys, strict=True))
    with closing(case.open()) as agent:
        rows = list(agent.run(replace(batch, visits=visits)))
    assert [one[0].key for one in rows] == keys
    assert [one[0].error is None for one in rows] == [True, False, True, False, True]
    assert rows[1][0].error == "the agent on the host ended 2 times while it measured this, as when a runtime crashes"
    assert list((hosts / "desk").glob("outbox/*/*")) == []


def test_an_agent_that_leaves_in_order_blames_nothing(tmp_path: Path) -> None:
    target = Target("cpu", "litert")
    outbox = Outbox(Workspace(tmp_path), "c", target)
    for _ in range(3):
        with pytest.raises(DeviceError), outbox.making("one"):
            raise DeviceError("The pipe ended.")
        assert outbox.ended_in("one") == 0
    gone = []
    for count in (1, 2):
        # As a process that is gone leaves it.
        gone.append(outbox.making("one"))
        gone[-1].__enter__()
        assert Outbox(Workspace(tmp_path), "c", target).ended_in("one") == count


def test_breaks_are_forgotten_after_ten_minutes() -> None:
    window = FaultWindow(Patience())
    assert [window.broke(now) for now in (0.0, 10.0)] == [1.0, 1.0]
    assert [window.broke(now) for now in (700.0, 701.0, 702.0)] == [1.0, 1.0, None]


def test_a_host_that_starts_anew_is_one_fault_however_often_it_is_tried() -> None:
    window = FaultWindow(Patience())
    assert window.broke(0.0) == 1.0
    waits = [window.missed(0.0, was_reached=True) for _ in range(15)]
    assert waits[:6] == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert waits.index(None) == 13
    assert window.broke(400.0) == 1.0
    assert window.missed(701.0, was_reached=True) is None


def test_a_host_that_was_never_reached_has_three_tries() -> None:
    window = FaultWindow(Patience())
    assert [window.missed(now, was_reached=False) for now in (0.0, 1.0, 2.0)] == [1.0, 2.0, None]


def test_a_host_that_is_away_for_a_while_is_waited_for(
    hosts: Path, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_there, waits = os.environ["FLEETFRONT_AGENT"], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            monkeypatch.setenv("FLEETFRONT_AGENT", agent_there)

    batch = case_of(SIMULATED, files, is_real=False, open_agent=lambda: agent).batch(["block"] * 4)
    with closing(remote(Patience(), tmp_path / "here", sleep)) as agent:
        answers = agent.run(batch)
        found = [next(answers)]
        monkeypatch.setenv("FLEETFRONT_AGENT", "sh -c 'echo starting >&2; exit 255'")
        os.kill(links(hosts)[0][0], signal.SIGKILL)
        found += answers
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert len({row.uuid for rows in found for row in rows}) == 8


def test_a_link_that_falls_silent_is_given_up_at_both_ends(
    hosts: Path, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pulled cable: nobody is told. The host lets go of the device, so that the next link can have it."""
    (tmp_path / "impatient.py").write_text(
        "import sys, fleetfront.profilers.remote.host as host\n"
        "from fleetfront.workspace import Workspace\n"
        "host.SILENCE_S, host.BEAT_S = 1.0, 0.1\n"
        "sys.exit(host.serve_stdio(Workspace.default()))\n"
    )
    monkeypatch.setenv("FLEETFRONT_AGENT", f"{sys.executable} {tmp_path / 'impatient.py'}")
    monkeypatch.setattr("fleetfront.profilers.remote.link.SILENCE_S", 1.0)
    monkeypatch.setattr("fleetfront.profilers.remote.link.BEAT_S", 0.1)
    batch = case_of(SIMULATED, files, is_real=False, open_agent=lambda: agent).batch(["block"] * 200)
    stopped: list[int] = []
    with closing(remote(Patience(), tmp_path / "here", time.sleep)) as agent:
        found = []
        for rows in agent.run(batch):
            found.append(rows)
            if len(found) == 5:
                stopped = [link for link, _ in links(hosts)]
                os.kill(stopped[0], signal.SIGSTOP)
    assert len(stopped) == 1
    assert [row.uuid for rows in found for row in rows] == list(
        dict.fromkeys(row.uuid for rows in found for row in rows)
    )
    assert len(found) == 200


def test_what_no_new_link_mends_is_said_at_once(hosts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(**settings: str) -> FleetfrontError:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(FleetfrontError) as caught:
            open_device(SIMULATED)
        return caught.value

    missing = refusal(FLEETFRONT_AGENT="sh -c 'echo not found >&2; exit 127'")
    assert isinstance(missing, MissingDependency)
    assert "desk has no agent of fleetfront: not found" in missing.message
    old = refusal(FLEETFRONT_AGENT="""sh -c 'echo "Unknown command agent" >&2; exit 2'""")
    assert "ended with code 2: Unknown command agent" in old.message
    assert "FLEETFRONT_AGENT='fleet/bin/fleetfront agent --stdio'" in old.remedy
    lacking = refusal(FLEETFRONT_AGENT="""sh -c 'echo "python: No module named fleetfront" >&2; exit 1'""")
    assert isinstance(lacking, MissingDependency)
    idle = refusal(FLEETFRONT_AGENT="echo Welcome to desk")
    assert idle.message == "The agent on desk ended with code 0: Welcome to desk"
    monkeypatch.setattr("fleetfront.profilers.remote.link.SILENCE_S", 0.5)
    monkeypatch.setattr("fleetfront.profilers.remote.link._ENDS_IN_S", 0.2)
    echoing = refusal(FLEETFRONT_AGENT="cat")
    assert echoing.message.startswith("What answers on desk is no agent of fleetfront (it sends back what it is sent)")
    shell = refusal(FLEETFRONT_AGENT="sh -c 'echo Last login: Monday; exec sleep 60'")
    assert "no agent of fleetfront (it was silent for 0.5 s): Last login: Monday" in shell.message
    assert "`ssh desk sh -c" in shell.remedy
    talkative = refusal(FLEETFRONT_AGENT="yes no")
    assert "no agent of fleetfront (it said 100 lines and no greeting): no" in talkative.message
    assert "same command again" not in "".join(one.remedy for one in (old, lacking, idle, echoing, shell, talkative))
    denied = refusal(FLEETFRONT_SSH="""sh -c 'echo "me@desk: Permission denied (publickey)." >&2; exit 255'""")
    assert "desk cannot be reached: me@desk: Permission denied" in denied.message
    absent = refusal(FLEETFRONT_SSH="/nowhere/ssh")
    assert "/nowhere/ssh cannot be started" in absent.message
