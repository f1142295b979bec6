"""Files wrong in one layer, filter or weight are not handed out, and proofs that could not tell are refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import ALL_FORMATS
from fleetfront.deploy.quantise.rounding import misrounded
from fleetfront.errors import BarMissed
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.pipelines.deploy.network import write_network
from fleetfront.pipelines.deploy.records import Recipe
from fleetfront.pipelines.deploy.weights import UserImages, Weights
from fleetfront.spaces.catalogue import load_space
from fleetfront.spaces.supernet.checkpoints import load_supernet

Array = np.ndarray
SHAPES = {"onnx": (1, 3, 32, 32), "tflite": (1, 32, 32, 3)}


def _zeroed(array: Array, where: object) -> Array:
    spoilt = array.copy()
    spoilt[where] = 0
    return spoilt


#: What a writer may get wrong of one array of weights [filters, ...].
FAULTS: dict[str, Callable[[Array], Array]] = {
    "layer zeroed": lambda array: np.zeros_like(array),
    "filters shuffled": lambda array: np.roll(array, 1, axis=0),
    "filter zeroed": lambda array: _zeroed(array, np.abs(array).reshape(len(array), -1).sum(axis=1).argmax()),
    "weight zeroed": lambda array: _zeroed(array, np.unravel_index(np.abs(array).argmax(), array.shape)),
}


def spoil(graph: Graph, fault: Callable[[Array], Array], place: float) -> Graph:
    """The graph with a fault in the layer at ``place``, 0 for the first and 1 for the last."""
    names = [name for op in graph.operators for name in op.inputs if name in graph.weights]
    layers = [name for name in names if graph.weights[name].ndim >= 2]
    name = layers[round(place * (len(layers) - 1))]
    return replace(graph, weights={**graph.weights, name: fault(graph.weights[name])})


def write_spoilt(graph: Graph, weights: Weights, kind: str, precision: str, folder: Path, *fault: object) -> None:
    right = ALL_FORMATS[kind]
    wrong = replace(right, write=lambda one: right.write(spoil(one, *fault)))  # type: ignore[arg-type]
    write_network(graph, weights, [wrong], Recipe((precision,)), folder)


@pytest.mark.parametrize("kind", ["onnx", "tflite", "ort"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_is_not_handed_out(kind: str, fault: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    space = load_space("ofa-mbv3-mini")
    graph = replace(Weights().graph(space, space.sample(1, np.random.default_rng(3))[0]), name="network")
    for place in (0.0, 1.0):
        with pytest.raises(BarMissed, match="of what inputs change"):
            write_spoilt(graph, Weights(), kind, "fp32", tmp_path, FAULTS[fault], place)
    right = write_network(graph, Weights(), [ALL_FORMATS[kind]], Recipe(), tmp_path)
    assert right.files[0].proof.passed
    assert right.files[0].proof.relative_to_spread < 2e-5
    assert right.files[0].proof.spread_of_range > 0.1


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_fp16_leaves_room_for_rounding_alone(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    space = load_space("ofa-mbv3-mini")
    graph = replace(Weights().graph(space, space.sample(1, np.random.default_rng(3))[0]), name="network")
    for fault in ("layer zeroed", "filters shuffled", "filter zeroed"):
        with pytest.raises(BarMissed, match="of what inputs change"):
            write_spoilt(graph, Weights(), kind, "fp16", tmp_path, FAULTS[fault], 1.0)
    assert write_network(graph, Weights(), [ALL_FORMATS[kind]], Recipe(("fp16",)), tmp_path).files


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_the_reference_checkpoint_catches_zeroed_layers(kind: str, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "ofa_mbv3" / "random_checkpoint_w10"
    space = load_space("ofa-mbv3-w1.0")
    arch = str(np.load(folder / "reference.npz")["archs"][0])
    weights = Weights(load_supernet(folder / "checkpoint.pth", space))
    graph = replace(weights.graph(space, space.parse([arch])[0]), name="network")
    for place in (0.3, 0.8):
        with pytest.raises(BarMissed, match="of what inputs change"):
            write_spoilt(graph, weights, kind, "fp32", tmp_path, FAULTS["layer zeroed"], place)


@pytest.fixture(scope="module")
def of_digits() -> tuple[Graph, Weights]:
    """A network with images to calibrate on, for which torch names one class."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_quantizer")
    space = load_space("ofa-mbv3-mini")
    weights = Weights(None, UserImages("digits"))
    return replace(weights.graph(space, space.sample(1, np.random.default_rng(0))[0]), name="network"), weights


INT8 = Recipe(("int8",), test_images=20)


