"""Precision is searched with the network, on a device that was profiled in each: from models to fronts to files."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fleetfront.cli.main import main
from fleetfront.errors import InputError
from fleetfront.pipelines.deploy.deploy import Weights, deploy_picks
from fleetfront.pipelines.deploy.picks import pick_arch, pick_knee, pick_robust, pick_shared
from fleetfront.pipelines.fit.fit import fit_target
from fleetfront.pipelines.search import SearchOptions, search, search_space
from fleetfront.pipelines.search_verify import Verified, Verify
from fleetfront.predictors.accuracy.precisions import Drop
from fleetfront.predictors.base import CostModel
from fleetfront.predictors.precision_costs import PrecisionCosts
from fleetfront.profilers.store.store import Store
from fleetfront.quantities import LATENCY, Estimate, FloatArray, Tier
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import Problem, ProblemTarget
from fleetfront.search.results import Fronts
from fleetfront.search.run import run_search
from fleetfront.search.strategies.catalogue import make_strategy
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.spaces.precisions import with_precisions
from fleetfront.targets import Target
from fleetfront.testing.problems import SyntheticAccuracy, synthetic_latencies
from fleetfront.workspace import Workspace
from tests.predictors.synthetic_device import SyntheticDevice, keep

PLAIN = ofa_mbv3_mini()
SPACE = with_precisions(PLAIN, ["fp32", "int8"])
INT8 = {"int8": Drop(0.5, 0.2, Tier.ESTIMATED, "stated")}


def profile(place: Workspace, precision: str, seed: int, device: str = "phone") -> None:
    """Keep a made-up profile of a phone in a precision, and its fit."""
    target = Target(device, "litert", precision)
    seen = replace(SyntheticDevice(PLAIN, seed=seed).observe(validation=30), target=target)
    with Store(place.store) as store:
        keep(store, seen, f"{device}-{precision}-1")
        fit_target(store, target, PLAIN, workspace=place)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    found = Workspace(tmp_path_factory.mktemp("place"))
    profile(found, "fp32", 0)
    profile(found, "int8", 1)
    return found


@pytest.fixture(scope="module")
def fronts(place: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fronts, Path]:
    out = tmp_path_factory.mktemp("out")
    options = {"precisions": ("int8", "fp32"), "drops": INT8, "share": 2, "out": out, "workspace": place}
    return search(PLAIN, "phone", SyntheticAccuracy(PLAIN), "random", 400, **options), out  # type: ignore[arg-type]


def test_each_point_has_the_time_and_the_accuracy_of_its_own_precision(
    fronts: tuple[Fronts, Path], place: Workspace
) -> None:
    from fleetfront.pipelines.knowledge.cost_models import device_models

    found, out = fronts
    (front,) = found.devices
    assert (found.space, front.target) == ("ofa-mbv3-mini@fp32,int8", "phone/litert/fp32,int8/t1/b1")
    assert {point.precision for point in front.points} == {"fp32", "int8"}
    for precision in ("fp32", "int8"):
        points = [point for point in front.points if point.precision == precision]
        (alone,) = device_models([f"phone/{precision}"], PLAIN, workspace=place, store=place.store)
        networks = PLAIN.parse([point.arch.removesuffix(f"@{precision}") for point in points])
        assert np.allclose([point.latency_ms for point in points], alone.model.predict(networks).mean)
        floats = SyntheticAccuracy(PLAIN).predict(networks)
        is_int8 = precision == "int8"
        assert np.allclose([point.accuracy for point in points], floats.mean - 0.5 * is_int8)
        assert np.allclose([point.accuracy_std for point in points], np.hypot(floats.std, 0.2 * is_int8))
        assert {point.more["accuracy_tier"] for point in points} == {"estimated" if is_int8 else "predicted"}
        assert front.target_of(precision) == f"phone/litert/{precision}/t1/b1"
    assert front.accuracy_caution == ""
    data = json.loads((out / "fronts.json").read_text())
    assert data["accuracy"]["drops"] == {"int8": INT8["int8"].to_json()}
    assert data["devices"]["phone"]["points"][0]["precision"] in ("fp32", "int8")
    assert load_fronts(out, SPACE) == replace(found, seconds=data["seconds"], trace=tuple(data["trace"]))
    assert any(choice.gene == "precision" for choice in front.choices)


def test_picks_say_their_precision_and_the_target_that_runs_it(fronts: tuple[Fronts, Path]) -> None:
    found, _ = fronts
    (front,) = found.devices
    picks = [pick_knee(found, "phone"), *pick_shared(found, ["phone"])]
    picks += [pick_arch(point.arch, SPACE, found) for point in (front.points[0], front.points[-1])]
    for pick in picks:
        assert pick.precision in ("fp32", "int8")
        assert "@" not in pick.arch
        assert pick.latency[0]["target"] == f"phone/litert/{pick.precision}/t1/b1"
        assert pick.accuracy[0]["precision"] == pick.precision
        assert pick.accuracy[0]["tier"] == ("estimated" if pick.precision == "int8" else "predicted")
    assert PLAIN.parse([pick.arch for pick in picks]).shape == (len(picks), len(PLAIN.choices))
    with pytest.raises(InputError, match="built-in accuracy"):
        pick_robust(replace(found, accuracy_source="built-in"), "phone", SPACE)


def test_a_report_says_that_each_precision_is_measured_by_itself(fronts: tuple[Fronts, Path], place: Workspace) -> None:
    from fleetfront.report.sections.devices import device_entries
    from fleetfront.report.sources import open_sources

    sources = open_sources(place, place.store, [fronts[1]])
    rows = {(one.space, one.target): one for one in device_entries(sources)}
    assert sources.store is not None
    sources.store.close()
    joint = rows["ofa-mbv3-mini@fp32,int8", "phone/litert/fp32,int8/t1/b1"]
    assert (joint.measured, joint.tier, joint.reasons) == ("each precision by itself", "measured", ())
    for precision in ("fp32", "int8"):
        assert "blocks" in rows["ofa-mbv3-mini", f"phone/litert/{precision}/t1/b1"].measured


def test_bundles_hold_the_precision_that_was_picked_and_its_times_alone(tmp_path: Path) -> None:
    from fleetfront.datasets import load_images
    from fleetfront.deploy.bundle.manifest import read_manifest
    from fleetfront.deploy.formats import FORMATS
    from fleetfront.pipelines.deploy.records import Pick
    from fleetfront.spaces.supernet.subnets import smallest, untrained

    arch = PLAIN.arch_id(smallest(PLAIN))
    row = {"ms": 1.0, "std_ms": 0.1, "tier": "measured", "clock": "wall", "is_prediction": True}
    picks = [
        Pick(name, arch, ({"target": f"phone/onnxruntime/{name}/t1/b1", **row},), precision=name)
        for name in ("fp32", "int8")
    ]
    weights = Weights(untrained(PLAIN, 0), load_images("digits", 32))
    done = deploy_picks(picks, PLAIN, weights, (FORMATS["onnx"],), tmp_path)
    for one, name in zip(done, ("fp32", "int8"), strict=True):
        if one.folder is None:
            # A network that knows nothing may miss int8's bar; then there is no bundle and no time of one.
            assert name == "int8"
            assert one.error is not None
            continue
        manifest = read_manifest(one.folder)
        assert [file["precision"] for file in manifest["files"]] == [name]
        assert [latency["target"] for latency in manifest["latency"]] == [f"phone/onnxruntime/{name}/t1/b1"]
    assert done[0].folder is not None


def test_files_are_measured_by_their_architecture_one_precision_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    from fleetfront.pipelines.deploy import deploy

    asked = []

    def measure(networks, _measuring, _progress):  # type: ignore[no-untyped-def]
        asked.append(dict(networks))
        return {arch: (network,) for arch, network in networks.items()}

    monkeypatch.setattr(deploy, "measure_networks", measure)
    made = {("a", "fp32"): 1, ("a", "int8"): 2, ("b", "fp32"): 3}
    found = deploy._measured(made, None, None)  # type: ignore[arg-type]
    assert asked == [{"a": 1, "b": 3}, {"a": 2}]
    assert found == {key: (network,) for key, network in made.items()}


def test_a_precision_without_a_profile_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    profile(place, "fp32", 0)
    with pytest.raises(InputError) as raised:
        search(PLAIN, "phone", SyntheticAccuracy(PLAIN), precisions=("fp32", "int8"), drops=INT8, workspace=place)
    assert raised.value.message.startswith("There is no latency model of ofa-mbv3-mini on phone in int8")


def test_what_a_precision_costs_is_asked_for_before_files_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fleetfront.pipelines import file_sizes

    place, written = Workspace(tmp_path), []
    profile(place, "fp32", 0)
    profile(place, "w8", 1)
    monkeypatch.setattr(file_sizes, "_sizes", lambda *given: written.append(given))
    wanted = {"precisions": ("fp32", "w8"), "objectives": ("size",), "workspace": place}
    with pytest.raises(InputError, match="Nobody knows what w8 costs in accuracy"):
        search(PLAIN, "phone", SyntheticAccuracy(PLAIN), "random", 20, **wanted)  # type: ignore[arg-type]
    monkeypatch.setenv("FLEETFRONT_HOME", str(tmp_path))
    told = ["--device", "phone", "--space", PLAIN.name, "--precisions", "fp32,w8", "--objective", "size", "-q"]
    assert main(["search", *told, "--accuracy", _table(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "Say it: --drop w8=" in capsys.readouterr().err
    assert written == []


def _table(folder: Path) -> str:
    """A table of accuracies of networks."""
    archs = PLAIN.arch_ids(PLAIN.sample(30, np.random.default_rng(0)))
    (folder / "known.csv").write_text(
        "arch,accuracy\n" + "".join(f"{arch},{70 + at}\n" for at, arch in enumerate(archs))
    )
    return f"csv:{folder / 'known.csv'}"


def test_of_this_machine_the_remedy_is_a_profile_and_for_fp16_there_is_none(tmp_path: Path) -> None:
    from fleetfront.pipelines.knowledge.device_model import DeviceModel
    from fleetfront.pipelines.knowledge.precision_models import in_precisions

    (model,) = synthetic_latencies(PLAIN, devices=1)
    device = DeviceModel("cpu", Target("cpu", "litert"), model)
    for precision, remedy in (
        ("int8", "fleetfront profile --device cpu --runtime litert --precision int8 --space ofa-mbv3-mini"),
        ("fp16", "Leave fp16 out"),
    ):
        with pytest.raises(InputError) as raised:
            in_precisions(device, with_precisions(PLAIN, [precision]), workspace=Workspace(tmp_path))
        assert remedy in raised.value.remedy


def test_only_one_precision_is_searched_with_its_drop(place: Workspace) -> None:
    found = search(
        PLAIN, "phone", SyntheticAccuracy(PLAIN), "random", 50, precisions=("int8",), drops=INT8, workspace=place
    )
    assert found.devices[0].target == "phone/litert/int8/t1/b1"
    assert {point.precision for point in found.devices[0].points} == {"int8"}
    assert found.accuracy_tier == "predicted"


@pytest.mark.parametrize(("fixed", "count"), [({}, 16), ({"precision": "int8"}, 8)])
def test_what_is_evaluated_is_known_in_every_precision_that_may_be_searched(fixed: dict[str, str], count: int) -> None:
    problem = Problem(SPACE, (ProblemTarget("d", _costs(*synthetic_latencies(PLAIN))),), _accuracy(), fixed=fixed)
    networks = PLAIN.canonical(PLAIN.sample(8, np.random.default_rng(0)))
    asked = problem.complete(SPACE.in_precision(networks, "int8"))
    found = problem.evaluate(asked)
    assert len(problem.archive) == count
    assert (problem.counter.requested, problem.counter.evaluated, problem.counter.calls) == (8, 8, 1)
    assert np.array_equal(problem.archive.genotypes[:8], asked)
    assert np.array_equal(problem.archive.accuracy, problem.accuracy.predict(problem.archive.genotypes).mean)
    assert np.array_equal(problem.archive.cost, problem.cost(problem.archive.genotypes))
    assert np.array_equal(found.accuracy, problem.archive.accuracy[:8])
    assert len(np.unique(SPACE.without(problem.archive.genotypes), axis=0)) == 8
    # Asked for in another precision, it is known, and counts as any repeated request.
    problem.evaluate(problem.complete(SPACE.in_precision(networks, "fp32")))
    assert (problem.counter.requested, problem.counter.evaluated, len(problem.archive)) == (16, 8, count)


def test_the_model_in_float_is_asked_for_each_network_once_and_the_budget_buys_networks() -> None:
    inside = SyntheticAccuracy(PLAIN)
    problem = Problem(SPACE, (ProblemTarget("d", _costs(*synthetic_latencies(PLAIN))),), _in_both(inside), budget=60)
    run_search(problem, make_strategy("surrogate", problem, 0), name="surrogate", seed=0)
    assert len(inside.asked) == len(set(inside.asked)) == problem.counter.requested == 60
    assert len(problem.archive) == 120
    assert len(np.unique(SPACE.without(problem.archive.genotypes), axis=0)) == 60


def test_a_search_of_two_precisions_is_one_in_float_where_int8_is_never_faster() -> None:
    """What int8 costs is known, so that it takes no accuracy to find out that it is no use."""
    (floats,) = synthetic_latencies(PLAIN, devices=1)
    slow, targets = Scaled(floats, 2.0), {}
    targets["joint"] = Problem(SPACE, (ProblemTarget("d", _costs(floats, slow)),), _accuracy(), budget=80)
    targets["fp32"] = Problem(PLAIN, (ProblemTarget("d", floats),), SyntheticAccuracy(PLAIN, 0.3), budget=80)
    reference, found = ((float(floats.predict(PLAIN.sample(500, np.random.default_rng(1))).mean.max()), 100.0),), {}
    for name, problem in targets.items():
        run = run_search(problem, make_strategy("surrogate", problem, 0), name="", seed=0, references=reference)
        found[name] = run.trace[-1].hypervolume[0]
    assert set(targets["joint"].archive.genotypes[targets["joint"].front(0), -1].tolist()) == {0}
    assert found["joint"] > 0.97 * found["fp32"]


class Biased:
    """Measures networks in float as 1.25 times what their model says, in int8 as twice that."""

    def __init__(self, refused: str = "") -> None:
        self.seen: list[str] = []
        self._refused = refused

    def check(self, target: ProblemTarget) -> None:
        self.seen.append(target.target)
        if self._refused and self._refused in target.target:
            raise InputError(f"The networks of {target.target} cannot be measured here.", "Leave them out.")

    def verify(self, target: ProblemTarget, genotypes: NDArray[np.int8]) -> Verified:
        assert genotypes.shape[1] == len(PLAIN.choices)
        factor = 2.0 if "int8" in target.target else 1.25
        measured: FloatArray = factor * target.cost.predict(genotypes).mean
        return Verified(measured, Scaled(target.cost, factor))


@dataclass(frozen=True)
class Scaled:
    model: CostModel
    factor: float
    metric, tier = LATENCY, Tier.MEASURED

    def predict(self, genotypes: NDArray[np.int8]) -> Estimate:
        return replace(found := self.model.predict(genotypes), mean=self.factor * found.mean)

    def covers(self, genotypes: NDArray[np.int8]) -> NDArray[np.bool_]:
        return self.model.covers(genotypes)


def test_verify_measures_each_network_of_a_front_in_its_own_precision() -> None:
    floats, narrow = synthetic_latencies(PLAIN)
    target = ProblemTarget("d", _costs(floats, narrow), "d/litert/fp32,int8/t1/b1")
    device = Biased()
    found = search_space(SPACE, [target], _accuracy(), SearchOptions("random", 200), verify=Verify(8, device))
    assert device.seen == ["d/litert/fp32/t1/b1", "d/litert/int8/t1/b1"]
    assert found.verification is not None
    points = found.verification["devices"]["d"]["points"]
    assert {point["arch"][-4:] for point in points} == {"fp32", "int8"}
    for point in points:
        factor = 2.0 if point["arch"].endswith("int8") else 1.25
        assert point["measured_ms"] == pytest.approx(factor * point["predicted_ms"])
        assert point["refitted_ms"] == pytest.approx(point["measured_ms"])
    # The second search goes by both refits.
    for point in found.devices[0].points:
        networks = PLAIN.parse([point.arch.rpartition("@")[0]])
        model, factor = (narrow, 2.0) if point.precision == "int8" else (floats, 1.25)
        assert point.latency_ms == pytest.approx(factor * model.predict(networks).mean[0])


def test_verify_refuses_a_device_that_cannot_be_measured_in_one_of_its_precisions() -> None:
    target = ProblemTarget("d", _costs(*synthetic_latencies(PLAIN)), "d/litert/fp32,int8/t1/b1")
    with pytest.raises(InputError, match="d/litert/int8/t1/b1 cannot be measured"):
        search_space(SPACE, [target], _accuracy(), SearchOptions("random", 9), verify=Verify(3, Biased("int8")))


@pytest.mark.parametrize("name", ["random", "hybrid", "surrogate", "nsga2", "lamoo", "linas", "local-search"])
def test_strategies_search_both_precisions(name: str) -> None:
    problem = Problem(SPACE, (ProblemTarget("d", _costs(*synthetic_latencies(PLAIN))),), _accuracy(), budget=60)
    run_search(problem, make_strategy(name, problem, 0), name=name, seed=0)
    assert set(problem.archive.genotypes[:, -1].tolist()) == {0, 1}


@pytest.mark.parametrize("name", ["pdns", "cpe"])
def test_baselines_search_both_precisions_on_devices_that_know_one(name: str) -> None:
    floats, narrow = synthetic_latencies(PLAIN)
    alone = PrecisionCosts(SPACE, {"int8": narrow})
    targets = (ProblemTarget("both", _costs(floats, narrow)), ProblemTarget("one", alone))
    problem = Problem(SPACE, targets, _accuracy(), budget=60)
    run_search(problem, make_strategy(name, problem, 0), name=name, seed=0)
    assert set(problem.archive.genotypes[:, -1].tolist()) == {0, 1}
    assert set(problem.archive.genotypes[problem.front(1), -1].tolist()) == {1}


def test_a_generator_of_two_precisions_says_which_and_refuses_devices_that_lack_one(tmp_path: Path) -> None:
    from fleetfront.pipelines.generate import generate

    floats, narrow = synthetic_latencies(PLAIN)
    both = ProblemTarget("both", _costs(floats, narrow), "both/litert/fp32,int8/t1/b1")
    search_space(SPACE, [both], _accuracy(), SearchOptions("modnas:steps=3", 60), out=tmp_path)
    (front,) = generate(tmp_path, [both]).devices
    assert {point.precision for point in front.points} <= {"fp32", "int8"}
    assert all(point.arch.endswith(f"@{point.precision}") for point in front.points)
    assert front.accuracy_caution == ""
    one = ProblemTarget("one", PrecisionCosts(SPACE, {"int8": narrow}), "one/litert/int8/t1/b1")
    with pytest.raises(InputError, match="in fp32, too, which is not known of one"):
        generate(tmp_path, [one])


def test_the_exact_front_of_both_precisions_is_that_of_each(place: Workspace) -> None:
    """Where everything adds up, the joint front is the best of the two fronts."""
    floats, narrow = synthetic_latencies(PLAIN)
    fronts = {}
    for key, space, cost, accuracy in (
        ("joint", SPACE, _costs(floats, narrow), _accuracy(bend=0.0)),
        ("fp32", PLAIN, floats, SyntheticAccuracy(PLAIN, bend=0.0)),
        ("int8", PLAIN, narrow, SyntheticAccuracy(PLAIN, bend=0.0)),
    ):
        problem = Problem(space, (ProblemTarget("d", cost),), accuracy, budget=3000)
        run_search(problem, make_strategy("exact", problem, 0), name="exact", seed=0)
        rows = problem.front(0)
        fronts[key] = np.stack([problem.archive.cost[rows, 0], problem.archive.accuracy[rows]], axis=1)
    fronts["int8"][:, 1] -= INT8["int8"].points
    for key in ("fp32", "int8"):
        for ms, accuracy in fronts[key]:
            assert (((fronts["joint"] - [ms, accuracy]) * [-1, 1]) >= -1e-6).all(axis=1).any()


def test_the_command_line_refuses_what_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["--drop", "int8=1+-1"], "Add --precisions fp32,int8"),
        (["--precisions", "fp32,int9"], "int8"),
        (["--space", "ofa-mbv3-mini@fp32,int8"], "--precisions fp32,int8"),
    ):
        assert main(["search", "--device", "cpu", "--quiet", *options]) == 2
        assert said in capsys.readouterr().err


def _costs(floats, narrow):  # type: ignore[no-untyped-def]
    return PrecisionCosts(SPACE, {"fp32": floats, "int8": narrow})


def _accuracy(bend: float = 0.3):  # type: ignore[no-untyped-def]
    return _in_both(SyntheticAccuracy(PLAIN, bend))


def _in_both(floats):  # type: ignore[no-untyped-def]
    from fleetfront.predictors.accuracy.precisions import in_precisions

    return in_precisions(SPACE, floats, INT8)
