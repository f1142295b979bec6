import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.graphs.graph import Graph, GraphBuilder

torch = pytest.importorskip("torch")

from fleetfront.graphs.torch_module import MOMENTUM, TorchModule, run_graph  # noqa: E402


def _windows(data: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """(N, C, H', W', kh, kw) of an already padded image."""
    view = np.lib.stride_tricks.sliding_window_view(data, kernel, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1]]


def _run(graph: Graph, *inputs: np.ndarray, training: bool = False) -> list[np.ndarray]:
    weights = {name: torch.from_numpy(np.array(array)) for name, array in graph.weights.items()}
    outputs = run_graph(graph, weights, [torch.from_numpy(x) for x in inputs], training=training)
    return [output.numpy() for output in outputs]


def _image(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


_PADDINGS = st.tuples(*[st.integers(0, 2)] * 4)
_STRIDES = st.tuples(st.integers(1, 2), st.integers(1, 3))


@settings(max_examples=25, deadline=None)
@given(padding=_PADDINGS, stride=_STRIDES, groups=st.sampled_from([1, 2, 4]), dilation=st.integers(1, 2))
def test_convolution_pads_each_side_by_its_own_amount(padding, stride, groups, dilation):
    rng = np.random.default_rng(0)
    data, weight, bias = _image(rng, 2, 4, 7, 8), _image(rng, 8, 4 // groups, 3, 2), _image(rng, 8)
    builder = GraphBuilder("g")
    x = builder.input("x", data.shape, layout="NCHW")
    y = builder.add(
        "conv2d",
        (x, builder.weight("w", weight), builder.weight("b", bias)),
        stride=stride,
        padding=padding,
        dilation=(dilation, 1),
        groups=groups,
    )
    top, left, bottom, right = padding
    padded = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)))
    span = (2 * dilation + 1, 2)
    windows = _windows(padded, span, stride)[..., ::dilation, :]
    parts = [
        np.einsum("nchwij,ocij->nohw", part, kernels)
        for part, kernels in zip(np.split(windows, groups, axis=1), np.split(weight, groups), strict=True)
    ]
    expected = np.concatenate(parts, axis=1) + bias[:, None, None]
    (actual,) = _run(builder.build([y]), data)
    assert actual.shape == builder.shape(y)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(padding=st.tuples(*[st.integers(0, 1)] * 4), stride=_STRIDES, family=st.sampled_from(["max", "average"]))
def test_padding_never_counts_into_a_pool(padding, stride, family):
    data = _image(np.random.default_rng(1), 2, 3, 6, 5) - 5.0
    builder = GraphBuilder("g")
    y = builder.add(
        f"{family}_pool2d",
        [builder.input("x", data.shape, layout="NCHW")],
        kernel=(3, 2),
        stride=stride,
        padding=padding,
    )
    top, left, bottom, right = padding
    padded = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=np.nan)
    windows = _windows(padded, (3, 2), stride)
    expected = (np.nanmax if family == "max" else np.nanmean)(windows, axis=(4, 5))
    np.testing.assert_allclose(_run(builder.build([y]), data)[0], expected, atol=1e-5)


def test_activations_at_their_corners():
    x = np.array([[-4.0, -3.0, -1.5, 0.0, 1.5, 3.0, 7.0]], dtype=np.float32)
    builder = GraphBuilder("g")
    name = builder.input("x", x.shape)
    outputs = [builder.add(f, [name]) for f in ("relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid")]
    relu, relu6, hard_sigmoid, hard_swish, sigmoid = _run(builder.build(outputs), x)
    gate = np.clip(x + 3, 0, 6) / 6
    np.testing.assert_array_equal(relu, np.maximum(x, 0))
    np.testing.assert_array_equal(relu6, np.clip(x, 0, 6))
    np.testing.assert_allclose(hard_sigmoid, gate, atol=1e-7)
    np.testing.assert_allclose(hard_swish, x * gate, atol=1e-6)
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-x)), atol=1e-6)


