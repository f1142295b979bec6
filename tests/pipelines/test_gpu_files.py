"""Write the files that blocks are profiled from on GPUs: batch and precision of the target are in them."""

import pytest

from fleetfront.deploy.quantise.precisions import Piece
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph
from fleetfront.pipelines.measure.profile import file_writer, suffixes_of
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini
from fleetfront.targets import PRECISIONS, Target

SPACE = ofa_mbv3_mini()


@pytest.mark.parametrize(
    ("runtime", "precision", "dtype"),
    [
        ("onnxruntime", "fp32", "float32"),
        ("onnxruntime", "tf32", "float32"),
        ("onnxruntime", "fp16", "float16"),
        ("tensorrt", "fp16", "float16"),
        ("tensorrt", "tf32", "float32"),
    ],
)
def test_onnx_files_have_the_batch_and_half_precision_from_end_to_end(runtime: str, precision: str, dtype: str) -> None:
    suffix, write = file_writer(Target("cuda:0", runtime, precision, 1, 32))
    session = load_runtime("onnxruntime").open(write(SPACE.block_graph(SPACE.vocabulary[0]), Piece.BLOCK))
    assert suffix == ".onnx"
    assert {port.dtype for port in (*session.inputs, *session.outputs)} == {dtype}
    assert {port.shape[0] for port in (*session.inputs, *session.outputs)} == {32}


def test_torch_takes_the_graph_as_it_is_and_turns_it_half_itself() -> None:
    suffix, write = file_writer(Target("cuda:0", "torch", "fp16", 1, 64))
    graph = Graph.from_bytes(write(SPACE.block_graph(SPACE.vocabulary[0]), Piece.BLOCK))
    assert suffix == ".graph"
    assert (graph.tensors[graph.inputs[0]].shape[0], graph.tensors[graph.inputs[0]].dtype) == (64, "float32")


def test_cpus_have_no_half_precision_and_no_tensorrt() -> None:
    with pytest.raises(InputError, match="int8"):
        file_writer(Target("cpu", "onnxruntime", "fp16"))
    with pytest.raises(InputError, match="tensorrt"):
        suffixes_of(Target("cpu", "tensorrt"))
    with pytest.raises(InputError, match="litert"):
        suffixes_of(Target("cuda:0", "litert"))
    assert suffixes_of(Target("cpu", "onnxruntime")) == (".onnx", ".ort")
    assert suffixes_of(Target("cuda:0", "tensorrt")) == (".onnx",)


def test_targets_spell_gpus() -> None:
    for precision in PRECISIONS:
        target = Target("cuda:1", "onnxruntime", precision, 1, 64, "tensorrt")
        assert Target.parse(str(target)) == target
    assert str(Target("cuda:0", "tensorrt", "tf32", 1, 64)) == "cuda:0/tensorrt/tf32/t1/b64"
