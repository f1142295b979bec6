"""Fuzz every door that files of others come in by: what is read is finite, what is not is an error with a remedy."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetfront.arrays import read_arrays, write_arrays
from fleetfront.deploy.bundle.manifest import (
    MANIFEST,
    BundleFile,
    Manifest,
    PortDescription,
    read_manifest,
    write_bundle,
)
from fleetfront.device_configs.loader import load_file
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.graphs.graph import GraphBuilder
from fleetfront.pipelines.compare import compare_results
from fleetfront.pipelines.importing.lookup_yaml import read_lookup_folder
from fleetfront.pipelines.importing.table_file import read_table
from fleetfront.predictors.accuracy.tables import read_accuracy_csv
from fleetfront.predictors.few_shot.basis import make_basis
from fleetfront.predictors.few_shot.cost_model import FewShotContent, FewShotModel
from fleetfront.predictors.few_shot.files import load_few_shot, read_few_shot, save_few_shot
from fleetfront.predictors.few_shot.pooled_trees import PooledContent, PooledModel, described_by
from fleetfront.predictors.few_shot.posterior import Hypothesis
from fleetfront.predictors.few_shot.report import FewShotFit, FewShotReport
from fleetfront.predictors.operators.cost_files import load_costs, save_costs
from fleetfront.predictors.operators.costs import TERMS, KindCosts, OperatorCosts, tree_design
from fleetfront.predictors.operators.kernels import FEATURES
from fleetfront.predictors.operators.rules import ChainTest, Rules
from fleetfront.predictors.operators.scales import NetworkScales
from fleetfront.predictors.operators.work import Mode, NetworkWork
from fleetfront.predictors.table.fit_files import load_fit, save_fit
from fleetfront.predictors.table.fitting import fit_model
from fleetfront.predictors.trees import Trees
from fleetfront.profilers.gpu.trtexec import read_layers, read_profile, read_times
from fleetfront.quantities import Clock
from fleetfront.runtimes.feeds import load_arrays
from fleetfront.search.archive import Archive
from fleetfront.search.fronts_file import load_fronts
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini, ofa_mbv3_w12
from fleetfront.targets import Target
from fleetfront.workspace import Workspace
from tests.predictors.synthetic_device import SyntheticDevice

TARGET = Target("board", "onnxruntime")
#: More by hand: FUZZ_EXAMPLES=5000 pytest tests/test_doors.py
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Spelled(str):
    """JSON that stands in a file as it is."""


#: What nobody measured, counted or called anything.
NASTY: tuple[Any, ...] = (
    *(
        Spelled(text)
        for text in ("NaN", "Infinity", "-Infinity", "1" + "0" * 400, "1e999", "[" * 20_000 + "]" * 20_000)
    ),
    *(Spelled(text) for text in ('"\\ud800"', "-0.0", "1e308", "-1", "0")),
    *(None, True, "", "x", "\x1b[31m", [], {}, [[]], [None], {"": 0}, 10**18, -(10**18), 1.5, 1e-320),
)


@dataclass(frozen=True, slots=True)
class Door:
    """A file, and what reads it."""

    path: Path
    read: Callable[[], Any]


def fronts(folder: Path) -> Door:
    space = ofa_mbv3_mini()
    archs = space.arch_ids(space.sample(3, np.random.default_rng(0)))
    points = [
        {"arch": arch, "latency_ms": 1.0 + i, "latency_std_ms": 0.1, "accuracy": 70.0 + i, "macs": 10 * i}
        for i, arch in enumerate(archs)
    ]
    device = {"target": "cpu/litert/fp32/t1/b1", "tier": "measured", "hypervolume": 300.0, "points": points}
    document = {
        "schema": "fleetfront.fronts/1",
        "space": space.name,
        "strategy": "random",
        "seed": 0,
        "evaluations": 3,
        "seconds": 1.0,
        "accuracy": {"source": "test", "tier": "predicted"},
        "devices": {"cpu": {**device, "reference_point": [10.0, 50.0], "limit_ms": 9.0, "knee": archs[0]}},
        "trace": [{"evaluations": 1, "seconds": 0.1, "hypervolume": [1.0]}],
    }
    path = folder / "fronts.json"
    path.write_text(json.dumps(document))
    compared = folder / "before.json"
    compared.write_text(json.dumps(document))

    def read() -> Any:
        return load_fronts(path).to_json(), [[row.before, row.after] for row in compare_results(compared, path)]

    return Door(path, read)


def manifest(folder: Path) -> Door:
    port = PortDescription("x", (1, 3, 8, 8), "float32", "NCHW")
    file = BundleFile("m.onnx", "onnx", "fp32", port, port, {"passed": True}, "1.12")
    row = {"target": "cpu/litert/fp32/t1/b1", "ms": 1.5, "std_ms": 0.1, "tier": "measured"}
    told = Manifest("k", "s", {"random": True}, (file,), ({"value": 70.0, "std": 0.1, "tier": "measured"},), (row,))
    bundle = write_bundle(folder / "net", told, {"m.onnx": b"x"})
    return Door(bundle / MANIFEST, lambda: read_manifest(bundle))


def fit(folder: Path) -> Door:
    space = ofa_mbv3_mini()
    path = save_fit(fit_model(space, SyntheticDevice(space).observe()).model, Workspace(folder))
    return Door(path, lambda: load_fit(path) and None)


def few_shot(folder: Path) -> Door:
    space = load_space("nasbench201")
    work = NetworkWork(space)
    some = space.sample(40, np.random.default_rng(0))
    basis = make_basis(work, some)
    hypothesis = Hypothesis(Mode.LIVE, 1.0, np.ones(basis.rank), np.eye(basis.rank), 0.1)
    content = FewShotContent(TARGET, space.name, basis, (hypothesis,))
    return _few_shot(folder, FewShotModel(content, work), "transfer", work)


def pooled(folder: Path) -> Door:
    space = load_space("nasbench201")
    work = NetworkWork(space)
    basis, few = make_basis(work, space.sample(40, np.random.default_rng(0))), np.array([1.0, 2.0, 3.0])
    columns = (basis.rank - 1) * len(work.modes) + described_by(few)
    content = PooledContent(TARGET, space.name, basis, small_trees(columns), few, {"clock_ghz": 2.5}, 0.1)
    return _few_shot(folder, PooledModel(content, work), "trees", work)


def _few_shot(folder: Path, model: FewShotModel | PooledModel, serves: str, work: NetworkWork) -> Door:
    report = FewShotReport(serves, "live", ("a",), 3, 5.0, None, 1.0)
    path = save_few_shot(FewShotFit(model, report), Workspace(folder), work.space.name, Clock.WALL)
    asked = work.space.sample(5, np.random.default_rng(1))

    def read() -> Any:
        told = load_few_shot(path, work).predict(asked)
        files, _ = read_few_shot(Workspace(folder))
        return told.mean.tolist(), told.std.tolist(), [file.report.to_json() for file in files]

    return Door(path, read)


def small_trees(columns: int) -> Trees:
    return Trees(columns, np.array([[0]], np.int16), np.array([[0.5]], np.float32), np.array([[-0.1, 0.1]], np.float32))


def operator_costs(folder: Path) -> Door:
    least, most = np.zeros(len(FEATURES)), np.full(len(FEATURES), 100.0)
    roofline = np.full(1 + len(TERMS), 0.1)
    columns = tree_design("conv", least[None], np.ones(1)).shape[1]
    kind = KindCosts("conv", roofline, small_trees(columns), least, most, 9, 5.0, 0.1)
    rules = Rules(
        (("conv", "relu"),), ("conv",), ("add",), 0.1, (ChainTest("fused", ("conv", "relu"), 1.0, (1.0,), 2.0),)
    )
    scales = NetworkScales(np.ones(3), 0.1, 0.1, 0.1, 0.1, 4)
    costs = OperatorCosts(TARGET, Clock.WALL, "p25", 0.01, {"conv": kind}, roofline, rules, scales)
    path = save_costs(costs, Workspace(folder))
    builder = GraphBuilder("g")
    weight = builder.weight("w", np.ones((4, 3, 3, 3), np.float32))
    image = builder.input("x", (1, 3, 8, 8), layout="NCHW")
    graph = builder.build([builder.add("relu", [builder.conv2d(image, weight)])])

    def read() -> Any:
        told = load_costs(path).estimate(graph)
        return told.mean_ms, told.std_ms, told.known_share, [part.ms for part in told.parts]

    return Door(path, read)


def archive(folder: Path) -> Door:
    space = ofa_mbv3_mini()
    kept, path = Archive(len(space.choices), ["a"]), folder / "archive.npz"
    genotypes = kept.unknown(space.sample(9, np.random.default_rng(0)))
    some = np.full(len(genotypes), 50.0)
    kept.add(genotypes, some, some, some[:, None])
    kept.save(path, {"space": space.name})
    return Door(path, lambda: Archive.load(path, {"space": space.name}, space=space).accuracy.tolist())


def given_arrays(folder: Path) -> Door:
    path = folder / "x.npz"
    write_arrays(path, {"x": np.ones((2, 3), np.float32), "name": "word"})
    return Door(path, lambda: load_arrays(path) and None)


def trtexec(folder: Path, name: str, document: Any, read: Callable[[Path], Any]) -> Door:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document))
    return Door(path, lambda: [value for value in (read(path),) if value is None])


def lookup(folder: Path) -> Door:
    path = folder / "224_lookup_table.yaml"
    path.write_text(
        "Conv-input:224x224x3-output:112x112x24:\n  count: 10\n  mean: 1.5\n  std: 0.1\n"
        "expanded_conv-input:112x112x24-output:112x112x24-expand:24-kernel:3-stride:1-idskip:1-se:0-hs:0:\n"
        "  count: 10\n  mean: 2.5\n"
    )
    return Door(path, lambda: [entry.mean_ms for entry in read_lookup_folder(folder, ofa_mbv3_w12()).entries])


def device(folder: Path) -> Door:
    path = folder / "mine.yaml"
    path.write_text(
        "name: mine\ntitle: Mine\nkind: phone\ntarget:\n  runtime: tflite-cpu\n  threads: 4\n"
        "facts:\n  clock_ghz:\n    value: 2.5\n    source: printed on the box\n"
    )
    return Door(path, lambda: [fact.value for fact in load_file(path).facts.values()])


def csv_of(folder: Path) -> tuple[Path, Any]:
    cells = load_space("nasbench201")
    archs = cells.arch_ids(cells.sample(4, np.random.default_rng(0)))
    path = folder / "table.csv"
    path.write_text("arch,acc,lat_mine\n" + "".join(f"{arch},{70 + i}.5,{i + 1}e0\n" for i, arch in enumerate(archs)))
    return path, cells


def accuracies(folder: Path) -> Door:
    path, cells = csv_of(folder)
    return Door(path, lambda: read_accuracy_csv(path, cells).accuracy.tolist())


def costs(folder: Path) -> Door:
    path, _ = csv_of(folder)
    return Door(path, lambda: [v for v in read_table(path).values.ravel().tolist() if not math.isnan(v)])


TIMES = [{"computeMs": 1.5, "latencyMs": 2.0}, {"computeMs": 1.6, "latencyMs": 2.1}]
PROFILE = [{"count": 9}, {"name": "a", "averageMs": 0.5, "medianMs": 0.4}]
DOORS: dict[str, Callable[[Path], Door]] = {
    "fronts": fronts,
    "manifest": manifest,
    "fit": fit,
    "few-shot": few_shot,
    "pooled trees": pooled,
    "operator costs": operator_costs,
    "trtexec times": lambda folder: trtexec(folder, "times", TIMES, read_times),
    "trtexec profile": lambda folder: trtexec(folder, "profile", PROFILE, read_profile),
    "trtexec layers": lambda folder: trtexec(folder, "layers", {"Layers": ["a", {"Name": "b"}]}, read_layers),
    "archive": archive,
    "arrays": given_arrays,
    "lookup": lookup,
    "device": device,
    "accuracies": accuracies,
    "costs": costs,
}


JSON_DOORS = (
    "fronts",
    "manifest",
    "fit",
    "few-shot",
    "pooled trees",
    "operator costs",
    "trtexec times",
    "trtexec profile",
    "trtexec layers",
)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Door, bytes]]:
    """Each door with a file that it lets in, and what the file holds."""
    made = {name: make(tmp_path_factory.mktemp("door")) for name, make in DOORS.items()}
    return {name: (door, door.path.read_bytes()) for name, door in made.items()}


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


def check(door: Door, data: bytes) -> None:
    """What comes of a changed file: finite numbers, or an error that says what and what to do in a few lines."""
    door.path.write_bytes(data)
    told, refusal = None, None
    try:
        told = door.read()
    except FleetfrontError as error:
        refusal = error
    assert refusal is None or (refusal.remedy and len(str(refusal)) < 3000)
    assert all(math.isfinite(number) for number in numbers(told))


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from leaves(part, (*at, key))


@pytest.mark.parametrize("name", DOORS)
@FUZZED
@given(data=st.data())
def test_bytes_that_are_damaged(name: str, doors: dict[str, tuple[Door, bytes]], data: st.DataObject) -> None:
    door, right = doors[name]
    damaged = bytearray(right)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged)))
        damaged[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    check(door, bytes(damaged[: data.draw(st.sampled_from([len(damaged), len(damaged) // 2]))]))


@pytest.mark.parametrize("name", JSON_DOORS)
@FUZZED
@given(data=st.data())
def test_values_that_cannot_be(name: str, doors: dict[str, tuple[Door, bytes]], data: st.DataObject) -> None:
    door, right = doors[name]
    document = copy.deepcopy(json.loads(right))
    place = data.draw(st.sampled_from(list(leaves(document))[1:]))
    nasty = data.draw(st.sampled_from(NASTY))
    at = document
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = "PLACE" if isinstance(nasty, Spelled) else nasty
    text = json.dumps(document)
    check(door, (text.replace('"PLACE"', nasty) if isinstance(nasty, Spelled) else text).encode())


CELLS = (
    "1_0",
    "\uff11",
    "0x10",
    "nan",
    "inf",
    "1,5",
    "1:30",
    ".inf",
    "1e999",
    "",
    "-1",
    "0",
    '"',
    "\x1b[1m",
    "9" * 400,
    "[",
    "&a *a",
)


@pytest.mark.parametrize("name", ["lookup", "device", "accuracies", "costs"])
@FUZZED
@given(data=st.data())
def test_cells_that_are_no_numbers(name: str, doors: dict[str, tuple[Door, bytes]], data: st.DataObject) -> None:
    door, right = doors[name]
    words = ("1.5", "2.5", "10", "4", "70.5", "2e0", "0.1")
    found = [word for word in words if word in right.decode()]
    word, cell = data.draw(st.sampled_from(found)), data.draw(st.sampled_from(CELLS))
    check(door, right.decode().replace(word, cell, 1).encode())


def test_every_door_lets_the_right_file_in(doors: dict[str, tuple[Door, bytes]]) -> None:
    for door, right in doors.values():
        door.path.write_bytes(right)
        door.read()
    with pytest.raises(ValueError, match="no file"):
        read_arrays(Path(os.devnull))
    with pytest.raises(InputError):
        load_arrays(Path(os.devnull))
