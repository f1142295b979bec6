"""Install the worked plug-in as pip would leave it, hold its parts against the checks, and use them by name."""

import contextlib
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fleetfront.cli.main import main
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import DeviceError, InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.predictors.table.networks import holds_whole_space
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import kind_of, open_device
from fleetfront.progress import SILENT
from fleetfront.runtimes.catalogue import all_facts, load_runtime
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.testing.agents import AGENT_CHECKS, AgentCase, check_visits, faulty_agent
from fleetfront.testing.checks import NotConforming, check_name, failures
from fleetfront.testing.runtimes import RUNTIME_CHECKS, RuntimeCase, faulty_runtime
from fleetfront.testing.spaces import SPACE_CHECKS, faulty_space
from fleetfront.testing.strategies import STRATEGY_CHECKS, StrategyCase
from fleetfront.workspace import Workspace

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in entries.items()) for group, entries in groups]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.syspath_prepend(str(PLUGIN))
    load_space.cache_clear()
    all_facts.cache_clear()
    yield
    load_space.cache_clear()
    all_facts.cache_clear()


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=check_name)
def test_the_space_conforms(check: Callable[..., None]) -> None:
    check(load_space("tiny-chains"))


def test_a_table_is_whole_that_holds_every_network_though_genes_may_be_inactive() -> None:
    space = load_space("tiny-chains")
    assert holds_whole_space(space, 1872)
    assert not holds_whole_space(space, 1871)


def test_gradients_that_are_not_those_of_the_space_are_found() -> None:
    found = failures(SPACE_CHECKS, faulty_space(load_space("tiny-chains"), "probabilities count twice"))
    assert [failure.check for failure in found] == ["relaxation"]


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=check_name)
def test_the_strategy_conforms(check: Callable[[StrategyCase], None]) -> None:
    check(StrategyCase(partial(make_strategy, "best-neighbour:first=40")))


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=check_name)
def test_the_strategy_of_gradients_conforms(check: Callable[[StrategyCase], None]) -> None:
    before = torch.get_num_threads()
    # Steps are small, and tests run beside each other.
    torch.set_num_threads(1)
    try:
        check(StrategyCase(partial(make_strategy, "downhill:batch=60,steps=6"), evaluations=130, comparing=180))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("check", AGENT_CHECKS, ids=check_name)
def test_the_agent_conforms(check: Callable[[AgentCase], None], tmp_path: Path) -> None:
    space, target = load_space("tiny-chains"), Target("paper:a7", "litert")
    (tmp_path / "block").write_bytes(write_tflite(space.block_graph(space.vocabulary[0])))
    (tmp_path / "damaged").write_bytes(b"no model")
    choices = Choices(workspace=Workspace(tmp_path))
    files = {"block": str(tmp_path / "block")}
    check(AgentCase(partial(open_device, target, choices), target, files, str(tmp_path / "damaged"), is_real=False))


def reference_case() -> RuntimeCase:
    b = GraphBuilder("g")
    x, y = b.input("x", (1, 3)), b.input("y", (1, 3))
    graph = b.build([b.add("add", [x, y], "sum"), b.add("concat", [x, x], "twice", axis=1)])
    feeds = {"x": np.full((1, 3), 2, np.float32), "y": np.arange(3, dtype=np.float32)[None]}
    expected = {"sum": np.array([[2, 3, 4]], np.float32), "twice": np.full((1, 6), 2, np.float32)}
    return RuntimeCase(
        load_runtime("onnx-reference"), write_onnx(graph), feeds, expected, ".onnx", (write_tflite(graph),)
    )


@pytest.mark.parametrize("check", RUNTIME_CHECKS, ids=check_name)
def test_the_runtime_conforms(check: Callable[[RuntimeCase], None]) -> None:
    check(reference_case())


def test_a_fault_in_the_runtime_is_found() -> None:
    faulty = faulty_runtime(reference_case(), "misshapen feeds are taken")
    assert "wrong_feeds" in [failure.check for failure in failures(RUNTIME_CHECKS, faulty)]


