"""Files of floats, held to what rounding costs their network, no more and no less."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleetfront.deploy.formats import ALL_FORMATS, FORMATS, FileFormat
from fleetfront.deploy.quantise.precisions import SPREAD_LIMITS, half_rounded
from fleetfront.deploy.quantise.rounding import misrounded
from fleetfront.errors import BarMissed
from fleetfront.graphs.graph import Graph, GraphBuilder
from fleetfront.graphs.torch_module import TorchModule
from fleetfront.pipelines.deploy.limits import MOST_LOST, MOST_OFF, half_limit
from fleetfront.pipelines.deploy.network import write_network
from fleetfront.pipelines.deploy.records import Recipe
from fleetfront.pipelines.deploy.weights import Weights

HALF = Recipe(("fp16",))
EACH = pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)


def lifted(height: float) -> Graph:
    """A small network whose middle values lie at ``height``, where float16 has few steps."""
    rng, builder = np.random.default_rng(0), GraphBuilder("network")
    image = builder.input("image", (1, 3, 8, 8), layout="NCHW")
    weight = builder.weight("weight", rng.standard_normal((4, 3, 1, 1)).astype(np.float32))
    high = builder.conv2d(image, weight, builder.weight("bias", np.full(4, height, np.float32)))
    # Its share of the height is taken off again, so that what inputs change is left.
    mixed = rng.standard_normal((5, 4, 1, 1)).astype(np.float32)
    back = builder.weight("back", (-height * mixed.sum(axis=(1, 2, 3))).astype(np.float32))
    made = builder.conv2d(builder.add("relu", [high]), builder.weight("mixed", mixed), back)
    return builder.build([builder.add("flatten", [builder.add("global_average_pool", [made])])])


def test_rounding_every_result_to_float16_is_what_numpy_gives() -> None:
    import torch

    graph = lifted(64.0)
    image = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    half = np.float16
    rounded = {name: array.astype(half).astype(np.float32) for name, array in graph.weights.items()}
    pixels = image.astype(half).astype(np.float32).reshape(3, -1)
    high = (rounded["weight"].reshape(4, 3) @ pixels + rounded["bias"][:, None]).astype(half).astype(np.float32)
    low = (rounded["mixed"].reshape(5, 4) @ np.maximum(high, 0) + rounded["back"][:, None]).astype(half)
    want = low.astype(np.float32).mean(axis=1).astype(half).astype(np.float32)
    with torch.inference_mode():
        got = TorchModule(half_rounded(graph)).eval()(torch.tensor(image)).numpy()[0]
    # Sums in another order may round to the next step.
    assert np.abs(got - want).max() <= 2 * np.spacing(half(np.abs(low).max()))
    assert np.array_equal(got, got.astype(half))


def test_a_network_that_float16_costs_more_is_handed_out_all_the_same(tmp_path: Path) -> None:
    graph = lifted(64.0)
    (file,) = write_network(graph, Weights(), [ALL_FORMATS["onnx"]], HALF, tmp_path).files
    assert SPREAD_LIMITS["fp16"] < file.proof.limit < MOST_LOST
    assert 0.1 * file.proof.limit < file.proof.relative_to_spread <= file.proof.limit
    stated = replace(HALF, spread_limits={"fp32": 1e-4, "fp16": 0.5})
    (file,) = write_network(graph, Weights(), [ALL_FORMATS["onnx"]], stated, tmp_path).files
    assert file.proof.limit == 0.5


def test_a_network_that_is_no_longer_itself_in_float16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BarMissed, match=r"limit 0\.15\), so it is not handed out") as raised:
        write_network(lifted(4000.0), Weights(), [ALL_FORMATS["onnx"]], HALF, tmp_path)
    assert "Rounding adds up in this network" in raised.value.remedy


@EACH
@pytest.mark.parametrize("name", ["mixed", "back"])
def test_a_weight_that_is_off_by_more_than_rounding_is_found_whatever_the_limit(
    kind: FileFormat, name: str, tmp_path: Path
) -> None:
    graph = lifted(64.0)
    spoilt = graph.weights[name].copy()
    spoilt.flat[3] *= 1.002
    other = replace(graph, weights={**graph.weights, name: spoilt})
    wrong = replace(kind, half=lambda _: kind.half(other))
    with pytest.raises(BarMissed, match=rf"fp16 form of network.* '{name}' is further from the float file's"):
        write_network(graph, Weights(), [wrong], HALF, tmp_path)


@EACH
def test_every_weight_of_an_fp16_file_is_looked_at(kind: FileFormat) -> None:
    graph = lifted(1.0)
    before, after = kind.weights(kind.write(graph)), kind.weights(kind.write(kind.half(graph)))
    assert set(before) == set(after) == {"weight", "mixed", "bias", "back"}
    assert all(np.all(np.asarray(after[name].step) > 0) for name in ("weight", "mixed"))
    assert misrounded(before, after) == []


def test_limits_follow_the_cost_between_what_all_networks_lose_and_what_nobody_wants() -> None:
    assert half_limit(0.0) == half_limit(0.001) == SPREAD_LIMITS["fp16"]
    assert half_limit(0.01) == pytest.approx(0.03)
    assert half_limit(0.5) == half_limit(np.inf) == MOST_LOST


@pytest.mark.parametrize(("off", "is_right"), [(2.0**-22, True), (2.0**-16, False)])
def test_sums_in_another_order_are_right_where_the_network_makes_much_of_them(
    off: float, is_right: bool, tmp_path: Path
) -> None:
    """The last bits of values that lie high change what is left of them by more than 1e-4."""
    onnx, graph = ALL_FORMATS["onnx"], lifted(1000.0)
    moved = (graph.weights["bias"] * (1 + off)).astype(np.float32)
    other = replace(onnx, write=lambda one: onnx.write(replace(one, weights={**one.weights, "bias": moved})))
    if is_right:
        (file,) = write_network(graph, Weights(), [other], Recipe(), tmp_path).files
        assert SPREAD_LIMITS["fp32"] < file.proof.relative_to_spread <= file.proof.limit <= MOST_OFF
    else:
        with pytest.raises(BarMissed, match="of what inputs change in the logits"):
            write_network(graph, Weights(), [other], Recipe(), tmp_path)