@pytest.mark.parametrize("kind", ["onnx", "tflite", "ort"])
@pytest.mark.parametrize("fault", FAULTS)
def test_int8_is_not_made_of_a_wrong_file(
    kind: str, fault: str, of_digits: tuple[Graph, Weights], tmp_path: Path
) -> None:
    graph, weights = of_digits
    right = ALL_FORMATS[kind]
    for place in (0.0, 1.0):
        spoilt = partial(spoil, fault=FAULTS[fault], place=place)
        wrong = replace(right, write=lambda one, spoilt=spoilt: right.write(spoilt(one)))
        with pytest.raises(BarMissed, match=f"no {kind} file is made of it"):
            write_network(graph, weights, [wrong], INT8, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["onnx", "tflite", "ort"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_quantiser_gets_wrong_is_not_handed_out(
    kind: str, fault: str, of_digits: tuple[Graph, Weights], tmp_path: Path
) -> None:
    """It makes the int8 file of another float file, as one that lost weights would."""
    graph, weights = of_digits
    right = ALL_FORMATS[kind]
    other = right.write(right.int8(spoil(graph, FAULTS[fault], 0.5)))
    wrong = replace(right, quantise=lambda _, feeds: right.quantise(other, feeds[:1]))
    with pytest.raises(BarMissed, match="further from the float file's than rounding"):
        write_network(graph, weights, [wrong], INT8, tmp_path)


@pytest.mark.parametrize(("kind", "amount"), [("onnx", 0.1), ("tflite", 20.0)])
def test_narrow_weights_must_compute_what_they_say(
    kind: str, amount: float, of_digits: tuple[Graph, Weights], tmp_path: Path
) -> None:
    """Biases are not weights, and shift few classes: ONNX Runtime computes in float, LiteRT rounds what goes in."""
    graph, weights = of_digits
    right = ALL_FORMATS[kind]
    biases = {name: array + np.float32(amount) for name, array in graph.weights.items() if name.endswith("fier.bias")}
    assert biases
    other = right.write(replace(graph, weights={**graph.weights, **biases}))
    wrong = replace(right, weights_alone=lambda _, bits: right.weights_alone(other, bits))
    with pytest.raises(BarMissed, match="from the float file with its weights"):
        write_network(graph, weights, [wrong], Recipe(("w8",)), tmp_path)
    files = write_network(graph, weights, [right], Recipe(("int8", "w8", "w4")), tmp_path).files
    int8, w8, w4 = (file.tolerance or 0.0 for file in files)
    # Elsewhere they may be off by what rounding inputs costs them here: little less than int8 in a network that knows
    # nothing, a twentieth to a fifth in trained ones.
    assert 0 < w8 < int8
    assert 0 < w4 < int8
    assert (w8 < 0.05 * int8) == (kind == "onnx")


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_every_weight_of_an_int8_file_is_looked_at(kind: str, of_digits: tuple[Graph, Weights]) -> None:
    graph, _ = of_digits
    form = ALL_FORMATS[kind]
    data = form.write(form.int8(graph))
    made = form.quantise(data, [{graph.inputs[0]: np.zeros(SHAPES[kind], np.float32)}])
    after = form.weights(made)
    before = {name: weight for name, weight in form.weights(data).items() if weight.values.ndim >= 2}
    assert len(before) == len([name for name, array in graph.weights.items() if array.ndim >= 2])
    assert set(before) == set(after)
    assert all(np.all(weight.step > 0) for weight in after.values())
    assert misrounded(before, after) == []


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_int8_is_judged_by_what_images_change_where_torch_names_one_class(
    kind: str, of_digits: tuple[Graph, Weights], tmp_path: Path
) -> None:
    graph, weights = of_digits
    right = ALL_FORMATS[kind]
    wrong = replace(
        right,
        quantise=lambda data, feeds: right.quantise(data, [{n: 0.01 * a for n, a in fed.items()} for fed in feeds]),
    )
    with pytest.raises(BarMissed, match=r"follows only \d+ % of what images change"):
        write_network(graph, weights, [wrong], INT8, tmp_path)
    (file,) = write_network(graph, weights, [right], INT8, tmp_path).files
    assert file.proof.is_weak
    assert file.proof.as_checks()["explained"] > 0.8


def test_a_proof_that_could_not_tell_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    builder = GraphBuilder("network")
    image = builder.input("image", (1, 3, 8, 8), layout="NCHW")
    weight = builder.weight("weight", 1e-6 * np.ones((4, 3, 1, 1), np.float32))
    bias = builder.weight("bias", np.arange(4, dtype=np.float32))
    mean = builder.add("global_average_pool", [builder.conv2d(image, weight, bias)])
    graph = builder.build([builder.add("flatten", [mean])])
    with pytest.raises(BarMissed, match=r"Inputs change the logits by only .*e-07 of their range"):
        write_network(graph, Weights(), [ALL_FORMATS["onnx"]], Recipe(), tmp_path)


def test_agreement_with_one_class_alone_is_called_weak(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    space = load_space("ofa-mbv3-mini")
    weights = Weights(None, UserImages("digits"))
    graph = replace(weights.graph(space, space.sample(1, np.random.default_rng(0))[0]), name="network")
    recipe = Recipe(("int8",), test_images=20)
    (file,) = write_network(graph, weights, [ALL_FORMATS["onnx"]], recipe, tmp_path).files
    assert file.proof.passed
    assert file.proof.as_checks()["commonest_class"] == 1
    assert file.proof.is_weak
    assert not replace(file.proof, commonest_class=0.2).is_weak
