"""The size of files is an objective and a limit of searches, and what deploy writes is as large as was said."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.cli.deploy.results import _sizes
from fleetfront.deploy.bundle.manifest import read_manifest
from fleetfront.deploy.formats import FORMATS
from fleetfront.errors import InputError
from fleetfront.pipelines import file_sizes
from fleetfront.pipelines.deploy.deploy import Weights, deploy_picks
from fleetfront.pipelines.deploy.picks import pick_arch, pick_knee, pick_shared
from fleetfront.pipelines.file_sizes import with_sizes
from fleetfront.pipelines.fleet import parse_limits
from fleetfront.pipelines.search import search
from fleetfront.predictors.precision_costs import PrecisionCosts
from fleetfront.progress import Progress
from fleetfront.quantities import Z90
from fleetfront.search.fronts_file import load_fronts
from fleetfront.search.problem import ProblemTarget
from fleetfront.search.results import Fronts
from fleetfront.testing.problems import SyntheticAccuracy, synthetic_latencies
from fleetfront.workspace import Workspace
from tests.pipelines.test_search_precisions import INT8, PLAIN, SPACE

TARGETS = {"a": "cpu/onnxruntime/fp32,int8/t1/b1", "b": "cpu/litert/fp32/t1/b1"}
LIMIT = 300_000


@pytest.fixture(scope="module", autouse=True)
def fewer_files() -> Iterator[None]:
    """Half as many files tell nearly as much, and every one takes up to half a second."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(file_sizes, "FILES", 10)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("place"))


def targets() -> list[ProblemTarget]:
    floats, narrow = synthetic_latencies(PLAIN)
    costs = PrecisionCosts(SPACE, {"fp32": floats, "int8": narrow}), PrecisionCosts(SPACE, {"fp32": floats})
    named = zip(TARGETS.items(), costs, strict=True)
    return [ProblemTarget(name, cost, target) for (name, target), cost in named]


@pytest.fixture(scope="module")
def fronts(place: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fronts, Path]:
    out = tmp_path_factory.mktemp("out")
    options = {"precisions": ("fp32", "int8"), "drops": INT8, "share": 2, "out": out, "workspace": place}
    found = search(
        PLAIN, targets(), SyntheticAccuracy(PLAIN), "random", 300,
        objectives=["size"], limits={"size": LIMIT}, **options,
    )  # fmt: skip
    return found, out


def test_points_say_their_size_in_their_own_precision_and_keep_the_limit(fronts: tuple[Fronts, Path]) -> None:
    found, out = fronts
    assert load_fronts(out, SPACE).devices == found.devices
    for front in found.devices:
        assert (front.objectives, front.limits) == (("size",), {"size": LIMIT})
        assert len(front.points) > 3
        for point in front.points:
            assert 0 < point.more["size_std_bytes"] < 0.02 * point.more["size_bytes"] < 0.02 * LIMIT
            assert point.more["size_tier"] == "estimated"
            assert point.more["size_bytes"] > (1 if point.precision == "int8" else 4) * point.more["params"]
    shared = json.loads((out / "fronts.json").read_text())["shared"]["networks"]
    for network in shared:
        assert set(network["size"]) == ({"a"} if network["arch"].endswith("int8") else set(TARGETS))
    for pick in pick_shared(found, list(TARGETS)):
        assert [row["target"] for row in pick.size] == [row["target"] for row in pick.latency]


def test_deployed_files_are_as_large_as_the_front_says(fronts: tuple[Fronts, Path], tmp_path: Path) -> None:
    from fleetfront.datasets import load_images
    from fleetfront.spaces.supernet.subnets import untrained

    found, _ = fronts
    points = [
        max((p for p in front.points if p.precision == "fp32"), key=lambda p: p.latency_ms) for front in found.devices
    ]
    picks = [
        replace(pick_arch(point.arch, SPACE, found, [front.name]), name=front.name)
        for front, point in zip(found.devices, points, strict=True)
    ]
    weights = Weights(untrained(PLAIN, 0), load_images("digits", 32))
    done = deploy_picks(picks, PLAIN, weights, tuple(FORMATS.values()), tmp_path)
    for one, kind in zip(done, ("onnx", "tflite"), strict=True):
        assert one.folder is not None, one.error
        manifest = read_manifest(one.folder)
        (said,) = manifest["size"]
        (written,) = (file["bytes"] for file in manifest["files"] if file["format"] == kind)
        assert abs(said["bytes"] - written) <= Z90 * said["std_bytes"]
        (told,) = _sizes(one)
        assert told.startswith(f"network.{kind}: {written:,} bytes; the front says")


