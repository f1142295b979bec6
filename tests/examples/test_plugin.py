"""Install the worked plug-in as pip would leave it, hold its parts against the checks, and use them by name."""

import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.main import main
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import DeviceError
from fleetfront.profilers.kinds.base import Choices
from fleetfront.profilers.kinds.catalogue import kind_of, open_device
from fleetfront.progress import SILENT
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.catalogue import load_space
from fleetfront.targets import Target
from fleetfront.testing.agents import AGENT_CHECKS, AgentCase
from fleetfront.testing.checks import check_name, failures
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
    yield
    load_space.cache_clear()


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=check_name)
def test_the_space_conforms(check: Callable[..., None]) -> None:
    check(load_space("tiny-chains"))


def test_gradients_that_are_not_those_of_the_space_are_found() -> None:
    found = failures(SPACE_CHECKS, faulty_space(load_space("tiny-chains"), "probabilities count twice"))
    assert [failure.check for failure in found] == ["relaxation"]


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=check_name)
def test_the_strategy_conforms(check: Callable[[StrategyCase], None]) -> None:
    check(StrategyCase(partial(make_strategy, "best-neighbour:first=40")))


@pytest.mark.parametrize("check", AGENT_CHECKS, ids=check_name)
def test_the_agent_conforms(check: Callable[[AgentCase], None], tmp_path: Path) -> None:
    space, target = load_space("tiny-chains"), Target("paper:a7", "litert")
    (tmp_path / "block").write_bytes(write_tflite(space.block_graph(space.vocabulary[0])))
    (tmp_path / "damaged").write_bytes(b"no model")
    choices = Choices(workspace=Workspace(tmp_path))
    files = {"block": str(tmp_path / "block")}
    check(AgentCase(partial(open_device, target, choices), target, files, str(tmp_path / "damaged"), is_real=False))


def test_the_kind_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    kind = kind_of("paper:a7")
    assert kind.name == "paper"
    assert kind_of("cpu").name == "cpu"
    with pytest.raises(DeviceError, match="not measured as a device of the kind 'paper'"):
        kind.open(Target("pixel3", "litert"), Choices(workspace=Workspace(tmp_path)), SILENT)


def test_profile_and_search_by_the_names_of_the_plug_in(tmp_path: Path) -> None:
    space, table = load_space("tiny-chains"), tmp_path / "accuracy.csv"
    rows = np.unique(space.sample(20_000, np.random.default_rng(0)), axis=0)
    accuracy = 40 + 5 * np.log10(space.macs(rows))
    lines = [f"{arch},{value:.3f}" for arch, value in zip(space.arch_ids(rows), accuracy, strict=True)]
    table.write_text("arch,accuracy\n" + "\n".join(lines) + "\n")
    device = ["--devices", "paper:a7", "--space", "tiny-chains"]
    assert main(["profile", *device, "--budget", "8s", "-q"]) == 0
    asked = ["--accuracy", f"csv:{table}:accuracy", "--strategy", "best-neighbour:first=20", "--evaluations", "300"]
    assert main(["search", *device, *asked, "--out", str(tmp_path / "fronts"), "-q"]) == 0
    front = load_fronts(tmp_path / "fronts", space).devices[0]
    assert (front.name, front.tier) == ("paper:a7", "measured")
    assert max(point.accuracy for point in front.points) == pytest.approx(accuracy.max(), abs=0.01)
    assert "best-neighbour:first=20" in (tmp_path / "fronts" / "fronts.json").read_text()
