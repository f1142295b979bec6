"""Generators are kept in files that others cannot be mistaken for, and answer what they are asked."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fleetfront.errors import FileError, InputError
from fleetfront.pipelines.generate import Request, answer, generate, open_generator
from fleetfront.pipelines.search import SearchOptions, search_space
from fleetfront.predictors.base import CostModel
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.generators.features import Way
from fleetfront.search.generators.fleet import Fleet, Scale
from fleetfront.search.generators.generator import GENERATOR_FILE, load_generator
from fleetfront.search.generators.left_out import compare_descriptions
from fleetfront.search.generators.wishes import Wishes, cost_place
from fleetfront.search.models.counted import CountedAccuracy, fit_counted
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.run import run_search
from fleetfront.search.strategies.base import LeavesGenerator, Vouches
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.base import Genotypes
from fleetfront.spaces.catalogue import load_space
from fleetfront.testing.problems import SyntheticAccuracy, small_problem, synthetic_latencies

MINI = load_space("ofa-mbv3-mini")
SHORT = "modnas:steps=30,round_steps=1,fit_steps=20"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a search leaves in ``--out``."""
    out = tmp_path_factory.mktemp("gen")
    targets = [ProblemTarget(f"d{i}", model) for i, model in enumerate(synthetic_latencies(MINI, 2))]
    search_space(MINI, targets, SyntheticAccuracy(MINI), SearchOptions(SHORT, 20), out=out)
    return out


@pytest.fixture(scope="module")
def unmet() -> ProblemTarget:
    return ProblemTarget("unmet", synthetic_latencies(MINI, 3)[2])


def rewritten(folder: Path, path: Path, change: dict[str, object] | None = None, drop: str = "") -> Path:
    """The generator with other words in its header, or without a tensor."""
    from safetensors import safe_open

    with safe_open(folder / GENERATOR_FILE, framework="pt") as file:
        about = json.loads(file.metadata()["generator"])
    tensors = {name: t for name, t in load_file(folder / GENERATOR_FILE).items() if name != drop}
    save_file(tensors, path, {"generator": json.dumps(about | (change or {}))})
    return path


def test_a_search_leaves_a_generator_that_answers_for_devices_it_never_met(folder: Path, unmet: ProblemTarget) -> None:
    opened = open_generator(folder)
    assert opened.training.evaluations == 20
    assert opened.training.devices == ("d0", "d1")
    (front,) = generate(opened, [unmet]).devices
    assert len(front.points) > 3
    costs = unmet.cost.predict(MINI.parse([point.arch for point in front.points])).mean
    assert [point.latency_ms for point in front.points] == pytest.approx(costs)
    middle = front.points[len(front.points) // 2].latency_ms
    (within,) = generate(folder, [unmet], max_latency=middle).devices
    assert within.points[0].latency_ms <= middle
    assert within.points[0].accuracy >= front.points[0].accuracy
    ends = [generate(opened, [unmet], preference=p).devices[0].points[0].latency_ms for p in (0.0, 1.0)]
    assert ends == [front.points[0].latency_ms, front.points[-1].latency_ms]


def test_fronts_are_written_as_any_others(folder: Path, unmet: ProblemTarget, tmp_path: Path) -> None:
    written = generate(folder, [unmet], out=tmp_path / "answer")
    assert load_fronts(tmp_path / "answer", MINI).to_json() == json.loads(json.dumps(written.to_json()))
    assert {point.more["accuracy_is_counted"] for point in written.devices[0].points} <= {True, False}


def test_what_was_counted_is_known_and_the_rest_is_predicted(folder: Path, unmet: ProblemTarget) -> None:
    opened = open_generator(folder)
    alone = answer(opened, [unmet], Request(with_counted=False)).devices[0]
    pooled = answer(opened, [unmet], Request()).devices[0]
    truth = SyntheticAccuracy(MINI)
    for front in (alone, pooled):
        for point in front.points:
            if point.more["accuracy_is_counted"]:
                assert point.accuracy == pytest.approx(truth.predict(MINI.parse([point.arch])).mean[0])
            else:
                assert point.accuracy_std > 0


def test_impossible_wishes_are_refused(folder: Path, unmet: ProblemTarget) -> None:
    with pytest.raises(InputError, match=r"least demanding found takes.*Raise the limit"):
        generate(folder, [unmet], max_latency=1e-3)
    with pytest.raises(InputError, match="outside 0 to 1"):
        generate(folder, [unmet], preference=1.5)
    with pytest.raises(InputError, match="Give one of them"):
        generate(folder, [unmet], preference=0.5, max_latency=3.0)
    with pytest.raises(InputError, match="no positive number"):
        generate(folder, [unmet], max_latency=float("nan"))


@pytest.mark.parametrize(
    ("change", "drop", "message"),
    [
        ({"schema": "fleetfront.generator/9"}, "", "not a generator that this fleetfront reads"),
        ({"space": "nasbench201"}, "", "a generator of nasbench201, not of ofa-mbv3-mini"),
        ({"fingerprint": "0"}, "", "another version of ofa-mbv3-mini"),
        ({"network": "pickle"}, "", "not a whole generator"),
        ({"objectives": 3}, "", "not a whole generator"),
        ({}, "accuracy.logs", "not a whole generator"),
    ],
)
def test_foreign_files_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], drop: str, message: str
) -> None:
    path = rewritten(folder, tmp_path / "g.safetensors", change, drop)
    with pytest.raises(FileError, match=message) as refused:
        load_generator(path, MINI)
    assert refused.value.remedy