def test_int8_files_calibrated_on_images_are_as_large_as_those_calibrated_on_noise(place: Workspace) -> None:
    """A network whose int8 file holds less than its images say would be another file."""
    (target,) = with_sizes(SPACE, targets()[:1], SyntheticAccuracy(PLAIN), ["size"], workspace=place)
    networks = PLAIN.canonical(PLAIN.sample(1, np.random.default_rng(7)))
    ((graph, _),) = PLAIN.subnet_graphs(networks[0]).values()
    kind = FORMATS["onnx"]
    images = list(np.random.default_rng(1).uniform(-2, 2, (4, 1, 3, 32, 32)).astype(np.float32))
    written = len(kind.quantise(kind.write(kind.int8(graph)), [{graph.inputs[0]: image} for image in images]))
    estimate = target.further["size"].predict(SPACE.in_precision(networks, "int8"))
    low, high = estimate.interval
    assert low[0] <= written <= high[0]


@pytest.mark.parametrize(("name", "precision"), [("onnx", "w8"), ("onnx", "w4")])
def test_sizes_of_narrow_weights_alone_are_learnt(place: Workspace, name: str, precision: str) -> None:
    kind = FORMATS[name]
    target = ProblemTarget("a", synthetic_latencies(PLAIN)[0], f"cpu/{kind.runtime}/{precision}/t1/b1")
    (found,) = with_sizes(PLAIN, [target], SyntheticAccuracy(PLAIN), ["size"], workspace=place)
    networks = PLAIN.canonical(PLAIN.sample(1, np.random.default_rng(7)))
    ((graph, _),) = PLAIN.subnet_graphs(networks[0]).values()
    written = len(kind.weights_alone(kind.write(graph), int(precision[1])))
    low, high = found.further["size"].predict(networks).interval
    assert low[0] <= written <= high[0] < 0.75 * len(kind.write(graph))


def test_what_was_written_is_kept_and_damage_is_made_again(tmp_path: Path) -> None:
    class Counting(Progress):
        def __init__(self) -> None:
            self.written = 0

        def advance(self, steps: float = 1, detail: str = "") -> None:
            self.written += 1

    place = Workspace(tmp_path)
    plain = [ProblemTarget("a", synthetic_latencies(PLAIN)[0], "cpu/onnxruntime/fp32/t1/b1")]
    seen = []
    for _ in range(3):
        progress = Counting()
        with_sizes(PLAIN, plain, SyntheticAccuracy(PLAIN), ["size"], workspace=place, progress=progress)
        seen.append(progress.written)
        if len(seen) == 2:
            next((place.cache / "file_sizes").iterdir()).write_text("{")
    assert seen == [10, 0, 10]


def test_a_runtime_whose_files_are_not_written_here_is_refused() -> None:
    (model, *_) = synthetic_latencies(PLAIN)
    for target in ("", "cuda:0/tensorrt/fp16/t1/b1", "cuda:0/torch/fp32/t1/b1"):
        with pytest.raises(InputError, match="The size of files on gpu is not known"):
            with_sizes(PLAIN, [ProblemTarget("gpu", model, target)], SyntheticAccuracy(PLAIN), ["size"])
    (unasked,) = with_sizes(PLAIN, [ProblemTarget("gpu", model)], SyntheticAccuracy(PLAIN))
    assert not unasked.further


@pytest.mark.parametrize(
    ("text", "wanted"), [("size=4MiB", 4 * 2**20), ("size=2.5 kb", 2500), ("size=4e6", 4e6), ("a:size=1GiB", 2**30)]
)
def test_limits_of_bytes_may_have_a_unit(text: str, wanted: float) -> None:
    assert parse_limits([text], ["a"])["a"] == {"size": wanted}


@pytest.mark.parametrize("text", ["size=4MibiB", "size=-1MiB", "size=0", "size=MiB", "size=nan"])
def test_limits_that_are_no_size_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--limit '{text}' is no size") as raised:
        parse_limits([text], ["a"])
    assert raised.value.remedy == "Write a positive number of bytes, or with a unit: --limit size=4MiB."


def test_a_size_that_no_network_keeps_names_the_smallest(place: Workspace) -> None:
    with pytest.raises(InputError, match="takes at most 1000 bytes on a: the least demanding"):
        search(
            PLAIN, targets(), SyntheticAccuracy(PLAIN), "random", 10, limits={"size": 1000},
            precisions=("fp32", "int8"), drops=INT8, workspace=place,
        )  # fmt: skip


def test_the_knee_of_a_front_with_sizes_says_its_own(fronts: tuple[Fronts, Path]) -> None:
    found, _ = fronts
    pick, front = pick_knee(found, "b"), found.device("b")
    point = front.points[front.knee]
    assert pick.size == (
        {
            "target": front.target_of(point.precision),
            "bytes": point.more["size_bytes"],
            "std_bytes": point.more["size_std_bytes"],
            "tier": "estimated",
        },
    )