def pipe_case(folder: Path) -> AgentCase:
    space, target = load_space("tiny-chains"), Target("pipe:board", "litert")
    (folder / "block").write_bytes(write_tflite(space.block_graph(space.vocabulary[0])))
    (folder / "damaged").write_bytes(b"no model")
    choices = Choices(workspace=Workspace(folder))
    files = {"block": str(folder / "block")}
    return AgentCase(partial(open_device, target, choices), target, files, str(folder / "damaged"))


@pytest.mark.parametrize("check", AGENT_CHECKS, ids=check_name)
def test_the_agent_behind_a_pipe_conforms(check: Callable[[AgentCase], None], tmp_path: Path) -> None:
    check(pipe_case(tmp_path))


def test_a_fault_in_the_agent_behind_a_pipe_is_found(tmp_path: Path) -> None:
    with pytest.raises(NotConforming, match="got 1 answers"):
        check_visits(faulty_agent(pipe_case(tmp_path), "a visit is lost"))


def test_refusals_of_the_far_end_come_through_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = Choices(workspace=Workspace(tmp_path))
    with pytest.raises(InputError, match="4000 threads were asked for"):
        open_device(Target("pipe:board", "litert", threads=4000), choices)
    monkeypatch.setenv("FLEETFRONT_PIPE", "false")
    with pytest.raises(DeviceError, match="far end of pipe:board has ended"):
        open_device(Target("pipe:board", "litert"), choices)


def test_the_cpu_behind_a_pipe_is_held_while_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path))
    with (
        closing(open_device(Target("pipe:board", "litert"))),
        pytest.raises(DeviceError, match="cpu is already being measured"),
    ):
        open_device(Target("cpu", "litert"))


def test_the_kind_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    kind = kind_of("paper:a7")
    assert kind.name == "paper"
    assert kind_of("cpu").name == "cpu"
    with pytest.raises(DeviceError, match="not measured as a device of the kind 'paper'"):
        kind.open(Target("pixel3", "litert"), Choices(workspace=Workspace(tmp_path)), SILENT)


def test_the_runtime_of_the_plug_in_is_timed_behind_a_pipe(tmp_path: Path) -> None:
    case, space = pipe_case(tmp_path), load_space("tiny-chains")
    (tmp_path / "block").write_bytes(write_onnx(space.block_graph(space.vocabulary[0])))
    target = Target("pipe:board", "onnx-reference")
    choices = Choices(workspace=Workspace(tmp_path))
    check_visits(replace(case, target=target, open=partial(open_device, target, choices)))


def test_profile_and_search_by_the_names_of_the_plug_in(tmp_path: Path) -> None:
    from fleetfront_example import accuracies

    space, table = load_space("tiny-chains"), tmp_path / "accuracy.csv"
    with table.open("w") as file, contextlib.redirect_stdout(file):
        accuracies.main()
    accuracy = np.array([float(line.rpartition(",")[2]) for line in table.read_text().splitlines()[1:]])
    assert len(accuracy) == len(np.unique(space.sample(60_000, np.random.default_rng(0)), axis=0))
    device = ["--devices", "paper:a7", "--space", "tiny-chains"]
    assert main(["profile", *device, "--budget", "8s", "-q"]) == 0
    asked = ["--accuracy", f"csv:{table}:accuracy", "--strategy", "best-neighbour:first=20", "--evaluations", "300"]
    assert main(["search", *device, *asked, "--out", str(tmp_path / "fronts"), "-q"]) == 0
    front = load_fronts(tmp_path / "fronts", space).devices[0]
    assert (front.name, front.tier) == ("paper:a7", "measured")
    assert max(point.accuracy for point in front.points) == pytest.approx(accuracy.max(), abs=0.01)
    assert "best-neighbour:first=20" in (tmp_path / "fronts" / "fronts.json").read_text()
