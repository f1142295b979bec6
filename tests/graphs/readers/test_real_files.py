"""Files of others are read whole: onnx's own tests, light models, and TFLite files of three makers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.deploy.writers.tflite.writer import write_tflite
from fleetfront.errors import FleetfrontError, InputError
from fleetfront.graphs.fold import fold_batch_norm
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.readers.file import read_graph
from fleetfront.graphs.readers.onnx_skim import skim_onnx
from tests.graphs.readers.files import node, write_onnx_nodes

DATA = Path(onnx.__file__).parent / "backend/test/data"

#: Kinds in onnx's own tests that stay opaque: no operators on tensors of numbers.
OPAQUE = {
    "ai.onnx.preview.training.Gradient",
    "ConcatFromSequence",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
    "StringNormalizer",
}


def opaque_kinds(graph: Graph) -> Counter[str]:
    return Counter(one.attributes["kind"] for one in graph.operators if one.family == "opaque")


def test_every_file_of_onnxs_own_tests_is_read_or_refused() -> None:
    files = sorted(DATA.rglob("*.onnx"))
    assert len(files) > 100
    opaque: Counter[str] = Counter()
    refused: dict[str, FleetfrontError] = {}
    for path in files:
        try:
            opaque += opaque_kinds(read_graph(path))
        except FleetfrontError as error:
            refused[path.parent.name] = error
    assert set(opaque) <= OPAQUE
    assert set(refused) <= {"test_sequence_model8"}
    assert all("--shape" in error.remedy for error in refused.values())


def test_every_tflite_file_is_known_whole(shared_data: Path) -> None:
    files = sorted((shared_data / "model_files").glob("*.tflite"))
    assert len(files) == 12
    assert sum(map(opaque_kinds, map(read_graph, files)), Counter()) == Counter()


@pytest.mark.parametrize("name", ["squeezenet", "densenet121", "shufflenet", "inception_v2"])
def test_a_read_graph_can_be_rewritten(name: str) -> None:
    """The families' own rules give the shapes that onnx infers, and layouts are declared where images need them."""
    graph = read_graph(DATA / "light" / f"light_{name}.onnx")
    again = graph.rewrite()
    assert again.operators == graph.operators
    assert {n: t.shape for n, t in again.tensors.items()} == {n: t.shape for n, t in graph.tensors.items()}


def test_weights_are_passed_over(tmp_path: Path) -> None:
    """The same graph comes of four bytes a weight and of none; a small constant keeps its numbers."""
    weights = {"w": np.ones((300, 300), np.float32), "b": np.arange(300, dtype=np.float32)}
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "b"], ["y"])]
    path = write_onnx_nodes(tmp_path / "m.onnx", nodes, {"x": [1, 300]}, weights)
    assert len(skim_onnx(path)) < 3000 < path.stat().st_size
    graph = read_graph(path)
    assert graph.weights["w.10"].shape == (300, 300)
    assert graph.weights["b"].tolist() == list(range(300))


@pytest.mark.parametrize("write", [write_onnx, write_tflite])
def test_no_file_is_written_of_weights_whose_shapes_alone_were_read(
    tmp_path: Path, write: Callable[[Graph], bytes]
) -> None:
    """It would run, and compute nonsense."""
    weights = {"w": np.ones((300, 300), np.float32)}
    path = write_onnx_nodes(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], {"x": [1, 300]}, weights)
    graph = read_graph(path)
    for one in (graph, fold_batch_norm(graph), graph.rewrite()):
        with pytest.raises(InputError, match="only the shapes were read"):
            write(one)


def test_tflite_sizes_that_are_left_open_are_worked_out_or_stay_unknown(tmp_path: Path) -> None:
    """A converter writes 1 for an open size: the numbers in such a file are none that a cost may be made of."""
    graph = GraphBuilder("g")
    x = graph.input("x", ("rows", 8, 8, 4), layout="")
    y = graph.add("transpose", [graph.add("relu", [x])], permutation=(0, 2, 1, 3))
    path = tmp_path / "m.tflite"
    path.write_bytes(write_tflite(graph.build([y])))
    (one,) = read_graph(path).outputs
    assert read_graph(path, {"x": (3, 8, 8, 4)}).tensors[one].shape == (3, 8, 8, 4)
    assert read_graph(path).tensors[one].shape == (1, 8, 8, 4)
