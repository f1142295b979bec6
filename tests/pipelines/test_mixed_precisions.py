"""Devices that know other precisions than their neighbours are searched together, each in what it knows."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.picks import pick_shared
from fleetfront.pipelines.knowledge.device_model import DeviceModel
from fleetfront.pipelines.knowledge.precision_models import in_precisions, known_precisions
from fleetfront.pipelines.search import search
from fleetfront.predictors.accuracy.precisions import Drop
from fleetfront.quantities import Tier
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.metrics import STRANGE
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.results import Fronts
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.targets import Target
from fleetfront.testing.problems import SyntheticAccuracy, synthetic_latencies
from fleetfront.workspace import Workspace
from tests.pipelines.test_search_precisions import INT8, PLAIN, SPACE, _accuracy, profile

PRECISIONS = ("fp32", "int8")
#: The spelled device -> the precisions that its front may be of.
FLEET = {"phone": {"fp32", "int8"}, "phone/litert/int8": {"int8"}, "board": {"fp32"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A phone that was profiled in both precisions, and a board in float alone."""
    found = Workspace(tmp_path_factory.mktemp("place"))
    profile(found, "fp32", 0)
    profile(found, "int8", 1)
    profile(found, "fp32", 2, device="board")
    return found


@pytest.fixture(scope="module")
def fronts(place: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fronts, Path]:
    out = tmp_path_factory.mktemp("out")
    options = {"precisions": PRECISIONS, "drops": INT8, "share": 3, "out": out, "workspace": place}
    found = search(PLAIN, list(FLEET), SyntheticAccuracy(PLAIN), "hybrid", 400, **options)  # type: ignore[arg-type]
    return found, out


def test_each_front_is_of_what_its_device_knows(fronts: tuple[Fronts, Path], place: Workspace) -> None:
    from fleetfront.pipelines.knowledge.cost_models import device_models

    found, out = fronts
    assert [front.target for front in found.devices] == [
        "phone/litert/fp32,int8/t1/b1",
        "phone/litert/int8/t1/b1",
        "board/litert/fp32/t1/b1",
    ]
    for front, known in zip(found.devices, FLEET.values(), strict=True):
        assert {point.precision for point in front.points} <= known
        assert {arch.rpartition("@")[2] for point in front.points for arch in point.equal} <= known
        assert len(front.points) > 3
    (board,) = device_models(["board"], PLAIN, workspace=place, store=place.store)
    points = found.device("board").points
    networks = PLAIN.parse([point.arch.removesuffix("@fp32") for point in points])
    assert np.allclose([point.latency_ms for point in points], board.model.predict(networks).mean)
    assert [found.precisions_alone(front) for front in found.devices] == [
        "",
        "The front of phone-litert-int8 is of int8 files alone.",
        "The front of board is of fp32 files alone.",
    ]
    assert not any(STRANGE.name in key for front in found.devices for point in front.points for key in point.more)
    assert load_fronts(out, SPACE).devices == found.devices


def test_a_network_does_not_tie_with_one_that_the_device_does_not_run(place: Workspace) -> None:
    none = {"int8": Drop(0.0, 0.2, Tier.ESTIMATED, "stated")}
    found = search(
        PLAIN, ["phone/int8", "board"], SyntheticAccuracy(PLAIN), "random", 60,
        precisions=PRECISIONS, drops=none, workspace=place,
    )  # fmt: skip
    assert not any(point.equal for front in found.devices for point in front.points)


def test_what_a_device_does_not_run_is_no_choice_of_its_front_and_has_no_time_there(
    fronts: tuple[Fronts, Path],
) -> None:
    found, out = fronts
    told = {(one.gene, one.value): one for one in found.device("board").choices}
    assert told["precision", "int8"].latency_ms is None
    assert told["precision", "int8"].share == 0
    shared = json.loads((out / "fronts.json").read_text())["shared"]["networks"]
    assert {network["arch"].rpartition("@")[2] for network in shared} == {"fp32", "int8"}
    for network in shared:
        precision = network["arch"].rpartition("@")[2]
        runs = {front.name for front in found.devices if precision in front.target}
        assert set(network["latency_ms"]) == set(network["latency_std_ms"]) == runs
    assert {pick.precision for pick in pick_shared(found, ["board"])} == {"fp32"}
    for pick in pick_shared(found, ["phone", "phone-litert-int8", "board"]):
        assert len(pick.latency) == 2


@pytest.mark.parametrize("name", ["random", "hybrid", "surrogate", "nsga2", "lamoo", "local-search", "macs-fronts"])
def test_strategies_find_fronts_of_devices_that_know_other_precisions(name: str) -> None:
    from fleetfront.predictors.precision_costs import PrecisionCosts

    floats, narrow = synthetic_latencies(PLAIN)
    targets = (
        ProblemTarget("a", PrecisionCosts(SPACE, {"fp32": floats})),
        ProblemTarget("b", PrecisionCosts(SPACE, {"int8": narrow})),
    )
    problem = Problem(SPACE, targets, _accuracy(), budget=60)
    run_search(problem, make_strategy(name, problem, 0), name=name, seed=0)
    for column, gene in enumerate((0, 1)):
        rows = problem.front(column)
        assert len(rows)
        assert set(problem.archive.genotypes[rows, -1].tolist()) == {gene}


def test_what_cannot_be_is_refused_in_words(place: Workspace) -> None:
    def refused(devices: list[str], **more: object) -> InputError:
        options = {"precisions": PRECISIONS, "drops": INT8, "workspace": place, **more}
        with pytest.raises(InputError) as raised:
            search(PLAIN, devices, SyntheticAccuracy(PLAIN), more.pop("strategy", "random"), 40, **options)  # type: ignore[arg-type]
        return raised.value

    error = refused(["phone/int8"])
    assert error.message.startswith("phone-int8 is named with its precision, int8")
    assert error.remedy == "Leave fp32 out of --precisions, or name phone/litert."
    assert "no latency model of ofa-mbv3-mini on board in int8" in refused(["board"]).message
    assert (
        "none is in a precision that is known on board"
        in refused(["phone", "board"], fixed={"precision": "int8"}).message
    )


def test_exact_fronts_are_refused_where_a_device_lacks_a_precision() -> None:
    from fleetfront.predictors.precision_costs import PrecisionCosts

    floats, _ = synthetic_latencies(PLAIN)
    problem = Problem(SPACE, (ProblemTarget("a", PrecisionCosts(SPACE, {"fp32": floats})),), _accuracy(), budget=60)
    with pytest.raises(InputError, match="one here lacks some"):
        make_strategy("exact", problem, 0)


def test_times_of_no_stated_precision_are_taken_as_float_and_said_to_be(place: Workspace) -> None:
    (model, *_) = synthetic_latencies(PLAIN)
    device = DeviceModel("pixel3", Target("pixel3", "tflite", "unknown"), model)
    found = in_precisions(device, SPACE, workspace=place)
    assert known_precisions(found) == ("fp32",)
    assert found.warnings == (
        "the source of its times does not say of which precision they are: they are taken as of fp32.",
        "it has no model in int8, so its front is of fp32 files alone.",
    )
