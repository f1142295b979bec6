"""Half precision and int8 files against the fp32 network they were made from."""

import numpy as np
import onnx
import pytest

from fleetfront.deploy.contract import InputContract, contracted
from fleetfront.deploy.formats import ALL_FORMATS, FORMATS, FileFormat
from fleetfront.deploy.proof import prove
from fleetfront.deploy.quantise.precisions import (
    SPREAD_LIMITS,
    half_throughout,
    half_weights,
    parse_precisions,
    without_hard_swish,
)
from fleetfront.deploy.quantise.tflite import activation_ranges
from fleetfront.deploy.writers.onnx.writer import write_onnx
from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.runtimes.catalogue import load_runtime
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.ofa_mbv3.space import ofa_mbv3_mini

EACH = pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)


def network(seed: int = 3) -> Graph:
    space = ofa_mbv3_mini()
    return space.subnet_graphs(space.sample(1, np.random.default_rng(seed))[0])["network"][0]


def images(count: int, layout: str) -> list[np.ndarray]:
    drawn = np.random.default_rng(0).normal(size=(count, 1, 3, 32, 32)).astype(np.float32)
    return [InputContract().as_fed(image, layout) for image in drawn]


def named(fed: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [{"input": image} for image in fed]


def outputs(data: bytes, kind: FileFormat, fed: list[np.ndarray]) -> np.ndarray:
    session = load_runtime(kind.runtime).open(data)
    results = [session.run({session.inputs[0].name: image})[session.outputs[0].name] for image in fed]
    session.close()
    return np.concatenate(results)


@EACH
def test_half_files_are_half_the_size_and_near_torch(kind: FileFormat) -> None:
    graph = network()
    full, half = kind.write(graph), kind.write(kind.half(graph))
    assert len(half) < 0.62 * len(full)
    proof = prove(graph, half, kind.runtime, limit=SPREAD_LIMITS["fp16"])
    assert proof.passed, proof
    assert proof.relative_to_range > SPREAD_LIMITS["fp32"] / 100


def test_half_onnx_computes_in_half() -> None:
    model = onnx.load_from_string(FORMATS["onnx"].write(FORMATS["onnx"].half(network())))
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = {value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_a_weight_beyond_half_is_named() -> None:
    graph = network()
    name = next(name for name in graph.weights if name.endswith("classifier.weight"))
    huge = {**graph.weights, name: graph.weights[name] * np.float32(1e9)}
    with pytest.raises(InputError, match=name):
        half_weights(Graph(graph.name, graph.inputs, graph.outputs, graph.operators, graph.tensors, huge))


@EACH
def test_int8_files_stay_close_and_take_what_the_float_file_takes(kind: FileFormat) -> None:
    graph = kind.int8(network())
    full = kind.write(graph)
    fed = images(32, kind.layout)
    quantised = kind.quantise(full, named(fed))
    assert quantised == kind.quantise(full, named(fed))
    assert len(quantised) < 0.65 * len(full)
    want, got = outputs(full, kind, fed), outputs(quantised, kind, fed)
    assert got.dtype == np.float32
    assert np.sqrt(np.mean((want - got) ** 2)) < 0.1 * want.std()


@EACH
def test_int8_leaves_the_contract_in_float(kind: FileFormat) -> None:
    from fleetfront.datasets import Preprocessing

    contract = InputContract(input="uint8", softmax=True)
    graph = contracted(kind.int8(network()), contract, kind.layout, Preprocessing(32))
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (16, 1, 3, 32, 32), dtype=np.uint8)
    fed = [contract.as_fed(one, kind.layout) for one in pixels]
    full = kind.write(graph)
    quantised = kind.quantise(full, named(fed))
    if kind.name == "onnx":
        onnx.checker.check_model(onnx.load_from_string(quantised), full_check=True)
    got = outputs(quantised, kind, fed)
    # An int8 softmax could only say multiples of 1/256.
    assert np.allclose(got.sum(axis=1), 1, atol=1e-5)
    assert np.any(np.abs(got * 256 - np.rint(got * 256)) > 0.01)
    assert np.abs(got - outputs(full, kind, fed)).max() < 0.2


@EACH
def test_int8_wants_images(kind: FileFormat) -> None:
    with pytest.raises(InputError, match="--images"):
        kind.quantise(b"", [])


def test_ranges_are_the_extremes_of_every_computed_tensor() -> None:
    graph = network()
    data = FORMATS["tflite"].write(graph)
    fed = images(3, "NHWC")
    ranges = activation_ranges(data, named(fed))
    logits = outputs(data, FORMATS["tflite"], fed)
    assert ranges["logits"]["min"].item() == pytest.approx(float(logits.min()), rel=1e-4)
    assert ranges["logits"]["max"].item() == pytest.approx(float(logits.max()), rel=1e-4)
    assert not set(ranges) & set(graph.weights)
    assert ranges["input"]["max"].item() == max(float(image.max()) for image in fed)


def test_hard_swish_spelled_out_is_the_same_network() -> None:
    graph = network()
    spelled = without_hard_swish(graph)
    assert all(operator.family != "hard_swish" for operator in spelled.operators)
    assert prove(graph, FORMATS["tflite"].write(spelled), "litert").passed


def test_ort_files_open_and_agree_and_name_their_operators() -> None:
    from fleetfront.deploy.writers.ort.writer import required_operators, write_ort

    graph = load_space("ofa-mbv3-mini").subnet_graphs(network_genotype())["network"][0]
    data = write_ort(ALL_FORMATS["ort"].write(graph))
    assert data[4:8] == b"ORTM"
    assert prove(graph, data, "onnxruntime").passed
    config = required_operators(data).decode()
    assert "Conv" in config
    assert all(line.count(";") == 2 for line in config.splitlines())
    with pytest.raises(InputError, match=r"\.ort"):
        write_ort(b"not a model")


def network_genotype() -> np.ndarray:
    return ofa_mbv3_mini().sample(1, np.random.default_rng(3))[0]


def test_precisions_are_parsed_in_order() -> None:
    assert parse_precisions("int8, fp32,int8") == ("fp32", "int8")
    for wrong in ("fp64", ""):
        with pytest.raises(InputError):
            parse_precisions(wrong)


def test_a_block_has_no_conversions_and_computes_the_same() -> None:
    space = ofa_mbv3_mini()
    graph = space.block_graph(space.vocabulary[3])
    half = half_throughout(graph)
    name = graph.inputs[0]
    assert half.tensors[name].dtype == half.tensors[half.outputs[0]].dtype == "float16"
    data = write_onnx(half)
    assert "Cast" not in {node.op_type for node in onnx.load_from_string(data).graph.node}
    image = np.random.default_rng(0).normal(size=[int(side) for side in graph.tensors[name].shape]).astype(np.float32)
    exact = load_runtime("onnxruntime").open(write_onnx(graph)).run({name: image})[graph.outputs[0]]
    rounded = load_runtime("onnxruntime").open(data).run({name: image.astype(np.float16)})[graph.outputs[0]]
    assert rounded.dtype == np.float16
    np.testing.assert_allclose(rounded, exact, atol=5e-3 * max(1e-6, float(np.abs(exact).max())))


def test_weights_that_do_not_fit_are_named() -> None:
    builder = GraphBuilder("large")
    data = builder.input("x", (1, 2))
    weight = builder.weight("w", np.full((2, 2), 1e6, np.float32))
    graph = builder.build([builder.add("linear", [data, weight], "y")])
    with pytest.raises(InputError, match="'w'"):
        half_throughout(graph)


def test_int4_throughout_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match="No runtime here computes in int4 throughout") as raised:
        parse_precisions("fp32,int4")
    assert "Write w4" in raised.value.remedy