def test_weights_that_are_no_numbers_and_damaged_files_are_refused(folder: Path, tmp_path: Path) -> None:
    opened = open_generator(folder)
    with torch.no_grad():
        next(iter(opened.network.parameters())).fill_(torch.inf)
    opened.save(tmp_path / "inf.safetensors")
    with pytest.raises(FileError, match="no finite numbers"):
        open_generator(tmp_path / "inf.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((folder / GENERATOR_FILE).read_bytes()[:500])
    with pytest.raises(FileError, match="damaged"):
        open_generator(tmp_path / "cut.safetensors")
    with pytest.raises(FileError, match="no generator at"):
        open_generator(tmp_path / "nothing")


def test_a_killed_search_leaves_the_same_generator_when_it_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Mortal(SyntheticAccuracy):
        def predict(self, genotypes):  # type: ignore[no-untyped-def]
            if len(self.asked) > 12:
                raise Killed
            return super().predict(genotypes)

    targets = [ProblemTarget(f"d{i}", model) for i, model in enumerate(synthetic_latencies(MINI, 2))]
    with pytest.raises(Killed):
        search_space(MINI, targets, Mortal(MINI), SearchOptions(SHORT, 20), out=tmp_path)
    assert not (tmp_path / GENERATOR_FILE).exists()
    search_space(MINI, targets, SyntheticAccuracy(MINI), SearchOptions(SHORT, 20), out=tmp_path)
    whole, again = (load_file(one / GENERATOR_FILE) for one in (folder, tmp_path))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_devices_are_described_in_the_way_that_serves_those_left_out() -> None:
    problem = small_problem(MINI, budget=24, latencies=synthetic_latencies(MINI, 3))
    problem.evaluate(np.unique(problem.sample(24, np.random.default_rng(0)), axis=0))
    asked: list[tuple[int, str]] = []

    class Trainee:
        def __init__(self, without: Problem, way: Way) -> None:
            self.way = way
            asked.append((len(without.targets), way))
            assert np.array_equal(without.archive.genotypes, problem.archive.genotypes)
            assert without.counter.requested == 0

        def train(self, accuracy: CountedAccuracy, steps: int, seed: int) -> None:
            assert steps == 5

        def proposed_for(self, models: Sequence[CostModel]) -> Genotypes:
            # By latencies the whole space is proposed, by coefficients one network.
            return MINI.sample(300, np.random.default_rng(1))[: 1 if self.way == "coefficients" else None]

    kept = compare_descriptions(problem, fit_counted(problem, 0, 1), Trainee, 5, 0)
    assert asked == 3 * [(2, "coefficients"), (2, "latencies")]
    assert 0 <= kept["coefficients"] < kept["latencies"] <= 1
    assert compare_descriptions(small_problem(MINI), fit_counted(problem, 0, 1), Trainee, 5, 0) == {}


def test_the_generator_says_which_way_serves_devices_left_out(tmp_path: Path) -> None:
    problem = small_problem(MINI, budget=20, latencies=synthetic_latencies(MINI, 3))
    strategy = make_strategy("modnas:steps=4,round_steps=1", problem, 0)
    run_search(problem, strategy, name="modnas", seed=0)
    assert isinstance(strategy, LeavesGenerator)
    strategy.generator.save(tmp_path / GENERATOR_FILE)
    opened = open_generator(tmp_path)
    kept = opened.training.kept
    assert opened.features.way == max(kept, key=lambda way: kept[way])
    assert isinstance(strategy, Vouches)
    assert f"described by {opened.features.way}" in strategy.statement
    assert problem.counter.requested == 20


def test_objectives_are_places_along_each_front() -> None:
    scale = Scale(torch.tensor([[[-80.0, -70.0, -50.0], [1.0, 3.0, 9.0]]]))
    placed = scale(0, torch.tensor([[-70.0, 3.0], [-80.0, 6.0], [-60.0, 21.0]]))
    assert placed.tolist() == [[0.5, 0.5], [0.0, 0.75], [0.75, 2.0]]


def test_three_objectives_are_described_and_scaled() -> None:
    problem = small_problem(MINI, budget=30, extras=("params",))
    problem.evaluate(problem.sample(20, np.random.default_rng(0)))
    fleet = Fleet(problem, "coefficients")
    assert fleet.costs == ("latency", "params")
    assert fleet.scale(5).knots.shape == (2, 3, 5)
    assert np.isfinite(fleet.described).all()


def test_budgets_are_places_between_the_cheapest_and_the_dearest() -> None:
    assert cost_place(np.array([2.0, 4.0, 8.0]), 2.0, 8.0) == pytest.approx([0.0, 0.5, 1.0])
    fixed = Wishes("budget", 2, 5)
    assert fixed.of_places(np.array([0.0, 0.49, 0.5, 1.0])).argmax(axis=1).tolist() == [0, 1, 2, 4]
    assert Wishes("preferences", 3).sweep(7).sum(axis=1) == pytest.approx(np.ones(10))