def test_shaping_families_and_several_outputs():
    rng = np.random.default_rng(2)
    data, weight, bias = _image(rng, 2, 3, 4, 4), _image(rng, 5, 48), _image(rng, 5)
    builder = GraphBuilder("g")
    x = builder.input("x", ("batch", 3, 4, 4), layout="NCHW")
    doubled = builder.add("concat", [x, builder.add("add", [x, x])], axis=1)
    scaled = builder.add("multiply", [doubled, builder.add("global_average_pool", [doubled])])
    turned = builder.add("transpose", [scaled], permutation=(0, 2, 3, 1))
    folded = builder.add("reshape", [x], shape=("batch", 6, 8))
    flat = builder.add("flatten", [x])
    logits = builder.add("linear", [flat, builder.weight("w", weight), builder.weight("b", bias)])
    shares = builder.add("softmax", [logits], axis=-1)
    got_turned, got_folded, got_shares = _run(builder.build([turned, folded, shares]), data)
    both = np.concatenate([data, 2 * data], axis=1)
    np.testing.assert_allclose(got_turned, (both * both.mean((2, 3), keepdims=True)).transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_array_equal(got_folded, data.reshape(2, 6, 8))
    raised = np.exp(data.reshape(2, -1) @ weight.T + bias)
    np.testing.assert_allclose(got_shares, raised / raised.sum(1, keepdims=True), atol=1e-5)


def _normalised(epsilon: float = 1e-3) -> tuple[Graph, np.ndarray]:
    rng = np.random.default_rng(3)
    data = _image(rng, 4, 3, 5, 5)
    builder = GraphBuilder("g")
    x = builder.input("x", (1, 3, 5, 5), layout="NCHW")
    operands = [
        x,
        *(builder.weight(f"bn.{n}", np.abs(_image(rng, 3)) + 0.5) for n in ("scale", "shift", "mean", "var")),
    ]
    return builder.build([builder.add("batch_norm", operands, epsilon=epsilon)]), data


def _norm(data: np.ndarray, graph: Graph, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    scale, shift, mean, variance = (
        a[:, None, None] for a in (graph.weights["bn.scale"], graph.weights["bn.shift"], mean, variance)
    )
    return (data - mean) / np.sqrt(variance + 1e-3) * scale + shift


def test_batch_norm_runs_live_or_with_given_statistics():
    graph, data = _normalised()
    (given_statistics,) = _run(graph, data)
    (live,) = _run(graph, data, training=True)
    np.testing.assert_allclose(
        given_statistics, _norm(data, graph, graph.weights["bn.mean"], graph.weights["bn.var"]), atol=1e-5
    )
    np.testing.assert_allclose(live, _norm(data, graph, data.mean((0, 2, 3)), data.var((0, 2, 3))), atol=1e-5)


def test_module_learns_and_moves_its_statistics():
    graph, data = _normalised()
    module = TorchModule(graph)
    assert {name for name, _ in module.named_parameters()} == {"w/bn/scale", "w/bn/shift"}
    module.train()(torch.from_numpy(data)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    expected = (1 - MOMENTUM) * graph.weights["bn.mean"] + MOMENTUM * data.mean((0, 2, 3))
    np.testing.assert_allclose(module.arrays()["bn.mean"], expected, atol=1e-5)
    before = module.arrays()["bn.mean"]
    module.eval()(torch.from_numpy(data))
    np.testing.assert_array_equal(module.arrays()["bn.mean"], before)


def test_placeholder_weights_are_replaced_by_differentiable_ones():
    placeholder = np.broadcast_to(np.float32(0), (4, 3, 1, 1))
    builder = GraphBuilder("g")
    x = builder.input("x", (1, 3, 2, 2), layout="NCHW")
    graph = builder.build([builder.conv2d(x, builder.weight("w", placeholder))])
    whole = torch.ones(8, 6, 1, 1, requires_grad=True)
    (output,) = run_graph(graph, {"w": whole[:4, :3]}, [torch.ones(5, 3, 2, 2)])
    output.sum().backward()
    assert output.shape == (5, 4, 2, 2)
    assert whole.grad is not None
    assert float(whole.grad[:4, :3].min()) == 20.0
    assert float(whole.grad[4:].abs().max()) == 0.0


def test_missing_inputs_and_weights_are_named():
    graph, data = _normalised()
    with pytest.raises(InputError, match=r"bn\.scale"):
        run_graph(graph, {}, [torch.from_numpy(data)])
    with pytest.raises(InputError, match="its inputs: x"):
        run_graph(graph, {}, [])
    with pytest.raises(InputError, match="its inputs: x"):
        run_graph(graph, {}, [torch.from_numpy(data)] * 2)
